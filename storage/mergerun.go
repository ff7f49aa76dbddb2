package storage

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
)

// mergedPack is a pack that a merge puts in the place of others: one that it wrote, or one of those others, which has all
// that they have.
type mergedPack struct {
	pack  *txnPack
	keep  *packRecord
	cruft bool
}

// mergeRequest asks the committer to put packs in the place of others.
type mergeRequest struct {
	st      *repoState
	from    []*oldPack
	into    []mergedPack
	settled Seq

	gone []*oldPack // those of from that went, once it is applied
}

// errOvertaken: a pack that was merged is needed again as it was received. The next merge leaves it out.
var errOvertaken = errors.New("a push needs one of the packs as it was")

// merge merges packs of the repository, those that the plan names, and returns what came of it.
func (st *repoState) merge(ctx context.Context, plan mergePlan, settled Seq) error {
	m := &merge{pacer: st.s.newPacer(ctx), st: st, full: plan.full, set: newObjectSet(st.format)}
	for _, rec := range plan.packs {
		m.from = append(m.from, &oldPack{rec: rec})
	}
	if err := m.room(); err != nil {
		return err
	}
	v := st.views.hold()
	defer st.views.release(v)
	into, err := m.run(plan.cruft)
	committed := false
	if err == nil {
		r := &mergeRequest{st: st, from: m.from, into: into, settled: settled}
		_, err = st.s.submit(&request{merge: r})
		committed = err == nil
	}
	for _, p := range into {
		if p.pack == nil {
			continue
		}
		if p.pack.moved {
			p.pack.close()
		} else {
			p.pack.discard()
		}
		st.unplace(p.pack, committed)
	}
	return err
}

// run writes the new packs and puts them in place. cruft are the cruft packs that are not merged unless refs lead to
// something in them.
func (m *merge) run(cruft []*packRecord) ([]mergedPack, error) {
	if err := m.list(0); err != nil {
		return nil, err
	}
	if m.full {
		var err error
		if m.reached, err = m.st.walkRefs(m.ctx); err != nil {
			return nil, err
		}
		if err := m.listRevived(cruft); err != nil {
			return nil, err
		}
	}
	m.choose()
	if only := m.covered(); only != nil && !m.full {
		return []mergedPack{{keep: only.rec}}, m.proves(only)
	}
	if err := m.readBases(); err != nil {
		return nil, err
	}
	var into []mergedPack
	for _, o := range m.outputs() {
		p, err := o.write()
		if err != nil {
			return into, err
		}
		into = append(into, mergedPack{pack: p, cruft: o.cruft})
		if err := m.st.place(p); err != nil {
			return into, err
		}
	}
	return into, nil
}

// listRevived adds the cruft packs that hold objects to which refs lead again, so that the base pack gets them.
func (m *merge) listRevived(cruft []*packRecord) error {
	byNumber := map[uint32]*packRecord{}
	for _, rec := range cruft {
		byNumber[rec.Number] = rec
	}
	first := len(m.from)
	for n := uint32(0); n < uint32(m.reached.len()) && len(byNumber) > 0; n++ {
		if _, ok := m.set.find(m.reached.raw(n)); ok {
			continue
		}
		loc, _, err := m.st.lookup(m.reached.id(n))
		if err != nil {
			return err
		}
		if rec := byNumber[loc.number]; rec != nil {
			m.from = append(m.from, &oldPack{rec: rec})
			delete(byNumber, loc.number)
		}
	}
	if len(m.from) == first {
		return nil
	}
	return m.list(first)
}

// proves verifies that a pack holds all objects of all the packs.
func (m *merge) proves(old *oldPack) error {
	got, err := m.scanPack(old)
	if err != nil {
		return err
	}
	b := boundsOf(old.rec.Info, old.rec.Stored, m.st.format)
	proved := map[uint32]bool{}
	for _, rec := range got.Records {
		if n, ok := m.set.find(rec.ID.Bytes()); ok && rec.Offset < b.added {
			proved[n] = true
		}
	}
	for n, i := range m.chosen {
		if i != none && !proved[uint32(n)] {
			return fmt.Errorf("%w: pack %s lacks object %s", ErrCorrupt, old.rec.Info.ID, m.set.id(uint32(n)))
		}
	}
	return nil
}

// addMerge stages that packs are merged into others.
func (st *stage) addMerge(m *mergeRequest) error {
	rec, err := st.repo(m.st.id)
	if err != nil {
		return err
	}
	seq, first := Seq(0), uint32(math.MaxUint32)
	for _, old := range m.from {
		now, err := st.pack(old.rec.Info.ID, m.st.id)
		if err != nil {
			return err
		}
		if now == nil || now.Gone || now.Number != old.rec.Number || now.Seq > m.settled {
			return errOvertaken
		}
		seq = max(seq, now.Seq)
		if !now.Cruft {
			first = min(first, now.first())
		}
	}
	var stay []PackID
	for _, p := range m.into {
		have, err := st.addMerged(m.st, rec, p)
		if err != nil {
			return err
		}
		have.Seq, have.Cruft = max(seq, have.Seq), p.cruft
		if have.Merged && !p.cruft {
			have.First = first
		}
		stay = append(stay, have.Info.ID)
	}
	return st.goInto(m, stay)
}

func (st *stage) addMerged(repo *repoState, rec *repoRecord, p mergedPack) (*packRecord, error) {
	if p.keep != nil {
		return st.pack(p.keep.Info.ID, repo.id)
	}
	have, err := st.pack(p.pack.info.ID, repo.id)
	switch {
	case err != nil:
		return nil, err
	case have == nil:
		have = &packRecord{Info: p.pack.info, Trailer: p.pack.trailer, Merged: true}
		st.bring(repo, have, rec, p.pack.placed.pack)
	case have.Gone:
		st.recall(repo, have, rec, p.pack.placed.pack)
	}
	return have, nil
}

// goInto stages that all packs but those that stay are gone.
func (st *stage) goInto(m *mergeRequest, stay []PackID) error {
	into, err := st.pack(stay[0], m.st.id)
	if err != nil {
		return err
	}
	move := packMove{repo: m.st, gone: true}
	m.gone = nil
	for _, old := range m.from {
		if slices.Contains(stay, old.rec.Info.ID) {
			continue
		}
		now, err := st.pack(old.rec.Info.ID, m.st.id)
		if err != nil {
			return err
		}
		now.Gone, now.Into = true, into.Number
		move.numbers = append(move.numbers, now.Number)
		m.gone = append(m.gone, old)
	}
	st.moves = append(st.moves, move)
	return nil
}
