package svnrepos_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/storage/svn"
	"holdfast/storage/svn/dumpfile"
	"holdfast/storage/svnfs"

	"holdfast/server/svnrepos"
)

// subversion runs one of Subversion's programs, and skips the test where there is none.
func subversion(t testing.TB, in []byte, name string, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skip("no ", name)
	}
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(in)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, errs.Bytes())
	}
	return out
}

// peerHistory makes a random repository by Subversion's own svnmucc: copies of files and directories from any revision, replacements,
// changes below copies.
type peerHistory struct {
	t    testing.TB
	r    *rand.Rand
	dir  string
	repo string
	revs []map[string]bool // of each revision, whether a path is a directory
	used []string          // paths of the commit, which svnmucc takes but once
}

func newPeerHistory(t testing.TB, seed uint64) *peerHistory {
	h := &peerHistory{t: t, r: rand.New(rand.NewPCG(seed, 0)), dir: t.TempDir(), revs: []map[string]bool{{"": true}}}
	h.repo = filepath.Join(h.dir, "repo")
	subversion(t, nil, "svnadmin", "create", h.repo)
	return h
}

// pick returns a path of the tree that is a directory or a file, and was not used in the commit, nor is below what was.
func (h *peerHistory) pick(tree map[string]bool, dir bool) (string, bool) {
	var found []string
	for _, path := range slices.Sorted(maps.Keys(tree)) {
		used := slices.ContainsFunc(h.used, func(u string) bool { return path == u || strings.HasPrefix(path, u+"/") })
		if tree[path] == dir && !used && (path != "" || dir) {
			found = append(found, path)
		}
	}
	if len(found) == 0 {
		return "", false
	}
	return found[h.r.IntN(len(found))], true
}

