package replication

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"holdfast/storage"
)

// Names in the spool directory. A file has its name only when it is complete and synced; before that it ends in tmpSuffix. The
// rename of a segment is not synced, since one that was complete under its first name is as good; see spool.draft.
const (
	tmpSuffix     = ".tmp"
	segmentSuffix = ".segment"
	damagedSuffix = ".damaged"
	stoppedPrefix = "stopped-"
	stoppedSuffix = ".json"
)

// Segment is a sealed segment in the spool. It never changes.
type Segment struct {
	Header Header
	size   int64
	path   string
	// found is set for a segment that was in the spool at start: whether any mirror was sent it is unknown.
	found   bool
	checked atomic.Bool // a found segment's body was verified
}

// Size is the length of the object in bytes.
func (s *Segment) Size() int64 { return s.size }

// verify reads the spool file and checks that it is still what was sealed.
func (s *Segment) verify() error {
	f, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(s.size-s.Header.BodySize, io.SeekStart); err != nil {
		return err
	}
	body := &countingReader{r: f, sum: sha256.New()}
	if err := body.finish(f, s.Header.BodySum, s.Header.BodySize); err != nil {
		return fmt.Errorf("spool file %s is damaged: %w", s.path, err)
	}
	return nil
}

// syncFile makes a file or directory of the spool durable. A variable so that a test can count.
var syncFile = (*os.File).Sync

// spool is the directory of what is not yet on every mirror. It keeps no state but the disk's.
type spool struct {
	dir        string
	generation uint64
	epoch      uint64
}

// stopRecord says that a mirror was stopped because somebody else wrote to it as this host.
type stopRecord struct {
	Mirror     string    `json:"mirror"`
	Generation uint64    `json:"generation"`
	Epoch      uint64    `json:"epoch"`
	Number     uint64    `json:"number"`
	Time       time.Time `json:"time"`
	Reason     string    `json:"reason"`
}

func (s spool) segmentPath(number uint64) string {
	return filepath.Join(s.dir, fixed(s.generation)+"-"+fixed(s.epoch)+"-"+fixed(number)+segmentSuffix)
}

func (s spool) packPath(id PackKeyID) string { return filepath.Join(s.dir, id.String()+packSuffix) }

func (s spool) stopPath(mirror string) string {
	return filepath.Join(s.dir, stoppedPrefix+mirror+stoppedSuffix)
}

// spooled is what scan found.
type spooled struct {
	segments []*Segment // of this generation and epoch, by number
	drafts   []*Segment // such as still have their first name
	packs    map[PackKeyID]int64
	stops    map[string]stopRecord
	damaged  uint64 // the highest number of a segment that cannot be read
}

// scan reads the directory, and removes half-written files and segments of an older epoch: a takeover accepted what they
// carry, or it did not.
func (s spool) scan(log *slog.Logger) (found spooled, err error) {
	found = spooled{packs: map[PackKeyID]int64{}, stops: map[string]stopRecord{}}
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return found, err
	}
	for _, f := range files {
		if err := s.scanFile(f, &found, log); err != nil {
			return found, fmt.Errorf("spool file %s: %w", f.Name(), err)
		}
	}
	return found, nil
}

func (s spool) scanFile(f fs.DirEntry, found *spooled, log *slog.Logger) error {
	name, path := f.Name(), filepath.Join(s.dir, f.Name())
	switch {
	case strings.HasSuffix(name, segmentSuffix+tmpSuffix):
		return s.scanDraft(path, found)
	case strings.HasSuffix(name, tmpSuffix):
		return os.Remove(path)
	case strings.HasSuffix(name, segmentSuffix):
		if !strings.HasPrefix(name, fixed(s.generation)+"-"+fixed(s.epoch)+"-") {
			return s.removeOld(name)
		}
		return s.scanSegment(path, found, log)
	case strings.HasSuffix(name, packSuffix):
		id, err := ParsePackKeyID(strings.TrimSuffix(name, packSuffix))
		if err != nil {
			return err
		}
		info, err := f.Info()
		if err == nil {
			found.packs[id] = info.Size()
		}
		return err
	case strings.HasPrefix(name, stoppedPrefix):
		return s.scanStop(path, found)
	}
	return nil // not ours
}

// scanSegment takes a segment in. One that cannot be read is put aside and its number stays taken: mirrors that lack it
// need heal, and the host goes on.
func (s spool) scanSegment(path string, found *spooled, log *slog.Logger) error {
	seg, err := readSpooled(path)
	if unopened(err) {
		return err
	}
	if err == nil && s.segmentPath(seg.Header.Number) != path {
		err = fmt.Errorf("it holds segment %d", seg.Header.Number)
	}
	if err == nil {
		found.segments = append(found.segments, seg)
		return nil
	}
	part := strings.Split(strings.TrimSuffix(filepath.Base(path), segmentSuffix), "-")
	found.damaged = max(found.damaged, unfixed(part[len(part)-1]))
	log.Error("a segment in the spool is damaged and is put aside", "file", path, "err", err)
	return os.Rename(path, path+damagedSuffix)
}

