package storage

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"go.etcd.io/bbolt"

	"holdfast/storage/object"
)

// CheckReport is what Check has found.
type CheckReport struct {
	Entries, Repos, Refs, Packs, Objects int64 // that were looked at
	Absent                               int64 // repositories of which the journal alone was restored

	Problems []Problem // at most MaxProblems
	Omitted  int64     // problems beyond that
}

// MaxProblems bounds the list in a CheckReport.
const MaxProblems = 1000

// Problem is one thing that is not as it should be.
type Problem struct {
	Repo RepoID // empty for the journal and the host
	Text string
}

// String returns the problem in one line.
func (p Problem) String() string {
	if p.Repo == "" {
		return p.Text
	}
	return fmt.Sprintf("repository %s: %s", p.Repo, p.Text)
}

// Check reads the whole store and proves it: the journal's chain and those of the repositories; that refs are where the
// journal puts them and name objects that exist; that each pack is what its PackID says and holds what the index says;
// that no object links to a missing one; that no file is astray. Damage is no error but a Problem. Pushes may go on
// meanwhile. progress may be nil.
func (s *Store) Check(ctx context.Context, progress func(stage string, done, total int64)) (CheckReport, error) {
	c := &checker{ctx: ctx, s: s, progress: progress, repos: map[RepoID]*checkedRepo{}}
	if c.progress == nil {
		c.progress = func(string, int64, int64) {}
	}
	for _, part := range []func() error{c.catchUp, c.checkRepos, c.checkStrays} {
		if err := part(); err != nil {
			return c.report, &Error{Op: "check", Err: err}
		}
	}
	return c.report, nil
}

// checker is the state of one Check. What it keeps of the journal is about 100 bytes a ref.
type checker struct {
	ctx      context.Context
	s        *Store
	progress func(stage string, done, total int64)
	report   CheckReport

	at     head // the journal is checked up to here
	epoch  uint64
	broken bool // the journal cannot be read any further
	repos  map[RepoID]*checkedRepo
}

// checkedRepo is a repository as the journal has it.
type checkedRepo struct {
	init RepoInit
	last Seq
	hash Hash
	refs map[refDigest]refDigest // name -> value

	lostPacks []lostPack // that entries name and host.db does not know
}

type lostPack struct {
	seq Seq
	id  PackID
}

// refDigest stands for a ref's name or value: the beginning of its SHA-256.
type refDigest [16]byte

func digest(b []byte) refDigest {
	sum := sha256.Sum256(b)
	return refDigest(sum[:16])
}

func (c *checker) problem(repo RepoID, format string, args ...any) {
	if len(c.report.Problems) >= MaxProblems {
		c.report.Omitted++
		return
	}
	c.report.Problems = append(c.report.Problems, Problem{repo, fmt.Sprintf(format, args...)})
}

