// Package svnservetest runs Subversion's own server beside a test, which imports from it or compares with it.
package svnservetest

import (
	"bytes"
	"net"
	"os/exec"
	"path/filepath"
	"testing"
)

// Repository is a repository that svnserve serves to everybody, for reading.
type Repository struct {
	Dir  string
	Addr string // of the server, where the repository is called "repo"

	t testing.TB
}

// New makes a repository from a dump. Without svnserve on the machine the test is skipped.
func New(t testing.TB, dump []byte) *Repository {
	t.Helper()
	root := t.TempDir()
	r := &Repository{Dir: filepath.Join(root, "repo"), Addr: Serve(t, root), t: t}
	Admin(t, nil, "create", r.Dir)
	r.Load(dump)
	return r
}

// Load adds revisions from a dump, whatever line ends their properties have.
func (r *Repository) Load(dump []byte) {
	r.t.Helper()
	Admin(r.t, dump, "load", "-q", "--bypass-prop-validation", r.Dir)
}

// Dump returns all of the repository.
func (r *Repository) Dump() []byte {
	r.t.Helper()
	return Admin(r.t, nil, "dump", "-q", r.Dir)
}

// Admin runs svnadmin, which must succeed, and returns what it printed.
func Admin(t testing.TB, stdin []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("svnadmin", args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("svnadmin %q: %v\n%s", args, err, &errs)
	}
	return out.Bytes()
}

// Serve runs svnserve on the repositories below root, a process for each connection to the address that it returns: so none is left when
// the clients are gone. Without svnserve on the machine the test is skipped.
func Serve(t testing.TB, root string) (addr string) {
	t.Helper()
	if _, err := exec.LookPath("svnserve"); err != nil {
		t.Skip("there is no svnserve")
	}
	return Listen(t, func(conn *net.TCPConn) { serve(conn, root) })
}

// Listen calls handle with each connection to the address that it returns, one after the other, until the test ends.
func Listen(t testing.TB, handle func(*net.TCPConn)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			handle(conn.(*net.TCPConn))
		}
	}()
	return ln.Addr().String()
}

// serve hands a connection over to an svnserve of its own.
func serve(conn *net.TCPConn, root string) {
	defer conn.Close()
	f, err := conn.File()
	if err != nil {
		return
	}
	defer f.Close()
	cmd := exec.Command("svnserve", "-i", "-r", root)
	cmd.Stdin, cmd.Stdout = f, f
	if cmd.Start() == nil {
		go cmd.Wait()
	}
}
