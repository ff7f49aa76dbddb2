package svnfs

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"encoding/hex"
	"hash"
	"io"
	"os"
	"sync"

	"holdfast/storage"
	"holdfast/storage/object"
	"holdfast/storage/svn"
	"holdfast/storage/svn/svndiff"
)

// spool is a new text on its way: in memory while it is small, then in a file without a name. Once it is whole, it is in memory, in
// its file, or in the file that the transaction's texts share.
type spool struct {
	store *storage.Store
	max   int64 // how long it may get: no longer text can be committed
	mem   []byte
	file  *os.File
	at    int64 // where it begins in file
	size  int64
	md5   hash.Hash // nil once it is whole, as is sha1
	sha1  hash.Hash
}

const (
	maxMemText  = 256 << 10 // of a text that is in memory
	maxMemTexts = 4 << 20   // of all that a transaction keeps in memory
	maxOwnFiles = 32        // of a transaction's texts
	maxWriting  = 64        // texts that are written at the same time; clients write one after another
)

// texts are a transaction's.
type texts struct {
	spools  []*spool
	mem     int64
	files   int
	writing int

	shared *os.File // nil until it is needed
	end    int64

	sources map[io.Closer]bool // old texts that are being read; they hold files of the store
}

// begin begins a text.
func (t *texts) begin(s *storage.Store) (*spool, error) {
	if t.writing >= maxWriting {
		return nil, svn.Errorf(svn.ErrIncorrectParams, "More than %d texts are being sent at the same time", maxWriting)
	}
	t.writing++
	sp := newSpool(s)
	t.spools = append(t.spools, sp)
	return sp, nil
}

// keep finds a place for a text that is whole: neither memory nor open files must grow with their number.
func (t *texts) keep(s *spool) error {
	t.writing--
	s.md5, s.sha1 = nil, nil
	switch {
	case s.file == nil && t.mem+s.size <= maxMemTexts:
		t.mem += s.size
		s.fit()
		return nil
	case s.file != nil && t.files < maxOwnFiles:
		t.files++
		return nil
	}
	if t.shared == nil {
		f, err := s.store.Scratch()
		if err != nil {
			return err
		}
		t.shared = f
	}
	if _, err := io.Copy(io.NewOffsetWriter(t.shared, t.end), s.open()); err != nil {
		return err
	}
	s.close()
	s.release()
	s.file, s.at = t.shared, t.end
	t.end += s.size
	return nil
}

// close ends all texts.
func (t *texts) close() {
	for _, s := range t.spools {
		s.close()
	}
	for source := range t.sources {
		source.Close()
	}
	if t.shared != nil {
		t.shared.Close()
	}
}

func newSpool(s *storage.Store) *spool {
	return &spool{store: s, max: s.Options().MaxObjectBytes, md5: md5.New(), sha1: sha1.New()}
}

func (s *spool) Write(p []byte) (int, error) {
	if int64(len(p)) > s.max-s.size {
		return 0, svn.Wrap(storage.ErrTooLarge, svn.ErrFSGeneral, "A text has more than %d bytes", s.max)
	}
	s.md5.Write(p)
	s.sha1.Write(p)
	s.size += int64(len(p))
	if s.file == nil && s.size <= maxMemText {
		if s.mem == nil {
			s.mem = textBuffers.Get().(*[maxMemText]byte)[:0]
		}
		s.mem = append(s.mem, p...)
		return len(p), nil
	}
	if s.file == nil {
		f, err := s.store.Scratch()
		if err != nil {
			return 0, err
		}
		s.file = f
		if _, err := f.Write(s.mem); err != nil {
			return 0, err
		}
		s.release()
	}
	return s.file.Write(p)
}

// textBuffers are for texts that are being written.
var textBuffers = sync.Pool{New: func() any { return new([maxMemText]byte) }}

// release gives the memory of a text that is being written back.
func (s *spool) release() {
	if cap(s.mem) == maxMemText {
		textBuffers.Put((*[maxMemText]byte)(s.mem[:maxMemText]))
	}
	s.mem = nil
}

// fit gives a text that is whole no more memory than it takes.
func (s *spool) fit() {
	own := append(make([]byte, 0, len(s.mem)), s.mem...)
	s.release()
	s.mem = own
}

// bytes returns what was written. It is shared.
func (s *spool) bytes() ([]byte, error) {
	if s.file == nil {
		return s.mem, nil
	}
	data := make([]byte, s.size)
	_, err := s.file.ReadAt(data, s.at)
	return data, err
}

