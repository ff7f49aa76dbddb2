package svnfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"holdfast/storage"
	"holdfast/storage/object"
	"holdfast/storage/svn"
)

// The index, svn.db beside a repository's index.db, holds what the journal and the objects say in a form that is quick to ask:
//
//	meta      "version", "applied" (the last entry that is in it), "uuid"
//	revs      revision -> git commit, revision object
//	revprops  revision -> its properties, if they were edited
//	locks     path -> lock, as JSON
//	view      ref, NUL, revision -> the git commit that the ref was moved to, empty if it went
//
// It is made again from them when it is lost, of another version, or behind. So nothing waits for it to be durable: updates are kept in
// memory, where reads see them, and written before a change once there are many, or when the repository is closed. What a crash loses of
// them is taken from the journal again.
var (
	bucketMeta     = []byte("meta")
	bucketRevs     = []byte("revs")
	bucketRevProps = []byte("revprops")
	bucketLocks    = []byte("locks")
	bucketView     = []byte("view")

	keyVersion = []byte("version")
	keyApplied = []byte("applied")
	keyUUID    = []byte("uuid")
	keyView    = []byte("view")
)

const (
	indexFile    = "svn.db"
	indexVersion = "1"
)

// IndexBytes returns what a repository's svn.db takes on the disk, which is less than its length.
func IndexBytes(repo *storage.Repo) (int64, error) {
	var st unix.Stat_t
	err := unix.Stat(repo.SidePath(indexFile), &st)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return st.Blocks * 512, err
}

// index is an open svn.db.
type index struct {
	db   *bbolt.DB
	size int // of an object id
	fmt  object.Format

	mu      sync.RWMutex // guards the rest
	pending *indexUpdate // what is not written yet
	count   int          // how much of it there is
	state   indexState
}

// maxPending is how many changes of the index are kept in memory.
const maxPending = 512

// revPlace is where a revision is.
type revPlace struct {
	commit, revision ID
}

// openIndex opens a repository's index, an empty one if what is there is of no use.
func openIndex(repo *storage.Repo) (*index, error) {
	path := repo.SidePath(indexFile)
	x, err := tryIndex(repo, path)
	if err == nil || errors.Is(err, bolterrors.ErrTimeout) || storage.IsSystem(err) {
		return x, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return tryIndex(repo, path)
}

func tryIndex(repo *storage.Repo, path string) (*index, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: time.Second, FreelistType: bbolt.FreelistMapType, NoFreelistSync: true, InitialMmapSize: 256 << 20, NoSync: repo.Store().Options().NoSync,
	})
	if err != nil {
		return nil, err
	}
	x := &index{db: db, size: repo.Format().Size(), fmt: repo.Format(), pending: newIndexUpdate()}
	if err = x.prepare(); err == nil {
		x.state, err = x.stored()
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	return x, nil
}

// close writes what is pending and closes the file.
func (x *index) close() error { return errors.Join(x.flush(1), x.db.Close()) }

var errIndexVersion = errors.New("svn.db is of another version")

func (x *index) prepare() error {
	version := ""
	err := x.db.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket(bucketMeta); b != nil {
			version = string(b.Get(keyVersion))
		}
		return nil
	})
	switch {
	case err != nil || version == indexVersion:
		return err
	case version != "":
		return errIndexVersion
	}
	return x.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [...][]byte{bucketMeta, bucketRevs, bucketRevProps, bucketLocks, bucketView} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return tx.Bucket(bucketMeta).Put(keyVersion, []byte(indexVersion))
	})
}

func revKey(rev svn.Revnum) []byte { return binary.BigEndian.AppendUint64(nil, uint64(rev)) }

// state is what an index says of itself.
type indexState struct {
	applied  storage.Seq
	youngest svn.Revnum // svn.InvalidRevnum if there is none
	uuid     string
	locked   bool // there are locks
	view     int  // the rules of the git view, 0 if there is none
}

func (x *index) stored() (s indexState, err error) {
	s.youngest = svn.InvalidRevnum
	err = x.db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if v := meta.Get(keyApplied); len(v) == 8 {
			s.applied = storage.Seq(binary.BigEndian.Uint64(v))
		}
		s.uuid = string(meta.Get(keyUUID))
		if v := meta.Get(keyView); len(v) == 1 {
			s.view = int(v[0])
		}
		if k, _ := tx.Bucket(bucketRevs).Cursor().Last(); k != nil {
			s.youngest = svn.Revnum(binary.BigEndian.Uint64(k))
		}
		first, _ := tx.Bucket(bucketLocks).Cursor().First()
		s.locked = first != nil
		return nil
	})
	return s, err
}

// place returns where a revision is.
func (x *index) place(rev svn.Revnum) (p revPlace, err error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if p, ok := x.pending.revs[rev]; ok {
		return p, nil
	}
	err = x.db.View(func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucketRevs).Get(revKey(rev))
		if len(v) != 2*x.size {
			return svn.Errorf(svn.ErrFSNoSuchRevision, "No such revision %d", rev)
		}
		p = revPlace{object.NewID(x.fmt, v[:x.size]), object.NewID(x.fmt, v[x.size:])}
		return nil
	})
	return p, err
}

