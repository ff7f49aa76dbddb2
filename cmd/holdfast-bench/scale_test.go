//go:build bench && slow

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The tests here put a lot on a host and require that counts are right, that git fsck and holdfast check find nothing, and
// that the server's memory stays within generous bounds. Times are for the table.

// TestMain lets the test's program be the child in which the engine runs alone, as main does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == engineCommand {
		main()
		return
	}
	os.Exit(m.Run())
}

// scaleHost is a running host with one mirror.
func scaleHost(t *testing.T) *host {
	t.Helper()
	b, err := newBench(t.Context(), options{work: t.TempDir(), holdfast: "../../build/bin/holdfast", runs: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.close() })
	h, err := b.newHost("host", 1)
	if err == nil {
		t.Cleanup(h.close)
		err = h.serve()
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestScaleRefs(t *testing.T) {
	const refs = 100_000
	h := scaleHost(t)
	dir, err := h.b.manyRefs(refs)
	if err != nil {
		t.Fatal(err)
	}
	u, err := h.push(dir, "refs")
	bounded(t, "push", u, err, 600e6)
	u, err = h.during(afterFetch, func() error { return h.b.compareClone(h.url("refs"), dir) })
	bounded(t, "clone", u, err, 600e6)
	for prefix, want := range map[string]int{"refs/heads/x": 1, "refs/heads/many/7/": refs / 100, "refs/": refs} {
		if _, n, err := h.uploader("refs").lsRefs(prefix, 1); err != nil || n != want {
			t.Errorf("%d refs begin with %s, want %d: %v", n, prefix, want, err)
		}
	}
	h.check(t)
}

func TestScalePushes(t *testing.T) {
	const pushes = 10_000
	h := scaleHost(t)
	u, err := h.during(afterPush, func() error {
		tip, err := h.smallPushes("pushes", pushes, func(int) error { return nil })
		if err != nil {
			return err
		}
		return h.cloneOf("pushes", func(clone string) error {
			got, err := h.b.git(clone, "rev-parse", "main")
			if err == nil && got != tip.String() {
				err = fmt.Errorf("main is %s, not %s", got, tip)
			}
			if err != nil {
				return err
			}
			count, err := h.b.git(clone, "rev-list", "--count", "main")
			if err == nil && count != fmt.Sprint(pushes) {
				err = fmt.Errorf("%s commits, want %d", count, pushes)
			}
			return err
		})
	})
	bounded(t, "pushes and a clone", u, err, 300e6)
	h.check(t)
}

func TestScaleObjects(t *testing.T) {
	const objects = 1_000_000
	h := scaleHost(t)
	dir, err := h.b.manyObjects(objects)
	if err != nil {
		t.Fatal(err)
	}
	u, err := h.push(dir, "million")
	bounded(t, "push", u, err, 800e6)
	u, f, err := h.cloneAway(dir, "million")
	bounded(t, "clone", u, err, 400e6)
	if f.objects != objects {
		t.Errorf("%d objects in the clone, want %d", f.objects, objects)
	}
	if err := h.b.compareClone(h.url("million"), dir); err != nil {
		t.Error(err)
	}
	h.check(t)
}

func TestScaleFile(t *testing.T) {
	h := scaleHost(t)
	dir, err := h.b.hugeFile(hugeBytes)
	if err != nil {
		t.Fatal(err)
	}
	u, err := h.push(dir, "huge")
	bounded(t, "push", u, err, 300e6)
	u, err = h.during(afterFetch, func() error { return h.b.compareClone(h.url("huge"), dir) })
	bounded(t, "clone", u, err, 200e6)
	h.check(t)
}

// bounded requires that something succeeded with so many bytes of anonymous memory at most.
func bounded(t *testing.T, what string, u usage, err error, anon int64) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %.1f s CPU, %d MB anonymous", what, u.cpu.Seconds(), u.anon/mb)
	if u.anon > anon {
		t.Errorf("%s: the server had %d MB of anonymous memory, more than %d", what, u.anon/mb, anon/mb)
	}
}

// compareClone requires that a mirror clone has the refs of dir and nothing wrong.
func (b *bench) compareClone(url, dir string) error {
	clone := b.path("compared.git")
	defer os.RemoveAll(clone)
	if _, err := b.git(".", "clone", "-q", "--mirror", url, clone); err != nil {
		return err
	}
	want, err := b.refsOf(dir)
	if err != nil {
		return err
	}
	got, err := b.refsOf(clone)
	if err == nil && got != want {
		err = fmt.Errorf("the clone has %d refs, not the %d of %s", strings.Count(got, "\n")+1, strings.Count(want, "\n")+1, dir)
	}
	if err != nil {
		return err
	}
	_, err = b.git(clone, "fsck", "--full", "--strict")
	return err
}

// cloneOf makes a bare clone for a look at it.
func (h *host) cloneOf(repo string, look func(dir string) error) error {
	dir := h.b.path("clone.git")
	defer os.RemoveAll(dir)
	if _, err := h.b.git(".", "clone", "-q", "--bare", h.url(repo), dir); err != nil {
		return err
	}
	if _, err := h.b.git(dir, "fsck", "--full", "--strict"); err != nil {
		return err
	}
	return look(dir)
}

// check stops the server and requires that holdfast check finds nothing, and nothing in quarantine.
func (h *host) check(t *testing.T) {
	t.Helper()
	h.stop()
	if _, err := h.b.run(".", hostSecrets(len(h.mirrors)), h.b.holdfast, "check", "--data", h.data()); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(h.data(), "quarantine", "*")); err != nil || len(left) > 0 {
		t.Errorf("left in quarantine: %q %v", left, err)
	}
}
