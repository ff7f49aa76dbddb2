package svnfs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"holdfast/storage"
	"holdfast/storage/object"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// world is a store with one Subversion repository.
type world struct {
	t     testing.TB
	dir   string
	o     storage.Options
	store *storage.Store
	repo  *storage.Repo
	fs    *svnfs.FS
	reg   *svnfs.Registry
	clock time.Time

	release func()
}

func newWorld(t testing.TB) *world { return newWorldWith(t, storage.Options{NoSync: true}) }

func newWorldWith(t testing.TB, o storage.Options) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), o: o, clock: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	w.openStore()
	repo, err := createIn(w)
	if err != nil {
		t.Fatal(err)
	}
	w.repo = repo
	w.openFS()
	t.Cleanup(func() { w.release(); w.reg.Close(); w.store.Close() })
	return w
}

// createIn makes a repository in the world's store.
func createIn(w *world) (*storage.Repo, error) {
	repo, err := w.store.Create(storage.NewRepoID(), storage.RepoInit{SCM: storage.Svn, Format: object.SHA1, Head: "refs/heads/main"})
	if err != nil {
		return nil, err
	}
	txn, err := svnfs.PrepareCreate(repo, w.meta(), "6f2c1c1a-0000-4000-8000-000000000000")
	if err != nil {
		return nil, err
	}
	_, err = w.store.Commit(txn)
	return repo, err
}

func (w *world) openStore() {
	var err error
	if w.store, err = storage.Open(w.dir, w.o); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) openFS() {
	repo, err := w.store.Repo(w.repo.ID())
	if err != nil {
		w.t.Fatal(err)
	}
	w.repo, w.reg = repo, svnfs.NewRegistry(0)
	fs, release, err := w.reg.Open(repo)
	if err != nil {
		w.t.Fatal(err)
	}
	w.fs, w.release = fs, release
}

// loseIndex opens everything anew, without svn.db.
func (w *world) loseIndex() {
	w.t.Helper()
	w.release()
	w.reg.Close()
	w.store.Close()
	if err := os.Remove(w.repo.SidePath("svn.db")); err != nil {
		w.t.Fatal(err)
	}
	w.openStore()
	w.openFS()
}

func (w *world) meta() storage.Meta {
	w.clock = w.clock.Add(time.Second)
	return storage.Meta{Actor: "alice", Time: w.clock}
}

// edit is one change of a transaction, in words: "mkdir /a", "put /a/f text", "rm /a", "cp 3 /a /b", "set /a name value".
func edit(w *world, txn *svnfs.Txn, line string) error {
	f := strings.SplitN(line, " ", 4)
	switch f[0] {
	case "mkdir":
		return txn.MakeDir(f[1])
	case "rm":
		return txn.Delete(f[1])
	case "put":
		if kind, err := txn.Root().Kind(f[1]); err != nil {
			return err
		} else if kind == svn.None {
			if err := txn.MakeFile(f[1]); err != nil {
				return err
			}
		}
		out, err := txn.ApplyText(f[1])
		if err != nil {
			return err
		}
		io.WriteString(out, strings.Join(f[2:], " "))
		return out.Close()
	case "cp":
		var rev svn.Revnum
		fmt.Sscan(f[1], &rev)
		root, err := w.fs.Root(rev)
		if err != nil {
			return err
		}
		return txn.Copy(root, f[2], f[3])
	case "set":
		return txn.SetNodeProp(f[1], f[2], &f[3])
	}
	return fmt.Errorf("unknown edit %q", line)
}

