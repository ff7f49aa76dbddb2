//go:build judge

package main

import (
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// workingCopies are the folders that clients work in: each may be sparse, switched and of mixed revisions.
var workingCopies = []string{"wc1", "wc2", "wc3"}

// maxNodes bounds the tree: above it, more is removed than added.
const maxNodes = 60

// generator makes operations. What they are made of is what Subversion's side has: the tree of a revision, the files of a
// working copy. So a seed gives the same operations again as long as both sides agree.
type generator struct {
	*rand.Rand
	real  *side
	trees map[int]tree
	step  int
	kinds []kind
}

// tree has the paths of a revision, without leading slashes, and whether each is a directory.
type tree map[string]bool

// kind is a kind of operation; the weights say how often it comes.
type kind struct {
	weight int
	name   string
	steps  func() []step
}

func newGenerator(seed uint64, real *side) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0)), real: real, trees: map[int]tree{}}
	g.kinds = []kind{
		{28, "edit by URL", g.mucc},
		{16, "edit files", g.editFiles},
		{16, "schedule", g.schedule},
		{18, "commit", g.commit},
		{10, "update", g.update},
		{4, "switch", g.switchTo},
		{3, "depth", g.depth},
		{6, "merge", g.merge},
		{5, "lock", g.lock},
		{2, "revision property", g.revProp},
		{12, "read", g.read},
		{5, "overtake", g.overtake},
		{4, "revert", g.revert},
		{2, "check out", g.checkOut},
	}
	return g
}

// next makes an operation. The first ones of an episode make something to work on.
func (g *generator) next() operation {
	g.step++
	switch g.step {
	case 1:
		return operation{"begin", []step{
			{file: "$DIR/put", content: g.text()},
			{argv: []string{"svnmucc", "-U", "$URL", "-m", "begin", "mkdir", "trunk", "mkdir", "branches", "mkdir", "trunk/a", "put", "$DIR/put", "trunk/a/b",
				"put", "$DIR/put", "trunk/c", "mkdir", "trunk/d"}}}}
	case 2:
		return operation{"check out", []step{
			{argv: []string{"svn", "checkout", "$URL", "wc1"}}, {argv: []string{"svn", "checkout", "$URL", "wc2"}},
			{argv: []string{"svn", "checkout", "--depth", "immediates", "$URL/trunk", "wc3"}}}}
	}
	total := 0
	for _, k := range g.kinds {
		total += k.weight
	}
	for {
		n := g.IntN(total)
		for _, k := range g.kinds {
			if n -= k.weight; n < 0 {
				if steps := k.steps(); len(steps) > 0 {
					return operation{k.name, steps}
				}
				break
			}
		}
	}
}

// youngest reads the number of the youngest revision from where FSFS keeps it.
func (g *generator) youngest() int {
	b, err := os.ReadFile(filepath.Join(g.real.repo, "db", "current"))
	if err != nil {
		panic(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		panic(err)
	}
	return n
}

// rev returns a revision, more often a young one.
func (g *generator) rev() int {
	y := g.youngest()
	if g.chance(2) {
		return y
	}
	return g.IntN(y + 1)
}

func (g *generator) tree(rev int) tree {
	if t := g.trees[rev]; t != nil {
		return t
	}
	cmd := exec.Command("svnlook", "tree", "--full-paths", "-r", strconv.Itoa(rev), g.real.repo)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.Output()
	if err != nil {
		panic(err)
	}
	t := tree{}
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSuffix(line, "\n"); line != "/" && line != "" {
			name, isDir := strings.CutSuffix(line, "/")
			t[name] = isDir
		}
	}
	g.trees[rev] = t
	return t
}

// chance is true once in n times.
func (g *generator) chance(n int) bool { return g.IntN(n) == 0 }

func pick[T any](g *generator, from ...T) T { return from[g.IntN(len(from))] }

// any returns a path of a tree that ok takes, or "".
func (g *generator) any(t tree, ok func(name string, dir bool) bool) string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if ok(name, t[name]) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return names[g.IntN(len(names))]
}

func anything(string, bool) bool       { return true }
func aFile(_ string, dir bool) bool    { return !dir }
func aDir(_ string, dir bool) bool     { return dir }
func deep(name string, _ bool) bool    { return strings.Count(name, "/") > 6 }
func below(dir, name string) bool      { return strings.HasPrefix(name, dir+"/") }
func (g *generator) dir(t tree) string { return g.any(t, aDir) }

// fresh returns a path in a directory of a tree; most often nothing is there.
func (g *generator) fresh(t tree) string {
	name := pick(g, "a", "b", "c", "d", "e", "f g", "h@1", "i%20", "ä", "k.txt", "trunk", "branches")
	if g.chance(3) {
		name += strconv.Itoa(g.IntN(30))
	}
	dir := g.dir(t)
	if deep(dir, true) {
		dir = ""
	}
	return path.Join(dir, name)
}

