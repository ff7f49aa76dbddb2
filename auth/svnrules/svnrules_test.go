package svnrules_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"holdfast/auth/svnrules"
)

func globs(t *testing.T, texts ...string) (all []svnrules.Glob) {
	t.Helper()
	for _, text := range texts {
		g, err := svnrules.ParseGlob(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, g)
	}
	return all
}

func TestGlob(t *testing.T) {
	for _, row := range []struct {
		glob, path string
		want       bool
	}{
		{"*.exe", "/a/B.EXE", true},
		{"*.exe", "/a/b.exe/c", true},
		{"*.exe", "/a/b.exec", false},
		{"*.exe", "/.exe", true},
		{"vendor/", "/x/vendor/y", true},
		{"/vendor", "/x/vendor", false},
		{"/vendor", "/vendor/y", true},
		{"trunk/v?ndor", "/trunk/vendor", true},
		{"trunk/v?ndor", "/x/trunk/vendor", false},
		{"/trunk/*/x", "/trunk/a/b/x", false},
		{"/trunk/**/x", "/trunk/a/b/x", true},
		{"/trunk/**/x", "/trunk/x", true},
		{"/trunk/**", "/trunk", true},
		{"**/a.b", "/aXb", false},
		{"a\n*", "/a\nb", true},
	} {
		if got := globs(t, row.glob)[0].Match(row.path); got != row.want {
			t.Errorf("%+v: %v", row, got)
		}
	}
	for _, bad := range []string{"", "/", "a//b", "a/../b", "./a", strings.Repeat("a", svnrules.MaxPatternBytes+1)} {
		if _, err := svnrules.ParseGlob(bad); err == nil {
			t.Errorf("%.20q is a pattern", bad)
		}
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("/a/**/*.b", "/a/c/d.b")
	f.Fuzz(func(t *testing.T, text, path string) {
		g, err := svnrules.ParseGlob(text)
		if err == nil && g.Match(path) && !g.Match(path+"/below") {
			t.Error("what is below a match does not match")
		}
	})
}

// commit makes one of files that are added, with these properties and sizes, in the directory /d, which has others.
func commit(log string, names []string, changes ...svnrules.Change) svnrules.Commit {
	return svnrules.Commit{
		Log: log, Changes: changes,
		Node: func(path string) (svnrules.Node, error) {
			switch {
			case strings.HasSuffix(path, ".big"):
				return svnrules.Node{Size: 101}, nil
			case strings.HasSuffix(path, ".mpg"):
				return svnrules.Node{Props: map[string]string{"svn:mime-type": "Video/MPEG; codecs=x"}}, nil
			case strings.HasSuffix(path, "crlf.c"):
				return svnrules.Node{Props: map[string]string{"svn:eol-style": "CRLF"}}, nil
			case strings.HasSuffix(path, "good.c"):
				return svnrules.Node{Props: map[string]string{"svn:eol-style": "native"}}, nil
			case strings.HasSuffix(path, "lost"):
				return svnrules.Node{}, errors.New("lost")
			}
			return svnrules.Node{Size: 100}, nil
		},
		Names: func(dir string, fn func(string)) error {
			for _, n := range names {
				fn(n)
			}
			return nil
		},
	}
}

func add(path string) svnrules.Change { return svnrules.Change{Path: path, Added: true, TextMod: true} }

func rules(t *testing.T) *svnrules.Rules {
	return &svnrules.Rules{
		Log:            svnrules.LogRule{Required: true, MinLength: 5, Pattern: regexp.MustCompile(`^\w+: `), Hint: "Like this."},
		Issue:          regexp.MustCompile(`[A-Z]+-\d+`),
		NoCaseClashes:  true,
		ForbiddenPaths: globs(t, "*.exe"),
		ForbiddenTypes: []string{"video/*", "a/b"},
		MaxFileBytes:   100,
		RequiredProps:  []svnrules.RequiredProp{{globs(t, "*.c"), "svn:eol-style", []string{"native", "LF"}}, {globs(t, "*.psd"), "svn:needs-lock", nil}},
	}
}

const fine = "fix: see X-1"

func TestCheckCommit(t *testing.T) {
	for _, row := range []struct {
		name   string
		commit svnrules.Commit
		want   string // the reasons
	}{
		{"fine", commit(fine, []string{"a", "b"}, add("/d/a"), add("/d/good.c")), ""},
		{"no log", commit(" \n", nil), "The log message is empty.\n- The log message refers to no issue: nothing in it matches \"[A-Z]+-\\\\d+\".\n- Like this."},
		{"short log", commit("X-1", nil), "The log message has 3 characters; it should have at least 5.\n- Like this."},
		{"other log", commit("about X-1", nil), "The log message does not match \"^\\\\w+: \".\n- Like this."},
		{"no issue", commit("fix: all", nil), "The log message refers to no issue: nothing in it matches \"[A-Z]+-\\\\d+\".\n- Like this."},
		{"forbidden path", commit(fine, nil, add("/d/a.EXE")), "'/d/a.EXE' may not be added: \"*.exe\" is forbidden."},
		{"forbidden directory", commit(fine, nil, svnrules.Change{Path: "/a.exe", Dir: true, Added: true}), "'/a.exe' may not be added: \"*.exe\" is forbidden."},
		{"forbidden path that is there", commit(fine, nil, svnrules.Change{Path: "/d/a.exe", TextMod: true}), ""},
		{"forbidden path that goes", commit(fine, nil, svnrules.Change{Path: "/d/a.exe", Deleted: true}), ""},
		{"large", commit(fine, nil, add("/d/x.big"), svnrules.Change{Path: "/d/y.big", TextMod: true}),
			"'/d/x.big' has 101 bytes, more than 100.\n- '/d/y.big' has 101 bytes, more than 100."},
		{"large but for the text", commit(fine, nil, svnrules.Change{Path: "/d/y.big", PropMod: true}), ""},
		{"type", commit(fine, nil, add("/d/x.mpg")), "'/d/x.mpg' has the type video/mpeg, which is forbidden."},
		{"property", commit(fine, nil, add("/x.c"), svnrules.Change{Path: "/crlf.c", PropMod: true}, add("/a.psd")),
			"'/x.c' needs the property svn:eol-style, with the value native or LF.\n" +
				"- '/crlf.c' has the property svn:eol-style with the value \"CRLF\"; it should be native or LF.\n" +
				"- '/a.psd' needs the property svn:needs-lock."},
		{"property of a text that changes", commit(fine, nil, svnrules.Change{Path: "/x.c", TextMod: true}), ""},
		{"clash with what is there", commit(fine, []string{"readme", "README"}, add("/d/README")), "In '/d', the names 'README' and 'readme' differ only in case."},
		{"clash of what is added", commit(fine, []string{"a", "A"}, add("/A"), add("/a")), "In '/', the names 'A' and 'a' differ only in case."},
		{"old clash", commit(fine, []string{"a", "A", "b"}, add("/d/b")), ""},
		{"spelled otherwise", commit(fine, []string{"straße", "x"}, add("/d/STRASSE")), ""},
	} {
		err := rules(t).CheckCommit(row.commit)
		want := "<nil>"
		if row.want != "" {
			want = "The rules of this repository do not allow this:\n- " + row.want
		}
		if fmt.Sprint(err) != want {
			t.Errorf("%s: %v\nnot %s", row.name, err, want)
		}
	}
	var refusal svnrules.Refusal
	if err := rules(t).CheckCommit(commit(fine, nil, add("/lost"))); err == nil || errors.As(err, &refusal) {
		t.Errorf("lost: %v", err)
	}
	if err := (*svnrules.Rules)(nil).CheckCommit(commit("", nil, add("/lost"))); err != nil {
		t.Error(err)
	}
}

func TestManyReasons(t *testing.T) {
	var changes []svnrules.Change
	for i := range 50 {
		changes = append(changes, add(fmt.Sprintf("/%d.exe", i)))
	}
	err := rules(t).CheckCommit(commit(fine, nil, changes...))
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 22 || lines[21] != "- and 30 more" {
		t.Errorf("%q", lines)
	}
}

func TestCheckRevProp(t *testing.T) {
	value, short := "fix: see X-1", "x"
	r := rules(t)
	r.RevProps = map[string][]string{"svn:log": {"$author", "@devs"}, "sync-*": {"mirror"}, "sync-x*": {"*"}, "*": {"joe"}}
	inGroup := func(g string) bool { return g == "devs" }
	for _, row := range []struct {
		name  string
		rules *svnrules.Rules
		c     svnrules.RevPropChange
		want  bool
	}{
		{"nobody", nil, svnrules.RevPropChange{Name: "svn:log", User: "ann", Author: "ann"}, false},
		{"an admin", nil, svnrules.RevPropChange{Name: "svn:log", User: "ann", Admin: true}, true},
		{"an admin, other property", nil, svnrules.RevPropChange{Name: "svn:date", User: "ann", Admin: true}, false},
		{"an admin, short log", r, svnrules.RevPropChange{Name: "svn:log", User: "ann", Admin: true, Value: &short}, false},
		{"an admin, no log", r, svnrules.RevPropChange{Name: "svn:log", User: "ann", Admin: true}, false},
		{"author", r, svnrules.RevPropChange{Name: "svn:log", User: "ann", Author: "ann", Value: &value}, true},
		{"another", r, svnrules.RevPropChange{Name: "svn:log", User: "ann", Author: "joe", Value: &value}, false},
		{"anonymous author", r, svnrules.RevPropChange{Name: "svn:log", Value: &value}, false},
		{"group", r, svnrules.RevPropChange{Name: "svn:log", User: "ann", InGroup: inGroup, Value: &value}, true},
		{"prefix", r, svnrules.RevPropChange{Name: "sync-a", User: "mirror"}, true},
		{"longer prefix", r, svnrules.RevPropChange{Name: "sync-xy", User: "ann"}, true},
		{"prefix, another", r, svnrules.RevPropChange{Name: "sync-a", User: "joe"}, false},
		{"any", r, svnrules.RevPropChange{Name: "other", User: "joe"}, true},
	} {
		if err := row.rules.CheckRevProp(row.c); (err == nil) != row.want {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}
