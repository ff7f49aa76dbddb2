package worm

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rclone/gofakes3"
)

// uploads are the multipart uploads under way. They do not survive a restart: the client starts anew.
//
// A part is received into a file of its own, and appended to the upload's assembly as soon as all parts before it are:
// when parts come in order, as a stream's do, the data is still in the page cache, is written to the disk once, and
// Complete has nothing left to copy. Parts are write-once like objects.
type uploads struct {
	store    *store
	maxOpen  int
	maxBytes int64         // of one object
	expiry   time.Duration // of an upload that nobody touches
	forget   func(key string, id gofakes3.UploadID)
	now      func() time.Time

	mu   sync.Mutex
	open map[gofakes3.UploadID]*upload
}

// syncEvery bounds what the completion of an upload still has to write to the disk.
const syncEvery = 64 << 20

type upload struct {
	key   string
	dir   string
	touch time.Time // owned by uploads.mu

	mu       sync.Mutex
	parts    map[int]part
	appended int // parts 1..appended are in the assembly
	assembly *os.File
	bytes    int64 // of all parts
	taken    int64 // of the quota
	unsynced int64
	err      error // the assembly is lost
	over     bool  // completed or aborted
	done     bool  // completed
}

type part struct {
	sum  [sha256.Size]byte
	size int64
}

func (p part) etag() string { return `"` + hex.EncodeToString(p.sum[:]) + `"` }

// create starts an upload of key.
func (us *uploads) create(key string) (gofakes3.UploadID, error) {
	us.expire()
	var raw [16]byte
	rand.Read(raw[:])
	id := gofakes3.UploadID(hex.EncodeToString(raw[:]))
	us.mu.Lock()
	defer us.mu.Unlock()
	if len(us.open) >= us.maxOpen {
		return "", gofakes3.ErrorMessagef(gofakes3.ErrSlowDown,
			"%d multipart uploads are open; complete or abort one", len(us.open))
	}
	dir := filepath.Join(us.store.dir, uploadsDir, string(id))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	us.open[id] = &upload{key: key, dir: dir, touch: us.now(), parts: map[int]part{}}
	return id, nil
}

// expire drops the uploads that nobody touched for long.
func (us *uploads) expire() {
	old := map[gofakes3.UploadID]*upload{}
	us.mu.Lock()
	for id, u := range us.open {
		if us.now().Sub(u.touch) > us.expiry {
			old[id] = u
			delete(us.open, id)
		}
	}
	us.mu.Unlock()
	for id, u := range old {
		us.drop(u)
		us.forget(u.key, id)
	}
}

func (us *uploads) find(key string, id gofakes3.UploadID) (*upload, error) {
	us.mu.Lock()
	defer us.mu.Unlock()
	u := us.open[id]
	if u == nil || u.key != key {
		return nil, gofakes3.ErrNoSuchUpload
	}
	u.touch = us.now()
	return u, nil
}

// part receives part number n and returns its ETag.
func (us *uploads) part(ctx context.Context, key string, id gofakes3.UploadID, n int, size int64, body io.Reader,
) (string, error) {
	us.expire()
	u, err := us.find(key, id)
	if err != nil {
		return "", err
	}
	f, err := us.store.temp(u.dir)
	if err != nil {
		return "", gofakes3.ErrNoSuchUpload // aborted meanwhile
	}
	defer os.Remove(f.Name())
	defer f.Close()
	sum, err := receive(ctx, f, body, size)
	if err != nil {
		return "", err
	}
	p := part{sum: sum, size: size}
	return p.etag(), us.take(ctx, u, n, p, f)
}

