//go:build judge

package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"holdfast/server/svnservetest"
)

var (
	operations = flag.Int("operations", 100, "how many random `operations` are played on both servers")
	firstSeed  = flag.Uint64("seed", 1, "the seed of the first episode; the next ones count on")
	perEpisode = flag.Int("episode", 200, "operations that are played on one repository")
	lookEvery  = flag.Int("look", 20, "operations after which working copies are compared")
)

// TestDifferential plays random operations with real clients on Subversion's server and on this one. Each operation must say
// the same on both, errors included; and working copies, logs and canonical dumps must be the same. A failure prints
// the seed and the operations that lead to it, and none that come after it.
func TestDifferential(t *testing.T) {
	for _, program := range []string{"svn", "svnmucc", "svnrdump", "svnserve", "svnadmin", "svnlook"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatal(err)
		}
	}
	for seed, left := *firstSeed, *operations; left > 0; seed, left = seed+1, left-*perEpisode {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			n := min(left, *perEpisode)
			if at, what := play(t, seed, n, n); what != "" {
				if again, whatAgain := play(t, seed, at, at-*lookEvery); whatAgain != "" {
					at, what = again, whatAgain // a look after each operation finds the first that went wrong
				}
				t.Errorf("seed %d: the shortest prefix that fails has %d operations:\n%s\nrun again: make svn-differential N=%d SEED=%d\n%s",
					seed, at, strings.Join(history, "\n"), at, seed, what)
			}
		})
	}
}

// history is what the last play did.
var history []string

// ownFaults are what svnserve says when it fails where it should not: it forgets to skip what a client reports of a directory
// that has become a file, and it dies of a listing that meets a revision without an author. There is nothing to compare with
// after that.
var ownFaults = regexp.MustCompile(`Working copy path '[^']*' does not exist in repository|Network connection closed unexpectedly`)

// clientFault is what svn says when an update meets a node of its own working copy that it has lost. Both servers send the entries of a
// directory in any order, so that how far it came by then is chance.
var clientFault = regexp.MustCompile(`E155010: The node '[^']*' was not found`)

// play plays n operations of a seed. It looks at working copies now and then, and after each operation from one on at the repository
// too, as at the end. It returns the number of operations after which something differs, and what.
func play(t *testing.T, seed uint64, n, from int) (at int, what string) {
	w := newWorld(t)
	g := newGenerator(seed, w.sides[0])
	history = nil
	for i := 1; i <= n; i++ {
		o := g.next()
		history = append(history, fmt.Sprintf("%3d %s", i, o))
		looks := []func(*side) string{func(s *side) string { return s.play(o) }}
		if i%*lookEvery == 0 || i >= from {
			looks = append(looks, (*side).workingCopies)
		}
		if i >= from {
			looks = append(looks, (*side).repository)
		}
		for _, look := range looks {
			got := w.both(look)
			if got[0] == got[1] {
				continue
			}
			if fault := ownFaults.FindString(got[0]); fault != "" {
				t.Logf("seed %d: svnserve fails after %d operations: %s", seed, i, fault)
				return i, ""
			}
			if fault := clientFault.FindString(got[0]); fault != "" && clientFault.MatchString(got[1]) {
				t.Logf("seed %d: svn fails after %d operations: %s", seed, i, fault)
				return i, ""
			}
			return i, difference(got[0], got[1])
		}
	}
	return n, ""
}

// operation is what is done on both sides.
type operation struct {
	name  string
	steps []step
}

// step runs a program, or writes a file if there is none. URL and DIR stand for the repository's and for a folder of the side.
type step struct {
	argv    []string
	file    string
	content string
	order   bool // the output's lines have an order that means something
}

// String shows what can be typed.
func (o operation) String() string {
	var b strings.Builder
	fmt.Fprint(&b, o.name, ":")
	for _, s := range o.steps {
		if s.argv == nil {
			fmt.Fprintf(&b, " write %s (%d bytes);", s.file, len(s.content))
			continue
		}
		fmt.Fprintf(&b, " %q;", s.argv)
	}
	return b.String()
}

// world is one repository, twice, with working copies of each.
type world struct{ sides [2]*side }

// side is one of both servers and what its clients have.
type side struct {
	url  string
	repo string // the repository, or its skeleton
	dir  string // the clients' folder: working copies wc1, wc2 and so on
}

