package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"go.etcd.io/bbolt"

	"holdfast/storage/object"
	"holdfast/storage/pack"
)

func isNotFound(err error) bool { return errors.Is(err, ErrNotFound) }

// lookup finds an object. Whoever reads it from the place that it is told holds a view from before the lookup on. It counts objects of pushes that are being committed: their refs may be visible already.
func (st *repoState) lookup(id object.ID) (location, bool, error) {
	loc, _, ok, err := st.find(id)
	return loc, ok, err
}

// lookupSettled finds an object of a push that is committed, and waits for a commit that is under way.
func (st *repoState) lookupSettled(id object.ID) (location, bool, error) {
	for {
		loc, f, ok, err := st.find(id)
		if err != nil || !ok || f == nil {
			return loc, ok, err
		}
		if <-f.settled; !f.failed {
			return loc, ok, nil
		}
	}
}

// find looks at the fresh packs first: a pack leaves them only after index.db has it. What index.db knows goes first,
// since those packs have lower numbers.
func (st *repoState) find(id object.ID) (location, *freshPack, bool, error) {
	if id.Format() != st.format {
		return location{}, nil, false, nil
	}
	v := st.views.hold() // before all else: what is not gone in it stays in index.db until it is released
	defer st.views.release(v)
	fresh, f, err := st.fresh.lookup(id)
	if err != nil {
		return location{}, nil, false, err
	}
	if st.hasIndex() {
		var raw [32]byte
		var loc location
		var ok bool
		err := st.withIndex(func(tx *bbolt.Tx) (err error) {
			loc, ok, err = findRecord(tx.Bucket(indexObjects).Cursor(), id.Append(raw[:0]), v.gone)
			return err
		})
		if err != nil || ok {
			return loc, nil, ok, err
		}
	}
	return fresh, f, f != nil, nil
}

// hasIndex reports whether index.db covers any pack.
func (st *repoState) hasIndex() bool { return st.fresh.indexed() > 0 }

// indexed returns the number below which all packs are in index.db.
func (fp *freshPacks) indexed() uint32 {
	fp.mu.RLock()
	defer fp.mu.RUnlock()
	return fp.filled
}

// lookupPage is the number of lookups that share one short read of index.db.
const lookupPage = 512

// lookupMany finds many objects; ids must be sorted. fn is called for each in order, with ok false for one that is not
// there.
func (st *repoState) lookupMany(ids []object.ID, fn func(i int, loc location, ok bool) error) error {
	page := make([]location, lookupPage)
	found := make([]bool, lookupPage)
	for from := 0; from < len(ids); from += lookupPage {
		part := ids[from:min(from+lookupPage, len(ids))]
		clear(found)
		if err := st.lookupIndexed(part, page, found); err != nil {
			return err
		}
		for i, id := range part {
			loc, ok := page[i], found[i]
			if !ok {
				var err error
				if loc, ok, err = st.lookupSettled(id); err != nil {
					return err
				}
			}
			if err := fn(from+i, loc, ok); err != nil {
				return err
			}
		}
	}
	return nil
}

func (st *repoState) lookupIndexed(ids []object.ID, page []location, found []bool) error {
	if !st.hasIndex() {
		return nil
	}
	v := st.views.hold()
	defer st.views.release(v)
	return st.withIndex(func(tx *bbolt.Tx) (err error) {
		c := tx.Bucket(indexObjects).Cursor()
		var raw [32]byte
		for i, id := range ids {
			if id.Format() != st.format {
				continue
			}
			if page[i], found[i], err = findRecord(c, id.Append(raw[:0]), v.gone); err != nil {
				return err
			}
		}
		return nil
	})
}

// packID returns the id of the repository's pack with that number.
func (st *repoState) packID(number uint32) (id PackID, err error) {
	if f := st.fresh.byNumber(number); f != nil {
		defer st.fresh.unuse(f)
		return f.id, nil
	}
	err = st.s.view(func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucketRepoPacks).Get(repoPackKey(st.id, number))
		if len(v) != len(id) {
			return fmt.Errorf("%w: host.db does not know pack %d", ErrCorrupt, number)
		}
		copy(id[:], v)
		return nil
	})
	return id, err
}

func (st *repoState) readObject(id object.ID) (object.Type, []byte, error) {
	return st.readKeeping(id, pack.KeepBases)
}

func (st *repoState) readKeeping(id object.ID, keep pack.Keep) (object.Type, []byte, error) {
	v := st.views.hold()
	defer st.views.release(v)
	loc, ok, err := st.lookup(id)
	if err != nil {
		return 0, nil, err
	}
	if !ok {
		return 0, nil, fmt.Errorf("object %s: %w", id, ErrNotFound)
	}
	if limit := st.s.opts.MaxReadBytes; loc.size > limit {
		return 0, nil, tooLargeToRead(id, loc.size, limit)
	}
	return st.read(loc, keep)
}

func tooLargeToRead(id object.ID, size, limit int64) error {
	return fmt.Errorf("object %s has %d bytes: %w to be held in memory, the limit is %d", id, size, ErrTooLarge, limit)
}

// readAt reads the object at loc. The result is shared with the cache and must not be changed.
func (st *repoState) readAt(loc location) (object.Type, []byte, error) {
	return st.read(loc, pack.KeepBases)
}

