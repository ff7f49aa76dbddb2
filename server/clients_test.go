//go:build clients

package server_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/go-git/go-git/v5/plumbing/transport/http"
	gogitssh "github.com/go-git/go-git/v5/plumbing/transport/ssh"
	"github.com/google/go-cmp/cmp"
	gossh "golang.org/x/crypto/ssh"

	"holdfast/server"
	"holdfast/storage/object"
)

var clientsTable = flag.String("table", "", "a file to write the table of TestClients to")

// client is a program that speaks git's protocols. do makes it do a verb:
//
//	clone, shallow (one commit deep), partial (without blobs): url into dir, which is not there yet
//	fetch, deepen (to three commits): all branches and tags
//	push: refspecs
type client struct {
	name string
	do   func(m *matrix, verb, url, dir string, specs ...string) error
	lack map[string]string // verb, transport or world -> why the client cannot
}

// clients are the rows of the matrix.
var clients = []client{
	{"git", doGit, nil},
	{"jgit", doJGit, map[string]string{
		"shallow": "JGit 4 fetches no shallow history", "partial": "JGit 4 knows no filters", "SHA-256": "JGit 4 knows SHA-1 only"}},
	{"libgit2", driver("/usr/bin/python3", "libgit2_client.py"), map[string]string{
		"shallow": "libgit2 1.5 fetches no shallow history", "partial": "libgit2 knows no filters", "SHA-256": "libgit2 knows SHA-1 only"}},
	{"dulwich", driver("/usr/bin/python3", "dulwich_client.py"), map[string]string{
		"deepen":  "dulwich 0.21 fails if there are annotated tags",
		"partial": "dulwich 0.21 knows no filters", "SHA-256": "dulwich knows SHA-1 only"}},
	{"isomorphic-git", driver("node", "isomorphic_client.mjs"), map[string]string{
		"ssh": "isomorphic-git has no SSH", "partial": "isomorphic-git knows no filters", "SHA-256": "isomorphic-git knows SHA-1 only"}},
	{"go-git", doGoGit, map[string]string{
		"deepen":  "go-git 5 takes a shallow clone for complete",
		"partial": "go-git 5 knows no filters", "SHA-256": "go-git 5 knows SHA-1 only"}},
}

// columns are the operations of the matrix, in the order in which they are done.
var columns = []struct {
	name string
	do   func(*cell)
}{
	{"clone", (*cell).clone}, {"push", (*cell).push}, {"fetch", (*cell).fetch}, {"force push", (*cell).forcePush},
	{"tags", (*cell).tags}, {"delete", (*cell).remove}, {"shallow", (*cell).shallow}, {"partial", (*cell).partial},
}

// matrix is a host that the clients meet.
type matrix struct {
	*world
	token string
	env   []string // of the clients
	lines []string // of the table
	notes []string // why cells are empty
}

// project is a repository on the host, and what its refs should be.
type project struct {
	name   string
	format object.Format
	refs   map[string]string
	mirror map[string]string // the refs when the last mirror clone was looked at
}

// cell is one client's work on one project over one transport.
type cell struct {
	*matrix
	t    *testing.T
	c    client
	p    *project
	way  string // transport
	url  string
	dir  string // the clone
	tip  string // what the clone's work is built on, "" in an empty project
	made int    // number of commits
}

// TestClients has every client do everything that it can, in worlds of several kinds. After each step git looks for
// faults in what the client has, and after each push in a fresh mirror clone; the refs of both must be what they should be.
func TestClients(t *testing.T) {
	t.Parallel() // beside TestSvnClients: of both, either the server works or a client, or it waits
	m := newMatrix(t)
	for _, kind := range []struct {
		name   string
		format object.Format
		seed   func(m *matrix, dir string)
		own    bool // every client has its own project
	}{
		{"empty", object.SHA1, nil, true},
		{"small", object.SHA1, (*matrix).seedSmall, true},
		{"SHA-256", object.SHA256, (*matrix).seedSmall, true},
		{"large", object.SHA1, (*matrix).seedLarge, false},
		{"many refs", object.SHA1, (*matrix).seedMany, false},
	} {
		m.lines = append(m.lines, "\n"+kind.name+"\t"+m.header())
		slug := strings.ToLower(strings.ReplaceAll(kind.name, " ", "-"))
		seed := filepath.Join(m.dir, slug)
		m.world.t = t
		if kind.seed != nil {
			m.ok("root", m.dir, "init", "-q", "--object-format="+kind.format.String(), seed)
			kind.seed(m, seed)
		}
		var p *project
		for _, c := range clients {
			for _, way := range []string{"ssh", "http"} {
				m.world.t = t
				if p == nil || kind.own {
					p = m.newProject(fmt.Sprintf("%s-%s-%s", slug, c.name, way), kind.format, seed, kind.seed == nil)
				}
				t.Run(kind.name+"/"+c.name+"/"+way, func(t *testing.T) { m.row(t, kind.name, c, way, p) })
			}
		}
	}
	m.world.t = t
	m.print()
}

