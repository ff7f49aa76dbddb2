//go:build slow

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

var (
	killRounds = flag.Int("kills", 20, "how often TestKill kills the server")
	killSeed   = flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of TestKill")
)

// TestKill kills the server at random moments under concurrent pushes. Whatever git said was pushed must be there after
// each restart, `holdfast check` must find nothing, and in the end any two of the mirrors must bring all of it back.
func TestKill(t *testing.T) {
	rng := rand.New(rand.NewPCG(*killSeed, 1))
	t.Logf("run again with -seed %d -kills %d", *killSeed, *killRounds)
	h := newHost(t, 3)
	h.serve()
	h.holdfast("repo", "create", "work")

	const writers = 4
	acked := make([]map[string]string, writers) // by branch: the newest commit that git said was pushed
	clones := make([]string, writers)
	for i := range writers {
		acked[i] = map[string]string{}
		clones[i] = h.newClone(fmt.Sprintf("writer%d", i))
	}
	for range *killRounds {
		ctx, stop := context.WithCancel(context.Background())
		var g sync.WaitGroup
		for i := range writers {
			g.Go(func() { h.pushUntil(ctx, clones[i], fmt.Sprintf("w%d", i), acked[i]) })
		}
		timer := time.NewTimer(time.Duration(50+rng.IntN(1200)) * time.Millisecond)
		<-timer.C
		h.server.kill()
		stop()
		g.Wait()
		h.holdfast("check")
		h.serve()
		h.compare(h.url("work"), acked)
	}
	h.server.stop()
	total := 0
	for _, m := range acked {
		total += len(m)
	}
	t.Logf("%d branches were acknowledged over %d kills", total, *killRounds)

	for lost := range h.mirrors {
		dir := filepath.Join(h.dir, fmt.Sprintf("restored-without-%d", lost))
		args := []string{"restore", "--kit", h.kit, "--data", dir}
		for i := range h.mirrors {
			if i != lost {
				args = append(args, "--mirror", h.mirrorName(i))
			}
		}
		h.run(h.env(), h.bin, args...)
		h.run(h.env(), h.bin, "check", "--data", dir)
		restored := h.serveDir(dir)
		h.compare("ssh://git@"+restored.addr+"/work.git", acked)
		restored.stop()
	}
}

// pushUntil pushes new branches with one new commit each until ctx ends, and notes those that git reports as done. The trees name a special
// file, which only the first pack has.
func (h *host3) pushUntil(ctx context.Context, clone, prefix string, acked map[string]string) {
	url := h.url("work")
	for n := len(acked); ctx.Err() == nil; n++ {
		branch := fmt.Sprintf("refs/heads/%s/%d", prefix, n)
		for name, text := range map[string]string{".gitattributes": "* text\n", "file": branch + "\n"} {
			if err := os.WriteFile(filepath.Join(clone, name), []byte(text), 0o600); err != nil {
				h.t.Error(err)
				return
			}
		}
		h.git(clone, "add", ".")
		h.git(clone, "commit", "-q", "--allow-empty", "-m", branch) // empty if the push of that branch failed
		id := h.git(clone, "rev-parse", "HEAD")
		cmd := exec.Command("git", "-C", clone, "push", "-q", url, "HEAD:"+branch)
		cmd.Env = h.env()
		if cmd.Run() == nil {
			acked[branch] = id
		}
	}
}

// compare requires that the repository at url has every acknowledged branch where it was acknowledged.
func (h *host3) compare(url string, acked []map[string]string) {
	h.t.Helper()
	refs := map[string]string{}
	for line := range strings.Lines(h.git(".", "ls-remote", url)) {
		id, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
		refs[name] = id
	}
	for _, m := range acked {
		for branch, id := range m {
			if refs[branch] != id {
				h.t.Fatalf("%s: %s was acknowledged at %s and is %q", url, branch, id, refs[branch])
			}
		}
	}
}

// host3 is a host with mirrors, each a process of its own.
type host3 struct {
	t       *testing.T
	bin     string
	dir     string // of everything
	data    string
	kit     string
	key     string // private SSH key of the admin "root"
	mirrors []*process
	server  *process
	secrets []string // environment of mirrors' credentials
}

// process is a holdfast that runs beside the test.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	addr string // what it listens on first: SSH, where it is a host
	http string // where a host listens for HTTP
	dir  string // of a mirror
	log  *bytes.Buffer
	done chan struct{}
}

func (h *host3) mirrorName(i int) string { return fmt.Sprintf("m%d", i) }

// newHost starts n mirrors and makes a host on them that asks for two acks.
func newHost(t *testing.T, n int) *host3 { return newHostAcks(t, n, 2) }