// begin begins a transaction with edits.
func (w *world) begin(base svn.Revnum, edits ...string) *svnfs.Txn {
	w.t.Helper()
	txn, err := w.fs.Begin(base, svnfs.TxnOptions{Props: svn.Props{svn.PropAuthor: "alice", svn.PropLog: strings.Join(edits, "; ")}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(txn.Abort)
	for _, e := range edits {
		if err := edit(w, txn, e); err != nil {
			w.t.Fatalf("%s: %v", e, err)
		}
	}
	return txn
}

func (w *world) try(txn *svnfs.Txn) (svn.Revnum, error) {
	rev, _, err := txn.Commit(context.Background(), svnfs.Direct, w.meta())
	return rev, err
}

func (w *world) commit(edits ...string) svn.Revnum {
	w.t.Helper()
	rev, err := w.try(w.begin(w.fs.Youngest(), edits...))
	if err != nil {
		w.t.Fatal(err)
	}
	return rev
}

func (w *world) root(rev svn.Revnum) *svnfs.Root {
	w.t.Helper()
	r, err := w.fs.Root(rev)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) node(rev svn.Revnum, path string) *svnfs.Node {
	w.t.Helper()
	n, err := w.root(rev).Node(path)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func text(t testing.TB, n *svnfs.Node) string {
	t.Helper()
	r, err := n.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// tree shows all that is in a tree.
func tree(t *testing.T, r *svnfs.Root) string {
	t.Helper()
	var b strings.Builder
	var show func(path string)
	show = func(path string) {
		n, err := r.Node(path)
		if err != nil {
			t.Fatal(path, err)
		}
		props, err := n.Props()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s r%d", path, n.CreatedRev())
		for _, name := range props.Names() {
			fmt.Fprintf(&b, " %s=%s", name, props[name])
		}
		if n.Kind() == svn.File {
			fmt.Fprintf(&b, " %q\n", text(t, n))
			return
		}
		b.WriteByte('\n')
		entries, err := n.Entries()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			show(svn.Join(path, e.Name))
		}
	}
	show("/")
	return b.String()
}

func history(t *testing.T, r *svnfs.Root, path string, cross bool) string {
	t.Helper()
	h, err := r.History(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for {
		if h, err = h.Prev(cross); err != nil {
			t.Fatal(err)
		}
		if h == nil {
			return strings.Join(list, " ")
		}
		p, rev := h.Location()
		list = append(list, fmt.Sprintf("%s@%d", p, rev))
	}
}

func TestCommitsAndHistory(t *testing.T) {
	w := newWorld(t)
	w.commit("mkdir /trunk", "mkdir /branches", "put /trunk/a one", "mkdir /trunk/d", "put /trunk/d/b two")
	w.commit("put /trunk/a one more", "set /trunk/d color blue")
	w.commit("cp 2 /trunk /branches/x")
	w.commit("put /branches/x/d/b changed")
	w.commit("rm /trunk/a", "put /trunk/a another")
	if err := w.fs.Verify(context.Background(), 0, w.fs.Youngest(), nil); err != nil {
		t.Error(err)
	}
	want := `/ r4
/branches r4
/branches/x r4
/branches/x/a r2 "one more"
/branches/x/d r4 color=blue
/branches/x/d/b r4 "changed"
/trunk r2
/trunk/a r2 "one more"
/trunk/d r2 color=blue
/trunk/d/b r1 "two"
`
	if got := tree(t, w.root(4)); got != want {
		t.Errorf("r4:\n%s", got)
	}
	for _, test := range []struct {
		rev   svn.Revnum
		path  string
		cross bool
		want  string
	}{
		{5, "/branches/x/d/b", true, "/branches/x/d/b@4 /branches/x/d/b@3 /trunk/d/b@1"},
		{5, "/branches/x/d/b", false, "/branches/x/d/b@4 /branches/x/d/b@3"},
		{5, "/branches/x/a", true, "/branches/x/a@3 /trunk/a@2 /trunk/a@1"},
		{5, "/trunk/a", true, "/trunk/a@5"},
		{5, "/trunk", true, "/trunk@5 /trunk@2 /trunk@1"},
		{2, "/", true, "/@2 /@1 /@0"},
	} {
		if got := history(t, w.root(test.rev), test.path, test.cross); got != test.want {
			t.Errorf("history of %s@%d: %s", test.path, test.rev, got)
		}
	}
	if a, b := w.node(4, "/branches/x/d/b"), w.node(1, "/trunk/d/b"); a.Relation(b) != svnfs.CommonAncestor || a.OriginRev() != 1 {
		t.Error("a copy is no relative of its source")
	}
	if a, b := w.node(5, "/trunk/a"), w.node(4, "/trunk/a"); a.Relation(b) != svnfs.Unrelated {
		t.Error("a replacement is a relative")
	}
	if a, b := w.node(3, "/trunk/a"), w.node(3, "/branches/x/a"); a.Relation(b) != svnfs.Unchanged {
		t.Error("what is below a copy is not the same")
	}
	c, err := w.root(5).ClosestCopy("/branches/x/d/b")
	if err != nil || c == nil || *c != (svnfs.Copy{Path: "/branches/x", Rev: 3}) {
		t.Errorf("closest copy: %v, %v", c, err)
	}
	changes, err := w.fs.Changes(5)
	if err != nil || len(changes) != 1 || changes[0].Action != svn.Replaced || changes[0].Path != "/trunk/a" {
		t.Errorf("changes of r5: %+v, %v", changes, err)
	}
	if props, err := w.fs.RevProps(5); err != nil || props[svn.PropAuthor] != "alice" || props[svn.PropDate] == "" {
		t.Errorf("properties of r5: %v, %v", props, err)
	}
}

func TestMerge(t *testing.T) {
	setup := []string{"mkdir /a", "mkdir /a/d", "put /a/f 1", "put /a/g 1", "mkdir /b"}
	for _, test := range []struct {
		mine, theirs []string
		conflict     string // the path
	}{
		{mine: []string{"put /a/f 2"}, theirs: []string{"put /a/g 2"}},
		{mine: []string{"put /a/f 2"}, theirs: []string{"put /a/f 2"}, conflict: "/a/f"},
		{mine: []string{"put /a/new 1"}, theirs: []string{"put /a/new 1"}, conflict: "/a/new"},
		{mine: []string{"put /a/new 1"}, theirs: []string{"put /a/other 1"}},
		{mine: []string{"rm /a/f"}, theirs: []string{"rm /a/f"}, conflict: "/a/f"},
		{mine: []string{"rm /a/f"}, theirs: []string{"put /a/f 2"}, conflict: "/a/f"},
		{mine: []string{"rm /a"}, theirs: []string{"put /a/f 2"}, conflict: "/a"},
		{mine: []string{"put /a/f 2"}, theirs: []string{"rm /a"}, conflict: "/a"},
		{mine: []string{"set /a x y"}, theirs: []string{"put /a/f 2"}},
		{mine: []string{"set /a x y"}, theirs: []string{"put /a/new 2"}, conflict: "/a"},
		{mine: []string{"put /a/f 2"}, theirs: []string{"set /a x y"}, conflict: "/a"},
		{mine: []string{"rm /a/d", "mkdir /a/d"}, theirs: []string{"put /a/d/x 1"}, conflict: "/a/d"},
		{mine: []string{"put /a/d/x 1"}, theirs: []string{"put /a/d/y 1", "cp 1 /a /c"}},
		{mine: []string{"cp 1 /a /b/a"}, theirs: []string{"put /a/f 2"}},
	} {
		w := newWorld(t)
		w.commit(setup...)
		txn := w.begin(1, test.mine...)
		w.commit(test.theirs...)
		rev, err := w.try(txn)
		name := fmt.Sprint(test.mine, " over ", test.theirs)
		if test.conflict != "" {
			if !errors.Is(err, svn.ErrFSConflict) || !strings.HasSuffix(err.Error(), "'"+test.conflict+"'") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || rev != 3 {
			t.Errorf("%s: r%d, %v", name, rev, err)
			continue
		}
		// The same, one after the other.
		v := newWorld(t)
		v.commit(setup...)
		v.commit(test.theirs...)
		v.commit(test.mine...)
		if got, want := tree(t, w.root(3)), tree(t, v.root(3)); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
}

// TestMergeAfterAll has a transaction take back what would be in conflict.
func TestMergeAfterAll(t *testing.T) {
	w := newWorld(t)
	w.commit("mkdir /a")
	txn := w.begin(1, "put /a/x 1", "rm /a/x")
	w.commit("put /a/x 2")
	if _, err := w.try(txn); err != nil {
		t.Fatal(err)
	}
	if got := text(t, w.node(3, "/a/x")); got != "2" {
		t.Errorf("%q", got)
	}
}

func TestLargeDirectory(t *testing.T) {
	w := newWorld(t)
	edits := []string{"mkdir /d"}
	for i := range 3000 {
		edits = append(edits, fmt.Sprintf("put /d/file%04d text %d", i, i))
	}
	w.commit(edits...)
	w.commit("put /d/file1234 new", "rm /d/file0001", "put /d/more 1")
	entries, err := w.node(2, "/d").Entries()
	if err != nil || len(entries) != 3000 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	if got := text(t, w.node(2, "/d/file1234")); got != "new" {
		t.Errorf("%q", got)
	}
	if got := text(t, w.node(2, "/d/file2999")); got != "text 2999" {
		t.Errorf("%q", got)
	}
	journal, err := w.store.Entries(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	size := journal[len(journal)-1].Packs[0].Size
	t.Logf("a commit of three changes takes %d bytes", size)
	if size > 4<<10 {
		t.Errorf("a commit in a large directory takes %d bytes", size)
	}
	edits = nil
	for i := 2; i < 2500; i++ {
		edits = append(edits, fmt.Sprintf("rm /d/file%04d", i))
	}
	w.commit(edits...)
	if err := w.fs.Verify(context.Background(), 0, 3, nil); err != nil {
		t.Error(err)
	}
	if entries, err = w.node(3, "/d").Entries(); err != nil || len(entries) != 502 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
}

// TestRevPropsAreRead has properties edited after they, or those of revisions near them, were read, and read from svn.db again.
func TestRevPropsAreRead(t *testing.T) {
	w := newWorld(t)
	for i := range 130 {
		w.commit(fmt.Sprint("put /f ", i))
	}
	want := make([]string, 131)
	check := func() {
		t.Helper()
		for rev, log := range want {
			props, err := w.fs.RevProps(svn.Revnum(rev))
			if err != nil || rev > 0 && props[svn.PropAuthor] != "alice" || log != "" && props[svn.PropLog] != log {
				t.Errorf("r%d: %v, %v, want %q", rev, props, err, log)
			}
		}
	}
	check()
	for _, rev := range []svn.Revnum{64, 1, 130, 65, 64, 63, 0, 127} {
		value := fmt.Sprint(want[rev], "edit of ", rev)
		if _, err := w.fs.ChangeRevProp(t.Context(), svnfs.Direct, w.meta(), rev, svn.PropLog, nil, &value); err != nil {
			t.Fatal(err)
		}
		want[rev] = value
		check()
	}
	w.release()
	w.reg.Close()
	w.openFS()
	check()
}

// TestIndexIsMadeAgain loses svn.db and opens the repository anew.
func TestIndexIsMadeAgain(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	w.commit("put /f 1")
	w.commit("put /f 2")
	value := "a new message"
	if _, err := w.fs.ChangeRevProp(ctx, svnfs.Direct, w.meta(), 1, svn.PropLog, nil, &value); err != nil {
		t.Fatal(err)
	}
	if _, err := w.fs.ChangeRevProp(ctx, svnfs.Direct, w.meta(), 2, svn.PropLog, nil, nil); err != nil {
		t.Fatal(err)
	}
	results, _, err := w.fs.SetLocks(ctx, svnfs.Direct, w.meta(), "bob", new("mine"), false, []svnfs.LockTarget{{Path: "/f", Base: svn.InvalidRevnum}})
	if err != nil || results[0].Err != nil {
		t.Fatal(err, results)
	}
	before := tree(t, w.root(2))
	uuid := w.fs.UUID()
	w.loseIndex()
	if got := tree(t, w.root(2)); got != before || w.fs.UUID() != uuid || w.fs.Youngest() != 2 {
		t.Errorf("%s, %s, r%d", got, w.fs.UUID(), w.fs.Youngest())
	}
	p1, err1 := w.fs.RevProps(1)
	p2, err2 := w.fs.RevProps(2)
	if _, has := p2[svn.PropLog]; err1 != nil || err2 != nil || p1[svn.PropLog] != value || has {
		t.Error(p1, err1, p2, err2)
	}
	l, err := w.fs.Lock("/f")
	if err != nil || l == nil || l.Token != results[0].Lock.Token {
		t.Error(l, err)
	}
	w.commit("mkdir /after")
	if err := w.fs.Verify(ctx, 0, w.fs.Youngest(), nil); err != nil {
		t.Error(err)
	}
	report, err := w.store.Check(ctx, nil)
	if err == nil {
		err = svnfs.Check(ctx, w.store, w.reg.Open, &report)
	}
	if err != nil || len(report.Problems) > 0 {
		t.Error(report, err)
	}
}

// TestManyTexts makes more and larger texts in one transaction than memory and open files are meant for.
func TestManyTexts(t *testing.T) {
	w := newWorld(t)
	var edits []string
	line := strings.Repeat("0123456789abcdef", 1<<10)
	for i := range 400 {
		edits = append(edits, fmt.Sprintf("put /small%d %d %s", i, i, line))
	}
	for i := range 50 {
		edits = append(edits, fmt.Sprintf("put /large%d %d %s", i, i, strings.Repeat(line, 20)))
	}
	w.commit(edits...)
	for i := range 400 {
		if got := text(t, w.node(1, fmt.Sprintf("/small%d", i))); got != fmt.Sprintf("%d %s", i, line) {
			t.Fatalf("small %d is wrong", i)
		}
	}
	for i := range 50 {
		if got := text(t, w.node(1, fmt.Sprintf("/large%d", i))); got != fmt.Sprintf("%d %s", i, strings.Repeat(line, 20)) {
			t.Fatalf("large %d is wrong", i)
		}
	}
	txn := w.begin(1)
	for i := range 100 {
		if _, err := txn.ApplyText(fmt.Sprintf("/small%d", i)); err != nil {
			return
		}
	}
	t.Error("a hundred texts may be written at the same time")
}

func TestLocksAtCommit(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	w.commit("mkdir /d", "put /d/f 1")
	results, _, err := w.fs.SetLocks(ctx, svnfs.Direct, w.meta(), "alice", nil, false, []svnfs.LockTarget{{Path: "/d/f", Base: 1}, {Path: "/none", Base: svn.InvalidRevnum}})
	if err != nil || results[0].Err != nil || !errors.Is(results[1].Err, svn.ErrFSNotFound) {
		t.Fatal(err, results)
	}
	token := results[0].Lock.Token
	for _, test := range []struct {
		user, token, edit string
		want              svn.Code
	}{
		{"", "", "put /d/f 2", svn.ErrFSNoUser},
		{"bob", token, "put /d/f 2", svn.ErrFSLockOwnerMismatch},
		{"bob", token, "put /d/h 2", 0}, // ends no lock of alice's, as the next ones see
		{"alice", "stale", "put /d/i 2", 0},
		{"alice", "", "rm /d", svn.ErrFSBadLockToken},
		{"alice", "", "put /d/g 2", 0},
		{"alice", token, "put /d/f 2", 0},
	} {
		txn, err := w.fs.Begin(w.fs.Youngest(), svnfs.TxnOptions{User: test.user, LockTokens: []string{test.token}})
		if err != nil {
			t.Fatal(err)
		}
		if err := edit(w, txn, test.edit); err != nil {
			t.Fatal(err)
		}
		if test.token != "" && test.want == 0 {
			txn.UnlockOnCommit("/d/f")
		}
		if _, err := w.try(txn); svn.CodeOf(err) != test.want {
			t.Errorf("%+v: %v", test, err)
		}
		txn.Abort()
	}
	if l, err := w.fs.Lock("/d/f"); l != nil || err != nil {
		t.Error("the lock outlives the commit", l, err)
	}
}

// TestCheckFindsADamagedIndex changes svn.db behind the filesystem's back, and has it made anew.
func TestCheckFindsADamagedIndex(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	w.commit("put /f 1")
	check := func() []storage.Problem {
		t.Helper()
		var report storage.CheckReport
		if err := svnfs.Check(ctx, w.store, w.reg.Open, &report); err != nil {
			t.Fatal(err)
		}
		return report.Problems
	}
	if p := check(); len(p) > 0 {
		t.Fatal(p)
	}
	w.release()
	w.reg.Close()
	db, err := bbolt.Open(w.repo.SidePath("svn.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("revprops")).Put(make([]byte, 8), svn.EncodeProps(svn.Props{"forged": "yes"}))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	w.openFS()
	if p := check(); len(p) != 1 || !strings.Contains(p[0].Text, "--rebuild") {
		t.Errorf("a forged property is not found: %v", p)
	}
	w.release()
	w.reg.Close()
	if err := svnfs.Rebuild(ctx, w.store); err != nil {
		t.Fatal(err)
	}
	w.openFS()
	if p := check(); len(p) > 0 {
		t.Error(p)
	}
}
