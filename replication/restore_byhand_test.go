package replication_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"holdfast/replication"
	"holdfast/storage"
)

// ages are the age programs that are installed.
func ages(t *testing.T) []string {
	t.Helper()
	var found []string
	home, _ := os.UserHomeDir()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), filepath.Join(home, "go", "bin")) {
		path, err := filepath.EvalSymlinks(filepath.Join(dir, "age"))
		if err == nil && !slices.Contains(found, path) {
			found = append(found, path)
		}
	}
	return found
}

var readsHybrid = regexp.MustCompile(`^v?(1\.([3-9]|[1-9]\d)|[2-9])\b`)

// The operator has a mirror's files, the kit, and no holdfast: age, tar and git must do.
func TestRestoreByHand(t *testing.T) {
	for _, tool := range []string{"tar", "git", "tail"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	for _, kind := range []replication.RecipientType{replication.X25519, replication.Hybrid} {
		t.Run(string(kind), func(t *testing.T) {
			tried := false
			for _, age := range ages(t) {
				version, _ := exec.Command(age, "--version").Output()
				if kind == replication.Hybrid && !readsHybrid.Match(version) {
					continue
				}
				tried = true
				t.Logf("%s %s", age, version)
				restoreByHand(t, kind, age)
			}
			if !tried {
				t.Skipf("no age is installed that reads %s files", kind)
			}
		})
	}
}

func restoreByHand(t *testing.T, kind replication.RecipientType, age string) {
	h := newCopyHostFor(t, kind)
	work := gitHistory(t)
	h.pushFromGit(work, "main~1", "")
	h.pushFromGit(work, "main", "main~1") // thin
	h.ship()
	big := h.pushFromGit(work, "side", "main")
	object, data := sealPack(t, readPack(t, h.store, big.Packs[0].ID), h.root.Recipients)
	h.big[big.Packs[0].ID] = object
	h.put(replication.PackKey(h.root.Instance, 1, object.ID), data)
	h.ship()

	// A mirror's files, as any S3 client fetches them.
	dir := t.TempDir()
	for _, key := range h.buckets["b2"].Keys() {
		path := filepath.Join(dir, key)
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, h.buckets["b2"].Contents(key)[0], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	identity := filepath.Join(h.kit.Dir(), "recovery.agekey")
	repo := filepath.Join(t.TempDir(), "repo.git")
	run(t, "", nil, "git", "init", "-q", "--bare", repo)
	log := filepath.Join(dir, "v1", h.root.Instance, "000000000001", "log", "000000000001")
	segments, err := os.ReadDir(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range segments {
		segment := filepath.Join(log, s.Name())
		// The clear header says how long the age file is that ends the segment.
		_, size := headerLine(t, segment, "body")
		body := run(t, "", nil, "tail", "-c", size, segment)
		tree := t.TempDir()
		run(t, tree, run(t, "", body, age, "-d", "-i", identity), "tar", "x")
		lines, err := os.ReadFile(filepath.Join(tree, "entries.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(lines)) {
			replayByHand(t, line, tree, repo, func(pack string) []byte {
				name := outsideName(t, tree, pack)
				file := filepath.Join(dir, "v1", h.root.Instance, "000000000001", "pack", name)
				return run(t, "", nil, age, "-d", "-i", identity, file)
			})
		}
	}
	run(t, repo, nil, "git", "fsck", "--strict")
	for _, ref := range []string{"main", "side"} {
		want := run(t, work, nil, "git", "rev-parse", ref)
		if got := run(t, repo, nil, "git", "rev-parse", ref); !bytes.Equal(got, want) {
			t.Errorf("%s is at %s, want %s", ref, got, want)
		}
	}
	// And what holdfast makes of the same mirror.
	to, _ := h.mustRestore(replication.RestoreOptions{}, "b2")
	sameStore(t, h.store, to)
}

// replayByHand does with one line of entries.jsonl what doc/formats says.
func replayByHand(t *testing.T, line, tree, repo string, outside func(pack string) []byte) {
	t.Helper()
	var e struct {
		Packs []struct{ ID string }
		Refs  []struct{ Name, Old, New string }
	}
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		t.Fatal(err)
	}
	for _, p := range e.Packs {
		data, err := os.ReadFile(filepath.Join(tree, "packs", p.ID+".pack"))
		if err != nil {
			data = outside(p.ID)
		}
		run(t, repo, data, "git", "index-pack", "--stdin", "--fix-thin")
	}
	for _, r := range e.Refs {
		run(t, repo, nil, "git", "update-ref", r.Name, r.New, r.Old)
	}
}

// headerLine returns the two values of a line in a segment's clear header.
func headerLine(t *testing.T, segment, name string) (string, string) {
	t.Helper()
	data, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == name {
			return f[1], f[2]
		}
	}
	t.Fatalf("%s has no line %q", segment, name)
	return "", ""
}

// outsideName looks up in external.jsonl under which name a pack lies outside the segment.
func outsideName(t *testing.T, tree, pack string) string {
	t.Helper()
	lines, err := os.ReadFile(filepath.Join(tree, "external.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(lines)) {
		var o struct{ ID, Pack string }
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatal(err)
		}
		if o.Pack == pack {
			return o.ID
		}
	}
	t.Fatalf("external.jsonl does not name pack %s", pack)
	return ""
}

func run(t *testing.T, dir string, stdin []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(stdin)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.org")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, stderr.String())
	}
	return out
}

// gitHistory is a work tree with two commits on main, the second of which packs as a delta, and one on side.
func gitHistory(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	run(t, dir, nil, "git", "init", "-q", "-b", "main")
	var text strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&text, "line %d of a text that deltifies well\n", i)
	}
	for i := range 3 {
		if i == 2 {
			run(t, dir, nil, "git", "checkout", "-q", "-b", "side")
		}
		fmt.Fprintf(&text, "and change %d\n", i)
		os.WriteFile(filepath.Join(dir, "text"), []byte(text.String()), 0o644)
		run(t, dir, nil, "git", "add", "text")
		run(t, dir, nil, "git", "commit", "-q", "-m", fmt.Sprint("change ", i))
	}
	return dir
}

// pushFromGit pushes rev, which the host has up to have, with the thin pack that git makes of it.
func (h *copyHost) pushFromGit(work, rev, have string) storage.Entry {
	t := h.t.(*testing.T)
	t.Helper()
	revs := rev + "\n"
	if have != "" {
		revs += "^" + have + "\n"
	}
	packed := run(t, work, []byte(revs), "git", "pack-objects", "-q", "--thin", "--stdout", "--revs", "--delta-base-offset")
	branch, _, _ := strings.Cut(rev, "~")
	u := storage.RefUpdate{Name: "refs/heads/" + branch}
	tip := strings.TrimSpace(string(run(t, work, nil, "git", "rev-parse", rev)))
	if err := u.New.UnmarshalText([]byte(tip)); err != nil {
		t.Fatal(err)
	}
	r := h.repo(0)
	if ref, err := r.Ref(u.Name); err == nil {
		u.Old = ref.ID
	}
	return h.commit(r, packed, u)
}
