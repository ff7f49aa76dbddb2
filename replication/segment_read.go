package replication

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"filippo.io/age"
	"golang.org/x/mod/sumdb/note"

	"holdfast/storage"
)

var errOtherBytes = errors.New("the bytes are not those that were signed")

// SegmentReader reads one segment from first to last byte, holding no pack in memory. Use it in this order: OpenSegment,
// then either Verify, or Decrypt and NextPack until io.EOF. What it hands out is proven at once: the header by its
// signature, entries by their chain, packs by their hash. The body as a whole is proven at io.EOF.
type SegmentReader struct {
	header Header
	src    *bufio.Reader // the object, behind the note
	body   *countingReader

	entries []storage.Entry
	outside map[storage.PackID]PackObject
	inside  []storage.PackInfo // those still to come
	plain   io.Reader
	tar     *tar.Reader
}

// countingReader hashes and counts what is read through it.
type countingReader struct {
	r   io.Reader
	sum hash.Hash
	n   int64
}

// Read implements io.Reader.
func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.sum.Write(p[:n])
	c.n += int64(n)
	return n, err
}

// finish reads to the end and checks what was read since the beginning; src, from which c reads, must end there too.
func (c *countingReader) finish(src io.Reader, sum Sum, size int64) error {
	if _, err := io.Copy(io.Discard, c); err != nil {
		return err
	}
	if c.n != size || Sum(c.sum.Sum(nil)) != sum {
		return fmt.Errorf("%w: %d of %d bytes", errOtherBytes, c.n, size)
	}
	if n, err := io.ReadFull(src, make([]byte, 1)); n != 0 || err != io.EOF {
		return fmt.Errorf("%w: more than %d", errOtherBytes, size)
	}
	return nil
}

// OpenSegment reads the header from r and verifies its signature by the journal key of the root record that it names,
// one of roots. It returns a *ClosedError where r is a Closed object, and an error that wraps ErrUnknownRoot where no
// such record is among roots. Whoever got r by its key must compare Header().Key() with it.
func OpenSegment(r io.Reader, roots Roots) (*SegmentReader, error) {
	src := bufio.NewReaderSize(r, 64<<10)
	raw, err := readNote(src)
	if err != nil {
		return nil, fmt.Errorf("segment: %w", err)
	}
	text, _, _ := strings.Cut(string(raw), "\n\n")
	text += "\n"
	magic, _, _ := strings.Cut(text, "\n")
	switch magic {
	case segmentMagic:
		return openSegment(src, raw, text, roots)
	case closedMagic:
		return nil, openClosed(src, raw, text, roots)
	}
	return nil, fmt.Errorf("segment: it begins with %.40q: this program reads %q", magic, segmentMagic)
}

func openSegment(src *bufio.Reader, raw []byte, text string, roots Roots) (*SegmentReader, error) {
	h, err := parseHeader(text)
	if err != nil {
		return nil, fmt.Errorf("segment header: %w", err)
	}
	root, key, err := roots.verifier(h.Root, h.Instance)
	if err != nil {
		return nil, fmt.Errorf("segment %d: %w", h.Number, err)
	}
	if root.Epoch != h.Epoch {
		return nil, fmt.Errorf("segment %d: its root record is of epoch %d, not %d", h.Number, root.Epoch, h.Epoch)
	}
	if err := verifyNote(raw, text, key); err != nil {
		return nil, fmt.Errorf("segment %d: %w", h.Number, err)
	}
	body := &countingReader{r: io.LimitReader(src, h.BodySize), sum: sha256.New()}
	return &SegmentReader{header: h, src: src, body: body}, nil
}

// openClosed verifies a Closed object and returns it as a *ClosedError.
func openClosed(src *bufio.Reader, raw []byte, text string, roots Roots) error {
	c, err := parseClosed(text)
	if err != nil {
		return fmt.Errorf("closed object: %w", err)
	}
	root, key, err := roots.verifier(c.Root, c.Instance)
	if err != nil {
		return fmt.Errorf("closed object %d: %w", c.Number, err)
	}
	if root.Epoch < c.Epoch {
		return fmt.Errorf("closed object %d: a writer of epoch %d cannot close epoch %d", c.Number, root.Epoch, c.Epoch)
	}
	if err := verifyNote(raw, text, key); err != nil {
		return fmt.Errorf("closed object %d: %w", c.Number, err)
	}
	if _, err := src.ReadByte(); err != io.EOF {
		return fmt.Errorf("closed object %d: bytes behind its end", c.Number)
	}
	return &ClosedError{Closed: c}
}

