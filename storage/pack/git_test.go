package pack_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/storage/object"
	"holdfast/storage/pack"
)

// history fills a repository with commits that change files of a few directories, and some tags.
func history(t testing.TB, commits int, args ...string) *gitRepo {
	t.Helper()
	r := newGitRepo(t, args...)
	rnd := rand.New(rand.NewSource(1))
	var in bytes.Buffer
	files := make([][]string, 12)
	for i := range files {
		for range 40 + rnd.Intn(200) {
			files[i] = append(files[i], fmt.Sprintf("line %d of file %d", rnd.Int63(), i))
		}
	}
	for c := 1; c <= commits; c++ {
		fmt.Fprintf(&in, "commit refs/heads/main\nmark :%d\ncommitter A U Thor <a@example.org> %d +0200\n", c, 1700000000+c*60)
		fmt.Fprintf(&in, "data 10\nchange %02d\n\n", c%100)
		if c > 1 {
			fmt.Fprintf(&in, "from :%d\n", c-1)
		}
		for range 1 + rnd.Intn(3) {
			n := rnd.Intn(len(files))
			files[n][rnd.Intn(len(files[n]))] = fmt.Sprintf("changed %d in %d", rnd.Int63(), c)
			content := strings.Join(files[n], "\n")
			fmt.Fprintf(&in, "M 100644 inline dir%d/sub/file%d.txt\ndata %d\n%s\n", n%3, n, len(content), content)
		}
		if c%20 == 0 {
			fmt.Fprintf(&in, "tag v%d\nfrom :%d\ntagger A U Thor <a@example.org> %d +0200\ndata 4\ntag\n\n", c, c, 1700000000+c*60)
		}
	}
	r.run(in.Bytes(), "fast-import", "--quiet")
	return r
}

// gitIndex returns what git finds in a pack: "offset id crc".
func gitIndex(t testing.TB, data []byte, args ...string) []string {
	t.Helper()
	r := newGitRepo(t, args...)
	path := filepath.Join(t.TempDir(), "git.pack")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	r.run(nil, "index-pack", "--fsck-objects", path)
	idx, err := os.ReadFile(strings.TrimSuffix(path, ".pack") + ".idx")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(r.run(idx, "show-index")), "\n")
	slices.Sort(lines)
	return lines
}

func ourIndex(f object.Format, recs []pack.Record) []string {
	var lines []string
	for _, r := range recs {
		lines = append(lines, fmt.Sprintf("%d %s (%08x)", r.Offset, r.ID.Hex(f), r.CRC))
	}
	slices.Sort(lines)
	return lines
}

func TestReceiveAgreesWithGit(t *testing.T) {
	for _, format := range []object.Format{object.SHA1, object.SHA256} {
		repo := history(t, 80, "--object-format="+format.String())
		for _, row := range []struct {
			name string
			args []string
		}{
			{"offset deltas", []string{"--delta-base-offset", "--depth=50"}},
			{"reference deltas", nil},
			{"deep chains", []string{"--delta-base-offset", "--depth=4095", "--window=50"}},
			{"no deltas", []string{"--depth=0"}},
			{"not deflated", []string{"--compression=0", "--delta-base-offset"}},
		} {
			for _, cache := range []int64{0, 1} {
				t.Run(fmt.Sprintf("%s/%s/cache %d", format, row.name, cache), func(t *testing.T) {
					args := append([]string{"-c", "pack.threads=1", "pack-objects", "--all", "--stdout", "-q", "--no-reuse-delta"}, row.args...)
					data := []byte(repo.run(nil, args...))
					var tee bytes.Buffer
					got, f := mustReceive(t, data, pack.Options{Format: format, CacheBytes: cache, Tee: &tee})
					if diff := cmp.Diff(gitIndex(t, data, "--object-format="+format.String()), ourIndex(format, got.Records)); diff != "" {
						t.Errorf("the index differs from git's (-git +ours):\n%s", diff)
					}
					if len(got.External) != 0 {
						t.Errorf("a full pack has no links to the outside, got %v", got.External)
					}
					if !bytes.Equal(tee.Bytes(), data) || got.Size != int64(len(data)) || got.SHA256 != sha256.Sum256(data) {
						t.Errorf("tee, size or hash do not match what was sent")
					}
					stored, err := os.ReadFile(f.Name())
					if err != nil || !bytes.Equal(stored, data) {
						t.Errorf("the stored pack differs from what was sent (%v)", err)
					}
					checkScan(t, f, format, got)
					checkReader(t, repo, f.Name(), format, got)
				})
			}
		}
	}
}

