package replication_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/replication"
	"holdfast/replication/buckettest"
	"holdfast/storage"
	"holdfast/storage/object"
)

var (
	lineSeed  = flag.Uint64("line.seed", 0, "run the model test of the whole line with this seed only")
	lineSeeds = flag.Uint64("line.seeds", defaultLineSeeds, "how many seeds the model test of the whole line runs")
	lineSteps = flag.Int("line.steps", defaultLineSteps, "how many steps it makes for a seed")
)

// TestLineModel drives a store, its Replicator, three buckets and Restore together: random pushes, faults of buckets,
// killed processes, old copies of the data directory. Whatever happens, a push that was acknowledged comes back, byte for
// byte, from every set of mirrors that the number of acks promises; no object is put with other bytes; an old copy of the
// host gets no acks; and in the end each mirror alone brings everything back.
func TestLineModel(t *testing.T) {
	first, last := uint64(1), *lineSeeds
	if *lineSeed != 0 {
		first, last = *lineSeed, *lineSeed
	}
	if testing.Short() {
		last = first
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprint("line.seed=", seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := newLine(t, seed)
				for range *lineSteps {
					l.step()
				}
				l.finish()
			})
		})
	}
}

// TestLineModelLag loses a reply of a mirror that then lags by more segments than Window: the writer sends it the doubtful
// entries again behind all of them, and that mirror alone must bring everything back.
func TestLineModelLag(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLine(t, 1)
		l.acks = 2
		l.kill()
		for _, b := range l.buckets {
			b.Conditional = buckettest.Enforced
		}
		l.start()
		l.push()
		l.settle()
		late := l.buckets[2]
		late.Change(func(b *buckettest.Bucket) { b.OnPut = spoil(b, func() bool { return true }) })
		for range replication.Window + 20 {
			l.push()
			synctest.Wait()
		}
		l.settle()
		if n := l.rep.Status()[2].Segment; n <= 2+replication.Window {
			t.Fatalf("the mirror lagged by %d segments only", n)
		}
		if n := len(late.Contents(replication.SegmentKey(l.kit.Instance(), 1, 1, 2))[0]); n != len(spoilt) {
			t.Fatalf("segment 2 has %d bytes, it should be spoilt", n)
		}
		to := l.checkRestore([]replication.Source{{Name: "late", Bucket: late.Reader()}}, l.committed, storage.Seq(len(l.committed)))
		sameStore(t, l.store, to)
	})
}

// TestSyncBudget counts the fsyncs of a lone small push from the first to the last: four of the store, two of the seal.
// Cursors are saved later, however long ago that was done.
func TestSyncBudget(t *testing.T) {
	bubble(t, func(t *testing.T) {
		spool := replication.CountSyncsForTest(t)
		l := newLine(t, 1)
		for len(l.committed) < 20 {
			l.push()
		}
		l.settle()
		cost := map[storage.Step]int64{storage.StepPackSync: 1, storage.StepDirSync: 1, storage.StepHostCommit: 2,
			storage.StepRepoDir: 3, storage.StepFilled: 2}
		var store atomic.Int64
		l.killer.mu.Lock()
		l.killer.told = func(s storage.Step) { store.Add(cost[s]) }
		l.killer.mu.Unlock()
		spool.Store(0)

		repos, _ := fold(t, l.committed)
		m := repos[0]
		txn := must(must(l.store.Repo(m.id))(t).Begin(storage.Meta{Actor: "alice", Time: time.Now()}))(t)
		h := copyHost{t: t, loads: 1000}
		packed, tip := h.load(m.refs["refs/heads/main"], []byte("small"))
		if err := txn.ReadPack(t.Context(), bytes.NewReader(packed)); err != nil {
			t.Fatal(err)
		}
		txn.Update(storage.RefUpdate{Name: "refs/heads/main", Old: m.refs["refs/heads/main"], New: tip})
		e := must(l.commit(txn))(t)
		l.rep.Notify()
		if _, err := l.rep.Wait(t.Context(), e.Seq); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s, r := store.Load(), spool.Load(); s != 4 || r != 2 {
			t.Errorf("%d fsyncs of the store and %d of the spool, want 4 and 2", s, r)
		}
	})
}

