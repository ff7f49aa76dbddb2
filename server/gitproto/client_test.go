package gitproto_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"holdfast/server/gitproto"
)

// world is a directory with a bare repository, served over one transport, and a place for clients.
type world struct {
	*client
	bare string // the served repository
	url  string
}

// server returns a client inside the served repository, past the protocol.
func (w *world) server() *client { return newClient(w.t, w.bare) }

// eachWay runs a test over every transport and protocol version.
func eachWay(t *testing.T, test func(t *testing.T, w *world)) {
	for _, transport := range []string{"ssh", "http"} {
		for version := range 3 {
			t.Run(fmt.Sprintf("%s v%d", transport, version), func(t *testing.T) {
				t.Parallel()
				test(t, newWorld(t, transport, version))
			})
		}
	}
}

func newWorld(t *testing.T, transport string, version int, initArgs ...string) *world {
	t.Helper()
	root := t.TempDir()
	w := &world{
		client: newClient(t, root, "-c", "protocol.version="+strconv.Itoa(version), "-c", "init.defaultBranch=main",
			"-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "advice.detachedHead=false"),
		bare: filepath.Join(root, "served.git"),
	}
	w.git(append([]string{"init", "-q", "--bare", "--initial-branch=trunk", w.bare}, initArgs...)...)
	if transport == "http" {
		w.url = httpServer(t, root).URL + "/served.git"
	} else {
		w.url = "ssh://host" + w.bare
	}
	return w
}

// seed fills the served repository with a few commits, branches and tags, past the protocol.
func (w *world) seed() *client {
	w.t.Helper()
	w.git("init", "-q", "--initial-branch=trunk", "seed")
	s := w.in("seed")
	for i := range 3 {
		s.commit("file", strings.Repeat(fmt.Sprintf("line %d\n", i), 100*(i+1)))
	}
	s.git("branch", "side", "HEAD~1")
	s.git("tag", "-a", "-m", "annotated", "v1", "HEAD~1")
	s.git("tag", "light")
	s.git("tag", "-a", "-m", "nested", "v2", "v1")
	s.git("push", "-q", w.bare, "trunk", "side", "v1", "light")
	return s
}

func (w *world) sameRefs(dir string) {
	w.t.Helper()
	want := w.server().git("for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags")
	got := w.in(dir).git("for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags")
	if got != want {
		w.t.Errorf("refs differ:\ngot\n%s\nwant\n%s", got, want)
	}
	w.in(dir).git("fsck", "--full", "--strict")
}

func TestClone(t *testing.T) {
	eachWay(t, func(t *testing.T, w *world) {
		w.seed()
		if out := w.git("clone", "--progress", w.url, "work"); !strings.Contains(out, "remote: packing for") {
			t.Errorf("no progress shown:\n%s", out)
		}
		work := w.in("work")
		if head := work.git("symbolic-ref", "HEAD"); head != "refs/heads/trunk" {
			t.Errorf("HEAD is %s", head)
		}
		work.git("fsck", "--full")
		w.git("clone", "-q", "--mirror", w.url, "mirror")
		w.sameRefs("mirror")
		if out := w.git("ls-remote", w.url); out != w.git("ls-remote", w.bare) {
			t.Errorf("ls-remote:\n%s", out)
		}
	})
}

func TestFetch(t *testing.T) {
	eachWay(t, func(t *testing.T, w *world) {
		seed := w.seed()
		w.git("clone", "-q", w.url, "work")
		work := w.in("work")
		if out := work.git("fetch"); out != "" {
			t.Errorf("a fetch of nothing says %q", out)
		}
		seed.commit("file", "new content\n")
		seed.git("tag", "-a", "-m", "followed", "v3")
		seed.git("push", "-q", w.bare, "trunk", "v3", "v2")
		out := work.git("fetch", "--progress")
		if !strings.Contains(out, "remote: packing for") {
			t.Errorf("no progress shown:\n%s", out)
		}
		if strings.Contains(out, "0 haves") {
			t.Errorf("nothing was negotiated:\n%s", out)
		}
		if work.git("rev-parse", "v3", "origin/trunk") != seed.git("rev-parse", "v3", "trunk") {
			t.Error("the fetch missed something")
		}
		work.git("fsck", "--full")
	})
}

// TestFetchDiverged makes the client offer many commits that the server lacks before it comes to a common one.
func TestFetchDiverged(t *testing.T) {
	eachWay(t, func(t *testing.T, w *world) {
		seed := w.seed()
		w.git("clone", "-q", w.url, "work")
		work := w.in("work")
		var script strings.Builder
		for i := range 400 {
			fmt.Fprintf(&script, "commit refs/heads/trunk\ncommitter C <c@x> %d +0000\ndata 1\nx\n", 1700000100+i)
			if i == 0 {
				fmt.Fprintln(&script, "from refs/heads/trunk^0")
			}
			fmt.Fprintf(&script, "M 100644 inline f\ndata 4\n%04d\n", i)
		}
		work.feed(script.String(), "fast-import", "--quiet", "--force")
		seed.commit("file", "diverged\n")
		seed.git("push", "-q", w.bare, "trunk")
		if out := work.git("fetch", "--progress"); strings.Contains(out, " 0 haves") {
			t.Errorf("nothing was negotiated:\n%s", out)
		}
		work.git("fsck", "--full")
		work.git("-c", "push.negotiate=true", "push", "-q", "--force", "origin", "trunk")
		w.server().git("fsck", "--full")
	})
}

func TestEmptyRepository(t *testing.T) {
	eachWay(t, func(t *testing.T, w *world) {
		w.git("clone", "-q", w.url, "work")
		work := w.in("work")
		head := work.git("symbolic-ref", "HEAD")
		if strings.HasSuffix(t.Name(), "v2") && head != "refs/heads/trunk" {
			t.Errorf("the unborn HEAD is %s", head)
		}
		work.git("checkout", "-q", "-B", "trunk")
		work.commit("file", "first\n")
		work.git("push", "-q", "origin", "trunk")
		w.server().git("fsck", "--full")
		if work.git("rev-parse", "trunk") != w.server().git("rev-parse", "trunk") {
			t.Error("the push did not arrive")
		}
		if out := work.git("push", "origin", "trunk"); out != "Everything up-to-date" {
			t.Errorf("a second push says %q", out)
		}
	})
}

func TestPush(t *testing.T) {
	eachWay(t, func(t *testing.T, w *world) {
		w.seed()
		setFaults(t, w.bare, faults{Print: "holdfast: #1 aws 84 ms", RejectRef: "refs/heads/locked"})
		w.git("clone", "-q", w.url, "work")
		work := w.in("work")
		work.commit("file", "more\n")
		if out := work.git("push", "origin", "trunk"); !strings.Contains(out, "remote: holdfast: #1 aws 84 ms") {
			t.Errorf("the message is missing:\n%s", out)
		}
		work.git("commit", "-q", "--amend", "-m", "other")
		work.fails([]string{"non-fast-forward"}, "push", "origin", "trunk")
		work.git("push", "-q", "--force", "origin", "trunk")
		work.git("tag", "-a", "-m", "x", "v9")
		work.git("push", "-q", "origin", "v9", "trunk:refs/heads/a", "trunk:refs/heads/b")
		work.git("push", "-q", "origin", ":a", "trunk~1:refs/heads/c")
		work.git("push", "-q", "origin", "--delete", "b", "side")
		work.git("fetch", "-q", "--prune")

		work.fails([]string{"trunk -> locked (protected branch)", "trunk -> d"},
			"push", "origin", "trunk:locked", "trunk:refs/heads/d")
		work.fails([]string{"atomic transaction failed: refs/heads/locked is locked"},
			"push", "--atomic", "origin", "trunk:refs/heads/locked", "trunk:refs/heads/e")
		if out := work.git("push", "-o", "ci.skip", "-o", "a=b c", "origin", "trunk:refs/heads/f"); !strings.Contains(
			out, "remote: option ci.skip") || !strings.Contains(out, "remote: option a=b c") {
			t.Errorf("the options are missing:\n%s", out)
		}
		want := "refs/heads/c refs/heads/d refs/heads/f refs/heads/trunk"
		got := w.server().git("for-each-ref", "--format=%(refname)", "refs/heads")
		if strings.ReplaceAll(got, "\n", " ") != want {
			t.Errorf("the server has\n%s", got)
		}
		w.server().git("fsck", "--full")
	})
}

func TestSHA256(t *testing.T) {
	for _, transport := range []string{"ssh", "http"} {
		for version := range 3 {
			t.Run(fmt.Sprintf("%s v%d", transport, version), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, transport, version, "--object-format=sha256")
				w.git("init", "-q", "--object-format=sha256", "--initial-branch=trunk", "work")
				work := w.in("work")
				work.commit("file", "first\n")
				work.git("push", "-q", w.url, "trunk")
				w.git("clone", "-q", w.url, "again")
				w.sameRefs("again")
				w.git("init", "-q", "old")
				w.in("old").commit("file", "sha1\n")
				w.in("old").fails([]string{"does not support this repository's hash algorithm"}, "push", w.url, "HEAD:x")
			})
		}
	}
}

