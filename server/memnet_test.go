package server_test

import (
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// memListener is a network in memory: inside a synctest bubble its deadlines follow the bubble's clock, so that a test
// of a timeout of minutes takes none and does not depend on the machine.
type memListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newMemListener() *memListener {
	return &memListener{conns: make(chan net.Conn, 100), done: make(chan struct{})}
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *memListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 22} }

// dial connects from the address ip.
func (l *memListener) dial(t testing.TB, ip string) net.Conn {
	t.Helper()
	from := &net.TCPAddr{IP: net.ParseIP(ip), Port: 40000}
	there, back := newHalf(), newHalf()
	select {
	case l.conns <- &memConn{in: there, out: back, local: l.Addr(), remote: from}:
	case <-l.done:
		t.Fatal("the listener is closed")
	}
	return &memConn{in: back, out: there, local: from, remote: l.Addr()}
}

// half is one direction of a connection: up to 64 KiB under way.
type half struct {
	mu     sync.Mutex
	cond   *sync.Cond
	buf    []byte
	closed bool
	rd, wd time.Time
}

func newHalf() *half {
	h := &half{}
	h.cond = sync.NewCond(&h.mu)
	return h
}

const halfSize = 64 << 10

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case past(h.rd):
			return 0, os.ErrDeadlineExceeded
		case len(h.buf) > 0:
			n := copy(p, h.buf)
			h.buf = h.buf[n:]
			h.cond.Broadcast()
			return n, nil
		case h.closed:
			return 0, io.EOF
		}
		h.cond.Wait()
	}
}

func (h *half) write(p []byte) (written int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.closed:
			return written, io.ErrClosedPipe
		case past(h.wd):
			return written, os.ErrDeadlineExceeded
		case len(p) == 0:
			return written, nil
		case len(h.buf) < halfSize:
			n := min(len(p), halfSize-len(h.buf))
			h.buf = append(h.buf, p[:n]...)
			written, p = written+n, p[n:]
			h.cond.Broadcast()
			continue
		}
		h.cond.Wait()
	}
}

func past(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

func (h *half) deadline(at *time.Time, t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*at = t
	h.cond.Broadcast()
	if !t.IsZero() {
		time.AfterFunc(time.Until(t), func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.cond.Broadcast()
		})
	}
}

func (h *half) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.cond.Broadcast()
}

type memConn struct {
	in, out       *half
	local, remote net.Addr
}

func (c *memConn) Read(p []byte) (int, error)         { return c.in.read(p) }
func (c *memConn) Write(p []byte) (int, error)        { return c.out.write(p) }
func (c *memConn) Close() error                       { c.in.close(); c.out.close(); return nil }
func (c *memConn) LocalAddr() net.Addr                { return c.local }
func (c *memConn) RemoteAddr() net.Addr               { return c.remote }
func (c *memConn) SetReadDeadline(t time.Time) error  { c.in.deadline(&c.in.rd, t); return nil }
func (c *memConn) SetWriteDeadline(t time.Time) error { c.out.deadline(&c.out.wd, t); return nil }
func (c *memConn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}
