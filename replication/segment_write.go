package replication

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"filippo.io/age"
	"golang.org/x/mod/sumdb/note"

	"holdfast/storage"
)

// Names in a segment's tar, in the order in which they come.
const (
	entriesFile  = "entries.jsonl"
	externalFile = "external.jsonl"
	packDir      = "packs/"
	packSuffix   = ".pack"
)

// scratchMemory is how much of a body is held in memory before it goes to a scratch file.
const scratchMemory = 1 << 20

// Contents is what a segment carries.
type Contents struct {
	// Entries are consecutive, at least one and at most MaxSegmentEntries.
	Entries []storage.Entry
	// Outside holds, for each pack that is not to lie in the segment, where it lies.
	Outside map[storage.PackID]PackObject
	// OpenPack opens a pack as it was received. It is called for the packs that are not Outside, each once.
	OpenPack func(storage.PackID) (io.ReadCloser, error)
}

// SealKeys signs and encrypts a segment.
type SealKeys struct {
	Signer     note.Signer // the journal key
	Recipients []age.Recipient
	Root       RootRef // the record that names both
}

// WriteSegment writes one segment object to dst. Of h, only Instance, Generation, Epoch and Number are read; it returns
// the header as written. scratchDir is where a body over 1 MiB is put for a while, since its hash stands before it.
func WriteSegment(dst io.Writer, h Header, c Contents, k SealKeys, scratchDir string) (Header, error) {
	h, inside, err := plan(h, c)
	if err != nil {
		return h, fmt.Errorf("seal segment %d: %w", h.Number, err)
	}
	h.Root = k.Root
	body := &scratch{dir: scratchDir, sum: sha256.New()}
	defer body.remove()
	if err := writeBody(body, c, inside, k.Recipients); err != nil {
		return h, fmt.Errorf("seal segment %d: %w", h.Number, err)
	}
	h.BodySum, h.BodySize = Sum(body.sum.Sum(nil)), body.size
	if err := h.check(); err != nil {
		return h, fmt.Errorf("seal segment %d: %w", h.Number, err)
	}
	if err := writeNote(dst, h.text(), k.Signer); err != nil {
		return h, fmt.Errorf("seal segment %d: %w", h.Number, err)
	}
	if err := body.copyTo(dst); err != nil {
		return h, fmt.Errorf("seal segment %d: %w", h.Number, err)
	}
	return h, nil
}

// plan fills the header from the contents and lists the packs that go inside, in the order of their first mention.
func plan(h Header, c Contents) (Header, []storage.PackInfo, error) {
	if len(c.Entries) == 0 || len(c.Entries) > MaxSegmentEntries {
		return h, nil, fmt.Errorf("%d entries: a segment holds 1 to %d", len(c.Entries), MaxSegmentEntries)
	}
	first, last := c.Entries[0], c.Entries[len(c.Entries)-1]
	h.First, h.Prev, h.Last, h.Head = first.Seq, first.Prev, last.Seq, last.Hash()
	h.Packs = nil
	var inside []storage.PackInfo
	for _, p := range distinctPacks(c.Entries) {
		if o, ok := c.Outside[p.ID]; ok {
			h.Packs = append(h.Packs, o)
		} else {
			inside = append(inside, p)
		}
	}
	return h, inside, nil
}

// distinctPacks lists the packs that the entries name, each once, in the order of their first mention.
func distinctPacks(entries []storage.Entry) (packs []storage.PackInfo) {
	seen := map[storage.PackID]bool{}
	for _, e := range entries {
		for _, p := range e.Packs {
			if !seen[p.ID] {
				seen[p.ID] = true
				packs = append(packs, p)
			}
		}
	}
	return packs
}

// outsideLine is one line of external.jsonl.
type outsideLine struct {
	ID   PackKeyID      `json:"id"`
	Pack storage.PackID `json:"pack"`
}

// writeBody writes the encrypted tar.
func writeBody(dst io.Writer, c Contents, inside []storage.PackInfo, to []age.Recipient) error {
	enc, err := age.Encrypt(dst, to...)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(enc)
	if err := writeLists(tw, c); err != nil {
		return err
	}
	for _, p := range inside {
		if err := writePack(tw, p, c.OpenPack); err != nil {
			return err
		}
	}
	if err := tw.Close(); err != nil {
		return err
	}
	return enc.Close()
}