// open returns what was written so far.
func (s *spool) open() io.ReadCloser {
	if s.file == nil {
		return io.NopCloser(bytes.NewReader(s.mem))
	}
	return io.NopCloser(io.NewSectionReader(s.file, s.at, s.size))
}

func (s *spool) close() {
	if s.file != nil {
		s.file.Close()
	}
}

// ref returns what names the text.
func (s *spool) ref(f object.Format) (textRef, error) {
	t := textRef{size: s.size}
	s.md5.Sum(t.md5[:0])
	s.sha1.Sum(t.sha1[:0])
	h := newHasher(f)
	h.Begin(object.Blob, s.size)
	if _, err := io.Copy(h, s.open()); err != nil {
		return t, err
	}
	var err error
	t.blob, err = h.Sum()
	return t, err
}

// newHasher names objects of ours. It does not look for collisions: whatever it names is received as any pack, which does.
func newHasher(f object.Format) *object.Hasher {
	if f == object.SHA1 {
		return object.NewHasherWith(f, sha1.New())
	}
	return object.NewHasher(f)
}

func hashObject(f object.Format, t object.Type, data []byte) ID {
	h := newHasher(f)
	id, err := h.Hash(t, data)
	if err != nil {
		panic(err) // plain SHA-1 and SHA-256 have no errors
	}
	return id
}

// textWriter takes a file's new text.
type textWriter struct {
	*spool
	t *Txn
	m *mutable
}

// Close makes what was written the file's text.
func (w *textWriter) Close() error {
	ref, err := w.ref(w.t.fs.format)
	if err != nil {
		return err
	}
	if err := w.t.texts.keep(w.spool); err != nil {
		return err
	}
	w.m.text, w.m.rec.text = w.spool, ref
	return nil
}

// ApplyText returns a writer of a file's new text; it is the file's once it is closed.
func (t *Txn) ApplyText(path string) (io.WriteCloser, error) {
	m, err := t.mutableFile(path)
	if err != nil {
		return nil, err
	}
	t.changed(path, svn.Change{Action: svn.Modified, Kind: svn.File, TextMod: true})
	s, err := t.texts.begin(t.fs.repo.Store())
	if err != nil {
		return nil, err
	}
	return &textWriter{s, t, m}, nil
}

// ApplyTextDelta returns what takes the windows that make a file's new text from the present one, whose MD5 is baseMD5, in
// hexadecimal, unless that is empty. The text is the file's once the handler is closed.
func (t *Txn) ApplyTextDelta(path, baseMD5 string) (svn.WindowHandler, error) {
	m, err := t.mutableFile(path)
	if baseMD5 != "" && svn.CodeOf(err) == svn.ErrFSNotFile { // as Subversion words it, which looks at the checksum first
		err = svn.Errorf(svn.ErrFSNotFile, "Attempted to get checksum of a *non*-file node")
	}
	if err != nil {
		return nil, err
	}
	if have := hex.EncodeToString(m.rec.text.md5[:]); baseMD5 != "" && baseMD5 != have {
		return nil, ChecksumMismatch("Base checksum mismatch on '"+path+"'", baseMD5, have)
	}
	source, err := (&Node{fs: t.fs, m: m}).Open()
	if err != nil {
		return nil, err
	}
	w, err := t.ApplyText(path)
	if err != nil {
		source.Close()
		return nil, err
	}
	if t.texts.sources == nil {
		t.texts.sources = map[io.Closer]bool{}
	}
	t.texts.sources[source] = true
	return &deltaWriter{svndiff.NewApplier(source, w, nil), t, source, w}, nil
}

// ChecksumMismatch returns the error that clients know for a text that is not what it should be.
func ChecksumMismatch(what, expected, actual string) error {
	return svn.Errorf(svn.ErrChecksumMismatch, "%s:\n   expected:  %s\n     actual:  %s\n", what, expected, actual)
}

type deltaWriter struct {
	*svndiff.Applier
	t      *Txn
	source io.Closer
	target io.Closer
}

// Close ends the text.
func (w *deltaWriter) Close() error {
	delete(w.t.texts.sources, w.source)
	w.source.Close()
	return w.target.Close()
}

func (t *Txn) mutableFile(path string) (*mutable, error) {
	n, err := t.Root().Node(path)
	if err != nil {
		return nil, err
	}
	if n.Kind() != svn.File {
		return nil, svn.Errorf(svn.ErrFSNotFile, "'%s' is not a file in filesystem '%s'", path, t.fs.UUID())
	}
	if err := t.allowed(path, false); err != nil {
		return nil, err
	}
	return t.mutable(path)
}
