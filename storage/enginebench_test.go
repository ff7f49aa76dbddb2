package storage_test

import (
	"bufio"
	"cmp"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/storage"
	"holdfast/storage/object"
)

// BenchmarkEngine receives a real repository and answers clones and fetches of it. HOLDFAST_BENCH_REPO names a bare one.
// Compare CPU time, which each reports beside the wall time; doc/benchmarks.md tells of the table beside git.
func BenchmarkEngine(b *testing.B) {
	dir := os.Getenv("HOLDFAST_BENCH_REPO")
	if dir == "" {
		b.Skip("set HOLDFAST_BENCH_REPO to a bare repository")
	}
	src := &git{t: b, dir: dir}
	tip := src.revParse("HEAD")
	file := packFile(b, src, tip)
	s := open(b, b.TempDir(), storage.Options{})
	repo := receiveFile(b, s, file, tip)
	if err := s.Fill(repo.ID()); err != nil {
		b.Fatal(err)
	}
	b.Run("receive", func(b *testing.B) {
		loopCPU(b, func() { receiveFile(b, open(b, b.TempDir(), storage.Options{}), file, tip) })
	})
	b.Run("clone", func(b *testing.B) { benchmarkWrite(b, repo, storage.Selection{}, tip) })
	for _, n := range []int{1, 100, 10_000} {
		b.Run("fetch "+strconv.Itoa(n), func(b *testing.B) {
			have, err := src.try(nil, "rev-parse", "-q", "--verify", "HEAD~"+strconv.Itoa(n))
			if err != nil {
				b.Skip("there are fewer commits on the main line")
			}
			benchmarkWrite(b, repo, storage.Selection{Haves: []object.ID{src.id(have)}, ThinPack: true}, tip)
		})
	}
	b.Run("no blobs", func(b *testing.B) {
		benchmarkWrite(b, repo, storage.Selection{Filter: object.Filter{Omit: []object.Type{object.Blob}}}, tip)
	})
	b.Run("sparse", func(b *testing.B) {
		if _, err := src.try(nil, "rev-parse", "-q", "--verify", "HEAD:.gitignore"); err != nil {
			b.Skip("there is no file of patterns")
		}
		blob := object.SparseBlob{Name: "HEAD:.gitignore", ID: tip}
		benchmarkWrite(b, repo, storage.Selection{Filter: object.Filter{Sparse: []object.SparseBlob{blob}}}, tip)
	})
	b.Run("depth 1", func(b *testing.B) { benchmarkWrite(b, repo, storage.Selection{Boundary: []object.ID{tip}}, tip) })
}

// packFile makes a pack of all that tip leads to.
func packFile(b *testing.B, src *git, tip object.ID) string {
	b.Helper()
	file := filepath.Join(b.TempDir(), "pack")
	out, err := os.Create(file)
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command("git", "pack-objects", "--revs", "--stdout", "-q", "--delta-base-offset")
	cmd.Dir, cmd.Stdin, cmd.Stdout = src.dir, strings.NewReader(tip.String()+"\n"), out
	if err := cmd.Run(); err != nil {
		b.Fatal(err)
	}
	return file
}

// receiveFile pushes a pack from a file to a new repository.
func receiveFile(b *testing.B, s *storage.Store, file string, tip object.ID) *storage.Repo {
	b.Helper()
	in, err := os.Open(file)
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	repo := create(b, s)
	txn := begin(b, repo)
	if err := txn.ReadPack(context.Background(), bufio.NewReaderSize(in, 64<<10)); err != nil {
		b.Fatal(err)
	}
	txn.Update(update("refs/heads/main", object.ID{}, tip))
	if err := txn.Prepare(); err != nil {
		b.Fatal(err)
	}
	if _, err := s.Commit(txn); err != nil {
		b.Fatal(err)
	}
	return repo
}

// benchmarkWrite writes packs that go nowhere.
func benchmarkWrite(b *testing.B, repo *storage.Repo, sel storage.Selection, want object.ID) {
	sel.Wants = []object.ID{want}
	var sent counter
	loopCPU(b, func() {
		if _, err := repo.WritePack(context.Background(), &sent, sel, nil); err != nil {
			b.Fatal(err)
		}
	})
	b.ReportMetric(float64(sent)/float64(b.N), "pack-B/op")
}

// loopCPU runs the loop of a benchmark and reports CPU time too.
func loopCPU(b *testing.B, op func()) {
	begin := cpuTime(b)
	for b.Loop() {
		op()
	}
	b.ReportMetric(float64(cpuTime(b)-begin)/float64(b.N), "cpu-ns/op")
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// cpuTime is what the process has used, user and system.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkMerge pushes a real repository, all but its last first-parent commits at once and these one by one, and merges
// all of it into a base pack. HOLDFAST_BENCH_REPO names a bare one, HOLDFAST_BENCH_PUSHES how many pushes follow the first.
func BenchmarkMerge(b *testing.B) {
	dir := os.Getenv("HOLDFAST_BENCH_REPO")
	if dir == "" {
		b.Skip("set HOLDFAST_BENCH_REPO to a bare repository")
	}
	n, err := strconv.Atoi(cmp.Or(os.Getenv("HOLDFAST_BENCH_PUSHES"), "1000"))
	if err != nil {
		b.Fatal(err)
	}
	src := &git{t: b, dir: dir}
	line := strings.Fields(string(src.run(nil, "rev-list", "--first-parent", "-n", strconv.Itoa(n+1), "HEAD")))
	s := open(b, b.TempDir(), storage.Options{MergeShare: 100, NoSync: true})
	var repo *storage.Repo
	var last object.ID
	for _, hex := range slices.Backward(line) {
		tip := src.id([]byte(hex))
		if repo == nil {
			repo = receiveFile(b, s, packFile(b, src, tip), tip)
		} else {
			push(b, repo, src.packObjects([]object.ID{tip}, []object.ID{last}, "--thin"), update("refs/heads/main", last, tip))
		}
		last = tip
	}
	if err := s.Fill(repo.ID()); err != nil {
		b.Fatal(err)
	}
	before, err := repo.Stats()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		begin := cpuTime(b)
		if err := s.MergeFully(repo.ID()); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric((cpuTime(b) - begin).Seconds(), "cpu-s")
	}
	after, err := repo.Stats()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(before.Bytes), "B-before")
	b.ReportMetric(float64(after.Bytes), "B-after")
	b.ReportMetric(float64(after.Packs), "packs")
	status, _ := os.ReadFile("/proc/self/status")
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	kb, _ := strconv.ParseFloat(strings.Fields(peak)[0], 64)
	b.ReportMetric(kb/1024, "peak-MiB")
}
