package svnrepos_test

import (
	"fmt"
	"testing"

	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// bell is what hooks hear.
type bell struct {
	heard  []string
	refuse bool
}

func (b *bell) BeforeRevProp(c svnrepos.RevPropChange) error {
	b.heard = append(b.heard, fmt.Sprintf("before %c %s by %s of %s", c.Action, c.Name, c.User, *c.Author))
	if b.refuse {
		return svn.Errorf(svn.ErrReposHookFailure, "no")
	}
	return nil
}

func (b *bell) AfterRevProp(c svnrepos.RevPropChange) error {
	b.heard = append(b.heard, "after "+c.Name)
	return nil
}

func TestChangeRevProp(t *testing.T) {
	fs := twoRevisions(t)
	hooks := &bell{}
	for _, row := range []struct {
		name   string
		change func(*svnrepos.RevPropRequest)
		may    rights
		want   string
	}{
		{"no hooks", func(q *svnrepos.RevPropRequest) { q.Hooks = nil }, rights{},
			"E165006: Repository has not been enabled to accept revision propchanges;\nask the administrator to create a pre-revprop-change hook"},
		{"refused", func(q *svnrepos.RevPropRequest) { q.Hooks = &bell{refuse: true} }, rights{}, "E165001: no"},
		{"unreadable", func(*svnrepos.RevPropRequest) {}, rights{unreadable: []string{"/other"}},
			"E220001: Write denied:  not authorized to read all of revision 1"},
		{"no revision", func(q *svnrepos.RevPropRequest) { q.Rev = 9 }, rights{}, "E160006: No such revision 9"},
		{"bad value", func(q *svnrepos.RevPropRequest) { q.Name = svn.PropDate }, rights{}, "E125005: Wrong or unexpected property value: E125003: Bad date: 'new'"},
		{"bad name", func(q *svnrepos.RevPropRequest) { q.Name = "\xff" }, rights{}, `E195011: "\xff" is not a valid Subversion property name`},
		{"bad name of none", func(q *svnrepos.RevPropRequest) { q.Name, q.Value = "\xff", nil }, rights{}, `E195011: "\xff" is not a valid Subversion property name`},
		{"other value", func(q *svnrepos.RevPropRequest) { q.Old = &svnfs.Expect{Value: ptr("what")} }, rights{}, "E160049: revprop 'svn:log' has unexpected value in filesystem"},
		{"there is a value", func(q *svnrepos.RevPropRequest) { q.Old = &svnfs.Expect{} }, rights{}, "E160049: revprop 'svn:log' has unexpected value in filesystem"},
		{"well", func(q *svnrepos.RevPropRequest) { q.Old, q.Hooks = &svnfs.Expect{Value: ptr("why")}, hooks }, rights{}, "<nil>"},
		{"whatever it is", func(q *svnrepos.RevPropRequest) { q.Hooks = hooks }, rights{}, "<nil>"},
		{"new", func(q *svnrepos.RevPropRequest) { q.Name, q.Hooks = "mine", hooks }, rights{}, "<nil>"},
		{"gone", func(q *svnrepos.RevPropRequest) { q.Name, q.Value, q.Hooks = "mine", nil, hooks }, rights{}, "<nil>"},
	} {
		req := svnrepos.RevPropRequest{Rev: 1, Name: svn.PropLog, Value: ptr("new"), User: "ann", Hooks: &bell{}, Committer: svnfs.Direct, Meta: testMeta()}
		row.change(&req)
		if _, err := (&svnrepos.Repository{FS: fs, Access: row.may}).ChangeRevProp(t.Context(), req); fmt.Sprint(err) != row.want {
			t.Errorf("%s: %v, not %s", row.name, err, row.want)
		}
	}
	props, err := fs.RevProps(1)
	if err != nil || props[svn.PropLog] != "new" || len(props) != 3 {
		t.Errorf("%q %v", props, err)
	}
	want := "[before M svn:log by ann of joe after svn:log before M svn:log by ann of joe after svn:log " +
		"before A mine by ann of joe after mine before D mine by ann of joe after mine]"
	if got := fmt.Sprint(hooks.heard); got != want {
		t.Errorf("heard %s", got)
	}
}