// verifyNote checks the signature, and that what was signed is the text that was parsed.
func verifyNote(raw []byte, parsed string, key note.Verifier) error {
	signed, err := openNote(raw, key)
	if err != nil {
		return err
	}
	if signed != parsed {
		return errors.New("malformed note")
	}
	return nil
}

// readNote reads the note that an object begins with: lines up to an empty one, and one line that signs them.
func readNote(src *bufio.Reader) ([]byte, error) {
	var raw bytes.Buffer
	for last := false; ; {
		line, err := src.ReadSlice('\n')
		if err != nil {
			return nil, fmt.Errorf("header: %w", noEOF(err))
		}
		raw.Write(line)
		if raw.Len() > maxHeaderBytes {
			return nil, fmt.Errorf("header: more than %d bytes", maxHeaderBytes)
		}
		if last {
			return raw.Bytes(), nil
		}
		last = len(line) == 1
	}
}

// Header returns the verified header.
func (s *SegmentReader) Header() Header { return s.header }

// Verify reads the rest of the object and checks length and hash of the body: all that can be checked without the
// recovery identity.
func (s *SegmentReader) Verify() error {
	if err := s.body.finish(s.src, s.header.BodySum, s.header.BodySize); err != nil {
		return fmt.Errorf("segment %d: %w", s.header.Number, err)
	}
	return nil
}

// Decrypt reads the entries and checks that they are those that the header says. It returns all of them: at most
// MaxSegmentEntries and 17 MiB as encoded.
func (s *SegmentReader) Decrypt(ids ...age.Identity) ([]storage.Entry, error) {
	if err := s.decrypt(ids); err != nil {
		return nil, fmt.Errorf("segment %d: %w", s.header.Number, err)
	}
	return s.entries, nil
}

func (s *SegmentReader) decrypt(ids []age.Identity) (err error) {
	if s.plain, err = age.Decrypt(s.body, ids...); err != nil {
		return err
	}
	s.tar = tar.NewReader(s.plain)
	if err := s.readEntries(); err != nil {
		return err
	}
	packs := distinctPacks(s.entries)
	if err := s.readOutside(packs); err != nil {
		return err
	}
	for _, p := range packs {
		if _, ok := s.outside[p.ID]; !ok {
			s.inside = append(s.inside, p)
		}
	}
	return nil
}

// file moves to the tar's next file, which must have that name and at most max bytes.
func (s *SegmentReader) file(name string, max int64) (io.Reader, int64, error) {
	h, err := s.tar.Next()
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", name, noEOF(err))
	}
	if h.Name != name || h.Typeflag != tar.TypeReg || h.Size > max {
		return nil, 0, fmt.Errorf("want file %s of at most %d bytes, got %.100q of %d", name, max, h.Name, h.Size)
	}
	return s.tar, h.Size, nil
}

func (s *SegmentReader) readEntries() error {
	r, _, err := s.file(entriesFile, maxSegmentEntryBytes)
	if err != nil {
		return err
	}
	lines := bufio.NewReader(r)
	seq, prev := s.header.First, s.header.Prev
	for ; seq <= s.header.Last; seq++ {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("entry %d: %w", seq, noEOF(err))
		}
		line = line[:len(line)-1]
		e, err := storage.DecodeEntry(line)
		if err != nil {
			return fmt.Errorf("entry %d: %w", seq, err)
		}
		if e.Seq != seq || e.Prev != prev || e.Epoch > s.header.Epoch {
			return fmt.Errorf("entry %d does not follow the one before it", seq)
		}
		prev = sha256.Sum256(line)
		s.entries = append(s.entries, e)
	}
	if prev != s.header.Head {
		return fmt.Errorf("entry %d is not the head that the header names", s.header.Last)
	}
	if _, err := lines.ReadByte(); err != io.EOF {
		return errors.New("more entries than the header says")
	}
	return nil
}

// readOutside matches the lines of external.jsonl with the pack lines of the header: same packs, same order.
func (s *SegmentReader) readOutside(packs []storage.PackInfo) error {
	s.outside = map[storage.PackID]PackObject{}
	if len(s.header.Packs) == 0 {
		return nil
	}
	r, _, err := s.file(externalFile, MaxSegmentPackRefs*200)
	if err != nil {
		return err
	}
	named := map[storage.PackID]bool{}
	for _, p := range packs {
		named[p.ID] = true
	}
	lines := bufio.NewScanner(r)
	for _, object := range s.header.Packs {
		var line outsideLine
		if !lines.Scan() {
			return fmt.Errorf("%s: a line for pack object %s is missing", externalFile, object.ID)
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("%s: %w", externalFile, err)
		}
		if _, double := s.outside[line.Pack]; line.ID != object.ID || !named[line.Pack] || double {
			return fmt.Errorf("%s: it does not fit the header and the entries", externalFile)
		}
		s.outside[line.Pack] = object
	}
	if lines.Scan() || lines.Err() != nil {
		return fmt.Errorf("%s: more lines than the header has packs", externalFile)
	}
	return nil
}

