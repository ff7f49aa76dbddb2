package svn_test

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"holdfast/storage/svn"
)

func TestCanonical(t *testing.T) {
	for in, want := range map[string]string{"": "/", "/": "/", "a": "/a", "//a/./b/": "/a/b", "/\u00e4 b": "/\u00e4 b"} {
		if got, err := svn.Canonical(in); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"/a/../b", "..", "/a\nb", "\x7f", "/\xff"} {
		if got, err := svn.Canonical(in); !errors.Is(err, svn.ErrFSPathSyntax) {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

func TestRelAndSplit(t *testing.T) {
	for _, test := range []struct {
		base, path, rel string
		ok              bool
	}{{"/", "/", "", true}, {"/", "/a", "a", true}, {"/a", "/a", "", true}, {"/a", "/a/b/c", "b/c", true}, {"/a", "/ab", "", false}, {"/a/b", "/a", "", false}} {
		rel, ok := svn.Rel(test.base, test.path)
		if rel != test.rel || ok != test.ok {
			t.Errorf("Rel(%q, %q) = %q, %v", test.base, test.path, rel, ok)
		}
		if ok && svn.Join(test.base, rel) != test.path {
			t.Errorf("Join(%q, %q) = %q", test.base, rel, svn.Join(test.base, rel))
		}
	}
	for path, want := range map[string][2]string{"/": {"/", ""}, "/a": {"/", "a"}, "/a/b": {"/a", "b"}, "a": {"", "a"}, "a/b": {"a", "b"}} {
		if dir, name := svn.Split(path); dir != want[0] || name != want[1] {
			t.Errorf("Split(%q) = %q, %q", path, dir, name)
		}
	}
}

func TestProps(t *testing.T) {
	p := svn.Props{"svn:log": "a\nb", "x": "", "a b": "\x00\xff"}
	got, err := svn.DecodeProps(svn.EncodeProps(p))
	if err != nil || !maps.Equal(got, p) {
		t.Fatalf("%q, %v", got, err)
	}
	value := "new"
	q := p.Clone()
	q.Set("x", nil)
	q.Set("y", &value)
	var changes string
	for _, c := range svn.PropDiff(p, q) {
		changes += fmt.Sprint(c.Name, c.Value != nil, " ")
	}
	if changes != "xfalse ytrue " {
		t.Errorf("the difference is %s", changes)
	}
}

func FuzzDecodeProps(f *testing.F) {
	f.Add(svn.EncodeProps(svn.Props{"a": "b", "c": ""}))
	f.Add([]byte("K 3\nabc\nV 99999999999\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := svn.DecodeProps(b); err == nil && string(svn.EncodeProps(p)) != string(b) {
			t.Fatalf("%q is not what it is written as", b)
		}
	})
}

func TestErrors(t *testing.T) {
	err := fmt.Errorf("at the edge: %w", svn.Wrap(svn.ErrFSConflict, svn.ErrFSTxnOutOfDate, "out of date"))
	if !errors.Is(err, svn.ErrFSTxnOutOfDate) || !errors.Is(err, svn.ErrFSConflict) || errors.Is(err, svn.ErrFSNotFound) {
		t.Error("errors.Is does not find the codes")
	}
	if svn.CodeOf(err) != svn.ErrFSTxnOutOfDate {
		t.Error(svn.CodeOf(err))
	}
}