// TestManyRefs crosses every buffer: the lists are larger than 64 KiB both ways.
func TestManyRefs(t *testing.T) {
	for transport, version := range map[string]int{"ssh": 0, "http": 2} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, transport, version)
			id := w.seed().git("rev-parse", "trunk")
			addRefs(w.server(), id, "refs/heads/many/", 1200)
			w.git("clone", "-q", "--mirror", w.url, "mirror")
			w.sameRefs("mirror")
			mirror := w.in("mirror")
			addRefs(mirror, id, "refs/heads/more/", 1200)
			mirror.git("push", "-q", "--mirror", "--atomic", w.url)
			w.sameRefs("mirror")
			if out := w.git("ls-remote", w.url, "refs/heads/more/0001*"); strings.Count(out, "\n") != 9 {
				t.Errorf("ls-remote with a pattern:\n%s", out)
			}
		})
	}
}

// addRefs writes refs into packed-refs, as a file each takes long to make.
func addRefs(c *client, id, prefix string, n int) {
	c.t.Helper()
	c.git("pack-refs", "--all")
	path := filepath.Join(c.dir, "packed-refs")
	old, err := os.ReadFile(path)
	if err != nil {
		c.t.Fatal(err)
	}
	_, lines, _ := bytes.Cut(old, []byte("\n")) // the header would claim that the file is sorted
	for i := range n {
		lines = fmt.Appendf(lines, "%s %s%05d\n", id, prefix, i)
	}
	if err := os.WriteFile(path, lines, 0o666); err != nil {
		c.t.Fatal(err)
	}
}

