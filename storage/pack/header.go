package pack

import (
	"encoding/binary"
	"errors"
	"io"

	"holdfast/storage/object"
)

// The kinds of entries: those of objects stored whole have their type's number.
const (
	kindOfsDelta = 6
	kindRefDelta = 7
)

const (
	fileHeaderSize = 12
	maxEntryHeader = 10 + 32 // size and base
)

var signature = [4]byte{'P', 'A', 'C', 'K'}

func fileHeader(count uint32) []byte {
	h := append(make([]byte, 0, fileHeaderSize), signature[:]...)
	h = binary.BigEndian.AppendUint32(h, 2)
	return binary.BigEndian.AppendUint32(h, count)
}

func parseFileHeader(h []byte) (count uint32, err error) {
	if [4]byte(h[:4]) != signature {
		return 0, corrupt(0, "it does not begin with PACK")
	}
	if v := binary.BigEndian.Uint32(h[4:]); v != 2 && v != 3 {
		return 0, corrupt(4, "version %d is not known (want 2 or 3)", v)
	}
	return binary.BigEndian.Uint32(h[8:]), nil
}

// EntryHeader is what stands before an entry's deflated data.
type EntryHeader struct {
	Kind       byte      // an object.Type, or 6 (offset delta), 7 (reference delta)
	Size       int64     // of the data inflated: the object's, or the delta's
	BaseOffset int64     // of an offset delta: where the base's entry begins
	BaseID     object.ID // of a reference delta
	DataOffset int64     // where the deflated data begins
}

// IsDelta reports whether the entry is a delta of either kind.
func (h EntryHeader) IsDelta() bool { return h.Kind == kindOfsDelta || h.Kind == kindRefDelta }

var errHeader = errors.New("the entry's header is not valid")

// readEntryHeader reads the header of the entry at off. Errors are r's, or errHeader.
func readEntryHeader(r io.ByteReader, f object.Format, off int64) (h EntryHeader, err error) {
	n := int64(0)
	next := func() (byte, error) {
		n++
		return r.ReadByte()
	}
	c, err := next()
	if err != nil {
		return h, err
	}
	h.Kind = c >> 4 & 7
	size, shift := uint64(c&15), 4
	for c&0x80 != 0 {
		if shift > 56 {
			return h, errHeader
		}
		if c, err = next(); err != nil {
			return h, noEOF(err)
		}
		size |= uint64(c&0x7f) << shift
		shift += 7
	}
	if h.Size = int64(size); h.Size < 0 {
		return h, errHeader
	}
	switch h.Kind {
	case byte(object.Commit), byte(object.Tree), byte(object.Blob), byte(object.Tag):
	case kindOfsDelta:
		var dist int64
		if dist, err = readDistance(next); err != nil {
			return h, err
		}
		if h.BaseOffset = off - dist; dist <= 0 || h.BaseOffset < fileHeaderSize {
			return h, errHeader
		}
	case kindRefDelta:
		var sum [32]byte
		for i := range f.Size() {
			if sum[i], err = next(); err != nil {
				return h, noEOF(err)
			}
		}
		h.BaseID = object.NewID(f, sum[:f.Size()])
	default:
		return h, errHeader
	}
	h.DataOffset = off + n
	return h, nil
}

// readDistance reads git's offset encoding, in which no number has two forms.
func readDistance(next func() (byte, error)) (int64, error) {
	c, err := next()
	if err != nil {
		return 0, noEOF(err)
	}
	dist := int64(c & 0x7f)
	for c&0x80 != 0 {
		if dist >= 1<<55 {
			return 0, errHeader
		}
		if c, err = next(); err != nil {
			return 0, noEOF(err)
		}
		dist = (dist+1)<<7 | int64(c&0x7f)
	}
	return dist, nil
}

// appendEntryHeader appends an entry's header up to, and without, a delta's base.
func appendEntryHeader(b []byte, kind byte, size int64) []byte {
	c := kind<<4 | byte(size&15)
	for size >>= 4; size > 0; size >>= 7 {
		b = append(b, c|0x80)
		c = byte(size & 0x7f)
	}
	return append(b, c)
}

func appendDistance(b []byte, dist int64) []byte {
	var buf [10]byte
	i := len(buf) - 1
	buf[i] = byte(dist & 0x7f)
	for dist >>= 7; dist > 0; dist >>= 7 {
		dist--
		i--
		buf[i] = 0x80 | byte(dist&0x7f)
	}
	return append(b, buf[i:]...)
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
