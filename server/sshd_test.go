package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"holdfast/auth"
	"holdfast/server"
)

// signer returns the key of a name, always the same one.
func signer(t testing.TB, name string) ssh.Signer {
	t.Helper()
	s, err := ssh.NewSignerFromKey(privateKey(name))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func privateKey(name string) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, name)
	return ed25519.NewKeyFromSeed(seed)
}

var quiet = slog.New(slog.DiscardHandler)

// sshConfig knows alice and victim, and runs exec.
func sshConfig(t testing.TB, exec func(ctx context.Context, s server.Session) int) server.SSHConfig {
	keys := map[string]string{}
	for _, name := range []string{"alice", "victim"} {
		keys[string(signer(t, name).PublicKey().Marshal())] = name
	}
	return server.SSHConfig{
		HostKey: signer(t, "host"),
		Authenticate: func(key ssh.PublicKey) (auth.Identity, bool) {
			name, ok := keys[string(key.Marshal())]
			return auth.Identity{Name: name, Key: ssh.FingerprintSHA256(key)}, ok
		},
		Exec:        exec,
		LoginConfig: server.LoginConfig{Log: quiet},
	}
}

// whoami answers with the name of who asks.
func whoami(_ context.Context, s server.Session) int {
	fmt.Fprintf(s.Stdout, "%s", s.Who.Name)
	return 0
}

func serveSSH(t testing.TB, ln net.Listener, c server.SSHConfig) (stop func()) {
	t.Helper()
	return serve(t, func(ctx context.Context) error { return server.ServeSSH(ctx, ln, c) })
}