// line is a host with all that belongs to it, and what is known of it.
type line struct {
	t       *testing.T
	rnd     *rand.Rand
	dir     string
	kit     *replication.Kit
	acks    int
	buckets []*buckettest.Bucket
	lied    bool // a bucket refused a put for no reason

	killer *killer
	store  *storage.Store
	rep    *replication.Replicator
	end    func()
	waits  sync.WaitGroup

	committed []string // lines of the journal that may not get lost while the disk lives
	packs     int

	mu    sync.Mutex
	acked storage.Seq // what Wait confirmed
}

// killer is a FaultHook that kills the store after a number of steps.
type killer struct {
	mu   sync.Mutex
	left int // 0: never
	dead bool
	told func(storage.Step) // of every step, if set
}

var errKilled = errors.New("killed")

func (k *killer) hook(s storage.Step) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.told != nil {
		k.told(s)
	}
	if k.left > 0 {
		k.left--
		k.dead = k.dead || k.left == 0
	}
	if k.dead {
		return errKilled
	}
	return nil
}

func (k *killer) arm(steps int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.left = steps
}

func newLine(t *testing.T, seed uint64) *line {
	l := &line{t: t, rnd: rand.New(rand.NewPCG(seed, 11)), dir: filepath.Join(t.TempDir(), "data")}
	l.acks = 1 + l.rnd.IntN(3)
	for range mirrorNames {
		b := buckettest.New(t)
		b.Now = time.Now
		if l.rnd.IntN(2) == 0 {
			b.Conditional = buckettest.WriteOnce
		}
		l.buckets = append(l.buckets, b)
	}
	s := must(storage.Open(l.dir, storage.Options{NoSync: true}))(t)
	l.kit = must(replication.InitRoot(filepath.Join(t.TempDir(), "kit"), s, copyKit(replication.X25519)))(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	l.start()
	l.t.Cleanup(func() { l.kill() })
	return l
}

// start opens the host and compares its journal with what was committed.
func (l *line) start() {
	l.t.Helper()
	l.killer = &killer{}
	l.store = must(storage.Open(l.dir, storage.Options{NoSync: true, FaultHook: l.killer.hook, IndexPacks: 4,
		MergePacks: 2, MergeDelay: 10 * time.Second, MergeShare: 100, GraphObjects: 50, Log: slog.New(slog.DiscardHandler)}))(l.t)
	lines := journalLines(l.t, l.store)
	if len(lines) < len(l.committed) || !slices.Equal(lines[:len(l.committed)], l.committed) {
		l.t.Fatalf("the store lost committed entries: it has %d, committed were %d", len(lines), len(l.committed))
	}
	l.committed = lines
	w := must(replication.LoadWriter(l.store))(l.t)
	var mirrors []*replication.Mirror
	for i, b := range l.buckets {
		mirrors = append(mirrors, replication.NewMirror(mirrorNames[i], b.Writer(),
			replication.MirrorOptions{Conditional: true, Idempotent: b.Conditional == buckettest.WriteOnce}))
	}
	var err error
	l.rep, err = replication.New(l.store, mirrors, replication.Options{
		Dir: filepath.Join(l.dir, "spool"), Root: w.Root, RootKey: w.RootKey, Signer: w.Signer, Acks: l.acks,
		InlineBytes: 4 << 10, Jitter: func() float64 { return 0.5 },
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.store.Foretell(l.rep.Foretell)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.rep.Run(ctx) }()
	var tidy sync.WaitGroup
	tidy.Go(func() { l.store.Maintain(ctx, l.rep.Settled) })
	l.end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, errKilled) && !errors.Is(err, storage.ErrClosed) {
			l.t.Error(err)
		}
		l.waits.Wait()
		tidy.Wait()
		l.store.Close()
	})
}

// stop ends the host as a signal would.
func (l *line) stop() { l.end() }

// kill ends the process: nothing reaches the disk any more.
func (l *line) kill() {
	l.killer.mu.Lock()
	l.killer.dead = true
	l.killer.mu.Unlock()
	l.store.SetFact("test.killed", nil) // so that the store notices
	l.end()
	for _, b := range l.buckets {
		b.Wait()
	}
}

func (l *line) step() {
	switch n := l.rnd.IntN(100); {
	case n < 55:
		for range 1 + l.rnd.IntN(4) {
			l.push()
		}
	case n < 70:
		time.Sleep(time.Duration(l.rnd.IntN(30_000)) * time.Millisecond)
	case n < 82:
		l.fault(l.buckets[l.rnd.IntN(len(l.buckets))])
	case n < 90:
		for _, b := range l.buckets {
			b.Calm()
		}
	case n < 93:
		l.kill()
		l.start()
	case n < 95:
		l.stop()
		l.start()
	case n < 98:
		l.check()
	default:
		l.oldCopy()
	}
}

