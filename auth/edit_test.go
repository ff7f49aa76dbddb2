package auth_test

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/auth"
)

func TestEdit(t *testing.T) {
	key := func(n byte) auth.Key {
		k, err := auth.ParseKey(keyLine(t, n))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	ci := auth.Token{Name: "deploy", SHA256: auth.HashToken("y"), Created: time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)}
	for _, c := range []struct {
		name string
		edit func(*auth.Edit) error
		want map[string]string // "" is a file that is removed
		err  string
	}{
		{"add user", func(e *auth.Edit) error { return e.AddUser(auth.User{Name: "null", Keys: []auth.Key{key(9)}}) },
			map[string]string{"users/null.yaml": "keys:\n  - " + keyLine(t, 9) + "\n"}, ""},
		{"add admin", func(e *auth.Edit) error {
			return e.AddUser(auth.User{Name: "zoe", Admin: true, Keys: []auth.Key{key(9)}, Tokens: []auth.Token{ci}})
		}, map[string]string{"users/zoe.yaml": "admin: true\nkeys:\n  - " + keyLine(t, 9) + "\ntokens:\n  - name: deploy\n    sha256: " +
			auth.HashToken("y") + "\n    created: 2026-02-03T04:05:06Z\n"}, ""},
		{"add user without keys", func(e *auth.Edit) error { return e.AddUser(auth.User{Name: "zoe"}) },
			map[string]string{"users/zoe.yaml": "keys: []\n"}, ""},
		{"add user twice", func(e *auth.Edit) error { return e.AddUser(auth.User{Name: "bob"}) }, nil, "user bob: already exists"},
		{"add twin", func(e *auth.Edit) error { return e.AddUser(auth.User{Name: "BOB"}) }, nil, "only in case"},
		{"add climbing user", func(e *auth.Edit) error { return e.AddUser(auth.User{Name: "../x"}) }, nil, "name"},
		{"add nobody", func(e *auth.Edit) error { return e.AddUser(auth.User{}) }, nil, "name"},
		{"add user with another's key", func(e *auth.Edit) error { return e.AddUser(auth.User{Name: "zoe", Keys: []auth.Key{key(2)}}) },
			nil, "is also in users/alice.yaml:1"},
		{"remove user", func(e *auth.Edit) error { return e.RemoveUser("bob") }, map[string]string{
			"users/bob.yaml":   "",
			"groups/devs.yaml": "members: [alice]\n",
			"groups/ops.yaml":  "members: []\n",
			"repos/site.yaml":  "id: " + id(1) + "\nkind: git\npublic: true\ngrants: {\"@devs\": write}\n",
		}, ""},
		{"remove creator", func(e *auth.Edit) error { return e.RemoveUser("carol") },
			map[string]string{"users/carol.yaml": "", "settings.yaml": "create: [\"@devs\"]\n"}, ""},
		{"remove last admin", func(e *auth.Edit) error { return e.RemoveUser("root") }, nil, "no host admin"},
		{"remove last admin's key", func(e *auth.Edit) error { return e.RemoveKey("root", key(1).Fingerprint) }, nil, "no host admin"},
		{"remove nobody", func(e *auth.Edit) error { return e.RemoveUser("zoe") }, nil, "user zoe: no such"},
		{"add key", func(e *auth.Edit) error { return e.AddKey("carol", key(9)) },
			map[string]string{"users/carol.yaml": "keys:\n  - " + keyLine(t, 9) + "\n"}, ""},
		{"add key twice", func(e *auth.Edit) error { return e.AddKey("bob", key(3)) }, nil, "is also in users/bob.yaml"},
		{"remove key", func(e *auth.Edit) error { return e.RemoveKey("bob", key(3).Fingerprint) },
			map[string]string{"users/bob.yaml": "keys: [" + keyLine(t, 4) + "]\n"}, ""},
		{"remove another's key", func(e *auth.Edit) error { return e.RemoveKey("bob", key(2).Fingerprint) }, nil, "no such"},
		{"add token", func(e *auth.Edit) error { return e.AddToken("bob", ci) },
			map[string]string{"users/bob.yaml": "keys: [" + keyLine(t, 3) + ", " + keyLine(t, 4) + "]\ntokens:\n  - name: deploy\n    sha256: " +
				auth.HashToken("y") + "\n    created: 2026-02-03T04:05:06Z\n"}, ""},
		{"add token of the same name", func(e *auth.Edit) error {
			return e.AddToken("alice", auth.Token{Name: "CI", SHA256: auth.HashToken("y")})
		},
			nil, "another token of the name CI"},
		{"revoke token", func(e *auth.Edit) error { return e.RevokeToken("alice", "ci") },
			map[string]string{"users/alice.yaml": "keys: [" + keyLine(t, 2) + "]\ntokens: []\n"}, ""},
		{"revoke nothing", func(e *auth.Edit) error { return e.RevokeToken("bob", "ci") }, nil, "token ci: no such"},
		{"create repo", func(e *auth.Edit) error {
			return e.CreateRepo(auth.Repo{Name: "team/new", ID: id(8), SCM: "git", Format: "sha1", Public: true,
				Grants: map[string]auth.Op{"bob": auth.Admin, "*": auth.Read}})
		}, map[string]string{"repos/team/new.yaml": "id: \"" + id(8) + "\"\nkind: git\nformat: sha1\npublic: true\ngrants:\n  '*': read\n  bob: admin\n"}, ""},
		{"create with an id of digits", func(e *auth.Edit) error {
			return e.CreateRepo(auth.Repo{Name: "x", ID: strings.Repeat("5", 32), SCM: "svn"})
		}, map[string]string{"repos/x.yaml": "id: \"" + strings.Repeat("5", 32) + "\"\nkind: svn\n"}, ""},
		{"create twice", func(e *auth.Edit) error { return e.CreateRepo(auth.Repo{Name: "site", ID: id(8), SCM: "git"}) }, nil, "already exists"},
		{"create inside", func(e *auth.Edit) error { return e.CreateRepo(auth.Repo{Name: "site/x", ID: id(8), SCM: "git"}) }, nil, "is a repository"},
		{"create above", func(e *auth.Edit) error { return e.CreateRepo(auth.Repo{Name: "team", ID: id(8), SCM: "git"}) }, nil, "is a repository"},
		{"create reserved", func(e *auth.Edit) error {
			return e.CreateRepo(auth.Repo{Name: "holdfast-admin", ID: id(8), SCM: "git"})
		},
			nil, "reserved"},
		{"create with a used id", func(e *auth.Edit) error { return e.CreateRepo(auth.Repo{Name: "x", ID: id(1), SCM: "git"}) }, nil, "the id is that of"},
		{"delete repo", func(e *auth.Edit) error { return e.DeleteRepo("team/app") }, map[string]string{"repos/team/app.yaml": ""}, ""},
		{"delete nothing", func(e *auth.Edit) error { return e.DeleteRepo("team") }, nil, "repository team: no such"},
		{"undelete repo", func(e *auth.Edit) error {
			return e.UndeleteRepo("back", []byte("id: "+id(8)+"\nkind: git\ngrants:\n  zoe: write\n  bob: read # still here\n  \"@gone\": read\n"), nil)
		}, map[string]string{"repos/back.yaml": "id: " + id(8) + "\nkind: git\ngrants:\n  bob: read # still here\n"}, ""},
		{"rename repo", func(e *auth.Edit) error { return e.RenameRepo("secret", "team/Secret") },
			map[string]string{"repos/secret.yaml": "", "repos/team/Secret.yaml": "id: " + id(4) + "\nkind: git\n"}, ""},
		{"rename in case only", func(e *auth.Edit) error { return e.RenameRepo("secret", "Secret") },
			map[string]string{"repos/secret.yaml": "", "repos/Secret.yaml": "id: " + id(4) + "\nkind: git\n"}, ""},
		{"rename to itself", func(e *auth.Edit) error { return e.RenameRepo("secret", "secret") }, nil, "already exists"},
		{"rename over", func(e *auth.Edit) error { return e.RenameRepo("secret", "site") }, nil, "already exists"},
		{"rename away", func(e *auth.Edit) error { return e.RenameRepo("secret", "../secret") }, nil, "name"},
		{"rename to reserved", func(e *auth.Edit) error { return e.RenameRepo("secret", "holdfast-admin") }, nil, "reserved"},
		{"grant", func(e *auth.Edit) error { return e.Grant("secret", "@devs", auth.Write) },
			map[string]string{"repos/secret.yaml": "id: " + id(4) + "\nkind: git\ngrants:\n  '@devs': write\n"}, ""},
		{"grant more", func(e *auth.Edit) error { return e.Grant("team/app", "@devs", auth.Admin) },
			map[string]string{"repos/team/app.yaml": "id: " + id(2) + "\nkind: git\nformat: sha256\ngrants:\n  \"@devs\": admin # for now\n  \"@ops\": write\n"}, ""},
		{"grant to nobody", func(e *auth.Edit) error { return e.Grant("secret", "zoe", auth.Write) }, nil, "there is no user zoe"},
		{"grant nothing", func(e *auth.Edit) error { return e.Grant("secret", "bob", auth.Create) }, nil, "read, write or admin"},
		{"revoke", func(e *auth.Edit) error { return e.Revoke("team/app", "@devs") },
			map[string]string{"repos/team/app.yaml": "id: " + id(2) + "\nkind: git\nformat: sha256\ngrants:\n  \"@ops\": write\n"}, ""},
		{"revoke last", func(e *auth.Edit) error { return e.Revoke("team/old/svn", "*") },
			map[string]string{"repos/team/old/svn.yaml": "id: " + id(3) + "\nkind: svn\ngrants: {}\n"}, ""},
		{"revoke what is not", func(e *auth.Edit) error { return e.Revoke("secret", "bob") }, nil, "grant to bob: no such"},
		{"publish", func(e *auth.Edit) error { return e.Publish("secret") },
			map[string]string{"repos/secret.yaml": "id: " + id(4) + "\nkind: git\npublic: true\n"}, ""},
		{"unpublish", func(e *auth.Edit) error { return e.Unpublish("site") },
			map[string]string{"repos/site.yaml": "id: " + id(1) + "\nkind: git\ngrants: {\"@devs\": write, bob: admin}\n"}, ""},
		{"unpublish what is not public", func(e *auth.Edit) error { return e.Unpublish("secret") }, map[string]string{}, ""},
	} {
		fsys := company(t)
		e := load(t, fsys).Edit()
		err := c.edit(e)
		got := map[string]string{}
		for name, data := range e.Changes() {
			got[name] = string(data)
		}
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) || len(got) > 0 {
				t.Errorf("%s: %v and changes %v, want %q", c.name, err, got, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		for name, data := range e.Changes() {
			if fsys[name] = (&fstest.MapFile{Data: data}); data == nil {
				delete(fsys, name)
			}
		}
		if again := load(t, fsys); !cmp.Equal(again.Repos(), e.Policy().Repos()) || len(again.Users()) != len(e.Policy().Users()) {
			t.Errorf("%s: the written files are read differently", c.name)
		}
	}
}

// The first policy of a host comes out of edits of an empty one.
func TestEditFromNothing(t *testing.T) {
	k, err := auth.ParseKey(keyLine(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	e := new(auth.Policy).Edit()
	if err := e.AddUser(auth.User{Name: "root", Admin: true, Keys: []auth.Key{k}}); err != nil {
		t.Fatal(err)
	}
	if err := e.Policy().CheckChange(nil, nil); err != nil {
		t.Error(err)
	}
	if err := e.Policy().Allow(auth.Identity{Name: "root"}, auth.AdminRepo, auth.Write); err != nil {
		t.Error(err)
	}
	if err := e.RemoveUser("root"); !errors.Is(err, auth.ErrLastAdmin) {
		t.Errorf("RemoveUser = %v", err)
	}
}

func TestEditSeveralSteps(t *testing.T) {
	e := load(t, company(t)).Edit()
	if err := e.DeleteRepo("secret"); err != nil {
		t.Fatal(err)
	}
	if err := e.UndeleteRepo("secret", []byte("id: "+id(4)+"\nkind: git\n"), nil); err != nil {
		t.Fatal(err)
	}
	if changes := e.Changes(); len(changes) != 0 {
		t.Errorf("steps that cancel out leave %v", changes)
	}
}

func TestEditKeepsWithinLimits(t *testing.T) {
	p, err := auth.Limits{FileBytes: 300}.Load(company(t))
	if err != nil {
		t.Fatal(err)
	}
	k, _ := auth.ParseKey(keyLine(t, 9) + " " + strings.Repeat("x", 300))
	var pe *auth.PolicyError
	if err := p.Edit().AddKey("carol", k); !errors.As(err, &pe) || pe.File != "users/carol.yaml" {
		t.Errorf("AddKey = %v", err)
	}
}
