//go:build clients

package server_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/server"
	"holdfast/server/svnrepos"
	"holdfast/server/svnservetest"
	"holdfast/storage"
	"holdfast/storage/svn"
)

// svnClient is a program that speaks Subversion's protocol.
type svnClient struct {
	name string
	do   map[string]func(*svnCell) // columns, of svnColumns
	lack map[string]string         // column or transport -> why the client cannot
}

// svnColumns are the operations, in the order in which they are done.
var svnColumns = []string{"checkout", "commit", "merge", "log", "blame", "lock", "copy out", "copy in"}

// svnClients are the rows of the table.
var svnClients = []svnClient{
	{"svn", commandLine, map[string]string{"copy out": "svnsync and svnrdump do that", "copy in": "svnsync and svnrdump do that"}},
	{"SVNKit", commandLine, map[string]string{
		"copy out": "svnsync and svnrdump do that", "copy in": "svnsync and svnrdump do that",
		"ssh": "SVNKit's own SSH (Trilead) knows key exchanges with SHA-1 only, which the host refuses"}},
	{"git-svn", map[string]func(*svnCell){
		"checkout": (*svnCell).gitClone, "commit": (*svnCell).gitCommit, "merge": (*svnCell).gitMerge,
		"log": (*svnCell).gitLog, "blame": (*svnCell).gitBlame,
	}, map[string]string{"lock": "git-svn knows no locks", "copy out": "its checkout has all of history", "copy in": "git-svn adds no history of others"}},
	{"svnsync", map[string]func(*svnCell){"copy out": (*svnCell).syncOut, "copy in": (*svnCell).syncIn}, onlyCopies},
	{"svnrdump", map[string]func(*svnCell){"copy out": (*svnCell).dumpOut, "copy in": (*svnCell).loadIn}, onlyCopies},
}

var commandLine = map[string]func(*svnCell){
	"checkout": (*svnCell).checkout, "commit": (*svnCell).commit, "merge": (*svnCell).merge,
	"log": (*svnCell).log, "blame": (*svnCell).blame, "lock": (*svnCell).lock,
}

var onlyCopies = map[string]string{
	"checkout": "it copies whole repositories only", "commit": "it copies whole repositories only", "merge": "it copies whole repositories only",
	"log": "it copies whole repositories only", "blame": "it copies whole repositories only", "lock": "it copies whole repositories only",
}

// svnMatrix is a host, and a real svnserve beside it that is asked for the same.
type svnMatrix struct {
	*svnWorld
	secret string
	seed   []byte // a dump
	ssh    string // the value of SVN_SSH
	peer   string // address of svnserve
	repos  string // its repositories
}

// svnCell is one client's work on one repository, on the host or on svnserve.
type svnCell struct {
	*svnMatrix
	t    *testing.T
	c    svnClient
	url  string
	dir  string          // of its own
	said strings.Builder // what the client printed and what it made
	name string          // of the repository, and of an empty one behind it with "-empty"
	dump func(name string) []byte
}

// TestSvnClients has every client do what it can, once on a host and once on Subversion's own svnserve: what it prints, what it has
// afterwards and what the server has must be the same.
func TestSvnClients(t *testing.T) {
	t.Parallel()
	m := newSvnMatrix(t)
	lines := []string{"Subversion\t" + strings.Join(svnColumns, "\t")}
	var notes []string
	note := func(why string) string {
		for i, n := range notes {
			if n == why {
				return fmt.Sprint(i + 1)
			}
		}
		notes = append(notes, why)
		return fmt.Sprint(len(notes))
	}
	for _, c := range svnClients {
		ways := []string{"ssh", "svn"}
		if c.name == "SVNKit" {
			ways = append(ways, "OpenSSH")
		}
		for _, way := range ways {
			line, name := "  "+c.name+", "+way, strings.ToLower(c.name+"-"+way)
			if why := c.lack[way]; why != "" {
				lines = append(lines, line+strings.Repeat("\t-"+note(why), len(svnColumns)))
				continue
			}
			t.Run(c.name+"/"+way, func(t *testing.T) {
				ours, theirs := m.cells(t, c, way, name)
				failed := false
				for _, column := range svnColumns {
					do := c.do[column]
					switch {
					case do == nil:
						line += "\t-" + note(c.lack[column])
					case failed:
						line += "\t?"
					default:
						failed = !t.Run(column, func(t *testing.T) { compare(t, ours, theirs, column, do) })
						line += map[bool]string{true: "\tFAILED", false: "\tok"}[failed]
					}
				}
			})
			lines = append(lines, line)
		}
	}
	printTable(t, lines, notes)
}

func printTable(t *testing.T, lines, notes []string) {
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	for _, line := range lines {
		fmt.Fprintln(w, line)
	}
	for i, note := range notes {
		fmt.Fprintf(w, "\n-%d: %s", i+1, note)
	}
	fmt.Fprintln(w)
	w.Flush()
	t.Logf("\n%s", &table)
	if *clientsTable != "" {
		write(t, *clientsTable+".svn", table.String())
	}
}

