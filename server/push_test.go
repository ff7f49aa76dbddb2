package server_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"holdfast/auth"
	"holdfast/replication"
	"holdfast/replication/buckettest"
	"holdfast/server"
	"holdfast/storage"
)

// world is a host with three mirrors in memory, served over SSH and HTTP. root is its admin; add makes more users.
type world struct {
	t       *testing.T
	dir     string
	store   *storage.Store
	buckets []*buckettest.Bucket
	srv     *server.Server
	ssh     string // address
	http    string
}

func newWorld(t *testing.T, c server.Config) *world { return newWorldAcks(t, c, time.Minute) }

func newWorldAcks(t *testing.T, c server.Config, timeout time.Duration) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	st := must(storage.Open(filepath.Join(w.dir, "data"), storage.Options{NoSync: true}))
	w.store = st
	var mirrors []*replication.Mirror
	var inKit []replication.KitMirror
	for _, name := range []string{"aws", "b2", "wasabi"} {
		b := buckettest.New(t)
		w.buckets = append(w.buckets, b)
		mirrors = append(mirrors, replication.NewMirror(name, b, replication.MirrorOptions{Conditional: true}))
		inKit = append(inKit, replication.KitMirror{Name: name, Endpoint: "http://127.0.0.1:1", Bucket: name, Region: "local"})
	}
	must(replication.InitRoot(filepath.Join(w.dir, "kit"), st, replication.KitOptions{
		Name: "test", Recipient: replication.X25519, Mirrors: inKit, Created: time.Now(),
	}))
	rootKey := string(ssh.MarshalAuthorizedKey(signer(t, "root").PublicKey()))
	if err := server.Bootstrap(st, "root", rootKey, "test", time.Now()); err != nil {
		t.Fatal(err)
	}
	writer := must(replication.LoadWriter(st))
	quiet := slog.New(slog.DiscardHandler)
	rep := must(replication.New(st, mirrors, replication.Options{
		Dir: filepath.Join(w.dir, "data", "spool"), Root: writer.Root, RootKey: writer.RootKey, Signer: writer.Signer,
		Acks: 2, AckTimeout: timeout, BackoffMin: 10 * time.Millisecond, BackoffMax: 100 * time.Millisecond, Log: quiet,
	}))
	sshLn, httpLn := listen(t), listen(t)
	w.ssh, w.http = sshLn.Addr().String(), httpLn.Addr().String()
	c.Log = quiet
	c.Commands = func(context.Context, auth.Identity, []string, io.Reader, io.Writer, io.Writer) int { return 3 }
	w.srv = must(server.New(st, rep, c))

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 3)
	go func() { ended <- rep.Run(ctx) }()
	go func() { ended <- w.srv.ServeSSH(ctx, sshLn) }()
	go func() { ended <- w.srv.ServeHTTP(ctx, httpLn) }()
	t.Cleanup(func() {
		cancel()
		for range 3 {
			<-ended
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) add(user string) {
	w.t.Helper()
	key := string(ssh.MarshalAuthorizedKey(signer(w.t, user).PublicKey()))
	if err := w.srv.AddUser(w.t.Context(), server.Local, user, key, false, io.Discard); err != nil {
		w.t.Fatal(err)
	}
}

// git runs git as a user and returns what it printed.
func (w *world) git(user, dir string, args ...string) (string, error) {
	w.t.Helper()
	out, err := w.command(user, dir, args...).CombinedOutput()
	return string(out), err
}

func (w *world) command(user, dir string, args ...string) *exec.Cmd {
	w.t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "HOME="+w.dir,
		"GIT_SSH_COMMAND=ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none -o StrictHostKeyChecking=no "+
			"-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -i "+keyFile(w.t, user, ""))
	return cmd
}

// ok requires that git succeeds.
func (w *world) ok(user, dir string, args ...string) string {
	w.t.Helper()
	out, err := w.git(user, dir, args...)
	if err != nil {
		w.t.Fatalf("git %s as %s: %v\n%s", strings.Join(args, " "), user, err, out)
	}
	return out
}

// fails requires that git fails and says each of the words.
func (w *world) fails(user, dir string, words []string, args ...string) {
	w.t.Helper()
	out, err := w.git(user, dir, args...)
	if err == nil {
		w.t.Fatalf("git %s as %s succeeded:\n%s", strings.Join(args, " "), user, out)
	}
	for _, word := range words {
		if !strings.Contains(out, word) {
			w.t.Errorf("git %s as %s does not say %q:\n%s", strings.Join(args, " "), user, word, out)
		}
	}
}

func (w *world) url(repo string) string { return "ssh://git@" + w.ssh + "/" + repo + ".git" }

// work makes a repository with one commit on main.
func (w *world) work(name string) string {
	w.t.Helper()
	dir := filepath.Join(w.dir, name)
	w.ok("root", w.dir, "init", "-q", dir)
	write(w.t, filepath.Join(dir, "file"), name)
	w.ok("root", dir, "add", ".")
	w.ok("root", dir, "commit", "-qm", "first")
	return dir
}

func TestCreateOnPush(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.Config{})
	w.add("alice")
	dir := w.work("app")
	w.fails("alice", dir, []string{"does not exist"}, "push", w.url("team/app"), "main")
	before, _, _ := w.store.Head()
	out := w.ok("root", dir, "push", w.url("team/app"), "main:trunk")
	if !strings.Contains(out, "remote: holdfast: #") {
		t.Errorf("the push names no ack:\n%s", out)
	}
	if after, _, _ := w.store.Head(); after != before+2 {
		t.Errorf("create-on-push took %d entries, not 2", after-before)
	}
	if out := w.ok("root", w.dir, "clone", "--progress", w.url("team/app"), "clone"); !strings.Contains(out, "remote: Total 3 objects") {
		t.Errorf("the clone's progress has no total:\n%s", out)
	}
	if head := w.ok("root", filepath.Join(w.dir, "clone"), "symbolic-ref", "HEAD"); strings.TrimSpace(head) != "refs/heads/trunk" {
		t.Errorf("HEAD of the clone is %s", head)
	}
	for _, name := range []string{"../up", "a/../b", ".git", "a//b", "team", "Team/App", "team/app/sub", "x.lock", "holdfast-admin/x"} {
		w.fails("root", dir, nil, "push", w.url(name), "main")
	}
}

