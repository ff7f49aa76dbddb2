package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/crypto/ssh"
)

// world is what the demonstration plays in: processes of this program, a directory each, and real git and ssh.
type world struct {
	dir, bin string
	secrets  []string // environment of the host's operator: credentials of the mirrors
	repoHost string   // HOST:PORT of the ssh server that runs
}

// daemon is a holdfast that runs beside this one.
type daemon struct {
	cmd    *exec.Cmd
	addr   string // where it listens first
	stderr *tail
	done   chan struct{}
	err    error // set before done is closed
}

// tail keeps the end of what a process wrote, for the error if it fails.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailBytes = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailBytes; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.buf))
}

// start runs holdfast with args until ctx ends and returns once it listens.
func (w *world) start(ctx context.Context, env []string, args ...string) (*daemon, error) {
	p := &daemon{cmd: exec.CommandContext(ctx, w.bin, args...), stderr: &tail{}, done: make(chan struct{})}
	p.cmd.Env, p.cmd.Stderr = append(w.baseEnv(), env...), p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(out)
	for p.addr == "" && lines.Scan() {
		_, p.addr, _ = strings.Cut(lines.Text(), " listening on ")
	}
	go func() {
		_, _ = io.Copy(io.Discard, out)
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	if p.addr == "" {
		<-p.done
		return nil, fmt.Errorf("holdfast %s did not come up: %w\n%s", strings.Join(args, " "), p.err, p.stderr)
	}
	return p, nil
}

// stop asks the process to end and waits for it.
func (p *daemon) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	if p.err != nil {
		return fmt.Errorf("%w\n%s", p.err, p.stderr)
	}
	return nil
}

// kill ends the process as an attacker or a power cut does.
func (p *daemon) kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.done
}

func (w *world) path(parts ...string) string {
	return filepath.Join(append([]string{w.dir}, parts...)...)
}

// baseEnv keeps the person's own git and ssh configuration out of the demonstration.
func (w *world) baseEnv() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir, "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
	}
}

// run runs a command to its end and returns what it wrote to stdout.
func (w *world) run(ctx context.Context, env []string, stdin io.Reader, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	stderr := &tail{}
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stderr = w.dir, append(w.baseEnv(), env...), stdin, stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(name), strings.Join(args, " "), err, stderr, out)
	}
	return out, nil
}

// holdfast runs this program as the operator does.
func (w *world) holdfast(ctx context.Context, args ...string) ([]byte, error) {
	return w.run(ctx, w.secrets, nil, w.bin, args...)
}

// person is a user with a key, and git.
type person struct {
	w    *world
	name string
}

// newPerson makes a user's key pair.
func (w *world) newPerson(name string) (person, error) {
	p := person{w, name}
	return p, newSSHKey(p.key(), name)
}

// newSSHKey writes an ed25519 key pair to path and path.pub.
func newSSHKey(path, comment string) error {
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, comment)
	if err != nil {
		return err
	}
	public, err := ssh.NewPublicKey(pub)
	if err != nil {
		return err
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public))) + " " + comment + "\n"
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		return err
	}
	return os.WriteFile(path+".pub", []byte(line), 0o644)
}

func (p person) key() string { return p.w.path(p.name + ".key") }

// sshOptions pins the host key under one alias, whatever the port: after a restore it must be the same key.
func (p person) sshOptions() []string {
	known := p.w.path(p.name + ".known_hosts")
	return []string{
		"-F", "/dev/null", "-i", p.key(), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
		"-o", "HostKeyAlias=holdfast-demo", "-o", "StrictHostKeyChecking=accept-new", "-o", "UserKnownHostsFile=" + known,
	}
}

// git runs git as this person.
func (p person) git(ctx context.Context, args ...string) ([]byte, error) {
	env := []string{"GIT_SSH_COMMAND=ssh " + strings.Join(p.sshOptions(), " ")}
	for _, role := range []string{"AUTHOR", "COMMITTER"} {
		env = append(env, "GIT_"+role+"_NAME="+p.name, "GIT_"+role+"_EMAIL="+p.name+"@example.org")
	}
	return p.w.run(ctx, env, nil, "git", args...)
}

// verb runs an admin verb on the host over SSH.
func (p person) verb(ctx context.Context, stdin io.Reader, args ...string) ([]byte, error) {
	host, port, _ := strings.Cut(p.w.repoHost, ":")
	return p.w.run(ctx, nil, stdin, "ssh", append(append(p.sshOptions(), "-p", port, "git@"+host), args...)...)
}

func (w *world) url(repo string) string { return "ssh://git@" + w.repoHost + "/" + repo + ".git" }

// demoMirror is one mirror: a process, a directory, and two key pairs that no other mirror knows.
type demoMirror struct {
	*daemon
	name, dir, addr string
	writer, reader  [2]string // access key, secret key
}

const (
	demoBucket = "code"
	anyPort    = "127.0.0.1:0"
)

// newMirror starts a mirror on a free port.
func (w *world) newMirror(ctx context.Context, name, dir string) (*demoMirror, error) {
	m := &demoMirror{name: name, dir: w.path(dir), addr: anyPort, writer: newKeyPair(), reader: newKeyPair()}
	return m, w.startMirror(ctx, m)
}

func (w *world) startMirror(ctx context.Context, m *demoMirror) (err error) {
	m.daemon, err = w.start(ctx, []string{
		"HOLDFAST_WRITER_KEY=" + m.writer[0], "HOLDFAST_WRITER_SECRET=" + m.writer[1],
		"HOLDFAST_READER_KEY=" + m.reader[0], "HOLDFAST_READER_SECRET=" + m.reader[1],
	}, "mirror", "serve", "--dir", m.dir, "--listen", m.addr, "--bucket", demoBucket)
	if err != nil {
		return fmt.Errorf("mirror %s: %w", m.name, err)
	}
	m.addr = m.daemon.addr
	return nil
}

// newKeyPair returns a random S3 access key and secret key.
func newKeyPair() [2]string {
	random := make([]byte, 30)
	rand.Read(random)
	text := hex.EncodeToString(random)
	return [2]string{"HF" + strings.ToUpper(text[:18]), text[18:]}
}

// setMirrors writes a configuration with these mirrors to path and their credentials to the operator's environment.
func (w *world) setMirrors(path string, mirrors []*demoMirror) error {
	var b strings.Builder
	fmt.Fprintf(&b, "name: demo.example.org\nssh: {listen: \"127.0.0.1:0\"}\nhttp: {listen: \"\"}\n")
	fmt.Fprintf(&b, "replication: {acks: %d}\nmirrors:\n", len(mirrors))
	w.secrets = nil
	for _, m := range mirrors {
		up := strings.ToUpper(m.name)
		fmt.Fprintf(&b, "  - {name: %s, endpoint: \"http://%s\", bucket: %s, access_key_env: DEMO_%s_KEY, secret_key_env: DEMO_%s_SECRET}\n",
			m.name, m.addr, demoBucket, up, up)
		w.secrets = append(w.secrets,
			"DEMO_"+up+"_KEY="+m.writer[0], "DEMO_"+up+"_SECRET="+m.writer[1],
			"HOLDFAST_"+up+"_READER_KEY="+m.reader[0], "HOLDFAST_"+up+"_READER_SECRET="+m.reader[1])
	}
	return os.WriteFile(path, []byte(b.String()), 0o600)
}

// dirSize returns the bytes of all files below dir.
func dirSize(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}
