//go:build judge

package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
)

// Between "admin" and "serve": a line of JSON with the arguments, then standard input to its end. Back come frames: a byte for the
// stream, a length of four bytes, and data. The last frame is the status.
const (
	frameOut    = 1
	frameErr    = 2
	frameStatus = 3
)

// maxFrame bounds a frame's data, in bytes.
const maxFrame = 1 << 16

// ask has the serving process do what args say.
func ask(socket string, args []string, stdin io.Reader, stdout, stderr io.Writer) (status int, err error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := json.NewEncoder(conn).Encode(args); err != nil {
		return 0, err
	}
	go func() {
		if args[0] == "load" {
			_, _ = io.Copy(conn, stdin) // the server says what is missing
		}
		_ = conn.(*net.UnixConn).CloseWrite()
	}()
	out := map[byte]io.Writer{frameOut: stdout, frameErr: stderr}
	in := bufio.NewReader(conn)
	for {
		var head [5]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return 0, fmt.Errorf("the server went away: %w", err)
		}
		n := binary.BigEndian.Uint32(head[1:])
		if head[0] == frameStatus {
			return int(n), nil
		}
		if n > maxFrame || out[head[0]] == nil {
			return 0, errors.New("not a frame")
		}
		if _, err := io.CopyN(out[head[0]], in, int64(n)); err != nil {
			return 0, err
		}
	}
}

// frames writes the frames of one call.
type frames struct {
	mu sync.Mutex // guards w
	w  io.Writer
}

type stream struct {
	to *frames
	id byte
}

// Write writes p as frames.
func (s stream) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		n := min(len(p)-done, maxFrame)
		if err := s.to.frame(s.id, uint32(n), p[done:done+n]); err != nil {
			return done, err
		}
		done += n
	}
	return len(p), nil
}

func (f *frames) frame(id byte, n uint32, data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.w.Write(append(binary.BigEndian.AppendUint32([]byte{id}, n), data...))
	return err
}

// answerAll serves admin calls until the listener closes.
func (h *host) answerAll(ctx context.Context, l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			if err := h.answer(ctx, conn); err != nil {
				fmt.Fprintln(os.Stderr, "admin:", err)
			}
		}()
	}
}

func (h *host) answer(ctx context.Context, conn net.Conn) error {
	in := bufio.NewReader(conn)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return err
	}
	var args []string
	if err := json.Unmarshal(line, &args); err != nil || len(args) < 2 {
		return errors.Join(err, errors.New("no arguments"))
	}
	f := &frames{w: conn}
	c := &call{host: h, verb: args[0], name: args[1], args: args[2:], stdin: in, stdout: stream{f, frameOut}, stderr: stream{f, frameErr}}
	status := uint32(0)
	if err := c.do(ctx); err != nil {
		status = 1
		fmt.Fprintf(c.stderr, "svnadmin: %v\n", err)
	}
	return f.frame(frameStatus, status, nil)
}
