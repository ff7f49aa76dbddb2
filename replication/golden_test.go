package replication_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/mod/sumdb/note"

	"holdfast/replication"
	"holdfast/storage"
	"holdfast/storage/object"
)

// makeGolden writes new test vectors. Those of a format that was ever released are never made again: a new version of the
// format gets a directory of its own.
var makeGolden = flag.String("golden.make", "", "make the test vectors of this recipient type (x25519 or hybrid)")

const (
	goldenInstance = "00112233445566778899aabbccddeeff"
	goldenRepo     = "0123456789abcdef0123456789abcdef"
)

// golden is a directory of test vectors: a mirror, the keys that read it, and what they must find.
type golden struct {
	dir     string
	rootKey note.Verifier
	id      age.Identity
}

func openGolden(t *testing.T, kind string) *golden {
	t.Helper()
	g := &golden{dir: filepath.Join("testdata", "format1", kind)}
	g.rootKey = must(note.NewVerifier(strings.TrimSpace(g.read(t, "root.vkey"))))(t)
	ids := must(age.ParseIdentities(strings.NewReader(g.read(t, "recovery.agekey"))))(t)
	g.id = ids[0]
	return g
}

func (g *golden) read(t testing.TB, name string) string {
	t.Helper()
	return string(must(os.ReadFile(filepath.Join(g.dir, name)))(t))
}

func (g *golden) mirror(t testing.TB, key string) []byte {
	t.Helper()
	return []byte(g.read(t, filepath.Join("mirror", key)))
}

// rootRecord finds the one root record on the golden mirror.
func (g *golden) rootRecord(t *testing.T) (replication.Root, replication.RootRef) {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(g.dir, "mirror", replication.RootPrefix(goldenInstance)))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	key, err := replication.ParseKey(replication.RootPrefix(goldenInstance) + files[0].Name())
	if err != nil {
		t.Fatal(err)
	}
	r, ref, err := replication.OpenRoot(g.mirror(t, key.String()), g.rootKey)
	if err != nil || ref != key.Root {
		t.Fatalf("%v, %v", ref, err)
	}
	return r, ref
}

func TestGolden(t *testing.T) {
	for _, kind := range []string{"x25519", "hybrid"} {
		t.Run(kind, func(t *testing.T) {
			g := openGolden(t, kind)
			root, ref := g.rootRecord(t)
			if root.Instance != goldenInstance || root.Mirrors[0].Name != "aws" || root.Created != time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) {
				t.Errorf("%+v", root)
			}
			var entries bytes.Buffer
			for n := uint64(1); n <= 2; n++ {
				key := replication.SegmentKey(goldenInstance, 1, 1, n)
				found := g.segment(t, key, replication.Roots{ref: root})
				for _, e := range found {
					line := must(e.Encode())(t)
					entries.Write(append(line, '\n'))
				}
			}
			if want := g.read(t, "entries.jsonl"); entries.String() != want {
				t.Errorf("entries\n%swant\n%s", entries.String(), want)
			}
			key := replication.SegmentKey(goldenInstance, 1, 1, 3)
			_, err := replication.OpenSegment(bytes.NewReader(g.mirror(t, key)), replication.Roots{ref: root})
			if !errors.Is(err, replication.ErrClosed) {
				t.Errorf("closed object: %v", err)
			}
		})
	}
}