func TestServerOptions(t *testing.T) {
	w := newWorld(t, "ssh", 2)
	w.seed()
	w.git("ls-remote", "-o", "one", "-o", "two", w.url)
	w.git("clone", "-q", "--server-option=x", w.url, "work")
}

func TestRefusedRepository(t *testing.T) {
	w := newWorld(t, "ssh", 2)
	seed := w.seed()
	for _, args := range [][]string{{"clone", w.url + "x", "none"}, {"push", w.url + "x", "trunk"}} {
		seed.fails([]string{"fatal: remote error: no such repository: served.gitx"}, args...)
	}
}

func TestNotOurRef(t *testing.T) {
	for _, transport := range []string{"ssh", "http"} {
		t.Run(transport, func(t *testing.T) {
			w := newWorld(t, transport, 2)
			seed := w.seed()
			parent := seed.git("rev-parse", "trunk~2")
			w.git("init", "-q", "work")
			w.git("init", "-q", "other")
			w.in("other").git("fetch", "-q", w.url, parent) // allowed by CheckWants
			setFaults(t, w.bare, faults{NoChecker: true})
			w.git("clone", "-q", w.url, "tips")
			w.in("work").fails([]string{"remote error: upload-pack: not our ref " + parent}, "fetch", w.url, parent)
			unknown := strings.Repeat("42", 20)
			w.in("work").fails([]string{"remote error: upload-pack: not our ref " + unknown}, "fetch", w.url, unknown)
		})
	}
}

