//go:build bench

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// row is one measurement. It may give several figures.
type row struct {
	name, about string
	measure     func(b *bench) ([]figure, error)
}

// rows are all of them. Those that need the host's server to run come first, then those that open its store.
var rows = []row{
	{"push-big", "a push of the whole of BIG over SSH", (*bench).rowPushBig},
	{"clone-ssh", "a full clone of BIG over SSH", (*bench).rowCloneSSH},
	{"clones-20", "20 clones of MID at once over SSH", (*bench).rowClones},
	{"push", "pushes of one commit over SSH, three mirrors", (*bench).rowPush},
	{"clone-engine", "a full clone of BIG, engine alone", (*bench).rowCloneEngine},
	{"fetch-1", "a fetch of 1 commit of BIG", fetchRow(1)},
	{"fetch-100", "a fetch of 100 commits of BIG", fetchRow(100)},
	{"fetch-10000", "a fetch of 10,000 commits of BIG", fetchRow(10_000)},
	{"depth-1", "a clone of BIG with --depth 1", partialRow("deepen 1")},
	{"blob-none", "a clone of BIG with --filter=blob:none", partialRow("filter blob:none")},
	{"receive", "BIG received and verified by the store alone", (*bench).rowReceive},
	{"ls-refs", "ls-refs with a prefix among 100,000 refs", (*bench).rowLsRefs},
	{"pushes", "many pushes: the last against the first", (*bench).rowPushes},
	{"million", "a repository of 1,000,000 objects", (*bench).rowMillion},
	{"huge", "a file of 2 GB", (*bench).rowHuge},
}

const (
	git         = "git"
	softName    = "soft-serve"
	mb          = 1e6
	bigMemory   = 500 // MB, to receive BIG
	cloneMemory = 60  // MB, to clone it
)

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// least repeats a measurement that is short and returns the run that took the least CPU, with the least wait of any for the
// first byte.
func (b *bench) least(measure func() (fetched, error)) (best fetched, err error) {
	var spent time.Duration
	for i := 0; i < b.runs && (i == 0 || spent < 5*time.Second); i++ {
		f, err := measure()
		if err != nil {
			return best, err
		}
		spent += f.cpu
		first := f.first
		if i > 0 {
			first = min(first, best.first)
		}
		if i == 0 || f.cpu < best.cpu {
			best = f
		}
		best.first = first
	}
	return best, nil
}

// serving returns the running host of most rows, with three mirrors.
func (b *bench) serving() (h *host, err error) {
	if b.world == nil {
		if b.world, err = b.newHost("host", 3); err != nil {
			return nil, err
		}
	}
	return b.world, b.world.serve()
}

// holding returns the running host once it has dir as a repository.
func (b *bench) holding(dir, repo string) (*host, error) {
	if dir == "" {
		return nil, fmt.Errorf("it needs a repository: -big or -mid")
	}
	h, err := b.serving()
	if err != nil || h.has(repo) {
		return h, err
	}
	_, err = h.push(dir, repo)
	return h, err
}

// engines returns the uploaders of the engine alone and of git for a repository.
func (b *bench) engines(dir, repo string) (ours, gits uploader, err error) {
	h, err := b.holding(dir, repo)
	if err != nil {
		return nil, nil, err
	}
	h.stop()
	copied, err := b.gitCopy(dir)
	return b.ours(h.data(), repo), b.gitUploader(copied), err
}