const hookScript = `#!/bin/sh
# A commit that another one overtakes.
if [ -f "$1/race" ]; then /bin/mv "$1/race" "$1/race.now"; /bin/sh "$1/race.now" >"$1/race.out" 2>&1; fi
exit 0
`

const uuid = "5a3d4b0e-0000-4000-8000-00000000f00d"

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	if shm, err := os.MkdirTemp("/dev/shm", "svn-differential."); err == nil {
		t.Cleanup(func() { os.RemoveAll(shm) })
		dir = shm
	}
	w := &world{}
	for i, start := range []func(*testing.T, *side){startReal, startOurs} {
		s := &side{repo: filepath.Join(dir, fmt.Sprint("repo", i)), dir: filepath.Join(dir, fmt.Sprint("side", i))}
		for _, d := range []string{s.dir, filepath.Join(s.dir, "home")} {
			if err := os.Mkdir(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		start(t, s)
		w.sides[i] = s
	}
	return w
}

// configure writes what both servers read beside a repository.
func configure(t *testing.T, repo string) {
	t.Helper()
	for name, content := range map[string]string{
		"conf/svnserve.conf":        "[general]\nanon-access = none\nauth-access = write\npassword-db = passwd\nrealm = realm\n",
		"conf/passwd":               "[users]\nalice = secret\nbob = secret\n",
		"hooks/pre-commit":          hookScript,
		"hooks/pre-revprop-change":  "#!/bin/sh\nexit 0\n",
		"hooks/post-revprop-change": "#!/bin/sh\nexit 0\n",
	} {
		path := filepath.Join(repo, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// startReal serves a new repository with svnserve, a process a connection.
func startReal(t *testing.T, s *side) {
	t.Helper()
	svnservetest.Admin(t, nil, "create", s.repo)
	svnservetest.Admin(t, nil, "setuuid", s.repo, uuid)
	configure(t, s.repo)
	s.url = "svn://" + svnservetest.Serve(t, s.repo)
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// both has both sides do something at the same time, and returns the results.
func (w *world) both(do func(*side) string) (got [2]string) {
	var wg sync.WaitGroup
	for i, s := range w.sides {
		wg.Go(func() { got[i] = do(s) })
	}
	wg.Wait()
	return got
}

// difference shows the first lines that differ, with what is around them.
func difference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	show := func(lines []string) string {
		return strings.Join(lines[max(0, min(i-6, len(lines))):min(len(lines), i+12)], "\n")
	}
	return fmt.Sprintf("--- Subversion's, around line %d\n%s\n--- here\n%s", i+1, show(a), show(b))
}

// play does an operation and returns all that it said.
func (s *side) play(o operation) string {
	var b strings.Builder
	for _, st := range o.steps {
		if st.argv == nil {
			path := s.fill(st.file)
			os.MkdirAll(filepath.Dir(path), 0o755)
			if err := os.WriteFile(path, []byte(s.fill(st.content)), 0o644); err != nil {
				fmt.Fprintln(&b, "cannot write", st.file)
			}
			continue
		}
		b.WriteString(s.run(st))
	}
	return b.String()
}

func (s *side) fill(text string) string {
	return strings.NewReplacer("$URL", s.url, "$DIR", s.dir, "$REPO", s.repo).Replace(text)
}

var (
	clientPrograms = []string{"svn", "svnmucc", "svnrdump"}
	dates          = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+Z| [+-]\d{4} \([^)]*\))|[A-Z][a-z]{2} \d\d \d\d:\d\d`)
	tokens         = regexp.MustCompile(`opaquelocktoken:[0-9a-f-]{36}`)
	lockChecks     = regexp.MustCompile(`E16003[79]: .* lock on path .*`) // which of several is told first is up to a hash
	txnNames       = regexp.MustCompile(`\b\d+-[0-9a-z]+\b`)
)

// run runs a program and returns its command line, output and status, with what may differ made equal.
func (s *side) run(st step) string {
	argv := slices.Clone(st.argv)
	for i := range argv {
		argv[i] = s.fill(argv[i])
	}
	if slices.Contains(clientPrograms, argv[0]) {
		argv = append(argv, "--non-interactive", "--no-auth-cache", "--password", "secret", "--config-dir", filepath.Join(s.dir, "config"))
		if !slices.Contains(argv, "--username") {
			argv = append(argv, "--username", "alice")
		}
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, &stdout, &stderr
	cmd.Env = []string{"LC_ALL=C.UTF-8", "TZ=UTC", "PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(s.dir, "home"),
		"SVN_I_LOVE_CORRUPTED_WORKING_COPIES_SO_DISABLE_SLEEP_FOR_TIMESTAMPS=yes"}
	err := cmd.Run()
	out := strings.Split(s.plain(stdout.String()), "\n")
	complaint := strings.TrimSpace(s.plain(stderr.String()))
	if strings.Contains(complaint, "Commit failed") {
		// How far the client came before it heard, and what it puts around what it heard, is a matter of time.
		out, complaint = nil, complaint[strings.LastIndexByte(complaint, '\n')+1:]
	}
	if !st.order {
		slices.Sort(out) // clients and svnserve go through hashes in random order
	}
	return fmt.Sprintf("$ %q\n%s\n%s\n%v\n", st.argv, strings.Join(out, "\n"), complaint, err)
}

func (s *side) plain(text string) string {
	text = strings.NewReplacer(s.url, "URL", strings.TrimPrefix(s.url, "svn://"), "HOST", s.dir, "DIR", s.repo, "REPO").Replace(text)
	text = dates.ReplaceAllString(text, "DATE")
	text = tokens.ReplaceAllString(text, "TOKEN")
	text = lockChecks.ReplaceAllString(text, "a lock forbids it")
	return txnNames.ReplaceAllString(text, "TXN")
}

// workingCopies returns all of the state of the working copies.
func (s *side) workingCopies() string {
	var b strings.Builder
	for _, wc := range workingCopies {
		dir := filepath.Join(s.dir, wc)
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.Name() == ".svn" {
				return filepath.SkipDir
			}
			text, _ := os.ReadFile(path)
			info, _ := d.Info()
			fmt.Fprintf(&b, "%s %s %d bytes\n%s\n", path[len(s.dir):], info.Mode(), len(text), s.plain(string(text)))
			return nil
		})
		for _, argv := range [][]string{{"svn", "status", "-v", wc}, {"svn", "proplist", "-v", "-R", wc}} {
			b.WriteString(s.run(step{argv: argv}))
		}
	}
	return b.String()
}

// repository returns what the clients see of the repository: its log, its files and locks, and all that a dump has.
func (s *side) repository() string {
	log := s.run(step{argv: []string{"svn", "log", "-v", "-g", "$URL"}, order: true})
	list := s.run(step{argv: []string{"svn", "ls", "-R", "-v", "$URL"}})
	dump, err := s.dump()
	if err != nil {
		return log + list + "dump: " + err.Error()
	}
	return log + list + dump
}

// dump returns a canonical dump: what a server chooses to send as a delta drops out when it is loaded and dumped again.
func (s *side) dump() (string, error) {
	copied := s.repo + ".copy"
	defer os.RemoveAll(copied)
	var wire, dump bytes.Buffer
	for _, c := range []struct {
		argv []string
		in   *bytes.Buffer
		out  *bytes.Buffer
	}{
		{[]string{"svnrdump", "dump", "-q", s.url, "--non-interactive", "--no-auth-cache", "--username", "alice", "--password", "secret"}, nil, &wire},
		{[]string{"svnadmin", "create", copied}, nil, nil},
		{[]string{"svnadmin", "load", "-q", "--force-uuid", copied}, &wire, nil},
		{[]string{"svnadmin", "dump", "-q", copied}, nil, &dump},
	} {
		var stderr bytes.Buffer
		cmd := exec.CommandContext(context.Background(), c.argv[0], c.argv[1:]...)
		cmd.Stderr, cmd.Env = &stderr, append(os.Environ(), "HOME="+filepath.Join(s.dir, "home"))
		if c.in != nil {
			cmd.Stdin = c.in
		}
		if c.out != nil {
			cmd.Stdout = c.out
		}
		if err := cmd.Run(); err != nil {
			return "", fmt.Errorf("%s: %w: %s", c.argv[0], err, stderr.String())
		}
	}
	return s.plain(dump.String()), nil
}