func newMatrix(t *testing.T) *matrix {
	m := &matrix{world: newWorld(t, server.Config{})}
	m.token = must(m.srv.CreateToken(t.Context(), server.Local, "root", "clients", time.Time{}, io.Discard))
	key, ssh := keyFile(t, "root", ""), filepath.Join(m.dir, "ssh")
	script := "#!/bin/sh\nexec ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none -o StrictHostKeyChecking=no " +
		"-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -i " + key + " \"$@\"\n"
	if err := os.WriteFile(ssh, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(m.dir, ".netrc"), "machine 127.0.0.1 login root password "+m.token+"\n") // JGit takes no password from a URL
	m.env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "HOME="+m.dir, "GIT_SSH="+ssh, "CLIENT_KEY="+key,
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.org")
	return m
}

// newProject makes a repository on the host and pushes the seed to it.
func (m *matrix) newProject(name string, f object.Format, seed string, empty bool) *project {
	m.t.Helper()
	if err := m.srv.CreateRepo(m.t.Context(), server.Local, server.NewRepo{Name: name, Format: f}, io.Discard); err != nil {
		m.t.Fatal(err)
	}
	p := &project{name: name, format: f, refs: map[string]string{}}
	if !empty {
		m.ok("root", seed, "push", "-q", "--mirror", m.world.url(name))
		p.refs = m.localRefs(seed, "refs/")
	}
	return p
}

// seedSmall has a merge, tags of both kinds, a symbolic link and a file that can be run.
func (m *matrix) seedSmall(dir string) {
	for i := range 6 {
		write(m.t, filepath.Join(dir, "file"), strings.Repeat(fmt.Sprintf("line of %d\n", i), 50))
		write(m.t, filepath.Join(dir, fmt.Sprint("new", i)), "new")
		if i == 0 {
			if err := errors.Join(os.Symlink("file", filepath.Join(dir, "link")), os.Chmod(filepath.Join(dir, "new0"), 0o700)); err != nil {
				m.t.Fatal(err)
			}
		}
		m.ok("root", dir, "add", ".")
		m.ok("root", dir, "commit", "-qm", fmt.Sprint(i))
		if i == 2 {
			m.ok("root", dir, "branch", "side")
			m.ok("root", dir, "tag", "light")
		}
	}
	m.ok("root", dir, "checkout", "-q", "side")
	m.ok("root", dir, "commit", "-q", "--allow-empty", "-m", "side")
	m.ok("root", dir, "checkout", "-q", "main")
	m.ok("root", dir, "merge", "-q", "--no-edit", "side")
	m.ok("root", dir, "tag", "-a", "-m", "one", "v1", "main~2")
	m.ok("root", dir, "tag", "-a", "-m", "of a tag", "v1-again", "v1")
}

// seedLarge has about 20,000 objects, and a blob of 12 MB.
func (m *matrix) seedLarge(dir string) {
	var in bytes.Buffer
	rnd := rand.New(rand.NewPCG(1, 1))
	for c := range 3400 {
		fmt.Fprintf(&in, "commit refs/heads/main\ncommitter A <a@example.org> %d +0000\ndata 1\nc\n", 1_600_000_000+c)
		path := fmt.Sprintf("%d/%d/%d", rnd.IntN(20), rnd.IntN(5), rnd.IntN(20))
		content := strings.Repeat(fmt.Sprintf("line %d\n", rnd.IntN(100)), 1+rnd.IntN(100)) + fmt.Sprint(c)
		fmt.Fprintf(&in, "M 100644 inline %s\ndata %d\n%s\n", path, len(content), content)
		fmt.Fprintf(&in, "M 100644 inline other/%d\ndata %d\n%d\n", c%40, len(fmt.Sprint(c)), c)
	}
	large := make([]byte, 12<<20)
	rand.NewChaCha8([32]byte{1}).Read(large)
	fmt.Fprintf(&in, "commit refs/heads/main\ncommitter A <a@example.org> 1700000000 +0000\ndata 5\nlarge\n")
	fmt.Fprintf(&in, "M 100644 inline large\ndata %d\n", len(large))
	in.Write(append(large, '\n'))
	m.fastImport(dir, &in)
}

