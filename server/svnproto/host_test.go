package svnproto_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/server/svnproto"
	"holdfast/server/svnrepos"
	"holdfast/storage"
	"holdfast/storage/object"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

const testUUID = "6d9e4e2f-2f3c-4b1c-9f1b-6f0f6b0f7a02"

// fakeHost serves one repository at /repo.
type fakeHost struct {
	fs                       *svnfs.FS
	anonymous, authenticated svnproto.Level
	passwords                map[string]string
	hidden                   map[string]string // path -> the only user who may read it
	hooks                    svnproto.Hooks
	lockHooks                svnproto.LockHooks
	settled                  string
	tunnel                   string
	refused                  error // that users get, but for anonymous ones
	nowhere                  bool  // nothing may be written

	mu    sync.Mutex // guards opens
	opens []string

	unseen []error // errors that a client of talk was not shown
}

func newHost(t testing.TB) *fakeHost {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	store, err := storage.Open(t.TempDir(), storage.Options{NoSync: true})
	check(err)
	t.Cleanup(func() { store.Close() })
	repo, err := store.Create(storage.NewRepoID(), storage.RepoInit{SCM: storage.Svn, Format: object.SHA1, Head: "refs/heads/main"})
	check(err)
	txn, err := svnfs.PrepareCreate(repo, storage.Meta{Actor: "alice", Time: time.Now()}, testUUID)
	check(err)
	defer txn.Discard()
	_, err = store.Commit(txn)
	check(err)
	registry := svnfs.NewRegistry(0)
	fs, release, err := registry.Open(repo)
	check(err)
	t.Cleanup(func() { release(); registry.Close() })
	return &fakeHost{
		fs: fs, anonymous: svnproto.ReadAccess, authenticated: svnproto.WriteAccess, passwords: map[string]string{"alice": "secret"},
		hooks: svnproto.NoHooks{},
	}
}

func (h *fakeHost) Open(_ context.Context, c svnproto.Client) (*svnproto.Target, error) {
	i := strings.Index(c.URL, "/repo")
	if i < 0 {
		return nil, svn.Errorf(svn.ErrRASvnReposNotFound, "No repository found in '%s'", c.URL)
	}
	root := c.URL[:i+len("/repo")]
	base, err := svn.Canonical(c.URL[len(root):])
	if err != nil {
		return nil, err
	}
	t := &svnproto.Target{
		RootURL: root, Base: base, Realm: "test", Anonymous: h.anonymous, Authenticated: h.authenticated, View: h.view,
	}
	if h.passwords != nil {
		t.Secret = func(_ context.Context, user string) (string, bool) {
			p, ok := h.passwords[user]
			return p, ok
		}
	}
	return t, nil
}

func (h *fakeHost) view(_ context.Context, user string) (*svnproto.View, error) {
	h.mu.Lock()
	h.opens = append(h.opens, user)
	h.mu.Unlock()
	if user != "" && h.refused != nil {
		return nil, h.refused
	}
	v := &svnproto.View{
		Repo:      &svnrepos.Repository{FS: h.fs, Access: access{h, user}},
		Committer: svnfs.Direct,
		Meta:      func() storage.Meta { return storage.Meta{Actor: "user " + user, Time: time.Now()} },
		Hooks:     h.hooks,
		LockHooks: h.lockHooks,
	}
	if h.nowhere {
		v.Repo.Access = readOnly{access{h, user}}
	}
	if h.settled != "" {
		v.Settled = func(context.Context) string { return h.settled }
	}
	return v, nil
}

type access struct {
	h    *fakeHost
	user string
}

func (a access) Allows(path string, op svnrepos.Op) bool {
	for hidden, user := range a.h.hidden {
		_, inside := svn.Rel(hidden, path)
		_, above := svn.Rel(path, hidden)
		if user != a.user && (inside || above && (op == svnrepos.ReadTree || op == svnrepos.WriteTree)) {
			return false
		}
	}
	return true
}

