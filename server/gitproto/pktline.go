package gitproto

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// MaxPayload is the largest payload of a packet line in bytes; with its length of four digits it fills 65520.
const MaxPayload = 65516

const (
	lengthDigits = 4
	maxPacket    = MaxPayload + lengthDigits
	bufferSize   = 64 << 10 // at least maxPacket: Reader hands out slices of its buffer
)

// Kind tells packet lines apart.
type Kind uint8

// The kinds of packet lines.
const (
	Data        Kind = iota // a payload, possibly empty
	Flush                   // 0000: the end of a message
	Delim                   // 0001: between the sections of a message (version 2)
	ResponseEnd             // 0002: the end of a response (version 2 behind a stateless connection)
)

// String names the kind for error texts.
func (k Kind) String() string {
	switch k {
	case Data:
		return "data packet"
	case Flush:
		return "flush packet"
	case Delim:
		return "delimiter packet"
	case ResponseEnd:
		return "response-end packet"
	}
	return fmt.Sprintf("packet kind %d", uint8(k))
}

// Reader reads packet lines. It never takes a byte past the line it returned out of Rest. Not safe for concurrent use.
type Reader struct {
	r       *bufio.Reader
	pending int // bytes of the last payload, still in r's buffer
}

// NewReader returns a Reader of r. If r is a *bufio.Reader with a buffer of at least 65520 bytes it is used as it is.
func NewReader(r io.Reader) *Reader {
	if b, ok := r.(*bufio.Reader); ok && b.Size() >= maxPacket {
		return &Reader{r: b}
	}
	return &Reader{r: bufio.NewReaderSize(r, bufferSize)}
}

// Next reads one packet line. The payload is valid until the next call of Next or Rest. The error is io.EOF where the
// stream ends between two lines, io.ErrUnexpectedEOF where it ends within one, ErrProtocol for a malformed length, or
// the reader's own.
func (r *Reader) Next() (Kind, []byte, error) {
	r.skipPending()
	digits, err := r.r.Peek(lengthDigits)
	if err != nil {
		if errors.Is(err, io.EOF) && len(digits) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	n, err := parseLength(digits)
	if err != nil {
		return 0, nil, err
	}
	r.r.Discard(lengthDigits)
	if n < lengthDigits {
		return Flush + Kind(n), nil, nil
	}
	payload, err := r.r.Peek(n - lengthDigits)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	r.pending = len(payload)
	return Data, payload, nil
}

// Rest returns the stream that follows the lines read so far. Next must not be called while the caller reads from it.
func (r *Reader) Rest() *bufio.Reader {
	r.skipPending()
	return r.r
}

func (r *Reader) skipPending() {
	r.r.Discard(r.pending)
	r.pending = 0
}

// parseLength decodes the four digits before a payload: 0 to 2, or 4 to 65520.
func parseLength(digits []byte) (int, error) {
	n := 0
	for _, c := range digits {
		var d byte
		switch {
		case '0' <= c && c <= '9':
			d = c - '0'
		case 'a' <= c && c <= 'f':
			d = c - 'a' + 10
		case 'A' <= c && c <= 'F':
			d = c - 'A' + 10
		default:
			return 0, violation("bad line length %q: want four hexadecimal digits", digits)
		}
		n = n<<4 | int(d)
	}
	if n == 3 || n > maxPacket {
		return 0, violation("bad line length %d: want 4 to %d", n, maxPacket)
	}
	return n, nil
}

// Writer writes packet lines through a buffer of 64 KiB. The first error sticks: later calls do nothing, and Flush
// returns it. Not safe for concurrent use.
type Writer struct {
	w       *bufio.Writer
	out     io.Writer
	scratch []byte
	err     error
	band    byte // before each payload, unless it is 0
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer {
	return &Writer{w: bufio.NewWriterSize(w, bufferSize), out: w}
}

// Packet writes one data packet. A payload above MaxPayload is an error.
func (w *Writer) Packet(payload []byte) {
	head := make([]byte, lengthDigits, frameHeader)
	if w.band != 0 {
		head = append(head, w.band)
	}
	if len(head)+len(payload) > maxPacket {
		w.fail(fmt.Errorf("packet line of %d bytes, more than %d", len(payload), maxPacket-len(head)))
		return
	}
	putLength(head, len(head)+len(payload))
	w.write(head)
	w.write(payload)
}

// Linef writes one data packet of formatted text, which should end in a line feed.
func (w *Writer) Linef(format string, args ...any) {
	w.scratch = fmt.Appendf(w.scratch[:0], format, args...)
	w.Packet(w.scratch)
}

// Special writes a flush, delimiter or response-end packet.
func (w *Writer) Special(k Kind) {
	w.write([]byte{'0', '0', '0', '0' + byte(k-Flush)})
}

// Flush sends what is buffered on its way, through the Flush method of the underlying writer too if it has one. It
// writes no flush packet: that is Special(Flush).
func (w *Writer) Flush() error {
	if w.err == nil {
		w.fail(w.w.Flush())
	}
	if w.err == nil {
		w.fail(flushWriter(w.out))
	}
	return w.err
}

func (w *Writer) write(p []byte) {
	if w.err == nil {
		_, err := w.w.Write(p)
		w.fail(err)
	}
}

func (w *Writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

const hexDigits = "0123456789abcdef"

// putLength encodes n, at most 65535, as four digits.
func putLength(dst []byte, n int) {
	for i := range lengthDigits {
		dst[i] = hexDigits[n>>(12-4*i)&0xf]
	}
}

// flushWriter calls w's Flush method if it has one, in any of the three forms that the standard library knows.
func flushWriter(w io.Writer) error {
	switch f := w.(type) {
	case interface{ FlushError() error }:
		return f.FlushError()
	case interface{ Flush() error }:
		return f.Flush()
	case interface{ Flush() }:
		f.Flush()
	}
	return nil
}

// chomp strips one line feed from the end of a payload; senders may leave it out.
func chomp(p []byte) []byte {
	if n := len(p); n > 0 && p[n-1] == '\n' {
		return p[:n-1]
	}
	return p
}