// revProps returns a revision's properties if they were edited, else nil, and a bit for each of the 64 revisions around it whose
// properties were: nearly none are.
func (x *index) revProps(rev svn.Revnum) (page uint64, props svn.Props, err error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	first := rev - rev%64
	err = x.db.View(func(tx *bbolt.Tx) error {
		c, end := tx.Bucket(bucketRevProps).Cursor(), revKey(first+64)
		for k, v := c.Seek(revKey(first)); k != nil && bytes.Compare(k, end) < 0; k, v = c.Next() {
			at := svn.Revnum(binary.BigEndian.Uint64(k))
			page |= 1 << (at - first)
			if at == rev {
				props, err = svn.DecodeProps(v)
			}
		}
		return err
	})
	for at := first; at < first+64; at++ {
		if p, ok := x.pending.revProps[at]; ok {
			page |= 1 << (at - first)
			if at == rev {
				props = p
			}
		}
	}
	return page, props, err
}

// indexUpdate is what one entry of the journal, or several, change.
type indexUpdate struct {
	applied  storage.Seq
	uuid     string // "" if unchanged
	revs     map[svn.Revnum]revPlace
	revProps map[svn.Revnum]svn.Props
	locks    map[string]*svn.Lock  // nil for one that is gone
	view     int                   // 0 if unchanged
	moved    map[string][]movedRef // by ref, in order
}

// movedRef says where a revision moved a ref of the git view; to the zero ID if it is gone.
type movedRef struct {
	rev svn.Revnum
	to  ID
}

// update makes an update visible. It cannot fail: the journal has it already.
func (x *index) update(u *indexUpdate) {
	x.mu.Lock()
	defer x.mu.Unlock()
	p, s := x.pending, &x.state
	for rev, place := range u.revs {
		p.revs[rev] = place
		s.youngest = max(s.youngest, rev)
	}
	maps.Copy(p.revProps, u.revProps)
	for path, lock := range u.locks {
		p.locks[path] = lock
		s.locked = s.locked || lock != nil
	}
	for ref, moves := range u.moved {
		p.moved[ref] = append(p.moved[ref], moves...)
	}
	if u.uuid != "" {
		p.uuid, s.uuid = u.uuid, u.uuid
	}
	if u.view != 0 {
		p.view, s.view = u.view, u.view
	}
	p.applied, s.applied = u.applied, u.applied
	x.count += 1 + len(u.revs) + len(u.revProps) + len(u.locks) + len(u.moved)
}

// flush writes what is pending, if it is so much.
func (x *index) flush(least int) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.count < least {
		return nil
	}
	if err := x.db.Update(x.pending.put); err != nil {
		return fmt.Errorf("%s: %w", indexFile, err)
	}
	stored, err := x.stored()
	if err == nil {
		x.pending, x.count, x.state = newIndexUpdate(), 0, stored
	}
	return err
}

func (u *indexUpdate) put(tx *bbolt.Tx) error {
	// Revisions are appended, and mostly to one branch: pages need no room for what comes between.
	tx.Bucket(bucketRevs).FillPercent, tx.Bucket(bucketView).FillPercent = 1, 1
	for _, rev := range slices.Sorted(maps.Keys(u.revs)) {
		p := u.revs[rev]
		if err := tx.Bucket(bucketRevs).Put(revKey(rev), p.revision.Append(p.commit.Append(nil))); err != nil {
			return err
		}
	}
	for rev, props := range u.revProps {
		if err := tx.Bucket(bucketRevProps).Put(revKey(rev), svn.EncodeProps(props)); err != nil {
			return err
		}
	}
	for path, lock := range u.locks {
		if err := putLock(tx.Bucket(bucketLocks), path, lock); err != nil {
			return err
		}
	}
	for ref, moves := range u.moved {
		for _, m := range moves {
			key := binary.BigEndian.AppendUint64(append([]byte(ref), 0), uint64(m.rev))
			if err := tx.Bucket(bucketView).Put(key, m.to.Append(nil)); err != nil {
				return err
			}
		}
	}
	return u.putMeta(tx.Bucket(bucketMeta))
}

func (u *indexUpdate) putMeta(meta *bbolt.Bucket) error {
	if u.uuid != "" {
		if err := meta.Put(keyUUID, []byte(u.uuid)); err != nil {
			return err
		}
	}
	if u.view != 0 {
		if err := meta.Put(keyView, []byte{byte(u.view)}); err != nil {
			return err
		}
	}
	return meta.Put(keyApplied, binary.BigEndian.AppendUint64(nil, uint64(u.applied)))
}

// current returns what the index says of itself, pending updates included.
func (x *index) current() indexState {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.state
}

// viewCommit returns what a ref of the view was at a revision, the zero ID if it was not there.
func (x *index) viewCommit(ref string, rev svn.Revnum) (id ID, err error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	moves := x.pending.moved[ref]
	for i := len(moves) - 1; i >= 0; i-- {
		if moves[i].rev <= rev {
			return moves[i].to, nil
		}
	}
	prefix := append([]byte(ref), 0)
	err = x.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketView).Cursor()
		key := binary.BigEndian.AppendUint64(slices.Clone(prefix), uint64(rev+1))
		c.Seek(key)
		k, v := c.Prev()
		if k == nil { // Seek went past the end
			k, v = c.Last()
		}
		if bytes.HasPrefix(k, prefix) && bytes.Compare(k, key) < 0 && len(v) > 0 {
			id = object.NewID(x.fmt, v)
		}
		return nil
	})
	return id, err
}
