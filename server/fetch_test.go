package server_test

import (
	"fmt"
	"io"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/server"
	"holdfast/storage"
)

// partialWorld is a host with one repository, and the same one as git itself serves it.
type partialWorld struct {
	*world
	seed  string // where the repository was made
	bare  string // git's own
	token string
}

// newPartialWorld makes a history with merges, tags, subdirectories and blobs of several sizes:
//
//	0 - 1 - 2 - 3 - 4 - 5 - M - 7 - 8 - 9    main; v1 is 4, old is 5
//	         \- s - t - u -/
func newPartialWorld(t *testing.T) *partialWorld {
	t.Helper()
	w := &partialWorld{world: newWorld(t, server.Config{})}
	w.seed, w.bare = filepath.Join(w.dir, "seed"), filepath.Join(w.dir, "bare.git")
	w.ok("root", w.dir, "init", "-q", w.seed)
	date := 1_600_000_000
	write(t, filepath.Join(w.seed, "patterns"), "/*\n!/*/\n/a/\n!**/large\n/c/[0-4]\n!/a/b/?\n")
	commit := func(name string, args ...string) {
		date += 1000
		write(t, filepath.Join(w.seed, "file"), name)
		for _, dir := range []string{"a", "a/b", "c"} {
			os.MkdirAll(filepath.Join(w.seed, dir), 0o700)
			write(t, filepath.Join(w.seed, dir, name), dir+name)
			write(t, filepath.Join(w.seed, dir, "large"), strings.Repeat(name+" "+dir+"\n", 500))
		}
		w.at(date, "add", ".")
		w.at(date, append([]string{"commit", "-qm", name}, args...)...)
	}
	for i := range 6 {
		commit(fmt.Sprint(i))
		switch i {
		case 2:
			w.at(date, "branch", "side")
		case 4:
			w.at(date, "tag", "-a", "-m", "tag", "v1")
		}
	}
	w.at(date, "branch", "old")
	w.at(date, "checkout", "-q", "side")
	for _, name := range []string{"s", "t", "u"} {
		commit(name)
	}
	w.at(date, "checkout", "-q", "main")
	w.at(date+1, "merge", "-q", "-s", "ours", "-m", "M", "side")
	for _, name := range []string{"7", "8", "9"} {
		commit(name)
	}
	w.at(date, "tag", "-a", "-m", "tag", "v2")
	w.ok("root", w.seed, "push", "-q", w.url("app"), "--all", "--follow-tags")
	w.ok("root", w.dir, "clone", "-q", "--bare", w.seed, w.bare)
	for _, key := range []string{"allowFilter", "allowAnySHA1InWant"} {
		w.ok("root", w.bare, "config", "uploadpack."+key, "true")
	}
	w.token = must(w.srv.CreateToken(t.Context(), server.Local, "root", "test", time.Time{}, io.Discard))
	return w
}

