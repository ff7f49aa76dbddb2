package replication

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"holdfast/storage"
)

// Limits of a segment, for writers and readers alike.
const (
	MaxSegmentEntries    = 256
	MaxSegmentPackRefs   = 1024      // pack objects that one segment names
	MaxInlinePackBytes   = 8 << 20   // a bigger pack is an object of its own
	MaxSegmentBodyBytes  = 256 << 20 // as encrypted
	maxSegmentEntryBytes = 17 << 20  // of entries.jsonl: one entry of the largest size, or 16 MiB of smaller ones
	maxHeaderBytes       = 256 << 10 // of the signed note
	maxPackBytes         = 1 << 50
)

const (
	segmentMagic = "holdfast segment v1"
	closedMagic  = "holdfast closed v1"
)

// ErrClosed: the object says that its epoch or generation takes no more segments.
var ErrClosed = errors.New("the log is closed here")

// PackObject is a pack that lies on the mirrors as an object of its own. As JSON it is what Txn.SetExternal stores.
type PackObject struct {
	ID   PackKeyID `json:"id"`
	Sum  Sum       `json:"sha256"` // of the encrypted bytes
	Size int64     `json:"size"`   // of the encrypted bytes
}

// ParsePackObject decodes what Replicator.NewBigPack gave to Txn.SetExternal.
func ParsePackObject(record []byte) (p PackObject, err error) {
	if err := json.Unmarshal(record, &p); err != nil {
		return p, fmt.Errorf("external pack record: %w", err)
	}
	if p.ID == (PackKeyID{}) || p.Sum.IsZero() || p.Size <= 0 || p.Size > maxPackBytes {
		return p, errors.New("external pack record: incomplete")
	}
	return p, nil
}

// record is the inverse of ParsePackObject.
func (p PackObject) record() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // a struct of arrays and an integer
	}
	return b
}

// Header is the clear, signed part of a segment. Format: doc/formats/segment.md.
type Header struct {
	Instance   string
	Generation uint64
	Epoch      uint64
	Number     uint64 // counts from 1 in each epoch of each generation
	First      storage.Seq
	Last       storage.Seq
	Prev       storage.Hash // of the entry before First
	Head       storage.Hash // of the entry Last
	BodySum    Sum          // of the age file that ends the object
	BodySize   int64        // in bytes
	Root       RootRef
	Packs      []PackObject // the packs that the entries name and that lie outside the segment
}

// Key returns the key under which the segment lies.
func (h Header) Key() string { return SegmentKey(h.Instance, h.Generation, h.Epoch, h.Number) }

// Position returns the place in the log where the segment ends.
func (h Header) Position() Position {
	return Position{Generation: h.Generation, Epoch: h.Epoch, Number: h.Number, Last: h.Last, Head: h.Head}
}

// text is the header as it is signed.
func (h Header) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\ninstance %s\ngeneration %d\nepoch %d\nnumber %d\n", segmentMagic, h.Instance, h.Generation, h.Epoch, h.Number)
	fmt.Fprintf(&b, "first %d\nlast %d\nprev %s\nhead %s\n", h.First, h.Last, h.Prev, h.Head)
	fmt.Fprintf(&b, "body %s %d\nroot %d %s\n", h.BodySum, h.BodySize, h.Root.Version, h.Root.Sum)
	for _, p := range h.Packs {
		fmt.Fprintf(&b, "pack %s %s %d\n", p.ID, p.Sum, p.Size)
	}
	return b.String()
}

func (h Header) check() error {
	switch {
	case !ValidInstance(h.Instance):
		return fmt.Errorf("bad instance %.80q", h.Instance)
	case !counts(h.Generation) || !counts(h.Epoch) || !counts(h.Number) || !counts(h.Root.Version):
		return errors.New("generation, epoch, number and root version count from 1")
	case h.First < 1 || h.Last < h.First || h.Last-h.First >= MaxSegmentEntries:
		return fmt.Errorf("entries %d to %d: a segment holds 1 to %d", h.First, h.Last, MaxSegmentEntries)
	case (h.First == 1) != h.Prev.IsZero() || h.Head.IsZero():
		return errors.New("every entry but the first has one before it")
	case h.BodySize <= 0 || h.BodySize > MaxSegmentBodyBytes:
		return fmt.Errorf("body of %d bytes: the limit is %d", h.BodySize, MaxSegmentBodyBytes)
	case len(h.Packs) > MaxSegmentPackRefs:
		return fmt.Errorf("%d packs outside: the limit is %d", len(h.Packs), MaxSegmentPackRefs)
	}
	seen := map[PackKeyID]bool{}
	for _, p := range h.Packs {
		if seen[p.ID] || p.Size <= 0 || p.Size > maxPackBytes {
			return fmt.Errorf("bad or double pack %s", p.ID)
		}
		seen[p.ID] = true
	}
	return nil
}

