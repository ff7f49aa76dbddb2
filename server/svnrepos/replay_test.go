package svnrepos_test

import (
	"fmt"
	"testing"

	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
)

// TestReplayMirrors replays random revisions onto a tree, one after another, as svnsync does.
func TestReplayMirrors(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, seed, 40)
			mirror := newDir()
			for rev := svn.Revnum(0); rev <= w.fs.Youngest(); rev++ {
				ed := &wcEditor{fs: w.fs, root: mirror}
				if err := w.repo.Replay(t.Context(), rev, 0, "/", true, ed); err != nil {
					t.Fatalf("revision %d: %v after %q", rev, err, ed.log)
				}
				root, err := w.fs.Root(rev)
				w.check(err)
				want, err := export(root, "/", nil)
				w.check(err)
				if mirror.tree() != want.tree() {
					t.Fatalf("revision %d is\n%s\nnot\n%s\nafter %q", rev, mirror.tree(), want.tree(), ed.log)
				}
			}
		})
	}
}

func TestReplay(t *testing.T) {
	fs := build(t, someTree,
		"cp /a 1 /b; put /b/d/g 2; rm /b/d/e; put /b/n 2; set / p v",
		"mkdir /c; cp /a/d 2 /c/d; put /c/d/g 33",
		"put /a/f 4; put /b/f 4")
	for _, row := range []struct {
		name     string
		rev, low svn.Revnum
		base     string
		hidden   string
		want     string
	}{
		{"r0", 0, 0, "/", "", ""},
		{"additions", 1, 0, "/", "", "A a/|A a/d/|A a/d/e/|A a/d/e/h|A a/d/g|A a/f"},
		{"copy", 2, 0, "/", "", "A b/ /a@1|U b/d/|D b/d/e@-1|U b/d/g|A b/n"},
		{"copy from before the low water mark", 2, 2, "/", "", "A b/|A b/d/|A b/d/g|A b/f|A b/n"},
		{"copy from elsewhere", 2, 0, "/b", "", "A b/|A b/d/|A b/d/g|A b/f|A b/n"},
		{"copy from the unreadable", 2, 0, "/", "/a", "A b/|A b/d/|A b/d/g|A b/f|A b/n"},
		{"copy of the unreadable", 2, 0, "/", "/a/d", "A b/ /a@1|U b/d/|U b/d/g|A b/n"},
		{"nested", 3, 0, "/", "", "A c/|A c/d/ /a/d@2|U c/d/g"},
		{"a part", 4, 0, "/b", "", "U b/|U b/f"},
		{"another part", 4, 0, "/c", "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			repo := &svnrepos.Repository{FS: fs}
			if row.hidden != "" {
				repo.Access = hidden(row.hidden)
			}
			wc := newDir()
			if row.rev > 0 {
				root, err := fs.Root(row.rev - 1)
				if err != nil {
					t.Fatal(err)
				}
				if wc, err = export(root, "/", nil); err != nil {
					t.Fatal(err)
				}
			}
			ed := &wcEditor{fs: fs, root: wc}
			if err := repo.Replay(t.Context(), row.rev, row.low, row.base, true, ed); err != nil {
				t.Fatalf("%v after %q", err, ed.log)
			}
			if got := operations(ed); got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
			if ed.target != row.rev || ed.closed || ed.abort {
				t.Errorf("the editor was left as %+v", ed)
			}
		})
	}
}

// TestReplayLikeSubversion compares the edits with those of svnserve.
func TestReplayLikeSubversion(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, 3000+seed, 40)
			unreadable := ""
			if seed > 0 {
				unreadable = w.hide()
			}
			p := newPeer(t, w.fs, unreadable)
			for rev := range w.fs.Youngest() + 1 {
				if w.trapsSvnserve(rev) {
					continue
				}
				root, err := w.fs.Root(rev)
				w.check(err)
				bases := append(paths(t, root, "/"), "/", "/")
				for range 8 {
					low, base, deltas := svn.Revnum(w.rng.IntN(int(rev)+1)), w.pick(bases), w.rng.IntN(2) == 0
					if w.rng.IntN(2) == 0 {
						low = 0
					}
					w.compareReplay(p, rev, low, base, deltas)
				}
			}
		})
	}
}

// trapsSvnserve reports whether a revision replaced or deleted something in a directory that it copied. If svnserve 1.14 has to tell
// such a copy as an addition, it goes by the kinds that the entries had in the source.
func (w *world) trapsSvnserve(rev svn.Revnum) bool {
	w.t.Helper()
	changes, err := w.fs.Changes(rev)
	w.check(err)
	for _, c := range changes {
		for _, in := range changes {
			if rel, ok := svn.Rel(c.Path, in.Path); ok && rel != "" && c.CopyFrom != nil && (in.Action == svn.Replaced || in.Action == svn.Deleted) {
				return true
			}
		}
	}
	return false
}

func (w *world) compareReplay(p *peer, rev, low svn.Revnum, base string, deltas bool) {
	w.t.Helper()
	if w.repo.Access != nil && !readable(w.repo.Access, base) {
		return
	}
	want, wantErr := p.replay(rev, low, base, deltas)
	got := newEditLog()
	err := w.repo.Replay(w.t.Context(), rev, low, base, deltas, logEditor{got})
	if svn.CodeOf(err) != svn.CodeOf(wantErr) || got.String() != want.String() {
		w.t.Fatalf("revision %d for %s from %d, deltas %t: got %v\n%s\nwant %v\n%s", rev, base, low, deltas, err, got, wantErr, want)
	}
}