// readKept is readAt for an object that may soon be a delta's base: the cache keeps it.
func (st *repoState) readKept(at int64) (object.Type, []byte, error) {
	return st.read(location{number: placeNumber(at), offset: placeOffset(at)}, pack.KeepAll)
}

func (st *repoState) read(loc location, keep pack.Keep) (object.Type, []byte, error) {
	h, err := st.s.packs.acquire(packHandleKey{st, loc.number})
	if err != nil {
		return 0, nil, err
	}
	defer st.s.packs.release(h)
	data, typ, err := h.value.ReadObject(loc.offset, pack.ReadOptions{
		MaxBytes: st.s.opts.MaxReadBytes,
		MaxDepth: st.s.opts.MaxDepth + 1,
		Locate:   func(id object.ID) (int64, bool) { return st.locate(id, loc.number) },
		Base:     st.readObject,
		Cache:    st.s.bases,
		Keep:     keep,
	})
	return typ, data, err
}

// Has reports whether the repository contains the object, reachable or not.
func (r *Repo) Has(id object.ID) (bool, error) {
	st, err := r.s.repoState(r.id, r.init.Format)
	if isNotFound(err) && r.created {
		return false, nil
	}
	if err != nil {
		return false, r.fail("find object", err)
	}
	_, ok, err := st.lookup(id)
	if err != nil {
		return false, r.fail("find object", err)
	}
	return ok, nil
}

// Stat returns the type and size of an object, reachable or not. If there is none of that id, the error wraps ErrNotFound.
func (r *Repo) Stat(id object.ID) (object.Type, int64, error) {
	st, err := r.s.repoState(r.id, r.init.Format)
	if err != nil {
		return 0, 0, r.fail("find object", err)
	}
	loc, ok, err := st.lookup(id)
	if err == nil && !ok {
		err = fmt.Errorf("object %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return 0, 0, r.fail("find object", err)
	}
	return loc.typ, loc.size, nil
}

// ReadObject returns an object of up to Options.MaxReadBytes. If there is none of that id, the error wraps ErrNotFound. The content is
// shared with a cache: it must not be changed.
func (r *Repo) ReadObject(id object.ID) (object.Type, []byte, error) {
	return r.readKeeping(id, pack.KeepBases)
}

// ReadAgain is ReadObject for an object that is to be read again sooner than what it is built on: the cache keeps it instead.
func (r *Repo) ReadAgain(id object.ID) (object.Type, []byte, error) {
	return r.readKeeping(id, pack.KeepObject)
}

func (r *Repo) readKeeping(id object.ID, keep pack.Keep) (object.Type, []byte, error) {
	st, err := r.s.repoState(r.id, r.init.Format)
	if err != nil {
		return 0, nil, r.fail("read object", err)
	}
	typ, data, err := st.readKeeping(id, keep)
	if err != nil {
		return 0, nil, r.fail("read object", err)
	}
	return typ, data, nil
}

// OpenObject returns an object's type, its size and a reader of its content, which the caller closes. A blob that is
// stored undeltified is streamed, whatever its size; any other object is held in memory as by ReadObject.
func (r *Repo) OpenObject(id object.ID) (object.Type, int64, io.ReadCloser, error) {
	st, err := r.s.repoState(r.id, r.init.Format)
	if err != nil {
		return 0, 0, nil, r.fail("open object", err)
	}
	v := st.views.hold()
	defer st.views.release(v)
	loc, ok, err := st.lookup(id)
	if err == nil && !ok {
		err = fmt.Errorf("object %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return 0, 0, nil, r.fail("open object", err)
	}
	content, err := st.openAt(id, loc)
	if err != nil {
		return 0, 0, nil, r.fail("open object", err)
	}
	return loc.typ, loc.size, content, nil
}

func (st *repoState) openAt(id object.ID, loc location) (io.ReadCloser, error) {
	h, err := st.s.packs.acquire(packHandleKey{st, loc.number})
	if err != nil {
		return nil, err
	}
	header, err := h.value.Header(loc.offset)
	if err == nil && !header.IsDelta() {
		_, _, blob, err := h.value.OpenBlob(loc.offset)
		if err == nil {
			return &heldReader{blob, func() { st.s.packs.release(h) }}, nil
		}
	}
	st.s.packs.release(h)
	if err != nil {
		return nil, err
	}
	if limit := st.s.opts.MaxReadBytes; loc.size > limit {
		return nil, tooLargeToRead(id, loc.size, limit)
	}
	_, data, err := st.read(loc, pack.KeepObject)
	return io.NopCloser(bytes.NewReader(data)), err
}

// heldReader gives a pack file back when it is closed.
type heldReader struct {
	io.ReadCloser
	release func()
}

func (r *heldReader) Close() error {
	if r.release == nil {
		return nil
	}
	err := r.ReadCloser.Close()
	r.release()
	r.release = nil
	return err
}

// sortLinks sorts by id and drops repetitions.
func sortLinks(links []object.Link) []object.Link {
	slices.SortFunc(links, func(a, b object.Link) int { return a.ID.Compare(b.ID) })
	return slices.Compact(links)
}
