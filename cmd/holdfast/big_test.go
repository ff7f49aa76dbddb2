//go:build slow

package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	bigRepo = flag.String("big", "", "path of a bare repository for TestBig, such as a clone of git's own")
	bigAcks = flag.Int("acks", 3, "acks that TestBig's host asks for: any 4-acks mirrors then bring all back")
)

// TestBig pushes a real repository, clones it every way, and restores it from every set of mirrors that suffices, after
// the host's disk and all other mirrors are gone. Refs, object sets and git fsck must agree each time.
func TestBig(t *testing.T) {
	if *bigRepo == "" {
		t.Skip("needs -big REPOSITORY")
	}
	h := newHostAcks(t, 3, *bigAcks)
	h.serve()
	h.timed("push", func() {
		h.git(*bigRepo, "push", "-q", h.url("big"), "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
	})
	want := h.contents(*bigRepo)
	t.Logf("pushed %d refs, %d objects", strings.Count(want.refs, "\n"), strings.Count(want.objects, "\n"))

	token := h.holdfast("user", "token", "create", "root")
	for name, url := range map[string]string{"ssh": h.url("big"), "http": "http://root:" + token + "@" + h.server.http + "/big.git"} {
		for _, version := range []string{"0", "2"} {
			h.compareClone(name+" v"+version, url, version, want)
		}
	}
	h.holdfast("check")
	h.server.stop()

	for _, kept := range subsets(len(h.mirrors), len(h.mirrors)+1-*bigAcks) {
		h.restoreFrom(kept, want)
	}
}

// subsets returns all sets of k numbers below n.
func subsets(n, k int) (all [][]int) {
	for bits := range 1 << n {
		var set []int
		for i := range n {
			if bits>>i&1 == 1 {
				set = append(set, i)
			}
		}
		if len(set) == k {
			all = append(all, set)
		}
	}
	return all
}

// restoreFrom restores from the kept mirrors while the host's disk and the other mirrors are gone.
func (h *host3) restoreFrom(kept []int, want contents) {
	h.t.Helper()
	gone := []string{h.data}
	for i, m := range h.mirrors {
		if !strings.Contains(fmt.Sprint(kept), fmt.Sprint(i)) {
			m.stop()
			gone = append(gone, m.dir)
		}
	}
	for _, dir := range gone {
		if err := os.Rename(dir, dir+".gone"); err != nil {
			h.t.Fatal(err)
		}
	}
	name := fmt.Sprintf("restored%v", kept)
	dir := filepath.Join(h.dir, "restored")
	h.timed(name, func() { h.run(h.env(), h.bin, "restore", "--kit", h.kit, "--data", dir) })
	h.run(h.env(), h.bin, "check", "--data", dir)
	restored := h.serveDir(dir)
	h.compareClone(name, "ssh://git@"+restored.addr+"/big.git", "2", want)
	restored.stop()
	if err := os.RemoveAll(dir); err != nil {
		h.t.Fatal(err)
	}
	for _, dir := range gone {
		if err := os.Rename(dir+".gone", dir); err != nil {
			h.t.Fatal(err)
		}
	}
	for i, m := range h.mirrors {
		if m.stopped() {
			h.mirrors[i] = h.startMirror(i, m.addr)
		}
	}
}

// contents is what a repository holds, to compare.
type contents struct{ refs, objects string }

func (h *host3) contents(dir string) contents {
	h.t.Helper()
	return contents{
		refs:    h.git(dir, "for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags"),
		objects: h.git(dir, "cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype) %(objectsize)"),
	}
}

func (h *host3) compareClone(what, url, version string, want contents) {
	h.t.Helper()
	dir := filepath.Join(h.dir, "clone.git")
	h.timed("clone "+what, func() { h.git(".", "-c", "protocol.version="+version, "clone", "-q", "--mirror", url, dir) })
	h.git(dir, "fsck", "--full")
	if got := h.contents(dir); got != want {
		h.t.Errorf("%s: the clone differs from what was pushed: %d and %d refs, %d and %d objects", what,
			strings.Count(got.refs, "\n"), strings.Count(want.refs, "\n"), strings.Count(got.objects, "\n"), strings.Count(want.objects, "\n"))
	}
	if err := os.RemoveAll(dir); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host3) timed(what string, f func()) {
	h.t.Helper()
	start := time.Now()
	f()
	h.t.Logf("%s: %.1f s", what, time.Since(start).Seconds())
}
