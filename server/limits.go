package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// addrLimit bounds how many of something exist at once: in total, and for each address they come from.
type addrLimit struct {
	total, perAddr int

	mu   sync.Mutex // guards the rest
	all  int
	each map[netip.Prefix]int
}

func newAddrLimit(total, perAddr int) *addrLimit {
	return &addrLimit{total: total, perAddr: perAddr, each: map[netip.Prefix]int{}}
}

// take counts one more from addr and returns what gives it back, to be called once. It returns nil if that would be too
// many.
func (l *addrLimit) take(addr net.Addr) func() {
	from := origin(addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= l.total || l.each[from] >= l.perAddr {
		return nil
	}
	l.all++
	l.each[from]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all--
		if l.each[from]--; l.each[from] == 0 {
			delete(l.each, from)
		}
	}
}

// boundedListener accepts a connection only while fewer than cap(free) are open; more wait in the kernel. An address
// that has too many already gets none.
type boundedListener struct {
	net.Listener
	addrs  *addrLimit
	exempt func(netip.Addr) bool // addresses that addrs does not count
	free   chan struct{}

	once   sync.Once
	closed chan struct{}
}

// Accept implements net.Listener.
func (l *boundedListener) Accept() (net.Conn, error) {
	select {
	case l.free <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			<-l.free
			return nil, err
		}
		release := func() {}
		if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); !ok || !l.exempt(tcp.AddrPort().Addr().Unmap()) {
			release = l.addrs.take(conn.RemoteAddr())
		}
		if release != nil {
			return &boundedConn{Conn: conn, release: sync.OnceFunc(func() { release(); <-l.free })}, nil
		}
		conn.Close()
	}
}

// Close implements net.Listener.
func (l *boundedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type boundedConn struct {
	net.Conn
	release func()
}

func (c *boundedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// acceptAll calls admit with each connection until ln is closed. It does not end for an error that passes.
func acceptAll(ctx context.Context, ln net.Listener, log *slog.Logger, admit func(net.Conn)) error {
	const longest = time.Second
	wait := 5 * time.Millisecond
	for {
		conn, err := ln.Accept()
		if err == nil {
			wait = 5 * time.Millisecond
			admit(conn)
			continue
		}
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return err
		}
		// Such as too many open files, which passes.
		log.Warn("accept failed", "on", ln.Addr().String(), "err", err, "again_in", wait)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
			wait = min(2*wait, longest)
		}
	}
}

// origin is what counts as one address: an IPv4 address, or the /64 that one IPv6 customer has. All else is one.
func origin(addr net.Addr) netip.Prefix {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	return originOf(tcp.AddrPort().Addr())
}

func originOf(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	prefix, _ := ip.Prefix(bits)
	return prefix
}