func writeLists(tw *tar.Writer, c Contents) error {
	var lines, outside bytes.Buffer
	for _, e := range c.Entries {
		line, err := e.Encode()
		if err != nil {
			return err
		}
		lines.Write(append(line, '\n'))
	}
	if lines.Len() > maxSegmentEntryBytes {
		return fmt.Errorf("%d bytes of entries: the limit is %d", lines.Len(), maxSegmentEntryBytes)
	}
	for _, p := range distinctPacks(c.Entries) {
		if o, ok := c.Outside[p.ID]; ok {
			line, err := json.Marshal(outsideLine{ID: o.ID, Pack: p.ID})
			if err != nil {
				return err
			}
			outside.Write(append(line, '\n'))
		}
	}
	if err := writeFile(tw, entriesFile, lines.Bytes()); err != nil || outside.Len() == 0 {
		return err
	}
	return writeFile(tw, externalFile, outside.Bytes())
}

func writePack(tw *tar.Writer, p storage.PackInfo, open func(storage.PackID) (io.ReadCloser, error)) error {
	r, err := open(p.ID)
	if err != nil {
		return fmt.Errorf("pack %s: %w", p.ID, err)
	}
	defer r.Close()
	if err := tw.WriteHeader(tarHeader(packDir+p.ID.String()+packSuffix, p.Size)); err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(tw, io.TeeReader(r, sum))
	if err != nil {
		return fmt.Errorf("pack %s: %w", p.ID, err)
	}
	if n != p.Size || storage.PackID(sum.Sum(nil)) != p.ID {
		return fmt.Errorf("pack %s: the store holds other bytes than were received: run holdfast check", p.ID)
	}
	return nil
}

func writeFile(tw *tar.Writer, name string, data []byte) error {
	if err := tw.WriteHeader(tarHeader(name, int64(len(data)))); err != nil {
		return err
	}
	_, err := tw.Write(data)
	return err
}

// tarHeader is the same for all files but name and size: nothing of the host leaks into it.
func tarHeader(name string, size int64) *tar.Header {
	return &tar.Header{Format: tar.FormatUSTAR, Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: time.Unix(0, 0)}
}

func writeNote(dst io.Writer, text string, key note.Signer) error {
	head, err := note.Sign(&note.Note{Text: text}, key)
	if err != nil {
		return err
	}
	if len(head) > maxHeaderBytes {
		return fmt.Errorf("header of %d bytes: the limit is %d", len(head), maxHeaderBytes)
	}
	_, err = dst.Write(head)
	return err
}

// WriteClosed returns the bytes of a closed object. key is the journal key of the root record that c names.
func WriteClosed(c Closed, key note.Signer) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("close segment %d: %w", c.Number, err)
	}
	var buf bytes.Buffer
	if err := writeNote(&buf, c.text(), key); err != nil {
		return nil, fmt.Errorf("close segment %d: %w", c.Number, err)
	}
	return buf.Bytes(), nil
}

// scratch holds a body until its hash is known: small ones in memory, others in a file without a name.
type scratch struct {
	dir  string
	sum  hash.Hash
	size int64
	mem  bytes.Buffer
	file *os.File
}

// Write implements io.Writer.
func (s *scratch) Write(p []byte) (int, error) {
	if s.size+int64(len(p)) > MaxSegmentBodyBytes {
		return 0, errors.New("the body is too large")
	}
	s.sum.Write(p)
	s.size += int64(len(p))
	if s.file == nil && s.mem.Len()+len(p) <= scratchMemory {
		return s.mem.Write(p)
	}
	if s.file == nil {
		f, err := os.CreateTemp(s.dir, "body-*"+".tmp")
		if err != nil {
			return 0, err
		}
		s.file = f
	}
	return s.file.Write(p)
}

// copyTo writes what was written to s.
func (s *scratch) copyTo(dst io.Writer) error {
	if _, err := dst.Write(s.mem.Bytes()); err != nil {
		return err
	}
	if s.file == nil {
		return nil
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err := io.Copy(dst, s.file)
	return err
}

func (s *scratch) remove() {
	if s.file != nil {
		s.file.Close()
		os.Remove(s.file.Name())
	}
}
