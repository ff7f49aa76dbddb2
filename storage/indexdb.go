package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"holdfast/storage/object"
)

// The buckets of an index.db. Everything in it can be made again from the packs.
var (
	indexMeta    = []byte("meta")    // "version" -> 1; "filled" -> packs with lower numbers are here; "last" -> PackID of one of them, to tell whether it fits host.db
	indexObjects = []byte("objects") // see objectKey -> records, see appendRecord
	indexBases   = []byte("bases")   // see baseKey -> offset (8 bytes) of a base that was added to a thin pack
)

const indexVersion = 1

// indexMmap is mapped for an index.db ahead of its growth, see hostMmap.
const indexMmap = 1 << 30

// openIndexDB opens a repository's index.db. Unlike host.db it keeps its freelist on disk: it is opened often, and
// written seldom.
func openIndexDB(path string, noSync bool) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:         time.Second,
		FreelistType:    bbolt.FreelistMapType,
		InitialMmapSize: indexMmap,
		NoSync:          noSync, // statistics are on: they count free pages
	})
	if err != nil {
		return nil, err
	}
	if version(db) == indexVersion {
		return db, nil
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{indexMeta, indexObjects, indexBases} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(indexMeta)
		if v := meta.Get([]byte("version")); v != nil && (len(v) != 1 || v[0] != indexVersion) {
			return fmt.Errorf("layout version %v: this program knows version %d", v, indexVersion)
		}
		return meta.Put([]byte("version"), []byte{indexVersion})
	})
	if err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

func version(db *bbolt.DB) (v byte) {
	db.View(func(tx *bbolt.Tx) error {
		if meta := tx.Bucket(indexMeta); meta != nil && len(meta.Get([]byte("version"))) == 1 {
			v = meta.Get([]byte("version"))[0]
		}
		return nil
	})
	return v
}

// objectKey is where index.db keeps the records of one pack whose ids share their first 16 bits. The prefix comes first, so
// that a lookup is one seek, whatever the number of packs.
func objectKey(prefix uint16, pack uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(make([]byte, 0, 6), prefix), pack)
}

// baseKey is where index.db keeps a base that was added to a pack. It is for the pack's own deltas alone.
func baseKey(pack uint32, id object.ID) []byte {
	return id.Append(binary.BigEndian.AppendUint32(make([]byte, 0, 36), pack))
}

// appendRecord appends an object's record: its id without the first two bytes, its type, the CRC of its entry, and, as
// varints, the entry's offset and length and the object's size. The records of a key are sorted by id.
func appendRecord(b []byte, id object.ID, loc location) []byte {
	var raw [32]byte
	b = append(b, id.Append(raw[:0])[2:]...)
	b = append(b, byte(loc.typ))
	b = binary.BigEndian.AppendUint32(b, loc.crc)
	b = binary.AppendUvarint(b, uint64(loc.offset))
	b = binary.AppendUvarint(b, uint64(loc.length))
	return binary.AppendUvarint(b, uint64(loc.size))
}

var errRecord = fmt.Errorf("%w: index.db: malformed record (it is made again once it is deleted)", ErrCorrupt)

// cutRecord reads the first record of b: the rest of its id, and where the object is.
func cutRecord(b []byte, idSize int) (rest []byte, loc location, tail []byte, err error) {
	n := idSize - 2
	if len(b) < n+1+4 {
		return nil, loc, nil, errRecord
	}
	rest = b[:n]
	loc.typ = object.Type(b[n])
	loc.crc = binary.BigEndian.Uint32(b[n+1:])
	b = b[n+5:]
	for _, field := range []*int64{&loc.offset, &loc.length, &loc.size} {
		v, used := binary.Uvarint(b)
		if used <= 0 {
			return nil, loc, nil, errRecord
		}
		*field, b = int64(v), b[used:]
	}
	return rest, loc, b, nil
}

// findRecord looks the object up in index.db, but not in packs that are gone. raw is its id.
func findRecord(c *bbolt.Cursor, raw []byte, gone map[uint32]bool) (location, bool, error) {
	for k, v := c.Seek(raw[:2]); len(k) == 6 && k[0] == raw[0] && k[1] == raw[1]; k, v = c.Next() {
		number := binary.BigEndian.Uint32(k[2:])
		if gone[number] {
			continue
		}
		loc, ok, err := findInGroup(v, raw)
		if err != nil || ok {
			loc.number = number
			return loc, ok, err
		}
	}
	return location{}, false, nil
}

// findInGroup looks for an id among the records of one key.
func findInGroup(group, raw []byte) (location, bool, error) {
	for len(group) > 0 {
		rest, loc, tail, err := cutRecord(group, len(raw))
		if err != nil {
			return loc, false, err
		}
		if c := bytes.Compare(rest, raw[2:]); c == 0 {
			return loc, true, nil
		} else if c > 0 {
			break
		}
		group = tail
	}
	return location{}, false, nil
}

