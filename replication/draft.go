package replication

import (
	"fmt"
	"os"

	"holdfast/storage"
)

// maxDraftBytes bounds the packs of entries that are drafted before they are committed: sealing those takes about as long as the disk
// needs to commit them.
const maxDraftBytes = 1 << 20

// Foretell takes entries that are just being made durable. If nothing else is to be sealed, their segment is written meanwhile, so that a
// push waits once for the disk where it would wait twice. Only when the journal holds them is the segment sealed and sent. It
// returns at once.
func (r *Replicator) Foretell(u *storage.Upcoming) {
	select {
	case r.foretold <- u:
	default: // what comes next is sealed together with these
	}
}

// prepare drafts the segment of entries that are not committed yet. If that fails, they are sealed as if it had not been tried.
func (r *Replicator) prepare(u *storage.Upcoming) {
	r.sealMu.Lock()
	defer r.sealMu.Unlock()
	if _, _, ok := r.due(); ok || !draftable(u, r.o.InlineBytes) {
		return
	}
	r.mu.Lock()
	number, next := r.number+1, r.sealed+1
	r.mu.Unlock()
	if u.Entries[0].Seq != next {
		return
	}
	r.early = nil // a draft of a commit that failed has the same name
	s, err := r.spool.draft(r.header(number), Contents{Entries: u.Entries, OpenPack: u.OpenPack}, r.keys)
	if err != nil {
		r.o.Log.Debug("no segment was drafted", "err", err)
		return
	}
	r.early = s
}

// draftable reports whether all packs of the entries go into the segment, and are small.
func draftable(u *storage.Upcoming, inline int64) bool {
	if len(u.Entries) > MaxSegmentEntries {
		return false
	}
	size := int64(0)
	for _, p := range distinctPacks(u.Entries) {
		if size += p.Size; p.Size > inline || u.Outside(p.ID) {
			return false
		}
	}
	return size <= maxDraftBytes
}

// drafted returns the draft of the first entries of due, if there is one; sealMu is held. A draft of anything else is removed: its
// entries were not committed, or go out in another way.
func (r *Replicator) drafted(due span, number uint64) (*Segment, error) {
	s := r.early
	if r.early = nil; s == nil {
		return nil, nil
	}
	if s.Header.Number == number && s.Header.First == due.First && s.Header.Last <= due.Last {
		if held, err := r.holds(s.Header); held || err != nil {
			return s, err
		}
	}
	if err := os.Remove(s.path); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSpool, err)
	}
	return nil, nil
}

// holds reports whether the journal holds the entries of a segment.
func (r *Replicator) holds(h Header) (bool, error) {
	entries, err := r.journal.Entries(h.Last-1, 1)
	if err != nil {
		return false, fmt.Errorf("read entry %d of the journal: %w", h.Last, err)
	}
	return len(entries) > 0 && entries[0].Seq == h.Last && entries[0].Hash() == h.Head, nil
}
