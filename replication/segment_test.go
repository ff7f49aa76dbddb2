package replication_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"holdfast/replication"
	"holdfast/storage"
)

// world is an instance as tests see it: its keys, its root record, its packs.
type world struct {
	instance   string
	rootSigner note.Signer
	rootKey    note.Verifier
	rootVKey   string
	journal    note.Signer
	identity   age.Identity
	recipient  string
	rootObject []byte
	rootRef    replication.RootRef
	roots      replication.Roots
	packs      map[storage.PackID][]byte
}

func must[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newWorld(t testing.TB) *world {
	t.Helper()
	id := must(age.GenerateX25519Identity())(t)
	return newWorldFor(t, replication.NewInstance(), id, id.Recipient().String())
}

func newWorldFor(t testing.TB, instance string, id age.Identity, recipient string) *world {
	t.Helper()
	w := &world{instance: instance, identity: id, recipient: recipient, roots: replication.Roots{}, packs: map[storage.PackID][]byte{}}
	skey, vkey, err := note.GenerateKey(rand.Reader, "holdfast/"+w.instance+"/root")
	if err != nil {
		t.Fatal(err)
	}
	w.rootVKey = vkey
	w.rootSigner, w.rootKey = must(note.NewSigner(skey))(t), must(note.NewVerifier(vkey))(t)
	secret, public, err := replication.NewJournalKey(w.instance, 1)
	if err != nil {
		t.Fatal(err)
	}
	w.journal = must(note.NewSigner(secret))(t)
	w.addRoot(t, replication.Root{
		Instance: w.instance, Version: 1, Epoch: 1, Generation: 1, Journal: public, Recipients: []string{w.recipient},
		Mirrors: []replication.RootMirror{{Name: "aws", Endpoint: "https://s3.example", Bucket: "b", Region: "eu"}},
		Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	})
	return w
}

func (w *world) addRoot(t testing.TB, r replication.Root) {
	t.Helper()
	object, ref, err := r.Sign(w.rootSigner)
	if err != nil {
		t.Fatal(err)
	}
	opened, again, err := replication.OpenRoot(object, w.rootKey)
	if err != nil || again != ref {
		t.Fatalf("OpenRoot: %v, %v != %v", err, again, ref)
	}
	w.rootObject, w.rootRef = object, ref
	w.roots[ref] = opened
}

func (w *world) keys(t testing.TB) replication.SealKeys {
	return replication.SealKeys{Signer: w.journal, Recipients: must(replication.ParseRecipients([]string{w.recipient}))(t), Root: w.rootRef}
}

func (w *world) pack(data string) storage.PackInfo {
	info := packInfo(data)
	w.packs[info.ID] = []byte(data)
	return info
}

func packInfo(data string) storage.PackInfo {
	return storage.PackInfo{ID: sha256.Sum256([]byte(data)), Size: int64(len(data)), Objects: 1}
}

func (w *world) openPack(id storage.PackID) (io.ReadCloser, error) {
	data, ok := w.packs[id]
	if !ok {
		return nil, errNoPack
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// chain makes consecutive entries behind prev, each with the packs of one list.
func chain(prev storage.Entry, packs ...[]storage.PackInfo) (entries []storage.Entry) {
	for _, p := range packs {
		e := storage.Entry{
			Seq: prev.Seq + 1, Epoch: 1, Time: time.Date(2026, 1, 1, 0, 0, int(prev.Seq), 0, time.UTC), Actor: "ann",
			Repo: "0123456789abcdef0123456789abcdef", Kind: storage.KindRefs, Packs: p, Nonce: storage.NewNonce(),
		}
		if prev.Seq > 0 {
			e.Prev = prev.Hash()
		}
		entries = append(entries, e)
		prev = e
	}
	return entries
}

func (w *world) segment(t testing.TB, c replication.Contents) ([]byte, replication.Header) {
	t.Helper()
	var buf bytes.Buffer
	h := replication.Header{Instance: w.instance, Generation: 1, Epoch: 1, Number: 7}
	h, err := replication.WriteSegment(&buf, h, c, w.keys(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes(), h
}

// sample is a segment with packs inside and outside, one of them named twice.
func (w *world) sample(t testing.TB) ([]byte, replication.Header, replication.Contents) {
	t.Helper()
	a, b, big := w.pack("PACK a"), w.pack(strings.Repeat("PACK b", 400_000)), w.pack("PACK big")
	entries := chain(storage.Entry{}, []storage.PackInfo{a}, nil, []storage.PackInfo{big, b, a})
	c := replication.Contents{
		Entries:  entries,
		Outside:  map[storage.PackID]replication.PackObject{big.ID: {ID: replication.NewPackKeyID(), Sum: replication.Sum{1}, Size: 99}},
		OpenPack: w.openPack,
	}
	object, h := w.segment(t, c)
	return object, h, c
}

// readAll reads a whole segment and checks its packs.
func (w *world) readAll(r io.Reader) (replication.Header, []storage.Entry, []storage.PackID, error) {
	s, err := replication.OpenSegment(r, w.roots)
	if err != nil {
		return replication.Header{}, nil, nil, err
	}
	entries, err := s.Decrypt(w.identity)
	if err != nil {
		return s.Header(), nil, nil, err
	}
	var packs []storage.PackID
	for {
		info, pr, err := s.NextPack()
		if err == io.EOF {
			return s.Header(), entries, packs, nil
		}
		if err != nil {
			return s.Header(), entries, packs, err
		}
		data, err := io.ReadAll(pr)
		if err != nil {
			return s.Header(), entries, packs, err
		}
		if !bytes.Equal(data, w.packs[info.ID]) {
			return s.Header(), entries, packs, fmt.Errorf("pack %s differs", info.ID)
		}
		packs = append(packs, info.ID)
	}
}

func TestSegmentRoundTrip(t *testing.T) {
	hybrid := must(age.GenerateHybridIdentity())(t)
	for name, w := range map[string]*world{"x25519": newWorld(t), "hybrid": newWorldFor(t, replication.NewInstance(), hybrid, hybrid.Recipient().String())} {
		t.Run(name, func(t *testing.T) {
			object, h, c := w.sample(t)
			got, entries, packs, err := w.readAll(bytes.NewReader(object))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(h, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.Entries, entries, cmp.Comparer(func(a, b storage.Entry) bool { return a.Hash() == b.Hash() })); diff != "" {
				t.Error(diff)
			}
			if len(packs) != 2 || packs[0] != c.Entries[0].Packs[0].ID || packs[1] != c.Entries[2].Packs[1].ID {
				t.Errorf("packs %v", packs)
			}
			s := must(replication.OpenSegment(bytes.NewReader(object), w.roots))(t)
			if err := s.Verify(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSegmentRefusesDamage(t *testing.T) {
	w := newWorld(t)
	object, h, _ := w.sample(t)
	head := len(object) - int(h.BodySize)
	tests := map[string]func() []byte{
		"truncated":      func() []byte { return object[:len(object)-1] },
		"trailing byte":  func() []byte { return append(bytes.Clone(object), 0) },
		"header only":    func() []byte { return object[:head] },
		"in the header":  func() []byte { return flip(object, 40) },
		"in the sum":     func() []byte { return flip(object, head-10) },
		"age header":     func() []byte { return flip(object, head+60) },
		"in the body":    func() []byte { return flip(object, head+int(h.BodySize)/2) },
		"in the last":    func() []byte { return flip(object, len(object)-1) },
		"empty":          func() []byte { return nil },
		"endless header": func() []byte { return []byte(strings.Repeat("x\n", 1<<20)) },
		"endless line":   func() []byte { return bytes.Repeat([]byte("x"), 1<<20) },
	}
	for name, damaged := range tests {
		t.Run(name, func(t *testing.T) {
			if _, _, _, err := w.readAll(bytes.NewReader(damaged())); err == nil {
				t.Error("read without an error")
			}
			s, err := replication.OpenSegment(bytes.NewReader(damaged()), w.roots)
			if err == nil {
				err = s.Verify()
			}
			if err == nil {
				t.Error("verified without an error")
			}
		})
	}
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

func TestSegmentOfAnotherRoot(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	object, _, _ := w.sample(t)
	if _, err := replication.OpenSegment(bytes.NewReader(object), other.roots); !errors.Is(err, replication.ErrUnknownRoot) {
		t.Errorf("got %v", err)
	}
	// A record that claims the reference but holds another journal key must not verify it.
	forged := replication.Roots{w.rootRef: w.roots[w.rootRef]}
	r := forged[w.rootRef]
	r.Journal = other.roots[other.rootRef].Journal
	forged[w.rootRef] = r
	if _, err := replication.OpenSegment(bytes.NewReader(object), forged); err == nil {
		t.Error("another key's signature was accepted")
	}
}

func TestClosed(t *testing.T) {
	w := newWorld(t)
	c := replication.Closed{Instance: w.instance, Generation: 1, Epoch: 1, Number: 8, Root: w.rootRef}
	object := must(replication.WriteClosed(c, w.journal))(t)
	_, err := replication.OpenSegment(bytes.NewReader(object), w.roots)
	var closed *replication.ClosedError
	if !errors.As(err, &closed) || !errors.Is(err, replication.ErrClosed) || closed.Closed != c {
		t.Fatalf("got %v", err)
	}
	if _, err := replication.OpenSegment(bytes.NewReader(append(object, '\n')), w.roots); err == nil || errors.Is(err, replication.ErrClosed) {
		t.Errorf("bytes behind a closed object: %v", err)
	}
	if _, err := replication.OpenSegment(bytes.NewReader(flip(object, 100)), w.roots); err == nil || errors.Is(err, replication.ErrClosed) {
		t.Errorf("damaged closed object: %v", err)
	}
}

func TestWriteSegmentRefusesWrongPack(t *testing.T) {
	w := newWorld(t)
	p := w.pack("PACK")
	c := replication.Contents{Entries: chain(storage.Entry{}, []storage.PackInfo{p}), OpenPack: w.openPack}
	w.packs[p.ID] = []byte("KCAP")
	h := replication.Header{Instance: w.instance, Generation: 1, Epoch: 1, Number: 1}
	if _, err := replication.WriteSegment(io.Discard, h, c, w.keys(t), t.TempDir()); err == nil {
		t.Error("sealed a pack whose bytes are not its own")
	}
}

func TestPackObject(t *testing.T) {
	w := newWorld(t)
	info := w.pack(strings.Repeat("PACK", 50_000))
	var cipher bytes.Buffer
	enc := must(age.Encrypt(&cipher, w.keys(t).Recipients...))(t)
	enc.Write(w.packs[info.ID])
	enc.Close()
	o := replication.PackObject{ID: replication.NewPackKeyID(), Sum: sha256.Sum256(cipher.Bytes()), Size: int64(cipher.Len())}
	read := func(b []byte, id storage.PackID) ([]byte, error) {
		r, err := replication.OpenPackObject(bytes.NewReader(b), o, id, w.identity)
		if err != nil {
			return nil, err
		}
		return io.ReadAll(r)
	}
	got, err := read(cipher.Bytes(), info.ID)
	if err != nil || !bytes.Equal(got, w.packs[info.ID]) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for name, b := range map[string][]byte{
		"trailing": append(bytes.Clone(cipher.Bytes()), 0), "truncated": cipher.Bytes()[:cipher.Len()-1], "flipped": flip(cipher.Bytes(), 70_000),
	} {
		if _, err := read(b, info.ID); err == nil {
			t.Errorf("%s: no error", name)
		}
		if replication.VerifyPackObject(bytes.NewReader(b), o) == nil {
			t.Errorf("%s: verified", name)
		}
	}
	if _, err := read(cipher.Bytes(), storage.PackID{1}); err == nil {
		t.Error("another pack's bytes were accepted")
	}
}

func TestKeys(t *testing.T) {
	sum := replication.Sum{0xab}
	instance := strings.Repeat("5", 32)
	keys := []string{
		replication.RootKey(instance, replication.RootRef{Version: 3, Sum: sum}),
		replication.SegmentKey(instance, 1, 2, 3),
		replication.PackKey(instance, 9, replication.NewPackKeyID()),
		replication.CheckpointKey(instance, 2, 1),
	}
	if want := "v1/" + instance + "/000000000001/log/000000000002/000000000003"; keys[1] != want {
		t.Errorf("segment key %s, want %s", keys[1], want)
	}
	for _, key := range keys {
		k, err := replication.ParseKey(key)
		if err != nil || k.String() != key {
			t.Errorf("%s: %v, %v", key, k, err)
		}
		for _, bad := range []string{key + "0", key[1:], strings.ToUpper(key), key + "/", strings.Replace(key, "/0", "/1", 1) + "x"} {
			if _, err := replication.ParseKey(bad); err == nil {
				t.Errorf("%s was taken for a key", bad)
			}
		}
	}
}

func TestRootRefuses(t *testing.T) {
	w := newWorld(t)
	good := w.roots[w.rootRef]
	hybrid := must(age.GenerateHybridIdentity())(t)
	for name, change := range map[string]func(*replication.Root){
		"no instance":    func(r *replication.Root) { r.Instance = "" },
		"bad instance":   func(r *replication.Root) { r.Instance = "../x" },
		"version 0":      func(r *replication.Root) { r.Version = 0 },
		"prev in first":  func(r *replication.Root) { r.Prev = replication.Sum{1} },
		"epoch 2, alone": func(r *replication.Root) { r.Epoch = 2 },
		"journal key":    func(r *replication.Root) { r.Journal = "x" },
		"no recipient":   func(r *replication.Root) { r.Recipients = nil },
		"mixed types":    func(r *replication.Root) { r.Recipients = append(r.Recipients[:1:1], hybrid.Recipient().String()) },
	} {
		r := good
		change(&r)
		if _, _, err := r.Sign(w.rootSigner); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
	if _, _, err := replication.OpenRoot(w.rootObject, must(note.NewVerifier(good.Journal))(t)); err == nil {
		t.Error("verified by another key")
	}
	if _, _, err := replication.OpenRoot(flip(w.rootObject, 30), w.rootKey); err == nil {
		t.Error("damaged record verified")
	}
	// A second signature by somebody else changes the bytes and so the reference: one record, one form.
	n := must(note.Open(w.rootObject, note.VerifierList(w.rootKey)))(t)
	twice := must(note.Sign(n, w.journal))(t)
	if _, _, err := replication.OpenRoot(twice, w.rootKey); err == nil {
		t.Error("a record with a second signature verified")
	}
}