// seedMany has 5,000 refs.
func (m *matrix) seedMany(dir string) {
	var in bytes.Buffer
	for c := range 50 {
		fmt.Fprintf(&in, "commit refs/heads/main\nmark :%d\ncommitter A <a@example.org> %d +0000\ndata 0\n", c+1, 1_600_000_000+c)
		fmt.Fprintf(&in, "M 100644 inline file\ndata <<.\n%d\n.\n\n", c)
	}
	for i := range 4500 {
		fmt.Fprintf(&in, "reset refs/heads/team%d/topic%d\nfrom :%d\n\n", i%30, i, i%50+1)
	}
	for i := range 500 {
		if i%2 == 0 {
			fmt.Fprintf(&in, "reset refs/tags/light%d\nfrom :%d\n\n", i, i%50+1)
		} else {
			fmt.Fprintf(&in, "tag v%d\nfrom :%d\ntagger A <a@example.org> 1700000000 +0000\ndata 0\n", i, i%50+1)
		}
	}
	m.fastImport(dir, &in)
}

func (m *matrix) fastImport(dir string, in io.Reader) {
	m.t.Helper()
	cmd := exec.Command("git", "fast-import", "--quiet")
	cmd.Dir, cmd.Stdin = dir, in
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("fast-import: %v\n%s", err, out)
	}
}

// row is one client's line of the table.
func (m *matrix) row(t *testing.T, kind string, c client, way string, p *project) {
	m.world.t = t
	line := "  " + c.name + ", " + way
	x := &cell{matrix: m, t: t, c: c, p: p, way: way, url: m.world.url(p.name), dir: filepath.Join(t.TempDir(), "clone")}
	if way == "http" {
		x.url = "http://root:" + m.token + "@" + m.http + "/" + p.name + ".git"
	}
	x.tip = p.refs["refs/heads/main"]
	failed := false
	for _, column := range columns {
		why := ""
		for _, reason := range []string{kind, way, column.name} {
			if why == "" {
				why = c.lack[reason]
			}
		}
		switch {
		case why != "":
			line += "\t-" + m.note(why)
		case failed:
			line += "\t?"
		default:
			failed = !t.Run(column.name, func(t *testing.T) {
				m.world.t, x.t = t, t
				column.do(x)
			})
			line += map[bool]string{true: "\tFAILED", false: "\tok"}[failed]
		}
	}
	m.lines = append(m.lines, line)
}

func (m *matrix) header() (line string) {
	for _, column := range columns {
		line += column.name + "\t"
	}
	return strings.TrimSuffix(line, "\t")
}

// note returns the number of a reason.
func (m *matrix) note(why string) string {
	i := slices.Index(m.notes, why)
	if i < 0 {
		m.notes, i = append(m.notes, why), len(m.notes)
	}
	return fmt.Sprint(i + 1)
}

func (m *matrix) print() {
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	for _, line := range m.lines {
		fmt.Fprintln(w, line)
	}
	for i, note := range m.notes {
		fmt.Fprintf(w, "\n-%d: %s", i+1, note)
	}
	fmt.Fprintln(w)
	w.Flush()
	m.t.Logf("%s", &table)
	if *clientsTable != "" {
		write(m.t, *clientsTable, table.String())
	}
}

// do makes the client do something that must succeed.
func (x *cell) do(verb, dir string, specs ...string) {
	x.t.Helper()
	if err := x.c.do(x.matrix, verb, x.url, dir, specs...); err != nil {
		x.t.Fatalf("%s %v: %v", verb, specs, err)
	}
}

func (x *cell) clone() {
	x.do("clone", x.dir)
	x.fetched(x.dir)
	x.check(x.dir)
}

