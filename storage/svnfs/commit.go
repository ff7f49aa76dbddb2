package svnfs

import (
	"context"
	"maps"
	"strings"

	"holdfast/storage"
	"holdfast/storage/svn"
)

// Commit makes the transaction a revision, by way of c, and returns its number and the journal's entry of it. First it is merged with
// what was committed since its base: a conflict is svn.ErrFSConflict with the path. Locks that are not the transaction's are errors.
// After an error nothing is committed, and the transaction can only be aborted.
func (t *Txn) Commit(ctx context.Context, c Committer, m storage.Meta) (svn.Revnum, storage.Entry, error) {
	f := t.fs
	f.commitMu.Lock()
	defer f.commitMu.Unlock()
	rev, e, err := t.commit(ctx, c, m)
	if err != nil {
		return svn.InvalidRevnum, e, err
	}
	t.Abort()
	return rev, e, nil
}

func (t *Txn) commit(ctx context.Context, c Committer, m storage.Meta) (rev svn.Revnum, e storage.Entry, err error) {
	f := t.fs
	if t.done {
		return rev, e, svn.Errorf(svn.ErrFSTransactionDead, "Transaction '%s' has ended", t.name)
	}
	if err := f.catchUp(); err != nil {
		return rev, e, err
	}
	if err := t.rebase(f.state.youngest); err != nil {
		return rev, e, err
	}
	if err := t.verifyLocks(); err != nil {
		return rev, e, err
	}
	rev = t.base + 1
	r := &revision{number: rev, props: t.finalProps(m), changes: t.Changes()}
	b := newBuilder(f, rev)
	if r.root, err = b.root(t.root); err != nil {
		return rev, e, err
	}
	parent, err := f.index.place(t.base)
	if err != nil {
		return rev, e, err
	}
	place := b.revision(r, parent.commit, f.state.uuid)
	moves := []storage.RefUpdate{{Name: RevsRef, Old: parent.commit, New: place.commit}}
	if f.state.view == viewRules {
		shown, err := b.viewUpdates(t.root.base, r.root, r.props, f.state.uuid)
		if err != nil {
			return rev, e, err
		}
		moves = append(moves, shown...)
	}
	facts, u := t.unlocked(), newIndexUpdate()
	if err := u.apply(facts, nil); err != nil {
		return rev, e, err
	}
	e, err = c.Commit(ctx, f.repo, m, func(txn *storage.Txn) error { return b.fill(ctx, txn, facts, moves...) })
	if err != nil {
		return rev, e, err
	}
	u.applied, u.revs[rev] = e.Seq, place
	for _, move := range moves[1:] {
		u.moved[move.Name] = []movedRef{{rev, move.New}}
	}
	f.revisions.put(revisionKey{f, rev}, r)
	f.put(u)
	b.remember()
	return rev, e, nil
}

// rebase moves the transaction onto a younger revision.
func (t *Txn) rebase(youngest svn.Revnum) error {
	if youngest == t.base {
		return nil
	}
	source, err := t.fs.Root(youngest)
	if err != nil {
		return err
	}
	ancestor, err := t.fs.Root(t.base)
	if err != nil {
		return err
	}
	if err := t.merge("/", t.root, source.root, ancestor.root); err != nil {
		return err
	}
	t.base = youngest
	return nil
}

// finalProps returns the revision's properties, without those that live as long as the transaction.
func (t *Txn) finalProps(m storage.Meta) svn.Props {
	props := t.o.Props.Clone()
	maps.DeleteFunc(props, func(name, _ string) bool { return strings.HasPrefix(name, "svn:txn-") })
	if !t.o.KeepDate {
		props[svn.PropDate] = svn.FormatTime(m.Time)
	}
	return props
}

// unlocked returns the facts that end the locks which the commit ends: of those that it is asked to, the user's own whose tokens he
// has. A commit that changes nothing of a file must not end another's lock of it.
func (t *Txn) unlocked() (facts []fact) {
	for _, path := range t.unlock {
		if l, err := t.fs.Lock(path); err == nil && l != nil && l.Owner == t.o.User && t.tokens[l.Token] {
			facts = append(facts, fact{Unlock: path})
		}
	}
	return facts
}
