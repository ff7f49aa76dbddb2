//go:build judge

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"

	"holdfast/server/svnproto"
	"holdfast/storage/svn"
)

// serve opens a store and serves svn:// on a free port of 127.0.0.1, which it prints once it listens, and admin calls on a
// socket, until ctx ends.
func serve(ctx context.Context, dir, socket string, ready io.Writer) error {
	h, err := newHost(dir)
	if err != nil {
		return err
	}
	defer h.close()
	admin, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	defer admin.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { l.Close() })
	go h.answerAll(ctx, admin)
	fmt.Fprintln(ready, l.Addr().(*net.TCPAddr).Port)
	h.acceptAll(ctx, l)
	return nil
}

// acceptAll serves sessions until the listener closes.
func (h *host) acceptAll(ctx context.Context, l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go h.session(ctx, conn)
	}
}

func (h *host) session(ctx context.Context, conn net.Conn) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	defer conn.Close()
	defer func() {
		if v := recover(); v != nil {
			fmt.Fprintf(os.Stderr, "panic: %v\n%s", v, debug.Stack())
		}
	}()
	if err := svnproto.Serve(ctx, conn, conn, h, svnproto.Options{}); err != nil && svn.CodeOf(err) != svn.ErrRASvnConnectionClosed {
		fmt.Fprintln(os.Stderr, "session:", err)
	}
}
