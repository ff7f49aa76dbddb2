package server_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/auth"
	"holdfast/replication/buckettest"
	"holdfast/server"
	"holdfast/server/svnproto"
	"holdfast/server/svnrepos"
	"holdfast/storage"
	"holdfast/storage/svn"
)

// svnWorld is a world with svn://, and with the Subversion repository "app" that alice may write to.
type svnWorld struct {
	*world
	plain string // address of svn://
	app   string // URL of app over SSH
}

func newSvnWorld(t *testing.T, c server.Config, timeout time.Duration) *svnWorld {
	t.Helper()
	if _, err := exec.LookPath("svn"); err != nil {
		t.Skip("there is no svn")
	}
	w := &svnWorld{world: newWorldAcks(t, c, timeout)}
	ln := listen(t)
	w.plain = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.srv.ServeSvn(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		<-ended
		if err := w.srv.Close(); err != nil {
			t.Error(err)
		}
	})
	w.app = "svn+ssh://git@127.0.0.1/app"
	w.add("alice")
	err := w.srv.CreateRepo(t.Context(), server.Local, server.NewRepo{Name: "app", SCM: storage.Svn}, io.Discard)
	if err == nil {
		err = w.srv.Grant(t.Context(), server.Local, "app", "alice", "write", io.Discard)
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// svn runs svn over SSH as a user, or with a secret if one is given.
func (w *svnWorld) svn(user, secret string, args ...string) (string, error) {
	w.t.Helper()
	_, port, _ := net.SplitHostPort(w.ssh)
	args = append([]string{"--non-interactive", "--no-auth-cache", "--config-dir", filepath.Join(w.dir, "svn")}, args...)
	if secret != "" {
		args = append(args, "--username", user, "--password-from-stdin")
	}
	cmd := exec.Command("svn", args...)
	cmd.Dir, cmd.Stdin = w.dir, strings.NewReader(secret)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "SVN_SSH=ssh -p "+port+" -F none -o BatchMode=yes -o IdentitiesOnly=yes "+
		"-o IdentityAgent=none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -i "+keyFile(w.t, user, ""))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (w *svnWorld) mkdir(name string) (string, error) {
	w.t.Helper()
	return w.svn("alice", "", "mkdir", "-m", "make "+name, w.app+"/"+name)
}

// down takes the first n mirrors away.
func (w *svnWorld) down(n int) {
	for i, b := range w.buckets {
		b.Change(func(b *buckettest.Bucket) {
			if b.OnPut = nil; i < n {
				b.OnPut = func(string) (bool, error) { return false, buckettest.ErrFault }
			}
		})
	}
}

// TestSvnAcks takes mirrors away. A commit that too few hold stands, and its committer is told; the next change is not begun
// before the last one is safe.
func TestSvnAcks(t *testing.T) {
	t.Parallel()
	w := newSvnWorld(t, server.Config{}, 2*time.Second)
	w.down(1)
	write(t, filepath.Join(w.dir, "f"), "text")
	for _, args := range [][]string{{"import", "-m", "one", "f", w.app + "/f"}, {"lock", w.app + "/f"}} {
		if out, err := w.svn("root", "", args...); err != nil || strings.Contains(strings.ToLower(out), "warning") {
			t.Fatalf("%s with one mirror gone: %v\n%s", args[0], err, out)
		}
	}
	w.down(2)
	out, err := w.mkdir("two")
	if err != nil || !strings.Contains(out, "Committed revision 2.") || !strings.Contains(out, "not yet on enough mirrors") {
		t.Errorf("with two gone: %v\n%s", err, out)
	}
	for what, args := range map[string][]string{
		"commit":            {"mkdir", "-m", "x", w.app + "/three"},
		"revision property": {"propset", "--revprop", "-r", "1", "svn:log", "x", w.app},
		"lock":              {"lock", "--force", w.app + "/f"},
	} {
		out, err := w.svn("root", "", args...)
		if err == nil || !strings.Contains(out, "E165001") || !strings.Contains(out, "mirrors") {
			t.Errorf("the next %s: %v\n%s", what, err, out)
		}
	}
	w.down(0)
	for out, err := w.mkdir("three"); err != nil; out, err = w.mkdir("three") {
		if !strings.Contains(out, "mirrors") {
			t.Fatalf("once the mirrors are back: %v\n%s", err, out)
		}
	}
	w.down(2)
	if out, _ := w.svn("root", "", "unlock", w.app+"/f"); !strings.Contains(out, "not yet on enough mirrors") {
		t.Errorf("a lock that is given back with two gone: %s", out)
	}
}

// TestSvnRightsOfTheMoment takes rights away while a session is open: what it does next is refused.
func TestSvnRightsOfTheMoment(t *testing.T) {
	t.Parallel()
	w := newSvnWorld(t, server.Config{}, time.Minute)
	ctx := t.Context()
	secret := must(w.srv.CreateSvnSecret(ctx, server.Local, "alice", io.Discard))
	plain := "svn://" + w.plain + "/app"
	in := func(what, secret string, ok bool) {
		t.Helper()
		out, err := w.svn("alice", secret, "mkdir", "-m", "x", plain+"/"+what)
		if (err == nil) != ok {
			t.Errorf("%s: %v\n%s", what, err, out)
		}
	}
	in("first", secret, true)
	again := must(w.srv.CreateSvnSecret(ctx, server.Local, "alice", io.Discard))
	in("old", secret, false)
	in("new", again, true)

	// A later user of the same name starts without the secret, and so does one after a push that removes the file.
	if err := w.srv.RemoveUser(ctx, server.Local, "alice", io.Discard); err != nil {
		t.Fatal(err)
	}
	in("removed", again, false)
	w.add("alice")
	if err := w.srv.Grant(ctx, server.Local, "app", "alice", "write", io.Discard); err != nil {
		t.Fatal(err)
	}
	in("reborn", again, false)
	if err := w.srv.RevokeSvnSecret(ctx, server.Local, "alice", io.Discard); err == nil {
		t.Error("there was still a secret to revoke")
	}
	if _, err := w.srv.CreateSvnSecret(ctx, server.Local, "nobody", io.Discard); err == nil {
		t.Error("a user that does not exist got a secret")
	}
	if _, err := w.srv.CreateSvnSecret(ctx, auth.Identity{Name: "alice"}, "root", io.Discard); err == nil {
		t.Error("alice made a secret of root's")
	}
}

// hookReader ends one of a load's records with a change of policy.
type hookReader struct {
	io.Reader
	once sync.Once
	hook func()
}

func (r *hookReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p[:min(len(p), 64)])
	if err == io.EOF {
		r.once.Do(r.hook)
	}
	return n, err
}