// push makes a branch, which in an empty project is main.
func (x *cell) push() {
	parent := x.tip
	for range 3 {
		x.tip = x.commit(x.dir, x.tip)
	}
	branch := x.ref("work")
	if parent == "" {
		branch = "refs/heads/main"
	}
	x.ok("root", x.dir, "update-ref", branch, x.tip)
	x.do("push", x.dir, branch+":"+branch)
	// Again, with an older version on the server.
	x.tip = x.commit(x.dir, x.tip)
	x.ok("root", x.dir, "update-ref", branch, x.tip)
	x.do("push", x.dir, branch+":"+branch)
	x.p.refs[branch] = x.tip
	x.check(x.dir)
}

// fetch brings what another client has pushed.
func (x *cell) fetch() {
	other := x.other()
	tip := x.commit(other, x.commit(other, x.p.refs["refs/heads/main"]))
	for _, branch := range []string{x.ref("theirs"), "refs/heads/main"} {
		x.ok("root", other, "push", "-q", x.world.url(x.p.name), tip+":"+branch)
		x.p.refs[branch] = tip
	}
	x.do("fetch", x.dir)
	x.fetched(x.dir)
	x.fsck(x.dir)
}

// forcePush replaces the last commit of a branch.
func (x *cell) forcePush() {
	branch := x.ref("work")
	x.tip = x.commit(x.dir, x.rev(x.dir, x.tip+"~1"))
	old := x.commit(x.dir, x.tip)
	x.ok("root", x.dir, "update-ref", branch, old)
	x.do("push", x.dir, "+"+branch+":"+branch)
	x.tip = x.commit(x.dir, x.tip)
	x.ok("root", x.dir, "update-ref", branch, x.tip)
	x.do("push", x.dir, "+"+branch+":"+branch)
	x.p.refs[branch] = x.tip
	x.check(x.dir)
}

// tags pushes tags of both kinds, then fetches one of each.
func (x *cell) tags() {
	prefix := strings.TrimPrefix(x.ref(""), "refs/heads/")
	var specs []string
	for _, kind := range [][]string{{"tag", prefix + "light", x.tip}, {"tag", "-a", "-m", "tag", prefix + "full", x.tip}} {
		x.ok("root", x.dir, kind...)
		ref := "refs/tags/" + kind[len(kind)-2]
		specs = append(specs, ref+":"+ref)
		x.p.refs[ref] = x.rev(x.dir, ref)
	}
	x.do("push", x.dir, specs...)

	other := x.other()
	x.ok("root", other, "tag", prefix+"light-theirs", "FETCH_HEAD")
	x.ok("root", other, "tag", "-a", "-m", "tag", prefix+"full-theirs", "FETCH_HEAD")
	x.ok("root", other, "push", "-q", x.world.url(x.p.name), "refs/tags/*:refs/tags/*")
	maps.Copy(x.p.refs, x.localRefs(other, "refs/tags/"))
	x.do("fetch", x.dir)
	x.fetched(x.dir)
	x.check(x.dir)
}

func (x *cell) remove() {
	for _, ref := range []string{x.ref("theirs"), "refs/tags/" + strings.TrimPrefix(x.ref("light"), "refs/heads/")} {
		x.ok("root", x.dir, "update-ref", ref, x.tip) // isomorphic-git deletes only what it knows
		x.do("push", x.dir, ":"+ref)
		delete(x.p.refs, ref)
	}
	x.check(x.dir)
}

// shallow is about a branch whose commits are no other branch's.
func (x *cell) shallow() {
	other := x.other()
	tip := x.p.refs["refs/heads/main"]
	for range 6 {
		tip = x.commit(other, tip)
	}
	branch := x.ref("deep")
	x.ok("root", other, "push", "-q", x.world.url(x.p.name), tip+":"+branch)
	x.p.refs[branch] = tip
	dir := filepath.Join(x.t.TempDir(), "shallow")
	for i, verb := range []string{"shallow", "deepen"} {
		if x.c.lack[verb] != "" {
			continue
		}
		x.do(verb, dir)
		commits := x.ok("root", dir, "rev-list", strings.Replace(branch, "refs/heads", "refs/remotes/origin", 1))
		if got, want := strings.Count(commits, "\n"), 1+2*i; got != want {
			x.t.Errorf("%s: there are %d commits, want %d", verb, got, want)
		}
		x.fsck(dir)
	}
}

func (x *cell) partial() {
	dir := filepath.Join(x.t.TempDir(), "partial")
	x.do("partial", dir)
	x.fetched(dir)
	if missing := x.ok("root", dir, "rev-list", "--objects", "--missing=print", "refs/remotes/origin/main"); !strings.Contains(missing, "\n?") {
		x.t.Error("a clone without blobs has them all")
	}
	x.ok("root", dir, "checkout", "-q", "origin/main") // fetches blobs
	x.fsck(dir)
}

