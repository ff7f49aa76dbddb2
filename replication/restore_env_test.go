package replication_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"holdfast/replication"
	"holdfast/replication/buckettest"
	"holdfast/storage"
	"holdfast/storage/object"
	"holdfast/storage/pack"
)

var mirrorNames = []string{"aws", "b2", "wasabi"}

// copyHost is a writing host with three mirrors whose segments are sealed by the test, so that it decides what lies where.
type copyHost struct {
	t       testing.TB
	kit     *replication.Kit
	store   *storage.Store
	writer  replication.Writer
	root    replication.Root
	ref     replication.RootRef
	buckets map[string]*buckettest.Bucket

	now    time.Time
	number uint64      // of the last segment
	sealed storage.Seq // the last entry in a segment
	repos  []storage.RepoID
	tips   map[storage.RepoID]object.ID
	loads  int
	big    map[storage.PackID]replication.PackObject
}

func openCopyStore(t testing.TB, dir string) *storage.Store {
	t.Helper()
	s, err := storage.Open(dir, storage.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func copyKit(recipient replication.RecipientType) replication.KitOptions {
	o := replication.KitOptions{Instance: replication.NewInstance(), Recipient: recipient, Created: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	for _, name := range mirrorNames {
		o.Mirrors = append(o.Mirrors, replication.KitMirror{Name: name, Endpoint: "https://" + name + ".example", Bucket: "code"})
	}
	return o
}

func newCopyHost(t testing.TB) *copyHost {
	t.Helper()
	return newCopyHostFor(t, replication.X25519)
}

func newCopyHostFor(t testing.TB, recipient replication.RecipientType) *copyHost {
	t.Helper()
	h := &copyHost{
		t: t, store: openCopyStore(t, t.TempDir()), buckets: map[string]*buckettest.Bucket{},
		now: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC), tips: map[storage.RepoID]object.ID{}, big: map[storage.PackID]replication.PackObject{},
	}
	var err error
	if h.kit, err = replication.InitRoot(filepath.Join(t.TempDir(), "kit"), h.store, copyKit(recipient)); err != nil {
		t.Fatal(err)
	}
	for _, name := range mirrorNames {
		b := buckettest.New(t)
		b.Now = func() time.Time { return h.now }
		h.buckets[name] = b
	}
	h.loadWriter()
	h.put(replication.RootKey(h.kit.Instance(), h.ref), h.writer.Root, mirrorNames...)
	return h
}

func (h *copyHost) loadWriter() {
	h.t.Helper()
	var err error
	if h.writer, err = replication.LoadWriter(h.store); err != nil {
		h.t.Fatal(err)
	}
	if h.root, h.ref, err = replication.OpenRoot(h.writer.Root, h.writer.RootKey); err != nil {
		h.t.Fatal(err)
	}
}

func (h *copyHost) meta() storage.Meta {
	h.now = h.now.Add(time.Minute)
	return storage.Meta{Actor: "alice", Key: "SHA256:abc", Time: h.now}
}

// repo returns the i-th repository, which the first push to it makes.
func (h *copyHost) repo(i int) *storage.Repo {
	h.t.Helper()
	var r *storage.Repo
	var err error
	if i < len(h.repos) {
		r, err = h.store.Repo(h.repos[i])
	} else {
		id := storage.NewRepoID()
		h.repos = append(h.repos, id)
		r, err = h.store.Create(id, storage.RepoInit{SCM: storage.Git, Format: object.SHA1, Head: "refs/heads/main"})
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// push commits a change to the i-th repository.
func (h *copyHost) push(i int) storage.Entry {
	h.t.Helper()
	return h.pushBytes(i, fmt.Appendf(nil, "content %d\n", h.loads))
}

func (h *copyHost) pushBytes(i int, content []byte) storage.Entry {
	h.t.Helper()
	r := h.repo(i)
	packed, tip := h.load(h.tips[r.ID()], content)
	return h.commit(r, packed, storage.RefUpdate{Name: "refs/heads/main", Old: h.tips[r.ID()], New: tip})
}

func (h *copyHost) commit(r *storage.Repo, packed []byte, updates ...storage.RefUpdate) storage.Entry {
	h.t.Helper()
	txn, err := r.Begin(h.meta())
	if err != nil {
		h.t.Fatal(err)
	}
	defer txn.Discard()
	if packed != nil {
		if err := txn.ReadPack(context.Background(), bytes.NewReader(packed)); err != nil {
			h.t.Fatal(err)
		}
	}
	for _, u := range updates {
		txn.Update(u)
		h.tips[r.ID()] = u.New
	}
	entries, err := h.store.Commit(txn)
	if err != nil {
		h.t.Fatal(err)
	}
	return entries[0]
}

// load makes a pack of one commit on top of parent with one file.
func (h *copyHost) load(parent object.ID, content []byte) ([]byte, object.ID) {
	h.t.Helper()
	h.loads++
	f := object.SHA1
	blob := object.HashObject(f, object.Blob, content)
	tree := blob.Append([]byte("100644 file\x00"))
	treeID := object.HashObject(f, object.Tree, tree)
	commit := "tree " + treeID.String() + "\n"
	if !parent.IsZero() {
		commit += "parent " + parent.String() + "\n"
	}
	commit += fmt.Sprintf("author A <a@example.org> %d +0000\ncommitter A <a@example.org> %d +0000\n\nload %d\n", 1767000000+h.loads, 1767000000+h.loads, h.loads)
	var buf bytes.Buffer
	w := pack.NewWriter(&buf, f, 3)
	for _, o := range []struct {
		t    object.Type
		data []byte
	}{{object.Blob, content}, {object.Tree, tree}, {object.Commit, []byte(commit)}} {
		if err := w.WriteObject(o.t, o.data); err != nil {
			h.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		h.t.Fatal(err)
	}
	return buf.Bytes(), object.HashObject(f, object.Commit, []byte(commit))
}

func (h *copyHost) record(k storage.Kind, data []byte) storage.Entry {
	h.t.Helper()
	txn, err := h.store.BeginHost(h.meta(), k, data)
	if err != nil {
		h.t.Fatal(err)
	}
	entries, err := h.store.Commit(txn)
	if err != nil {
		h.t.Fatal(err)
	}
	return entries[0]
}

// ship seals what is new into one segment and puts it on the named mirrors, all if none is named.
func (h *copyHost) ship(names ...string) replication.Header {
	h.t.Helper()
	entries, err := h.store.Entries(h.sealed, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.shipEntries(entries, names...)
}

// shipEach seals each new entry into a segment of its own.
func (h *copyHost) shipEach(names ...string) {
	h.t.Helper()
	entries, err := h.store.Entries(h.sealed, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, e := range entries {
		h.shipEntries([]storage.Entry{e}, names...)
	}
}

func (h *copyHost) shipEntries(entries []storage.Entry, names ...string) replication.Header {
	h.t.Helper()
	h.number++
	head, data := h.seal(h.number, entries)
	h.sealed = max(h.sealed, head.Last)
	h.put(head.Key(), data, names...)
	return head
}

// seal makes a segment of entries.
func (h *copyHost) seal(number uint64, entries []storage.Entry) (replication.Header, []byte) {
	h.t.Helper()
	recipients, err := replication.ParseRecipients(h.root.Recipients)
	if err != nil {
		h.t.Fatal(err)
	}
	var buf bytes.Buffer
	head, err := replication.WriteSegment(&buf,
		replication.Header{Instance: h.root.Instance, Generation: h.root.Generation, Epoch: h.root.Epoch, Number: number},
		replication.Contents{Entries: entries, OpenPack: h.store.OpenPack, Outside: h.big},
		replication.SealKeys{Signer: h.writer.Signer, Recipients: recipients, Root: h.ref}, h.t.TempDir())
	if err != nil {
		h.t.Fatal(err)
	}
	return head, buf.Bytes()
}

func (h *copyHost) put(key string, data []byte, names ...string) {
	h.t.Helper()
	if len(names) == 0 {
		names = mirrorNames
	}
	for _, name := range names {
		if err := h.buckets[name].Put(context.Background(), key, bytes.NewReader(data), int64(len(data))); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *copyHost) key(number uint64) string {
	return replication.SegmentKey(h.root.Instance, h.root.Generation, h.root.Epoch, number)
}

// sources are readers of the named mirrors, all if none is named.
func (h *copyHost) sources(names ...string) []replication.Source {
	if len(names) == 0 {
		names = mirrorNames
	}
	var out []replication.Source
	for _, name := range names {
		out = append(out, replication.Source{Name: name, Bucket: h.buckets[name].Reader()})
	}
	return out
}

func fast(o replication.RestoreOptions) replication.RestoreOptions {
	o.Backoff = time.Nanosecond
	return o
}

func (h *copyHost) restore(to *storage.Store, o replication.RestoreOptions, names ...string) (replication.Report, error) {
	h.t.Helper()
	o.TempDir = h.t.TempDir()
	rep, err := replication.Restore(context.Background(), h.sources(names...), h.kit, to, fast(o))
	if left, _ := os.ReadDir(o.TempDir); len(left) > 0 {
		h.t.Errorf("a restore left %v behind", left)
	}
	return rep, err
}

func (h *copyHost) mustRestore(o replication.RestoreOptions, names ...string) (*storage.Store, replication.Report) {
	h.t.Helper()
	to := openCopyStore(h.t, h.t.TempDir())
	rep, err := h.restore(to, o, names...)
	if err != nil {
		h.t.Fatalf("%v\n%s", err, rep)
	}
	return to, rep
}

func journalLines(t testing.TB, s *storage.Store) []string {
	t.Helper()
	var lines []string
	for after := storage.Seq(0); ; {
		entries, err := s.Entries(after, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			return lines
		}
		for _, e := range entries {
			line, err := e.Encode()
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, string(line))
		}
		after = entries[len(entries)-1].Seq
	}
}

// sameStore compares journals, refs, every object that refs reach, packs as received, and secrets.
func sameStore(t testing.TB, want, got *storage.Store) {
	t.Helper()
	wantWhole(t, got)
	if diff := cmp.Diff(journalLines(t, want), journalLines(t, got)); diff != "" {
		t.Fatalf("journals differ: %s", diff)
	}
	ids, err := want.Repos()
	if err != nil {
		t.Fatal(err)
	}
	gotIDs, err := got.Repos()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(ids, gotIDs) {
		t.Fatalf("repositories differ: %v, want %v", gotIDs, ids)
	}
	for _, id := range ids {
		sameRepo(t, want, got, id)
	}
	for _, line := range journalLines(t, want) {
		e, err := storage.DecodeEntry([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range e.Packs {
			if got := readPack(t, got, p.ID); storage.PackID(sha256.Sum256(got)) != p.ID { // want may have merged it
				t.Errorf("pack %s differs", p.ID)
			}
		}
	}
}

// wantWhole lets the store check itself.
func wantWhole(t testing.TB, s *storage.Store) {
	t.Helper()
	rep, err := s.Check(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range rep.Problems {
		t.Errorf("check: %s", p)
	}
}

func readPack(t testing.TB, s *storage.Store, id storage.PackID) []byte {
	t.Helper()
	r, err := s.OpenPack(id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func sameRepo(t testing.TB, want, got *storage.Store, id storage.RepoID) {
	t.Helper()
	a, err := want.Repo(id)
	if err != nil {
		t.Fatal(err)
	}
	b, err := got.Repo(id)
	if err != nil {
		t.Fatal(err)
	}
	refs, err := a.Refs("", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	gotRefs, err := b.Refs("", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(refs, gotRefs, cmp.Comparer(func(x, y object.ID) bool { return x == y })); diff != "" {
		t.Fatalf("refs of %s differ: %s", id, diff)
	}
	seen := map[object.ID]bool{}
	for _, ref := range refs {
		sameObjects(t, a, b, ref.ID, seen)
	}
}

func sameObjects(t testing.TB, a, b *storage.Repo, id object.ID, seen map[object.ID]bool) {
	t.Helper()
	if seen[id] {
		return
	}
	seen[id] = true
	typ, data, err := a.ReadObject(id)
	if err != nil {
		t.Fatal(err)
	}
	typ2, data2, err := b.ReadObject(id)
	if err != nil {
		t.Fatal(err)
	}
	if typ != typ2 || !bytes.Equal(data, data2) {
		t.Fatalf("object %s differs", id)
	}
	if err := object.Links(a.Format(), typ, data, func(l object.Link) { sameObjects(t, a, b, l.ID, seen) }); err != nil {
		t.Fatal(err)
	}
}

func wantLine(t testing.TB, lines []string, parts ...string) {
	t.Helper()
	for _, l := range lines {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(l, p)
		}
		if all {
			return
		}
	}
	t.Errorf("no line says %q in:\n%s", parts, strings.Join(lines, "\n"))
}

type objectID = object.ID

func contextWithCancel(t testing.TB) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return ctx, cancel
}

// sealPack encrypts a pack as an object of its own.
func sealPack(t testing.TB, packed []byte, recipients []string) (replication.PackObject, []byte) {
	t.Helper()
	to, err := replication.ParseRecipients(recipients)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w, err := age.Encrypt(&buf, to...)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(packed)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return replication.PackObject{ID: replication.NewPackKeyID(), Sum: sha256.Sum256(buf.Bytes()), Size: int64(buf.Len())}, buf.Bytes()
}