// fault makes a bucket bad in some way until it is calmed.
func (l *line) fault(b *buckettest.Bucket) {
	switch l.rnd.IntN(6) {
	case 0, 1:
		b.Chaos(l.rnd.Uint64(), 10+l.rnd.IntN(50))
	case 2:
		down(b)
	case 3: // answers come late, some too late
		delay := time.Duration(1+l.rnd.IntN(90)) * time.Second
		slow := func(string) (bool, error) { time.Sleep(delay); return true, nil }
		b.Change(func(b *buckettest.Bucket) { b.OnPut, b.OnComplete = slow, slow })
	case 4:
		if b.Conditional == buckettest.Enforced {
			rnd := rand.New(rand.NewPCG(l.rnd.Uint64(), 1))
			b.Change(func(b *buckettest.Bucket) { b.OnPut = spoil(b, func() bool { return rnd.IntN(4) == 0 }) })
		}
	case 5:
		if l.lied || l.acks > 2 {
			return // a mirror that refused once for no reason is lost
		}
		l.lied = true
		b.Change(func(b *buckettest.Bucket) {
			b.OnPut = func(string) (bool, error) { return false, replication.ErrExists }
		})
	}
}

const spoilt = "what is left of an upload that broke off"

// spoil returns a hook that fails every put. Where now says so, it leaves something under the key that nobody wrote.
func spoil(b *buckettest.Bucket, now func() bool) func(string) (bool, error) {
	var mu sync.Mutex
	return func(key string) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(key, "/log/") && len(b.Contents(key)) == 0 && now() {
			b.AddVersion(key, []byte(spoilt))
		}
		return false, errNet
	}
}

// lineRepo is a repository as the journal says that it is.
type lineRepo struct {
	id      storage.RepoID
	head    string
	refs    map[string]object.ID
	commits []object.ID
}

// fold makes repositories and secrets of a journal.
func fold(t testing.TB, lines []string) (repos []*lineRepo, secrets map[string]string) {
	t.Helper()
	byID := map[storage.RepoID]*lineRepo{}
	secrets = map[string]string{}
	for _, line := range lines {
		e := must(storage.DecodeEntry([]byte(line)))(t)
		if e.Kind == storage.KindSecret {
			var s storage.Secret
			if err := json.Unmarshal(e.Data, &s); err != nil {
				t.Fatal(err)
			}
			secrets[s.Name] = string(s.Value)
			continue
		}
		r := byID[e.Repo]
		if r == nil {
			r = &lineRepo{id: e.Repo, head: e.Init.Head, refs: map[string]object.ID{}}
			byID[e.Repo], repos = r, append(repos, r)
		}
		for _, u := range e.Refs {
			switch {
			case u.Target != "":
				r.head = u.Target
			case u.New.IsZero():
				delete(r.refs, u.Name)
			default:
				r.refs[u.Name] = u.New
				r.commits = append(r.commits, u.New)
			}
		}
	}
	return repos, secrets
}

// push makes one random change and waits for its acks in the background. The process may die in it.
func (l *line) push() {
	l.t.Helper()
	if l.rnd.IntN(15) == 0 {
		l.killer.arm(1 + l.rnd.IntN(10))
	}
	e, err := l.change()
	l.killer.arm(0)
	switch {
	case errors.Is(err, errKilled) || errors.Is(err, storage.ErrClosed):
		l.kill()
		l.start()
		return
	case errors.Is(err, replication.ErrTooFewMirrors):
		return
	case err != nil:
		l.t.Fatal(err)
	}
	raw := must(e.Encode())(l.t)
	if int(e.Seq) != len(l.committed)+1 {
		l.t.Fatalf("entry %d follows %d", e.Seq, len(l.committed))
	}
	l.committed = append(l.committed, string(raw))
	rep := l.rep
	rep.Notify()
	l.waits.Go(func() {
		if _, err := rep.Wait(context.Background(), e.Seq); err == nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.acked = max(l.acked, e.Seq)
		}
	})
}