// take adds the received part n, which f holds, to u.
func (us *uploads) take(ctx context.Context, u *upload, n int, p part, f *os.File) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	old, again := u.parts[n]
	switch {
	case u.over:
		return gofakes3.ErrNoSuchUpload
	case u.err != nil:
		return u.err
	case again && old == p:
		return nil
	case again:
		return gofakes3.ErrorMessagef(gofakes3.ErrInvalidPart, "part %d was sent before with other bytes", n)
	case u.bytes+p.size > us.maxBytes:
		return gofakes3.ErrorMessagef(gofakes3.ErrEntityTooLarge, "an object has at most %d bytes", us.maxBytes)
	}
	if err := os.Rename(f.Name(), u.partPath(n)); err != nil {
		return err
	}
	u.parts[n] = p
	u.bytes += p.size
	u.taken += bodyOf(ctx).keep()
	for u.err == nil && u.has(u.appended+1) {
		u.err = u.append(us.store)
	}
	return u.err
}

func (u *upload) partPath(n int) string { return filepath.Join(u.dir, "part"+strconv.Itoa(n)) }

func (u *upload) has(n int) bool { _, ok := u.parts[n]; return ok }

// append moves the next part to the assembly; u.mu is held.
func (u *upload) append(s *store) error {
	if u.assembly == nil {
		f, err := s.temp(u.dir)
		if err != nil {
			return err
		}
		u.assembly = f
	}
	path := u.partPath(u.appended + 1)
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.Copy(u.assembly, f)
	if err != nil {
		return err
	}
	if n != u.parts[u.appended+1].size {
		return io.ErrUnexpectedEOF
	}
	u.appended++
	if u.unsynced += n; u.unsynced >= syncEvery {
		u.unsynced = 0
		if err := s.sync(u.assembly); err != nil {
			return err
		}
	}
	return os.Remove(path)
}

// complete makes the upload's object visible.
func (us *uploads) complete(key string, id gofakes3.UploadID, in []gofakes3.CompletedPart) error {
	u, err := us.find(key, id)
	if err != nil {
		return err
	}
	if err := us.finish(u, in); err != nil {
		return err
	}
	us.remove(id, u)
	return nil
}

func (us *uploads) finish(u *upload, in []gofakes3.CompletedPart) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.done:
		return nil
	case u.over:
		return gofakes3.ErrNoSuchUpload
	case u.err != nil:
		return u.err
	case len(in) == 0 || len(in) != len(u.parts) || u.appended != len(u.parts):
		return gofakes3.ErrorMessagef(gofakes3.ErrInvalidPart,
			"%d parts were received, %d were named; all parts from 1 on must be, without gaps", len(u.parts), len(in))
	}
	for i, p := range in {
		if p.PartNumber != i+1 {
			return gofakes3.ErrInvalidPartOrder
		}
		if strings.Trim(p.ETag, `"`) != strings.Trim(u.parts[i+1].etag(), `"`) {
			return gofakes3.ErrorMessagef(gofakes3.ErrInvalidPart, "the ETag of part %d is not what was answered", i+1)
		}
	}
	if err := us.store.commit(u.assembly, u.key); err != nil {
		return err
	}
	u.done = true
	return nil
}

// abort drops the upload.
func (us *uploads) abort(key string, id gofakes3.UploadID) error {
	u, err := us.find(key, id)
	if err != nil {
		return err
	}
	us.remove(id, u)
	return nil
}

func (us *uploads) remove(id gofakes3.UploadID, u *upload) {
	us.mu.Lock()
	delete(us.open, id)
	us.mu.Unlock()
	us.drop(u)
}

// drop frees what u holds. An object that was completed has a name of its own by now.
func (us *uploads) drop(u *upload) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.over {
		return
	}
	u.over = true
	if u.assembly != nil {
		u.assembly.Close()
	}
	os.RemoveAll(u.dir)
	us.store.quota.add(-u.taken)
}

// closeAll drops every upload.
func (us *uploads) closeAll() {
	us.mu.Lock()
	all := us.open
	us.open = map[gofakes3.UploadID]*upload{}
	us.mu.Unlock()
	for _, u := range all {
		us.drop(u)
	}
}