// checkScan demands that a scan of the stored file finds what Receive found.
func checkScan(t *testing.T, f *os.File, format object.Format, got *pack.Received) {
	t.Helper()
	again, err := pack.Scan(context.Background(), f, pack.Options{Format: format})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got.Records, again.Records, cmp.Comparer(func(a, b object.ID) bool { return a == b })); diff != "" {
		t.Errorf("Scan finds other records than Receive:\n%s", diff)
	}
}

// checkReader reads every object and compares type, size and id.
func checkReader(t *testing.T, repo *gitRepo, path string, format object.Format, got *pack.Received) {
	t.Helper()
	p, err := pack.Open(path, format)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	offsets := map[object.ID]int64{}
	for _, r := range got.Records {
		offsets[r.ID] = r.Offset
	}
	o := pack.ReadOptions{
		Locate: func(id object.ID) (int64, bool) { off, ok := offsets[id]; return off, ok },
		Cache:  pack.NewCache(100_000),
	}
	for _, r := range got.Records {
		data, typ, err := p.ReadObject(r.Offset, o)
		if err != nil {
			t.Fatal(err)
		}
		if typ != r.Type || int64(len(data)) != r.Size || object.HashObject(format, typ, data) != r.ID {
			t.Fatalf("object %s reads as a %s of %d bytes", r.ID, typ, len(data))
		}
		checkOpenBlob(t, p, r, data)
	}
}

func checkOpenBlob(t *testing.T, p *pack.Pack, r pack.Record, want []byte) {
	t.Helper()
	typ, size, rd, err := p.OpenBlob(r.Offset)
	if errors.Is(err, errors.ErrUnsupported) {
		return // a delta
	}
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	data, err := io.ReadAll(rd)
	if err != nil || typ != r.Type || size != r.Size || !bytes.Equal(data, want) {
		t.Fatalf("object %s streams as a %s of %d bytes (%v)", r.ID, typ, size, err)
	}
}

func TestThinPack(t *testing.T) {
	repo := history(t, 120)
	old := strings.TrimSpace(repo.run(nil, "rev-parse", "main~20"))
	base := func(id object.ID) (object.Type, []byte, error) {
		name := strings.TrimSpace(repo.run(nil, "cat-file", "-t", id.String()))
		typ, err := object.ParseType(name)
		return typ, []byte(repo.run(nil, "cat-file", name, id.String())), err
	}
	for _, args := range [][]string{{"--delta-base-offset"}, nil} {
		data := []byte(repo.run([]byte("main\n^"+old+"\n"), append([]string{"pack-objects", "--revs", "--thin", "--stdout", "-q"}, args...)...))
		if _, _, err := receive(t, data, pack.Options{}); !errors.Is(err, pack.ErrMissingBase) {
			t.Fatalf("without bases: %v, want ErrMissingBase", err)
		}
		got, f := mustReceive(t, data, pack.Options{Base: base})
		if got.SHA256 != sha256.Sum256(data) || got.Size != int64(len(data)) || !bytes.Equal(got.Trailer, data[len(data)-20:]) {
			t.Errorf("Received does not describe the pack that was sent")
		}
		stored, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if got.StoredSize != int64(len(stored)) || len(stored) <= len(data) {
			t.Errorf("stored %d bytes, Received says %d, sent were %d", len(stored), got.StoredSize, len(data))
		}
		body := got.Size - int64(len(got.Trailer))
		original := append(append(append([]byte{}, data[:12]...), stored[12:body]...), got.Trailer...)
		if !bytes.Equal(original, data) {
			t.Errorf("the pack that was sent cannot be had back from what was stored")
		}
		if diff := cmp.Diff(gitIndex(t, stored), ourIndex(object.SHA1, got.Records)); diff != "" {
			t.Errorf("the completed pack's index differs from git's:\n%s", diff)
		}
		appended := 0
		for _, r := range got.Records {
			if got.Appended(r) {
				appended++
			}
		}
		if appended == 0 || appended+int(got.Objects) != len(got.Records) {
			t.Errorf("%d bases appended, %d objects sent, %d records", appended, got.Objects, len(got.Records))
		}
		if !slices.ContainsFunc(got.External, func(l object.Link) bool { return l.ID.String() == old && l.Type == object.Commit }) {
			t.Errorf("the parent %s is not among the external links", old)
		}
		checkScan(t, f, object.SHA1, got)
		checkExternal(t, repo, old, got)
	}
}