func (h *peerHistory) text() string {
	var b strings.Builder
	for range h.r.IntN(60) {
		fmt.Fprintf(&b, "line %d of a text\n", h.r.IntN(30))
	}
	name := filepath.Join(h.dir, "text")
	if err := os.WriteFile(name, []byte(b.String()), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return name
}

// commit makes a revision of one to four actions.
func (h *peerHistory) commit() {
	tree := maps.Clone(h.revs[len(h.revs)-1])
	h.used = nil
	args := []string{"-m", "of several\nlines", "-u", "tester", "-U", "file://" + h.repo}
	for n := 1 + h.r.IntN(4); n > 0; n-- {
		args = append(args, h.action(tree)...)
		if slices.Contains(args, "put") {
			break // there is one file to put
		}
	}
	if len(args) == 6 {
		return
	}
	subversion(h.t, nil, "svnmucc", args...)
	h.revs = append(h.revs, tree)
}

func (h *peerHistory) action(tree map[string]bool) []string {
	name := fmt.Sprintf("n%d", h.r.IntN(8))
	parent, _ := h.pick(tree, true)
	path := svn.Join(parent, name)
	_, there := tree[path]
	file, hasFile := h.pick(tree, false)
	use := func(path string) { h.used = append(h.used, path) }
	switch k := h.r.IntN(10); {
	case k < 2 && !there:
		use(path)
		tree[path] = true
		return []string{"mkdir", path}
	case k < 4 && !there:
		use(path)
		tree[path] = false
		return []string{"put", h.text(), path}
	case k < 5 && hasFile:
		use(file)
		return []string{"put", h.text(), file}
	case k < 8 && len(h.revs) > 1:
		return h.copy(tree, path, use)
	case k == 8 && parent != "" && !slices.ContainsFunc(h.used, func(u string) bool { return strings.HasPrefix(u, parent) }):
		use(parent)
		remove(tree, parent)
		return []string{"rm", parent}
	case hasFile && h.r.IntN(2) == 0:
		use(file)
		return []string{"propset", name, fmt.Sprint(h.r.IntN(3)), file}
	}
	return []string{"propset", name, fmt.Sprint(h.r.IntN(3)), parent}
}

func (h *peerHistory) copy(tree map[string]bool, path string, use func(string)) []string {
	rev := 1 + h.r.IntN(len(h.revs)-1)
	old := h.revs[rev]
	from := slices.Sorted(maps.Keys(old))[h.r.IntN(len(old))]
	if from == "" || strings.HasPrefix(path+"/", from+"/") && rev == len(h.revs)-1 {
		return nil
	}
	size := 0
	for p := range old {
		if p == from || strings.HasPrefix(p, from+"/") {
			size++
		}
	}
	if slices.ContainsFunc(h.used, func(u string) bool { return strings.HasPrefix(u, path) }) || size+len(tree) > 300 {
		return nil
	}
	var args []string
	if _, there := tree[path]; there {
		remove(tree, path)
		args = []string{"rm", path}
	}
	use(path)
	for p, dir := range old {
		if p == from || strings.HasPrefix(p, from+"/") {
			tree[path+p[len(from):]] = dir
		}
	}
	return append(args, "cp", fmt.Sprint(rev), from, path)
}

func remove(tree map[string]bool, path string) {
	for p := range tree {
		if p == path || strings.HasPrefix(p, path+"/") {
			delete(tree, p)
		}
	}
}

// load loads a dump into an empty repository.
func load(t testing.TB, dump []byte, o svnrepos.LoadOptions) (*svnrepos.Repository, string) {
	t.Helper()
	r := &svnrepos.Repository{FS: newFS(t)}
	said, err := loadInto(t, r, dump, o)
	if err != nil {
		t.Fatal(err)
	}
	return r, said
}

func loadInto(t testing.TB, r *svnrepos.Repository, dump []byte, o svnrepos.LoadOptions) (said string, err error) {
	t.Helper()
	o.Committer, o.Meta = svnfs.Direct, testMeta
	var b strings.Builder
	err = r.Load(t.Context(), bytes.NewReader(dump), o, func(e svnrepos.LoadEvent) { b.WriteString(e.String()) })
	return b.String(), err
}

func dump(t testing.TB, r *svnrepos.Repository, o svnrepos.DumpOptions) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := r.Dump(t.Context(), &b, o, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// differs shows where two dumps part.
func differs(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	t.Errorf("%s: differs at byte %d of %d and %d:\ngot  %q\nwant %q", what, i, len(got), len(want),
		got[max(0, i-300):min(len(got), i+200)], want[max(0, i-300):min(len(want), i+200)])
}

// TestDumpLikeSubversion loads what Subversion dumped, plain and as deltas, and dumps it again, whole and in parts.
func TestDumpLikeSubversion(t *testing.T) {
	for seed := range uint64(2) {
		h := newPeerHistory(t, seed)
		for range 25 {
			h.commit()
		}
		last := svn.Revnum(len(h.revs) - 1)
		peer := func(flags ...string) []byte {
			return subversion(t, nil, "svnadmin", append([]string{"dump", "-q", h.repo}, flags...)...)
		}
		plain, deltas := peer(), peer("--deltas")
		r, said := load(t, plain, svnrepos.LoadOptions{})
		compareSaid(t, said, plain)
		all := svnrepos.DumpOptions{From: 0, To: svn.InvalidRevnum}
		differs(t, "plain", dump(t, r, all), plain)
		all.RevProps = true
		differs(t, "properties", dump(t, r, all), subversion(t, nil, "svnadmin", "dump-revprops", "-q", h.repo))
		all.Deltas, all.RevProps = true, false
		differs(t, "deltas", dump(t, r, all), deltas)
		part := svnrepos.DumpOptions{From: last / 2, To: last, Incremental: true}
		flags := []string{"-r", fmt.Sprintf("%d:%d", last/2, last), "--incremental"}
		differs(t, "a part", dump(t, r, part), peer(flags...))
		part.Deltas = true
		differs(t, "deltas of a part", dump(t, r, part), peer(append(flags, "--deltas")...))
		// Deltas do not have all that plain dumps have: properties that were set to what they were.
		r, said = load(t, deltas, svnrepos.LoadOptions{})
		h.repo = compareSaid(t, said, deltas)
		differs(t, "loaded from deltas", dump(t, r, svnrepos.DumpOptions{To: svn.InvalidRevnum}), peer())
	}
}

// compareSaid compares what a load tells with what svnadmin prints, and returns the repository that svnadmin made.
func compareSaid(t *testing.T, said string, dump []byte) (repo string) {
	t.Helper()
	repo = filepath.Join(t.TempDir(), "loaded")
	subversion(t, nil, "svnadmin", "create", repo)
	differs(t, "said", []byte(said), subversion(t, dump, "svnadmin", "load", repo))
	return repo
}

// TestDumpBigDeltas has deltas that do not stay in memory, between small ones.
func TestDumpBigDeltas(t *testing.T) {
	r := rand.NewChaCha8([32]byte{1})
	big := make([]byte, 3<<20)
	r.Read(big)
	var d bytes.Buffer
	w := dumpfile.NewWriter(&d)
	node := func(path string, action dumpfile.Action, text []byte) error {
		return w.Node(&dumpfile.Node{Path: path, Kind: svn.File, Action: action}, nil, bytes.NewReader(text), int64(len(text)))
	}
	err := errors.Join(w.Format(dumpfile.FormatPlain), w.Revision(1, svn.Props{}),
		node("a", dumpfile.Add, big), node("b", dumpfile.Add, big[:100]), node("c", dumpfile.Add, big[:2<<20]),
		w.Revision(2, svn.Props{}), node("a", dumpfile.Change, big[1<<20:]), node("b", dumpfile.Change, nil), node("c", dumpfile.Change, big[1:]))
	if err != nil {
		t.Fatal(err)
	}
	repo := filepath.Join(t.TempDir(), "repo")
	subversion(t, nil, "svnadmin", "create", repo)
	subversion(t, d.Bytes(), "svnadmin", "load", "-q", repo)
	want := subversion(t, nil, "svnadmin", "dump", "-q", "--deltas", repo)
	loaded, _ := load(t, want, svnrepos.LoadOptions{})
	differs(t, "deltas", dump(t, loaded, svnrepos.DumpOptions{To: svn.InvalidRevnum, Deltas: true}), want)
}
