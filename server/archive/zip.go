package archive

import (
	"archive/zip"
	"github.com/klauspost/compress/flate"
	"io"
	"io/fs"
	"time"

	"holdfast/storage/object"
)

// zipSink writes zip archives. The commit is their comment.
type zipSink struct {
	z     *zip.Writer
	time  time.Time
	store bool
	buf   []byte
}

func newZip(w io.Writer, root Root, level int) (sink, error) {
	z := zip.NewWriter(w)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flateLevel(level))
	})
	s := &zipSink{z: z, time: time.Unix(root.Time, 0).UTC(), store: level == NoCompression, buf: make([]byte, copyBytes)}
	if root.Commit.IsZero() {
		return s, nil
	}
	return s, z.SetComment(root.Commit.String())
}

func (s *zipSink) add(e entry, size int64, content io.Reader) error {
	h := &zip.FileHeader{Name: e.path, Modified: s.time}
	switch {
	case e.isDir():
		h.SetMode(fs.ModeDir | 0o755)
	case e.kind() == object.ModeSymlink:
		h.SetMode(fs.ModeSymlink | 0o777)
	default:
		h.SetMode(fs.FileMode(e.mode & 0o777))
		if size > 0 && !s.store {
			h.Method = zip.Deflate
		}
	}
	w, err := s.z.CreateHeader(h)
	if err != nil || e.isDir() {
		return err
	}
	return copyAll(w, content, size, s.buf)
}

func (s *zipSink) close() error { return s.z.Close() }