// text makes a file: lines of few words, so that versions have lines in common; sometimes long, sometimes binary.
func (g *generator) text() string {
	n := g.IntN(25)
	switch g.IntN(30) {
	case 0:
		n = 3000 + g.IntN(6000)
	case 1:
		b := make([]byte, g.IntN(300000))
		for i := range b {
			b[i] = byte(g.Uint32())
		}
		return string(b)
	}
	var b strings.Builder
	for range n {
		b.WriteString(g.line())
	}
	return b.String()
}

func (g *generator) line() string {
	words := []string{"one", "two", "three", "four", "$Revision$", "six", "a longer word that fills the line"}
	return fmt.Sprintf("%s %d %s\n", pick(g, words...), g.IntN(50), pick(g, words...))
}

// edited changes a text a little.
func (g *generator) edited(text string) string {
	lines := strings.SplitAfter(text, "\n")
	for range 1 + g.IntN(3) {
		i := g.IntN(len(lines))
		switch g.IntN(4) {
		case 0:
			lines = slices.Delete(lines, i, i+1)
			if len(lines) == 0 {
				lines = []string{""}
			}
		case 1:
			lines[i] = g.line()
		default:
			lines = slices.Insert(lines, i, g.line())
		}
	}
	return strings.Join(lines, "")
}

// prop makes a property: its name and a value.
func (g *generator) prop() (name, value string) {
	switch g.IntN(7) {
	case 0:
		return "svn:eol-style", pick(g, "native", "LF", "CRLF")
	case 1:
		return "svn:keywords", pick(g, "Revision", "Author Revision", "")
	case 2:
		return "svn:executable", "*"
	case 3:
		return "svn:ignore", "*.o\n"
	}
	return pick(g, "p", "q", "r:s"), pick(g, "", "value", "two\nlines\n", "ä", strings.Repeat("long ", 2000), strconv.Itoa(g.IntN(9)))
}

func at(name string) string {
	if strings.Contains(name, "@") {
		return name + "@" // the last one is taken for that of a peg revision
	}
	return name
}

// link returns a URL that means name at revision rev, or at the youngest if rev is -1.
func link(name string, rev int) string {
	name = strings.NewReplacer("%", "%25", " ", "%20").Replace(name)
	u := strings.TrimSuffix("$URL/"+name, "/")
	if rev >= 0 {
		return fmt.Sprintf("%s@%d", u, rev)
	}
	return at(u)
}

// mucc edits the repository without a working copy: several actions that build on each other, in one commit.
func (g *generator) mucc() []step {
	args, puts := g.muccActions()
	argv := []string{"svnmucc", "-U", "$URL", "-m", g.message()}
	if g.chance(6) {
		argv = append(argv, "-r", strconv.Itoa(g.rev()))
	}
	return append(puts, step{argv: append(argv, args...)})
}

func (g *generator) message() string {
	return pick(g, "a message", "two\nlines", "", "ä") + strconv.Itoa(g.step)
}

func (g *generator) muccActions() (args []string, puts []step) {
	now := maps.Clone(g.tree(g.youngest()))
	remove := func(name string) {
		maps.DeleteFunc(now, func(n string, _ bool) bool { return n == name || below(name, n) })
	}
	graft := func(from tree, src, dst string) {
		for n, dir := range from {
			if n == src || below(src, n) {
				now[dst+n[len(src):]] = dir
			}
		}
	}
	for range 1 + g.IntN(4) {
		rev := g.rev()
		old, name, to := g.tree(rev), g.any(now, anything), g.fresh(now)
		action := g.IntN(12)
		if len(now) > maxNodes {
			action = pick(g, 0, 5, 11)
		}
		switch src := g.any(old, anything); {
		case action < 2 && name != "":
			args = append(args, "rm", name)
			remove(name)
			if g.chance(2) && src != "" && src != name && !below(name, src) { // replace it
				args = append(args, "cp", strconv.Itoa(rev), src, name)
				graft(old, src, name)
			}
		case action < 5 && src != "" && rev > 0:
			args = append(args, "cp", strconv.Itoa(rev), src, to)
			graft(old, src, to)
		case action == 5 && name != "":
			args = append(args, "mv", name, to)
			graft(now, name, to)
			remove(name)
		case action == 6:
			args = append(args, "mkdir", to)
			now[to] = true
		case action < 9:
			if f := g.any(now, aFile); f != "" && g.chance(2) {
				to = f
			}
			put := fmt.Sprintf("$DIR/put%d", len(puts))
			puts = append(puts, step{file: put, content: g.text()})
			args = append(args, "put", put, to)
			now[to] = false
		case name != "":
			p, value := g.prop()
			if g.chance(4) {
				args = append(args, "propdel", p, name)
				break
			}
			args = append(args, "propset", p, value, name)
		}
	}
	if len(args) == 0 {
		return []string{"mkdir", g.fresh(now)}, puts
	}
	return args, puts
}

// inWC returns what a working copy has on the disk, and its name.
func (g *generator) inWC() (wc string, t tree) {
	wc = pick(g, workingCopies...)
	dir := filepath.Join(g.real.dir, wc)
	t = tree{wc: true}
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() == ".svn" {
			return fs.SkipDir
		}
		t[p[len(g.real.dir)+1:]] = d.IsDir()
		return nil
	})
	return wc, t
}
