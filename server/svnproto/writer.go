package svnproto

import (
	"io"
	"strconv"

	"holdfast/storage/svn"
)

const writeBuffer = 64 << 10

// Writer writes items into a buffer that Flush and its own fullness empty. The first error stays, and nothing is written after it. It
// is for one goroutine.
type Writer struct {
	// Written counts the bytes that have left the buffer.
	Written int64

	dst io.Writer
	buf []byte
	err error
}

// NewWriter returns a Writer.
func NewWriter(dst io.Writer) *Writer { return &Writer{dst: dst, buf: make([]byte, 0, writeBuffer)} }

// Err returns the first error.
func (w *Writer) Err() error { return w.err }

// Flush writes what is in the buffer.
func (w *Writer) Flush() error {
	if len(w.buf) > 0 && w.err == nil {
		w.write(w.buf)
	}
	w.buf = w.buf[:0]
	return w.err
}

func (w *Writer) write(b []byte) {
	n, err := w.dst.Write(b)
	w.Written += int64(n)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		w.err = &fatal{svn.Wrap(err, svn.ErrRASvnIoError, "Cannot write to the client")}
	}
}

// room makes room for n bytes, which is far less than the buffer.
func (w *Writer) room(n int) {
	if len(w.buf)+n > cap(w.buf) {
		w.Flush()
	}
}

const longest = 32 // more than the longest number with what is around it

// Number writes a number.
func (w *Writer) Number(n uint64) {
	w.room(longest)
	w.buf = append(strconv.AppendUint(w.buf, n, 10), ' ')
}

// Rev writes a revision, which has to be one.
func (w *Writer) Rev(rev svn.Revnum) { w.Number(uint64(rev)) }

// Word writes a word.
func (w *Writer) Word(s string) {
	w.Raw(s)
	w.Raw(" ")
}

// Bool writes true or false.
func (w *Writer) Bool(b bool) {
	if b {
		w.Raw("true ")
	} else {
		w.Raw("false ")
	}
}

// Raw writes text that is known to consist of items: short ones, no strings from elsewhere.
func (w *Writer) Raw(s string) {
	w.room(len(s))
	w.buf = append(w.buf, s...)
}

// Open begins a list.
func (w *Writer) Open() { w.Raw("( ") }

// Close ends a list.
func (w *Writer) Close() { w.Raw(") ") }

// Str writes a string.
func (w *Writer) Str(s string) {
	w.length(len(s))
	for len(s) > cap(w.buf)-len(w.buf) {
		n := cap(w.buf) - len(w.buf)
		w.buf = append(w.buf, s[:n]...)
		s = s[n:]
		w.Flush()
	}
	w.buf = append(w.buf, s...)
	w.Raw(" ")
}

// Path writes svn.Join of dir, absolute, and name as a string, without making it.
func (w *Writer) Path(dir, name string) {
	n := len(dir) + 1 + len(name)
	if dir == "/" || name == "" || longest+n > cap(w.buf) {
		w.Str(svn.Join(dir, name))
		return
	}
	w.room(longest + n)
	w.length(n)
	w.buf = append(w.buf, dir...)
	w.buf = append(w.buf, '/')
	w.buf = append(w.buf, name...)
	w.buf = append(w.buf, ' ')
}

// Bytes writes a string.
func (w *Writer) Bytes(b []byte) {
	w.length(len(b))
	if len(b) > cap(w.buf)-len(w.buf) {
		w.Flush()
	}
	if len(b) < cap(w.buf) {
		w.buf = append(w.buf, b...)
	} else if w.err == nil {
		w.write(b)
	}
	w.Raw(" ")
}

func (w *Writer) length(n int) {
	w.room(longest)
	w.buf = append(strconv.AppendInt(w.buf, int64(n), 10), ':')
}

// token writes a string of a letter and a number.
func (w *Writer) token(kind byte, n uint64) {
	digits := 1
	for rest := n; rest >= 10; rest /= 10 {
		digits++
	}
	w.room(2 * longest)
	w.buf = append(strconv.AppendInt(w.buf, int64(1+digits), 10), ':', kind)
	w.buf = append(strconv.AppendUint(w.buf, n, 10), ' ')
}

// OptStr writes a list of a string, or an empty one for nil.
func (w *Writer) OptStr(s *string) {
	if s == nil {
		w.Raw("( ) ")
		return
	}
	w.Open()
	w.Str(*s)
	w.Close()
}

// OptText writes a list of a string, or an empty one for an empty string.
func (w *Writer) OptText(s string) {
	if s == "" {
		w.Raw("( ) ")
		return
	}
	w.OptStr(&s)
}

// OptRev writes a list of a revision, or an empty one.
func (w *Writer) OptRev(rev svn.Revnum) {
	w.Open()
	if rev.Valid() {
		w.Rev(rev)
	}
	w.Close()
}

// Props writes pairs of name and value, without the list around them.
func (w *Writer) Props(p svn.Props) {
	for _, name := range p.Names() {
		w.Open()
		w.Str(name)
		w.Str(p[name])
		w.Close()
	}
}

// Success writes a response without parameters.
func (w *Writer) Success() { w.Raw("( success ( ) ) ") }

// open writes the beginning of a response, or of a command: its word, and that of the list of parameters; shut ends both.
func (w *Writer) open(word string) {
	w.Open()
	w.Word(word)
	w.Open()
}

func (w *Writer) shut() { w.Raw(") ) ") }