// checkExternal compares the links that leave a pack with what git says.
func checkExternal(t *testing.T, repo *gitRepo, old string, got *pack.Received) {
	t.Helper()
	in := map[object.ID]bool{}
	for _, r := range got.Records {
		in[r.ID] = !got.Appended(r) || in[r.ID]
	}
	want := map[object.Link]bool{}
	for _, r := range got.Records {
		if !in[r.ID] {
			continue
		}
		data := []byte(repo.run(nil, "cat-file", r.Type.String(), r.ID.String()))
		err := object.Links(object.SHA1, r.Type, data, func(l object.Link) {
			if !in[l.ID] {
				want[l] = true
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	have := map[object.Link]bool{}
	for _, l := range got.External {
		if have[l] {
			t.Errorf("%v is listed twice", l)
		}
		have[l] = true
	}
	if diff := cmp.Diff(want, have, cmp.Comparer(func(a, b object.Link) bool { return a == b })); diff != "" {
		t.Errorf("external links (-want +got):\n%s", diff)
	}
}

// TestWriterAgreesWithGit copies and rewrites a pack in another order and has git verify it.
func TestWriterAgreesWithGit(t *testing.T) {
	repo := history(t, 100)
	for _, args := range [][]string{{"--delta-base-offset"}, nil} {
		data := []byte(repo.run(nil, append([]string{"pack-objects", "--all", "--stdout", "-q"}, args...)...))
		got, f := mustReceive(t, data, pack.Options{})
		p, err := pack.Open(f.Name(), object.SHA1)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		recs := slices.Clone(got.Records)
		slices.SortFunc(recs, func(a, b pack.Record) int { return int(a.Offset - b.Offset) })
		out := copyPack(t, p, recs)
		if diff := cmp.Diff(idsOf(gitIndex(t, data)), idsOf(gitIndex(t, out))); diff != "" {
			t.Errorf("the copy holds other objects:\n%s", diff)
		}
		newGitRepo(t).run(out, "index-pack", "--strict", "--stdin")
	}
}

func idsOf(index []string) (ids []string) {
	for _, line := range index {
		ids = append(ids, strings.Fields(line)[1])
	}
	slices.Sort(ids)
	return ids
}

// copyPack writes every third blob anew, and copies the rest.
func copyPack(t *testing.T, p *pack.Pack, recs []pack.Record) []byte {
	t.Helper()
	byOffset, byID := map[int64]object.ID{}, map[object.ID]int64{}
	for _, r := range recs {
		byOffset[r.Offset], byID[r.ID] = r.ID, r.Offset
	}
	var out bytes.Buffer
	bw := bufio.NewWriter(&out)
	w := pack.NewWriter(bw, object.SHA1, uint32(len(recs)))
	written := map[object.ID]int64{}
	for i, r := range recs {
		end := p.End()
		if i+1 < len(recs) {
			end = recs[i+1].Offset
		}
		written[r.ID] = w.Offset()
		h, err := p.Header(r.Offset)
		if err != nil {
			t.Fatal(err)
		}
		base := pack.Base{ID: h.BaseID}
		if h.Kind == 6 {
			base.ID = byOffset[h.BaseOffset]
		}
		if i%2 == 0 {
			base.Offset = written[base.ID]
		}
		switch {
		case r.Type == object.Blob && i%3 == 0:
			data, typ, err := p.ReadObject(r.Offset, pack.ReadOptions{Locate: func(id object.ID) (int64, bool) { return byID[id], true }})
			if err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				err = w.WriteObject(typ, data)
			} else {
				err = w.WriteStream(typ, int64(len(data)), bytes.NewReader(data))
			}
			if err != nil {
				t.Fatal(err)
			}
		default:
			if err := w.CopyEntry(p, r, end, base); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	bw.Flush()
	if w.Offset() != int64(out.Len()) {
		t.Errorf("Offset does not match what was written")
	}
	return out.Bytes()
}
