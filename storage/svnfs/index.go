package svnfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

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
// It is made again from them when it is lost, of another version, or behind.
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

// index is an open svn.db.
type index struct {
	db   *bbolt.DB
	size int // of an object id
	fmt  object.Format
}

// revPlace is where a revision is.
type revPlace struct {
	commit, revision ID
}

// openIndex opens a repository's index, an empty one if what is there is of no use.
func openIndex(repo *storage.Repo) (*index, error) {
	path := repo.SidePath(indexFile)
	x, err := tryIndex(repo, path)
	if err == nil || errors.Is(err, bolterrors.ErrTimeout) || errors.Is(err, fs.ErrPermission) {
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
		Timeout: time.Second, FreelistType: bbolt.FreelistMapType, NoFreelistSync: true, InitialMmapSize: 256 << 20, NoSync: repo.Store().NoSync(),
	})
	if err != nil {
		return nil, err
	}
	x := &index{db: db, size: repo.Format().Size(), fmt: repo.Format()}
	if err := x.prepare(); err != nil {
		db.Close()
		return nil, err
	}
	return x, nil
}

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

func (x *index) state() (s indexState, err error) {
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

// revProps returns a revision's properties if they were edited, else nil.
func (x *index) revProps(rev svn.Revnum) (props svn.Props, err error) {
	err = x.db.View(func(tx *bbolt.Tx) error {
		if v := tx.Bucket(bucketRevProps).Get(revKey(rev)); v != nil {
			props, err = svn.DecodeProps(v)
		}
		return err
	})
	return props, err
}

// indexUpdate is what one entry of the journal, or several, change.
type indexUpdate struct {
	applied  storage.Seq
	uuid     string // "" if unchanged
	revs     map[svn.Revnum]revPlace
	revProps map[svn.Revnum]svn.Props
	locks    map[string]*svn.Lock // nil for one that is gone
	view     int                  // 0 if unchanged
	moved    []movedRef
}

// movedRef is a ref of the git view that a revision moved; to the zero ID if it is gone.
type movedRef struct {
	ref string
	rev svn.Revnum
	to  ID
}

func (x *index) update(u *indexUpdate) error {
	err := x.db.Update(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if u.uuid != "" {
			if err := meta.Put(keyUUID, []byte(u.uuid)); err != nil {
				return err
			}
		}
		for rev, p := range u.revs {
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
		for _, m := range u.moved {
			key := binary.BigEndian.AppendUint64(append([]byte(m.ref), 0), uint64(m.rev))
			if err := tx.Bucket(bucketView).Put(key, m.to.Append(nil)); err != nil {
				return err
			}
		}
		if u.view != 0 {
			if err := meta.Put(keyView, []byte{byte(u.view)}); err != nil {
				return err
			}
		}
		return meta.Put(keyApplied, binary.BigEndian.AppendUint64(nil, uint64(u.applied)))
	})
	if err != nil {
		return fmt.Errorf("svn.db: %w", err)
	}
	return nil
}
