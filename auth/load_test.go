package auth_test

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"holdfast/auth"
)

func TestLoadProblems(t *testing.T) {
	repo := "id: " + id(9) + "\nkind: git\n"
	for _, c := range []struct {
		name  string
		files []string
		want  []string // beginnings of the problems, all of them
	}{
		{"unknown key", []string{"users/x.yaml", "admin: true\nadmn: true\n"},
			[]string{`users/x.yaml:2: unknown key "admn"; known are: admin, keys, pgp_keys, tokens`}},
		{"key twice", []string{"users/x.yaml", "admin: true\n\nadmin: false\n"},
			[]string{`users/x.yaml:3: key "admin" is already set in line 1`}},
		{"syntax", []string{"users/x.yaml", "keys: [\n"}, []string{"users/x.yaml:1: not valid YAML"}},
		{"tab", []string{"users/x.yaml", "admin: true\n\tkeys: []\n"}, []string{"users/x.yaml:2: not valid YAML"}},
		{"two documents", []string{"users/x.yaml", "admin: true\n---\nadmin: false\n"}, []string{"users/x.yaml:2: not valid YAML: one document"}},
		{"not UTF-8", []string{"users/x.yaml", "# \xff\n"}, []string{"users/x.yaml: not valid YAML: the file is not UTF-8"}},
		{"no mapping", []string{"users/x.yaml", "hello\n"}, []string{"users/x.yaml:1: this should be a mapping"}},
		{"anchor", []string{"users/x.yaml", "keys: &a []\n"}, []string{"users/x.yaml:1: YAML anchors"}},
		{"alias", []string{"groups/x.yaml", "members: [&a root, *a]\n"},
			[]string{"groups/x.yaml:1: YAML anchors", "groups/x.yaml:1: YAML anchors"}},
		{"merge", []string{"users/x.yaml", "<<: {admin: true}\n"}, []string{"users/x.yaml:1: YAML anchors"}},
		{"no bool", []string{"users/x.yaml", "admin: yes\n"}, []string{"users/x.yaml:1: this should be true or false"}},
		{"no list", []string{"users/x.yaml", "keys: abc\n"}, []string{"users/x.yaml:1: this should be a list"}},
		{"bad key", []string{"users/x.yaml", "keys:\n  - ssh-rsa AAAA\n"}, []string{"users/x.yaml:2: not an SSH public key"}},
		{"key of another", []string{"users/x.yaml", "keys:\n  - " + keyLine(t, 1) + "\n"},
			[]string{"users/x.yaml:2: the key SHA256:"}},
		{"key twice in a file", []string{"users/x.yaml", "keys:\n  - " + keyLine(t, 7) + "\n  - " + keyLine(t, 7) + " again\n"},
			[]string{"users/x.yaml:3: the key SHA256:"}},
		{"token of another", []string{"users/x.yaml", "tokens: [{name: a, sha256: " + auth.HashToken(secret) + "}]\n"},
			[]string{"users/x.yaml:1: the token a is also in users/alice.yaml:3"}},
		{"token in the clear", []string{"users/x.yaml", "tokens: [{name: a, sha256: " + secret + "}]\n"},
			[]string{"users/x.yaml:1: token: sha256 must be"}},
		{"token without a name", []string{"users/x.yaml", "tokens: [{sha256: " + auth.HashToken("x") + "}]\n"},
			[]string{"users/x.yaml:1: token: "}},
		{"token's time", []string{"users/x.yaml", "tokens: [{name: a, sha256: x, expires: soon}]\n"},
			[]string{`users/x.yaml:1: "soon" is no time`}},
		{"unknown member", []string{"groups/x.yaml", "members:\n- root\n- zoe\n"}, []string{"groups/x.yaml:3: there is no user zoe"}},
		{"member twice", []string{"groups/x.yaml", "members:\n- root\n- root\n"}, []string{"groups/x.yaml:3: root is already in line 2"}},
		{"group in a group", []string{"groups/x.yaml", "members: [\"@devs\"]\n"}, []string{"groups/x.yaml:1: name \"@devs\""}},
		{"no id", []string{"repos/x.yaml", "kind: git\n"}, []string{"repos/x.yaml: a repository needs an id and a kind"}},
		{"bad id", []string{"repos/x.yaml", "id: abc\nkind: git\n"}, []string{"repos/x.yaml:1: an id has 32"}},
		{"id of another", []string{"repos/x.yaml", "# a\nid: " + id(1) + "\nkind: git\n"}, []string{"repos/x.yaml:2: the id is that of repos/site.yaml"}},
		{"bad kind", []string{"repos/x.yaml", "id: " + id(9) + "\nkind: hg\n"}, []string{`repos/x.yaml:2: "hg" should be git or svn`}},
		{"bad grant", []string{"repos/x.yaml", repo + "grants: {root: all}\n"}, []string{`repos/x.yaml:3: "all": a grant is`}},
		{"grant to unknown", []string{"repos/x.yaml", repo + "grants:\n  zoe: read\n  \"@zoes\": read\n"},
			[]string{"repos/x.yaml:4: there is no user zoe", "repos/x.yaml:5: there is no group zoes"}},
		{"admin for all", []string{"repos/x.yaml", repo + "grants: {\"*\": admin}\n"}, []string{`repos/x.yaml:3: "*" is everybody`}},
		{"create by unknown", []string{"settings.yaml", "create: [zoe]\n"}, []string{"settings.yaml:1: there is no user zoe"}},
		{"case twin", []string{"repos/SITE.yaml", repo}, []string{"repos/site.yaml: differs from repos/SITE only in case"}},
		{"case twin of a folder", []string{"repos/Team/x.yaml", repo},
			[]string{"repos/team/app.yaml: differs from repos/Team only in case",
				"repos/team/old/svn.yaml: differs from repos/Team only in case"}},
		{"case twin of a user", []string{"users/Alice.yaml", ""}, []string{"users/alice.yaml: differs from users/Alice only in case"}},
		{"Unicode twin", []string{"users/\u0430lice.yaml", ""}, []string{"users/\u0430lice.yaml: name \"\u0430lice\""}},
		{"repository in a repository", []string{"repos/site/x.yaml", repo}, []string{"repos/site/x.yaml: repos/site is a repository"}},
		{"with case", []string{"repos/SITE/x.yaml", repo},
			[]string{"repos/SITE/x.yaml: repos/SITE is a repository", "repos/site.yaml: differs from repos/SITE only"}},
		{"reserved", []string{"repos/Holdfast-Admin.yaml", repo, "repos/holdfast-admin/x.yaml", repo},
			[]string{"repos/Holdfast-Admin.yaml: holdfast-admin is reserved", "repos/holdfast-admin/x.yaml: holdfast-admin is reserved"}},
		{"reserved user", []string{"users/git.yaml", ""}, []string{`users/git.yaml: name "git" is reserved`}},
		{"bad name", []string{"repos/a.git.yaml", repo}, []string{`repos/a.git.yaml: name "a.git"`}},
		{"unknown file", []string{"setting.yaml", "", "users/x.yml", "", "hooks/x", ""},
			[]string{"hooks: unknown folder", "setting.yaml: unknown file", "users/x.yml: a file in users"}},
		{"user in a folder", []string{"users/a/b.yaml", ""}, []string{"users/a: no folder belongs here"}},
		{"everything at once", []string{"users/x.yaml", "a: 1\nb: 2\n", "repos/x.yaml", "id: 1\n"},
			[]string{"repos/x.yaml:1: an id", `users/x.yaml:1: unknown key "a"`, `users/x.yaml:2: unknown key "b"`}},
	} {
		fsys := company(t)
		for name, f := range tree(c.files...) {
			fsys[name] = f
		}
		_, err := auth.Load(fsys)
		if got := problems(err); !slices.EqualFunc(got, c.want, strings.HasPrefix) {
			t.Errorf("%s: got\n\t%s\nwant\n\t%s", c.name, strings.Join(got, "\n\t"), strings.Join(c.want, "\n\t"))
		}
		var pe *auth.PolicyError
		if !errors.As(err, &pe) {
			t.Errorf("%s: %T is no PolicyError", c.name, err)
		}
	}
}

