//go:build bench

package main

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"holdfast/server/gitproto"
	"holdfast/storage/object"
	"holdfast/storage/pack"
)

// What follows makes repositories of a given size and puts them on a host.

// fastImport makes a bare repository below the work directory from what write feeds to git fast-import. One that is there
// from an earlier run is kept.
func (b *bench) fastImport(name string, write func(w *bufio.Writer)) (dir string, err error) {
	dir = b.path(name)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	making := dir + ".part"
	if err := os.RemoveAll(making); err != nil {
		return "", err
	}
	if _, err := b.git(".", "init", "-q", "--bare", "-b", "main", making); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(b.ctx, "git", "-c", "pack.compression=0", "-c", "core.bigFileThreshold=1m", "fast-import", "--quiet")
	cmd.Dir, cmd.Env = making, b.env()
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	_, err = measure(cmd, func() error {
		w := bufio.NewWriterSize(in, 1<<20)
		write(w)
		return errors.Join(w.Flush(), in.Close())
	})
	if err != nil {
		return "", err
	}
	return dir, os.Rename(making, dir)
}

// importCommit writes a commit's header for fast-import.
func importCommit(w *bufio.Writer, n int) {
	message := fmt.Sprint("commit ", n)
	fmt.Fprintf(w, "commit refs/heads/main\ncommitter a <a@example.org> %d +0000\ndata %d\n%s\n", 1_600_000_000+n, len(message), message)
}

// manyObjects makes a repository of n objects, a multiple of 1000: commits of 996 new files in a directory of their own.
func (b *bench) manyObjects(n int) (dir string, err error) {
	const perCommit = 1000 // the commit, its three trees and the files
	return b.fastImport(fmt.Sprintf("objects-%d.git", n), func(w *bufio.Writer) {
		for i := range n / perCommit {
			importCommit(w, i)
			for j := range perCommit - 4 {
				text := fmt.Sprintf("file %d of commit %d\n", j, i)
				fmt.Fprintf(w, "M 100644 inline all/%d/%d\ndata %d\n%s\n", i, j, len(text), text)
			}
		}
	})
}

// hugeFile makes a repository of one commit with one file that does not compress.
func (b *bench) hugeFile(size int64) (dir string, err error) {
	return b.fastImport(fmt.Sprintf("huge-%d.git", size), func(w *bufio.Writer) {
		importCommit(w, 0)
		fmt.Fprintf(w, "M 100644 inline huge\ndata %d\n", size)
		block, err := aes.NewCipher(make([]byte, 16))
		if err != nil {
			panic(err) // the key's length is right
		}
		noise, buf := cipher.NewCTR(block, make([]byte, 16)), make([]byte, 1<<20)
		for left := size; left > 0; left -= int64(len(buf)) {
			clear(buf)
			noise.XORKeyStream(buf, buf)
			w.Write(buf[:min(left, int64(len(buf)))])
		}
		w.WriteString("\n")
	})
}

// manyRefs makes a repository with n refs on one commit: refs/heads/x, and the others below refs/heads/many.
func (b *bench) manyRefs(n int) (dir string, err error) {
	return b.fastImport(fmt.Sprintf("refs-%d.git", n), func(w *bufio.Writer) {
		importCommit(w, 0)
		w.WriteString("M 100644 inline file\ndata 1\nx\n")
		w.WriteString("reset refs/heads/x\nfrom refs/heads/main\n\n")
		for i := range n - 2 {
			fmt.Fprintf(w, "reset refs/heads/many/%d/%d\nfrom refs/heads/main\n\n", i%100, i)
		}
	})
}

// gitCopy makes a copy of a repository for git to serve: one pack with bitmaps, and a commit graph.
func (b *bench) gitCopy(dir string) (string, error) {
	name := strings.TrimSuffix(filepath.Base(dir), ".git") + "-bitmap.git"
	to := b.path(name)
	if _, err := os.Stat(to); err == nil {
		return to, nil
	}
	making := to + ".part"
	if err := os.RemoveAll(making); err != nil {
		return "", err
	}
	for _, args := range [][]string{
		{"clone", "-q", "--mirror", "--no-hardlinks", dir, making},
		{"-C", making, "repack", "-qadb"},
		{"-C", making, "commit-graph", "write", "--reachable", "--no-progress"},
		{"-C", making, "pack-refs", "--all"},
		{"-C", making, "config", "uploadpack.allowFilter", "true"},
	} {
		if _, err := b.git(".", args...); err != nil {
			return "", err
		}
	}
	return to, os.Rename(making, to)
}