func TestRefusals(t *testing.T) {
	eachWay(t, func(t *testing.T, w *world) {
		w.seed()
		w.fails([]string{"hallow"}, "clone", "--depth=1", w.url, "shallow")
		if out, err := w.try("clone", "--filter=blob:none", w.url, "partial"); err != nil ||
			!strings.Contains(out, "filtering not recognized by server") {
			t.Errorf("partial clone: %v\n%s", err, out)
		}
		w.git("clone", "-q", "--depth=1", "file://"+w.bare, "shallow")
		shallow := w.in("shallow")
		shallow.commit("file", "from a shallow clone\n")
		shallow.git("push", "-q", w.url, "trunk")
		w.server().git("fsck", "--full", "--strict")

		setFaults(t, w.bare, faults{RefsError: "too few mirrors hold the last push; try again"})
		w.fails([]string{"fatal: remote error: upload-pack: too few mirrors"}, "clone", w.url, "none")
		w.in("seed").fails([]string{"fatal: remote error: receive-pack: too few mirrors"}, "push", w.url, "trunk")

		setFaults(t, w.bare, faults{PackError: "the disk is on fire"})
		w.fails([]string{"remote: upload-pack: the disk is on fire"}, "clone", w.url, "none")
		if _, err := os.Stat(filepath.Join(w.dir, "none")); err == nil {
			t.Error("a clone from a cut pack is left behind")
		}
	})
}

// TestRefusedPack has the server refuse a push while most of its pack is still on its way: the client must come to
// read why.
func TestRefusedPack(t *testing.T) {
	for _, transport := range []string{"ssh", "http"} {
		for name, f := range map[string]faults{
			"early":          {RefuseEarly: "this repository is read-only"},
			"midway":         {RefuseAfter: 100_000},
			"early, cut off": {RefuseEarly: "this repository is read-only", Options: gitproto.Options{DrainBytes: 1000}},
		} {
			if transport == "http" && f.Options.DrainBytes > 0 {
				continue // whether the client still sees the report hangs on how the connection is closed
			}
			t.Run(transport+" "+name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, transport, 2)
				setFaults(t, w.bare, f)
				w.git("init", "-q", "work")
				work := w.in("work")
				file, err := os.Create(filepath.Join(work.dir, "big"))
				if err != nil {
					t.Fatal(err)
				}
				io.CopyN(file, rand.Reader, 8<<20)
				file.Close()
				work.commit("small", "x")
				text := f.RefuseEarly
				if text == "" {
					text = "pack exceeds 100000 bytes"
				}
				work.fails([]string{"remote unpack failed: " + text}, "push", w.url, "HEAD:refs/heads/trunk")
				if f.Options.DrainBytes == 0 {
					work.fails([]string{"main -> trunk (unpacker error)"}, "push", w.url, "main:refs/heads/trunk")
				}
			})
		}
	}
}

func TestPushLimits(t *testing.T) {
	eachWay(t, func(t *testing.T, w *world) {
		seed := w.seed()
		setFaults(t, w.bare, faults{Options: gitproto.Options{MaxCommands: 3, MaxPushOptions: 1, MaxRefName: 40}})
		seed.fails([]string{"more than 3 ref updates in one push"},
			"push", w.url, "trunk:refs/heads/1", "trunk:refs/heads/2", "trunk:refs/heads/3", "trunk:refs/heads/4")
		seed.fails([]string{"more than 1 push options"}, "push", "-o", "a", "-o", "b", w.url, "trunk:refs/heads/1")
		seed.fails([]string{"ref name of 51 bytes, more than 40"},
			"push", w.url, "trunk:refs/heads/"+strings.Repeat("x", 40))
		seed.git("push", "-q", w.url, "trunk:refs/heads/1")
	})
}

func TestFetchLimits(t *testing.T) {
	eachWay(t, func(t *testing.T, w *world) {
		w.seed()
		setFaults(t, w.bare, faults{Options: gitproto.Options{MaxWants: 1}})
		w.fails([]string{"upload-pack: more than 1 wants"}, "clone", "--mirror", w.url, "none")
		setFaults(t, w.bare, faults{Options: gitproto.Options{MaxCommon: 1, MaxPrefixes: 1}})
		w.git("clone", "-q", w.url, "work")
		w.in("seed").commit("file", "more\n")
		w.in("seed").git("push", "-q", w.bare, "trunk")
		w.in("work").git("fetch", "-q")
	})
}
