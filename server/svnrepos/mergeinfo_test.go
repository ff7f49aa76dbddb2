package svnrepos_test

import (
	"fmt"
	"strings"
	"testing"

	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
)

func TestMergeinfo(t *testing.T) {
	r := newMergedHistory(t)
	script(t, r.FS,
		"set svn:mergeinfo rubbish /trunk/d; set svn:mergeinfo /x:1,2-3*|/:5 /tags; set svn:mergeinfo /y:7 /trunk/n",
		"mkdir /tags/2; mkdir /trunk/d/e",
	)
	for _, test := range []struct {
		name      string
		concealed concealed
		paths     string
		rev       svn.Revnum
		inherit   svnrepos.Inheritance
		below     bool
		want      string
	}{
		{"explicit", nil, "/trunk /trunk/h /tags/1/f", -1, svnrepos.Explicit, false, "/trunk[/branches/b:4-6] /trunk/h[/branches/b/f:3]"},
		{"inherited", nil, "/trunk /trunk/h /tags/1/f /branches /tags/2", -1, svnrepos.Inherited, false,
			"/tags/1/f[/branches/b/f:2-6] /tags/2[/2:5 /x/2:1] /trunk[/branches/b:4-6] /trunk/h[/branches/b/f:3]"},
		{"from above", nil, "/trunk/h /trunk /tags/1", -1, svnrepos.NearestAncestor, false, "/tags/1[/1:5 /x/1:1] /trunk/h[/branches/b/h:4-6]"},
		{"malformed", nil, "/trunk/d /trunk/d/e", -1, svnrepos.Inherited, false, ""},
		{"below", nil, "/ /trunk", -1, svnrepos.Explicit, true,
			"/tags[/:5 /x:1,2-3*] /tags/1[/branches/b:2-6] /trunk[/branches/b:4-6] /trunk/h[/branches/b/f:3] /trunk/n[/y:7]"},
		{"below, in the past", nil, "/", 8, svnrepos.Explicit, true, "/trunk[/branches/b:2-6]"},
		{"none yet", nil, "/", 4, svnrepos.Inherited, true, ""},
		{"hidden", concealed{"/tags", "/trunk/h"}, "/ /tags /trunk", -1, svnrepos.Explicit, true, "/trunk[/branches/b:4-6] /trunk/n[/y:7]"},
		{"nothing there", nil, "/nowhere", -1, svnrepos.Explicit, false, "E160013: File not found: revision 15, path '/nowhere'"},
		{"no revision", nil, "/", 99, svnrepos.Explicit, false, "E160006: No such revision 99"},
	} {
		r.Access = test.concealed
		found, err := r.Mergeinfo(t.Context(), strings.Fields(test.paths), test.rev, test.inherit, test.below)
		var b strings.Builder
		for _, path := range svn.Props(found).Names() {
			fmt.Fprintf(&b, "%s[%s] ", path, strings.ReplaceAll(found[path], "\n", " "))
		}
		if got := describeError(&b, err); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}