// serve runs a server until the test ends; stop ends it and waits.
func serve(t testing.TB, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the server ended: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func clientConfig(methods ...ssh.AuthMethod) *ssh.ClientConfig {
	return &ssh.ClientConfig{User: "git", Auth: methods, HostKeyCallback: ssh.InsecureIgnoreHostKey()}
}

// login logs in as name over conn.
func login(t testing.TB, conn net.Conn, name string) *ssh.Client {
	t.Helper()
	c, chans, reqs, err := ssh.NewClientConn(conn, "host", clientConfig(ssh.PublicKeys(signer(t, name))))
	if err != nil {
		t.Fatal(err)
	}
	client := ssh.NewClient(c, chans, reqs)
	t.Cleanup(func() { client.Close() })
	return client
}

func dialSSH(t testing.TB, ln net.Listener) *ssh.Client {
	t.Helper()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return login(t, conn, "alice")
}

// sshCommand is the real client, logging in with the files' keys, which are written if they have names of users.
func sshCommand(t testing.TB, ln net.Listener, keyFiles []string, args ...string) *exec.Cmd {
	t.Helper()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	all := []string{"-F", "none", "-p", port, "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"}
	for _, file := range keyFiles {
		all = append(all, "-i", file)
	}
	return exec.Command("ssh", append(all, args...)...)
}

func keyFile(t testing.TB, name, passphrase string) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(privateKey(name), name)
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(privateKey(name), name, []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	write(t, path, string(pem.EncodeToMemory(block)))
	write(t, path+".pub", string(ssh.MarshalAuthorizedKey(signer(t, name).PublicKey())))
	return path
}

func write(t testing.TB, path, data string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func run(t testing.TB, cmd *exec.Cmd) (stdout, stderr string, status int) {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

func TestSSHRunsCommands(t *testing.T) {
	ln := listen(t)
	serveSSH(t, ln, sshConfig(t, func(_ context.Context, s server.Session) int {
		in, _ := io.ReadAll(s.Stdin)
		fmt.Fprintf(s.Stdout, "%s %q %q %s", s.Who.Name, s.Command, s.Protocol, in)
		fmt.Fprint(s.Stderr, "to stderr")
		return 7
	}))
	cmd := sshCommand(t, ln, []string{keyFile(t, "alice", "")}, "-o", "SendEnv=GIT_PROTOCOL", "git@127.0.0.1", "git-upload-pack '/a b.git'")
	cmd.Env = append(os.Environ(), "GIT_PROTOCOL=version=2")
	cmd.Stdin = strings.NewReader("the input")
	stdout, stderr, status := run(t, cmd)
	if want := `alice ["git-upload-pack" "/a b.git"] "version=2" the input`; stdout != want || stderr != "to stderr" || status != 7 {
		t.Errorf("got %q, %q, status %d, want %q", stdout, stderr, status, want)
	}
}

func TestSSHWithGit(t *testing.T) {
	dir := t.TempDir()
	origin := newGitRepo(t, dir, "origin")
	ln := listen(t)
	protocols := make(chan string, 10)
	serveSSH(t, ln, sshConfig(t, func(ctx context.Context, s server.Session) int {
		protocols <- s.Protocol
		cmd := exec.CommandContext(ctx, "git", strings.TrimPrefix(s.Command[0], "git-"), origin)
		cmd.Env = append(os.Environ(), "GIT_PROTOCOL="+s.Protocol)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = s.Stdin, s.Stdout, s.Stderr
		cmd.WaitDelay = time.Second // its copy of Stdin may be blocked in a Read
		cmd.Run()
		return cmd.ProcessState.ExitCode()
	}))
	ssh := sshCommand(t, ln, []string{keyFile(t, "alice", "")})
	t.Setenv("GIT_SSH_COMMAND", strings.Join(ssh.Args, " "))
	clone := filepath.Join(dir, "clone")
	git(t, dir, "clone", "-q", "ssh://git@127.0.0.1/origin.git", clone)
	write(t, filepath.Join(clone, "new"), strings.Repeat("x", 1<<20))
	git(t, clone, "add", ".")
	git(t, clone, "commit", "-qm", "second")
	git(t, clone, "push", "-q", "origin", "HEAD:refs/heads/pushed")
	if got, want := git(t, origin, "rev-parse", "pushed"), git(t, clone, "rev-parse", "HEAD"); got != want {
		t.Errorf("pushed %s, the server has %s", want, got)
	}
	if p := <-protocols; p != "version=2" {
		t.Errorf("the clone used protocol %q", p)
	}
}

func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "HOME="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// newGitRepo makes a bare repository with a commit.
func newGitRepo(t testing.TB, dir, name string) string {
	t.Helper()
	work, bare := filepath.Join(dir, name+"-work"), filepath.Join(dir, name+".git")
	git(t, dir, "init", "-q", work)
	write(t, filepath.Join(work, "file"), "contents\n")
	git(t, work, "add", ".")
	git(t, work, "commit", "-qm", "first")
	git(t, dir, "clone", "-q", "--bare", work, bare)
	return bare
}

func TestSSHGivesNoShell(t *testing.T) {
	ln := listen(t)
	serveSSH(t, ln, sshConfig(t, func(context.Context, server.Session) int { panic("unreachable") }))
	key := []string{keyFile(t, "alice", "")}
	for name, args := range map[string][]string{
		"without a terminal": {"-T", "git@127.0.0.1"},
		"blank command":      {"git@127.0.0.1", " \t"},
	} {
		_, stderr, status := run(t, sshCommand(t, ln, key, args...))
		if !strings.Contains(stderr, "Hi alice, your key works, but holdfast does not give a shell.\n") || status != 1 {
			t.Errorf("%s: %q, status %d", name, stderr, status)
		}
	}
	_, stderr, status := run(t, sshCommand(t, ln, key, "git@127.0.0.1", "git-upload-pack 'a"))
	if !strings.Contains(stderr, "quote without its end") || status != 2 {
		t.Errorf("an open quote: %q, status %d", stderr, status)
	}
	if _, stderr, status := run(t, sshCommand(t, ln, key, "-s", "git@127.0.0.1", "sftp")); !strings.Contains(stderr, "subsystem request failed") || status == 0 {
		t.Errorf("sftp: %q, status %d", stderr, status)
	}
}

func TestSSHSplitsCommands(t *testing.T) {
	ln := listen(t)
	got := make(chan server.Session, 1)
	serveSSH(t, ln, sshConfig(t, func(_ context.Context, s server.Session) int { got <- s; return 0 }))
	client := dialSSH(t, ln)
	for raw, want := range map[string][]string{
		"a":                           {"a"},
		" a  b\tc\n":                  {"a", "b", "c"},
		"git-upload-pack 'a b.git'":   {"git-upload-pack", "a b.git"},
		`git-upload-pack 'it'\''s'\!`: {"git-upload-pack", "it's!"},
		`a "" ''`:                     {"a", "", ""},
		`a "b \" \\ \$ \x"`:           {"a", `b " \ $ \x`},
		`a\ b \\`:                     {"a b", `\`},
		"a 'x'y\"z\"":                 {"a", "xyz"},
		"a; rm $(x) `y` > z && *":     {"a;", "rm", "$(x)", "`y`", ">", "z", "&&", "*"},
		"a \u00e4\xff":                {"a", "\u00e4\xff"},
	} {
		session := must(client.NewSession())
		if err := session.Run(raw); err != nil {
			t.Errorf("%q: %v", raw, err)
			continue
		}
		if s := <-got; !slices.Equal(s.Command, want) || s.Raw != raw {
			t.Errorf("%q: got %q, want %q", raw, s.Command, want)
		}
	}
	for _, raw := range []string{"'", `a "b`, `a\`, "a\x00b"} {
		var exit *ssh.ExitError
		if err := must(client.NewSession()).Run(raw); !errors.As(err, &exit) || exit.ExitStatus() != 2 {
			t.Errorf("%q: %v", raw, err)
		}
	}
	if err := must(client.NewSession()).Run(strings.Repeat("x", 64<<10+1)); err == nil {
		t.Error("a command of more than 64 KiB was run")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Whoever offers somebody's public key, which is no secret, must not become them by proving another one.
func TestSSHOfferedKeyIsNoIdentity(t *testing.T) {
	ln := listen(t)
	serveSSH(t, ln, sshConfig(t, whoami))
	// Without the passphrase, the client can offer the victim's key, but not sign with it.
	victim, alice := keyFile(t, "victim", "unknown"), keyFile(t, "alice", "")
	if stdout, stderr, status := run(t, sshCommand(t, ln, []string{victim, alice}, "git@127.0.0.1", "x")); stdout != "alice" || status != 0 {
		t.Errorf("offered the victim's key, logged in as %q (%q, status %d)", stdout, stderr, status)
	}
	if stdout, _, status := run(t, sshCommand(t, ln, []string{victim}, "git@127.0.0.1", "x")); stdout != "" || status != 255 {
		t.Errorf("with the victim's key alone: logged in as %q, status %d", stdout, status)
	}
}

// forger offers the victim's key and signs with its own.
type forger struct{ ssh.Signer }

func (f forger) PublicKey() ssh.PublicKey {
	return must(ssh.NewSignerFromKey(privateKey("victim"))).PublicKey()
}

func TestSSHRefusesLogins(t *testing.T) {
	ln := listen(t)
	serveSSH(t, ln, sshConfig(t, whoami))
	answer := func(_, _ string, questions []string, _ []bool) ([]string, error) {
		return make([]string, len(questions)), nil
	}
	cert := &ssh.Certificate{Key: signer(t, "alice").PublicKey(), CertType: ssh.UserCert, ValidPrincipals: []string{"git"}, ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(rand.Reader, signer(t, "unknown")); err != nil {
		t.Fatal(err)
	}
	for name, methods := range map[string][]ssh.AuthMethod{
		"nothing":              nil,
		"a password":           {ssh.Password("")},
		"keyboard-interactive": {ssh.KeyboardInteractive(answer)},
		"an unknown key":       {ssh.PublicKeys(signer(t, "unknown"))},
		"a forged signature":   {ssh.PublicKeys(forger{signer(t, "unknown")})},
		"a certificate":        {ssh.PublicKeys(must(ssh.NewCertSigner(cert, signer(t, "alice"))))},
	} {
		client, err := ssh.Dial("tcp", ln.Addr().String(), clientConfig(methods...))
		if err == nil {
			client.Close()
			t.Errorf("%s: logged in", name)
		} else if strings.Contains(err.Error(), "password") || strings.Contains(err.Error(), "keyboard") {
			t.Errorf("%s: more than public keys is offered: %v", name, err)
		}
	}
	_, stderr, _ := run(t, sshCommand(t, ln, nil, "-o", "PubkeyAuthentication=no", "git@127.0.0.1", "x"))
	if !strings.Contains(stderr, "Permission denied (publickey).") {
		t.Errorf("the methods offered: %q", stderr)
	}
}

// A key may be removed between the offer and the proof.
func TestSSHAsksAgainAfterTheProof(t *testing.T) {
	ln := listen(t)
	c := sshConfig(t, whoami)
	known, asked := c.Authenticate, atomic.Int32{}
	c.Authenticate = func(key ssh.PublicKey) (auth.Identity, bool) {
		if asked.Add(1) > 1 {
			return auth.Identity{}, false
		}
		return known(key)
	}
	serveSSH(t, ln, c)
	if client, err := ssh.Dial("tcp", ln.Addr().String(), clientConfig(ssh.PublicKeys(signer(t, "alice")))); err == nil {
		client.Close()
		t.Error("logged in with a key that is gone")
	}
}

func TestSSHRecoversFromPanics(t *testing.T) {
	ln := listen(t)
	c := sshConfig(t, func(_ context.Context, s server.Session) int {
		if s.Command[0] == "panic" {
			panic("in a session")
		}
		return 0
	})
	known := c.Authenticate
	unknown := string(signer(t, "unknown").PublicKey().Marshal())
	c.Authenticate = func(key ssh.PublicKey) (auth.Identity, bool) {
		if string(key.Marshal()) == unknown {
			panic("in a login")
		}
		return known(key)
	}
	serveSSH(t, ln, c)
	if _, err := ssh.Dial("tcp", ln.Addr().String(), clientConfig(ssh.PublicKeys(signer(t, "unknown")))); err == nil {
		t.Error("logged in where the login panics")
	}
	client := dialSSH(t, ln)
	session := must(client.NewSession())
	var stderr bytes.Buffer
	session.Stderr = &stderr
	var exit *ssh.ExitError
	if err := session.Run("panic"); !errors.As(err, &exit) || exit.ExitStatus() != 1 || !strings.Contains(stderr.String(), "internal error") {
		t.Errorf("a session that panics: %v, %q", err, stderr.String())
	}
	if err := must(client.NewSession()).Run("fine"); err != nil {
		t.Errorf("the session after it: %v", err)
	}
}

func TestSSHRefusesAllElse(t *testing.T) {
	ln := listen(t)
	serveSSH(t, ln, sshConfig(t, func(_ context.Context, s server.Session) int {
		fmt.Fprintf(s.Stdout, "%q", s.Protocol)
		return 0
	}))
	client := dialSSH(t, ln)
	for _, name := range []string{"direct-tcpip", "direct-streamlocal@openssh.com", "forwarded-tcpip", "x11", "auth-agent@openssh.com", "tun@openssh.com", ""} {
		if ch, _, err := client.OpenChannel(name, nil); err == nil {
			ch.Close()
			t.Errorf("channel %q was opened", name)
		}
	}
	for _, name := range []string{"tcpip-forward", "streamlocal-forward@openssh.com", "cancel-tcpip-forward", "hostkeys-prove-00@openssh.com"} {
		if ok, _, err := client.SendRequest(name, true, nil); ok || err != nil {
			t.Errorf("request %q: %v, %v", name, ok, err)
		}
	}
	session := must(client.NewSession())
	for _, name := range []string{"pty-req", "x11-req", "auth-agent-req@openssh.com", "subsystem", "window-change", "signal", "break", "exec", ""} {
		if ok, err := session.SendRequest(name, true, nil); ok || err != nil {
			t.Errorf("session request %q: %v, %v", name, ok, err)
		}
	}
	for _, env := range []struct {
		name, value string
		ok          bool
	}{
		{"LD_PRELOAD", "x", false}, {"GIT_DIR", "x", false}, {"git_protocol", "x", false}, {"", "", false},
		{"GIT_PROTOCOL", "a\nb", false}, {"GIT_PROTOCOL", strings.Repeat("x", 257), false}, {"GIT_PROTOCOL", "version=1", true},
	} {
		if err := session.Setenv(env.name, env.value); (err == nil) != env.ok {
			t.Errorf("%s=%q: %v", env.name, env.value, err)
		}
	}
	if out, err := session.Output("x"); string(out) != `"version=1"` || err != nil {
		t.Errorf("Output = %q, %v", out, err)
	}
}

// One command a channel, and requests after it do no harm.
func TestSSHRequestsAfterTheCommand(t *testing.T) {
	ln := listen(t)
	release := make(chan struct{})
	var ran atomic.Int32
	serveSSH(t, ln, sshConfig(t, func(context.Context, server.Session) int { ran.Add(1); <-release; return 0 }))
	client := dialSSH(t, ln)
	ch, reqs, err := client.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(reqs)
	command := ssh.Marshal(struct{ Line string }{"x"})
	for i, want := range []bool{true, false, false} {
		if ok, err := ch.SendRequest("exec", true, command); ok != want || err != nil {
			t.Errorf("command %d: %v, %v", i, ok, err)
		}
	}
	close(release)
	io.Copy(io.Discard, ch) // until the server has closed the channel; we do not
	for range 200 {
		if _, err := ch.SendRequest("window-change", false, nil); err != nil {
			break
		}
	}
	if err := must(client.NewSession()).Run("y"); err != nil {
		t.Errorf("the connection is blocked: %v", err)
	}
	if ran.Load() != 2 {
		t.Errorf("%d commands ran", ran.Load())
	}
}

func TestSSHAlgorithms(t *testing.T) {
	ln := listen(t)
	serveSSH(t, ln, sshConfig(t, whoami))
	for name, set := range map[string]func(*ssh.ClientConfig){
		"SHA-1 key exchange": func(c *ssh.ClientConfig) { c.KeyExchanges = []string{"diffie-hellman-group14-sha1"} },
		"small group":        func(c *ssh.ClientConfig) { c.KeyExchanges = []string{"diffie-hellman-group1-sha1"} },
		"CBC":                func(c *ssh.ClientConfig) { c.Ciphers = []string{"aes128-cbc", "3des-cbc"} },
		"RC4":                func(c *ssh.ClientConfig) { c.Ciphers = []string{"arcfour", "arcfour128"} },
		"SHA-1 MAC": func(c *ssh.ClientConfig) {
			c.Ciphers, c.MACs = []string{"aes128-ctr"}, []string{"hmac-sha1", "hmac-sha1-96"}
		},
		"RSA host key": func(c *ssh.ClientConfig) { c.HostKeyAlgorithms = []string{"ssh-rsa", "rsa-sha2-256"} },
	} {
		c := clientConfig(ssh.PublicKeys(signer(t, "alice")))
		set(c)
		if client, err := ssh.Dial("tcp", ln.Addr().String(), c); err == nil {
			client.Close()
			t.Errorf("%s is taken", name)
		}
	}
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if line, err := bufio.NewReader(conn).ReadString('\n'); line != "SSH-2.0-holdfast\r\n" {
		t.Errorf("the version is %q, %v", line, err)
	}
}

func TestSSHNeedsAnEd25519HostKey(t *testing.T) {
	other := must(ssh.NewSignerFromKey(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))))
	for name, key := range map[string]ssh.Signer{"none": nil, "ECDSA": other} {
		c := sshConfig(t, whoami)
		c.HostKey = key
		if err := server.ServeSSH(t.Context(), newMemListener(), c); err == nil {
			t.Errorf("host key %s: served", name)
		}
	}
}

// closedAfter reads conn to its end and says when that was.
func closedAfter(conn net.Conn) time.Duration {
	start := time.Now()
	io.Copy(io.Discard, conn)
	return time.Since(start)
}

func TestSSHHandshakeTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newMemListener()
		serveSSH(t, ln, sshConfig(t, whoami))
		silent, slow := ln.dial(t, "192.0.2.7"), ln.dial(t, "192.0.2.8")
		go func() {
			io.WriteString(slow, "SSH-2.0-slow\r\n")
			for {
				// A packet of the largest size, a byte at a time.
				if _, err := slow.Write([]byte{0}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		if d := closedAfter(silent); d != 30*time.Second {
			t.Errorf("a silent client was cut off after %v", d)
		}
		if d := closedAfter(slow); d > 30*time.Second {
			t.Errorf("a slow client was cut off after %v", d)
		}
		// A client that stops after the key exchange, before it has logged in.
		c := clientConfig(ssh.PublicKeysCallback(func() ([]ssh.Signer, error) { time.Sleep(time.Minute); return nil, nil }))
		start := time.Now()
		if _, _, _, err := ssh.NewClientConn(ln.dial(t, "192.0.2.7"), "host", c); err == nil || time.Since(start) > time.Minute {
			t.Errorf("a client that does not log in: %v after %v", err, time.Since(start))
		}
	})
}

func TestSSHIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newMemListener()
		serveSSH(t, ln, sshConfig(t, func(ctx context.Context, s server.Session) int {
			switch s.Command[0] {
			case "upload": // a client that sends little and gets nothing
				io.Copy(io.Discard, s.Stdin)
			case "download": // a client that gets little and sends nothing
				for range 10 {
					time.Sleep(9 * time.Minute)
					fmt.Fprint(s.Stdout, ".")
				}
			case "stuck": // a client that takes nothing
				for {
					if _, err := s.Stdout.Write(make([]byte, 1<<20)); err != nil {
						return 1
					}
				}
			default:
				<-ctx.Done()
			}
			return 0
		}))
		start := time.Now()
		session := must(login(t, ln.dial(t, "192.0.2.7"), "alice").NewSession())
		session.Stdin = &slowReader{n: 10, every: 9 * time.Minute}
		if err := session.Run("upload"); err != nil || time.Since(start) < time.Hour {
			t.Errorf("a slow upload: %v after %v", err, time.Since(start))
		}
		if out, err := must(login(t, ln.dial(t, "192.0.2.7"), "alice").NewSession()).Output("download"); err != nil || len(out) != 10 {
			t.Errorf("a slow download: %q, %v", out, err)
		}
		start = time.Now()
		if err := must(login(t, ln.dial(t, "192.0.2.7"), "alice").NewSession()).Run("wait"); err == nil || time.Since(start) != 10*time.Minute {
			t.Errorf("an idle session: %v after %v", err, time.Since(start))
		}
		start = time.Now()
		stuck := must(login(t, ln.dial(t, "192.0.2.7"), "alice").NewSession())
		stuck.StdoutPipe()
		if err := stuck.Start("stuck"); err != nil {
			t.Fatal(err)
		}
		if err := stuck.Wait(); err == nil || time.Since(start) > 11*time.Minute {
			t.Errorf("a stuck client: %v after %v", err, time.Since(start))
		}
		start = time.Now()
		if err := login(t, ln.dial(t, "192.0.2.7"), "alice").Wait(); err == nil || time.Since(start) != 10*time.Minute {
			t.Errorf("a login without a session: %v after %v", err, time.Since(start))
		}
	})
}

// slowReader gives n bytes, one at a time.
type slowReader struct {
	n     int
	every time.Duration
}

func (r *slowReader) Read(p []byte) (int, error) {
	if r.n == 0 {
		return 0, io.EOF
	}
	r.n--
	time.Sleep(r.every)
	p[0] = '.'
	return 1, nil
}

func TestSSHBoundsHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newMemListener()
		c := sshConfig(t, whoami)
		c.MaxHandshakes, c.MaxHandshakesPerAddr = 3, 2
		serveSSH(t, ln, c)
		first := ln.dial(t, "192.0.2.7")
		ln.dial(t, "192.0.2.7")
		third := ln.dial(t, "192.0.2.7")
		if text, _ := io.ReadAll(third); !strings.Contains(string(text), "too many logins at once") {
			t.Errorf("a third from one address: %q", text)
		}
		// Another address is free; then all places are taken.
		other := ln.dial(t, "192.0.2.8")
		if line, err := bufio.NewReader(other).ReadString('\n'); !strings.HasPrefix(line, "SSH-2.0") {
			t.Errorf("from another address: %q, %v", line, err)
		}
		if text, _ := io.ReadAll(ln.dial(t, "192.0.2.9")); !strings.Contains(string(text), "too many logins at once") {
			t.Errorf("a fourth in all: %q", text)
		}
		// Whoever leaves makes room, and so does whoever has logged in.
		first.Close()
		synctest.Wait()
		login(t, ln.dial(t, "192.0.2.7"), "alice")
		login(t, ln.dial(t, "192.0.2.7"), "alice")
	})
}

