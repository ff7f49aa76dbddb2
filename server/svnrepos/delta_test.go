package svnrepos_test

import (
	"errors"
	"fmt"
	"testing"

	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
)

func TestDelta(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, seed, 20)
			for range 20 {
				from, err := w.fs.Root(svn.Revnum(w.rng.IntN(int(w.fs.Youngest()) + 1)))
				w.check(err)
				to, err := w.fs.Root(svn.Revnum(w.rng.IntN(int(w.fs.Youngest()) + 1)))
				w.check(err)
				have, err := export(from, "/", nil)
				w.check(err)
				want, err := export(to, "/", nil)
				w.check(err)
				ed := &wcEditor{fs: w.fs, root: have}
				o := svnrepos.DeltaOptions{Depth: svn.DepthInfinity, TextDeltas: true, IgnoreAncestry: w.rng.IntN(2) == 0}
				w.check(w.repo.Delta(t.Context(), from, "/", "", to, "/", ed, o))
				if have.tree() != want.tree() || !ed.closed {
					t.Fatalf("%d to %d is\n%s\nnot\n%s\nafter %q", from.Rev(), to.Rev(), have.tree(), want.tree(), ed.log)
				}
			}
		})
	}
}

func TestDeltaErrors(t *testing.T) {
	fs := build(t, someTree)
	root, err := fs.Root(1)
	if err != nil {
		t.Fatal(err)
	}
	repo := &svnrepos.Repository{FS: fs}
	for _, row := range []struct {
		from, to string
		depth    svn.Depth
		want     svn.Code
	}{
		{"/a", "/a", svn.DepthExclude, svn.ErrReposBadArgs},
		{"/a/f", "/a", svn.DepthInfinity, svn.ErrFSPathSyntax},
		{"/a", "/nowhere", svn.DepthInfinity, svn.ErrFSPathSyntax},
		{"/nowhere", "/nowhere", svn.DepthInfinity, 0},
	} {
		err := repo.Delta(t.Context(), root, row.from, "", root, row.to, &wcEditor{fs: fs, root: newDir()}, svnrepos.DeltaOptions{Depth: row.depth})
		if row.want == 0 && err != nil || row.want != 0 && !errors.Is(err, row.want) {
			t.Errorf("%+v: got %v", row, err)
		}
	}
}
