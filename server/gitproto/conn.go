package gitproto

import (
	"context"
	"errors"
	"io"

	"holdfast/storage/object"
)

// conn is one conversation: its packet lines, limits and the way errors take to the client.
type conn struct {
	op     string
	ctx    context.Context
	o      Options
	format object.Format
	r      *Reader
	w      *Writer
	out    io.Writer

	budget int64 // bytes of packet lines that the current request may still take
	within bool  // a request has begun and its flush packet has not been read
}

func newConn(ctx context.Context, op string, in io.Reader, out io.Writer, f object.Format, o Options) *conn {
	o = o.withDefaults()
	return &conn{
		op: op, ctx: ctx, o: o, format: f, out: out,
		r: NewReader(in), w: NewWriter(out), budget: o.MaxRequestBytes,
	}
}

// next reads a packet line and strips its line feed. The end of the stream is io.EOF before the first line of a
// request and ErrHungUp within one.
func (c *conn) next() (Kind, []byte, error) {
	kind, line, err := c.nextRaw()
	return kind, chomp(line), err
}

// nextRaw is next without stripping.
func (c *conn) nextRaw() (Kind, []byte, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, nil, err
	}
	kind, line, err := c.r.Next()
	switch {
	case err == nil:
	case errors.Is(err, io.EOF) && !c.within:
		return 0, nil, io.EOF
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return 0, nil, ErrHungUp
	case errors.Is(err, ErrProtocol):
		// There is no telling where the next line begins: nothing more can be skipped.
		c.within = false
		return 0, nil, err
	default:
		return 0, nil, &settledError{err}
	}
	c.within = kind != Flush
	c.budget -= int64(lengthDigits + len(line))
	if c.budget < 0 {
		return 0, nil, overLimit("the request has more than %d bytes", c.o.MaxRequestBytes)
	}
	return kind, line, nil
}

// lines calls fn with every data packet up to the flush packet, whose absence is an error. what they are is worded for
// that error, which is git's.
func (c *conn) lines(what string, fn func(line string) error) error {
	for {
		kind, line, err := c.next()
		switch {
		case err == io.EOF:
			return ErrHungUp
		case err != nil:
			return err
		case kind == Flush:
			return nil
		case kind != Data:
			return violation("expected flush after %s, got a %s", what, kind)
		}
		if err := fn(string(line)); err != nil {
			return err
		}
	}
}

// id parses an object id of the repository's format.
func (c *conn) id(hex string) (object.ID, error) { return parseID(hex, c.format) }

func parseID(hex string, f object.Format) (object.ID, error) {
	id, err := object.ParseID(hex)
	if err != nil || len(hex) != 2*f.Size() {
		return object.ID{}, violation("expected a %s object id, got %.100q", f, hex)
	}
	return id, nil
}

// skip reads the rest of a refused request, so that the client stops writing and reads. It gives up silently: what
// follows is sent in any case.
func (c *conn) skip() {
	for left := c.o.DrainBytes; c.within && left > 0 && c.ctx.Err() == nil; {
		kind, line, err := c.r.Next()
		// "done" ends a request of versions 0 and 1; in version 2 only a flush packet is left after it.
		if err != nil || kind == Flush || string(chomp(line)) == "done" {
			break
		}
		left -= int64(lengthDigits + len(line))
	}
	c.within = false
}

// end tells the client why the conversation ends, if it can be told, and returns the error for the log.
func (c *conn) end(err error) error {
	if err == nil {
		return nil
	}
	failed := &Error{Op: c.op, Err: err}
	if !settled(err) {
		c.skip()
		text := failed.Error()
		if name, ok := errors.AsType[unknownRef](err); ok {
			text = name.Error()
		}
		if c.w.band != 0 {
			c.w.band = bandError
			c.w.Linef("%s\n", oneLine(text))
		} else {
			c.w.Linef("ERR %s\n", oneLine(text))
		}
		c.w.Flush()
	}
	return failed
}

// flush sends the packet lines written so far.
func (c *conn) flush() error {
	if err := c.w.Flush(); err != nil {
		return &settledError{err}
	}
	return nil
}

// Refuse answers a request that never reaches UploadPack or ReceivePack, as for a repository that is not there, with
// an ERR line: git shows text as "fatal: remote error: text". Control characters are replaced.
func Refuse(out io.Writer, text string) error {
	w := NewWriter(out)
	w.Linef("ERR %s\n", oneLine(text))
	return w.Flush()
}

// stopped returns why a loop that writes should end: the context's end or a failed write.
func (c *conn) stopped() error {
	if c.w.err != nil {
		return &settledError{c.w.err}
	}
	return context.Cause(c.ctx)
}
