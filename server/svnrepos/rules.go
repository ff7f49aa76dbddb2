package svnrepos

import (
	"errors"

	"holdfast/auth/svnrules"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// CheckCommit asks a repository's rules whether a transaction may become a revision. A refusal is a svn.ErrReposHookFailure, as
// that of a hook script would be.
func CheckCommit(rules *svnrules.Rules, txn *svnfs.Txn) error {
	if rules == nil {
		return nil
	}
	c := svnrules.Commit{Log: txn.Props()[svn.PropLog], Node: txnNode(txn), Names: txnNames(txn)}
	for _, change := range txn.Changes() {
		c.Changes = append(c.Changes, svnrules.Change{
			Path: change.Path, Dir: change.Kind == svn.Dir, Deleted: change.Action == svn.Deleted,
			Added: change.Action == svn.Added || change.Action == svn.Replaced, TextMod: change.TextMod, PropMod: change.PropMod,
		})
	}
	return refusal(rules.CheckCommit(c))
}

func txnNode(txn *svnfs.Txn) func(string) (svnrules.Node, error) {
	return func(path string) (svnrules.Node, error) {
		n, err := txn.Root().Node(path)
		if err != nil {
			return svnrules.Node{}, err
		}
		props, err := n.Props()
		return svnrules.Node{Size: n.Size(), Props: props}, err
	}
}

func txnNames(txn *svnfs.Txn) func(string, func(string)) error {
	return func(dir string, fn func(string)) error {
		n, err := txn.Root().Node(dir)
		if err != nil {
			return err
		}
		entries, err := n.Entries()
		if err != nil {
			return err
		}
		for _, e := range entries {
			fn(e.Name)
		}
		return nil
	}
}

// refusal makes an error that clients show of what rules refuse.
func refusal(err error) error {
	var r svnrules.Refusal
	if errors.As(err, &r) {
		return svn.Errorf(svn.ErrReposHookFailure, "%s", r.Error())
	}
	return err
}

// RevPropRules are RevPropHooks that ask a repository's rules.
type RevPropRules struct {
	Rules   *svnrules.Rules   // nil for those of a repository without any
	Admin   bool              // whether the client may administer the repository
	InGroup func(string) bool // whether the client is in a group
}

var _ RevPropHooks = RevPropRules{}

// BeforeRevProp asks the rules.
func (r RevPropRules) BeforeRevProp(c RevPropChange) error {
	change := svnrules.RevPropChange{Name: c.Name, Value: c.New, User: c.User, Admin: r.Admin, InGroup: r.InGroup}
	if c.Author != nil {
		change.Author = *c.Author
	}
	return refusal(r.Rules.CheckRevProp(change))
}

// AfterRevProp does nothing.
func (r RevPropRules) AfterRevProp(RevPropChange) error { return nil }
