package gitproto_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/server/gitproto"
)

// peerEnv makes the test binary act as ssh: it runs the service that git names in its last argument.
const peerEnv = "GITPROTO_TEST_PEER"

func TestMain(m *testing.M) {
	if os.Getenv(peerEnv) != "" {
		if err := sshPeer(os.Args[len(os.Args)-1]); err != nil {
			fmt.Fprintln(os.Stderr, "peer:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// sshPeer serves "git-upload-pack '/path'" on standard input and output.
func sshPeer(command string) error {
	service, path, _ := strings.Cut(command, " ")
	repo, err := openRepo(strings.Trim(path, "'"))
	if err != nil {
		return gitproto.Refuse(os.Stdout, err.Error())
	}
	defer repo.Close()
	o := repo.faults.Options
	o.Version = gitproto.ParseVersion(os.Getenv("GIT_PROTOCOL"))
	if service == "git-upload-pack" {
		return gitproto.UploadPack(context.Background(), os.Stdin, os.Stdout, repo, o)
	}
	return gitproto.ReceivePack(context.Background(), os.Stdin, os.Stdout, pusher{repo}, o)
}

// client is a directory in which the real git runs, without the machine's configuration.
type client struct {
	t    *testing.T
	dir  string
	args []string // before the command
}

func newClient(t *testing.T, dir string, args ...string) *client {
	return &client{t, dir, args}
}

func (c *client) in(dir string) *client { return &client{c.t, filepath.Join(c.dir, dir), c.args} }

// try runs git and returns what it printed.
func (c *client) try(args ...string) (string, error) {
	c.t.Helper()
	return c.run("", args...)
}

func (c *client) run(stdin string, args ...string) (string, error) {
	c.t.Helper()
	cmd := exec.Command("git", append(append([]string{}, c.args...), args...)...)
	cmd.Dir = c.dir
	cmd.Env = gitEnv()
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// git runs git, which must succeed.
func (c *client) git(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err != nil {
		c.t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return out
}

func (c *client) feed(stdin string, args ...string) string {
	c.t.Helper()
	out, err := c.run(stdin, args...)
	if err != nil {
		c.t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return out
}

// fails runs git, which must fail and print each of the texts.
func (c *client) fails(texts []string, args ...string) {
	c.t.Helper()
	out, err := c.try(args...)
	if err == nil {
		c.t.Fatalf("git %q succeeded:\n%s", args, out)
	}
	for _, text := range texts {
		if !strings.Contains(out, text) {
			c.t.Errorf("git %q does not say %q:\n%s", args, text, out)
		}
	}
}

// commit adds one commit that changes file.
func (c *client) commit(file, content string) string {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, file), []byte(content), 0o666); err != nil {
		c.t.Fatal(err)
	}
	c.git("add", ".")
	c.git("commit", "-q", "-m", "change "+file)
	return c.git("rev-parse", "HEAD")
}

func gitEnv() []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C", "GIT_TERMINAL_PROMPT=0",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_TEST_FSYNC=0", "GIT_CONFIG_GLOBAL=" + os.DevNull,
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_AUTHOR_DATE=1700000000 +0000",
		"GIT_COMMITTER_NAME=C", "GIT_COMMITTER_EMAIL=c@example.com", "GIT_COMMITTER_DATE=1700000000 +0000",
		"GIT_SSH_VARIANT=ssh", peerEnv + "=1", "GIT_TRACE_PACKET=" + os.Getenv("GIT_TRACE_PACKET"),
	}
	if exe, err := os.Executable(); err == nil {
		env = append(env, "GIT_SSH_COMMAND="+exe)
	}
	if dir := os.Getenv("GOCOVERDIR"); dir != "" {
		env = append(env, "GOCOVERDIR="+dir)
	}
	return env
}

// plumbing runs git on a bare repository and returns its standard output.
func plumbing(dir, stdin string, args ...string) (string, error) {
	cmd := exec.Command("git", append([]string{"-C", dir}, args...)...)
	cmd.Env = gitEnv()
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("git %s: %w: %s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(out), err
}