// at runs git in the seed with a clock of its own.
func (w *partialWorld) at(date int, args ...string) {
	w.t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=A", "-c", "user.email=a@example.org"}, args...)...)
	cmd.Dir = w.seed
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "HOME="+w.dir,
		fmt.Sprintf("GIT_COMMITTER_DATE=%d +0000", date), fmt.Sprintf("GIT_AUTHOR_DATE=%d +0000", date))
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// state is what a clone has: its refs, boundary, and the objects that its refs lead to, with ? before missing ones.
func (w *partialWorld) state(dir string) string {
	w.t.Helper()
	refs := w.ok("root", dir, "for-each-ref", "--format=%(objectname) %(refname)")
	gitDir := filepath.Join(dir, ".git")
	if _, err := os.Stat(gitDir); err != nil {
		gitDir = dir
	}
	shallow, err := os.ReadFile(filepath.Join(gitDir, "shallow"))
	if err != nil && !os.IsNotExist(err) {
		w.t.Fatal(err)
	}
	objects := w.ok("root", dir, "rev-list", "--objects", "--all", "--missing=print")
	sorted := func(text string) string {
		lines := strings.Split(strings.TrimSpace(text), "\n")
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	return "refs\n" + sorted(refs) + "\nshallow\n" + sorted(string(shallow)) + "\nobjects\n" + sorted(objects)
}

// run does the steps with a remote, and returns the state after each of them.
func (w *partialWorld) run(url, version string, steps []string) (states []string) {
	w.t.Helper()
	dir := filepath.Join(w.t.TempDir(), "clone")
	for i, step := range steps {
		args := []string{"-c", "protocol.version=" + version, "-c", "advice.detachedHead=false"}
		in := dir
		if i == 0 {
			in = w.dir
		}
		for _, arg := range strings.Fields(step) {
			args = append(args, strings.NewReplacer("URL", url, "DIR", dir).Replace(arg))
		}
		w.ok("root", in, args...)
		states = append(states, w.state(dir))
	}
	w.ok("root", dir, "fsck", "--no-dangling")
	return states
}

// TestPartialClones does the same with Holdfast and with git as the server, over each transport and protocol version.
// What the clients then have must be the same.
func TestPartialClones(t *testing.T) {
	t.Parallel()
	w := newPartialWorld(t)
	second := strings.TrimSpace(w.ok("root", w.seed, "rev-parse", "main~2"))
	third := strings.TrimSpace(w.ok("root", w.seed, "rev-parse", "main~7"))
	patterns := strings.TrimSpace(w.ok("root", w.seed, "rev-parse", "main:patterns"))
	byHTTP := "http://root:" + w.token + "@" + w.http + "/app.git"
	ways := []struct{ name, version, url, plain string }{
		{"ssh v0", "0", w.url("app"), "file://" + w.bare},
		{"http v2", "2", byHTTP, w.plainHTTP()},
		{"ssh v2", "2", w.url("app"), "file://" + w.bare},
		{"http v0", "0", byHTTP, w.plainHTTP()},
		{"ssh v1", "1", w.url("app"), "file://" + w.bare},
	}
	turn := 0
	for name, steps := range map[string][]string{
		"depth": {"clone -q --depth=1 --no-single-branch URL DIR", "fetch -q --depth=3", "fetch -q --deepen=1", "fetch -q --depth=1",
			"fetch -q --deepen=2", "fetch -q --unshallow"},
		"one branch": {"clone -q --depth=2 --branch=old URL DIR", "fetch -q origin main", "fetch -q --depth=1 origin side",
			"fetch -q --unshallow"},
		"next": {"clone -q --depth=2 --branch=old URL DIR", "fetch -q --depth=2 origin main:main",
			"fetch -q --deepen=1 origin main:main", "fetch -q origin side:side"},
		"since": {"clone -q --shallow-since=1600009500 URL DIR", "fetch -q --shallow-since=1600006500",
			"fetch -q --shallow-exclude=v1", "fetch -q --shallow-since=1600000001"},
		"exclude":     {"clone -q --shallow-exclude=v1 URL DIR", "fetch -q --shallow-exclude=refs/heads/old", "fetch -q --unshallow"},
		"less":        {"clone -q URL DIR", "fetch -q --depth=2"},
		"by id":       {"init -q DIR", "fetch -q --depth=2 URL " + second + ":refs/heads/x", "fetch -q URL " + third + ":refs/heads/y"},
		"no blobs":    {"clone -q --filter=blob:none --no-checkout URL DIR", "checkout -q main", "log -p v1..origin/old", "checkout -q old"},
		"no trees":    {"clone -q --filter=tree:0 --no-checkout --branch=old URL DIR", "checkout -q old~2", "fetch -q origin main", "checkout -q FETCH_HEAD"},
		"small blobs": {"clone -q --bare --filter=blob:limit=1k URL DIR", "log -p -1 main"},
		"some trees":  {"clone -q --bare --filter=tree:2 URL DIR"},
		"commits":     {"clone -q --bare --filter=object:type=commit URL DIR"},
		"combined":    {"clone -q --bare --filter=blob:limit=1k --filter=tree:3 URL DIR"},
		"both":        {"clone -q --depth=2 --filter=blob:none URL DIR", "fetch -q --deepen=1", "fetch -q --unshallow", "log -p -3"},
		"sparse":      {"clone -q --bare --filter=sparse:oid=main:patterns URL DIR", "fetch -q origin v1", "log -p -1 main"},
		"sparse by id": {"clone -q --no-checkout --filter=sparse:oid=" + patterns + " --branch=old --single-branch URL DIR",
			"fetch -q origin main:main", "checkout -q main"},
		"sparse, combined": {"clone -q --bare --filter=sparse:oid=v1:patterns --filter=tree:3 URL DIR"},
		"next partial":     {"clone -q --filter=blob:none --branch=old --single-branch URL DIR", "fetch -q origin main:main", "checkout -q main"},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			for i, way := range ways {
				if !allWays[name] && i/2 != turn%2 {
					continue
				}
				want := w.run(way.plain, way.version, steps)
				for i, got := range w.run(way.url, way.version, steps) {
					if got != want[i] {
						t.Errorf("%s, after %q:\n%s", way.name, steps[i], cmp.Diff(want[i], got))
						break
					}
				}
			}
			turn++
		})
	}
}