// change commits something random.
func (l *line) change() (storage.Entry, error) {
	meta := storage.Meta{Actor: "alice", Key: "SHA256:abc", Time: time.Now(), Nonce: storage.Nonce{byte(l.rnd.IntN(256))}}
	if l.rnd.IntN(12) == 0 {
		data, err := json.Marshal(storage.Secret{Name: fmt.Sprint("s", l.rnd.IntN(3)), Value: fmt.Append(nil, l.rnd.Uint64())})
		if err != nil {
			return storage.Entry{}, err
		}
		txn, err := l.store.BeginHost(meta, storage.KindSecret, data)
		if err != nil {
			return storage.Entry{}, err
		}
		return l.commit(txn)
	}
	repos, _ := fold(l.t, l.committed)
	m := &lineRepo{id: storage.NewRepoID(), refs: map[string]object.ID{}}
	var r *storage.Repo
	var err error
	if len(repos) == 0 || len(repos) < 6 && l.rnd.IntN(8) == 0 {
		r, err = l.store.Create(m.id, storage.RepoInit{SCM: storage.Git, Format: object.SHA1, Head: "refs/heads/main"})
	} else {
		m = repos[l.rnd.IntN(len(repos))]
		r, err = l.store.Repo(m.id)
	}
	if err != nil {
		return storage.Entry{}, err
	}
	txn, err := r.Begin(meta)
	if err != nil {
		return storage.Entry{}, err
	}
	return l.fill(txn, m)
}

// fill puts a random change of the repository into txn and commits it.
func (l *line) fill(txn *storage.Txn, m *lineRepo) (storage.Entry, error) {
	defer txn.Discard()
	name := fmt.Sprint("refs/heads/", []string{"main", "a", "b/c", "b/d"}[l.rnd.IntN(4)])
	u := storage.RefUpdate{Name: name, Old: m.refs[name]}
	switch n := l.rnd.IntN(10); {
	case n < 1 && len(m.commits) > 0:
		u = storage.RefUpdate{Name: "HEAD", Target: name}
	case n < 2 && !u.Old.IsZero(): // delete
	case n < 4 && len(m.commits) > 0: // create, or force back
		u.New = m.commits[l.rnd.IntN(len(m.commits))]
	default:
		var parent object.ID
		if len(m.commits) > 0 && l.rnd.IntN(5) > 0 {
			parent = m.commits[l.rnd.IntN(len(m.commits))]
		}
		var packed []byte
		packed, u.New = l.pack(parent)
		big := l.rep.NewBigPack(context.Background())
		defer big.Abort()
		txn.Tee = big
		if err := txn.ReadPack(context.Background(), bytes.NewReader(packed)); err != nil {
			return storage.Entry{}, err
		}
		if err := txn.Prepare(); err != nil {
			return storage.Entry{}, err
		}
		external, err := big.Complete(context.Background())
		if err != nil {
			return storage.Entry{}, err
		}
		if external != nil {
			txn.SetExternal(txn.Packs()[0].ID, external)
		}
	}
	txn.Update(u)
	return l.commit(txn)
}

func (l *line) commit(txn *storage.Txn) (storage.Entry, error) {
	defer txn.Discard()
	entries, err := l.store.Commit(txn)
	if err != nil {
		return storage.Entry{}, err
	}
	return entries[0], nil
}

// pack makes a commit with one file, of random bytes that no compression makes small.
func (l *line) pack(parent object.ID) ([]byte, object.ID) {
	l.packs++
	content := make([]byte, l.rnd.IntN(2<<10))
	if l.rnd.IntN(6) == 0 {
		content = make([]byte, l.rnd.IntN(64<<10))
	}
	for i := range content {
		content[i] = byte(l.rnd.Uint32())
	}
	h := copyHost{t: l.t, loads: l.packs}
	return h.load(parent, content)
}

// check holds the host to its word, as if its disk were lost now.
func (l *line) check() {
	l.t.Helper()
	l.mu.Lock()
	acked := l.acked
	l.mu.Unlock()
	journal := slices.Clone(l.committed)
	var clones []replication.Source
	for i, b := range l.buckets {
		clones = append(clones, replication.Source{Name: mirrorNames[i], Bucket: b.Clone(l.t)})
	}
	for set := 1; set < 1<<len(clones); set++ {
		var from []replication.Source
		for i, c := range clones {
			if set&(1<<i) != 0 {
				from = append(from, c)
			}
		}
		if len(from) == len(clones)-l.acks+1 {
			l.checkRestore(from, journal, acked)
		}
	}
}

