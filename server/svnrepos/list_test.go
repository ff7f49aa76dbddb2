package svnrepos_test

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"

	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
)

func TestList(t *testing.T) {
	fs := newFS(t)
	script(t, fs,
		"mkdir /A; put /A/b.txt 12; put /A/Caf\u00e9 1; mkdir /A/sub; put /A/sub/B.txt 123; put /z.txt",
		"set p v /A/b.txt; mkdir /A/sub/cafe\u0301s",
	)
	for _, test := range []struct {
		name, path string
		concealed  concealed
		patterns   []string
		depth      svn.Depth
		want       string
	}{
		{"one", "/A", nil, nil, svn.DepthEmpty, "/A"},
		{"files", "/A", nil, nil, svn.DepthFiles, "/A /A/Caf\u00e9 /A/b.txt"},
		{"entries", "/A", nil, nil, svn.DepthImmediates, "/A /A/Caf\u00e9 /A/b.txt /A/sub"},
		{"all", "/", nil, nil, svn.DepthInfinity, "/ /A /A/Caf\u00e9 /A/b.txt /A/sub /A/sub/B.txt /A/sub/cafe\u0301s /z.txt"},
		{"a file", "/A/b.txt", nil, nil, svn.DepthInfinity, "/A/b.txt"},
		{"a pattern", "/", nil, []string{"b.*"}, svn.DepthInfinity, "/A/b.txt /A/sub/B.txt"},
		{"accents", "/", nil, []string{"cafe*"}, svn.DepthInfinity, "/A/Caf\u00e9 /A/sub/cafe\u0301s"},
		{"either pattern", "/", nil, []string{"z*", "a"}, svn.DepthInfinity, "/A /z.txt"},
		{"no pattern", "/", nil, []string{}, svn.DepthInfinity, ""},
		{"hidden below", "/", concealed{"/A/sub", "/z.txt"}, nil, svn.DepthInfinity, "/ /A /A/Caf\u00e9 /A/b.txt"},
		{"hidden", "/A/x", concealed{"/A"}, nil, svn.DepthInfinity, ""},
		{"nothing", "/x", nil, nil, svn.DepthInfinity, "E160013: Path '/x' not found"},
		{"a bad depth", "/", nil, nil, svn.DepthUnknown, "E165002: Invalid depth '-2' in svn_repos_list"},
	} {
		r := &svnrepos.Repository{FS: fs}
		if test.concealed != nil {
			r.Access = test.concealed
		}
		var b strings.Builder
		req := svnrepos.ListRequest{Path: test.path, Rev: 2, Patterns: test.patterns, Depth: test.depth, Fields: svnrepos.DirentKind}
		err := r.List(t.Context(), req, func(dir string, d *svn.Dirent) error {
			at := svn.Join(dir, d.Name)
			if d.Name != strings.TrimPrefix(path.Base(at), "/") || d.Kind == svn.None || d.CreatedRev != 0 {
				t.Errorf("%s: %+v", at, d)
			}
			b.WriteString(at + " ")
			return nil
		})
		if got := describeError(&b, err); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestListFields(t *testing.T) {
	fs := newFS(t)
	script(t, fs, "put /f 12", "set p v /f", "mkdir /d")
	r := &svnrepos.Repository{FS: fs}
	const date = "2024-05-06T07:08:09.123456Z"
	want := svn.Dirent{Name: "f", Kind: svn.File, Size: 2, HasProps: true, CreatedRev: 2, Date: date, Author: "alice", HasAuthor: true}
	req := svnrepos.ListRequest{Path: "/f", Rev: 3, Fields: svnrepos.DirentAll}
	stop := errors.New("stop")
	err := r.List(t.Context(), req, func(_ string, d *svn.Dirent) error {
		if *d != want {
			t.Errorf("%+v", *d)
		}
		return stop
	})
	if !errors.Is(err, stop) {
		t.Error(err)
	}
	entries, err := r.DirEntries("/", 3, svnrepos.DirentAll)
	if err != nil || len(entries) != 2 || entries[1] != want || entries[0].Name != "d" || entries[0].Kind != svn.Dir || entries[0].CreatedRev != 3 {
		t.Errorf("%+v, %v", entries, err)
	}
	entries, err = r.DirEntries("/", 1, svnrepos.DirentSize)
	if err != nil || len(entries) != 1 || entries[0] != (svn.Dirent{Name: "f", Kind: svn.File, Size: 2}) {
		t.Errorf("%+v, %v", entries, err)
	}
	if _, err := r.DirEntries("/f", 1, svnrepos.DirentAll); !errors.Is(err, svn.ErrFSNotDirectory) {
		t.Error(err)
	}
	r.Access = concealed{"/d"}
	if entries, err = r.DirEntries("/", 3, svnrepos.DirentKind); err != nil || len(entries) != 1 {
		t.Errorf("%+v, %v", entries, err)
	}
}

func TestGlobMatch(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"a*", "abc", true}, {"*c", "abc", true}, {"a*b*c", "a-b-b-c", true},
		{"a*b*c", "a-b-b", false}, {"?", "a", true}, {"?", "", false}, {"??", "\u00e9", true}, {"[a-c]x", "bx", true}, {"[!a-c]x", "bx", false},
		{"[^a-c]x", "dx", true}, {"[]]", "]", true}, {"[a-]", "-", true}, {"[", "[", true}, {"[a", "[a", true}, {"[a", "a", false},
		{`\*`, "*", true}, {`\*`, "a", false}, {`[\]]`, "]", true}, {`a\`, `a\`, true}, {"[a-c-e]", "-", true}, {"[!]a]", "b", true},
	} {
		if got := svnrepos.GlobMatch(test.pattern, test.name); got != test.want {
			t.Errorf("%q, %q: %t", test.pattern, test.name, got)
		}
	}
	// This takes exponential time where every star is tried again.
	if svnrepos.GlobMatch(strings.Repeat("a*", 3000)+"b", strings.Repeat("a", 3000)) {
		t.Error("it matches")
	}
}

// FuzzGlob compares with path.Match, which has no slash to stop at here, and other rules for errors and escapes.
func FuzzGlob(f *testing.F) {
	f.Add("a*[b-d]?", "axxcz")
	f.Add("*a*a*a*b", "aaaaaaaaaaaaaaaa")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		got := svnrepos.GlobMatch(pattern, name)
		if strings.ContainsAny(pattern, `\[]`) || strings.Contains(name, "/") {
			return
		}
		for _, s := range pattern + name {
			if s >= 0x80 {
				return
			}
		}
		if want, err := path.Match(pattern, name); err == nil && got != want {
			t.Errorf("%q, %q: %t, want %t", pattern, name, got, want)
		}
	})
}

// TestListLikeSubversion compares searches with svn's.
func TestListLikeSubversion(t *testing.T) {
	fs := newFS(t)
	script(t, fs, "mkdir /a; mkdir /a/Bc; put /a/Bc/abc 1; put /a/b] 1; put /a/[x 1; put /a/a-c 1; put /a/\u00c4x 1; put /a/q?w 1; put /a/\u00df 1")
	r := &svnrepos.Repository{FS: fs}
	url := peerOf(t, r)
	for _, pattern := range []string{"*", "?", "??", "b*", "[a-b]*", "[!a-b]*", "*]", "[[]*", "[", "[x", `q\?w`, "ax", "ss", "a-c", "*b*c*"} {
		var b strings.Builder
		req := svnrepos.ListRequest{Path: "/a", Rev: 1, Patterns: []string{pattern}, Depth: svn.DepthInfinity}
		err := r.List(t.Context(), req, func(dir string, d *svn.Dirent) error {
			rel, _ := svn.Rel("/a", svn.Join(dir, d.Name))
			if d.Kind == svn.Dir {
				rel += "/"
			}
			if rel != "/" {
				fmt.Fprintln(&b, rel)
			}
			return nil
		})
		want := string(subversion(t, nil, "svn", "list", "-R", "--search", pattern, url+"/a"))
		if err != nil || b.String() != strings.TrimPrefix(want, "./\n") {
			t.Errorf("%s: %q, %v, want %q", pattern, b.String(), err, want)
		}
	}
}
