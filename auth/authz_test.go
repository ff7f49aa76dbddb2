package auth_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/auth"
	"holdfast/auth/authz"
)

const secretRules = "[/]\n* = r\n[/secret]\n* =\nalice = rw\n"

func TestAuthz(t *testing.T) {
	fsys := company(t)
	put(fsys, "repos/team/old/svn.authz", secretRules)
	p := load(t, fsys)
	if p.Authz("site") != nil {
		t.Error("a repository without a file has rules")
	}
	rules := p.Authz("team/old/svn")
	if !rules.Allows("team/old/svn", "alice", "/secret/x", authz.Write) || rules.Allows("team/old/svn", "bob", "/secret", authz.Read) {
		t.Error("the rules are not those of the file")
	}
}

func TestAuthzProblems(t *testing.T) {
	for _, c := range []struct{ name, file, data, want string }{
		{"wrong line", "repos/team/old/svn.authz", "[/]\n* = r\nalice = q\n", "repos/team/old/svn.authz:3: The access mode 'q'"},
		{"no syntax", "repos/team/old/svn.authz", "[/\n", "repos/team/old/svn.authz:1: "},
		{"no repository", "repos/nothing.authz", secretRules, "repos/nothing.authz: there is no repository nothing"},
		{"a git repository", "repos/site.authz", secretRules, "repos/site.authz: site is a git repository"},
		{"a twin", "repos/team/old/SVN.authz", secretRules, "repos/team/old/SVN.authz: there is no repository"},
		{"elsewhere", "users/root.authz", secretRules, "users/root.authz: a file in users has a name that ends in .yaml"},
		{"at the root", "authz", secretRules, "authz: unknown file"},
	} {
		fsys := company(t)
		put(fsys, c.file, c.data)
		if _, err := auth.Load(fsys); !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestEditAuthz(t *testing.T) {
	const repo, file, other = "team/old/svn", "repos/team/old/svn.authz", "repos/elsewhere.authz"
	yaml := "id: " + id(3) + "\nkind: svn\n"
	for _, c := range []struct {
		name string
		edit func(*auth.Edit) error
		want map[string]string // of authz files; "" is one that is removed
		err  string
	}{
		{"set", func(e *auth.Edit) error { return e.SetAuthz(repo, []byte("[/]\n* = r\n")) }, map[string]string{file: "[/]\n* = r\n"}, ""},
		{"set what is wrong", func(e *auth.Edit) error { return e.SetAuthz(repo, []byte("[/]\n* = x\n")) }, nil, file + ":2: "},
		{"set on nothing", func(e *auth.Edit) error { return e.SetAuthz("x", nil) }, nil, "repository x: no such"},
		{"set on git", func(e *auth.Edit) error { return e.SetAuthz("site", []byte("[/]\n")) }, nil, "site is a git repository"},
		{"remove", func(e *auth.Edit) error { return e.SetAuthz(repo, nil) }, map[string]string{file: ""}, ""},
		{"rename", func(e *auth.Edit) error { return e.RenameRepo(repo, "elsewhere") }, map[string]string{file: "", other: secretRules}, ""},
		{"delete", func(e *auth.Edit) error { return e.DeleteRepo(repo) }, map[string]string{file: ""}, ""},
		{"delete and undelete", func(e *auth.Edit) error {
			if err := e.DeleteRepo(repo); err != nil {
				return err
			}
			return e.UndeleteRepo(repo, []byte(yaml), []byte(secretRules))
		}, nil, ""},
		{"a repository below", func(e *auth.Edit) error {
			return e.CreateRepo(auth.Repo{Name: "team/old/svn.authz/x", ID: id(8), SCM: "svn"})
		}, nil, "is a file"},
	} {
		fsys := company(t)
		put(fsys, file, secretRules)
		e := load(t, fsys).Edit()
		err := c.edit(e)
		if c.err != "" || err != nil {
			if c.err == "" || !strings.Contains(fmt.Sprint(err), c.err) {
				t.Errorf("%s: %v, want %q", c.name, err, c.err)
			}
			continue
		}
		got := map[string]string{}
		for name, data := range e.Changes() {
			if strings.HasSuffix(name, ".authz") {
				got[name] = string(data)
			}
		}
		if c.want == nil {
			c.want = map[string]string{}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}