// checkRestore restores from some mirrors and compares with the journal.
func (l *line) checkRestore(from []replication.Source, journal []string, acked storage.Seq) *storage.Store {
	l.t.Helper()
	to := openCopyStore(l.t, l.t.TempDir())
	rep, err := replication.Restore(context.Background(), from, l.kit, to, replication.RestoreOptions{TempDir: l.t.TempDir()})
	// Entries without acks may lack others before them.
	if err != nil && !errors.Is(err, replication.ErrIncomplete) && !(errors.Is(err, replication.ErrNoRoot) && acked == 0) {
		l.t.Fatalf("%v\n%s", err, rep)
	}
	if rep.Last < acked || len(rep.Branches) > 0 {
		l.t.Fatalf("#%d was acknowledged by %d mirrors (%v)\n%s", acked, l.acks, err, rep)
	}
	lines := journalLines(l.t, to)
	if len(lines) > len(journal) || !slices.Equal(lines, journal[:len(lines)]) {
		l.t.Fatalf("what was restored is not what was committed\n%s", rep)
	}
	wantWhole(l.t, to)
	l.compare(to, lines)
	return to
}

// compare compares refs and secrets of a store with what its journal says.
func (l *line) compare(s *storage.Store, lines []string) {
	l.t.Helper()
	repos, secrets := fold(l.t, lines)
	for _, m := range repos {
		r := must(s.Repo(m.id))(l.t)
		got := map[string]object.ID{}
		for _, ref := range must(r.Refs("", "", 0))(l.t) {
			got[ref.Name] = ref.ID
		}
		if head := must(r.Head())(l.t); !maps.Equal(got, m.refs) || head != m.head {
			l.t.Fatalf("repository %s has refs %v and HEAD %s, want %v and %s", m.id, got, head, m.refs, m.head)
		}
	}
	for name, value := range secrets {
		if got, err := s.Secret(name); err != nil || string(got) != value {
			l.t.Fatalf("secret %s is %q (%v), want %q", name, got, err, value)
		}
	}
}

// settle ends all faults and lets every mirror catch up.
func (l *line) settle() {
	l.t.Helper()
	for _, b := range l.buckets {
		b.Calm()
	}
	l.rep.Notify()
	time.Sleep(10 * time.Minute)
	synctest.Wait()
	for _, s := range l.rep.Status() {
		if s.State == replication.StateStopped && l.lied && strings.Contains(s.Reason, "somebody else") {
			continue
		}
		if s.State != replication.StateOK || s.Acked != storage.Seq(len(l.committed)) {
			l.t.Fatalf("with all faults over and %d entries: %+v", len(l.committed), s)
		}
	}
}

// oldCopy puts a copy of the data directory back that is older than the last acknowledged push: the host that runs on it
// gets no acks and hurts nobody.
func (l *line) oldCopy() {
	l.t.Helper()
	if l.rnd.IntN(2) == 0 {
		l.stop()
	} else {
		l.kill()
	}
	old := filepath.Join(l.t.TempDir(), "data")
	if err := os.CopyFS(old, os.DirFS(l.dir)); err != nil {
		l.t.Fatal(err)
	}
	oldLines := l.committed
	l.start()
	l.settle()
	for before := len(l.committed); len(l.committed) == before; {
		l.push()
	}
	l.settle()
	l.kill()

	dir, lines, acked := l.dir, l.committed, l.acked
	l.dir, l.committed = old, oldLines
	l.start()
	for range 3 {
		e, err := l.change()
		if errors.Is(err, replication.ErrTooFewMirrors) {
			break
		}
		if err != nil {
			l.t.Fatal(err)
		}
		l.committed = append(l.committed, string(must(e.Encode())(l.t)))
		l.rep.Notify()
		if receipt, err := l.rep.Wait(context.Background(), e.Seq); err == nil || len(receipt.Acks) > 0 {
			l.t.Fatalf("an old copy got %s (%v)", receipt, err)
		}
		if l.rnd.IntN(2) == 0 {
			l.kill()
			l.start()
		}
	}
	l.kill()
	l.dir, l.committed, l.acked = dir, lines, acked
	l.start()
	l.check()
}

func (l *line) finish() {
	l.t.Helper()
	l.settle()
	l.push()
	l.settle()
	l.waits.Wait()
	l.check()
	for i, s := range l.rep.Status() {
		if s.State == replication.StateOK {
			from := []replication.Source{{Name: s.Name, Bucket: l.buckets[i].Reader()}}
			sameStore(l.t, l.store, l.checkRestore(from, l.committed, storage.Seq(len(l.committed))))
		}
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	if left, _ := filepath.Glob(filepath.Join(l.dir, "spool", "*"+".segment")); len(left) > 0 && !l.lied {
		l.t.Errorf("left in the spool: %v", left)
	}
}