// allWays are tested over each transport and protocol version, the others over two, for the sake of time.
var allWays = map[string]bool{"depth": true, "no blobs": true}

// plainHTTP serves what w.bare is in by git itself.
func (w *partialWorld) plainHTTP() string {
	w.t.Helper()
	s := httptest.NewServer(&cgi.Handler{
		Path:   filepath.Join(strings.TrimSpace(w.ok("root", w.dir, "--exec-path")), "git-http-backend"),
		Env:    []string{"GIT_PROJECT_ROOT=" + w.dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + w.dir},
		Stderr: io.Discard,
	})
	w.t.Cleanup(s.Close)
	return s.URL + "/bare.git"
}

// in returns w for a part of the test.
func (w *partialWorld) in(t *testing.T) *partialWorld {
	part, inner := *w, *w.world
	inner.t, part.world = t, &inner
	return &part
}

// TestPushFromShallowClones pushes what builds on history that is here, and what does not.
func TestPushFromShallowClones(t *testing.T) {
	t.Parallel()
	w := newPartialWorld(t)
	lost := filepath.Join(w.dir, "lost")
	w.ok("root", w.dir, "clone", "-q", w.seed, lost)
	w.ok("root", lost, "checkout", "-q", "--orphan", "lost")
	for _, message := range []string{"one", "two", "three"} {
		w.ok("root", lost, "commit", "-q", "--allow-empty", "-m", message)
	}
	byHTTP := "http://root:" + w.token + "@" + w.http + "/app.git"
	for i, url := range []string{w.url("app"), byHTTP} {
		good, bad := filepath.Join(w.dir, fmt.Sprint("good", i)), filepath.Join(w.dir, fmt.Sprint("bad", i))
		branch := fmt.Sprint("from-shallow", i)
		w.ok("root", w.dir, "clone", "-q", "--depth=2", url, good)
		write(t, filepath.Join(good, "file"), branch)
		w.ok("root", good, "commit", "-qam", "more")
		w.ok("root", good, "push", "-q", "origin", "main:"+branch)
		w.ok("root", w.dir, "clone", "-q", "--depth=1", "--branch=lost", "file://"+lost, bad)
		w.fails("root", bad, []string{"shallow update not allowed"}, "push", url, "lost:"+branch+"-lost")
		w.fails("root", bad, []string{"shallow update not allowed"}, "push", url, "lost:"+branch+"-lost", "lost~0:refs/tags/x")
	}
	full := filepath.Join(w.dir, "full")
	w.ok("root", w.dir, "clone", "-q", "--bare", byHTTP, full)
	w.ok("root", full, "fsck", "--full", "--strict")
	if out := w.ok("root", full, "for-each-ref", "--format=%(refname)"); strings.Contains(out, "lost") ||
		strings.Count(out, "from-shallow") != 2 {
		t.Errorf("the refs are\n%s", out)
	}
}