// The addresses of one IPv6 customer count as one.
func TestSSHCountsIPv6ByNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newMemListener()
		c := sshConfig(t, whoami)
		c.MaxHandshakesPerAddr = 1
		serveSSH(t, ln, c)
		ln.dial(t, "2001:db8::1")
		if text, _ := io.ReadAll(ln.dial(t, "2001:db8::2:3:4:5")); !strings.Contains(string(text), "too many logins") {
			t.Errorf("a neighbour: %q", text)
		}
		login(t, ln.dial(t, "2001:db8:0:1::1"), "alice")
	})
}

func TestSSHBoundsSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newMemListener()
		c := sshConfig(t, func(_ context.Context, s server.Session) int { io.Copy(io.Discard, s.Stdin); return 0 })
		c.MaxSessions, c.MaxSessionsPerAddr, c.MaxSessionsPerConn, c.MaxConnsPerAddr = 4, 3, 2, 2
		serveSSH(t, ln, c)
		one, two := login(t, ln.dial(t, "192.0.2.7"), "alice"), login(t, ln.dial(t, "192.0.2.7"), "alice")
		if _, _, _, err := ssh.NewClientConn(ln.dial(t, "192.0.2.7"), "host", clientConfig(ssh.PublicKeys(signer(t, "alice")))); err == nil {
			t.Error("a third connection from one address logged in")
		}
		open := func(client *ssh.Client, want string) ssh.Channel {
			t.Helper()
			ch, reqs, err := client.OpenChannel("session", nil)
			if got := fmt.Sprint(err); (want == "") != (err == nil) || !strings.Contains(got, want) {
				t.Errorf("OpenChannel: %v, want %q", err, want)
			}
			if err != nil {
				return nil
			}
			go ssh.DiscardRequests(reqs)
			return ch
		}
		first := open(one, "")
		open(one, "")
		open(one, "more than 2 sessions over one connection")
		open(two, "")
		open(two, "too many sessions")
		other := login(t, ln.dial(t, "192.0.2.8"), "alice")
		open(other, "")
		open(other, "too many sessions")
		// A channel that is closed makes room.
		first.Close()
		synctest.Wait()
		open(other, "")
	})
}

func TestSSHSessionEndsWithItsChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newMemListener()
		ended := make(chan error, 2)
		serveSSH(t, ln, sshConfig(t, func(ctx context.Context, s server.Session) int {
			<-ctx.Done()
			ended <- ctx.Err()
			return 0
		}))
		client := login(t, ln.dial(t, "192.0.2.7"), "alice")
		one, two := must(client.NewSession()), must(client.NewSession())
		if err := errors.Join(one.Start("x"), two.Start("x")); err != nil {
			t.Fatal(err)
		}
		one.Close()
		<-ended
		client.Close()
		<-ended
	})
}

func TestSSHDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newMemListener()
		release, left := make(chan struct{}), make(chan bool, 1)
		stop := serveSSH(t, ln, sshConfig(t, func(ctx context.Context, s server.Session) int {
			if s.Command[0] == "stuck" {
				<-ctx.Done()
				left <- true
				return 1
			}
			<-release
			fmt.Fprint(s.Stdout, "finished")
			return 0
		}))
		handshake := ln.dial(t, "192.0.2.9")
		idle := login(t, ln.dial(t, "192.0.2.8"), "alice")
		busy, stuck := login(t, ln.dial(t, "192.0.2.7"), "alice"), login(t, ln.dial(t, "192.0.2.7"), "alice")
		session, hangs := must(busy.NewSession()), must(stuck.NewSession())
		var out bytes.Buffer
		session.Stdout = &out
		if err := errors.Join(session.Start("x"), hangs.Start("stuck")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		stopped := make(chan struct{})
		start := time.Now()
		go func() { stop(); close(stopped) }()
		idle.Wait()
		if d := closedAfter(handshake); d != 0 {
			t.Errorf("a handshake went on for %v", d)
		}
		synctest.Wait()
		if _, err := busy.NewSession(); err == nil || !strings.Contains(err.Error(), "shutting down") {
			t.Errorf("a new session: %v", err)
		}
		close(release)
		if err := session.Wait(); err != nil || out.String() != "finished" {
			t.Errorf("the running session: %q, %v", out.String(), err)
		}
		<-stopped
		if d := time.Since(start); d != 30*time.Second || len(left) != 1 {
			t.Errorf("stopped after %v", d)
		}
	})
}
