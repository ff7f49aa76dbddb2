package svnrepos

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"holdfast/storage/svn"
)

// Bounds of a report. A working copy of a million paths, each at a revision of its own, takes some 100 MB.
const (
	spoolMemory = 1 << 20 // beyond it, the report is on disk
	spoolBytes  = 1 << 30
)

// reportsOnDisk are those of all sessions together: clients need no name to fill a disk with them.
var reportsOnDisk = diskBound{most: 4 << 30}

type diskBound struct {
	most int64
	held atomic.Int64
}

func (b *diskBound) take(n int64) error {
	if b.held.Add(n) <= b.most {
		return nil
	}
	b.held.Add(-n)
	return svn.Errorf(svn.ErrReposBadRevisionReport, "Too many large reports of working copies at once; try again in a moment")
}

// pathInfo is what a report says of one path.
type pathInfo struct {
	path       string // relative to the anchor
	link       string // where it is switched to, absolute; "" if it is not
	rev        svn.Revnum
	depth      svn.Depth
	startEmpty bool
	lockToken  string // "" for none
}

// spool keeps a report until it is complete: in memory, and from some size on in a file that has no name.
type spool struct {
	buf  []byte
	file *os.File
	size int64 // of the file, by what was to be written
}

func (s *spool) add(i pathInfo) error {
	s.buf = i.append(s.buf)
	if s.size+int64(len(s.buf)) > spoolBytes {
		return svn.Errorf(svn.ErrReposBadRevisionReport, "The report of the working copy is larger than %d bytes", spoolBytes)
	}
	if len(s.buf) < spoolMemory {
		return nil
	}
	return s.flush()
}

func (s *spool) flush() error {
	if s.file == nil {
		f, err := os.CreateTemp("", "holdfast-report-*")
		if err != nil {
			return err
		}
		s.file = f
		if err := os.Remove(f.Name()); err != nil {
			return err
		}
	}
	if err := reportsOnDisk.take(int64(len(s.buf))); err != nil {
		return err
	}
	s.size += int64(len(s.buf))
	_, err := s.file.Write(s.buf)
	s.buf = s.buf[:0]
	return err
}

func (s *spool) close() {
	if s.file != nil {
		_ = s.file.Close() // nobody needs what is in it
	}
	reportsOnDisk.held.Add(-s.size)
	*s = spool{}
}

// reader reads what was added, from the start.
func (s *spool) reader() (*infoReader, error) {
	r := &infoReader{}
	if s.file == nil {
		r.in = bytes.NewReader(s.buf)
		return r, r.advance()
	}
	if err := s.flush(); err != nil {
		return nil, err
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	r.in = bufio.NewReaderSize(s.file, 64<<10)
	return r, r.advance()
}

func (i pathInfo) append(b []byte) []byte {
	b = appendString(b, i.path)
	b = appendString(b, i.link)
	b = binary.AppendVarint(b, int64(i.rev))
	b = binary.AppendVarint(b, int64(i.depth))
	var empty int64
	if i.startEmpty {
		empty = 1
	}
	b = binary.AppendVarint(b, empty)
	return appendString(b, i.lockToken)
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// byteReader is what a report is read back from.
type byteReader interface {
	io.Reader
	io.ByteReader
}

// infoReader walks a report, one description ahead.
type infoReader struct {
	in   byteReader
	next *pathInfo // nil at the end
}

func (r *infoReader) advance() error {
	path, err := readString(r.in)
	if errors.Is(err, io.EOF) {
		r.next = nil
		return nil
	}
	link, err2 := readString(r.in)
	rev, err3 := binary.ReadVarint(r.in)
	depth, err4 := binary.ReadVarint(r.in)
	empty, err5 := binary.ReadVarint(r.in)
	token, err6 := readString(r.in)
	r.next = &pathInfo{path, link, svn.Revnum(rev), svn.Depth(depth), empty != 0, token}
	return errors.Join(err, err2, err3, err4, err5, err6)
}

func readString(in byteReader) (string, error) {
	n, err := binary.ReadUvarint(in)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	_, err = io.CopyN(&b, in, int64(n)) // we wrote the length ourselves
	return b.String(), err
}

// below reports whether the next description is of something below dir.
func (r *infoReader) below(dir string) bool {
	if r.next == nil {
		return false
	}
	path := r.next.path
	return dir == "" || strings.HasPrefix(path, dir) && len(path) > len(dir) && path[len(dir)] == '/'
}

// take returns the entry of dir that the next description is at or below, "" if it is elsewhere. Only if it is of the very
// entry, it is returned and passed over.
func (r *infoReader) take(dir string) (name string, info *pathInfo, err error) {
	if !r.below(dir) {
		return "", nil, nil
	}
	rel := r.next.path
	if dir != "" {
		rel = rel[len(dir)+1:]
	}
	if rel == "" {
		return "", nil, svn.Errorf(svn.ErrReposBadRevisionReport, "Two top-level reports with no target")
	}
	if name, _, deeper := strings.Cut(rel, "/"); deeper {
		return name, nil, nil
	}
	info = r.next
	return rel, info, r.advance()
}

// skip passes over all descriptions below dir.
func (r *infoReader) skip(dir string) error {
	for r.below(dir) {
		if err := r.advance(); err != nil {
			return err
		}
	}
	return nil
}
