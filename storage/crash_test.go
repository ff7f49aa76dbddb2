package storage_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"holdfast/storage"
	"holdfast/storage/object"
)

var errCrash = errors.New("the process died here")

// crasher stops the store after a number of steps, and counts them.
type crasher struct {
	mu    sync.Mutex
	after int // 0: never
	steps []storage.Step
}

func (c *crasher) hook(step storage.Step) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.steps = append(c.steps, step)
	if c.after > 0 && len(c.steps) >= c.after {
		return errCrash
	}
	return nil
}

// arm makes the store stop after so many more steps, or never.
func (c *crasher) arm(steps int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.after = 0
	if steps > 0 {
		c.after = len(c.steps) + steps
	}
}

// TestCrash stops the process after each write step of a row of pushes, reopens, and looks at what is there: all that was
// acknowledged, nothing astray, and a store that takes more pushes.
func TestCrash(t *testing.T) {
	reached := map[storage.Step]bool{}
	for after := 1; ; after++ {
		c := &crasher{after: after}
		dir := t.TempDir()
		acked, tried := pushUntilCrash(t, dir, c)
		if len(c.steps) < after {
			break // ran to its end
		}
		reached[c.steps[after-1]] = true
		t.Run(fmt.Sprintf("%d %s", after, c.steps[after-1]), func(t *testing.T) { checkAfterCrash(t, dir, acked, tried) })
	}
	for _, step := range []storage.Step{storage.StepQuarantine, storage.StepPackWritten, storage.StepIndexFile,
		storage.StepRepoDir, storage.StepPackSync, storage.StepIndexRename, storage.StepPackRename, storage.StepDirSync,
		storage.StepHostPut, storage.StepHostCommit, storage.StepFill, storage.StepFilled, storage.StepUnlink} {
		if !reached[step] {
			t.Errorf("the test never stopped after %q", step)
		}
	}
}

var crashRepo = storage.RepoID("0123456789abcdef0123456789abcdef")

// pushUntilCrash pushes a few commits, one ref each, and returns the refs that were acknowledged and those that were
// tried.
func pushUntilCrash(t *testing.T, dir string, c *crasher) (acked, tried map[string]object.ID) {
	t.Helper()
	acked, tried = map[string]object.ID{}, map[string]object.ID{}
	s, err := storage.Open(dir, storage.Options{NoSync: true, FaultHook: c.hook, IndexPacks: 2, IndexDelay: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	repo, err := s.Create(crashRepo, storage.RepoInit{SCM: storage.Git, Format: object.SHA1, Head: "refs/heads/main"})
	if err != nil {
		t.Fatal(err)
	}
	var parents []object.ID
	for i := range 4 {
		data, tip := crashPush(t, i, parents...)
		name := fmt.Sprintf("refs/heads/%d", i)
		tried[name] = tip
		if _, err := tryPush(repo, data, update(name, object.ID{}, tip)); err != nil {
			if !errors.Is(err, errCrash) && !errors.Is(err, storage.ErrClosed) {
				t.Fatal(err)
			}
			return acked, tried
		}
		acked[name] = tip
		parents = []object.ID{tip}
		if err := s.Fill(crashRepo); err != nil {
			return acked, tried
		}
	}
	return acked, tried
}

// crashPush returns the pack of push i and its tip. One of them is too large to go without an index file.
func crashPush(t *testing.T, i int, parents ...object.ID) ([]byte, object.ID) {
	if i == 1 {
		return wide(t, 1100, parents...)
	}
	return tiny(t, fmt.Sprint(i), parents...)
}

func checkAfterCrash(t *testing.T, dir string, acked, tried map[string]object.ID) {
	s := open(t, dir, noSync())
	mustCheck(t, s)
	wantEmpty(t, dir, "quarantine")
	repo, err := s.Repo(crashRepo)
	if errors.Is(err, storage.ErrNotFound) && len(acked) == 0 {
		repo, err = s.Create(crashRepo, storage.RepoInit{SCM: storage.Git, Format: object.SHA1, Head: "refs/heads/main"})
	}
	if err != nil {
		t.Fatal(err)
	}
	refs, err := repo.Refs("", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]object.ID{}
	for _, ref := range refs {
		got[ref.Name] = ref.ID
		if tried[ref.Name] != ref.ID {
			t.Errorf("%s is at %s", ref.Name, ref.ID)
		}
		writePack(t, repo, storage.Selection{Wants: []object.ID{ref.ID}})
	}
	for name, id := range acked {
		if got[name] != id {
			t.Errorf("%s was acknowledged and is lost", name)
		}
	}
	data, tip := tiny(t, "after")
	push(t, repo, data, update("refs/heads/after", object.ID{}, tip))
	for name, id := range tried { // a push that was cut off can be made again
		if got[name].IsZero() {
			var parents []object.ID
			i := int(name[len(name)-1] - '0')
			if i > 0 {
				parents = []object.ID{tried[fmt.Sprintf("refs/heads/%d", i-1)]}
			}
			data, tip := crashPush(t, i, parents...)
			if tip != id {
				t.Fatal("the test builds another commit than before")
			}
			push(t, repo, data, update(name, object.ID{}, tip))
		}
	}
	mustCheck(t, s)
}

// TestSyncBudget counts the fsyncs of a lone small push: the pack, its directory, and the two of host.db.
func TestSyncBudget(t *testing.T) {
	dir := t.TempDir()
	repo, tip := tinyRepo(t, open(t, dir, noSync()))
	repo.Store().Close()
	c := &crasher{}
	s := open(t, dir, storage.Options{FaultHook: c.hook})
	repo, err := s.Repo(repo.ID())
	must(t, err)
	data, next := tiny(t, "second", tip)
	c.mu.Lock()
	c.steps = nil // what Open has done
	c.mu.Unlock()
	push(t, repo, data, update("refs/heads/main", tip, next))
	c.mu.Lock()
	defer c.mu.Unlock()
	cost := map[storage.Step]int{storage.StepPackSync: 1, storage.StepDirSync: 1, storage.StepHostCommit: 2,
		storage.StepRepoDir: 3, storage.StepFilled: 2}
	syncs := 0
	place := map[storage.Step]int{}
	for i, step := range c.steps {
		syncs += cost[step]
		place[step] = i + 1
	}
	if syncs > 4 {
		t.Errorf("%d fsyncs, the budget is 4: %v", syncs, c.steps)
	}
	order := []storage.Step{storage.StepPackWritten, storage.StepPackRename, storage.StepPackSync, storage.StepDirSync,
		storage.StepHostPut, storage.StepHostCommit}
	for i, step := range order {
		if place[step] == 0 || (i > 0 && place[step] < place[order[i-1]]) {
			t.Errorf("%q is out of order: %v", step, c.steps)
		}
	}
}
