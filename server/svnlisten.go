package server

import (
	"cmp"
	"context"
	"errors"
	"net"
)

// SvnConfig shapes a listener for svn://. Serve is needed.
type SvnConfig struct {
	// Serve holds the session of one connection. It calls loggedIn once it knows who the client is, or that nobody needs to;
	// if that returns false there are too many sessions, and this one must end. The context ends with the time to drain. A
	// panic ends the session only.
	Serve func(ctx context.Context, conn net.Conn, loggedIn func() bool) error

	LoginConfig
	MaxLoginBytes int // what a client may send before it is logged in; 64 KiB
}

// ServeSvn accepts connections from ln until ctx ends; then it accepts no more, ends those that are not logged in, lets the others
// go on for DrainTime, cuts off what is left and returns nil once all have ended. It closes ln.
func ServeSvn(ctx context.Context, ln net.Listener, c SvnConfig) error {
	c.setDefaults()
	c.MaxLoginBytes = cmp.Or(c.MaxLoginBytes, 64<<10)
	l := &loginListener{
		c:       c.LoginConfig,
		service: "svn",
		serve: func(ctx context.Context, conn *loginConn) {
			if err := c.Serve(ctx, &briefConn{conn, c.MaxLoginBytes}, conn.loggedIn); err != nil && !errors.Is(err, net.ErrClosed) {
				c.Log.Debug("svn session failed", "remote", conn.RemoteAddr().String(), "err", err)
			}
		},
		unused: func(conn *loginConn) bool { return !conn.in() },
	}
	return l.run(ctx, ln)
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