// TestCreateOnPushInItsFormat pushes a SHA-256 commit to where nothing is, with a request of its own making: git before
// 2.46 does not get that far.
func TestCreateOnPushInItsFormat(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.Config{})
	dir := filepath.Join(w.dir, "work")
	w.ok("root", w.dir, "init", "-q", "--object-format=sha256", dir)
	w.ok("root", dir, "commit", "-q", "--allow-empty", "-m", "first")
	id := strings.TrimSpace(w.ok("root", dir, "rev-parse", "HEAD"))
	w.ok("root", dir, "bundle", "create", "-q", "bundle", "main") // a header, an empty line, a pack
	_, pack, _ := strings.Cut(string(must(os.ReadFile(filepath.Join(dir, "bundle")))), "\n\n")
	line := strings.Repeat("0", 64) + " " + id + " refs/heads/main\x00report-status object-format=sha256"
	body := fmt.Sprintf("%04x%s0000%s", len(line)+4, line, pack)
	if answer := newRPCClient(w).post("app", "git-receive-pack", "0", body); !strings.Contains(answer, "unpack ok") {
		t.Fatalf("answered %q", answer)
	}
	clone := filepath.Join(w.dir, "clone")
	w.ok("root", w.dir, "clone", "-q", w.url("app"), clone)
	if got := strings.TrimSpace(w.ok("root", clone, "rev-parse", "main")); got != id {
		t.Errorf("main is %s, want %s", got, id)
	}
	if info := must(w.srv.Repo(server.Local, "app")); info.Format != "sha256" {
		t.Errorf("the repository is %+v", info)
	}
}

func TestGrantsBindAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.Config{})
	w.add("alice")
	dir := w.work("app")
	w.ok("root", dir, "push", "-q", w.url("app"), "main")
	w.fails("alice", w.dir, []string{`"app" does not exist`}, "clone", w.url("app"), "no")
	grant := func(level string) {
		t.Helper()
		if err := w.srv.Grant(t.Context(), server.Local, "app", "alice", level, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	grant("read")
	w.ok("alice", w.dir, "clone", "-q", w.url("app"), "yes")
	w.fails("alice", dir, []string{`may not push to "app"`}, "push", w.url("app"), "main:x")
	grant("write")
	w.ok("alice", dir, "push", "-q", w.url("app"), "main:x")
	grant("none")
	w.fails("alice", dir, []string{"does not exist"}, "push", w.url("app"), "main:y")
	w.fails("alice", w.dir, []string{"does not exist"}, "clone", w.url("holdfast-admin"), "admin")
}

func TestPushIsPartialUnlessAtomic(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.Config{})
	dir := w.work("app")
	w.ok("root", dir, "push", "-q", w.url("app"), "main", "main:refs/heads/a")
	// a/b cannot be beside a; c can.
	w.fails("root", dir, []string{"a/b", "conflict"}, "push", w.url("app"), "main:refs/heads/a/b", "main:refs/heads/c")
	if out := w.ok("root", dir, "ls-remote", w.url("app"), "refs/heads/*"); !strings.Contains(out, "heads/c") || strings.Contains(out, "a/b") {
		t.Errorf("after a partial push:\n%s", out)
	}
	w.fails("root", dir, []string{"a/b"}, "push", "--atomic", w.url("app"), "main:refs/heads/a/b", "main:refs/heads/d")
	if out := w.ok("root", dir, "ls-remote", w.url("app"), "refs/heads/d"); out != "" {
		t.Errorf("an atomic push left %s", out)
	}
}

func TestPolicyIsCheckedAtThePush(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.Config{})
	w.ok("root", w.dir, "clone", "-q", w.url("holdfast-admin"), "admin")
	dir := filepath.Join(w.dir, "admin")
	users := filepath.Join(dir, "users", "mallory.yaml")
	write(t, users, "keys: []\nadmn: true\n")
	w.ok("root", dir, "add", ".")
	w.ok("root", dir, "commit", "-qm", "typo")
	w.fails("root", dir, []string{"users/mallory.yaml:2", "admn"}, "push", "origin", "main")
	w.ok("root", dir, "reset", "-q", "--hard", "origin/main")
	w.ok("root", dir, "rm", "-q", "users/root.yaml")
	w.ok("root", dir, "commit", "-qm", "lock everybody out")
	w.fails("root", dir, []string{"admin"}, "push", "origin", "main")
	w.fails("root", dir, []string{"cannot be deleted"}, "push", "origin", ":main")
	w.ok("root", dir, "push", "-q", "origin", "main:draft") // no branch but main is in force
	w.ok("root", w.dir, "ls-remote", w.url("holdfast-admin"))
}

func TestDeleteIsSoft(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.Config{})
	dir := w.work("app")
	w.ok("root", dir, "push", "-q", w.url("app"), "main")
	ctx := t.Context()
	if err := w.srv.DeleteRepo(ctx, server.Local, "app", io.Discard); err != nil {
		t.Fatal(err)
	}
	w.fails("root", w.dir, []string{"does not exist"}, "clone", w.url("app"), "gone")
	if err := w.srv.UndeleteRepo(ctx, server.Local, "app", io.Discard); err != nil {
		t.Fatal(err)
	}
	w.ok("root", w.dir, "clone", "-q", w.url("app"), "back")
	if err := w.srv.RenameRepo(ctx, server.Local, "app", "team/new", io.Discard); err != nil {
		t.Fatal(err)
	}
	w.ok("root", w.dir, "clone", "-q", w.url("team/new"), "renamed")
}

func TestHTTPTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.Config{})
	w.add("alice")
	dir := w.work("app")
	w.ok("root", dir, "push", "-q", w.url("app"), "main")
	url := func(user, token string) string { return "http://" + user + ":" + token + "@" + w.http + "/app.git" }
	token := must(w.srv.CreateToken(t.Context(), server.Local, "root", "laptop", time.Time{}, io.Discard))
	w.ok("root", w.dir, "clone", "-q", url("root", token), "one")
	w.ok("root", filepath.Join(w.dir, "one"), "push", "-q", "origin", "HEAD:refs/heads/http")
	w.fails("root", w.dir, nil, "clone", url("root", token[:len(token)-1]), "two")
	if err := w.srv.RevokeToken(t.Context(), server.Local, "root", "laptop", io.Discard); err != nil {
		t.Fatal(err)
	}
	w.fails("root", w.dir, nil, "clone", url("root", token), "three")
	w.fails("root", w.dir, nil, "clone", "http://"+w.http+"/app.git", "four")
}

// TestAcks takes mirrors away: with one gone pushes go on; with two gone a push fails truthfully, its retry does not
// pretend that all is well, and both are there once the mirrors are back.
func TestAcks(t *testing.T) {
	t.Parallel()
	w := newWorldAcks(t, server.Config{}, 2*time.Second)
	dir := w.work("app")
	w.ok("root", dir, "push", "-q", w.url("app"), "main")
	down := func(n int) {
		for i, b := range w.buckets {
			b.Change(func(b *buckettest.Bucket) {
				if b.OnPut = nil; i < n {
					b.OnPut = func(string) (bool, error) { return false, buckettest.ErrFault }
				}
			})
		}
	}
	down(1)
	w.ok("root", dir, "push", w.url("app"), "main:one")
	down(2)
	w.fails("root", dir, []string{"not yet on enough mirrors"}, "push", w.url("app"), "main:two")
	w.fails("root", dir, []string{"not yet on enough mirrors"}, "push", w.url("app"), "main:two")
	down(0)
	for out, err := w.git("root", dir, "push", w.url("app"), "main:two"); err != nil; out, err = w.git("root", dir, "push", w.url("app"), "main:two") {
		if !strings.Contains(out, "not yet on enough mirrors") {
			t.Fatalf("once the mirrors are back: %v\n%s", err, out)
		}
	}
}

// TestWantsAreReachable asks for commits by id: an ancestor of a branch is served, what was force-pushed away is not.
func TestWantsAreReachable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.Config{})
	dir := w.work("app")
	first := strings.TrimSpace(w.ok("root", dir, "rev-parse", "HEAD"))
	w.ok("root", dir, "commit", "-q", "--allow-empty", "-m", "second")
	w.ok("root", dir, "push", "-q", w.url("app"), "main")
	w.ok("root", dir, "checkout", "-q", "--orphan", "other")
	w.ok("root", dir, "commit", "-q", "-m", "lost")
	lost := strings.TrimSpace(w.ok("root", dir, "rev-parse", "HEAD"))
	w.ok("root", dir, "push", "-q", w.url("app"), "other")
	w.ok("root", dir, "push", "-q", w.url("app"), ":other")
	clone := filepath.Join(w.dir, "clone")
	w.ok("root", w.dir, "init", "-q", "--bare", clone)
	w.ok("root", clone, "fetch", "-q", w.url("app"), first)
	w.fails("root", clone, []string{"not our ref " + lost}, "fetch", "-q", w.url("app"), lost)
}