// segment reads one golden segment and checks all that the format promises.
func (g *golden) segment(t *testing.T, key string, roots replication.Roots) []storage.Entry {
	t.Helper()
	raw := g.mirror(t, key)
	s, err := replication.OpenSegment(bytes.NewReader(raw), roots)
	if err != nil {
		t.Fatal(err)
	}
	h := s.Header()
	if h.Key() != key {
		t.Errorf("%s lies under %s", h.Key(), key)
	}
	if sum := sha256.Sum256(raw[int64(len(raw))-h.BodySize:]); replication.Sum(sum) != h.BodySum {
		t.Error("the body is not the end of the object")
	}
	entries, err := s.Decrypt(g.id)
	if err != nil {
		t.Fatal(err)
	}
	for {
		_, r, err := s.NextPack()
		if err == io.EOF {
			break
		}
		if err == nil {
			_, err = io.Copy(io.Discard, r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range entries {
		for _, p := range e.Packs {
			o, ok := s.Outside(p.ID)
			if !ok {
				continue
			}
			object := g.mirror(t, replication.PackKey(goldenInstance, 1, o.ID))
			r, err := replication.OpenPackObject(bytes.NewReader(object), o, p.ID, g.id)
			if err == nil {
				_, err = io.Copy(io.Discard, r)
			}
			if err != nil {
				t.Error(err)
			}
		}
	}
	return entries
}

// TestRecoverByHand runs the shell script in doc/formats/segment.md, which uses no code of ours, and compares the
// repository.
func TestRecoverByHand(t *testing.T) {
	for _, tool := range []string{"age", "git", "tar"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	script := recoveryScript(t)
	for _, kind := range []string{"x25519", "hybrid"} {
		t.Run(kind, func(t *testing.T) {
			g := openGolden(t, kind)
			dir := t.TempDir()
			generation := filepath.Join(g.dir, "mirror", "v1", goldenInstance, "000000000001")
			if err := os.CopyFS(dir, os.DirFS(generation)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "recovery.agekey"), []byte(g.read(t, "recovery.agekey")), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("sh", "-euc", script)
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "REPO="+goldenRepo, "EPOCH=000000000001")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			cmd = exec.Command("git", "-C", filepath.Join(dir, "repo.git"), "for-each-ref", "--format=%(objectname) %(refname)")
			refs := must(cmd.CombinedOutput())(t)
			if want := g.read(t, "refs"); string(refs) != want {
				t.Errorf("refs\n%swant\n%s", refs, want)
			}
			if out, err := exec.Command("git", "-C", filepath.Join(dir, "repo.git"), "fsck", "--full", "--strict").CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func recoveryScript(t *testing.T) string {
	t.Helper()
	doc := must(os.ReadFile("../doc/formats/segment.md"))(t)
	_, rest, _ := strings.Cut(string(doc), "```sh\n")
	script, _, ok := strings.Cut(rest, "```\n")
	if !ok {
		t.Fatal("segment.md holds no script")
	}
	return script
}

// TestRecoverByHandLate recovers from a mirror that got entries again behind others, and one that was lost in time.
func TestRecoverByHandLate(t *testing.T) {
	if _, err := exec.LookPath("age"); err != nil {
		t.Skip("needs age")
	}
	h := lateHost(t, 12, 4)
	entries := must(h.store.Entries(0, 1))(t)
	h.shipEntries(entries) // as an idle host does
	dir := t.TempDir()
	for _, key := range h.buckets["b2"].Keys() {
		if _, name, ok := strings.Cut(key, "/000000000001/"); ok {
			path := filepath.Join(dir, name)
			os.MkdirAll(filepath.Dir(path), 0o700)
			if err := os.WriteFile(path, h.buckets["b2"].Contents(key)[0], 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	key := must(os.ReadFile(filepath.Join(h.kit.Dir(), "recovery.agekey")))(t)
	if err := os.WriteFile(filepath.Join(dir, "recovery.agekey"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-euc", recoveryScript(t))
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "REPO="+string(h.repos[0]), "EPOCH=000000000001")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got := must(exec.Command("git", "-C", filepath.Join(dir, "repo.git"), "rev-parse", "main").Output())(t)
	if want := h.tips[h.repos[0]].String(); strings.TrimSpace(string(got)) != want {
		t.Errorf("main is at %s, want %s", got, want)
	}
}

// TestMakeGolden makes test vectors when asked to.
func TestMakeGolden(t *testing.T) {
	if *makeGolden == "" {
		t.Skip("makes nothing unless -golden.make is set")
	}
	m := newGoldenMaker(t, *makeGolden)
	first := m.commit(t, "one", strings.Repeat("a line\n", 200))
	packA := m.pack(t, first+"\n", false)
	second := m.commit(t, "two", strings.Repeat("a line\n", 200)+"another\n")
	packB := m.pack(t, second+"\n^"+first+"\n", true)
	third := m.commit(t, "three", strings.Repeat("other\n", 50))
	packC := m.pack(t, third+"\n^"+second+"\n", true)

	m.entry(t, storage.Entry{Kind: storage.KindConfig, Data: []byte("name: code.example.org\n")})
	m.entry(t, storage.Entry{
		Kind: storage.KindRefs, Repo: goldenRepo, Init: &storage.RepoInit{SCM: storage.Git, Format: object.SHA1, Head: "refs/heads/main"},
		Packs: []storage.PackInfo{packA}, Refs: []storage.RefUpdate{m.ref(t, "refs/heads/main", "", first)},
	})
	m.entry(t, storage.Entry{
		Kind: storage.KindRefs, Repo: goldenRepo, Packs: []storage.PackInfo{packB}, Options: []string{"ci.skip"},
		Refs: []storage.RefUpdate{m.ref(t, "refs/heads/main", first, second), m.ref(t, "refs/heads/old", "", first)},
	})
	m.write(t, 1, m.entries, nil)
	m.entry(t, storage.Entry{
		Kind: storage.KindRefs, Repo: goldenRepo, Packs: []storage.PackInfo{packC},
		Refs: []storage.RefUpdate{m.ref(t, "refs/heads/main", second, third), m.ref(t, "refs/heads/old", first, "")},
	})
	m.write(t, 2, m.entries[3:], map[storage.PackID]replication.PackObject{packC.ID: m.putPack(t, packC.ID)})
	closed := replication.Closed{Instance: goldenInstance, Generation: 1, Epoch: 1, Number: 3, Root: m.w.rootRef}
	m.put(t, "mirror/"+closed.Key(), must(replication.WriteClosed(closed, m.w.journal))(t))
	m.put(t, "refs", []byte(third+" refs/heads/main\n"))
	var lines bytes.Buffer
	for _, e := range m.entries {
		lines.Write(append(must(e.Encode())(t), '\n'))
	}
	m.put(t, "entries.jsonl", lines.Bytes())
}

// goldenMaker makes test vectors with keys that are thrown away, apart from what reads them.
type goldenMaker struct {
	w       *world
	dir     string
	git     string
	entries []storage.Entry
	repo    storage.Hash // of the repository's last entry
}

func newGoldenMaker(t *testing.T, kind string) *goldenMaker {
	t.Helper()
	m := &goldenMaker{dir: filepath.Join("testdata", "format1", kind), git: t.TempDir()}
	var secret string
	if kind == "hybrid" {
		id := must(age.GenerateHybridIdentity())(t)
		m.w, secret = newWorldFor(t, goldenInstance, id, id.Recipient().String()), id.String()
	} else {
		id := must(age.GenerateX25519Identity())(t)
		m.w, secret = newWorldFor(t, goldenInstance, id, id.Recipient().String()), id.String()
	}
	m.put(t, "mirror/"+replication.RootKey(goldenInstance, m.w.rootRef), m.w.rootObject)
	m.put(t, "root.vkey", []byte(m.w.rootVKey+"\n"))
	m.put(t, "recovery.agekey", []byte(secret+"\n"))
	m.run(t, "", "init", "-q", "-b", "main")
	return m
}

func (m *goldenMaker) put(t *testing.T, name string, data []byte) {
	t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func (m *goldenMaker) run(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Stdin = m.git, strings.NewReader(stdin)
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		cmd.Env = append(cmd.Env, "GIT_"+who+"_NAME=Ann", "GIT_"+who+"_EMAIL=ann@example.org", "GIT_"+who+"_DATE=2026-01-02T03:04:05Z")
	}
	cmd.Env = append(cmd.Env, "PATH="+os.Getenv("PATH"), "HOME="+m.git, "GIT_CONFIG_NOSYSTEM=1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %v: %v", args, err)
	}
	return string(out)
}

func (m *goldenMaker) commit(t *testing.T, message, content string) string {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.git, "file"), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	m.run(t, "", "add", "file")
	m.run(t, "", "commit", "-q", "-m", message)
	return strings.TrimSpace(m.run(t, "", "rev-parse", "HEAD"))
}

func (m *goldenMaker) pack(t *testing.T, revs string, thin bool) storage.PackInfo {
	t.Helper()
	args := []string{"pack-objects", "--revs", "--stdout", "-q"}
	if thin {
		args = append(args, "--thin")
	}
	info := m.w.pack(m.run(t, revs, args...))
	data := m.w.packs[info.ID]
	info.Objects = uint32(data[11]) // a handful of objects
	return info
}

func (m *goldenMaker) ref(t *testing.T, name, old, id string) storage.RefUpdate {
	t.Helper()
	u := storage.RefUpdate{Name: name}
	if old != "" {
		u.Old = must(object.ParseID(old))(t)
	}
	if id != "" {
		u.New = must(object.ParseID(id))(t)
	}
	return u
}

func (m *goldenMaker) entry(t *testing.T, e storage.Entry) {
	t.Helper()
	e.Seq, e.Epoch, e.Actor = storage.Seq(len(m.entries)+1), 1, "ann"
	e.Time = time.Date(2026, 1, 2, 3, 4, 5, int(e.Seq)*1000, time.UTC)
	copy(e.Nonce[:], fmt.Sprintf("test vector %04d", e.Seq))
	if len(m.entries) > 0 {
		e.Prev = m.entries[len(m.entries)-1].Hash()
	}
	if e.Repo != "" {
		e.PrevRepo = m.repo
		m.repo = e.Hash()
	}
	m.entries = append(m.entries, e)
}

func (m *goldenMaker) write(t *testing.T, number uint64, entries []storage.Entry, outside map[storage.PackID]replication.PackObject) {
	t.Helper()
	var buf bytes.Buffer
	h := replication.Header{Instance: goldenInstance, Generation: 1, Epoch: 1, Number: number}
	c := replication.Contents{Entries: entries, Outside: outside, OpenPack: m.w.openPack}
	h, err := replication.WriteSegment(&buf, h, c, m.w.keys(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m.put(t, "mirror/"+h.Key(), buf.Bytes())
}

func (m *goldenMaker) putPack(t *testing.T, id storage.PackID) replication.PackObject {
	t.Helper()
	var cipher bytes.Buffer
	enc := must(age.Encrypt(&cipher, m.w.keys(t).Recipients...))(t)
	enc.Write(m.w.packs[id])
	if err := enc.Close(); err != nil {
		t.Fatal(err)
	}
	raw := must(hex.DecodeString("fedcba98765432100123456789abcdef"))(t)
	o := replication.PackObject{ID: replication.PackKeyID(raw), Sum: sha256.Sum256(cipher.Bytes()), Size: int64(cipher.Len())}
	m.put(t, "mirror/"+replication.PackKey(goldenInstance, 1, o.ID), cipher.Bytes())
	return o
}
