package worm

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/rclone/gofakes3"
)

// The directories below Config.Dir. Only objects outlives a restart.
const (
	objectsDir = "objects"
	tmpDir     = "tmp"
	uploadsDir = "uploads"
)

// blockBytes is the unit in which files and directories count against the quota, so that it bounds tiny objects too.
const blockBytes = 4096

// blocks is what a file of n bytes takes of the quota.
func blocks(n int64) int64 { return (n + blockBytes - 1) / blockBytes * blockBytes }

// taken says that the key holds other bytes. It is made anew each time: gofakes3 writes into the errors that it answers.
func taken() error {
	return gofakes3.ErrorMessage(gofakes3.ErrPreconditionFailed,
		"the key exists already with other bytes; objects on this mirror are never overwritten")
}

// store keeps objects as write-once files.
//
// An object is written to a temporary file, synced, linked to its final name, and the directory is synced. link(2)
// fails if the name exists, so there is no moment at which half an object can be seen or two writers both win, and a
// process killed in between leaves only a temporary file, which the next start removes.
type store struct {
	dir    string
	noSync bool // tests only
	quota  *quota

	mu     sync.Mutex
	synced map[string]struct{} // directories known to be durable, with their parents
}

// maxSynced bounds store.synced; past it the set starts anew, which costs some syncs.
const maxSynced = 10_000

// openStore prepares dir. It removes what an earlier process left unfinished.
func openStore(dir string, q *quota, noSync bool) (*store, error) {
	for _, name := range []string{tmpDir, uploadsDir} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"", objectsDir, tmpDir, uploadsDir} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			return nil, err
		}
	}
	s := &store{dir: dir, noSync: noSync, quota: q, synced: map[string]struct{}{}}
	if err := s.probeLink(); err != nil {
		return nil, err
	}
	if q.limit > 0 {
		used, err := usage(filepath.Join(dir, objectsDir))
		if err != nil {
			return nil, err
		}
		q.add(used)
	}
	for _, d := range []string{dir, filepath.Join(dir, objectsDir)} {
		if err := s.syncDir(d); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// probeLink makes sure that the file system has hard links that do not replace.
func (s *store) probeLink() error {
	a, b := filepath.Join(s.dir, tmpDir, "link-a"), filepath.Join(s.dir, tmpDir, "link-b")
	defer os.Remove(a)
	defer os.Remove(b)
	if err := os.WriteFile(a, nil, 0o600); err != nil {
		return err
	}
	if err := os.Link(a, b); err != nil {
		return fmt.Errorf("the file system of %s has no hard links, which a mirror needs: %w", s.dir, err)
	}
	if err := os.Link(a, b); !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("the file system of %s lets a link replace a file: it cannot hold a mirror", s.dir)
	}
	return nil
}

// usage adds up the blocks of all files and directories below dir.
func usage(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			total += blockBytes
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		total += blocks(info.Size())
		return nil
	})
	return total, err
}

// path returns where the object of key lies.
func (s *store) path(key string) string { return filepath.Join(s.dir, objectsDir, keyPath(key)) }

// put stores size bytes of body under key. Identical bytes under a taken key are fine; others are refused.
func (s *store) put(ctx context.Context, key string, body io.Reader, size int64) error {
	f, err := s.temp(filepath.Join(s.dir, tmpDir))
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := receive(ctx, f, body, size); err != nil {
		return err
	}
	return s.commit(f, key)
}

// temp creates a file with an unused name in dir.
func (s *store) temp(dir string) (*os.File, error) {
	var id [8]byte
	rand.Read(id[:])
	return os.OpenFile(filepath.Join(dir, hex.EncodeToString(id[:])), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o400)
}

// receive copies body to f and makes sure that it is what the signature announced. What it returns is the SHA-256.
func receive(ctx context.Context, f *os.File, body io.Reader, size int64) (sum [sha256.Size]byte, err error) {
	n, err := io.Copy(f, body)
	if err != nil {
		return sum, err
	}
	b := bodyOf(ctx)
	if b == nil || n != size || n != b.size || n != b.n {
		return sum, gofakes3.ErrIncompleteBody
	}
	if err := b.end(); err != io.EOF { // gofakes3 does not read an empty body to its end
		return sum, err
	}
	return b.want, nil
}

// commit makes the file f, whose contents are complete, the object of key. f keeps its own name.
func (s *store) commit(f *os.File, key string) error {
	if err := s.sync(f); err != nil {
		return err
	}
	path := s.path(key)
	if err := s.makeDir(filepath.Dir(path)); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	switch err := os.Link(f.Name(), path); {
	case errors.Is(err, fs.ErrExist):
		if same, err := sameBytes(f, path); err != nil {
			return err
		} else if !same {
			return taken()
		}
	case err != nil:
		return err
	default:
		s.quota.add(blocks(info.Size()))
	}
	// Also for identical bytes: the process that linked them may have died before it got here.
	return s.syncDir(filepath.Dir(path))
}

// makeDir makes the directory dir below objects durable. A directory that exists is not trusted to be: the process that
// made it may have died before it synced the parent.
func (s *store) makeDir(dir string) error {
	s.mu.Lock()
	_, ok := s.synced[dir]
	s.mu.Unlock()
	if ok || dir == filepath.Join(s.dir, objectsDir) {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := s.makeDir(parent); err != nil {
		return err
	}
	switch err := os.Mkdir(dir, 0o700); {
	case err == nil:
		s.quota.add(blockBytes)
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	if err := s.syncDir(parent); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.synced) >= maxSynced {
		clear(s.synced)
	}
	s.synced[dir] = struct{}{}
	return nil
}

func (s *store) sync(f *os.File) error {
	if s.noSync {
		return nil
	}
	return f.Sync()
}

func (s *store) syncDir(dir string) error {
	if s.noSync {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// sameBytes compares f with the file at path.
func sameBytes(f *os.File, path string) (bool, error) {
	g, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer g.Close()
	fi, err := f.Stat()
	if err != nil {
		return false, err
	}
	gi, err := g.Stat()
	if err != nil || fi.Size() != gi.Size() {
		return false, err
	}
	a, b := make([]byte, 64<<10), make([]byte, 64<<10)
	for off := int64(0); off < fi.Size(); off += int64(len(a)) {
		n := int(min(int64(len(a)), fi.Size()-off))
		if _, err := f.ReadAt(a[:n], off); err != nil {
			return false, err
		}
		if _, err := g.ReadAt(b[:n], off); err != nil {
			return false, err
		}
		if !bytes.Equal(a[:n], b[:n]) {
			return false, nil
		}
	}
	return true, nil
}

// quota counts the bytes that the mirror holds or has promised to hold.
type quota struct {
	limit int64 // 0: none

	mu   sync.Mutex
	used int64
}

// take promises n bytes; false if that would pass the limit.
func (q *quota) take(n int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.limit > 0 && q.used+n > q.limit {
		return false
	}
	q.used += n
	return true
}

// add counts n bytes whether they fit or not; a negative n gives bytes back.
func (q *quota) add(n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.used += n
}