// listen serves the host on a port of its own and returns the repository's URL.
func (h *fakeHost) listen(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	t.Cleanup(func() { cancel(); ln.Close(); all.Wait() })
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				defer context.AfterFunc(ctx, func() { c.Close() })()
				err := svnproto.Serve(ctx, c, c, h, svnproto.Options{TunnelUser: h.tunnel})
				if err != nil && ctx.Err() == nil && !errors.Is(err, svn.ErrRANotAuthorized) {
					t.Log("session:", err)
				}
			})
		}
	})
	return "svn://" + ln.Addr().String() + "/repo"
}

// svnCommand runs svn, and returns what it says.
func svnCommand(t testing.TB, dir string, args ...string) (out string, err error) {
	t.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		t.Skip(args[0] + " is not installed")
	}
	c := exec.Command(args[0], args[1:]...)
	c.Dir = dir
	c.Env = append(c.Environ(), "LC_ALL=C.UTF-8")
	b, err := c.CombinedOutput()
	return string(b), err
}

// client runs svn in a directory of its own, with a configuration of its own.
type client struct {
	t      testing.TB
	dir    string
	config string
	user   string
}

func newClient(t testing.TB, user string) *client { return &client{t, t.TempDir(), t.TempDir(), user} }

func (c *client) try(args ...string) (string, error) {
	c.t.Helper()
	all := append([]string{"svn", "--non-interactive", "--no-auth-cache", "--config-dir", c.config}, args...)
	if c.user != "" {
		all = append(all, "--username", c.user, "--password", "secret")
	}
	return svnCommand(c.t, c.dir, all...)
}

func (c *client) svn(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err != nil {
		c.t.Fatalf("svn %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// talk is a conversation with a session over a pipe.
type talk struct {
	t    testing.TB
	conn net.Conn
	r    *svnproto.Reader
	done chan error
}

func (h *fakeHost) talk(t testing.TB) *talk {
	a, b := net.Pipe()
	done := make(chan error, 1)
	go func() {
		err := svnproto.Serve(context.Background(), b, b, h, svnproto.Options{
			TunnelUser: h.tunnel, MaxRequestBytes: 1 << 20, MaxCommitBytes: 100_000, MaxTextBytes: 600_000,
			Hidden: func(err error) { h.unseen = append(h.unseen, err) },
		})
		b.Close()
		done <- err
	}()
	t.Cleanup(func() { a.Close() })
	return &talk{t, a, svnproto.NewReader(a), done}
}

func (k *talk) send(text string) {
	k.t.Helper()
	if _, err := io.WriteString(k.conn, text); err != nil {
		k.t.Fatal(err)
	}
}

func (k *talk) read() string {
	k.t.Helper()
	it, err := k.r.Read()
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(show(it))
}

// expect sends a text and compares what comes back, item by item.
func (k *talk) expect(text string, want ...string) {
	k.t.Helper()
	k.send(text)
	for _, w := range want {
		if got := k.read(); got != w {
			k.t.Fatalf("after %.200q: got\n%s\nwant\n%s", text, got, w)
		}
	}
}

const (
	hello   = "( 2 ( edit-pipeline svndiff1 accepts-svndiff2 absent-entries depth mergeinfo log-revprops ) 20:svn://localhost/repo 12:SVN/1.14.2-x ( ) ) "
	noAuth  = "( success ( ( ) 0: ) )"
	success = "( success ( ) )"
)

// start goes as far as to commands, anonymously.
func (k *talk) start() {
	k.t.Helper()
	k.read()
	k.expect(hello, "( success ( ( ANONYMOUS CRAM-MD5 ) 4:test ) )")
	k.expect("( ANONYMOUS ( 0: ) ) ", success, "( success ( 36:"+testUUID+" 20:svn://localhost/repo ( mergeinfo ) ) )")
}