// other is a second clone, with just enough to build on main.
func (x *cell) other() string {
	dir := filepath.Join(x.t.TempDir(), "other")
	x.ok("root", x.t.TempDir(), "init", "-q", "--object-format="+x.p.format.String(), dir)
	x.ok("root", dir, "fetch", "-q", "--depth=1", x.world.url(x.p.name), "main")
	return dir
}

// ref is a branch that only this cell works on.
func (x *cell) ref(name string) string {
	if x.p.refs["refs/heads/main"] == x.tip && name == "work" && strings.HasPrefix(x.p.name, "empty") {
		return "refs/heads/main"
	}
	return fmt.Sprintf("refs/heads/%s-%s-%s", x.c.name, x.way, name)
}

// commit makes a commit that changes one file and adds another; the network is all that clients are tested on.
func (x *cell) commit(dir, parent string) string {
	x.t.Helper()
	x.made++
	args := []string{"commit-tree", "-m", fmt.Sprint("change ", x.made)}
	if parent == "" {
		x.ok("root", dir, "read-tree", "--empty")
	} else {
		x.ok("root", dir, "read-tree", parent)
		args = append(args, "-p", parent)
	}
	file := filepath.Join(x.t.TempDir(), "file")
	for _, name := range []string{"file", fmt.Sprintf("sub/%s-%s-%d", x.c.name, x.way, x.made)} {
		write(x.t, file, strings.Repeat("line of "+name+"\n", 30)+fmt.Sprint(x.made))
		blob := x.line(dir, "hash-object", "-w", file)
		x.ok("root", dir, "update-index", "--add", "--cacheinfo", "100644,"+blob+","+name)
	}
	return x.line(dir, append(args, x.line(dir, "write-tree"))...)
}

func (x *cell) rev(dir, rev string) string { x.t.Helper(); return x.line(dir, "rev-parse", rev) }

func (x *cell) line(dir string, args ...string) string {
	x.t.Helper()
	return strings.TrimSpace(x.ok("root", dir, args...))
}

// fetched compares the refs that a client has of the server with what they should be.
func (x *cell) fetched(dir string) {
	x.t.Helper()
	got := x.localRefs(dir, "refs/tags/")
	for ref, id := range x.localRefs(dir, "refs/remotes/origin/") {
		if name := strings.TrimPrefix(ref, "refs/remotes/origin/"); name != "HEAD" {
			got["refs/heads/"+name] = id
		}
	}
	if diff := cmp.Diff(x.p.refs, got); diff != "" {
		x.t.Errorf("the client's refs (-want +got):\n%s", diff)
	}
}

// fsck has git look at what the client has.
func (x *cell) fsck(dir string) {
	x.t.Helper()
	x.ok("root", dir, "fsck", "--full", "--no-dangling")
}

// check has git look at what the client has, and at what a mirror clone gets after it has pushed.
func (x *cell) check(dir string) {
	x.t.Helper()
	x.fsck(dir)
	if maps.Equal(x.p.refs, x.p.mirror) {
		return // nothing was pushed since the last look
	}
	mirror := filepath.Join(x.t.TempDir(), "mirror")
	x.ok("root", x.t.TempDir(), "clone", "-q", "--mirror", x.world.url(x.p.name), mirror)
	x.ok("root", mirror, "fsck", "--full", "--no-dangling")
	if diff := cmp.Diff(x.p.refs, x.localRefs(mirror, "refs/")); diff != "" {
		x.t.Errorf("the server's refs (-want +got):\n%s", diff)
	}
	x.p.mirror = maps.Clone(x.p.refs)
	if err := os.RemoveAll(mirror); err != nil {
		x.t.Error(err)
	}
}

// localRefs returns the refs of a repository below a prefix.
func (m *matrix) localRefs(dir, prefix string) map[string]string {
	m.t.Helper()
	refs := map[string]string{}
	for line := range strings.Lines(m.ok("root", dir, "for-each-ref", "--format=%(objectname) %(refname)", prefix)) {
		id, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		refs[name] = id
	}
	return refs
}

