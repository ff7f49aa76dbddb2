package pack

import (
	"fmt"
	"hash/maphash"
	"sync"

	"holdfast/storage/object"
)

// none stands for no entry and no id.
const none = ^uint32(0)

// maxIDs bounds the different ids that a pack holds or links to.
const maxIDs = 1 << 28

// idInfo is what is known of an id.
type idInfo struct {
	entry   uint32      // the first entry that proved to be this object
	have    object.Type // of that entry; 0 if there is none
	want    object.Type // what links take it for; 0 if there is none
	special object.Special
	flags   uint8
}

const (
	appended uint8 = 1 << iota // the entry is a base that completes a thin pack
	checked                    // the special content was checked
	twice                      // there are several such entries
)

// idTable numbers the ids that a pack holds or links to, each once, in an open-addressing table: git's own history names
// 30 million tree entries, of 400,000 objects. It is safe for concurrent use but for its fields.
type idTable struct {
	size int // bytes of an id
	seed maphash.Seed

	mu    sync.Mutex // guards all below
	sums  chunks[[32]byte]
	infos chunks[idInfo]
	slots []uint64 // the id's hash in the upper half, its number plus one in the lower; 0 is free
}

func newIDTable(f object.Format) *idTable {
	return &idTable{size: f.Size(), seed: maphash.MakeSeed(), slots: make([]uint64, 64)}
}

// intern returns the number of an id. The caller holds mu.
func (t *idTable) intern(sum []byte) (uint32, *idInfo) {
	if 3*t.sums.len() >= 2*len(t.slots) {
		t.grow()
	}
	hash := t.hash(sum)
	slot := t.find(hash, sum)
	if n := uint32(t.slots[slot]); n != 0 {
		return n - 1, t.infos.at(n - 1)
	}
	n, s := t.sums.add()
	copy(s[:], sum)
	_, info := t.infos.add()
	info.entry = none
	t.slots[slot] = uint64(hash)<<32 | uint64(n+1)
	return n, info
}

// hash tells ids apart without a look at them, which costs a wait for memory each. The seed keeps a sender from choosing ids
// that share their slots.
func (t *idTable) hash(sum []byte) uint32 { return uint32(maphash.Bytes(t.seed, sum)) }

// find returns the slot that holds the id, or that is free for it.
func (t *idTable) find(hash uint32, sum []byte) uint32 {
	mask := uint32(len(t.slots) - 1)
	for slot := hash & mask; ; slot = (slot + 1) & mask {
		at := t.slots[slot]
		if at == 0 || uint32(at>>32) == hash && string(t.sums.at(uint32(at) - 1)[:t.size]) == string(sum) {
			return slot
		}
	}
}

func (t *idTable) grow() {
	old := t.slots
	t.slots = make([]uint64, 2*len(old))
	mask := uint32(len(t.slots) - 1)
	for _, at := range old {
		if at == 0 {
			continue
		}
		slot := uint32(at>>32) & mask
		for t.slots[slot] != 0 {
			slot = (slot + 1) & mask
		}
		t.slots[slot] = at
	}
}

func (t *idTable) id(f object.Format, n uint32) object.ID {
	return object.NewID(f, t.sums.at(n)[:t.size])
}

// base returns the number of a reference delta's base.
func (t *idTable) base(sum []byte) uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, _ := t.intern(sum)
	return n
}

// linkSet collects the links of one object until they are added together, so that workers seldom wait for each other.
// Most links of a tree are those of a tree seen just before: a small cache filters them.
type linkSet struct {
	fresh []wanted
	cache []wanted // by the id's first bytes
	small bool     // the pack is not worth a cache
}

type wanted struct {
	sum     [32]byte
	t       object.Type
	special object.Special
}

const linkCacheBits = 14

func (l *linkSet) add(w wanted, special bool) {
	if special || l.small {
		l.fresh = append(l.fresh, w)
		return
	}
	if l.cache == nil {
		l.cache = make([]wanted, 1<<linkCacheBits)
	}
	c := &l.cache[(uint32(w.sum[0])|uint32(w.sum[1])<<8|uint32(w.sum[2])<<16)&(1<<linkCacheBits-1)]
	if *c != w {
		*c = w
		l.fresh = append(l.fresh, w)
	}
}

// object records that entry proved to be the object sum, and what it links to. It returns the id's number and what
// was known of it.
func (t *idTable) object(sum []byte, typ object.Type, entry uint32, flags uint8, links *linkSet) (uint32, idInfo, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, info := t.intern(sum)
	before := *info
	if info.entry == none {
		info.entry, info.have, info.flags = entry, typ, flags
	} else {
		info.flags |= twice
	}
	if info.want != 0 && info.want != info.have {
		return n, before, t.clash(n, info.have, info.want)
	}
	if links == nil {
		return n, before, nil
	}
	for i := range links.fresh {
		if err := t.link(&links.fresh[i]); err != nil {
			return n, before, err
		}
	}
	links.fresh = links.fresh[:0]
	if t.sums.len() > maxIDs {
		return n, before, tooLarge("it names more than %d different objects", maxIDs)
	}
	return n, before, nil
}

func (t *idTable) link(w *wanted) error {
	n, info := t.intern(w.sum[:t.size])
	info.special |= w.special
	if w.t == 0 {
		return nil
	}
	if info.have != 0 && info.have != w.t {
		return t.clash(n, info.have, w.t)
	}
	if info.want != 0 && info.want != w.t {
		return fmt.Errorf("%w: object %x is linked to as a %s and as a %s", ErrCorrupt, t.sums.at(n)[:t.size], info.want, w.t)
	}
	info.want = w.t
	return nil
}

func (t *idTable) clash(n uint32, have, want object.Type) error {
	return fmt.Errorf("%w: object %x is a %s, but is linked to as a %s", ErrCorrupt, t.sums.at(n)[:t.size], have, want)
}
