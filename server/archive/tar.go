package archive

import (
	"fmt"
	"github.com/klauspost/compress/gzip"
	"io"
	"strconv"
	"strings"

	"holdfast/storage/object"
)

const (
	tarRecord   = 512
	tarBlock    = 20 * tarRecord
	maxOctal    = 1<<33 - 1 // the largest number of eleven octal digits: sizes and times
	nameBytes   = 100
	prefixBytes = 155
	tarUmask    = 0o002
)

// tarSink writes pax archives. archive/tar is not used because its checksums are spelled otherwise than git's: an archive
// that is verified by its hash must not depend on who made it.
type tarSink struct {
	w       io.Writer
	time    int64
	written int64
	buf     []byte
}

func newTar(w io.Writer, root Root) (*tarSink, error) {
	t := &tarSink{w: w, time: min(root.Time, maxOctal), buf: make([]byte, copyBytes)}
	var global []byte
	if !root.Commit.IsZero() {
		global = appendPax(global, "comment", root.Commit.String())
	}
	if root.Time > maxOctal {
		global = appendPax(global, "mtime", strconv.FormatInt(root.Time, 10))
	}
	if len(global) == 0 {
		return t, nil
	}
	return t, t.extended('g', "pax_global_header", global)
}

func (t *tarSink) add(e entry, size int64, content io.Reader) error {
	var h tarHeader
	var pax []byte
	mode := e.mode
	switch {
	case e.isDir():
		h.typ, mode = '5', (mode|0o777)&^tarUmask
	case e.kind() == object.ModeSymlink:
		target, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		h.typ, mode, h.link = '2', mode|0o777, string(target)
		if len(target) > nameBytes {
			h.link = "see " + e.id.String() + ".paxheader"
			pax = appendPax(pax, "linkpath", string(target))
		}
		size = 0
	case mode&0o100 != 0:
		h.typ, mode = '0', (mode|0o777)&^tarUmask
	default:
		h.typ, mode = '0', (mode|0o666)&^tarUmask
	}
	var ok bool
	if h.prefix, h.name, ok = splitName(e.path); !ok {
		h.name = e.id.String() + ".data"
		pax = append(appendPax(nil, "path", e.path), pax...)
	}
	h.mode, h.size = mode&0o7777, size
	if size > maxOctal {
		h.size = 0
		pax = appendPax(pax, "size", strconv.FormatInt(size, 10))
	}
	if len(pax) > 0 {
		if err := t.extended('x', e.id.String()+".paxheader", pax); err != nil {
			return err
		}
	}
	if err := t.write(h.encode(t.time)); err != nil || h.typ != '0' {
		return err
	}
	if err := copyAll(t.w, content, size, t.buf); err != nil {
		return err
	}
	t.written += size
	return t.pad(tarRecord)
}

// extended writes a header of pax records: for all that follows (g), or the next entry (x).
func (t *tarSink) extended(typ byte, name string, records []byte) error {
	h := tarHeader{typ: typ, name: name, mode: 0o666, size: int64(len(records))}
	if err := t.write(h.encode(t.time)); err != nil {
		return err
	}
	if err := t.write(records); err != nil {
		return err
	}
	return t.pad(tarRecord)
}

// close writes the two empty records that end an archive, and fills the last block.
func (t *tarSink) close() error {
	if err := t.write(make([]byte, 2*tarRecord)); err != nil {
		return err
	}
	return t.pad(tarBlock)
}

func (t *tarSink) write(p []byte) error {
	n, err := t.w.Write(p)
	t.written += int64(n)
	return err
}

func (t *tarSink) pad(to int64) error {
	if rest := t.written % to; rest > 0 {
		return t.write(make([]byte, to-rest))
	}
	return nil
}

// splitName divides a long path at a slash between the two fields that a header has for it.
func splitName(path string) (prefix, name string, ok bool) {
	if len(path) <= nameBytes {
		return "", path, true
	}
	head := strings.TrimSuffix(path, "/")
	i := strings.LastIndexByte(head[:min(len(head), prefixBytes)], '/')
	if i <= 0 || len(path)-i-1 > nameBytes {
		return "", "", false
	}
	return path[:i], path[i+1:], true
}

// appendPax appends the record "LENGTH KEY=VALUE\n", whose length counts its own digits.
func appendPax(b []byte, key, value string) []byte {
	rest := len(" =\n") + len(key) + len(value)
	n := rest + len(strconv.Itoa(rest))
	if rest+len(strconv.Itoa(n)) != n {
		n++
	}
	return fmt.Appendf(b, "%d %s=%s\n", n, key, value)
}

// tarHeader is the ustar header of one entry.
type tarHeader struct {
	typ                byte
	prefix, name, link string
	mode               uint32
	size               int64
}

func (h tarHeader) encode(time int64) []byte {
	b := make([]byte, tarRecord)
	put := func(at int, s string) { copy(b[at:], s) }
	put(0, h.name)
	put(100, fmt.Sprintf("%07o", h.mode))
	put(108, "0000000") // user
	put(116, "0000000") // group
	put(124, fmt.Sprintf("%011o", h.size))
	put(136, fmt.Sprintf("%011o", time))
	put(148, "        ") // the checksum, which counts as blanks
	b[156] = h.typ
	put(157, h.link)
	put(257, "ustar\x0000")
	put(265, "root")
	put(297, "root")
	put(329, "0000000") // device
	put(337, "0000000")
	put(345, h.prefix)
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	put(148, fmt.Sprintf("%07o\x00", sum))
	return b
}

// tarGzSink is a tar in gzip.
type tarGzSink struct {
	*tarSink
	gz *gzip.Writer
}

func newTarGz(w io.Writer, root Root, level int) (sink, error) {
	gz, err := gzip.NewWriterLevel(w, flateLevel(level))
	if err != nil {
		return nil, err
	}
	gz.OS = 3 // Unix, wherever it is made
	t, err := newTar(gz, root)
	return &tarGzSink{t, gz}, err
}

func (t *tarGzSink) close() error {
	if err := t.tarSink.close(); err != nil {
		return err
	}
	return t.gz.Close()
}

// flateLevel turns Options.Level into one of package flate.
func flateLevel(level int) int {
	switch level {
	case 0:
		return gzip.DefaultCompression
	case NoCompression:
		return gzip.NoCompression
	}
	return level
}