// softRepo returns soft-serve once it has dir as a repository, nil if it is not here.
func (b *bench) softRepo(dir, repo string) (*softServe, error) {
	soft, err := b.softHere()
	if soft == nil || err != nil {
		return nil, err
	}
	if _, err := b.git(".", "ls-remote", soft.url(repo), "HEAD"); err == nil {
		return soft, nil
	}
	_, err = b.git(dir, "push", "-q", soft.url(repo), "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
	return soft, err
}

func (b *bench) rowPushBig() ([]figure, error) {
	h, err := b.serving()
	if err != nil {
		return nil, err
	}
	ours, err := h.push(b.big, "pushed-"+strconv.Itoa(os.Getpid()))
	if err != nil {
		return nil, err
	}
	soft, err := b.softHere()
	var theirs usage
	if soft != nil && err == nil {
		theirs, err = soft.during(afterPush, func() error {
			_, err := b.git(b.big, "push", "-q", soft.url("pushed"), "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
			return err
		})
	}
	return []figure{
		of("CPU s", ours.cpu.Seconds()).beside(softName, theirs.cpu.Seconds(), soft != nil),
		of("anon MB", float64(ours.anon)/mb).beside(softName, float64(theirs.anon)/mb, soft != nil),
		of("wall s", ours.wall.Seconds()).beside(softName, theirs.wall.Seconds(), soft != nil),
	}, err
}

// clones makes n clones at once.
func (b *bench) clones(url string, n int) func() error {
	return func() error {
		var g sync.WaitGroup
		errs := make([]error, n)
		for i := range n {
			g.Go(func() {
				dir := b.path(fmt.Sprint("clone-", i))
				_, errs[i] = b.git(".", "clone", "-q", "--bare", url, dir)
				os.RemoveAll(dir)
			})
		}
		g.Wait()
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// cloneOverSSH measures n clones at once, of ours and of soft-serve's.
func (b *bench) cloneOverSSH(dir, repo string, n int) (ours, theirs usage, here bool, err error) {
	h, err := b.holding(dir, repo)
	if err != nil {
		return ours, theirs, false, err
	}
	// A server that has run for a while is not what a clone should be charged with.
	h.stop()
	if err := h.serve(); err != nil {
		return ours, theirs, false, err
	}
	if ours, err = h.during(afterFetch, b.clones(h.url(repo), n)); err != nil {
		return ours, theirs, false, err
	}
	soft, err := b.softRepo(dir, repo)
	if soft != nil && err == nil {
		theirs, err = soft.during(afterFetch, b.clones(soft.url(repo), n))
	}
	return ours, theirs, soft != nil, err
}

func (b *bench) rowCloneSSH() ([]figure, error) {
	ours, theirs, here, err := b.cloneOverSSH(b.big, "big", 1)
	return []figure{
		of("CPU s", ours.cpu.Seconds()).beside(softName, theirs.cpu.Seconds(), here).atMostOf(0.25),
		of("anon MB", float64(ours.anon)/mb).beside(softName, float64(theirs.anon)/mb, here),
		of("wall s", ours.wall.Seconds()).beside(softName, theirs.wall.Seconds(), here),
	}, err
}

func (b *bench) rowClones() ([]figure, error) {
	ours, theirs, here, err := b.cloneOverSSH(b.mid, "mid", 20)
	return []figure{
		of("CPU s", ours.cpu.Seconds()).beside(softName, theirs.cpu.Seconds(), here).atMostOf(0.2),
		of("anon MB", float64(ours.anon)/mb).beside(softName, float64(theirs.anon)/mb, here).atMost(200),
		of("rss MB", float64(ours.rss)/mb).beside(softName, float64(theirs.rss)/mb, here),
		of("wall s", ours.wall.Seconds()).beside(softName, theirs.wall.Seconds(), here),
	}, err
}

const tinyPushes = 100

func (b *bench) rowPush() ([]figure, error) {
	h, err := b.serving()
	if err != nil {
		return nil, err
	}
	ours, p50, err := b.tinyPushes(h.during, h.url("tiny-"+strconv.Itoa(os.Getpid())))
	if err != nil {
		return nil, err
	}
	soft, err := b.softHere()
	var theirs usage
	var softP50 time.Duration
	if soft != nil && err == nil {
		theirs, softP50, err = b.tinyPushes(soft.during, soft.url("tiny-"+strconv.Itoa(os.Getpid())))
	}
	return []figure{
		of("CPU ms each", ms(ours.cpu)/tinyPushes).beside(softName, ms(theirs.cpu)/tinyPushes, soft != nil).atMost(15),
		of("p50 ms", ms(p50)).beside(softName, ms(softP50), soft != nil).atMostOf(0.333),
		of("anon MB", float64(ours.anon)/mb).beside(softName, float64(theirs.anon)/mb, soft != nil),
	}, err
}

// tinyPushes makes commits and pushes each with git.
func (b *bench) tinyPushes(during func(time.Duration, func() error) (usage, error), url string) (u usage, p50 time.Duration, err error) {
	dir := b.path("tiny")
	defer os.RemoveAll(dir)
	if _, err := b.git(".", "init", "-q", "-b", "main", dir); err != nil {
		return u, 0, err
	}
	var walls []time.Duration
	u, err = during(afterPush, func() error {
		for i := range tinyPushes {
			if err := os.WriteFile(filepath.Join(dir, "file"), []byte(strconv.Itoa(i)), 0o600); err != nil {
				return err
			}
			for _, args := range [][]string{{"add", "file"}, {"commit", "-q", "-m", strconv.Itoa(i)}} {
				if _, err := b.git(dir, args...); err != nil {
					return err
				}
			}
			begin := time.Now()
			if _, err := b.git(dir, "push", "-q", url, "HEAD:refs/heads/main"); err != nil {
				return err
			}
			walls = append(walls, time.Since(begin))
		}
		return nil
	})
	if err != nil {
		return u, 0, err
	}
	slices.Sort(walls)
	return u, walls[len(walls)/2], nil
}

// refsOf lists a repository's branches and tags, as lines of id and name.
func (b *bench) refsOf(dir string) (string, error) {
	return b.git(dir, "for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags")
}

// wantsOf lists what a mirror clone wants.
func (b *bench) wantsOf(dir string) (ids []string, err error) {
	refs, err := b.refsOf(dir)
	for line := range strings.Lines(refs) {
		id, _, _ := strings.Cut(line, " ")
		ids = append(ids, id)
	}
	return ids, err
}

func (b *bench) rowCloneEngine() ([]figure, error) {
	ours, theirs, err := b.compareFetch(b.big, "big", func() (r request, err error) {
		r.wants, err = b.wantsOf(b.big)
		return r, err
	})
	if err != nil {
		return nil, err
	}
	return append(fetchFigures(ours, theirs),
		of("CPU s", ours.cpu.Seconds()).atMost(0.3),
		of("anon MB", float64(ours.anon)/mb).beside(git, float64(theirs.anon)/mb, true).atMost(cloneMemory),
		of("rss MB", float64(ours.rss)/mb).beside(git, float64(theirs.rss)/mb, true),
		of("first byte ms", ms(ours.first)).beside(git, ms(theirs.first), true).atMost(50),
	), nil
}

// compareFetch asks both engines for the same.
func (b *bench) compareFetch(dir, repo string, ask func() (request, error)) (ours, theirs fetched, err error) {
	our, gits, err := b.engines(dir, repo)
	if err != nil {
		return ours, theirs, err
	}
	req, err := ask()
	if err != nil {
		return ours, theirs, err
	}
	// A host runs already when somebody fetches: what it takes to start and to open the store does not count. Git does
	// start for each fetch.
	idle, err := b.least(our.idle)
	if err != nil {
		return ours, theirs, err
	}
	if ours, err = b.least(func() (fetched, error) { return our.fetch(req) }); err != nil {
		return ours, theirs, err
	}
	ours.cpu = max(0, ours.cpu-idle.cpu)
	theirs, err = b.least(func() (fetched, error) { return gits.fetch(req) })
	return ours, theirs, err
}

func fetchFigures(ours, theirs fetched) []figure {
	return []figure{
		of("CPU s", ours.cpu.Seconds()).beside(git, theirs.cpu.Seconds(), true).atMostOf(1),
		of("pack MB", float64(ours.bytes)/mb).beside(git, float64(theirs.bytes)/mb, true),
		of("objects", float64(ours.objects)).beside(git, float64(theirs.objects), true),
		of("wall s", ours.wall.Seconds()).beside(git, theirs.wall.Seconds(), true),
	}
}

// fetchRow is a client that has all of the main branch but its last n commits, about.
func fetchRow(n int) func(b *bench) ([]figure, error) {
	return func(b *bench) ([]figure, error) {
		ours, theirs, err := b.compareFetch(b.big, "big", func() (request, error) {
			tip, err := b.git(b.big, "rev-parse", "HEAD")
			if err != nil {
				return request{}, err
			}
			have, err := b.behind(n)
			return request{wants: []string{tip}, haves: []string{have}}, err
		})
		if err != nil {
			return nil, err
		}
		return fetchFigures(ours, theirs), nil
	}
}

// behind finds the last commit on the first-parent line of BIG's HEAD that has at least n commits less.
func (b *bench) behind(n int) (string, error) {
	out, err := b.git(b.big, "rev-list", "--first-parent", "-n", strconv.Itoa(n+1), "HEAD")
	if err != nil {
		return "", err
	}
	line := strings.Fields(out)
	var failed error
	i, _ := slices.BinarySearchFunc(line, n, func(id string, n int) int {
		out, err := b.git(b.big, "rev-list", "--count", id+"..HEAD")
		count, bad := strconv.Atoi(out)
		if err != nil || bad != nil {
			failed = fmt.Errorf("count commits: %v, %v", err, bad)
		}
		return count - n
	})
	if i == len(line) && failed == nil {
		failed = fmt.Errorf("%s has fewer than %d commits", b.big, n)
	}
	if failed != nil {
		return "", failed
	}
	return line[i], nil
}

// partialRow is a clone of BIG's HEAD that leaves something out.
func partialRow(arg string) func(b *bench) ([]figure, error) {
	return func(b *bench) ([]figure, error) {
		ours, theirs, err := b.compareFetch(b.big, "big", func() (request, error) {
			tip, err := b.git(b.big, "rev-parse", "HEAD")
			return request{wants: []string{tip}, args: []string{arg}}, err
		})
		if err != nil {
			return nil, err
		}
		return fetchFigures(ours, theirs), nil
	}
}

func (b *bench) rowReceive() ([]figure, error) { return b.receiveFigures(b.big, bigMemory) }

// receiveFigures compares the receipt of all of a repository's branches and tags. memory is in MB, 0 for no aim.
func (b *bench) receiveFigures(dir string, memory float64) ([]figure, error) {
	copied, err := b.gitCopy(dir)
	if err != nil {
		return nil, err
	}
	packs, err := filepath.Glob(filepath.Join(copied, "objects/pack/*.pack"))
	if err != nil || len(packs) != 1 {
		return nil, fmt.Errorf("%s has %d packs: %v", copied, len(packs), err)
	}
	refs, err := b.refsOf(dir)
	if err != nil {
		return nil, err
	}
	ours, err := b.receive(packs[0], refs)
	if err != nil {
		return nil, err
	}
	theirs, err := b.indexPack(packs[0])
	anon := of("anon MB", float64(ours.anon)/mb).beside(git, float64(theirs.anon)/mb, true)
	if memory > 0 {
		anon = anon.atMost(memory)
	}
	return []figure{
		of("receive CPU s", ours.cpu.Seconds()).beside("git --strict", theirs.cpu.Seconds(), true).atMostOf(0.9),
		anon,
		of("cores busy", ours.cores()).beside("git --strict", theirs.cores(), true).atLeastOf(1),
		of("wall s", ours.wall.Seconds()).beside("git --strict", theirs.wall.Seconds(), true),
	}, err
}

const lsRefsTimes = 10_000

func (b *bench) rowLsRefs() ([]figure, error) {
	dir, err := b.manyRefs(100_000)
	if err != nil {
		return nil, err
	}
	ours, gits, err := b.engines(dir, "refs")
	if err != nil {
		return nil, err
	}
	const prefix = "refs/heads/x"
	our, err := b.lsRefsEach(ours, prefix)
	if err != nil {
		return nil, err
	}
	their, err := b.lsRefsEach(gits, prefix)
	return []figure{of("CPU ms each", ms(our)).beside(git, ms(their), true).atMost(1)}, err
}

// lsRefsEach is the CPU time of one ls-refs, without what it takes to start.
func (b *bench) lsRefsEach(up uploader, prefix string) (time.Duration, error) {
	var cpu [2]time.Duration
	for i, times := range []int{1, 1 + lsRefsTimes} {
		f, err := b.least(func() (f fetched, err error) {
			u, lines, err := up.lsRefs(prefix, times)
			if err == nil && lines != 1 {
				err = fmt.Errorf("%d refs begin with %s, not 1", lines, prefix)
			}
			return fetched{usage: u}, err
		})
		if err != nil {
			return 0, err
		}
		cpu[i] = f.cpu
	}
	return (cpu[1] - cpu[0]) / lsRefsTimes, nil
}

func (b *bench) rowPushes() ([]figure, error) {
	h, err := b.serving()
	if err != nil {
		return nil, err
	}
	n := max(b.pushes, 400)
	const part = 100
	var marks [4]time.Duration // CPU after the first pushes, which warm things up; a part later; a part before the end; at the end
	at := map[int]int{part - 1: 0, 2*part - 1: 1, n - part - 1: 2, n - 1: 3}
	_, err = h.smallPushes("many-"+strconv.Itoa(os.Getpid()), n, func(i int) error {
		if mark, ok := at[i]; ok {
			marks[mark] = cpuOf(h.server.pid())
		}
		return nil
	})
	first, last := ms(marks[1]-marks[0])/part, ms(marks[3]-marks[2])/part
	return []figure{
		of(fmt.Sprintf("CPU ms each, last %d of %d", part, n), last).beside("101st to 200th", first, true).atMostOf(2),
	}, err
}

func (b *bench) rowMillion() ([]figure, error) {
	dir, err := b.manyObjects(1_000_000)
	if err != nil {
		return nil, err
	}
	received, err := b.receiveFigures(dir, 0)
	if err != nil {
		return received, err
	}
	ours, theirs, err := b.compareFetch(dir, "million", func() (r request, err error) {
		r.wants, err = b.wantsOf(dir)
		return r, err
	})
	if err != nil {
		return received, err
	}
	return slices.Concat(received, fetchFigures(ours, theirs), []figure{
		of("anon MB", float64(ours.anon)/mb).beside(git, float64(theirs.anon)/mb, true),
	}), nil
}

// hugeBytes is more than 2 GiB, where numbers of 31 bits end.
const hugeBytes = 2<<30 + 1<<20

func (b *bench) rowHuge() ([]figure, error) {
	dir, err := b.hugeFile(hugeBytes)
	if err != nil {
		return nil, err
	}
	h, err := b.serving()
	if err != nil {
		return nil, err
	}
	repo := "huge-" + strconv.Itoa(os.Getpid())
	pushed, err := h.push(dir, repo)
	if err != nil {
		return nil, err
	}
	h.stop() // memory of the push is not the clone's
	if err := h.serve(); err != nil {
		return nil, err
	}
	cloned, f, err := h.cloneAway(dir, repo)
	if err != nil {
		return nil, err
	}
	return []figure{
		of("push CPU s", pushed.cpu.Seconds()),
		of("push anon MB", float64(pushed.anon)/mb).atMost(200),
		of("clone CPU s", cloned.cpu.Seconds()),
		of("clone anon MB", float64(cloned.anon)/mb).atMost(100),
		of("clone pack MB", float64(f.bytes)/mb),
	}, nil
}

// cloneAway measures the server during a clone over SSH whose pack is thrown away.
func (h *host) cloneAway(dir, repo string) (u usage, f fetched, err error) {
	wants, err := h.b.wantsOf(dir)
	if err != nil {
		return u, f, err
	}
	u, err = h.during(afterFetch, func() (err error) {
		f, err = h.uploader(repo).fetch(request{wants: wants})
		return err
	})
	return u, f, err
}
