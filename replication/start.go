package replication

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"holdfast/storage"
)

// openRoot verifies the root record and that the host's keys are those it names.
func (r *Replicator) openRoot() (err error) {
	if r.root, r.ref, err = OpenRoot(r.o.Root, r.o.RootKey); err != nil {
		return err
	}
	recipients, err := ParseRecipients(r.root.Recipients)
	if err != nil {
		return err
	}
	v, err := r.root.JournalVerifier()
	if err != nil {
		return err
	}
	if r.o.Signer == nil || v.Name() != r.o.Signer.Name() || v.KeyHash() != r.o.Signer.KeyHash() {
		return fmt.Errorf("the journal key is not the one that root record %d names", r.root.Version)
	}
	r.keys = SealKeys{Signer: r.o.Signer, Recipients: recipients, Root: r.ref}
	return nil
}

// checkJournal refuses a journal that is not this instance's, is detached, or does not continue where the epoch before ended.
func (r *Replicator) checkJournal() error {
	s, err := r.journal.State()
	switch {
	case err != nil:
		return err
	case s.Detached:
		return errors.New("the store is detached, as a restore leaves it: it ships nothing before holdfast takeover")
	case s.Instance != r.root.Instance || s.Epoch != r.root.Epoch:
		return fmt.Errorf("the store is of instance %s, epoch %d, and the root record of %s, %d", s.Instance, s.Epoch, r.root.Instance, r.root.Epoch)
	case r.root.After == nil || r.root.After.Last == 0:
		return nil
	}
	after := *r.root.After
	entries, err := r.journal.Entries(after.Last-1, 2)
	if err != nil {
		return err
	}
	if len(entries) == 0 || entries[0].Seq != after.Last || entries[0].Hash() != after.Head {
		return fmt.Errorf("the journal does not hold entry %d, at which epoch %d ended: restore again", after.Last, after.Epoch)
	}
	if len(entries) > 1 && entries[1].Epoch != r.root.Epoch {
		return fmt.Errorf("the journal holds entries of epoch %d past its end: restore into a new directory", entries[1].Epoch)
	}
	return nil
}

func (r *Replicator) openSpool() error {
	r.spool = spool{dir: r.o.Dir, generation: r.root.Generation, epoch: r.root.Epoch}
	if err := os.MkdirAll(r.o.Dir, 0o700); err != nil {
		return err
	}
	if r.o.SpoolBytes > 0 {
		return nil
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(r.o.Dir, &fs); err != nil {
		return fmt.Errorf("spool %s: %w", r.o.Dir, err)
	}
	r.o.SpoolBytes = int64(fs.Blocks) * int64(fs.Bsize) / DefaultSpoolShare
	return nil
}

// resume takes up spool and cursors. Numbers are never given twice: the next one is past all that either knows.
func (r *Replicator) resume() error {
	c, err := loadCursors(r.journal, r.root)
	if err != nil {
		return err
	}
	found, err := r.spool.scan(r.o.Log)
	if err != nil {
		return err
	}
	r.number, r.sealed = max(c.Number, found.damaged), r.root.after()
	if err := r.resumeDrafts(&found); err != nil {
		return err
	}
	for _, s := range found.segments {
		if s.Header.Instance != r.root.Instance {
			return fmt.Errorf("spool file %s is of instance %s", s.path, s.Header.Instance)
		}
		r.keep(s)
	}
	for _, m := range r.mirrors {
		m.resume(r, c, found.stops)
		r.sealed = max(r.sealed, m.cur.Have.through())
	}
	if err := r.checkSealed(); err != nil {
		return err
	}
	if r.number > maxNumber-Window {
		return errors.New("the epoch has no numbers left: run holdfast takeover")
	}
	return r.resumePacks(found.packs)
}

// resumeDrafts takes drafts of what the journal holds for sealed: they may have been sent. The others were not, since their entries never
// were committed.
func (r *Replicator) resumeDrafts(found *spooled) error {
	for _, s := range found.drafts {
		held, err := r.holds(s.Header)
		if err != nil {
			return err
		}
		if !held {
			err = os.Remove(s.path)
		} else if err = r.spool.adopt(s); err == nil {
			found.segments = append(found.segments, s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkSealed refuses a journal that is not the one of which the spool holds segments.
func (r *Replicator) checkSealed() error {
	if r.sealed > r.head {
		return fmt.Errorf("entry %d was sealed, and the journal ends at %d: the data directory mixes files of different times", r.sealed, r.head)
	}
	s := r.segments[r.number]
	if s == nil {
		return nil
	}
	held, err := r.holds(s.Header)
	if err != nil {
		return err
	}
	if !held {
		return fmt.Errorf("segment %d in the spool carries another entry %d than the journal: the data directory mixes files of different times",
			r.number, s.Header.Last)
	}
	return nil
}

// keep takes a segment into the books; r.mu is held, or nobody else has r.
func (r *Replicator) keep(s *Segment) {
	r.segments[s.Header.Number] = s
	r.number = max(r.number, s.Header.Number)
	r.sealed = max(r.sealed, s.Header.Last)
	r.bytes += s.size
}

// resumePacks keeps the packs that segments in the spool or unsealed entries name; all others are left from pushes that
// were refused, or were sent.
func (r *Replicator) resumePacks(found map[PackKeyID]int64) error {
	needed, err := neededPacks(r.journal, r.settled())
	if err != nil {
		return err
	}
	for id, size := range found {
		p := &spoolPack{id: id, pack: needed[id], path: r.spool.packPath(id), size: size, state: packWhole, up: map[*Mirror]upState{}}
		for _, s := range r.segments {
			if i := slices.IndexFunc(s.Header.Packs, func(o PackObject) bool { return o.ID == id }); i >= 0 && s.Header.Packs[i].Size == size {
				p.refs++
			}
		}
		if _, ok := needed[id]; !ok && p.refs == 0 {
			if err := os.Remove(p.path); err != nil {
				return err
			}
			continue
		}
		r.packs[id] = p
		r.bytes += size
	}
	for _, m := range r.mirrors {
		m.cur.Packs = slices.DeleteFunc(m.cur.Packs, func(id PackKeyID) bool { return needed[id] == (storage.PackID{}) && r.packs[id] == nil })
		for _, id := range m.cur.Packs {
			if p := r.packs[id]; p != nil {
				p.up[m] = upDone
			}
		}
	}
	return nil
}

// warn logs what an operator should know at start.
func (r *Replicator) warn() {
	if !slices.ContainsFunc(r.mirrors, func(m *Mirror) bool { return m.o.Conditional || m.o.Idempotent }) {
		r.o.Log.Warn("no mirror enforces conditional writes: nothing keeps an old copy of this host from writing as well")
	}
	for _, m := range r.mirrors {
		if m.stop != nil {
			r.o.Log.Error("mirror is stopped", "mirror", m.name, "reason", m.stop.Reason)
		}
		if m.cur.Heal != "" {
			r.o.Log.Warn("mirror needs heal", "mirror", m.name, "reason", m.cur.Heal, "remedy", healRemedy)
		}
	}
	if err := r.expired(); err != nil {
		r.o.Log.Error("nothing is shipped", "err", err)
	}
}
