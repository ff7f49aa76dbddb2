package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"
)

// SvnConfig shapes a listener for svn://. Serve is needed; a limit of zero means its default.
type SvnConfig struct {
	// Serve holds the session of one connection. It calls loggedIn once it knows who the client is, or that nobody needs to;
	// if that returns false there are too many sessions, and this one must end. The context ends with the time to drain. A
	// panic ends the session only.
	Serve func(ctx context.Context, conn net.Conn, loggedIn func() bool) error

	MaxHandshakes        int // connections that are not logged in yet, at once; 256
	MaxHandshakesPerAddr int // of those, from one address; 64
	MaxConns             int // connections that are logged in; 1024
	MaxConnsPerAddr      int // of those, from one address; 128
	MaxLoginBytes        int // what a client may send before it is logged in; 64 KiB

	HandshakeTimeout time.Duration // from the connection to the end of its login; 30 s
	IdleTimeout      time.Duration // a connection without a byte in either direction ends; 10 min
	DrainTime        time.Duration // how long sessions may go on after the context ended; 30 s

	Log *slog.Logger // slog.Default()
}

func (c SvnConfig) withDefaults() SvnConfig {
	c.MaxHandshakes = cmp.Or(c.MaxHandshakes, 256)
	c.MaxHandshakesPerAddr = cmp.Or(c.MaxHandshakesPerAddr, 64)
	c.MaxConns = cmp.Or(c.MaxConns, 1024)
	c.MaxConnsPerAddr = cmp.Or(c.MaxConnsPerAddr, 128)
	c.MaxLoginBytes = cmp.Or(c.MaxLoginBytes, 64<<10)
	c.HandshakeTimeout = cmp.Or(c.HandshakeTimeout, 30*time.Second)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, 10*time.Minute)
	c.DrainTime = cmp.Or(c.DrainTime, 30*time.Second)
	c.Log = cmp.Or(c.Log, slog.Default())
	return c
}

// svnServer is a listener for svn:// and its connections.
type svnServer struct {
	c                 SvnConfig
	handshakes, conns *addrLimit

	wg sync.WaitGroup // one for each connection

	mu       sync.Mutex // guards the rest
	draining bool
	open     map[*loginConn]context.CancelFunc
}

// ServeSvn accepts connections from ln until ctx ends; then it accepts no more, ends those that are not logged in, lets the others
// go on for DrainTime, cuts off what is left and returns nil once all have ended. It closes ln.
func ServeSvn(ctx context.Context, ln net.Listener, c SvnConfig) error {
	defer ln.Close()
	c = c.withDefaults()
	s := &svnServer{
		c:          c,
		handshakes: newAddrLimit(c.MaxHandshakes, c.MaxHandshakesPerAddr),
		conns:      newAddrLimit(c.MaxConns, c.MaxConnsPerAddr),
		open:       map[*loginConn]context.CancelFunc{},
	}
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	// Sessions outlive ctx: they are given time to drain.
	err := acceptAll(ctx, ln, c.Log, func(raw net.Conn) { s.admit(context.WithoutCancel(ctx), raw) })
	s.drain()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("svn: accept on %s: %w", ln.Addr(), err)
}

// admit begins a connection, unless there are too many.
func (s *svnServer) admit(ctx context.Context, raw net.Conn) {
	release := s.handshakes.take(raw.RemoteAddr())
	if release == nil {
		s.c.Log.Debug("too many svn logins at once", "remote", raw.RemoteAddr().String())
		raw.Close()
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	conn := newLoginConn(raw, release, s.conns, s.c.HandshakeTimeout, s.c.IdleTimeout)
	if !s.track(conn, cancel) {
		cancel()
		conn.Close()
		return
	}
	go func() {
		defer s.wg.Done()
		defer s.untrack(conn)
		defer cancel()
		defer conn.Close()
		defer func() {
			if p := recover(); p != nil {
				s.c.Log.Error("panic", "during", "svn session", "err", fmt.Sprint(p), "stack", string(debug.Stack()))
			}
		}()
		if err := s.c.Serve(ctx, &briefConn{conn, s.c.MaxLoginBytes}, conn.loggedIn); err != nil && !errors.Is(err, net.ErrClosed) {
			s.c.Log.Debug("svn session failed", "remote", conn.RemoteAddr().String(), "err", err)
		}
	}()
}

// briefConn is a connection whose client has to be brief until it is logged in: what it says is kept in memory.
type briefConn struct {
	*loginConn
	left int // bytes; owned by the goroutine that reads
}

var errLoginTooLong = errors.New("the client said too much before it logged in")

func (c *briefConn) Read(p []byte) (int, error) {
	n, err := c.loginConn.Read(p)
	if c.in() {
		return n, err
	}
	if c.left -= n; c.left < 0 {
		return 0, errLoginTooLong
	}
	return n, err
}

// track counts a connection in, unless the server is about to stop.
func (s *svnServer) track(conn *loginConn, cancel context.CancelFunc) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.open[conn] = cancel
	s.wg.Add(1)
	return true
}

func (s *svnServer) untrack(conn *loginConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, conn)
}

// drain ends all connections, those that are not logged in at once.
func (s *svnServer) drain() {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	s.cut(func(c *loginConn) bool { return !c.in() })
	cut := time.AfterFunc(s.c.DrainTime, func() { s.cut(func(*loginConn) bool { return true }) })
	defer cut.Stop()
	s.wg.Wait()
}

func (s *svnServer) cut(which func(*loginConn) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn, cancel := range s.open {
		if which(conn) {
			cancel()
			conn.Close()
		}
	}
}