// TestSvnLoad loads a dump, which takes an admin of the repository, up to the moment of each commit.
func TestSvnLoad(t *testing.T) {
	t.Parallel()
	w := newSvnWorld(t, server.Config{}, time.Minute)
	ctx := t.Context()
	if out, err := w.mkdir("trunk"); err != nil {
		t.Fatal(err, out)
	}
	var dump bytes.Buffer
	all := svnrepos.DumpOptions{From: svn.InvalidRevnum, To: svn.InvalidRevnum}
	if err := w.srv.SvnDump(ctx, server.Local, "app", &dump, all, nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"copy", "gone"} {
		if err := w.srv.CreateRepo(ctx, server.Local, server.NewRepo{Name: name, SCM: storage.Svn}, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	load := func(who auth.Identity, name string, in io.Reader) error {
		return w.srv.SvnLoad(ctx, who, name, in, svnrepos.LoadOptions{}, nil, io.Discard)
	}
	if err := load(auth.Identity{Name: "alice"}, "app", bytes.NewReader(dump.Bytes())); err == nil {
		t.Error("alice, who may only write, loaded a dump")
	}
	if err := load(server.Local, "copy", bytes.NewReader(dump.Bytes())); err != nil {
		t.Error(err)
	}
	var again bytes.Buffer
	if err := w.srv.SvnDump(ctx, server.Local, "copy", &again, all, nil); err != nil || !bytes.Equal(again.Bytes(), dump.Bytes()) {
		t.Errorf("%v; the copy's dump is\n%s\nnot\n%s", err, again.Bytes(), dump.Bytes())
	}
	deleted := &hookReader{Reader: bytes.NewReader(dump.Bytes()), hook: func() {
		if err := w.srv.DeleteRepo(ctx, server.Local, "gone", io.Discard); err != nil {
			t.Error(err)
		}
	}}
	if err := load(server.Local, "gone", deleted); err == nil {
		t.Error("a load went on after its repository was deleted")
	}
}

// TestSvnLoadStops has loads that stop, and what their errors say of what to do.
func TestSvnLoadStops(t *testing.T) {
	t.Parallel()
	w := newSvnWorld(t, server.Config{}, time.Minute)
	ctx := t.Context()
	for _, name := range []string{"one", "two"} {
		if out, err := w.mkdir(name); err != nil {
			t.Fatal(err, out)
		}
	}
	var b bytes.Buffer
	if err := w.srv.SvnDump(ctx, server.Local, "app", &b, svnrepos.DumpOptions{From: svn.InvalidRevnum, To: svn.InvalidRevnum}, nil); err != nil {
		t.Fatal(err)
	}
	dump := b.String()
	cut := dump[:strings.LastIndex(dump, "Content-length")]
	for _, r := range []server.NewRepo{{Name: "git", SCM: storage.Git}, {Name: "copy", SCM: storage.Svn}} {
		if err := w.srv.CreateRepo(ctx, server.Local, r, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		name, dump string
		o          svnrepos.LoadOptions
		want       string // of the error, or of what is told
	}{
		{"none", dump, svnrepos.LoadOptions{}, "none: no such repository, or you may not see it; \"repo create none --svn\" makes one"},
		{"git", dump, svnrepos.LoadOptions{}, "'git' is a git repository, not one of Subversion; \"repo create NAME --svn\" makes one"},
		{"copy", "", svnrepos.LoadOptions{}, "the input has to be a dump file as \"svnadmin dump\" writes it, not compressed: E"},
		{"copy", "\x1f\x8b\x08", svnrepos.LoadOptions{}, "the input has to be a dump file as \"svnadmin dump\" writes it, not compressed: E"},
		{"copy", cut, svnrepos.LoadOptions{}, "revision 2 of the dump (those before it stand; \"-r 2:HEAD\" goes on): E"},
		{"copy", dump, svnrepos.LoadOptions{}, "revision 1 of the dump (copy has revisions up to r1: \"-r N:HEAD\" takes those that it lacks, \"--parent-dir\" puts all below a directory): E160020: "},
		{"copy", dump, svnrepos.LoadOptions{First: 7, Last: 9}, "no revision was loaded: the dump has revisions 0 to 2"},
		{"copy", dump, svnrepos.LoadOptions{ParentDir: "x"}, "revision 1 of the dump: E160013: "},
		{"copy", dump, svnrepos.LoadOptions{First: 2, Last: 9}, "holdfast: #"},
	} {
		var told strings.Builder
		err := w.srv.SvnLoad(ctx, server.Local, row.name, strings.NewReader(row.dump), row.o, nil, &told)
		if err != nil {
			told.Reset()
			told.WriteString(err.Error())
		}
		if !strings.Contains(told.String(), row.want) {
			t.Errorf("%s: %q, not %q", row.name, &told, row.want)
		}
	}
	if err := w.srv.SvnDump(ctx, server.Local, "git", io.Discard, svnrepos.DumpOptions{}, nil); err == nil || !strings.Contains(err.Error(), "not one of Subversion") {
		t.Error(err)
	}
}

// TestSvnHidesRepositories asks over svn://, without a name, for paths that cannot be, in a repository that only its users may see and
// in one that does not exist: both ask for a name.
func TestSvnHidesRepositories(t *testing.T) {
	t.Parallel()
	w := newSvnWorld(t, server.Config{}, time.Minute)
	for _, at := range []string{"app", "none"} {
		for _, path := range []string{"", "/%01", "/..", "/%2e%2e", "/%ff", "/" + strings.Repeat("a", svn.MaxPathBytes)} {
			conn := must(net.Dial("tcp", w.plain))
			defer conn.Close()
			url := "svn://" + w.plain + "/" + at + path
			if _, err := fmt.Fprintf(conn, "( 2 ( edit-pipeline ) %d:%s ) ", len(url), url); err != nil {
				t.Fatal(err)
			}
			r := svnproto.NewReader(conn)
			must(r.ReadTuple())
			if items := must(r.ReadTuple()); !items[0].Is("success") {
				t.Errorf("%.40s: %s", url, items[1].List[0].List[1].Bytes)
			}
		}
	}
}

// TestSvnListener has clients that do not log in, that come in numbers, and that are there when the server ends.
func TestSvnListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newMemListener()
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan string, 10)
		ended := make(chan error, 1)
		go func() {
			ended <- server.ServeSvn(ctx, ln, server.SvnConfig{
				Serve: func(ctx context.Context, conn net.Conn, loggedIn func() bool) error {
					var b [1]byte
					if _, err := io.ReadFull(conn, b[:]); err != nil {
						served <- "no login"
						return err
					}
					for b[0] == '?' {
						if _, err := io.ReadFull(conn, b[:]); err != nil {
							served <- "too long"
							return err
						}
					}
					if b[0] == '!' {
						panic("at the disco")
					}
					if !loggedIn() {
						served <- "too many"
						return nil
					}
					served <- "in"
					_, err := io.ReadFull(conn, b[:])
					if err == nil && loggedIn() {
						served <- "in again"
						_, err = io.ReadFull(conn, b[:])
					}
					served <- "out"
					return err
				},
				LoginConfig: server.LoginConfig{
					MaxHandshakes: 2, MaxConns: 1, HandshakeTimeout: 10 * time.Second, IdleTimeout: time.Minute, DrainTime: time.Hour, Log: quiet,
				},
				MaxLoginBytes: 100,
			})
		}()
		expect := func(want string) {
			t.Helper()
			if got := <-served; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		began := time.Now()
		slow := ln.dial(t, "198.51.100.1")
		expect("no login")
		if d := time.Since(began); d != 10*time.Second {
			t.Errorf("a silent client was cut off after %v", d)
		}
		slow.Close()
		login := func(word string) net.Conn {
			c := ln.dial(t, "198.51.100.1")
			if _, err := io.WriteString(c, word); err != nil {
				t.Error(err)
			}
			return c
		}
		login("!").Close()
		long := ln.dial(t, "198.51.100.1")
		go func() { _, _ = long.Write(bytes.Repeat([]byte("?"), 200)) }()
		expect("too long")
		long.Close()
		first := login("x")
		expect("in")
		login("x").Close()
		expect("too many")
		if _, err := io.WriteString(first, "x"); err != nil { // a client that was anonymous logs in
			t.Error(err)
		}
		expect("in again")
		waiting := ln.dial(t, "198.51.100.1")
		synctest.Wait()
		cancel()
		expect("no login")
		waiting.Close()
		first.Close()
		expect("out")
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestSvnBigFile commits a file whose pack goes to the mirrors as it comes in.
func TestSvnBigFile(t *testing.T) {
	t.Parallel()
	w := newSvnWorld(t, server.Config{}, time.Minute)
	big := make([]byte, 9<<20)
	rand.NewChaCha8([32]byte{3}).Read(big)
	write(t, filepath.Join(w.dir, "big"), string(big))
	if out, err := w.svn("alice", "", "import", "-q", "-m", "a big file", filepath.Join(w.dir, "big"), w.app+"/big"); err != nil {
		t.Fatal(err, out)
	}
	if out, err := w.svn("alice", "", "export", "-q", w.app+"/big", "again"); err != nil {
		t.Fatal(err, out)
	}
	if again := must(os.ReadFile(filepath.Join(w.dir, "again"))); !bytes.Equal(again, big) {
		t.Error("the file came back as another one")
	}
	packs := 0
	for _, b := range w.buckets {
		for _, key := range b.Keys() {
			if strings.Contains(key, "/pack/") {
				packs++
			}
		}
	}
	if packs < 2 {
		t.Errorf("%d mirrors hold the pack", packs)
	}
}

// TestSvnLongText commits a text that is longer than the operator allows. Little is sent of it: it is all one letter.
func TestSvnLongText(t *testing.T) {
	t.Parallel()
	w := newSvnWorld(t, server.Config{MaxObjectBytes: 1 << 20}, time.Minute)
	for size, want := range map[int]string{1 << 20: "", 1<<20 + 1: "A text takes more than 1048576 bytes"} {
		write(t, filepath.Join(w.dir, "text"), strings.Repeat("a", size))
		out, err := w.svn("alice", "", "import", "-q", "-m", "a text", "text", fmt.Sprint(w.app, "/", size))
		if (err == nil) != (want == "") || !strings.Contains(out, want) {
			t.Errorf("%d bytes: %v\n%s", size, err, out)
		}
	}
}
