package storage_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/storage"
	"holdfast/storage/object"
)

// git is a repository of git's own, where tests make commits and packs.
type git struct {
	t    testing.TB
	dir  string
	date string // of commits
}

func newGit(t testing.TB, args ...string) *git {
	t.Helper()
	g := &git{t: t, dir: t.TempDir(), date: "2020-01-01T00:00:00Z"}
	g.run(nil, append([]string{"init", "-q", "-b", "main"}, args...)...)
	return g
}

// run runs git and returns what it printed.
func (g *git) run(stdin []byte, args ...string) []byte {
	g.t.Helper()
	out, err := g.try(stdin, args...)
	if err != nil {
		g.t.Fatalf("git %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func (g *git) try(stdin []byte, args ...string) ([]byte, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir = g.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org",
		"GIT_AUTHOR_DATE="+g.date, "GIT_COMMITTER_DATE="+g.date)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = &exec.Error{Name: "git", Err: &gitError{err, stderr.String()}}
	}
	return out, err
}

type gitError struct {
	error
	stderr string
}

func (e *gitError) Error() string { return e.error.Error() + ": " + e.stderr }

func (g *git) id(out []byte) object.ID {
	g.t.Helper()
	id, err := object.ParseID(strings.TrimSpace(string(out)))
	if err != nil {
		g.t.Fatal(err)
	}
	return id
}

func (g *git) revParse(rev string) object.ID { g.t.Helper(); return g.id(g.run(nil, "rev-parse", rev)) }

// commit makes a commit on the current branch with these files added or changed.
func (g *git) commit(message string, files map[string]string) object.ID {
	g.t.Helper()
	for name, content := range files {
		path := filepath.Join(g.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			g.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
			g.t.Fatal(err)
		}
	}
	g.run(nil, "add", ".")
	g.run(nil, "commit", "-q", "--allow-empty", "-m", message)
	return g.revParse("HEAD")
}

// pack returns a pack of all that tip leads to.
func (g *git) pack(tips ...object.ID) []byte { return g.packObjects(tips, nil) }

// thinPack returns what a push would send: the objects of tip without those of have, deltified against them.
func (g *git) thinPack(tip object.ID, have ...object.ID) []byte {
	return g.packObjects([]object.ID{tip}, have, "--thin")
}

func (g *git) packObjects(wants, haves []object.ID, args ...string) []byte {
	g.t.Helper()
	var in strings.Builder
	for _, id := range wants {
		in.WriteString(id.String() + "\n")
	}
	for _, id := range haves {
		in.WriteString("^" + id.String() + "\n")
	}
	args = append([]string{"pack-objects", "--revs", "--stdout", "-q", "--delta-base-offset"}, args...)
	return g.run([]byte(in.String()), args...)
}

func open(t testing.TB, dir string, o storage.Options) *storage.Store {
	t.Helper()
	s, err := storage.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func create(t testing.TB, s *storage.Store) *storage.Repo {
	t.Helper()
	repo, err := s.Create(storage.NewRepoID(), storage.RepoInit{SCM: storage.Git, Format: object.SHA1, Head: "refs/heads/main"})
	if err != nil {
		t.Fatal(err)
	}
	return repo
}

var testTime = time.Date(2024, 5, 6, 7, 8, 9, 123456789, time.UTC)

func meta() storage.Meta { return storage.Meta{Actor: "alice", Time: testTime} }

// tryPush commits one push.
func tryPush(repo *storage.Repo, pack []byte, updates ...storage.RefUpdate) (storage.Entry, error) {
	txn, err := repo.Begin(meta())
	if err != nil {
		return storage.Entry{}, err
	}
	defer txn.Discard()
	if pack != nil {
		if err := txn.ReadPack(context.Background(), bytes.NewReader(pack)); err != nil {
			return storage.Entry{}, err
		}
	}
	for _, u := range updates {
		txn.Update(u)
	}
	if err := txn.Prepare(); err != nil {
		return storage.Entry{}, err
	}
	entries, err := repo.Store().Commit(txn)
	if err != nil {
		return storage.Entry{}, err
	}
	return entries[0], nil
}

func push(t testing.TB, repo *storage.Repo, pack []byte, updates ...storage.RefUpdate) storage.Entry {
	t.Helper()
	e, err := tryPush(repo, pack, updates...)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// writePack returns the pack of a selection.
func writePack(t testing.TB, repo *storage.Repo, sel storage.Selection) []byte {
	t.Helper()
	var buf bytes.Buffer
	if _, err := repo.WritePack(context.Background(), &buf, sel, nil); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// cloneAndCompare gives git the pack of a clone and lets it judge.
func cloneAndCompare(t testing.TB, want *git, repo *storage.Repo, tip object.ID) {
	t.Helper()
	clone := newGit(t)
	clone.run(writePack(t, repo, storage.Selection{Wants: []object.ID{tip}}), "index-pack", "--stdin", "--strict")
	clone.run(nil, "update-ref", "refs/heads/main", tip.String())
	clone.run(nil, "fsck", "--full", "--strict")
	list := func(g *git) string { return string(g.run(nil, "rev-list", "--objects", tip.String())) }
	if a, b := list(want), list(clone); a != b {
		t.Fatalf("the clone has other objects:\n%s\nwant:\n%s", b, a)
	}
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func wantEmpty(t testing.TB, dir ...string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir...))
	if err != nil || len(entries) > 0 {
		t.Errorf("%s holds %v (%v), want nothing", filepath.Join(dir...), entries, err)
	}
}

func bytesOf(t testing.TB, path string) ([]byte, error) {
	t.Helper()
	return os.ReadFile(path)
}

func newBufio(data []byte) *bufio.Reader { return bufio.NewReaderSize(bytes.NewReader(data), 16) }
