package pack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"holdfast/storage/object"
)

// An index file, all numbers big-endian:
//
//	8 bytes   "HFPKIDX" and the version, 1
//	1 byte    object format (object.Format)
//	7 bytes   zero
//	8 bytes   number of records
//	records   sorted by id, then offset; each is
//	            id          20 or 32 bytes
//	            offset      8 bytes
//	            type, size  8 bytes: the type in the upper 8 bits
//	            CRC         4 bytes
//	4 bytes   CRC-32C of all before it
//
// Only our own process reads it, and Scan makes it again: so there is no need to read versions but the newest.
const indexMagic = "HFPKIDX\x01"

const (
	indexHeader  = 24
	indexTrailer = 4
	// indexInMemory is the size up to which an index is read into memory. A larger one is mapped, so that neither holds
	// a file open.
	indexInMemory = 16 << 10
)

// ErrIndex says that an index file is damaged or of another version. Make it again with Scan and WriteIndex.
var ErrIndex = errors.New("pack index is not valid")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func recordSize(f object.Format) int { return f.Size() + 20 }

// AppendIndex appends the encoded index of recs, which are sorted as Received.Records are, to b.
func AppendIndex(b []byte, f object.Format, recs []Record) []byte {
	from := len(b)
	b = append(b, indexMagic...)
	b = append(b, byte(f), 0, 0, 0, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(len(recs)))
	for _, r := range recs {
		b = r.ID.Append(b)
		b = binary.BigEndian.AppendUint64(b, uint64(r.Offset))
		b = binary.BigEndian.AppendUint64(b, uint64(r.Type)<<56|uint64(r.Size))
		b = binary.BigEndian.AppendUint32(b, r.CRC)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[from:], castagnoli))
}

// WriteIndex writes the index file of a pack. recs are sorted as Received.Records are. The file appears whole or not at
// all, but is not synced: it can be made again.
func WriteIndex(path string, f object.Format, recs []Record) error {
	data := AppendIndex(make([]byte, 0, indexHeader+len(recs)*recordSize(f)+indexTrailer), f, recs)
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return err
}

// Index finds objects in a pack by id. It holds no file open. It is safe for concurrent use, up to Close.
type Index struct {
	format  object.Format
	records []byte
	size    int // of a record
	mapped  []byte
}

// OpenIndex opens an index file and verifies its checksum. The file must not change while the Index is in use.
func OpenIndex(path string) (*Index, error) {
	data, mapped, err := load(path)
	if err != nil {
		return nil, err
	}
	x, err := DecodeIndex(data)
	if err != nil {
		if mapped {
			unix.Munmap(data)
		}
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	if mapped {
		x.mapped = data
	}
	return x, nil
}

func load(path string) (data []byte, mapped bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	if info.Size() <= indexInMemory {
		data = make([]byte, info.Size())
		_, err = f.ReadAt(data, 0)
		return data, false, err
	}
	data, err = unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, false, &fs.PathError{Op: "mmap", Path: path, Err: err}
	}
	return data, true, nil
}

// DecodeIndex reads an encoded index, whose memory it keeps using.
func DecodeIndex(data []byte) (*Index, error) {
	if len(data) < indexHeader+indexTrailer || string(data[:len(indexMagic)]) != indexMagic {
		return nil, fmt.Errorf("%w: unknown beginning", ErrIndex)
	}
	f := object.Format(data[8])
	if f != object.SHA1 && f != object.SHA256 {
		return nil, fmt.Errorf("%w: unknown object format %d", ErrIndex, f)
	}
	x := &Index{format: f, size: recordSize(f), records: data[indexHeader : len(data)-indexTrailer]}
	if n := binary.BigEndian.Uint64(data[16:]); n != uint64(len(x.records)/x.size) || len(x.records)%x.size != 0 {
		return nil, fmt.Errorf("%w: %d bytes do not hold %d records", ErrIndex, len(data), n)
	}
	body, sum := data[:len(data)-indexTrailer], data[len(data)-indexTrailer:]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(sum) {
		return nil, fmt.Errorf("%w: its checksum is wrong", ErrIndex)
	}
	return x, nil
}

// Close gives the index's memory back. Nothing may use it any more.
func (x *Index) Close() error {
	m := x.mapped
	x.mapped, x.records = nil, nil
	if m != nil {
		return unix.Munmap(m)
	}
	return nil
}

// Format returns the format of the ids.
func (x *Index) Format() object.Format { return x.format }

// Len returns the number of records.
func (x *Index) Len() int { return len(x.records) / x.size }

// At returns record i, counted from 0 in the order of ids.
func (x *Index) At(i int) Record {
	b := x.records[i*x.size : (i+1)*x.size]
	n := x.format.Size()
	typeSize := binary.BigEndian.Uint64(b[n+8:])
	return Record{
		ID:     object.NewID(x.format, b[:n]),
		Offset: int64(binary.BigEndian.Uint64(b[n:])),
		Size:   int64(typeSize & (1<<56 - 1)),
		Type:   object.Type(typeSize >> 56),
		CRC:    binary.BigEndian.Uint32(b[n+16:]),
	}
}

// Lookup finds an object; of one that the pack holds twice, the first. The error is always nil: it keeps room for an index
// that is read from disk.
func (x *Index) Lookup(id object.ID) (Record, bool, error) {
	i := x.search(id)
	if i == x.Len() {
		return Record{}, false, nil
	}
	r := x.At(i)
	if r.ID != id {
		return Record{}, false, nil
	}
	return r, true, nil
}

// search returns the first record whose id is not below id.
func (x *Index) search(id object.ID) int {
	if id.Format() != x.format {
		return x.Len()
	}
	var buf [32]byte
	return object.SearchIDs(x.records, x.size, id.Append(buf[:0]))
}

// All yields all records in the order of ids.
func (x *Index) All() iter.Seq[Record] {
	return func(yield func(Record) bool) {
		for i := range x.Len() {
			if !yield(x.At(i)) {
				return
			}
		}
	}
}
