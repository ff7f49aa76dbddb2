package storage_test

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/storage"
	"holdfast/storage/object"
	"holdfast/storage/pack"
)

var differentialCases = flag.Int("differential", 60, "how many fetches TestDifferential compares with git's rev-list")

// TestDifferential makes random histories, pushes them in random pieces, keeps them in each of the ways there are, and
// compares random fetches with git's rev-list: what the receiver lacks must be sent, nothing that the wants do not lead
// to, and no delta on what the receiver lacks.
func TestDifferential(t *testing.T) {
	first := cmp.Or(*seed, uint64(time.Now().UnixNano()))
	t.Logf("run again with -seed %d -differential %d", first, *differentialCases)
	const perWorld = 30
	sent, needed := 0, 0
	for n := 0; n < *differentialCases && !t.Failed(); n += perWorld {
		w := newFetches(t, rand.New(rand.NewPCG(first, uint64(n))))
		for range min(perWorld, *differentialCases-n) {
			f := w.fetch()
			w.compare(f)
			sent, needed = sent+len(f.got), needed+len(f.needed)
			if t.Failed() {
				break
			}
		}
		mustCheck(t, w.s)
		w.s.Close()
	}
	t.Logf("%d objects sent, of which %d were needed", sent, needed)
	if sent > needed*5/4+200 {
		t.Errorf("%d objects sent, %d were needed", sent, needed)
	}
}

// fetches is a history, in git and in a store.
type fetches struct {
	t       *testing.T
	r       *rand.Rand
	g       *git
	s       *storage.Store
	repo    *storage.Repo
	commits []object.ID // oldest first
	others  []object.ID // tags, trees and blobs
	sparse  []object.ID // blobs with patterns
	mode    string
}

func newFetches(t *testing.T, r *rand.Rand) *fetches {
	w := &fetches{t: t, r: r, g: newGit(t)}
	n := 5 + r.IntN(50)
	w.fastImport(randomHistory(r, n))
	w.commits = w.marks(n)
	for i := range 2 + r.IntN(4) {
		target := w.commits[r.IntN(n)].String() + []string{"", "", "^{tree}", ":a"}[r.IntN(4)]
		if _, err := w.g.try(nil, "tag", "-a", "-m", "t", fmt.Sprint("x", i), target); err != nil {
			continue // there is no such thing
		}
		w.others = append(w.others, w.g.revParse(fmt.Sprint("x", i)))
		w.g.run(nil, "tag", "-a", "-m", "t", fmt.Sprint("y", i), fmt.Sprint("x", i))
		w.others = append(w.others, w.g.revParse(fmt.Sprint("y", i)))
	}
	modes := append(slices.Clone(baseModes), baseMode{name: "merged"})
	m := modes[r.IntN(len(modes))]
	w.mode = m.name
	if m.name == "merged" {
		w.s = open(t, t.TempDir(), small())
	} else {
		w.s = m.open(t)
	}
	w.repo = create(t, w.s)
	w.pushAll()
	if m.name == "merged" {
		merge(t, w.repo)
	} else if r.IntN(4) > 0 {
		m.settle(t, w.s, w.repo)
	}
	return w
}

// randomHistory is a stream of n commits, with merges, reverts, empty commits, moved and deleted files and bad clocks.
func randomHistory(r *rand.Rand, n int) []byte {
	var in bytes.Buffer
	for c := 1; c <= n; c++ {
		fmt.Fprintf(&in, "commit refs/heads/main%d\nmark :%d\ncommitter A <a@example.org> %d +0000\ndata %d\nc%d\n",
			c, c, 1_600_000_000+c*60-r.IntN(3)*r.IntN(1000), len(fmt.Sprint(c))+1, c)
		parents := map[int]bool{}
		for range r.IntN(4) {
			if c > 1 {
				parents[c-1-r.IntN(min(c-1, 1+r.IntN(8)))] = true
			}
		}
		if len(parents) == 0 && c > 1 && r.IntN(8) > 0 {
			parents[c-1] = true
		}
		for i, p := range slices.Sorted(maps.Keys(parents)) {
			fmt.Fprintf(&in, "%s :%d\n", []string{"from", "merge"}[min(i, 1)], p)
		}
		for range r.IntN(4) {
			path := strings.Repeat(fmt.Sprintf("%c/", 'a'+r.IntN(3)), r.IntN(4)) + fmt.Sprint("f", r.IntN(4))
			switch r.IntN(8) {
			case 0:
				fmt.Fprintf(&in, "D %s\n", path)
			case 1:
				fmt.Fprintf(&in, "M 160000 %040d sub%d\n", 1+r.IntN(5), r.IntN(3))
			default:
				content := strings.Repeat(fmt.Sprintf("line %d of the file\n", r.IntN(6)), r.IntN(300)) + fmt.Sprint(r.IntN(12))
				fmt.Fprintf(&in, "M %s inline %s\ndata %d\n%s\n", []string{"100644", "100755", "120000"}[r.IntN(3)], path, len(content), content)
			}
		}
		fmt.Fprintln(&in)
	}
	return in.Bytes()
}

