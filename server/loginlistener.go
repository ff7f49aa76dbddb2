package server

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"
)

// LoginConfig shapes a listener whose clients log in; a limit of zero means its default.
type LoginConfig struct {
	MaxHandshakes        int // connections that are not logged in yet, at once; 256
	MaxHandshakesPerAddr int // of those, from one address; 64
	MaxConns             int // connections that are logged in; 1024
	MaxConnsPerAddr      int // of those, from one address; 128

	HandshakeTimeout time.Duration // from the connection to the end of its login; 30 s
	IdleTimeout      time.Duration // a connection without a byte in either direction ends; 10 min
	DrainTime        time.Duration // how long sessions may go on after the context ended; 30 s

	Log *slog.Logger // slog.Default()
}

func (c *LoginConfig) setDefaults() {
	c.MaxHandshakes = cmp.Or(c.MaxHandshakes, 256)
	c.MaxHandshakesPerAddr = cmp.Or(c.MaxHandshakesPerAddr, 64)
	c.MaxConns = cmp.Or(c.MaxConns, 1024)
	c.MaxConnsPerAddr = cmp.Or(c.MaxConnsPerAddr, 128)
	c.HandshakeTimeout = cmp.Or(c.HandshakeTimeout, 30*time.Second)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, 10*time.Minute)
	c.DrainTime = cmp.Or(c.DrainTime, 30*time.Second)
	c.Log = cmp.Or(c.Log, slog.Default())
}

// loginListener is a listener and its connections, whose clients log in. It bounds them, sees to their deadlines, and drains.
type loginListener struct {
	c       LoginConfig // with its defaults
	service string
	refusal string // what a client is told when there are too many; "" for nothing

	// serve holds one connection, which is closed after it. The context ends when the connection is cut off.
	serve func(context.Context, *loginConn)
	// unused reports whether nobody is at work over a connection, so that draining ends it at once. mu is held.
	unused func(*loginConn) bool

	handshakes, conns *addrLimit

	wg sync.WaitGroup // one for each connection, and each session over SSH

	mu       sync.Mutex // guards the rest
	draining bool
	open     map[*loginConn]context.CancelFunc
}

// run accepts connections from ln until ctx ends; then it accepts no more, ends those that are unused, lets the others go on for
// DrainTime, cuts off what is left and returns nil once all have ended. It closes ln.
func (l *loginListener) run(ctx context.Context, ln net.Listener) error {
	defer ln.Close()
	l.handshakes = newAddrLimit(l.c.MaxHandshakes, l.c.MaxHandshakesPerAddr)
	l.conns = newAddrLimit(l.c.MaxConns, l.c.MaxConnsPerAddr)
	l.open = map[*loginConn]context.CancelFunc{}
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	// Sessions outlive ctx: they are given time to drain.
	err := acceptAll(ctx, ln, l.c.Log, func(raw net.Conn) { l.admit(context.WithoutCancel(ctx), raw) })
	l.drain()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("%s: accept on %s: %w", l.service, ln.Addr(), err)
}

// admit begins a connection, unless there are too many.
func (l *loginListener) admit(ctx context.Context, raw net.Conn) {
	release := l.handshakes.take(raw.RemoteAddr())
	if release == nil {
		l.c.Log.Debug("too many "+l.service+" logins at once", "remote", raw.RemoteAddr().String())
		if l.refusal != "" {
			raw.SetWriteDeadline(time.Now().Add(time.Second))
			io.WriteString(raw, l.refusal)
		}
		raw.Close()
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	conn := newLoginConn(raw, release, l.conns, l.c.HandshakeTimeout, l.c.IdleTimeout)
	if !l.track(conn, cancel) {
		cancel()
		conn.Close()
		return
	}
	go func() {
		defer l.wg.Done()
		defer l.untrack(conn)
		defer cancel()
		defer conn.Close()
		defer l.recovered("connection", func() {})
		l.serve(ctx, conn)
	}()
}

// recovered is deferred by what a panic must not end the process of.
func (l *loginListener) recovered(during string, then func()) {
	if p := recover(); p != nil {
		l.c.Log.Error("panic", "during", l.service+" "+during, "err", fmt.Sprint(p), "stack", string(debug.Stack()))
		then()
	}
}

// track counts a connection in, unless the listener is about to stop.
func (l *loginListener) track(conn *loginConn, cancel context.CancelFunc) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.draining {
		return false
	}
	l.open[conn] = cancel
	l.wg.Add(1)
	return true
}

func (l *loginListener) untrack(conn *loginConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, conn)
}

// drain ends all connections, those that are unused at once.
func (l *loginListener) drain() {
	l.mu.Lock()
	l.draining = true
	l.mu.Unlock()
	l.cut(l.unused)
	cut := time.AfterFunc(l.c.DrainTime, func() { l.cut(func(*loginConn) bool { return true }) })
	defer cut.Stop()
	l.wg.Wait()
}

func (l *loginListener) cut(which func(*loginConn) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn, cancel := range l.open {
		if which(conn) {
			cancel()
			conn.Close()
		}
	}
}

// loginConn is a connection that sees to its own deadlines: one for the whole handshake, and after the login one that
// every byte in either direction pushes out.
type loginConn struct {
	net.Conn
	sessions int // over SSH: how many there are; guarded by the listener's mu

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
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.moves { // one that is in has its place: it may log in as somebody else
		return !c.closed
	}
	release := c.conns.take(c.RemoteAddr())
	if release == nil {
		return false
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

// SetDeadline, SetReadDeadline and SetWriteDeadline do nothing: the SSH library would clear the deadline at every read.
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
