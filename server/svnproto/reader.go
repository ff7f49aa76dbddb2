package svnproto

import (
	"errors"
	"io"

	"holdfast/storage/svn"
)

const (
	maxNesting = 64
	maxWord    = 24       // bytes of a word, as in Subversion
	growth     = 64 << 10 // what a string gets at first, however long it says it is
	slack      = 4 << 10  // behind a long string, so that the next command's fits with its words
	keptBytes  = 1 << 20  // what the Reader keeps of its memory from one command to the next
	keptItems  = 1 << 14
)

// Reader reads items. It holds no more of a command than has arrived: lengths that are told are not believed. It is for one
// goroutine.
type Reader struct {
	// Limits of one command; set before the first.
	MaxBytes int64
	MaxItems int
	// Idle, if set, is called before a read that may block.
	Idle func() error

	src      io.Reader
	buf      []byte
	pos, end int
	left     int64 // bytes that the command may still have
	items    int   // that it may still have
	err      error // of src

	text  []byte // strings and words of the command
	list  []Item // its lists
	stack []Item // the items of lists that are not complete

	watch chan readResult // of the read ahead; nil if there is none
}

type readResult struct {
	n   int
	err error
}

// NewReader returns a Reader with the default limits.
func NewReader(src io.Reader) *Reader {
	return &Reader{MaxBytes: defaultRequestBytes, MaxItems: defaultItems, src: src, buf: make([]byte, 16<<10)}
}

// Read reads an item, and forgets the one before.
func (r *Reader) Read() (Item, error) {
	r.reset()
	for {
		r.left = r.MaxBytes // white space between commands does not count
		c, err := r.byte()
		if err != nil {
			return Item{}, err
		}
		if !isSpace(c) {
			return r.item(c, 0)
		}
	}
}

// ReadTuple reads an item that has to be a list.
func (r *Reader) ReadTuple() ([]Item, error) {
	it, err := r.Read()
	if err == nil && it.Kind != List {
		err = errMalformed()
	}
	return it.List, err
}

// command reads a command or a response: a word and a list.
func (r *Reader) command() (word []byte, params []Item, err error) {
	list, err := r.ReadTuple()
	if err != nil {
		return nil, nil, err
	}
	a := args{items: list}
	word, params = a.next(Word).Bytes, a.list()
	return word, params, a.err
}

func (r *Reader) reset() {
	r.text, r.list, r.stack = r.text[:0], r.list[:0], r.stack[:0]
	if cap(r.text) > keptBytes {
		r.text = nil
	}
	if cap(r.list) > keptItems {
		r.list = nil
	}
	if cap(r.stack) > keptItems {
		r.stack = nil
	}
	r.items = r.MaxItems
}

// Arrived reports whether there is something to read, or nothing more to come, without waiting for it: it leaves a read of the source
// behind, which the next Read takes over. What ends that is what ends reads of the source.
func (r *Reader) Arrived() bool {
	if r.watch != nil {
		select {
		case got := <-r.watch:
			r.take(got)
		default:
			return false
		}
	}
	for r.pos < r.end && isSpace(r.buf[r.pos]) {
		r.pos++
	}
	if r.pos < r.end || r.err != nil {
		return true
	}
	watch := make(chan readResult, 1)
	r.watch = watch
	go func() {
		n, err := r.src.Read(r.buf)
		watch <- readResult{n, err}
	}()
	return false
}

// take takes what has been read.
func (r *Reader) take(got readResult) {
	r.pos, r.end, r.err, r.watch = 0, got.n, got.err, nil
}

// fill makes the buffer hold something.
func (r *Reader) fill() error {
	for {
		switch {
		case r.pos < r.end:
			return nil
		case errors.Is(r.err, io.EOF):
			return &fatal{svn.Wrap(r.err, svn.ErrRASvnConnectionClosed, "Connection closed unexpectedly")}
		case r.err != nil:
			return &fatal{svn.Wrap(r.err, svn.ErrRASvnIoError, "Cannot read from the client")}
		}
		if err := r.idle(); err != nil {
			return err
		}
		if r.watch != nil {
			r.take(<-r.watch)
			continue
		}
		n, err := r.src.Read(r.buf)
		r.take(readResult{n, err})
	}
}

func (r *Reader) idle() error {
	if r.Idle == nil {
		return nil
	}
	return r.Idle()
}