func (w *fetches) fastImport(stream []byte) {
	w.t.Helper()
	w.g.run(stream, "fast-import", "--quiet", "--force", "--export-marks="+filepath.Join(w.g.dir, "marks"))
}

func (w *fetches) marks(n int) []object.ID {
	w.t.Helper()
	ids := make([]object.ID, n)
	data, err := os.ReadFile(filepath.Join(w.g.dir, "marks"))
	if err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var mark int
		var id string
		if _, err := fmt.Sscanf(line, ":%d %s", &mark, &id); err != nil {
			w.t.Fatal(err)
		}
		ids[mark-1] = w.g.id([]byte(id))
	}
	return ids
}

// pushAll pushes it all in a few pushes.
func (w *fetches) pushAll() {
	w.t.Helper()
	var have []object.ID
	for i := 0; i < len(w.commits); {
		next := min(len(w.commits), i+1+w.r.IntN(20))
		tips := w.commits[i:next]
		var updates []storage.RefUpdate
		for n, id := range tips {
			updates = append(updates, update(fmt.Sprintf("refs/heads/main%d", i+n+1), object.ID{}, id))
		}
		push(w.t, w.repo, w.g.packObjects(tips, have, []string{"--thin", "--no-reuse-delta"}[w.r.IntN(2)]), updates...)
		have, i = append(have, tips...), next
	}
	for i, tag := range w.others {
		push(w.t, w.repo, w.g.packObjects([]object.ID{tag}, have), update(fmt.Sprint("refs/tags/", i), object.ID{}, tag))
	}
	for i := range 3 {
		lines := []string{"/a/", "!/a/*/", "f1", "f[02]", "/*", "!/*/", "**/b/f*", "!c/", "/b/**/a/", "!*3", "/c/*/f?", "a/b", "!f2"}
		w.r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		patterns := strings.Join(lines[:1+w.r.IntN(5)], "\n")
		blob := w.g.id(w.g.run([]byte(patterns), "hash-object", "-w", "--stdin"))
		push(w.t, w.repo, w.g.packObjects([]object.ID{blob}, nil), update(fmt.Sprint("refs/tags/sparse", i), object.ID{}, blob))
		w.sparse = append(w.sparse, blob)
	}
}

// fetch is one fetch. Lists of commits come with the boundary that ends their history.
type fetch struct {
	mode   string
	sel    storage.Selection
	spec   string      // of the filter
	before []object.ID // the receiver's boundary
	after  []object.ID // as it will be

	got, needed map[object.ID]bool
}

func (f *fetch) String() string {
	return fmt.Sprintf("%s: %+v, filter %q, boundary %v, then %v", f.mode, f.sel, f.spec, f.before, f.after)
}

func (w *fetches) some(from []object.ID, n int) (ids []object.ID) {
	for range n {
		ids = append(ids, from[w.r.IntN(len(from))])
	}
	return ids
}

// fetch invents a fetch.
func (w *fetches) fetch() *fetch {
	r := w.r
	f := &fetch{mode: w.mode}
	f.sel = storage.Selection{Wants: w.some(w.commits, 1+r.IntN(3)), Haves: w.some(w.commits, r.IntN(3)), NoOfsDelta: r.IntN(3) == 0}
	if r.IntN(3) == 0 && len(w.others) > 0 {
		f.sel.Wants = append(f.sel.Wants, w.some(w.others, 1)...)
	}
	f.sel.ThinPack = len(f.sel.Haves) > 0 && r.IntN(2) == 0
	if len(f.sel.Haves) > 0 && r.IntN(3) == 0 { // from a shallow clone
		f.before = w.deepen(storage.Deepening{Wants: f.sel.Haves, Depth: 1 + r.IntN(4)}).Shallow
		f.sel.Shallow = f.before
	}
	f.after = f.before
	if r.IntN(3) == 0 { // to a shallow clone, or to a deeper one
		b := w.deepen(storage.Deepening{Wants: f.sel.Wants, Depth: 1 + r.IntN(6), Shallow: f.before})
		f.sel.Boundary, f.sel.Unshallow = b.Shallow, b.Unshallow
		f.after = slices.DeleteFunc(slices.Clone(f.before), func(id object.ID) bool { return slices.Contains(b.Unshallow, id) })
		f.after = append(f.after, b.Shallow...)
	}
	if r.IntN(3) == 0 {
		specs := []string{"blob:none", "blob:limit=100", "blob:limit=2k", "tree:0", "tree:1", "tree:2", "tree:3", "object:type=blob", "object:type=tree",
			"object:type=commit", "object:type=tag", "combine:tree:3+blob:limit=1k", "combine:object:type=blob+tree:2"}
		for _, id := range w.sparse {
			specs = append(specs, "sparse:oid="+id.String(), fmt.Sprintf("combine:sparse:oid=%s+tree:%d", id, 1+r.IntN(4)))
		}
		f.spec = specs[r.IntN(len(specs))]
		filter, err := object.ParseFilter(f.spec)
		if err != nil {
			w.t.Fatal(err)
		}
		for i, b := range filter.Sparse {
			filter.Sparse[i].ID = w.g.id([]byte(b.Name))
		}
		f.sel.Filter = filter
	}
	return f
}

