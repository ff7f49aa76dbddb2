//go:build bench

package main

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// host is a holdfast host in a directory, with mirrors in processes of their own.
type host struct {
	b       *bench
	dir     string
	mirrors []*process
	server  *process // nil while it is stopped
}

// process is a holdfast that runs beside us.
type process struct {
	cmd   *exec.Cmd
	addrs map[string]string // by service: "ssh", "http", "s3"
	log   *bytes.Buffer
	done  chan struct{}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// end asks a process to end, and waits for it.
func (p *process) end() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.done
}

// newHost starts n mirrors and makes a host on them, or finds the one that is there already.
func (b *bench) newHost(name string, n int) (*host, error) { return b.newHostWith(name, n, "") }

// newHostWith adds lines to the host's configuration.
func (b *bench) newHostWith(name string, n int, lines string) (_ *host, err error) {
	h := &host{b: b, dir: b.path(name)}
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	var config strings.Builder
	fmt.Fprintf(&config, "name: localhost\nssh: {listen: \"127.0.0.1:0\"}\nhttp: {listen: \"\"}\n%s\nreplication: {ack_timeout: 10m}\nmirrors:\n", lines)
	for i := range n {
		m, err := b.start(mirrorSecrets(i), "mirror", "serve", "--dir", b.mirrorDir(name, i), "--listen", "127.0.0.1:0", "--bucket", "bucket")
		if err != nil {
			return nil, err
		}
		h.mirrors = append(h.mirrors, m)
		for _, addr := range m.addrs {
			fmt.Fprintf(&config, "  - {name: m%d, endpoint: \"http://%s\", region: local, bucket: bucket, access_key_env: M%d_KEY, secret_key_env: M%d_SECRET}\n",
				i, addr, i, i)
		}
	}
	data := h.data()
	if _, err := os.Stat(data); err == nil {
		return h, os.WriteFile(filepath.Join(data, "holdfast.yaml"), []byte(config.String()), 0o600)
	}
	file := filepath.Join(h.dir, "holdfast.yaml")
	if err := os.WriteFile(file, []byte(config.String()), 0o600); err != nil {
		return nil, err
	}
	_, err = b.run(".", hostSecrets(n), b.holdfast, "init", "--data", data, "--kit", filepath.Join(h.dir, "kit"), "--config", file, "--admin", "root="+b.key+".pub")
	return h, err
}

func (b *bench) mirrorDir(host string, i int) string {
	if b.mirrors == "" {
		return filepath.Join(b.path(host), fmt.Sprint("mirror", i))
	}
	return filepath.Join(b.mirrors, fmt.Sprint(host, "-mirror", i))
}

func (h *host) data() string { return filepath.Join(h.dir, "data") }

// mirrorSecrets is the environment of mirror i, hostSecrets that of a host with n of them.
func mirrorSecrets(i int) []string {
	return []string{
		fmt.Sprintf("HOLDFAST_WRITER_KEY=writer%d", i), fmt.Sprintf("HOLDFAST_WRITER_SECRET=secret-of-writer-%d", i),
		fmt.Sprintf("HOLDFAST_READER_KEY=reader%d", i), fmt.Sprintf("HOLDFAST_READER_SECRET=secret-of-reader-%d", i),
	}
}

func hostSecrets(n int) (env []string) {
	for i := range n {
		env = append(env, fmt.Sprintf("M%d_KEY=writer%d", i, i), fmt.Sprintf("M%d_SECRET=secret-of-writer-%d", i, i),
			fmt.Sprintf("HOLDFAST_M%d_READER_KEY=reader%d", i, i), fmt.Sprintf("HOLDFAST_M%d_READER_SECRET=secret-of-reader-%d", i, i))
	}
	return env
}

// serve starts the server unless it runs.
func (h *host) serve() (err error) {
	if h.server == nil {
		h.server, err = h.b.start(hostSecrets(len(h.mirrors)), "serve", "--data", h.data())
	}
	return err
}

// stop ends the server, so that its store can be opened.
func (h *host) stop() {
	if h.server != nil {
		h.server.end()
		h.server = nil
	}
}

func (h *host) close() {
	h.stop()
	for _, m := range h.mirrors {
		m.end()
	}
}

// url is where the running server has a repository.
func (h *host) url(repo string) string {
	return "ssh://git@" + h.server.addrs["ssh"] + "/" + repo + ".git"
}

// has reports whether a repository was made in an earlier run.
func (h *host) has(repo string) bool {
	_, err := h.b.git(".", "ls-remote", h.url(repo), "HEAD")
	return err == nil
}

// during measures the running server.
func (h *host) during(calm time.Duration, work func() error) (usage, error) {
	return during(h.server.pid(), calm, work)
}

// start runs holdfast and returns once it says what it listens on.
func (b *bench) start(env []string, args ...string) (*process, error) {
	p := &process{cmd: b.command(b.holdfast, args...), addrs: map[string]string{}, log: &bytes.Buffer{}, done: make(chan struct{})}
	p.cmd.Env, p.cmd.Stderr = append(b.env(), env...), p.log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(out)
	for want := b.listeners(args); len(p.addrs) < want && lines.Scan(); {
		if service, addr, ok := strings.Cut(lines.Text(), " listening on "); ok {
			p.addrs[service] = strings.TrimPrefix(addr, "http://")
		}
	}
	go func() {
		for lines.Scan() {
		}
		p.cmd.Wait()
		close(p.done)
	}()
	if len(p.addrs) == 0 {
		<-p.done
		return nil, fmt.Errorf("holdfast %s did not come up:\n%s", strings.Join(args, " "), p.log)
	}
	return p, nil
}

// command is a server's: of holdfast but for its mirrors, or of a peer. It runs under what bench.under says.
func (b *bench) command(name string, args ...string) *exec.Cmd {
	if len(b.under) > 0 && args[0] != "mirror" {
		args = append(append(slices.Clone(b.under[1:]), name), args...)
		name = b.under[0]
	}
	return exec.CommandContext(b.ctx, name, args...)
}

// listeners is how many a holdfast with these arguments has: one, or two if it serves svn:// too.
func (b *bench) listeners(args []string) int {
	if args[0] == "serve" {
		config, _ := os.ReadFile(filepath.Join(args[len(args)-1], "holdfast.yaml"))
		if bytes.Contains(config, []byte("\nsvn: ")) {
			return 2
		}
	}
	return 1
}

// newKey makes the admin's SSH key unless there is one.
func (b *bench) newKey() error {
	if _, err := os.Stat(b.key); err == nil {
		return nil
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(b.key, pem.EncodeToMemory(block), 0o600),
		os.WriteFile(b.key+".pub", ssh.MarshalAuthorizedKey(key), 0o600))
}

// sshOptions keep the machine's ssh configuration out.
func (b *bench) sshOptions() []string {
	return []string{"-F", "/dev/null", "-i", b.key, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"}
}

// env is the environment of git, ssh and holdfast.
func (b *bench) env() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + b.work, "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org",
		"GIT_SSH_COMMAND=ssh " + strings.Join(b.sshOptions(), " "),
	}
}

func (b *bench) git(dir string, args ...string) (string, error) {
	return b.run(dir, nil, "git", args...)
}

func (b *bench) run(dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(b.ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(b.env(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(name), strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return strings.TrimSpace(string(out)), err
}
