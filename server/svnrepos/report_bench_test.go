package svnrepos_test

import (
	"fmt"
	"testing"

	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// sink is an editor that takes everything and keeps nothing.
type sink struct{ nodes, windows int }

func (s *sink) SetTargetRevision(svn.Revnum) error         { return nil }
func (s *sink) OpenRoot(svn.Revnum) (svn.DirEditor, error) { return sinkDir{s}, nil }
func (s *sink) Close() error                               { return nil }
func (s *sink) Abort() error                               { return nil }
func (s *sink) Window(*svn.Window) error                   { s.windows++; return nil }
func (s *sink) add() *sink                                 { s.nodes++; return s }

type sinkDir struct{ s *sink }

func (d sinkDir) DeleteEntry(string, svn.Revnum) error { return nil }
func (d sinkDir) AddDirectory(string, *svn.CopyFrom) (svn.DirEditor, error) {
	return sinkDir{d.s.add()}, nil
}
func (d sinkDir) OpenDirectory(string, svn.Revnum) (svn.DirEditor, error) {
	return sinkDir{d.s.add()}, nil
}
func (d sinkDir) AddFile(string, *svn.CopyFrom) (svn.FileEditor, error) {
	return sinkFile{d.s.add()}, nil
}
func (d sinkDir) OpenFile(string, svn.Revnum) (svn.FileEditor, error) {
	return sinkFile{d.s.add()}, nil
}
func (d sinkDir) AbsentDirectory(string) error     { return nil }
func (d sinkDir) AbsentFile(string) error          { return nil }
func (d sinkDir) ChangeProp(string, *string) error { return nil }
func (d sinkDir) Close() error                     { return nil }

type sinkFile struct{ s *sink }

func (f sinkFile) ApplyTextDelta(string) (svn.WindowHandler, error) { return f.s, nil }
func (f sinkFile) ChangeProp(string, *string) error                 { return nil }
func (f sinkFile) Close(string) error                               { return nil }

// bigTree makes a filesystem of directories of files, and then revisions that change ten files each.
func bigTree(b *testing.B, dirs, files, revisions int) *svnfs.FS {
	b.Helper()
	fs := newFS(b)
	txn, err := fs.Begin(0, svnfs.TxnOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer txn.Abort()
	for d := range dirs {
		dir := fmt.Sprintf("/d%d", d)
		if err := txn.MakeDir(dir); err != nil {
			b.Fatal(err)
		}
		for f := range files {
			path := fmt.Sprintf("%s/f%d", dir, f)
			if err := txn.MakeFile(path); err != nil {
				b.Fatal(err)
			}
			writeFile(b, txn, path, fmt.Sprintf("file %d of %d\n%1000d\n", f, d, f))
		}
	}
	commitTxn(b, txn)
	for r := range revisions {
		change, err := fs.Begin(fs.Youngest(), svnfs.TxnOptions{})
		if err != nil {
			b.Fatal(err)
		}
		for i := range 10 {
			writeFile(b, change, fmt.Sprintf("/d%d/f%d", (r*7+i*3)%dirs, (r*13+i)%files), fmt.Sprintf("%d %d\n", r, i))
		}
		commitTxn(b, change)
		change.Abort()
	}
	return fs
}

func report(b *testing.B, fs *svnfs.FS, from, to svn.Revnum, startEmpty bool) *sink {
	b.Helper()
	s := &sink{}
	repo := svnrepos.Repository{FS: fs}
	r, err := repo.BeginReport(svnrepos.ReportRequest{Rev: to, Anchor: "/", TextDeltas: true, Depth: svn.DepthUnknown}, s)
	if err == nil {
		err = r.SetPath("", from, svn.DepthInfinity, startEmpty, "")
	}
	if err == nil {
		err = r.Finish(b.Context())
	}
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func BenchmarkCheckout(b *testing.B) {
	fs := bigTree(b, 50, 100, 0)
	for b.Loop() {
		if s := report(b, fs, 1, 1, true); s.nodes != 5050 {
			b.Fatal(s.nodes)
		}
	}
}

func BenchmarkUpdate(b *testing.B) {
	fs := bigTree(b, 50, 100, 50)
	for b.Loop() {
		if s := report(b, fs, 1, fs.Youngest(), false); s.nodes < 100 {
			b.Fatal(s.nodes)
		}
	}
}