func problems(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}

func TestLoadAcceptsOddNames(t *testing.T) {
	p := load(t, tree("users/1e3.yaml", "", "users/null.yaml", "", "users/no.yaml", "admin: false\nkeys:\n",
		"users/0x10.yaml", "# nothing\n", "groups/x.yaml", "members: [1e3, \"null\", no, 0x10]\n"))
	if g, _ := p.Group("x"); !slices.Equal(g.Members, []string{"1e3", "null", "no", "0x10"}) {
		t.Errorf("members %q", g.Members)
	}
}

func TestLoadRefusesLinks(t *testing.T) {
	fsys := company(t)
	fsys["users/link.yaml"] = &fstest.MapFile{Data: []byte("root.yaml"), Mode: fs.ModeSymlink}
	if _, err := auth.Load(fsys); err == nil || !strings.HasPrefix(err.Error(), "users/link.yaml: ") {
		t.Errorf("a link: %v", err)
	}
}

func TestLoadLimits(t *testing.T) {
	repo := func(grants string) string { return "id: " + id(9) + "\nkind: git\ngrants: " + grants + "\n" }
	for _, c := range []struct {
		name   string
		limits auth.Limits
		path   string
		data   string
		want   string
	}{
		{"files", auth.Limits{Files: 10}, "repos/x.yaml", "", "more than 10 files"},
		{"bytes of a file", auth.Limits{FileBytes: 500}, "repos/x.yaml", strings.Repeat("#", 501), "repos/x.yaml: the file has more than 500"},
		{"bytes", auth.Limits{TotalBytes: 1000}, "repos/x.yaml", strings.Repeat("#", 1001), "more than 1000 bytes together"},
		{"keys", auth.Limits{PerUser: 2}, "users/x.yaml", "keys: [a, b, c]\n", "users/x.yaml:1: 3 items are more than 2"},
		{"members", auth.Limits{Members: 2}, "groups/x.yaml", "members: [root, bob, carol]\n", "groups/x.yaml:1: 3 items are more than 2"},
		{"grants", auth.Limits{Grants: 2}, "repos/x.yaml", repo("{root: read, bob: read, carol: read}"), "repos/x.yaml:3: 3 entries"},
		{"problems", auth.Limits{Problems: 1}, "users/x.yaml", "a: 1\nb: 2\nc: 3\n", "users/x.yaml:1: unknown key \"a\"; known are: admin, keys, pgp_keys, tokens\nand 2 more problems"},
		{"depth", auth.Limits{}, "repos/" + strings.Repeat("a/", 200) + "x.yaml", "", "no folder belongs here"},
	} {
		fsys := company(t)
		fsys[c.path] = &fstest.MapFile{Data: []byte(c.data)}
		if _, err := c.limits.Load(fsys); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestBundles(t *testing.T) {
	repo := func(bundles string) string { return "id: " + id(9) + "\nkind: git\nbundles:\n" + bundles }
	p := load(t, tree("repos/x.yaml", repo("  - {id: base, uri: \"https://cdn.example.org/x?a=b\", creation_token: 7}\n"+
		"  - id: B-2\n    uri: http://[::1]:80/y\n")))
	want := []auth.Bundle{{ID: "base", URI: "https://cdn.example.org/x?a=b", CreationToken: 7}, {ID: "B-2", URI: "http://[::1]:80/y"}}
	if r, _ := p.Repo("x"); !slices.Equal(r.Bundles, want) {
		t.Errorf("bundles %+v", r.Bundles)
	}
	for bundle, want := range map[string]string{
		"{id: a}":                                                      "is no uri",
		"{uri: \"https://x\"}":                                         "letters, digits and dashes",
		"{id: a.b, uri: \"https://x\"}":                                "letters, digits and dashes",
		"{id: a, uri: \"file:///etc/passwd\"}":                         "is no uri",
		"{id: a, uri: \"https://x/\\n\"}":                              "is no uri",
		"{id: a, uri: \"https://u:p@x/\"}":                             "must not hold a password",
		"{id: a, uri: \"https://x\", creation_token: 0}":               "positive number",
		"{id: a, uri: \"https://x\", creation_token: -1}":              "positive number",
		"{id: a, uri: \"https://x\", token: 1}":                        "unknown key \"token\"",
		"{id: a, uri: \"https://x\"}\n  - {id: a, uri: \"https://y\"}": "another bundle of the id a",
	} {
		fsys := company(t)
		fsys["repos/x.yaml"] = &fstest.MapFile{Data: []byte(repo("  - " + bundle + "\n"))}
		if _, err := auth.Load(fsys); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "repos/x.yaml:") {
			t.Errorf("%s: %v, want %q", bundle, err, want)
		}
	}
}

func TestLoadReportsReadErrors(t *testing.T) {
	_, err := auth.Load(badFS{company(t)})
	var pe *auth.PolicyError
	if !errors.Is(err, errBroken) || errors.As(err, &pe) {
		t.Errorf("Load = %v, want the file system's own error", err)
	}
}

var errBroken = errors.New("broken disk")

type badFS struct{ fs.FS }

func (f badFS) Open(name string) (fs.File, error) {
	if name == "repos/site.yaml" {
		return nil, errBroken
	}
	return f.FS.Open(name)
}

func TestReload(t *testing.T) {
	fsys := company(t)
	p := load(t, fsys)
	fsys["repos/site.yaml"] = &fstest.MapFile{Data: []byte("id: " + id(1) + "\nkind: git\n")}
	delete(fsys, "repos/secret.yaml")
	next, err := p.Reload(fsys)
	if err != nil {
		t.Fatal(err)
	}
	if r, _ := next.Repo("site"); r.Public {
		t.Error("the changed file was not read")
	}
	if _, ok := next.Repo("secret"); ok {
		t.Error("the removed file is still there")
	}
	if r, ok := p.Repo("site"); !ok || !r.Public {
		t.Error("the old policy changed")
	}
}

func TestCheckChange(t *testing.T) {
	minted := func(known string) bool { return known == id(8) }
	for _, c := range []struct {
		name   string
		change func(fstest.MapFS)
		want   string
	}{
		{"nothing", func(fstest.MapFS) {}, ""},
		{"new id", func(m fstest.MapFS) { put(m, "repos/x.yaml", "id: "+id(8)+"\nkind: git\n") }, ""},
		{"unknown id", func(m fstest.MapFS) { put(m, "repos/x.yaml", "# x\nid: "+id(7)+"\nkind: git\n") },
			"repos/x.yaml:2: the id was not made by this host"},
		{"rename", func(m fstest.MapFS) { m["repos/y.yaml"] = m["repos/site.yaml"]; delete(m, "repos/site.yaml") }, ""},
		{"other kind", func(m fstest.MapFS) { put(m, "repos/secret.yaml", "id: "+id(4)+"\nkind: svn\n") },
			"repos/secret.yaml:1: the kind and format of a repository cannot change"},
		{"other format", func(m fstest.MapFS) {
			put(m, "repos/y.yaml", "id: "+id(4)+"\nkind: git\nformat: sha256\n")
			delete(m, "repos/secret.yaml")
		},
			"repos/y.yaml:1: the kind and format"},
		{"no admin", func(m fstest.MapFS) { delete(m, "users/root.yaml") }, "users: no host admin"},
		{"admin without a key", func(m fstest.MapFS) { put(m, "users/root.yaml", "admin: true\n") }, "users: no host admin"},
		{"no admin rights", func(m fstest.MapFS) { put(m, "users/root.yaml", "keys: ["+keyLine(t, 1)+"]\n") }, "users: no host admin"},
		{"another admin", func(m fstest.MapFS) {
			delete(m, "users/root.yaml")
			put(m, "users/zoe.yaml", "admin: true\nkeys: ["+keyLine(t, 8)+"]\n")
		}, ""},
	} {
		old, fsys := load(t, company(t)), company(t)
		c.change(fsys)
		err := load(t, fsys).CheckChange(old, minted)
		if got := fmt.Sprint(err); c.want == "" && err != nil || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if err := load(t, company(t)).CheckChange(nil, minted); err == nil || len(problems(err)) != 4 {
		t.Errorf("the first policy: %v, want four unknown ids", err)
	}
}

func put(m fstest.MapFS, name, data string) { m[name] = &fstest.MapFile{Data: []byte(data)} }

// FuzzLoad looks for panics, for edits that a policy does not survive, and for files that are read differently when
// written again.
func FuzzLoad(f *testing.F) {
	names := []string{"users/x.yaml", "users/root.yaml", "groups/x.yaml", "repos/x.yaml", "settings.yaml"}
	for _, file := range company(f) {
		for i := range names {
			f.Add(byte(i), file.Data)
		}
	}
	f.Add(byte(0), []byte("keys: &a [*a]\n"))
	f.Add(byte(0), []byte("? {a: b}\n: c\n"))
	f.Add(byte(3), []byte("id: "+id(9)+"\nkind: git\ngrants:\n  root: read # a\n\n  # b\n  alice: write\n"))
	f.Add(byte(4), []byte("--- !!map\ncreate: !x [root]\n...\n"))
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		if len(data) > 4096 {
			return
		}
		fsys := company(t)
		fsys[names[int(which)%len(names)]] = &fstest.MapFile{Data: data}
		p, err := auth.Load(fsys)
		if err != nil {
			return
		}
		e := p.Edit()
		for _, u := range p.Users() {
			if err := e.RemoveUser(u.Name); err != nil && !errors.Is(err, auth.ErrLastAdmin) {
				t.Fatalf("remove %s: %v", u.Name, err)
			}
		}
		for _, r := range p.Repos() {
			if err := e.Publish(r.Name); err != nil {
				t.Fatalf("publish %s: %v", r.Name, err)
			}
		}
		for path, data := range e.Changes() {
			if fsys[path] = (&fstest.MapFile{Data: data}); data == nil {
				delete(fsys, path)
			}
		}
		again, err := auth.Load(fsys)
		if err != nil {
			t.Fatalf("an edited policy is refused: %v", err)
		}
		if len(again.Users()) != len(e.Policy().Users()) || len(again.Repos()) != len(p.Repos()) {
			t.Fatal("an edited policy is read differently")
		}
	})
}
