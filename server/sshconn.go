package server

import (
	"net"
	"sync"
	"time"
)

// sshConn is a connection that sees to its own deadlines: one for the whole handshake, and after the login one that
// every byte in either direction pushes out.
type sshConn struct {
	net.Conn
	s        *sshServer
	sessions int // guarded by s.mu

	mu      sync.Mutex // guards the rest
	until   time.Time  // the deadline now
	idle    bool       // the deadline moves
	release func()     // gives back what the connection counts as
	closed  bool
}

// loggedIn ends the handshake's deadline and the handshake's place. It returns false if there are too many connections
// already, or none any more.
func (c *sshConn) loggedIn() bool {
	release := c.s.conns.take(c.RemoteAddr())
	if release == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.idle {
		release()
		return !c.closed
	}
	c.release()
	c.release, c.idle = release, true
	c.until = time.Now().Add(c.s.c.IdleTimeout)
	c.Conn.SetDeadline(c.until)
	return true
}

// active pushes the deadline out. To move it by less than a sixteenth would cost more than it is worth.
func (c *sshConn) active() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.idle || c.closed {
		return
	}
	if until := time.Now().Add(c.s.c.IdleTimeout); until.Sub(c.until) > c.s.c.IdleTimeout/16 {
		c.until = until
		c.Conn.SetDeadline(until)
	}
}

func (c *sshConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.active()
	}
	return n, err
}

func (c *sshConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if n > 0 {
		c.active()
	}
	return n, err
}

// SetDeadline, SetReadDeadline and SetWriteDeadline do nothing: the library would clear the deadline at every read.
func (c *sshConn) SetDeadline(time.Time) error      { return nil }
func (c *sshConn) SetReadDeadline(time.Time) error  { return nil }
func (c *sshConn) SetWriteDeadline(time.Time) error { return nil }

// Close may be called more than once.
func (c *sshConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	c.release()
	return c.Conn.Close()
}