// eachRecord calls fn with the records of index.db that are of packs which pick picks. It reads a page at a time: between pages,
// no transaction is open and pause is called, whose error ends it. Neither pick nor fn may wait or do I/O.
func (st *repoState) eachRecord(pick func(number uint32) bool, pause func() error,
	fn func(number uint32, id object.ID, loc location)) error {
	for next := []byte{}; next != nil; {
		if err := pause(); err != nil {
			return err
		}
		var err error
		if next, err = st.recordsPage(next, pick, fn); err != nil {
			return err
		}
	}
	return nil
}

// recordsPage reads one page from a key on, and returns the key where the next page begins.
func (st *repoState) recordsPage(from []byte, pick func(uint32) bool,
	fn func(uint32, object.ID, location)) (next []byte, err error) {
	raw := make([]byte, st.format.Size())
	err = st.withIndex(func(tx *bbolt.Tx) error {
		c := tx.Bucket(indexObjects).Cursor()
		n := 0
		for k, v := c.Seek(from); k != nil; k, v = c.Next() {
			if n++; n > lookupPage {
				next = bytes.Clone(k)
				return nil
			}
			number := binary.BigEndian.Uint32(k[2:])
			if !pick(number) {
				continue
			}
			copy(raw, k[:2])
			for len(v) > 0 {
				rest, loc, tail, err := cutRecord(v, len(raw))
				if err != nil {
					return err
				}
				copy(raw[2:], rest)
				fn(number, object.NewID(st.format, raw), loc)
				v = tail
			}
		}
		return nil
	})
	return next, err
}

// lookupIn finds an object's record in one pack.
func (st *repoState) lookupIn(id object.ID, number uint32) (loc location, ok bool, err error) {
	if f := st.fresh.byNumber(number); f != nil {
		defer st.fresh.unuse(f)
		rec, ok, err := f.records.lookup(id)
		return f.locate(rec), ok, err
	}
	var raw [32]byte
	err = st.withIndex(func(tx *bbolt.Tx) error {
		loc, ok, err = findInGroup(tx.Bucket(indexObjects).Get(objectKey(id.Prefix16(), number)), id.Append(raw[:0]))
		loc.number = number
		return err
	})
	return loc, ok, err
}

// locate finds an object in one pack: as one of its own, or as a base that was added to it.
func (st *repoState) locate(id object.ID, number uint32) (off int64, ok bool) {
	if f := st.fresh.byNumber(number); f != nil {
		defer st.fresh.unuse(f)
		return f.records.locate(id)
	}
	var raw [32]byte
	err := st.withIndex(func(tx *bbolt.Tx) error {
		loc, found, err := findInGroup(tx.Bucket(indexObjects).Get(objectKey(id.Prefix16(), number)), id.Append(raw[:0]))
		if off, ok = loc.offset, found; ok || err != nil {
			return err
		}
		if v := tx.Bucket(indexBases).Get(baseKey(number, id)); len(v) == 8 {
			off, ok = int64(binary.BigEndian.Uint64(v)), true
		}
		return nil
	})
	return off, ok && err == nil
}

// checkIndexDB returns the number of packs that index.db covers. An index.db that is broken, or that does not fit
// host.db, is removed; so 0 may also mean that there is none.
func (st *repoState) checkIndexDB() (filled uint32, err error) {
	path := st.indexDBPath()
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	var last PackID
	fits := st.withIndex(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(indexMeta)
		if v := meta.Get([]byte("filled")); len(v) == 4 {
			filled = binary.BigEndian.Uint32(v)
		}
		copy(last[:], meta.Get([]byte("last")))
		return nil
	})
	if fits == nil && filled > 0 {
		repo, err := st.s.repoRecord(st.id)
		if err != nil {
			return 0, err
		}
		rec, listed, err := st.packRecord(last)
		if err != nil {
			return 0, err
		}
		if !listed || rec.Number >= filled || filled > repo.Packs {
			fits = errors.New("index.db covers packs that host.db does not know")
		}
	}
	if fits == nil {
		return filled, nil
	}
	if IsSystem(fits) || errors.Is(fits, ErrClosed) {
		return 0, fits
	}
	st.s.opts.Log.Warn("making index.db anew", "repo", st.id, "err", fits)
	st.s.indexes.forget(st)
	return 0, os.Remove(path)
}

func (st *repoState) indexDBPath() string { return filepath.Join(st.s.dirOf(st.id), "index.db") }

// withIndex runs a short read of index.db. fn must neither wait nor do I/O, and copies what it keeps.
func (st *repoState) withIndex(fn func(*bbolt.Tx) error) error {
	h, err := st.s.indexes.acquire(st)
	if err != nil {
		return err
	}
	defer st.s.indexes.release(h)
	return h.value.View(fn)
}

// openForWrite calls fn with an index.db that it may write: no other takes its place meanwhile.
func (st *repoState) openForWrite(fn func(*bbolt.DB) error) error {
	st.indexMu.RLock()
	defer st.indexMu.RUnlock()
	h, err := st.s.indexes.acquire(st)
	if err != nil {
		return err
	}
	defer st.s.indexes.release(h)
	return fn(h.value)
}
