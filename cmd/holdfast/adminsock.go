package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"holdfast/auth"
	"holdfast/server"
)

// remote is on whose behalf a command runs inside a server.
type remote struct {
	srv *server.Server
	who auth.Identity
}

// adminSocket is where a running server takes the verbs of its own host's command line. Only the user who runs the
// server may open it.
func adminSocket(dir string) string { return filepath.Join(dir, "admin.sock") }

// onHost runs an admin verb: in this server if there is one, else in the server that runs on the data directory, else
// on the store itself.
func (a *app) onHost(cmd *cobra.Command, verb func(ctx context.Context, srv *server.Server, who auth.Identity) error) error {
	if a.remote != nil {
		return verb(cmd.Context(), a.remote.srv, a.remote.who)
	}
	dir := a.dataDir()
	conn, err := dialAdmin(dir)
	if err == nil {
		defer conn.Close()
		return a.forward(cmd.Context(), conn)
	}
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%s: permission denied: run this as the user who runs the server", adminSocket(dir))
	}
	h, err := openHost(cmd.Context(), a, dir)
	if err != nil {
		return err
	}
	return errors.Join(verb(cmd.Context(), h.srv, server.Local), h.close())
}

// adminMessage is one line of JSON on the admin socket, and the bytes of Data behind it. The client sends its arguments, then a file for
// each Read and a piece of its input for each Input; the server sends output, Read and Input as it goes, and Exit at the end.
type adminMessage struct {
	Args  []string `json:"args,omitempty"`
	Size  int      `json:"size,omitempty"`  // of Data, in bytes
	End   bool     `json:"end,omitempty"`   // there is no more input
	Error string   `json:"error,omitempty"` // why the file or the input could not be read
	Err   bool     `json:"err,omitempty"`   // Data is of standard error, not of standard output
	Read  string   `json:"read,omitempty"`  // a file that the verb needs
	Input int      `json:"input,omitempty"` // how much of standard input the verb takes at most
	Exit  *int     `json:"exit,omitempty"`

	Data []byte `json:"-"`
}

// maxAdminData bounds the Data of a message.
const maxAdminData = 16 << 20

// adminConn is one end of the admin socket.
type adminConn struct {
	mu sync.Mutex // guards what is sent
	w  *bufio.Writer
	r  *bufio.Reader // owned by the goroutine that runs the verb
}

func newAdminConn(conn net.Conn) *adminConn {
	return &adminConn{w: bufio.NewWriter(conn), r: bufio.NewReader(conn)}
}

func (c *adminConn) send(m adminMessage) error {
	m.Size = len(m.Data)
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.w.Write(append(line, '\n'))
	c.w.Write(m.Data)
	return c.w.Flush() // with the error of any Write before
}

// receive reads a message. Its Data is in data where there is room for it.
func (c *adminConn) receive(data []byte) (m adminMessage, err error) {
	line, err := c.r.ReadBytes('\n')
	if err != nil {
		if err == io.EOF && len(line) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return m, err
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return m, err
	}
	if m.Size < 0 || m.Size > maxAdminData {
		return m, fmt.Errorf("a message with %d bytes of data: the limit is %d", m.Size, maxAdminData)
	}
	if m.Data = data[:min(m.Size, len(data))]; m.Size > len(data) {
		m.Data = make([]byte, m.Size)
	}
	_, err = io.ReadFull(c.r, m.Data)
	return m, err
}

// forwarded carries the exit code that the server gave; what there is to say has been said.
type forwarded int

func (f forwarded) Error() string { return fmt.Sprintf("exit %d", int(f)) }

// forward has the server at the other end of conn run this command line.
func (a *app) forward(ctx context.Context, conn net.Conn) error {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	c := newAdminConn(conn)
	if err := c.send(adminMessage{Args: a.args}); err != nil {
		return err
	}
	buf := make([]byte, maxInput)
	for {
		m, err := c.receive(buf)
		if err != nil {
			return fmt.Errorf("the server went away before it answered; what it did, `holdfast log` tells: %w", err)
		}
		out := a.Stdout
		if m.Err {
			out = a.Stderr
		}
		if len(m.Data) > 0 {
			out.Write(m.Data)
		}
		if m.Read != "" {
			if err := c.send(a.answerRead(m.Read)); err != nil {
				return err
			}
		}
		if m.Input > 0 {
			if err := c.send(a.answerInput(buf[:min(m.Input, len(buf))])); err != nil {
				return err
			}
		}
		if m.Exit != nil {
			if *m.Exit == 0 {
				return nil
			}
			return forwarded(*m.Exit)
		}
	}
}

// maxInput bounds one piece of standard input, in bytes.
const maxInput = 256 << 10

