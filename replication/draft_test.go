package replication_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"

	"holdfast/replication"
	"holdfast/storage"
)

// drafts returns the files of the spool that were not sealed yet, by name.
func (l *line) drafts() map[string][]byte {
	l.t.Helper()
	files := map[string][]byte{}
	for _, path := range must(filepath.Glob(filepath.Join(l.dir, "spool", "*.segment.tmp")))(l.t) {
		files[filepath.Base(path)] = must(os.ReadFile(path))(l.t)
	}
	return files
}

// atCommit calls f, once, when host.db holds a push and nobody was told yet. The segment was drafted by then.
func (l *line) atCommit(f func()) {
	l.killer.mu.Lock()
	defer l.killer.mu.Unlock()
	l.killer.told = func(s storage.Step) {
		if s == storage.StepHostCommit {
			l.killer.told = nil
			synctest.Wait()
			f()
		}
	}
}

// The segment of a lone push is on the disk before the push is committed, and goes to the mirrors just as it is.
func TestDraft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLine(t, 3)
		l.push()
		l.settle()
		var drafts map[string][]byte
		l.atCommit(func() { drafts = l.drafts() })
		l.push()
		l.settle()
		l.wantDraft(drafts, 2)
		if left := l.drafts(); len(left) > 0 {
			t.Errorf("left in the spool: %v", left)
		}
		l.finish()
	})
}

// wantDraft checks that there was one draft, and that all mirrors hold it as segment n.
func (l *line) wantDraft(drafts map[string][]byte, n uint64) {
	l.t.Helper()
	if len(drafts) != 1 {
		l.t.Fatalf("%d drafts, want 1", len(drafts))
	}
	for _, b := range l.buckets {
		for _, draft := range drafts {
			if got := b.Contents(replication.SegmentKey(l.kit.Instance(), 1, 1, n)); len(got) != 1 || !bytes.Equal(got[0], draft) {
				l.t.Errorf("a mirror holds %d versions of segment %d, want the draft alone", len(got), n)
			}
		}
	}
}

// A host that dies between the commit and the seal sends the draft when it is back.
func TestDraftOfCommittedEntries(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLine(t, 3)
		l.push()
		l.settle()
		var drafts map[string][]byte
		l.atCommit(func() {
			drafts = l.drafts()
			l.killer.dead = true
		})
		l.push() // which starts the host again
		l.settle()
		l.wantDraft(drafts, 2)
		l.finish()
	})
}

// A draft of what was not committed, or was committed otherwise, is not sent; neither is half a draft.
func TestDraftOfNothing(t *testing.T) {
	for _, c := range []struct {
		name   string
		pushes int                 // after the host came back, before the draft is found
		change func([]byte) []byte // what becomes of the draft
	}{
		{"not committed", 0, slices.Clone[[]byte]},
		{"committed otherwise", 1, slices.Clone[[]byte]},
		{"cut off", 0, func(b []byte) []byte { return b[:len(b)-1] }},
		{"cut off in its header", 0, func(b []byte) []byte { return b[:100] }},
		{"empty", 0, func(b []byte) []byte { return nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := newLine(t, 3)
				l.push()
				l.settle()
				l.stop()
				before, lines := filepath.Join(t.TempDir(), "data"), l.committed
				if err := os.CopyFS(before, os.DirFS(l.dir)); err != nil {
					t.Fatal(err)
				}
				l.start()
				l.settle()
				var drafts map[string][]byte
				l.atCommit(func() {
					drafts = l.drafts()
					l.killer.dead = true
				})
				l.change()
				l.kill() // and the commit never reached the disk:
				l.dir, l.committed = before, lines
				for range c.pushes {
					l.start()
					l.push()
					l.settle()
					l.stop()
				}
				for name, draft := range drafts {
					if err := os.WriteFile(filepath.Join(l.dir, "spool", name), c.change(draft), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				l.start()
				if left := l.drafts(); len(left) > 0 || len(drafts) != 1 {
					t.Errorf("of %d drafts %d are left", len(drafts), len(left))
				}
				l.finish()
			})
		})
	}
}
