package server

import (
	"net"
	"sync"
	"time"
)

// sshConn is a connection of the SSH server.
type sshConn struct {
	*loginConn
	sessions int // guarded by the server's mu
}

// loginConn is a connection that sees to its own deadlines: one for the whole handshake, and after the login one that
// every byte in either direction pushes out.
type loginConn struct {
	net.Conn
	conns *addrLimit    // of connections that are logged in
	idle  time.Duration // the deadline after the login

	mu      sync.Mutex // guards the rest
	until   time.Time  // the deadline now
	moves   bool       // the deadline does
	release func()     // gives back what the connection counts as
	closed  bool
}

// newLoginConn begins a connection whose handshake, already counted in, may take as long as handshake.
func newLoginConn(raw net.Conn, release func(), conns *addrLimit, handshake, idle time.Duration) *loginConn {
	c := &loginConn{Conn: raw, conns: conns, idle: idle, until: time.Now().Add(handshake), release: release}
	raw.SetDeadline(c.until)
	return c
}

// loggedIn ends the handshake's deadline and the handshake's place. It returns false if there are too many connections
// already, or none any more.
func (c *loginConn) loggedIn() bool {
	release := c.conns.take(c.RemoteAddr())
	if release == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.moves {
		release()
		return !c.closed
	}
	c.release()
	c.release, c.moves = release, true
	c.until = time.Now().Add(c.idle)
	c.Conn.SetDeadline(c.until)
	return true
}

// in reports whether the handshake is over.
func (c *loginConn) in() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.moves
}

// active pushes the deadline out. To move it by less than a sixteenth would cost more than it is worth.
func (c *loginConn) active() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.moves || c.closed {
		return
	}
	if until := time.Now().Add(c.idle); until.Sub(c.until) > c.idle/16 {
		c.until = until
		c.Conn.SetDeadline(until)
	}
}

func (c *loginConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.active()
	}
	return n, err
}

func (c *loginConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if n > 0 {
		c.active()
	}
	return n, err
}

// SetDeadline, SetReadDeadline and SetWriteDeadline do nothing: the library would clear the deadline at every read.
func (c *loginConn) SetDeadline(time.Time) error      { return nil }
func (c *loginConn) SetReadDeadline(time.Time) error  { return nil }
func (c *loginConn) SetWriteDeadline(time.Time) error { return nil }

// Close may be called more than once.
func (c *loginConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	c.release()
	return c.Conn.Close()
}
