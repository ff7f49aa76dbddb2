package svnfs_test

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"holdfast/storage"
	"holdfast/storage/object"
)

// gitCopy makes a git repository of what git clients would see, and returns what runs git in it.
func (w *world) gitCopy() func(args ...string) string {
	w.t.Helper()
	dir := w.t.TempDir()
	git := func(in []byte, args ...string) string {
		w.t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir}, args...)...)
		cmd.Stdin = bytes.NewReader(in)
		out, err := cmd.CombinedOutput()
		if err != nil {
			w.t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git(nil, "init", "-q", "--bare")
	refs, err := w.repo.Refs("", "", 0)
	if err != nil {
		w.t.Fatal(err)
	}
	var wants []object.ID
	for _, r := range refs {
		if !strings.HasPrefix(r.Name, "refs/svn/") {
			wants = append(wants, r.ID)
		}
	}
	var pack bytes.Buffer
	if _, err := w.repo.WritePack(context.Background(), &pack, storage.Selection{Wants: wants}, nil); err != nil {
		w.t.Fatal(err)
	}
	git(pack.Bytes(), "index-pack", "--stdin", "--strict")
	for _, r := range refs {
		if !strings.HasPrefix(r.Name, "refs/svn/") {
			git(nil, "update-ref", r.Name, r.ID.String())
		}
	}
	git(nil, "fsck", "--full", "--strict")
	return func(args ...string) string { return git(nil, args...) }
}

func TestView(t *testing.T) {
	w := newWorld(t)
	w.commit("mkdir /trunk", "mkdir /branches", "mkdir /tags")
	w.commit("put /trunk/a one", "mkdir /trunk/empty", "mkdir /trunk/d", "put /trunk/d/run #!/bin/sh", "set /trunk/d/run svn:executable *",
		"put /trunk/link link d/run", "set /trunk/link svn:special *", "put /trunk/.git evil", "put /trunk/.gitmodules [submodule \"x\"]\n\turl = --upload-pack=evil\n")
	w.commit("put /trunk/d/b two")
	w.commit("cp 3 /trunk /tags/1.0")
	w.commit("cp 2 /trunk /branches/old")
	w.commit("cp 3 /trunk /branches/x", "put /branches/x/a on x")
	w.commit("put /trunk/a three", "put /branches/x/c three")
	w.commit("set /trunk color blue")
	w.commit("cp 8 /trunk/d /trunk/e", "rm /trunk/d")
	w.commit("rm /branches/x")
	w.commit("rm /trunk", "mkdir /trunk", "put /trunk/new 1")
	w.commit("cp 7 /branches/x /branches/a b~")
	git := w.gitCopy()
	graph := func(ref string) string { return git("log", "--format=%b%P", "--reverse", ref) }
	if got := git("for-each-ref", "--format=%(refname)"); got != "refs/heads/a%20b%7E\nrefs/heads/old\nrefs/heads/trunk\nrefs/tags/1.0" {
		t.Error(got)
	}
	if git("rev-parse", "refs/tags/1.0") != git("rev-parse", "refs/heads/a%20b%7E~2") {
		t.Error("an unchanged copy is not the source's commit, or a branch does not begin at its source")
	}
	if got := strings.Count(graph("trunk"), "svn-revision"); got != 1 {
		t.Errorf("a trunk that was made anew has %d commits", got)
	}
	if got := git("ls-tree", "-r", "--format=%(objectmode) %(path)", "refs/tags/1.0"); got != "100644 a\n100644 d/b\n100755 d/run\n120000 link" {
		t.Error(got)
	}
	if got := git("log", "-1", "--format=%an <%ae> %ad%n%s", "--date=iso-strict-local", "refs/heads/a%20b%7E"); !strings.HasPrefix(got,
		"alice <alice@"+w.fs.UUID()+"> 2026-01-02T03:04") || !strings.HasSuffix(got, "put /trunk/a three; put /branches/x/c three") {
		t.Error(got)
	}
	if got := git("cat-file", "blob", "refs/heads/a%20b%7E:a"); got != "on x" {
		t.Error(got)
	}
	report, err := w.store.Check(context.Background(), nil)
	if err != nil || len(report.Problems) > 0 {
		t.Error(report, err)
	}
}

// TestViewIsRemembered loses the index and goes on: ids stay, and branches go on from where they were.
func TestViewIsRemembered(t *testing.T) {
	run := func(lose bool) string {
		w := newWorld(t)
		w.commit("put /f 1")
		w.commit("mkdir /trunk", "mkdir /branches", "put /trunk/f 1")
		w.commit("cp 2 /trunk /branches/x", "put /branches/x/f 2")
		if lose {
			w.loseIndex()
		}
		w.commit("put /branches/x/f 3")
		w.commit("cp 3 /branches/x /branches/y", "put /branches/y/f 4")
		return w.gitCopy()("for-each-ref", "--format=%(objectname) %(refname)")
	}
	if a, b := run(false), run(true); a != b {
		t.Errorf("%s\nbut with a lost index\n%s", a, b)
	}
}

// TestViewMakesNoDifference compares trees that were made step by step with those made at once.
func TestViewMakesNoDifference(t *testing.T) {
	w := newWorld(t)
	var edits []string
	for i := range 1500 {
		edits = append(edits, fmt.Sprintf("put /f%d %d", i, i))
	}
	w.commit(append(edits, "mkdir /d", "put /d/x 1")...)
	w.commit("put /f7 new", "rm /f8", "put /d/y 1")
	w.commit("rm /d/x", "rm /d/y")
	v := newWorld(t)
	edits = replaced(edits, "put /f7 7", "put /f7 new", "put /f8 8", "")
	v.commit(append(edits, "mkdir /d")...)
	if a, b := w.gitCopy()("rev-parse", "trunk^{tree}"), v.gitCopy()("rev-parse", "trunk^{tree}"); a != b {
		t.Errorf("%s, %s", a, b)
	}
}

// replaced replaces strings in pairs; "" takes one out.
func replaced(list []string, pairs ...string) (out []string) {
	for _, s := range list {
		for i := 0; i < len(pairs); i += 2 {
			if s == pairs[i] {
				s = pairs[i+1]
			}
		}
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}
