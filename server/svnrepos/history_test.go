package svnrepos_test

import (
	"fmt"
	"strings"
	"testing"

	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
)

func TestLocations(t *testing.T) {
	r := newMergedHistory(t)
	for _, test := range []struct {
		name, path string
		concealed  concealed
		peg        svn.Revnum
		revs       []svn.Revnum
		want       string
	}{
		{"copies", "/tags/1/n", nil, 9, []svn.Revnum{9, 8, 7, 6, 5, 4, 2, 9}, "6:/branches/b/n 7:/trunk/n 8:/trunk/n 9:/tags/1/n"},
		{"a rename", "/trunk/h", nil, 13, []svn.Revnum{1, 7, 10, 11, 13}, "1:/trunk/f 7:/trunk/f 10:/trunk/f 11:/trunk/h 13:/trunk/h"},
		{"no copy, younger too", "/trunk/d", nil, 1, []svn.Revnum{13, 9, 1, 0}, "1:/trunk/d 9:/trunk/d 13:/trunk/d"},
		{"gone later", "/trunk/f", nil, 7, []svn.Revnum{12, 7}, "E160013: File not found: revision 12, path '/trunk/f'"},
		{"a hidden source", "/tags/1/n", concealed{"/branches"}, 9, []svn.Revnum{9, 8, 7, 6}, "7:/trunk/n 8:/trunk/n 9:/tags/1/n"},
		{"hidden", "/trunk/h", concealed{"/trunk"}, 13, nil, "E220001: Unreadable path encountered; access denied"},
		{"no revision", "/trunk/h", nil, 99, nil, "E160006: No such revision 99"},
	} {
		r.Access = test.concealed
		var b strings.Builder
		found, err := r.Locations(t.Context(), test.path, test.peg, test.revs)
		for rev := range r.FS.Youngest() + 1 {
			if at, ok := found[rev]; ok {
				fmt.Fprintf(&b, "%d:%s ", rev, at)
			}
		}
		if got := describeError(&b, err); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestLocationSegments(t *testing.T) {
	r := newMergedHistory(t)
	script(t, r.FS, "cp 4 /trunk/d /back")
	for _, test := range []struct {
		path            string
		concealed       concealed
		peg, start, end svn.Revnum
		want            string
	}{
		{"/tags/1/n", nil, -1, -1, -1, "14-9 tags/1/n, 8-7 trunk/n, 6-6 branches/b/n,"},
		{"/trunk/h", nil, -1, 12, 5, "12-11 trunk/h, 10-5 trunk/f,"},
		{"/tags/1", nil, 13, -1, 0, "13-9 tags/1, 8-1 trunk,"},
		{"/back", nil, -1, -1, -1, "14-14 back, 13-5 , 4-1 trunk/d,"},
		{"/back", nil, -1, 9, 7, "9-7 ,"},
		{"/", nil, -1, 2, 1, "2-1 ,"},
		{"/tags/1/n", concealed{"/branches"}, -1, -1, -1, "14-9 tags/1/n, 8-7 trunk/n,"},
		{"/tags/1/n", concealed{"/tags"}, -1, -1, -1, "E220001: Unreadable path encountered; access denied"},
		{"/trunk/h", nil, 99, -1, -1, "E160006: No such revision 99"},
		{"/trunk/h", nil, 12, 13, -1, "E160006: No such revision 13"},
		{"/trunk/h", nil, -1, 12, 13, "E160006: No such revision 13"},
		{"/nowhere", nil, -1, -1, -1, "E160013: File not found: revision 14, path '/nowhere'"},
	} {
		r.Access = test.concealed
		var b strings.Builder
		err := r.LocationSegments(t.Context(), test.path, test.peg, test.start, test.end, func(s svnrepos.LocationSegment) error {
			fmt.Fprintf(&b, "%d-%d %s, ", s.End, s.Start, s.Path)
			if !s.HasPath && s.Path != "" || test.path == "/" != (s.HasPath && s.Path == "") {
				t.Errorf("%+v", s)
			}
			return nil
		})
		if got := describeError(&b, err); got != test.want {
			t.Errorf("%s: %s, want %s", test.path, got, test.want)
		}
	}
}

func TestDeletedRev(t *testing.T) {
	r := newMergedHistory(t)
	script(t, r.FS, "rm /trunk/n; cp 13 /trunk/n /trunk/n", "mkdir /trunk/f", "put /trunk/f/x 1")
	for _, test := range []struct {
		path     string
		peg, end svn.Revnum
		want     string
	}{
		{"/branches/b", 2, 13, "8"},
		{"/branches/b/f", 3, 13, "8"},
		{"/trunk/f", 1, 16, "11"}, // another one is there now
		{"/trunk/n", 13, 16, "14"},
		{"/trunk/n", 14, 16, "-1"},
		{"/trunk/d", 1, 13, "-1"},
		{"/trunk/h", 1, 13, "-1"},
		{"/trunk/f", 16, 1, "11"}, // either way
		{"/branches/b", 2, 99, "E160006: No such revision 99"},
		{"/branches/b", -1, 9, "E160006: Invalid start revision -1"},
		{"/branches/b", 2, -1, "E160006: Invalid end revision -1"},
		{"/hidden", 2, 3, "E220001: Unreadable path encountered; access denied"},
	} {
		r.Access = concealed{"/hidden"}
		var b strings.Builder
		rev, err := r.DeletedRev(t.Context(), test.path, test.peg, test.end)
		if err == nil {
			fmt.Fprint(&b, rev)
		}
		if got := describeError(&b, err); got != test.want {
			t.Errorf("%s: %s, want %s", test.path, got, test.want)
		}
	}
}
