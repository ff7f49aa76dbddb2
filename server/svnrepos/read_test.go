package svnrepos_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
)

func TestRevProps(t *testing.T) {
	r := newMergedHistory(t)
	for _, test := range []struct {
		rev       svn.Revnum
		concealed concealed
		access    svnrepos.RevisionAccess
		names     string
	}{
		{7, nil, svnrepos.FullAccess, "svn:author svn:date svn:log"},
		{7, concealed{"/branches"}, svnrepos.PartialAccess, "svn:author svn:date"}, // the source of a copy
		{4, concealed{"/trunk/d"}, svnrepos.PartialAccess, "svn:author svn:date"},
		{6, concealed{"/branches"}, svnrepos.NoAccess, ""},
		{8, concealed{"/trunk/d"}, svnrepos.FullAccess, "svn:author svn:date svn:log"},
		{0, concealed{"/trunk"}, svnrepos.FullAccess, "svn:date"},
	} {
		r.Access = test.concealed
		access, err := r.RevisionAccess(test.rev)
		if err != nil || access != test.access {
			t.Errorf("r%d without %q: %v, %v", test.rev, test.concealed, access, err)
		}
		props, err := r.RevProps(test.rev)
		if got := strings.Join(props.Names(), " "); err != nil || got != test.names {
			t.Errorf("r%d without %q: %s, %v", test.rev, test.concealed, got, err)
		}
		message, err := r.RevProp(test.rev, svn.PropLog)
		if err != nil || (message != nil) != strings.Contains(test.names, svn.PropLog) {
			t.Errorf("r%d without %q: %v, %v", test.rev, test.concealed, message, err)
		}
	}
	for _, access := range []svnrepos.Access{nil, concealed{"/trunk"}} {
		r.Access = access
		if _, err := r.RevProps(99); !errors.Is(err, svn.ErrFSNoSuchRevision) {
			t.Error(err)
		}
	}
}

func TestStat(t *testing.T) {
	r := newMergedHistory(t)
	r.Access = concealed{"/tags"}
	for path, want := range map[string]string{
		"/trunk/h": "file 10 true 13 alice", "/trunk": "dir 0 true 13 alice", "/trunk/n": "file 4 false 7 alice",
		"/x": "", "/trunk/n/x": "", "/tags": "", "/tags/1": "",
	} {
		d, err := r.Stat(path, 13)
		got, kind := "", svn.None
		if d != nil {
			got, kind = fmt.Sprint(d.Kind, " ", d.Size, " ", d.HasProps, " ", d.CreatedRev, " ", d.Author), d.Kind
		}
		if err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", path, got, err, want)
		}
		if k, err := r.CheckPath(path, 13); err != nil || k != kind {
			t.Errorf("%s: %v, %v", path, k, err)
		}
	}
	if _, err := r.Stat("/", 99); !errors.Is(err, svn.ErrFSNoSuchRevision) {
		t.Error(err)
	}
	root, err := r.FS.Root(13)
	if err != nil {
		t.Fatal(err)
	}
	n, err := root.Node("/trunk/n")
	if err != nil {
		t.Fatal(err)
	}
	want := svnrepos.Committed{Rev: 7, Date: "2024-05-06T07:08:09.123456Z", Author: "alice", HasAuthor: true}
	if info, err := r.CommittedInfo(n); err != nil || info != want {
		t.Errorf("%+v, %v", info, err)
	}
	if rev, err := r.DatedRev(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)); err != nil || rev != 13 {
		t.Error(rev, err)
	}
}

func TestInheritedProps(t *testing.T) {
	fs := newFS(t)
	script(t, fs, "mkdir /a; mkdir /a/b; put /a/b/f 1; set p 1 /; set p 2 /a; set q 3 /a/b; set p 4 /a/b/f")
	r := &svnrepos.Repository{FS: fs}
	for _, test := range []struct {
		path, name string
		concealed  concealed
		want       string
	}{
		{"/a/b/f", "", nil, "[map[p:1]] a[map[p:2]] a/b[map[q:3]]"},
		{"/a/b/f", "p", nil, "[map[p:1]] a[map[p:2]]"},
		{"/a/b", "p", nil, "[map[p:1]] a[map[p:2]]"},
		{"/", "", nil, ""},
		{"/a/b/none", "q", concealed{"/a/b"}, ""},
		{"/a/none", "", nil, "[map[p:1]] a[map[p:2]]"},
		{"/none/f", "", nil, "E160013: File not found: revision 1, path '/none'"},
	} {
		r.Access = test.concealed
		all, err := r.InheritedProps(t.Context(), test.path, 1, test.name)
		var b strings.Builder
		for _, p := range all {
			fmt.Fprintf(&b, "%s[%v] ", p.Path, p.Props)
		}
		if got := describeError(&b, err); got != test.want {
			t.Errorf("%s %s: %s, want %s", test.path, test.name, got, test.want)
		}
	}
}