func errRequestSize() error {
	return &fatal{svn.Errorf(svn.ErrRASvnRequestSize, "The client request size exceeds the configured limit")}
}

func (r *Reader) byte() (byte, error) {
	if r.pos == r.end {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	if r.left--; r.left < 0 {
		return 0, errRequestSize()
	}
	c := r.buf[r.pos]
	r.pos++
	return c, nil
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isAlpha(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func (r *Reader) skipSpace() (byte, error) {
	for {
		c, err := r.byte()
		if err != nil || !isSpace(c) {
			return c, err
		}
	}
}

// item reads the item that begins with c, and the white space behind it.
func (r *Reader) item(c byte, level int) (it Item, err error) {
	if level++; level >= maxNesting {
		return it, malformed("Items are nested too deeply")
	}
	if r.items--; r.items < 0 {
		return it, errRequestSize()
	}
	switch {
	case isDigit(c):
		it, c, err = r.numberOrString(c)
	case isAlpha(c):
		it, c, err = r.word(c)
	case c == '(':
		if it, err = r.readList(level); err == nil {
			c, err = r.byte()
		}
	default:
		err = errMalformed()
	}
	if err == nil && !isSpace(c) {
		err = errMalformed()
	}
	return it, err
}

func (r *Reader) numberOrString(c byte) (Item, byte, error) {
	n := uint64(c - '0')
	for {
		c, err := r.byte()
		switch {
		case err != nil:
			return Item{}, 0, err
		case c == ':':
			b, err := r.string(n)
			if err == nil {
				c, err = r.byte()
			}
			return Item{Kind: String, Bytes: b}, c, err
		case !isDigit(c):
			return Item{Kind: Number, Num: n}, c, nil
		}
		d := uint64(c - '0')
		if n > (1<<64-1-d)/10 {
			return Item{}, 0, malformed("Number is larger than maximum")
		}
		n = n*10 + d
	}
}

// string reads n bytes. Memory for them is taken as they arrive.
func (r *Reader) string(n uint64) ([]byte, error) {
	if n > uint64(max(r.left, 0)) {
		return nil, errRequestSize()
	}
	r.left -= int64(n)
	start, rest := len(r.text), int(n)
	for rest > 0 {
		if r.pos == r.end {
			if err := r.fill(); err != nil {
				return nil, err
			}
		}
		part := r.buf[r.pos:min(r.end, r.pos+rest)]
		if len(r.text)+len(part) > cap(r.text) {
			start = r.grow(start, len(part), rest)
		}
		r.text = append(r.text, part...)
		r.pos += len(part)
		rest -= len(part)
	}
	return r.text[start:len(r.text):len(r.text)], nil
}

// grow takes new memory for the string that begins at start, enough for part more bytes and perhaps for rest. Strings before it keep
// theirs.
func (r *Reader) grow(start, part, rest int) int {
	have := len(r.text) - start
	text := make([]byte, have, have+max(part, min(rest, max(growth, have)))+slack)
	copy(text, r.text[start:])
	r.text = text
	return 0
}

func (r *Reader) word(c byte) (Item, byte, error) {
	if len(r.text)+maxWord > cap(r.text) {
		r.text = make([]byte, 0, slack)
	}
	start := len(r.text)
	for {
		r.text = append(r.text, c)
		var err error
		if c, err = r.byte(); err != nil {
			return Item{}, 0, err
		}
		if !isAlpha(c) && !isDigit(c) && c != '-' {
			return Item{Kind: Word, Bytes: r.text[start:len(r.text):len(r.text)]}, c, nil
		}
		if len(r.text)-start == maxWord {
			return Item{}, 0, malformed("Word is too long")
		}
	}
}

func (r *Reader) readList(level int) (Item, error) {
	base := len(r.stack)
	for {
		c, err := r.skipSpace()
		if err != nil {
			return Item{}, err
		}
		if c == ')' {
			break
		}
		it, err := r.item(c, level)
		if err != nil {
			return Item{}, err
		}
		r.stack = append(r.stack, it)
	}
	n := len(r.stack) - base
	if len(r.list)+n > cap(r.list) {
		r.list = make([]Item, 0, max(n, 64, min(2*cap(r.list), keptItems))) // lists before it keep theirs
	}
	start := len(r.list)
	r.list = append(r.list, r.stack[base:]...)
	r.stack = r.stack[:base]
	return Item{Kind: List, List: r.list[start:len(r.list):len(r.list)]}, nil
}