// run runs a client's program, which gets two minutes.
func (m *matrix) run(dir, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, m.env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

func doGit(m *matrix, verb, url, dir string, specs ...string) error {
	switch verb {
	case "clone":
		return m.run("", "git", "clone", "-q", "-n", url, dir)
	case "shallow":
		return m.run("", "git", "clone", "-q", "-n", "--depth=1", "--no-single-branch", url, dir)
	case "partial":
		return m.run("", "git", "clone", "-q", "-n", "--filter=blob:none", url, dir)
	case "fetch":
		return m.run(dir, "git", "fetch", "-q", "--tags", "--force")
	case "deepen":
		return m.run(dir, "git", "fetch", "-q", "--depth=3")
	}
	return m.run(dir, "git", append([]string{"push", "-q", "origin"}, specs...)...)
}

// jgitPath is what Debian's jgit forgets to put on its class path.
func jgitPath() string {
	jars, _ := filepath.Glob("/usr/share/java/org.eclipse.jgit*.jar")
	for _, name := range []string{"httpclient", "httpcore", "commons-logging", "slf4j-api", "slf4j-nop", "jsch", "JavaEWAH"} {
		jars = append(jars, "/usr/share/java/"+name+".jar")
	}
	return strings.Join(jars, ":")
}

func doJGit(m *matrix, verb, url, dir string, specs ...string) error {
	args := map[string][]string{
		"clone": {"clone", "--quiet", "-n", url, dir},
		"fetch": {"fetch", "--quiet", "--tags"},
		"push":  append([]string{"push", "origin"}, specs...),
	}[verb]
	in := dir
	if verb == "clone" {
		in = ""
	}
	return m.run(in, "env", append([]string{"JGIT_CLASSPATH=" + jgitPath(),
		"JAVA_TOOL_OPTIONS=-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Duser.home=" + m.dir, "jgit"}, args...)...)
}

// driver is a client that a script of ours drives.
func driver(program, script string) func(*matrix, string, string, string, ...string) error {
	return func(m *matrix, verb, url, dir string, specs ...string) error {
		path, err := filepath.Abs(filepath.Join("testdata", "clients", script))
		if err != nil {
			return err
		}
		return m.run("", program, append([]string{path, verb, url, dir}, specs...)...)
	}
}

// doGoGit asks again where go-git takes a fetch over SSH for failed, since the host had answered and closed before go-git closed its side.
// After a push that is none, and whether all is there the test looks up.
func doGoGit(m *matrix, verb, url, dir string, specs ...string) error {
	for tries := 0; ; tries++ {
		err := goGit(m, verb, url, dir, specs...)
		early := err != nil && strings.HasPrefix(url, "ssh:") && strings.HasSuffix(err.Error(), io.EOF.Error())
		switch {
		case early && verb == "push":
			return nil
		case !early || tries == 10:
			return err
		}
	}
}

func goGit(m *matrix, verb, url, dir string, specs ...string) error {
	var login transport.AuthMethod = &http.BasicAuth{Username: "root", Password: m.token}
	if strings.HasPrefix(url, "ssh:") {
		key, err := gogitssh.NewPublicKeys("git", must(os.ReadFile(keyFile(m.t, "root", ""))), "")
		if err != nil {
			return err
		}
		key.HostKeyCallback = gossh.InsecureIgnoreHostKey()
		login = key
	}
	depth := map[string]int{"shallow": 1, "deepen": 3}[verb]
	if verb == "clone" || verb == "shallow" {
		_, err := gogit.PlainClone(dir, false, &gogit.CloneOptions{URL: url, Auth: login, NoCheckout: true, Depth: depth, Tags: gogit.AllTags})
		if !errors.Is(err, transport.ErrEmptyRemoteRepository) {
			return err
		}
		r, err := gogit.PlainInit(dir, false) // what it had begun it has removed
		if err == nil {
			_, err = r.CreateRemote(&config.RemoteConfig{Name: "origin", URLs: []string{url}})
		}
		return err
	}
	r, err := gogit.PlainOpen(dir)
	if err != nil {
		return err
	}
	if verb == "push" {
		var refSpecs []config.RefSpec
		for _, spec := range specs {
			refSpecs = append(refSpecs, config.RefSpec(spec))
		}
		return r.Push(&gogit.PushOptions{Auth: login, RefSpecs: refSpecs})
	}
	return r.Fetch(&gogit.FetchOptions{Auth: login, Depth: depth, Tags: gogit.AllTags, Force: true})
}
