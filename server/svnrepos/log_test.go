package svnrepos_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
)

// mergedHistory has a branch that trunk was merged into, and that was merged back, in part taken back, and renames.
var mergedHistory = []string{
	"mkdir /trunk; mkdir /trunk/d; mkdir /branches; put /trunk/f 1|2|3|; put /trunk/d/g a|",
	"cp 1 /trunk /branches/b",
	"put /branches/b/f 1|2|3|4|",
	"put /trunk/d/g b|; set p v /trunk",
	"put /branches/b/d/g b|; set svn:mergeinfo /trunk:2-4 /branches/b",
	"put /branches/b/n new|",
	"put /trunk/f 1|2|3|4|; cp 6 /branches/b/n /trunk/n; set svn:mergeinfo /branches/b:2-6 /trunk",
	"rm /branches/b",
	"mkdir /tags; cp 8 /trunk /tags/1",
	"put /trunk/f 1|2|3|; set svn:mergeinfo /branches/b:4-6 /trunk",
	"cp 10 /trunk/f /trunk/h; rm /trunk/f",
	"put /trunk/h 1|2|3|5|; set p w /trunk/h",
	"set svn:mergeinfo /branches/b/f:3 /trunk/h; put /trunk/h 1|2|3|4|5|",
}

func newMergedHistory(t testing.TB) *svnrepos.Repository {
	fs := newFS(t)
	script(t, fs, mergedHistory...)
	return &svnrepos.Repository{FS: fs}
}