// catchUp checks the journal from where it stopped to its present end.
func (c *checker) catchUp() error {
	for !c.broken {
		entries, err := c.s.Entries(c.at.seq, 0)
		if errors.Is(err, ErrCorrupt) {
			c.problem("", "%v (after entry %d; what follows is not checked)", err, c.at.seq)
			c.broken = true
			return nil
		}
		if err != nil || len(entries) == 0 {
			return err
		}
		end, _, _ := c.s.Head()
		for _, e := range entries {
			if err := c.checkEntry(e); err != nil {
				return err
			}
		}
		c.progress("checking journal", int64(c.at.seq), int64(max(end, c.at.seq)))
		if err := c.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) checkEntry(e Entry) error {
	switch {
	case e.Seq != c.at.seq+1:
		c.problem("", "journal: entry %d follows entry %d", e.Seq, c.at.seq)
	case e.Prev != c.at.hash:
		c.problem("", "journal: entry %d names %s as the hash of the entry before, which is %s", e.Seq, e.Prev, c.at.hash)
	case e.Time.Before(c.at.time):
		c.problem("", "journal: entry %d is older than the entry before it", e.Seq)
	case e.Epoch < c.epoch:
		c.problem("", "journal: entry %d is of epoch %d, after epoch %d", e.Seq, e.Epoch, c.epoch)
	}
	c.at, c.epoch = head{e.Seq, e.Hash(), e.Time}, e.Epoch
	c.report.Entries++
	if e.Repo == "" {
		return nil
	}
	return c.checkRepoEntry(e)
}

func (c *checker) checkRepoEntry(e Entry) error {
	r := c.repos[e.Repo]
	switch {
	case r == nil && e.Init == nil:
		c.problem(e.Repo, "journal: entry %d is the first one, but does not create the repository", e.Seq)
	case r != nil && e.Init != nil:
		c.problem(e.Repo, "journal: entry %d creates the repository again", e.Seq)
	}
	if r == nil {
		r = &checkedRepo{refs: map[refDigest]refDigest{}}
		c.repos[e.Repo] = r
		if e.Init != nil {
			r.init = *e.Init
			r.refs[digest([]byte(HeadRef))] = digest([]byte(e.Init.Head))
		}
	}
	if e.PrevRepo != r.hash {
		c.problem(e.Repo, "journal: entry %d names %s as the hash of the repository's entry before, which is %s",
			e.Seq, e.PrevRepo, r.hash)
	}
	r.last, r.hash = e.Seq, c.at.hash
	for _, u := range e.Refs {
		c.applyUpdate(r, e, u)
	}
	st := newRepoState(c.s, e.Repo, r.init.Format)
	for _, p := range e.Packs {
		rec, _, err := st.packRecord(p.ID)
		if err != nil {
			return err
		}
		if (rec == nil || rec.Info != p || rec.Merged) && len(r.lostPacks) < MaxProblems {
			r.lostPacks = append(r.lostPacks, lostPack{e.Seq, p.ID})
		}
	}
	return nil
}

func (c *checker) applyUpdate(r *checkedRepo, e Entry, u RefUpdate) {
	name := digest([]byte(u.Name))
	if u.Target != "" {
		r.refs[name] = digest([]byte(u.Target))
		return
	}
	var old refDigest
	if !u.Old.IsZero() {
		old = digest(u.Old.Bytes())
	}
	if r.refs[name] != old {
		c.problem(e.Repo, "journal: entry %d moves %s from %s, where it was not", e.Seq, u.Name, u.Old)
	}
	if u.New.IsZero() {
		delete(r.refs, name)
	} else {
		r.refs[name] = digest(u.New.Bytes())
	}
}

func (c *checker) checkRepos() error {
	ids, err := c.s.Repos()
	if err != nil {
		return err
	}
	for i, id := range ids {
		c.progress("checking repositories", int64(i), int64(len(ids)))
		if err := c.checkRepo(id); err != nil {
			return err
		}
	}
	c.progress("checking repositories", int64(len(ids)), int64(len(ids)))
	known := map[RepoID]bool{}
	if ids, err = c.s.Repos(); err != nil {
		return err
	}
	for _, id := range ids {
		known[id] = true
	}
	for id, r := range c.repos {
		absent, err := c.s.isAbsent(id)
		switch {
		case err != nil:
			return err
		case absent:
			c.report.Absent++
		case !known[id]:
			c.problem(id, "the journal creates it, but host.db does not know it")
		}
		for _, lost := range r.lostPacks {
			if !absent {
				c.problem(id, "journal: entry %d names pack %s, which host.db does not know", lost.seq, lost.id)
			}
		}
	}
	return nil
}

// isAbsent reports whether only the journal of the repository was restored.
func (s *Store) isAbsent(id RepoID) (absent bool, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		absent = tx.Bucket(bucketAbsent).Get(id.raw()) != nil
		return nil
	})
	return absent, err
}

func (c *checker) checkRepo(id RepoID) error {
	rec, err := c.s.repoRecord(id)
	if err != nil {
		return err
	}
	c.report.Repos++
	st, err := c.s.repoState(id, rec.Init.Format)
	if err != nil {
		c.problem(id, "%v", err)
		return nil
	}
	if err := c.checkPacks(st); err != nil {
		return err
	}
	if err := c.checkBase(st); err != nil {
		return err
	}
	return c.checkRefs(st)
}