// push puts branches and tags of a repository on a running host, unless they are there.
func (h *host) push(dir, repo string) (usage, error) {
	return h.during(afterPush, func() error {
		_, err := h.b.git(dir, "push", "-q", h.url(repo), "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
		return err
	})
}

// smallPushes pushes n commits to a new repository, one after another over one connection. Each is one file's change, as
// git would send it; git itself would take most of the time. After each push it calls pushed.
func (h *host) smallPushes(repo string, n int, pushed func(i int) error) (tip object.ID, err error) {
	client, err := h.dial()
	if err != nil {
		return object.ID{}, err
	}
	defer client.Close()
	for i := range n {
		data, next, err := smallCommit(i, tip)
		if err != nil {
			return tip, err
		}
		if err := pushOver(client, repo, tip, next, data); err != nil {
			return tip, fmt.Errorf("push %d: %w", i, err)
		}
		tip = next
		if err := pushed(i); err != nil {
			return tip, err
		}
	}
	return tip, nil
}

// dial logs in over SSH.
func (h *host) dial() (*ssh.Client, error) {
	data, err := os.ReadFile(h.b.key)
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParsePrivateKey(data)
	if err != nil {
		return nil, err
	}
	return ssh.Dial("tcp", h.server.addrs["ssh"], &ssh.ClientConfig{
		User: "git", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), // we started that server
	})
}

// smallCommit is a pack of one commit with one file, and its id.
func smallCommit(i int, parent object.ID) (data []byte, tip object.ID, err error) {
	blob := []byte(strconv.Itoa(i) + "\n")
	tree := append([]byte("100644 file\x00"), object.HashObject(object.SHA1, object.Blob, blob).Bytes()...)
	var commit bytes.Buffer
	fmt.Fprintf(&commit, "tree %s\n", object.HashObject(object.SHA1, object.Tree, tree))
	if !parent.IsZero() {
		fmt.Fprintf(&commit, "parent %s\n", parent)
	}
	who := fmt.Sprintf("a <a@example.org> %d +0000", 1_600_000_000+i)
	fmt.Fprintf(&commit, "author %s\ncommitter %s\n\ncommit %d\n", who, who, i)

	var buf bytes.Buffer
	w := pack.NewWriter(&buf, object.SHA1, 3)
	err = errors.Join(w.WriteObject(object.Commit, commit.Bytes()), w.WriteObject(object.Tree, tree),
		w.WriteObject(object.Blob, blob), w.Close())
	return buf.Bytes(), object.HashObject(object.SHA1, object.Commit, commit.Bytes()), err
}

// pushOver moves refs/heads/main in a session of its own.
func pushOver(client *ssh.Client, repo string, from, to object.ID, pack []byte) error {
	sess, err := client.NewSession()
	if err != nil {
		return err
	}
	defer sess.Close()
	in, err := sess.StdinPipe()
	if err != nil {
		return err
	}
	out, err := sess.StdoutPipe()
	if err != nil {
		return err
	}
	if err := sess.Start("git-receive-pack '" + repo + ".git'"); err != nil {
		return err
	}
	r := gitproto.NewReader(out)
	if _, err := answer(r); err != nil {
		return err
	}
	old := from.String()
	if from.IsZero() {
		old = strings.Repeat("0", 40)
	}
	w := gitproto.NewWriter(in)
	w.Packet([]byte(old + " " + to.String() + " refs/heads/main\x00report-status"))
	w.Special(gitproto.Flush)
	if err := w.Flush(); err != nil {
		return err
	}
	if _, err := in.Write(pack); err != nil {
		return err
	}
	return report(r)
}

// report reads what became of a push of one ref.
func report(r *gitproto.Reader) error {
	var lines []string
	for {
		kind, line, err := r.Next()
		if err != nil {
			return fmt.Errorf("no report came: %w", err)
		}
		if kind == gitproto.Flush {
			break
		}
		lines = append(lines, strings.TrimSpace(string(line)))
	}
	if len(lines) != 2 || lines[0] != "unpack ok" || lines[1] != "ok refs/heads/main" {
		return fmt.Errorf("refused: %q", lines)
	}
	return nil
}

// uploader is an uploader of a running host: the client's ssh.
func (h *host) uploader(repo string) uploader {
	host, port, _ := strings.Cut(h.server.addrs["ssh"], ":")
	args := append(h.b.sshOptions(), "-o", "SendEnv=GIT_PROTOCOL", "-p", port, "git@"+host, "git-upload-pack '"+repo+".git'")
	return func() *exec.Cmd { return exec.CommandContext(h.b.ctx, "ssh", args...) }
}