// scanDraft takes in a segment that may have been sealed before its rename was durable. One that is not complete was never sent. One that
// cannot be read may have been, so that its number must not be given again: the host does not start.
func (s spool) scanDraft(path string, found *spooled) error {
	seg, err := readSpooled(path)
	if unopened(err) || errors.Is(err, syscall.EIO) {
		return err
	}
	if err != nil || s.segmentPath(seg.Header.Number)+tmpSuffix != path {
		return os.Remove(path)
	}
	found.drafts = append(found.drafts, seg)
	return nil
}

// removeOld removes a segment of an older generation or epoch. One of a later would mean that the root record is old.
func (s spool) removeOld(name string) error {
	part := strings.Split(strings.TrimSuffix(name, segmentSuffix), "-")
	if len(part) != 3 {
		return errors.New("it has no name of a segment")
	}
	generation, epoch := unfixed(part[0]), unfixed(part[1])
	if generation > s.generation || epoch > s.epoch {
		return fmt.Errorf("it is of generation %d, epoch %d, and the root record of %d, %d", generation, epoch, s.generation, s.epoch)
	}
	return os.Remove(filepath.Join(s.dir, name))
}

func (s spool) scanStop(path string, found *spooled) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var r stopRecord
	if err := json.Unmarshal(raw, &r); err != nil {
		return err
	}
	if r.Generation == s.generation && r.Epoch == s.epoch {
		found.stops[r.Mirror] = r
		return nil
	}
	return os.Remove(path)
}

// unopened reports whether an error is the system's, which has too many files open, say, or keeps this one for another user: it says
// nothing about what is in the file. That it is gone, or that the disk has lost a part of it, does.
func unopened(err error) bool {
	return storage.IsSystem(err) && !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.ENOENT)
}

// readSpooled reads the header of a segment in the spool. The body is checked before it is first sent.
func readSpooled(path string) (*Segment, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	raw, err := readNote(bufio.NewReaderSize(f, 64<<10))
	if err != nil {
		return nil, err
	}
	text, _, _ := strings.Cut(string(raw), "\n\n")
	if !strings.HasPrefix(text, segmentMagic+"\n") {
		return nil, errors.New("it is no segment")
	}
	h, err := parseHeader(text + "\n")
	if err != nil {
		return nil, err
	}
	if info.Size() != int64(len(raw))+h.BodySize {
		return nil, fmt.Errorf("it has %d bytes, not %d", info.Size(), int64(len(raw))+h.BodySize)
	}
	return &Segment{Header: h, size: info.Size(), path: path, found: true}, nil
}

// draft writes one segment, durably, under its first name: it is sealed once adopt has given it the last one. After a crash it is
// taken for sealed, or is removed, by what the journal holds by then.
func (s spool) draft(h Header, c Contents, k SealKeys) (*Segment, error) {
	path := s.segmentPath(h.Number) + tmpSuffix
	size, err := s.fill(path, func(f *os.File) (err error) {
		h, err = WriteSegment(f, h, c, k, s.dir)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Segment{Header: h, size: size, path: path}, nil
}

// adopt gives a draft the name of a sealed segment.
func (s spool) adopt(seg *Segment) error {
	path := s.segmentPath(seg.Header.Number)
	if err := os.Rename(seg.path, path); err != nil {
		return err
	}
	seg.path = path
	return nil
}

// writeStop records durably that a mirror is stopped.
func (s spool) writeStop(r stopRecord) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	path := s.stopPath(r.Mirror)
	tmp := path + tmpSuffix
	if _, err := s.fill(tmp, func(f *os.File) error { _, err := f.Write(raw); return err }); err != nil {
		return err
	}
	if err := s.place(tmp, path); err != nil {
		os.Remove(tmp)
		return err
	}
	return nil
}

// fill makes a file, or makes it anew, durably. The syncs of the file and of the directory are done side by side.
func (s spool) fill(path string, write func(*os.File) error) (size int64, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return 0, err
	}
	err = write(f)
	if err == nil {
		size, err = f.Seek(0, io.SeekEnd)
	}
	if err == nil {
		synced := make(chan error, 1)
		go func() { synced <- syncFile(f) }()
		err = s.sync()
		err = errors.Join(<-synced, err)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(path) // a full disk must not stay full for our leavings
	}
	return size, err
}

// place gives a complete, synced file its name.
func (s spool) place(tmp, path string) error {
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return s.sync()
}

func (s spool) sync() error {
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(syncFile(d), d.Close())
}

// link gives the ciphertext of pack object old a second name, durably.
func (s spool) link(old, id PackKeyID) error {
	if err := os.Link(s.packPath(old), s.packPath(id)); err != nil {
		return err
	}
	return s.sync()
}

// neededPacks returns the pack objects that entries after seq name, as the journal knows them.
func neededPacks(j Journal, seq storage.Seq) (map[PackKeyID]storage.PackID, error) {
	needed := map[PackKeyID]storage.PackID{}
	for {
		entries, err := j.Entries(seq, MaxSegmentEntries)
		if err != nil || len(entries) == 0 {
			return needed, err
		}
		for _, p := range distinctPacks(entries) {
			record, err := j.External(p.ID)
			if err != nil {
				return nil, fmt.Errorf("pack %s: %w", p.ID, err)
			}
			if record == nil {
				continue
			}
			o, err := ParsePackObject(record)
			if err != nil {
				return nil, fmt.Errorf("pack %s: %w", p.ID, err)
			}
			needed[o.ID] = p.ID
		}
		seq = entries[len(entries)-1].Seq
	}
}