func newHostAcks(t *testing.T, n, acks int) *host3 {
	t.Helper()
	bin, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	h := &host3{t: t, bin: filepath.Join(dir, "holdfast"), dir: dir, data: filepath.Join(dir, "data"), kit: filepath.Join(dir, "kit"), key: filepath.Join(dir, "key")}
	// The test binary is the program when it is called by the program's name.
	if err := os.Symlink(bin, h.bin); err != nil {
		t.Fatal(err)
	}
	var config strings.Builder
	fmt.Fprintf(&config, "name: localhost\nssh: {listen: \"127.0.0.1:0\"}\nhttp: {listen: \"127.0.0.1:0\"}\nreplication: {acks: %d}\nmirrors:\n", acks)
	for i := range n {
		up := fmt.Sprintf("M%d", i)
		h.secrets = append(h.secrets,
			up+"_KEY=writer"+up, up+"_SECRET=writer-secret-of-"+up,
			"HOLDFAST_"+up+"_READER_KEY=reader"+up, "HOLDFAST_"+up+"_READER_SECRET=reader-secret-of-"+up)
		m := h.startMirror(i, "127.0.0.1:0")
		h.mirrors = append(h.mirrors, m)
		fmt.Fprintf(&config, "  - {name: %s, endpoint: \"http://%s\", region: local, bucket: bucket, access_key_env: %s_KEY, secret_key_env: %s_SECRET}\n",
			h.mirrorName(i), m.addr, up, up)
	}
	h.newKey()
	file := filepath.Join(dir, "holdfast.yaml")
	if err := os.WriteFile(file, []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	h.run(h.env(), h.bin, "init", "--data", h.data, "--kit", h.kit, "--config", file, "--admin", "root="+h.key+".pub")
	return h
}

// startMirror runs mirror i's endpoint at an address.
func (h *host3) startMirror(i int, at string) *process {
	h.t.Helper()
	up := fmt.Sprintf("M%d", i)
	dir := filepath.Join(h.dir, up)
	m := h.start([]string{
		"HOLDFAST_WRITER_KEY=writer" + up, "HOLDFAST_WRITER_SECRET=writer-secret-of-" + up,
		"HOLDFAST_READER_KEY=reader" + up, "HOLDFAST_READER_SECRET=reader-secret-of-" + up,
	}, "mirror", "serve", "--dir", dir, "--listen", at, "--bucket", "bucket")
	m.dir = dir
	return m
}

func (h *host3) newKey() {
	pub, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		h.t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		h.t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(h.key, pem.EncodeToMemory(block), 0o600); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(h.key+".pub", ssh.MarshalAuthorizedKey(key), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// env is the environment of git, ssh and holdfast in these tests.
func (h *host3) env() []string {
	env := append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + h.dir, "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org",
		"GIT_SSH_COMMAND=ssh -i " + h.key + " -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
	}, h.secrets...)
	return env
}

// start runs holdfast and returns once it says what it listens on.
func (h *host3) start(env []string, args ...string) *process {
	h.t.Helper()
	p := &process{t: h.t, cmd: exec.Command(h.bin, args...), log: &bytes.Buffer{}, done: make(chan struct{})}
	p.cmd.Env = append(h.env(), env...)
	p.cmd.Stderr = p.log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(p.kill)
	lines := bufio.NewScanner(out)
	for ready := false; !ready && lines.Scan(); {
		service, addr, _ := strings.Cut(lines.Text(), " listening on ")
		if addr = strings.TrimPrefix(addr, "http://"); service == "http" {
			p.http = addr
		} else {
			p.addr = addr
		}
		// A host's last listener is HTTP.
		ready = args[0] != "serve" || p.http != ""
	}
	go func() {
		for lines.Scan() {
		}
		p.cmd.Wait()
		close(p.done)
	}()
	if p.addr == "" {
		<-p.done
		h.t.Fatalf("holdfast %s did not come up:\n%s", strings.Join(args, " "), p.log)
	}
	return p
}

func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.done
}

// stopped reports whether the process has ended.
func (p *process) stopped() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (h *host3) serve() { h.server = h.serveDir(h.data) }

func (h *host3) serveDir(dir string) *process {
	h.t.Helper()
	return h.start(nil, "serve", "--data", dir)
}

func (h *host3) url(repo string) string { return "ssh://git@" + h.server.addr + "/" + repo + ".git" }

func (h *host3) newClone(name string) string {
	dir := filepath.Join(h.dir, name)
	h.git(".", "init", "-q", "-b", "main", dir)
	return dir
}

func (h *host3) git(dir string, args ...string) string {
	h.t.Helper()
	return h.run(h.env(), "git", append([]string{"-C", dir}, args...)...)
}

// holdfast runs an admin verb on the host.
func (h *host3) holdfast(args ...string) string {
	h.t.Helper()
	return h.run(h.env(), h.bin, append(args, "--data", h.data)...)
}

func (h *host3) run(env []string, name string, args ...string) string {
	h.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		h.t.Errorf("%s %s: %v\n%s%s", filepath.Base(name), strings.Join(args, " "), err, out, stderr.Bytes())
		h.t.FailNow()
	}
	return strings.TrimSpace(string(out))
}