// Closed is an object in the place of a segment. It says that nothing follows, and keeps an old writer from going on.
type Closed struct {
	Instance   string
	Generation uint64
	Epoch      uint64
	Number     uint64
	Root       RootRef // its journal key signs the object: for a takeover that is the new epoch's
}

// Key returns the key that the object closes.
func (c Closed) Key() string { return SegmentKey(c.Instance, c.Generation, c.Epoch, c.Number) }

// text is what is signed.
func (c Closed) text() string {
	return fmt.Sprintf("%s\ninstance %s\ngeneration %d\nepoch %d\nnumber %d\nroot %d %s\n",
		closedMagic, c.Instance, c.Generation, c.Epoch, c.Number, c.Root.Version, c.Root.Sum)
}

func (c Closed) check() error {
	if !ValidInstance(c.Instance) {
		return fmt.Errorf("bad instance %.80q", c.Instance)
	}
	if !counts(c.Generation) || !counts(c.Epoch) || !counts(c.Number) || !counts(c.Root.Version) {
		return errors.New("generation, epoch, number and root version count from 1")
	}
	return nil
}

// ClosedError is how a reader learns that an object is a Closed. It wraps ErrClosed.
type ClosedError struct{ Closed Closed }

// Error says which part of the log is closed.
func (e *ClosedError) Error() string {
	return fmt.Sprintf("generation %d, epoch %d is closed at segment %d", e.Closed.Generation, e.Closed.Epoch, e.Closed.Number)
}

// Unwrap returns ErrClosed.
func (e *ClosedError) Unwrap() error { return ErrClosed }

// fields reads the lines "name value..." of a header in their one order. The first error sticks.
type fields struct {
	lines []string
	err   error
}

func (f *fields) next(name string, values int) []string {
	blank := make([]string, values)
	if f.err != nil {
		return blank
	}
	if len(f.lines) == 0 {
		f.err = fmt.Errorf("line %q is missing", name)
		return blank
	}
	part := strings.Split(f.lines[0], " ")
	if part[0] != name || len(part) != 1+values {
		f.err = fmt.Errorf("want line %q, got %.100q", name, f.lines[0])
		return blank
	}
	f.lines = f.lines[1:]
	return part[1:]
}

func (f *fields) number(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil && f.err == nil {
		f.err = fmt.Errorf("bad number %.40q", s)
	}
	return n
}

func (f *fields) hex(dst []byte, s string) {
	if f.err == nil {
		f.err = decodeLowerHex(dst, []byte(s))
	}
}

func (f *fields) root() (r RootRef) {
	v := f.next("root", 2)
	r.Version = f.number(v[0])
	f.hex(r.Sum[:], v[1])
	return r
}

// parseHeader decodes a header's text; only the one form that text writes is accepted.
func parseHeader(text string) (h Header, err error) {
	f := fields{lines: strings.Split(strings.TrimSuffix(text, "\n"), "\n")[1:]}
	h.Instance = f.next("instance", 1)[0]
	h.Generation = f.number(f.next("generation", 1)[0])
	h.Epoch = f.number(f.next("epoch", 1)[0])
	h.Number = f.number(f.next("number", 1)[0])
	h.First = storage.Seq(f.number(f.next("first", 1)[0]))
	h.Last = storage.Seq(f.number(f.next("last", 1)[0]))
	f.hex(h.Prev[:], f.next("prev", 1)[0])
	f.hex(h.Head[:], f.next("head", 1)[0])
	body := f.next("body", 2)
	f.hex(h.BodySum[:], body[0])
	h.BodySize = int64(f.number(body[1]))
	h.Root = f.root()
	for len(f.lines) > 0 && f.err == nil && len(h.Packs) <= MaxSegmentPackRefs {
		v := f.next("pack", 3)
		var p PackObject
		f.hex(p.ID[:], v[0])
		f.hex(p.Sum[:], v[1])
		p.Size = int64(f.number(v[2]))
		h.Packs = append(h.Packs, p)
	}
	if f.err == nil {
		f.err = h.check()
	}
	if f.err == nil && h.text() != text {
		f.err = errors.New("not in canonical form")
	}
	return h, f.err
}

// parseClosed decodes the text of a Closed.
func parseClosed(text string) (c Closed, err error) {
	f := fields{lines: strings.Split(strings.TrimSuffix(text, "\n"), "\n")[1:]}
	c.Instance = f.next("instance", 1)[0]
	c.Generation = f.number(f.next("generation", 1)[0])
	c.Epoch = f.number(f.next("epoch", 1)[0])
	c.Number = f.number(f.next("number", 1)[0])
	c.Root = f.root()
	if f.err == nil {
		f.err = c.check()
	}
	if f.err == nil && c.text() != text {
		f.err = errors.New("not in canonical form")
	}
	return c, f.err
}