// answerInput reads a piece of standard input for the server, into b.
func (a *app) answerInput(b []byte) adminMessage {
	n, err := a.Stdin.Read(b)
	m := adminMessage{Data: b[:n], End: errors.Is(err, io.EOF)}
	if err != nil && !m.End {
		m.Error = err.Error()
	}
	return m
}

// answerRead reads a file for the server, but only one that the command line names.
func (a *app) answerRead(path string) adminMessage {
	named := func(arg string) bool { return arg == path || arg == "--key="+path || arg == "--password-file="+path }
	if !slices.ContainsFunc(a.args, named) {
		return adminMessage{Error: "not a file that the command line names: " + path}
	}
	data, err := a.ReadFile(path)
	if err != nil {
		return adminMessage{Error: err.Error()}
	}
	return adminMessage{Data: data}
}

// listenAdmin opens the admin socket. The caller holds the store, so a socket that is there is a dead server's.
func listenAdmin(dir string) (net.Listener, error) {
	path, release, err := socketPath(dir)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		release()
		return nil, err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		release()
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	return &socketListener{Listener: ln, release: release}, os.Chmod(path, 0o600)
}

// Limits of the admin socket.
const (
	maxAdminCommands  = 32               // at once
	adminHelloTimeout = 30 * time.Second // for a client to say what it wants, so that none holds a slot without a verb
)

// serveAdmin runs verbs for the host's own command line until ctx ends.
func serveAdmin(ctx context.Context, ln net.Listener, srv *server.Server, log *slog.Logger) error {
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	var running sync.WaitGroup
	defer running.Wait()
	slots := make(chan struct{}, maxAdminCommands)
	for {
		conn, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			defer conn.Close()
			// One verb's defect must not end the pushes of everybody else.
			defer func() {
				if p := recover(); p != nil {
					log.Error("panic", "where", "admin socket", "panic", p, "stack", string(debug.Stack()))
				}
			}()
			if err := answerAdmin(ctx, conn, srv); err != nil {
				log.Warn("admin socket", "err", err)
			}
		})
	}
}

func answerAdmin(ctx context.Context, conn net.Conn, srv *server.Server) error {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	c := newAdminConn(conn)
	var m adminMessage
	err := conn.SetReadDeadline(time.Now().Add(adminHelloTimeout))
	if err == nil {
		m, err = c.receive(nil)
	}
	if err := errors.Join(err, conn.SetReadDeadline(time.Time{})); err != nil {
		return err
	}
	a := &app{
		Stdin: bufio.NewReaderSize(adminInput{c}, maxInput), Stdout: adminWriter{c, false}, Stderr: adminWriter{c, true},
		Getenv: func(string) string { return "" }, ReadFile: c.readFile,
		remote: &remote{srv, server.Local},
	}
	// With no arguments at all, cobra would take those of this process.
	exit := a.run(ctx, append([]string{}, m.Args...))
	return c.send(adminMessage{Exit: &exit})
}

func (c *adminConn) readFile(path string) ([]byte, error) {
	if err := c.send(adminMessage{Read: path}); err != nil {
		return nil, err
	}
	m, err := c.receive(nil)
	if err != nil {
		return nil, err
	}
	if m.Error != "" {
		return nil, errors.New(m.Error)
	}
	return m.Data, nil
}

type adminWriter struct {
	c   *adminConn
	err bool
}

func (w adminWriter) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		piece := p[n:min(len(p), n+maxInput)]
		if err := w.c.send(adminMessage{Data: piece, Err: w.err}); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return len(p), nil
}

// adminInput is the standard input of the client.
type adminInput struct{ c *adminConn }

func (r adminInput) Read(p []byte) (int, error) {
	if err := r.c.send(adminMessage{Input: len(p)}); err != nil {
		return 0, err
	}
	m, err := r.c.receive(p)
	switch {
	case err == io.EOF:
		return 0, io.ErrUnexpectedEOF // the client went away; only it knows whether there was more
	case err != nil:
		return 0, err
	case m.Error != "":
		return 0, errors.New(m.Error)
	case m.End && len(m.Data) == 0:
		return 0, io.EOF
	}
	return copy(p, m.Data), nil
}

// overSSH returns what runs the verbs of users who come over SSH.
func overSSH(srv func() *server.Server) func(context.Context, auth.Identity, []string, io.Reader, io.Writer, io.Writer) int {
	return func(ctx context.Context, who auth.Identity, args []string, in io.Reader, out, errw io.Writer) int {
		a := &app{
			Stdin: in, Stdout: out, Stderr: errw, Getenv: func(string) string { return "" },
			ReadFile: func(path string) ([]byte, error) {
				if path != "-" {
					return nil, errors.New("over SSH a file is given as - and read from standard input")
				}
				return io.ReadAll(io.LimitReader(in, 64<<10))
			},
			remote: &remote{srv(), who},
		}
		return a.run(ctx, args)
	}
}
