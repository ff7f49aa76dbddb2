package svnrepos_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"holdfast/auth/svnrules"
	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

func TestCheckCommitRules(t *testing.T) {
	g, err := svnrules.ParseGlob("*.c")
	if err != nil {
		t.Fatal(err)
	}
	rules := &svnrules.Rules{
		Log: svnrules.LogRule{MinLength: 3}, NoCaseClashes: true, MaxFileBytes: 3,
		RequiredProps: []svnrules.RequiredProp{{Paths: []svnrules.Glob{g}, Name: "svn:eol-style"}},
	}
	r := &svnrepos.Repository{FS: twoRevisions(t)}
	for _, row := range []struct {
		name  string
		drive func(svn.DirEditor) error
		want  []string
	}{
		{"fine", inTrunk(2, func(d svn.DirEditor) error { return addFile(d, "trunk/g", "123") }), nil},
		{"large and without a property", inTrunk(2, func(d svn.DirEditor) error { return addFile(d, "trunk/x.c", "1234") }),
			[]string{"'/trunk/x.c' has 4 bytes, more than 3.", "'/trunk/x.c' needs the property svn:eol-style."}},
		{"clash", inTrunk(2, func(d svn.DirEditor) error { return addFile(d, "trunk/F", "") }),
			[]string{"In '/trunk', the names 'F' and 'f' differ only in case."}},
		{"no clash", inTrunk(2, func(d svn.DirEditor) error {
			return errors.Join(d.DeleteEntry("trunk/f", 2), addFile(d, "trunk/F", ""))
		}), nil},
	} {
		req := request()
		req.PreCommit = func(txn *svnfs.Txn) error {
			if err := svnrepos.CheckCommit(rules, txn); err != nil {
				return err
			}
			return errors.New("enough")
		}
		want := "enough"
		if row.want != nil {
			want = "E165001: The rules of this repository do not allow this:\n- " + strings.Join(row.want, "\n- ")
		}
		if _, err := commit(t.Context(), r, req, 2, row.drive); fmt.Sprint(err) != want {
			t.Errorf("%s: %v, not %s", row.name, err, want)
		}
	}
}

func TestRevPropRules(t *testing.T) {
	r := &svnrepos.Repository{FS: twoRevisions(t)}
	rules := &svnrules.Rules{RevProps: map[string][]string{"svn:log": {"$author"}}}
	for _, row := range []struct {
		user  string
		hooks svnrepos.RevPropRules
		want  svn.Code
	}{
		{"joe", svnrepos.RevPropRules{}, svn.ErrReposHookFailure},
		{"joe", svnrepos.RevPropRules{Rules: rules}, 0},
		{"ann", svnrepos.RevPropRules{Rules: rules}, svn.ErrReposHookFailure},
		{"ann", svnrepos.RevPropRules{Admin: true}, 0},
	} {
		req := svnrepos.RevPropRequest{Rev: 1, Name: svn.PropLog, Value: ptr("new"), User: row.user, Hooks: row.hooks, Committer: svnfs.Direct, Meta: testMeta()}
		if _, err := r.ChangeRevProp(t.Context(), req); svn.CodeOf(err) != row.want {
			t.Errorf("%+v: %v", row, err)
		}
	}
}
