//go:build bench

package main

import (
	"net"
	"sync"
	"time"
)

// tap stands between clients and a server and measures how long the server lets them wait: from the last byte of a client to the first
// of the answer, summed over a connection. What the clients take for themselves is not in it.
type tap struct {
	listener net.Listener
	target   string

	mu    sync.Mutex // guards waits
	waits []time.Duration
	wg    sync.WaitGroup
}

// newTap begins to listen on loopback.
func newTap(target string) (*tap, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &tap{listener: l, target: target}
	t.wg.Go(t.serve)
	return t, nil
}

func (t *tap) addr() string { return t.listener.Addr().String() }

// close ends the listener, waits for the connections and returns how long the clients of each waited.
func (t *tap) close() []time.Duration {
	t.listener.Close()
	t.wg.Wait()
	return t.waits
}

func (t *tap) serve() {
	for {
		client, err := t.listener.Accept()
		if err != nil {
			return
		}
		t.wg.Go(func() { t.pass(client.(*net.TCPConn)) })
	}
}

// pass moves the bytes of one connection.
func (t *tap) pass(client *net.TCPConn) {
	defer client.Close()
	up, err := net.Dial("tcp", t.target)
	if err != nil {
		return
	}
	server := up.(*net.TCPConn)
	defer server.Close()

	var mu sync.Mutex // guards asked and waited
	var asked time.Time
	var waited time.Duration
	var both sync.WaitGroup
	both.Go(func() {
		move(server, client, func() {
			mu.Lock()
			asked = time.Now()
			mu.Unlock()
		})
	})
	both.Go(func() {
		move(client, server, func() {
			mu.Lock()
			if !asked.IsZero() {
				waited += time.Since(asked)
				asked = time.Time{}
			}
			mu.Unlock()
		})
	})
	both.Wait()
	t.mu.Lock()
	t.waits = append(t.waits, waited)
	t.mu.Unlock()
}

// move copies until an end and calls moved when bytes have come, before it passes them on.
func move(dst, src *net.TCPConn, moved func()) {
	defer dst.CloseWrite()
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			moved()
			if _, err := dst.Write(buf[:n]); err != nil {
				src.CloseRead()
				return
			}
		}
		if err != nil {
			return
		}
	}
}
