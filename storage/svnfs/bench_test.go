package svnfs_test

import (
	"context"
	"fmt"
	"testing"

	"holdfast/storage"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// BenchmarkCommit commits one file, five directories deep, into a tree of some size; no fsyncs. The view is part of it.
func BenchmarkCommit(b *testing.B) {
	w := newWorld(b)
	edits := []string{"mkdir /trunk", "mkdir /trunk/a", "mkdir /trunk/a/b", "mkdir /trunk/a/b/c"}
	for i := range 200 {
		edits = append(edits, fmt.Sprintf("put /trunk/a/b/c/f%d text %d", i, i), fmt.Sprintf("put /trunk/a/f%d text %d", i, i))
	}
	w.commit(edits...)
	for i := 0; b.Loop(); i++ {
		w.commit(fmt.Sprintf("put /trunk/a/b/c/f%d another text %d", i%200, i))
	}
}

// BenchmarkRead reads a file by its path from revisions at random.
func BenchmarkRead(b *testing.B) {
	w := newWorld(b)
	w.commit("mkdir /trunk", "mkdir /trunk/a", "put /trunk/a/f 0")
	for i := range 300 {
		w.commit(fmt.Sprintf("put /trunk/a/f %d", i))
	}
	for i := 0; b.Loop(); i++ {
		rev := svn.Revnum(1 + i*37%300)
		if got := text(b, w.node(rev, "/trunk/a/f")); got == "" {
			b.Fatal("no text")
		}
	}
}

// BenchmarkOpen opens a repository of 300 revisions, whose index is up to date.
func BenchmarkOpen(b *testing.B) {
	w := newWorld(b)
	for i := range 300 {
		w.commit(fmt.Sprintf("put /f %d", i))
	}
	w.release()
	w.reg.Close()
	for b.Loop() {
		w.openFS()
		w.release()
		w.reg.Close()
	}
	var report storage.CheckReport
	w.openFS()
	if err := svnfs.Check(context.Background(), w.store, w.reg.Open, &report); err != nil || len(report.Problems) > 0 {
		b.Fatal(err, report.Problems)
	}
}

// BenchmarkDelete deletes all of a directory's 20,000 directories, one by one, and commits.
func BenchmarkDelete(b *testing.B) {
	w := newWorld(b)
	var add, remove []string
	for i := range 20_000 {
		add, remove = append(add, fmt.Sprintf("mkdir /d%d", i)), append(remove, fmt.Sprintf("rm /d%d", i))
	}
	for b.Loop() {
		b.StopTimer()
		w.commit(add...)
		b.StartTimer()
		w.commit(remove...)
	}
}