func TestLog(t *testing.T) {
	r := newMergedHistory(t)
	for _, test := range []struct {
		name string
		req  svnrepos.LogRequest
		want string
	}{
		{"all", svnrepos.LogRequest{Start: -1}, "13 12 11 10 9 8 7 6 5 4 3 2 1 0"},
		{"ascending", svnrepos.LogRequest{Start: 3, End: 5, Paths: []string{"/"}}, "3 4 5"},
		{"limited", svnrepos.LogRequest{Start: -1, Limit: 2}, "13 12"},
		{"ascending and limited", svnrepos.LogRequest{Start: 2, End: -1, Limit: 2}, "2 3"},
		{"changes", svnrepos.LogRequest{Start: 11, End: 8, ChangedPaths: true},
			"11 D/trunk/f A/trunk/h</trunk/f@10 10 M/trunk M/trunk/f 9 A/tags A/tags/1</trunk@8 8 D/branches/b"},
		{"properties", svnrepos.LogRequest{Start: 8, End: 8, RevProps: []string{svn.PropLog, "none"}}, "8(rm /branches/b)"},
		{"all properties", svnrepos.LogRequest{Start: 8, End: 8, AllRevProps: true}, "8(alice rm /branches/b)"},
		{"a file", svnrepos.LogRequest{Start: -1, Paths: []string{"/trunk/h"}}, "13 12 11 10 7 1"},
		{"part of its history", svnrepos.LogRequest{Start: 12, End: 7, Paths: []string{"/trunk/h"}}, "12 11 10 7"},
		{"a file, ascending and limited", svnrepos.LogRequest{End: -1, Limit: 2, Paths: []string{"/trunk/h"}}, "1 7"},
		{"not across copies", svnrepos.LogRequest{Start: -1, Paths: []string{"/trunk/h"}, StrictNode: true}, "13 12 11"},
		{"two paths", svnrepos.LogRequest{Start: -1, Paths: []string{"/trunk/d", "/tags/1/f"}}, "9 7 4 1"},
		{"a missing path", svnrepos.LogRequest{Start: -1, Paths: []string{"/x"}}, "E160013: File not found: revision 13, path '/x'"},
		{"a missing revision", svnrepos.LogRequest{Start: 99}, "E160006: No such revision 99"},
		{"another", svnrepos.LogRequest{End: 99}, "E160006: No such revision 99"},
	} {
		if got := describeLog(t, r, test.req); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

// TestLogMerged has what Subversion tells of the same history.
func TestLogMerged(t *testing.T) {
	r := newMergedHistory(t)
	for _, test := range []struct {
		req  svnrepos.LogRequest
		want string
	}{
		{svnrepos.LogRequest{Start: -1, Paths: []string{"/trunk"}}, "13+ 3 . 12 11 10+ 2- . 7+ 6 5+ . . 4 1"},
		{svnrepos.LogRequest{End: -1, Paths: []string{"/trunk"}}, "1 4 7+ 6 5+ . 3 2 . 10+ . 11 12 13+ ."},
		{svnrepos.LogRequest{Start: -1, Paths: []string{"/trunk"}, Limit: 3}, "13+ 3 . 12 11"},
		{svnrepos.LogRequest{Start: -1, Paths: []string{"/trunk/h"}}, "13+ 3 . 12 11 10+ 2- . 7 1"},
		{svnrepos.LogRequest{Start: -1, Paths: []string{"/"}}, "13+ . 12 11 10+ . 9 8 7+ . . 6 5+ . 4 3 2 1 0"},
		{svnrepos.LogRequest{Start: -1}, ""},
	} {
		test.req.IncludeMerged = true
		if got := describeLog(t, r, test.req); got != test.want {
			t.Errorf("%v: %s, want %s", test.req, got, test.want)
		}
	}
}

func TestLogAccess(t *testing.T) {
	r := newMergedHistory(t)
	r.Access = concealed{"/branches", "/trunk/d"}
	for _, test := range []struct {
		req  svnrepos.LogRequest
		want string
	}{
		{svnrepos.LogRequest{Start: 8, AllRevProps: true, ChangedPaths: true},
			"8 7(alice) M/trunk M/trunk/f A/trunk/n 6 5 4(alice) M/trunk 3 2 1(alice) A/trunk A/trunk/f 0()"},
		{svnrepos.LogRequest{Start: 7, End: 6, RevProps: []string{svn.PropLog}}, "7 6"},
		{svnrepos.LogRequest{Start: 11, End: 11, RevProps: []string{svn.PropLog}}, "11(cp 10 /trunk/f /trunk/h; rm /trunk/f)"},
		{svnrepos.LogRequest{Start: -1, Paths: []string{"/tags/1/n"}}, "9 7"},
		{svnrepos.LogRequest{Start: -1, Paths: []string{"/trunk/d"}}, "E220001: Item is not readable"},
		{svnrepos.LogRequest{Start: -1, Paths: []string{"/trunk"}, IncludeMerged: true}, "13+ E220001: Item is not readable"},
	} {
		if got := describeLog(t, r, test.req); got != test.want {
			t.Errorf("%v: %s, want %s", test.req, got, test.want)
		}
	}
	r.Access = concealed{"/"}
	if got := describeLog(t, r, svnrepos.LogRequest{Start: -1}); got != "E220001: Item is not readable" {
		t.Error(got)
	}
}

// TestLogEndless has mergeinfo that leads in circles, to the future, and nowhere.
func TestLogEndless(t *testing.T) {
	fs := newFS(t)
	script(t, fs,
		"mkdir /a; mkdir /b",
		"set svn:mergeinfo /b:3 /a",
		"set svn:mergeinfo /a:2 /b",
		"mkdir /a/x; set svn:mergeinfo /b:3|/none:1-3|/a/x:2 /a",
	)
	r := &svnrepos.Repository{FS: fs}
	for _, req := range []svnrepos.LogRequest{{Start: -1}, {End: -1}} {
		req.IncludeMerged, req.Paths = true, []string{"/a"}
		got := describeLog(t, r, req)
		for _, rev := range []string{"4", "3", "2", "1"} {
			if strings.Count(" "+got, " "+rev) != 1 {
				t.Errorf("%v: r%s is not there once: %.200s", req, rev, got)
			}
		}
	}
	script(t, fs, "set svn:mergeinfo /b:9 /a")
	if got := describeLog(t, r, svnrepos.LogRequest{Start: -1, End: 5, IncludeMerged: true, Paths: []string{"/a"}}); got != "5+ E160006: No such revision 9" {
		t.Error(got)
	}
	script(t, fs, "set svn:mergeinfo rubbish /a")
	if got := describeLog(t, r, svnrepos.LogRequest{Start: -1, End: 6, IncludeMerged: true, Paths: []string{"/a"}}); got != "6" {
		t.Error(got)
	}
}

func TestLogEnds(t *testing.T) {
	r := newMergedHistory(t)
	stop := errors.New("stop")
	for _, req := range []svnrepos.LogRequest{{Start: -1}, {Start: -1, Paths: []string{"/trunk"}, IncludeMerged: true}} {
		if err := r.Log(t.Context(), req, func(*svnrepos.LogEntry) error { return stop }); !errors.Is(err, stop) {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.Log(ctx, req, func(*svnrepos.LogEntry) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}