// TestMirrorsRevealNothing looks through everything that the mirrors hold for names and contents.
func TestMirrorsRevealNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.Config{})
	w.add("zebulon")
	dir := w.work("quokka-work")
	write(t, filepath.Join(dir, "platypus.txt"), "echidna-content")
	w.ok("root", dir, "add", ".")
	w.ok("root", dir, "commit", "-qm", "numbat-message")
	// Over 8 MiB that does not compress: a pack of its own on the mirrors.
	big := make([]byte, 9<<20)
	rand.NewChaCha8([32]byte{1}).Read(big)
	write(t, filepath.Join(dir, "bilby.bin"), string(big))
	w.ok("root", dir, "add", ".")
	w.ok("root", dir, "commit", "-qm", "big")
	w.ok("root", dir, "push", "-q", w.url("quokka"), "HEAD:refs/heads/wombat")
	commit := strings.TrimSpace(w.ok("root", dir, "rev-parse", "HEAD"))
	seen := 0
	for _, b := range w.buckets {
		for _, key := range b.Keys() {
			for _, version := range append(b.Contents(key), []byte(key)) {
				seen += len(version)
				for _, word := range []string{"zebulon", "quokka", "platypus", "echidna", "numbat", "wombat", "bilby", "refs/", commit} {
					if bytes.Contains(version, []byte(word)) {
						t.Errorf("%s shows %q", key, word)
					}
				}
				if bytes.Contains(version, big[1<<20:1<<20+64]) {
					t.Errorf("%s holds contents in the clear", key)
				}
			}
		}
	}
	if seen < 2*len(big) {
		t.Errorf("the mirrors hold only %d bytes: the push is not there", seen)
	}
}

func TestPublicRepositories(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.Config{})
	dir := w.work("app")
	if err := w.srv.CreateRepo(t.Context(), server.Local, server.NewRepo{Name: "open", Public: true}, io.Discard); err != nil {
		t.Fatal(err)
	}
	w.ok("root", dir, "push", "-q", w.url("open"), "main")
	anonymous := "http://" + w.http + "/open.git"
	w.ok("root", w.dir, "clone", "-q", anonymous, "anonymous")
	w.fails("root", filepath.Join(w.dir, "anonymous"), nil, "push", "origin", "HEAD:refs/heads/x")
	w.add("alice") // logged in, and without a grant
	w.ok("alice", w.dir, "clone", "-q", w.url("open"), "alice")
	w.fails("alice", dir, []string{`alice may not push to "open"`}, "push", w.url("open"), "main:x")
}

func TestTokensExpire(t *testing.T) {
	t.Parallel()
	var late atomic.Bool
	w := newWorld(t, server.Config{Now: func() time.Time {
		if late.Load() {
			return time.Now().Add(48 * time.Hour)
		}
		return time.Now()
	}})
	dir := w.work("app")
	w.ok("root", dir, "push", "-q", w.url("app"), "main")
	token := must(w.srv.CreateToken(t.Context(), server.Local, "root", "day", time.Now().Add(24*time.Hour), io.Discard))
	url := "http://root:" + token + "@" + w.http + "/app.git"
	w.ok("root", w.dir, "ls-remote", url)
	late.Store(true)
	w.fails("root", w.dir, nil, "ls-remote", url)
}

// TestHostFaults breaks the host's disk: the client learns whom to ask, and nothing of the host's paths.
func TestHostFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.Config{})
	dir := w.work("app")
	if err := os.RemoveAll(filepath.Join(w.dir, "data", "quarantine")); err != nil {
		t.Fatal(err)
	}
	w.ok("root", dir, "commit", "-q", "--allow-empty", "-m", "second")
	out, err := w.git("root", dir, "push", "-q", w.url("app"), "main")
	if err == nil || !strings.Contains(out, "its operator finds the reason in the log") || strings.Contains(out, w.dir) {
		t.Errorf("%v: %s", err, out)
	}
	if err := os.Mkdir(filepath.Join(w.dir, "data", "quarantine"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.ok("root", dir, "push", "-q", w.url("app"), "main")
}