// TestNegotiationEndsEarly fetches a commit into a clone with nearly as many commits of its own as git names in one request:
// the two that are known here must end the negotiation.
func TestNegotiationEndsEarly(t *testing.T) {
	t.Parallel()
	w := newPartialWorld(t)
	clone := filepath.Join(w.dir, "clone")
	byHTTP := "http://root:" + w.token + "@" + w.http + "/app.git"
	w.ok("root", w.dir, "clone", "-q", byHTTP, clone)
	for range 14 {
		w.ok("root", clone, "commit", "-q", "--allow-empty", "-m", "of the client's own")
	}
	write(t, filepath.Join(w.seed, "file"), "new")
	w.ok("root", w.seed, "add", ".")
	w.ok("root", w.seed, "commit", "-q", "-m", "new")
	w.ok("root", w.seed, "push", "-q", w.url("app"), "HEAD:main")
	trace := w.ok("root", clone, "-c", "alias.traced=!GIT_TRACE_PACKET=1 git -c protocol.version=2 fetch", "traced")
	if !strings.Contains(trace, `< \1ready`) || strings.Contains(trace, "> done") {
		t.Errorf("the negotiation went on:\n%s", trace)
	}
}

// TestUnreachableIsNotServed wants, in every way there is, what a force-push has taken away.
func TestUnreachableIsNotServed(t *testing.T) {
	t.Parallel()
	w := newPartialWorld(t)
	write(t, filepath.Join(w.seed, "a", "b", "secret"), "secret")
	w.ok("root", w.seed, "checkout", "-q", "-b", "leak", "main")
	w.ok("root", w.seed, "add", ".")
	w.ok("root", w.seed, "commit", "-qm", "secret")
	w.ok("root", w.seed, "commit", "-q", "--allow-empty", "-m", "on top")
	w.ok("root", w.seed, "push", "-q", w.url("app"), "leak")
	shallow := filepath.Join(w.dir, "shallow")
	w.ok("root", w.dir, "clone", "-q", "--depth=1", "--branch=leak", w.url("app"), shallow)
	w.ok("root", w.seed, "push", "-q", w.url("app"), ":leak")
	byHTTP := "http://root:" + w.token + "@" + w.http + "/app.git"
	rev := func(name string) string { return strings.TrimSpace(w.ok("root", w.seed, "rev-parse", name)) }
	clone := filepath.Join(w.dir, "clone")
	w.ok("root", w.dir, "clone", "-q", "--bare", "--filter=tree:0", byHTTP, clone)
	for _, name := range []string{"leak", "leak^{tree}", "leak:a", "leak:a/b", "leak:a/b/secret"} {
		for _, version := range []string{"0", "2"} {
			for _, url := range []string{w.url("app"), byHTTP} {
				w.fails("root", clone, []string{"not our ref " + rev(name)},
					"-c", "protocol.version="+version, "fetch", url, rev(name))
			}
		}
		if out, err := w.git("root", clone, "cat-file", "-t", rev(name)); err == nil {
			t.Errorf("%s came after all: %s", name, out)
		}
	}
	// Nor does what is sent tell what a file of patterns says.
	for _, name := range []string{rev("leak:a/b/secret"), rev("leak") + ":a/b/secret", "leak:a/b/secret"} {
		w.fails("root", w.dir, []string{"unable to access sparse blob in '" + name + "'"},
			"clone", "--bare", "--filter=sparse:oid="+name, byHTTP, filepath.Join(w.dir, "sparse"))
	}
	for _, name := range []string{"main~3", "main^{tree}", "main~3:a/b", "main~3:a/b/large"} {
		w.ok("root", clone, "cat-file", "-p", rev(name))
	}
	// A boundary among what is lost is not opened.
	for _, args := range [][]string{{"--unshallow"}, {"--deepen=1"}, {"--depth=20"}, {"--shallow-since=1600000001"}} {
		w.ok("root", shallow, "fetch", "-q", args[0], w.url("app"), "main:main")
		if out, err := w.git("root", shallow, "cat-file", "-t", rev("leak~1")); err == nil {
			t.Errorf("%s: the parent came: %s", args[0], out)
		}
		w.ok("root", shallow, "fsck", "--no-dangling")
	}
}

