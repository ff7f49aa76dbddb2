package replication_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"golang.org/x/mod/sumdb/note"

	"holdfast/replication"
	"holdfast/storage"
)

// goldenFiles adds every golden object as a seed.
func goldenFiles(f *testing.F, match string) {
	f.Helper()
	err := filepath.WalkDir("testdata/format1", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(path, match) {
			return err
		}
		data, err := os.ReadFile(path)
		f.Add(data)
		return err
	})
	if err != nil {
		f.Fatal(err)
	}
}

func FuzzOpenSegment(f *testing.F) {
	goldenFiles(f, "/log/")
	w := newWorld(f)
	object, _ := w.segment(f, replication.Contents{Entries: chain(storage.Entry{}, nil, []storage.PackInfo{w.pack("PACK")}), OpenPack: w.openPack})
	f.Add(object)
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := replication.OpenSegment(bytes.NewReader(data), w.roots)
		if err != nil {
			return
		}
		if _, err := s.Decrypt(w.identity); err != nil {
			return
		}
		for {
			_, r, err := s.NextPack()
			if err != nil {
				return
			}
			io.Copy(io.Discard, r)
		}
	})
}

// FuzzSegmentBody puts a body of the fuzzer's choice behind a good signature: a host's journal key may be stolen.
func FuzzSegmentBody(f *testing.F) {
	w := newWorld(f)
	entries := chain(storage.Entry{}, []storage.PackInfo{w.pack("PACK")}, nil)
	f.Add(replication.BodyForTest(f, entries, w.openPack))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, plain []byte) {
		object := replication.SegmentForTest(t, replication.Header{
			Instance: w.instance, Generation: 1, Epoch: 1, Number: 1, First: 1, Last: 2, Head: entries[1].Hash(), Root: w.rootRef,
		}, plain, w.keys(t))
		s, err := replication.OpenSegment(bytes.NewReader(object), w.roots)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Decrypt(w.identity)
		if err != nil {
			return
		}
		if len(got) != 2 || got[1].Hash() != entries[1].Hash() {
			t.Fatal("other entries were accepted")
		}
		for {
			info, r, err := s.NextPack()
			if err != nil {
				return
			}
			if data, err := io.ReadAll(r); err == nil && !bytes.Equal(data, w.packs[info.ID]) {
				t.Fatal("another pack was accepted")
			}
		}
	})
}

func FuzzHeader(f *testing.F) {
	w := newWorld(f)
	object, _, _ := w.sample(f)
	text, _, _ := strings.Cut(string(object), "\n\n")
	f.Add(text + "\n")
	f.Add("holdfast closed v1\ninstance x\ngeneration 1\nepoch 1\nnumber 1\nroot 1 " + strings.Repeat("0", 64) + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		if again, err := replication.ParseHeaderForTest(text); err == nil && again != text {
			t.Errorf("%q was read and is written as %q", text, again)
		}
	})
}

func FuzzOpenRoot(f *testing.F) {
	goldenFiles(f, "/root/")
	w := newWorld(f)
	f.Add(w.rootObject)
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, _, err := replication.OpenRoot(data, w.rootKey); err == nil && !bytes.Equal(data, w.rootObject) {
			t.Error("a record that nobody signed was accepted")
		}
	})
}

// FuzzRootText signs a text of the fuzzer's choice.
func FuzzRootText(f *testing.F) {
	w := newWorld(f)
	text, _, _ := strings.Cut(string(w.rootObject), "\n\n")
	f.Add(text + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		object, err := note.Sign(&note.Note{Text: text}, w.rootSigner)
		if err != nil {
			return
		}
		r, ref, err := replication.OpenRoot(object, w.rootKey)
		if err != nil {
			return
		}
		again, ref2, err := r.Sign(w.rootSigner)
		if err != nil || ref != ref2 || !bytes.Equal(again, object) {
			t.Errorf("%q was read and is written as %q, %v", object, again, err)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add(replication.SegmentKey("a", 1, 2, 3))
	f.Add(replication.PackKey("a", 1, replication.NewPackKeyID()))
	f.Add(replication.RootKey("a", replication.RootRef{Version: 1}))
	f.Add(replication.CheckpointKey("a", 2, 1))
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := replication.ParseKey(s); err == nil && k.String() != s {
			t.Errorf("%q was read and is written as %q", s, k)
		}
	})
}

func FuzzPackObject(f *testing.F) {
	goldenFiles(f, "/pack/")
	id := must(age.GenerateX25519Identity())(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		o := replication.PackObject{ID: replication.NewPackKeyID(), Size: int64(len(data))}
		r, err := replication.OpenPackObject(bytes.NewReader(data), o, storage.PackID{}, id)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, r); err == nil {
			t.Error("a pack with a wrong hash was accepted")
		}
	})
}

// FuzzSpool gives New cursors and a spool file of the fuzzer's choice.
func FuzzSpool(f *testing.F) {
	w := newWorld(f)
	object, _ := w.segment(f, replication.Contents{Entries: chain(storage.Entry{}, nil, nil)})
	f.Add([]byte(`{"instance":"x","number":3,"mirrors":{"aws":{"number":2,"clean":1,"have":[{"first":1,"last":2}]}}}`), object)
	f.Fuzz(func(t *testing.T, fact, segment []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, "000000000001-000000000001-000000000007.segment")
		if err := os.WriteFile(path, segment, 0o600); err != nil {
			t.Fatal(err)
		}
		j := newJournal(w)
		j.facts["replication.cursors"] = fact
		replication.New(j, []*replication.Mirror{replication.NewMirror("aws", nil, replication.MirrorOptions{})},
			replication.Options{Dir: dir, Root: w.rootObject, RootKey: w.rootKey, Signer: w.journal})
	})
}