// Outside returns, after Decrypt, where a pack lies that is not in the segment.
func (s *SegmentReader) Outside(id storage.PackID) (PackObject, bool) {
	p, ok := s.outside[id]
	return p, ok
}

// NextPack returns, after Decrypt, the next pack in the segment, in the order in which the entries first name them; what
// was left unread of the one before it is skipped. The reader ends with an error instead of io.EOF if the bytes are not
// the pack's. At the end NextPack checks the body as a whole and returns io.EOF.
func (s *SegmentReader) NextPack() (storage.PackInfo, io.Reader, error) {
	if s.tar == nil {
		return storage.PackInfo{}, nil, errors.New("segment: NextPack before Decrypt")
	}
	if len(s.inside) == 0 {
		return storage.PackInfo{}, nil, s.finish()
	}
	want := s.inside[0]
	r, size, err := s.file(packDir+want.ID.String()+packSuffix, maxPackBytes)
	if err == nil && size != want.Size {
		err = fmt.Errorf("pack %s has %d bytes, its entry says %d", want.ID, size, want.Size)
	}
	if err != nil {
		return storage.PackInfo{}, nil, fmt.Errorf("segment %d: %w", s.header.Number, err)
	}
	s.inside = s.inside[1:]
	return want, newPackReader(r, want.ID), nil
}

// finish reads to the end and returns io.EOF if everything was as the header says.
func (s *SegmentReader) finish() error {
	if _, err := s.tar.Next(); err != io.EOF {
		return fmt.Errorf("segment %d: a file too many, or a damaged end: %v", s.header.Number, err)
	}
	// The encryption's last chunk proves that nothing was cut off.
	if _, err := io.Copy(io.Discard, s.plain); err != nil {
		return fmt.Errorf("segment %d: %w", s.header.Number, err)
	}
	if err := s.Verify(); err != nil {
		return err
	}
	return io.EOF
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// packReader ends with an error unless it read the pack id.
type packReader struct {
	r   io.Reader
	id  storage.PackID
	sum hash.Hash
}

func newPackReader(r io.Reader, id storage.PackID) *packReader {
	return &packReader{r: r, id: id, sum: sha256.New()}
}

// Read implements io.Reader.
func (p *packReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.sum.Write(b[:n])
	if err == io.EOF && storage.PackID(p.sum.Sum(nil)) != p.id {
		return n, fmt.Errorf("pack %s: the bytes are not its own", p.id)
	}
	return n, err
}

// OpenPackObject decrypts a pack object from r. The reader ends with an error instead of io.EOF unless both the object
// and the pack were what object and id say: read to the end before trusting it.
func OpenPackObject(r io.Reader, object PackObject, id storage.PackID, ids ...age.Identity) (io.Reader, error) {
	cipher := &countingReader{r: io.LimitReader(r, object.Size), sum: sha256.New()}
	plain, err := age.Decrypt(cipher, ids...)
	if err != nil {
		return nil, fmt.Errorf("pack object %s: %w", object.ID, err)
	}
	return &packObjectReader{plain: newPackReader(plain, id), cipher: cipher, src: r, object: object}, nil
}

type packObjectReader struct {
	plain  io.Reader
	cipher *countingReader
	src    io.Reader
	object PackObject
}

// Read implements io.Reader.
func (p *packObjectReader) Read(b []byte) (int, error) {
	n, err := p.plain.Read(b)
	if err == nil {
		return n, nil
	}
	if err != io.EOF {
		return n, fmt.Errorf("pack object %s: %w", p.object.ID, err)
	}
	if err := p.cipher.finish(p.src, p.object.Sum, p.object.Size); err != nil {
		return n, fmt.Errorf("pack object %s: %w", p.object.ID, err)
	}
	return n, io.EOF
}

// VerifyPackObject reads r to its end and checks that it is the object: all that can be checked without the recovery
// identity.
func VerifyPackObject(r io.Reader, object PackObject) error {
	cipher := &countingReader{r: io.LimitReader(r, object.Size), sum: sha256.New()}
	if err := cipher.finish(r, object.Sum, object.Size); err != nil {
		return fmt.Errorf("pack object %s: %w", object.ID, err)
	}
	return nil
}