// TestHiddenRefs tries every verb on a ref that git clients may not see.
func TestHiddenRefs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.Config{})
	dir := w.work("app")
	w.ok("root", dir, "push", "-q", w.url("app"), "HEAD:refs/heads/main")
	w.ok("root", dir, "checkout", "-q", "--orphan", "other")
	w.ok("root", dir, "commit", "-q", "-m", "hidden")
	id := strings.TrimSpace(w.ok("root", dir, "rev-parse", "HEAD"))
	w.ok("root", dir, "push", "-q", w.url("app"), "other")
	info := must(w.srv.Repo(server.Local, "app"))
	repo := must(w.store.Repo(storage.RepoID(info.ID)))
	txn := must(repo.Begin(storage.Meta{Actor: "root", Time: time.Now()}))
	other := must(repo.Ref("refs/heads/other"))
	txn.Update(storage.RefUpdate{Name: "refs/svn/revs", New: other.ID})
	txn.Update(storage.RefUpdate{Name: "refs/tags/visible", New: must(repo.Ref("refs/heads/main")).ID})
	txn.Update(storage.RefUpdate{Name: "refs/heads/other", Old: other.ID})
	must(w.store.Commit(txn))
	w.ok("root", dir, "push", "-q", w.url("waker"), "main") // has what was committed behind the server's back sealed

	for _, version := range []string{"0", "1", "2"} {
		git := func(args ...string) []string { return append([]string{"-c", "protocol.version=" + version}, args...) }
		clone := filepath.Join(w.dir, "clone"+version)
		w.ok("root", w.dir, "init", "-q", "--bare", clone)
		if out := w.ok("root", w.dir, git("ls-remote", w.url("app"))...); strings.Contains(out, "svn") || !strings.Contains(out, "visible") {
			t.Errorf("v%s lists\n%s", version, out)
		}
		w.fails("root", clone, nil, git("fetch", "-q", w.url("app"), "refs/svn/revs")...)
		w.fails("root", clone, []string{"not our ref " + id}, git("fetch", "-q", w.url("app"), id)...)
		w.fails("root", clone, nil, git("fetch", "-q", "--shallow-exclude=refs/svn/revs", w.url("app"), "main")...)
		w.ok("root", clone, git("fetch", "-q", w.url("app"), "+refs/*:refs/*")...)
		w.fails("root", clone, nil, "cat-file", "-e", id)
		w.fails("root", dir, []string{"deny updating a hidden ref"}, git("push", "-q", w.url("app"), "main:refs/svn/x"+version)...)
		w.fails("root", dir, []string{"deny updating a hidden ref"}, git("push", "-q", w.url("app"), ":refs/svn/revs")...)
		w.fails("root", dir, []string{"deny updating a hidden ref", "atomic push failed"},
			git("push", "-q", "--atomic", w.url("app"), "main:refs/svn/x", "main:refs/heads/atomic"+version)...)
		w.fails("root", dir, []string{"deny updating a hidden ref"},
			git("push", "-q", w.url("app"), "main:refs/svn/x", "main:refs/heads/beside"+version)...)
		if out := w.ok("root", w.dir, "ls-remote", w.url("app")); strings.Contains(out, "atomic") || !strings.Contains(out, "beside"+version) {
			t.Errorf("v%s left\n%s", version, out)
		}
	}
	// Not every git asks like this.
	c := newRPCClient(w)
	fetch := func(args ...string) string {
		return c.post("app", "git-upload-pack", "2", pkt(append(append([]string{"command=fetch", "0001"}, args...), "done", "0000")...))
	}
	if got := fetch("want-ref refs/svn/revs"); got != pkt("ERR unknown ref refs/svn/revs") {
		t.Errorf("want-ref: %q", got)
	}
	if got := fetch("sideband-all", "want "+id); !strings.Contains(got, "\x03upload-pack: not our ref "+id) {
		t.Errorf("a want in bands: %q", got)
	}
	if got := c.post("app", "git-upload-pack", "2", pkt("command=object-info", "0001", "size", "oid "+id, "0000")); got != pkt("size", id+" ", "0000") {
		t.Errorf("object-info: %q", got)
	}
	for _, name := range []string{"refs/svn/revs", "svn/revs", "refs/svn/revs:"} {
		w.fails("root", dir, []string{"no such ref"}, "archive", "--remote="+w.url("app"), name)
	}
	if ref := must(repo.Ref("refs/svn/revs")); ref.ID != other.ID {
		t.Errorf("the hidden ref moved to %s", ref.ID)
	}
}