func newSvnMatrix(t *testing.T) *svnMatrix {
	m := &svnMatrix{svnWorld: newSvnWorld(t, server.Config{}, time.Minute)}
	m.secret = must(m.srv.CreateSvnSecret(t.Context(), server.Local, "alice", io.Discard))
	_, port, _ := net.SplitHostPort(m.world.ssh)
	m.ssh = "ssh -p " + port + " -F none -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none " +
		"-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -i " + keyFile(t, "alice", "")
	m.repos = filepath.Join(m.dir, "repos")
	for _, dir := range []string{m.repos, filepath.Join(m.dir, "home")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(m.askpass(), []byte("#!/bin/sh\necho "+m.secret+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	m.peer = svnservetest.Serve(t, m.repos)
	m.seed = m.makeSeed()
	return m
}

// newPeer makes a repository of svnserve's, which alice may do everything with.
func (m *svnMatrix) newPeer(t *testing.T, name string, dump []byte) {
	t.Helper()
	dir := filepath.Join(m.repos, name)
	m.must(t, nil, "svnadmin", "create", dir)
	write(t, filepath.Join(dir, "conf/svnserve.conf"), "[general]\nanon-access = none\nauth-access = write\npassword-db = passwd\nrealm = test\n")
	write(t, filepath.Join(dir, "conf/passwd"), "[users]\nalice = "+m.secret+"\n")
	hook := filepath.Join(dir, "hooks/pre-revprop-change")
	write(t, hook, "#!/bin/sh\n")
	if err := os.Chmod(hook, 0o700); err != nil {
		t.Fatal(err)
	}
	if dump != nil {
		m.must(t, dump, "svnadmin", "load", "-q", dir)
	}
}

// newOurs makes a repository of the host's, which alice may do everything with.
func (m *svnMatrix) newOurs(t *testing.T, name string, dump []byte) {
	t.Helper()
	ctx := t.Context()
	err := m.srv.CreateRepo(ctx, server.Local, server.NewRepo{Name: name, SCM: storage.Svn}, io.Discard)
	if err == nil {
		err = m.srv.Grant(ctx, server.Local, name, "alice", "admin", io.Discard)
	}
	if err == nil && dump != nil {
		err = m.srv.SvnLoad(ctx, server.Local, name, bytes.NewReader(dump), svnrepos.LoadOptions{}, nil, io.Discard)
	}
	if err != nil {
		t.Fatal(err)
	}
	if dump == nil {
		m.freeRevProps(name)
	}
}

// freeRevProps gives alice the right to change any property of revisions, which svnsync and svnrdump need to copy a history into a
// repository.
func (m *svnMatrix) freeRevProps(name string) {
	dir := filepath.Join(m.dir, "policy-"+name)
	m.ok("root", m.dir, "clone", "-q", m.world.url("holdfast-admin"), dir)
	file := filepath.Join(dir, "repos", name+".yaml")
	write(m.world.t, file, string(must(os.ReadFile(file)))+"\nsvn:\n  revprops: {\"*\": [alice]}\n")
	m.ok("root", dir, "commit", "-qam", "properties of "+name)
	m.ok("root", dir, "push", "-q", "origin", "main")
}

// makeSeed returns a dump with a branch, a merge, properties and a text that is not.
func (m *svnMatrix) makeSeed() []byte {
	t := m.world.t
	m.newPeer(t, "seed", nil)
	url, wc := "file://"+filepath.Join(m.repos, "seed"), filepath.Join(m.dir, "seed-wc")
	svn := func(args ...string) {
		t.Helper()
		m.must(t, nil, "svn", append([]string{"-q", "--username", "sally", "--non-interactive"}, args...)...)
	}
	svn("mkdir", "-m", "layout", url+"/trunk", url+"/branches", url+"/tags")
	svn("checkout", url+"/trunk", wc)
	write(t, filepath.Join(wc, "file"), numbered(1, 40))
	write(t, filepath.Join(wc, "b\u00e4r @x"), "odd name\n")
	write(t, filepath.Join(wc, "binary"), string(bytes.Repeat([]byte{0, 1, 2, 0xff}, 5000)))
	svn("add", filepath.Join(wc, "file"), filepath.Join(wc, "b\u00e4r @x@"), filepath.Join(wc, "binary"))
	svn("propset", "svn:mime-type", "application/octet-stream", filepath.Join(wc, "binary"))
	svn("propset", "svn:executable", "*", filepath.Join(wc, "binary"))
	svn("commit", "-m", "files\nof several kinds", wc)
	svn("copy", "-m", "branch", url+"/trunk", url+"/branches/old")
	svn("switch", url+"/branches/old", wc)
	write(t, filepath.Join(wc, "file"), numbered(1, 20)+"on the branch\n"+numbered(21, 40))
	svn("commit", "-m", "on the branch", wc)
	svn("switch", url+"/trunk", wc)
	svn("merge", url+"/branches/old", wc)
	svn("commit", "-m", "merged", wc)
	svn("copy", "-m", "tag", url+"/trunk@3", url+"/tags/one")
	return m.must(t, nil, "svnadmin", "dump", "-q", "--deltas", filepath.Join(m.repos, "seed"))
}

func numbered(from, to int) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	return b.String()
}

// cells makes a client's repositories on both sides.
func (m *svnMatrix) cells(t *testing.T, c svnClient, way, name string) (ours, theirs *svnCell) {
	for suffix, dump := range map[string][]byte{"": m.seed, "-empty": nil} {
		m.newPeer(t, name+suffix, dump)
		m.newOurs(t, name+suffix, dump)
	}
	ours = &svnCell{svnMatrix: m, c: c, name: name, dir: t.TempDir(), url: "svn://" + m.plain + "/" + name}
	switch way {
	case "ssh":
		ours.url = "svn+ssh://git@127.0.0.1/" + name
	case "OpenSSH": // as a tunnel of the client's configuration
		ours.url = "svn+openssh://git@127.0.0.1/" + name
		if err := os.Mkdir(ours.path("config"), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(ours.path("config"), "config"), "[tunnels]\nopenssh = "+m.ssh+"\n")
	}
	ours.dump = func(name string) []byte {
		var b bytes.Buffer
		o := svnrepos.DumpOptions{From: svn.InvalidRevnum, To: svn.InvalidRevnum}
		if err := m.srv.SvnDump(t.Context(), server.Local, name, &b, o, nil); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	theirs = &svnCell{svnMatrix: m, c: c, name: name, dir: t.TempDir(), url: "svn://" + m.peer + "/" + name}
	for _, x := range []*svnCell{ours, theirs} {
		if err := os.Mkdir(x.path("home"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	theirs.dump = func(name string) []byte {
		return m.must(t, nil, "svnadmin", "dump", "-q", filepath.Join(m.repos, name))
	}
	return ours, theirs
}

// compare does one thing on both sides, at the same time: SVNKit waits a second whenever it has changed a working copy.
func compare(t *testing.T, ours, theirs *svnCell, column string, do func(*svnCell)) {
	done := t.Run("do", func(t *testing.T) {
		for name, x := range map[string]*svnCell{"svnserve": theirs, "holdfast": ours} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				x.t = t
				x.said.Reset()
				do(x)
			})
		}
	})
	if !done {
		return
	}
	if got, want := ours.normal(ours.said.String()), theirs.normal(theirs.said.String()); got != want {
		t.Errorf("%s (-svnserve +holdfast):\n%s", column, cmp.Diff(want, got))
	}
	for _, name := range []string{ours.name, ours.name + "-empty"} {
		got, want := ours.normal(string(ours.dump(name))), theirs.normal(string(theirs.dump(name)))
		if got != want {
			t.Errorf("after %s, the dump of %s (-svnserve +holdfast):\n%s", column, name, cmp.Diff(want, got))
		}
	}
}

// svnVarying are what differs from one repository, and one moment, to the next: dates, uuids, ids of git commits.
var svnVarying = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{6}Z|( [-+]\d{4})?( \([^)]*\))?)|` +
	`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]{40}\b`)

func (x *svnCell) normal(s string) string {
	for _, address := range []string{x.url, strings.Replace(x.url, "git@", "", 1)} { // git-svn shows no user
		s = strings.ReplaceAll(s, address, "URL")
	}
	s = strings.ReplaceAll(s, x.dir, "DIR")
	var lines []string
	for line := range strings.Lines(s) {
		switch {
		case strings.HasPrefix(line, "Prop-content-length"), strings.HasPrefix(line, "Content-length"), strings.HasPrefix(line, "V "):
			continue // of values that have a URL in them
		}
		lines = append(lines, svnVarying.ReplaceAllString(line, "*"))
	}
	return strings.Join(lines, "")
}

// command is a client's program. Its home is in the directory that it works in, for what clients write there.
func (m *svnMatrix) command(ctx context.Context, dir string, stdin []byte, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(stdin)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC", "HOME="+filepath.Join(dir, "home"), "SVN_SSH="+m.ssh, "GIT_ASKPASS="+m.askpass(),
		"GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.org",
		"GIT_MERGE_AUTOEDIT=no")
	return cmd
}

// askpass is a program that tells git-svn the secret.
func (m *svnMatrix) askpass() string { return filepath.Join(m.dir, "askpass") }

// must runs a program that has to succeed, and returns its standard output.
func (m *svnMatrix) must(t *testing.T, stdin []byte, name string, args ...string) []byte {
	t.Helper()
	return m.mustIn(t, m.dir, stdin, name, args...)
}

func (m *svnMatrix) mustIn(t *testing.T, dir string, stdin []byte, name string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := m.command(ctx, dir, stdin, name, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, &out, &errOut)
	}
	return out.Bytes()
}