// checkRefs compares a repository's refs and record with the journal. If a push comes in between, it starts again.
func (c *checker) checkRefs(st *repoState) error {
	const tries = 100
	before := len(c.report.Problems)
	for range tries {
		if err := c.catchUp(); err != nil {
			return err
		}
		rec, err := c.s.repoRecord(st.id)
		if err != nil {
			return err
		}
		want := c.repos[st.id]
		switch {
		case c.broken:
			want = nil
		case want == nil:
			c.problem(st.id, "host.db knows it, but the journal does not create it")
		case want.last < rec.Last && rec.Last > c.at.seq:
			continue
		case want.last != rec.Last || want.hash != rec.Hash || want.init != rec.Init:
			c.problem(st.id, "host.db has another last entry (%d), or another creation, than the journal (%d)",
				rec.Last, want.last)
		}
		count, err := c.compareRefs(st, want, rec)
		if err != nil {
			return err
		}
		again, err := c.s.repoRecord(st.id)
		if err != nil {
			return err
		}
		if again.Last == rec.Last {
			c.report.Refs += count
			return nil
		}
		c.report.Problems = c.report.Problems[:min(before, len(c.report.Problems))]
	}
	return nil
}

// compareRefs looks at all refs of a repository. want is nil if the journal does not tell where they belong.
func (c *checker) compareRefs(st *repoState, want *checkedRepo, rec *repoRecord) (count int64, err error) {
	r := &Repo{s: c.s, id: st.id, init: rec.Init}
	head, err := r.Ref(HeadRef)
	if err != nil || (want != nil && digest([]byte(head.Target)) != want.refs[digest([]byte(HeadRef))]) {
		c.problem(st.id, "HEAD is not where the journal puts it")
	}
	for after := ""; ; {
		page, err := r.Refs("", after, 0)
		if err != nil {
			return count, err
		}
		if len(page) == 0 {
			break
		}
		for _, ref := range page {
			if want != nil && want.refs[digest([]byte(ref.Name))] != digest(ref.ID.Bytes()) {
				c.problem(st.id, "%s is at %s, where the journal does not put it", ref.Name, ref.ID)
			}
			if err := c.checkRef(st, ref); err != nil {
				return count, err
			}
		}
		count += int64(len(page))
		after = page[len(page)-1].Name
	}
	if count != int64(rec.Refs) || (want != nil && count != int64(len(want.refs)-1)) {
		c.problem(st.id, "there are %d refs, which is not what the journal makes and host.db counts (%d)", count, rec.Refs)
	}
	return count, c.ctx.Err()
}

// checkRef checks that a ref's object exists and is peeled rightly.
func (c *checker) checkRef(st *repoState, ref Ref) error {
	loc, ok, err := st.lookup(ref.ID)
	switch {
	case err != nil:
		return err
	case !ok:
		c.problem(st.id, "%s is at %s, which does not exist", ref.Name, ref.ID)
		return nil
	case isBranch(ref.Name) && loc.typ != object.Commit:
		c.problem(st.id, "%s is at %s, a %s", ref.Name, ref.ID, loc.typ)
	}
	t := &Txn{s: c.s, st: st}
	v, err := t.resolve(RefUpdate{Name: ref.Name, New: ref.ID})
	if err != nil {
		c.problem(st.id, "%s: %v", ref.Name, err)
	} else if v.peeled != ref.Peeled {
		c.problem(st.id, "%s is recorded to lead to %s, but leads to %s", ref.Name, ref.Peeled, v.peeled)
	}
	return nil
}

// checkStrays lists files that belong to nothing, but for those of pushes that are just being committed.
func (c *checker) checkStrays() error {
	return c.s.eachStray(func(path string) error {
		if _, err := os.Lstat(path); err == nil {
			c.problem("", "%s belongs to nothing; it is removed when the store is opened", path)
		}
		return nil
	})
}

// checkReceived checks that the pack still hashes to its id.
func (c *checker) checkReceived(st *repoState, rec *packRecord) {
	if rec.Merged {
		return // checkPack does it
	}
	r, err := c.s.openReceived(st.id, rec)
	if err != nil {
		c.problem(st.id, "%v", err)
		return
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil || PackID(h.Sum(nil)) != rec.Info.ID {
		c.problem(st.id, "pack %s does not hash to its id (%v)", rec.Info.ID, err)
	}
}