func (w *fetches) deepen(d storage.Deepening) storage.Boundary {
	w.t.Helper()
	b, err := w.repo.Deepen(w.t.Context(), d)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// compare makes the pack and asks git.
func (w *fetches) compare(f *fetch) {
	w.t.Helper()
	data := writePack(w.t, w.repo, f.sel)
	has := w.revList(f.before, "", f.sel.Haves) // what the receiver has, if no filter has kept it from having it
	got := map[object.ID]bool{}
	base := func(id object.ID) (object.Type, []byte, error) {
		if !f.sel.ThinPack || f.spec == "" && !has[id] {
			return 0, nil, fmt.Errorf("the receiver does not have %s", id)
		}
		return w.repo.ReadObject(id)
	}
	out, err := os.CreateTemp(w.t.TempDir(), "pack")
	if err != nil {
		w.t.Fatal(err)
	}
	defer out.Close()
	received, err := pack.Receive(w.t.Context(), bytes.NewReader(data), out, pack.Options{Base: base})
	if err != nil {
		w.t.Errorf("%s: %v", f, err)
		return
	}
	for _, rec := range received.Records {
		if !received.Appended(rec) {
			if got[rec.ID] {
				w.t.Errorf("%s: %s is sent twice", f, rec.ID)
			}
			got[rec.ID] = true
		}
	}
	f.got, f.needed = got, map[object.ID]bool{}
	for id := range w.revList(f.after, f.spec, f.sel.Wants) {
		if !has[id] {
			f.needed[id] = true
		}
	}
	for id := range f.needed {
		if !got[id] {
			w.t.Errorf("%s: object %s is not sent", f, id)
		}
	}
	// A boundary that is given up may lie deeper than the wants' new one. Git itself leaves out too much where a tree is met
	// at two depths: if filters are combined, or if it is wanted itself and by a commit.
	for part := range strings.SplitSeq(strings.TrimPrefix(f.spec, "combine:"), "+") {
		reach := map[object.ID]bool{}
		for _, from := range append(slices.Clone(f.sel.Wants), w.parents(f.sel.Unshallow)...) {
			maps.Copy(reach, w.revList(f.sel.Boundary, part, []object.ID{from}))
		}
		for id := range got {
			if !reach[id] && !slices.Contains(f.sel.Wants, id) {
				w.t.Errorf("%s: object %s is sent", f, id)
			}
		}
	}
}

func (w *fetches) parents(commits []object.ID) (ids []object.ID) {
	w.t.Helper()
	for _, id := range commits {
		_, data, err := w.repo.ReadObject(id)
		if err != nil {
			w.t.Fatal(err)
		}
		info, err := object.ParseCommit(object.SHA1, data)
		if err != nil {
			w.t.Fatal(err)
		}
		ids = append(ids, info.Parents...)
	}
	return ids
}

// revList is what ids lead to in a repository whose history ends at a boundary, as git sees it.
func (w *fetches) revList(boundary []object.ID, filter string, ids []object.ID) map[object.ID]bool {
	w.t.Helper()
	found := map[object.ID]bool{}
	if len(ids) == 0 {
		return found
	}
	shallow := filepath.Join(w.g.dir, "boundary")
	if err := os.WriteFile(shallow, []byte(lines(boundary)), 0o600); err != nil {
		w.t.Fatal(err)
	}
	args := []string{"--shallow-file", shallow, "rev-list", "--objects", "--stdin"}
	if filter != "" {
		args = append(args, "--filter="+filter)
	}
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Stdin = w.g.dir, strings.NewReader(lines(ids))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatalf("rev-list: %v %s", err, &stderr)
	}
	for line := range strings.Lines(string(out)) {
		found[w.g.id([]byte(strings.Fields(line)[0]))] = true
	}
	return found
}

func lines(ids []object.ID) string {
	var b strings.Builder
	for _, id := range ids {
		fmt.Fprintln(&b, id)
	}
	return b.String()
}
