package svnrepos_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"holdfast/storage"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"

	"holdfast/server/svnrepos"
)

// dated returns a dump of revisions that are days apart, with a uuid and mergeinfo on the last.
func dated(mergeinfo string) []byte {
	var b strings.Builder
	b.WriteString("SVN-fs-dump-format-version: 2\n\nUUID: 11111111-2222-4333-8444-555555555555\n\n")
	for n, rev := range [...]int{0, 1, 2, 6, 7} {
		props := svn.EncodeProps(svn.Props{svn.PropDate: fmt.Sprintf("2001-01-%02dT00:00:00.000000Z", n+1), "x": "y\r\n"})
		fmt.Fprintf(&b, "Revision-number: %d\nProp-content-length: %d\nContent-length: %d\n\n%s\n", rev, len(props), len(props), props)
		if rev > 0 {
			node := string(svn.EncodeProps(svn.Props{}))
			if rev == 7 {
				node = string(svn.EncodeProps(svn.Props{svn.PropMergeinfo: mergeinfo}))
			}
			fmt.Fprintf(&b, "Node-path: d%d\nNode-kind: dir\nNode-action: add\nProp-content-length: %d\nContent-length: %d\n\n%s\n\n", rev, len(node), len(node), node)
		}
	}
	return []byte(b.String())
}

func prop(t *testing.T, fs *svnfs.FS, path, name string) string {
	t.Helper()
	root, err := fs.Root(fs.Youngest())
	if err != nil {
		t.Fatal(err)
	}
	n, err := root.Node(path)
	if err != nil {
		t.Fatal(err)
	}
	props, err := n.Props()
	if err != nil {
		t.Fatal(err)
	}
	return props[name]
}

// TestLoadMergesOfGaps has merges of revisions that the dump lacks: nothing is left of them.
func TestLoadMergesOfGaps(t *testing.T) {
	r, _ := load(t, dated("/d1:1-2,4-5\n/d2:3-6\n/x:4"), svnrepos.LoadOptions{})
	if got, want := prop(t, r.FS, "/d7", svn.PropMergeinfo), "/d1:1-2\n/d2:3"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestLoadOptions(t *testing.T) {
	dump := dated("/d1:1")
	for name, c := range map[string]struct {
		o        svnrepos.LoadOptions
		uuid     string
		zero     bool // revision 0 has the dump's date
		youngest svn.Revnum
		date     string // of the youngest
	}{
		"none":         {svnrepos.LoadOptions{}, "11111111-2222-4333-8444-555555555555", true, 4, "2001-01-05T00:00:00.000000Z"},
		"ignore dates": {svnrepos.LoadOptions{IgnoreDates: true}, "11111111-2222-4333-8444-555555555555", false, 4, svn.FormatTime(testMeta().Time)},
		"ignore uuid":  {svnrepos.LoadOptions{UUID: svnrepos.IgnoreUUID}, testUUID, true, 4, "2001-01-05T00:00:00.000000Z"},
		"a range":      {svnrepos.LoadOptions{First: 1, Last: 3}, "11111111-2222-4333-8444-555555555555", false, 2, "2001-01-03T00:00:00.000000Z"},
	} {
		r, _ := load(t, dump, c.o)
		zero, err := r.FS.RevProps(0)
		last, err2 := r.FS.RevProps(r.FS.Youngest())
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		if r.FS.UUID() != c.uuid || r.FS.Youngest() != c.youngest || last[svn.PropDate] != c.date || (zero[svn.PropDate] == "2001-01-01T00:00:00.000000Z") != c.zero {
			t.Errorf("%s: uuid %s, %d revisions, %v, %v", name, r.FS.UUID(), r.FS.Youngest(), zero, last)
		}
		if last["x"] != "y\r\n" {
			t.Errorf("%s: property %q", name, last["x"])
		}
	}
}

// TestLoadAgain loads into a repository that has revisions: its uuid is taken over only by force, revision 0 stays.
func TestLoadAgain(t *testing.T) {
	r := &svnrepos.Repository{FS: newFS(t)}
	if _, err := loadInto(t, r, []byte(someRevisions), svnrepos.LoadOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := loadInto(t, r, dated("/d1:1"), svnrepos.LoadOptions{}); err != nil || r.FS.UUID() != testUUID {
		t.Errorf("uuid %s, %v", r.FS.UUID(), err)
	}
	if got := prop(t, r.FS, "/d7", svn.PropMergeinfo); got != "/d1:3" {
		t.Errorf("mergeinfo %q", got)
	}
	o := svnrepos.LoadOptions{UUID: svnrepos.ForceUUID, ParentDir: "below"}
	if _, err := loadInto(t, r, dated("/d1:1"), o); err != nil || r.FS.UUID() == testUUID {
		t.Errorf("uuid %s, %v", r.FS.UUID(), err)
	}
	if got := prop(t, r.FS, "/below/d7", svn.PropMergeinfo); got != "/below/d1:7" {
		t.Errorf("mergeinfo %q", got)
	}
}

// TestDumpedRevProps dumps properties of revisions, and loads them over others.
func TestDumpedRevProps(t *testing.T) {
	r, _ := load(t, dated("/d1:1"), svnrepos.LoadOptions{})
	props := dump(t, r, svnrepos.DumpOptions{To: svn.InvalidRevnum, RevProps: true})
	if bytes.Contains(props, []byte("Node-path")) || bytes.Count(props, []byte("Revision-number")) != 5 {
		t.Errorf("%s", props)
	}
	props = bytes.ReplaceAll(bytes.ReplaceAll(props, []byte("2001-"), []byte("2002-")), []byte("K 1\nx"), []byte("K 1\ny"))
	for _, ignore := range [...]bool{true, false} {
		before, err := r.FS.Repo().LastEntry()
		if err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		o := svnrepos.LoadOptions{First: 1, Last: 4, IgnoreDates: ignore, Committer: svnfs.Direct, Meta: testMeta}
		if err := r.LoadRevProps(t.Context(), bytes.NewReader(props), o, func(e svnrepos.LoadEvent) { said.WriteString(e.String()) }); err != nil {
			t.Fatal(err)
		}
		if want := "<<< Skipped original revision 0\nProperties set on revision 1.\n"; !strings.HasPrefix(said.String(), want) {
			t.Error(said.String())
		}
		got, err := r.FS.RevProps(2)
		if err != nil || got["x"] != "" || got["y"] == "" || strings.HasPrefix(got[svn.PropDate], "2002") == ignore {
			t.Errorf("%q, %v", got, err)
		}
		if last, err := r.FS.Repo().LastEntry(); err != nil || last != before+4 {
			t.Errorf("entries %d to %d, %v: not one for each revision", before, last, err)
		}
	}
	missing := bytes.Replace(props, []byte("Revision-number: 4"), []byte("Revision-number: 9"), 1)
	o := svnrepos.LoadOptions{Committer: svnfs.Direct, Meta: testMeta}
	if err := r.LoadRevProps(t.Context(), bytes.NewReader(missing), o, nil); !errors.Is(err, svn.ErrFSNoSuchRevision) {
		t.Error(err)
	}
}

func TestLoadHooks(t *testing.T) {
	refused := errors.New("refused")
	var after []svn.Revnum
	r := &svnrepos.Repository{FS: newFS(t)}
	o := svnrepos.LoadOptions{
		PreCommit: func(txn *svnfs.Txn) error {
			if txn.Base() == 2 {
				return refused
			}
			return nil
		},
		PostCommit: func(rev svn.Revnum) error { after = append(after, rev); return nil },
	}
	if _, err := loadInto(t, r, dated("/d1:1"), o); err != refused || r.FS.Youngest() != 2 || len(r.FS.Txns()) > 0 {
		t.Errorf("%v, %d revisions, transactions %q", err, r.FS.Youngest(), r.FS.Txns())
	}
	if fmt.Sprint(after) != "[1 2]" {
		t.Errorf("told of %v", after)
	}
	o = svnrepos.LoadOptions{ParentDir: "d1", PostCommit: func(svn.Revnum) error { return refused }}
	if _, err := loadInto(t, r, dated("/d1:1"), o); !errors.Is(err, svn.ErrReposPostCommitHookFailed) {
		t.Error(err)
	}
}

func TestLoadAndDumpCancelled(t *testing.T) {
	r, _ := load(t, dated("/d1:1"), svnrepos.LoadOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	count := 0
	o := svnrepos.LoadOptions{Committer: svnfs.Direct, Meta: func() storage.Meta { return testMeta() }, ParentDir: "d1"}
	err := r.Load(ctx, bytes.NewReader(dated("/d1:1")), o, func(e svnrepos.LoadEvent) {
		if e.Kind == svnrepos.LoadCommitted {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || r.FS.Youngest() != 5 {
		t.Errorf("load: %v, %d revisions", err, r.FS.Youngest())
	}
	ctx, cancel = context.WithCancel(t.Context())
	err = r.Dump(ctx, io.Discard, svnrepos.DumpOptions{To: 4}, func(svn.Revnum) { count++; cancel() })
	if !errors.Is(err, context.Canceled) || count != 1 {
		t.Errorf("dump: %v after %d revisions", err, count)
	}
}

func TestDumpRangeAndWarnings(t *testing.T) {
	r, _ := load(t, dated("/d1:1"), svnrepos.LoadOptions{})
	for _, o := range [...]svnrepos.DumpOptions{{From: 3, To: 2}, {To: 5}} {
		if err := r.Dump(t.Context(), io.Discard, o, nil); !errors.Is(err, svn.ErrReposBadArgs) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	txn, err := r.FS.Begin(4, svnfs.TxnOptions{})
	if err != nil {
		t.Fatal(err)
	}
	root, err := r.FS.Root(1)
	if err != nil {
		t.Fatal(err)
	}
	if err := txn.Copy(root, "/d1", "/copy"); err != nil {
		t.Fatal(err)
	}
	commitTxn(t, txn)
	var warnings []string
	o := svnrepos.DumpOptions{From: 3, To: svn.InvalidRevnum, Incremental: true, Warn: func(w svnrepos.Warning) { warnings = append(warnings, w.String()) }}
	dump(t, r, o)
	want := []string{
		"WARNING 0x0001: Mergeinfo referencing revision(s) prior to the oldest dumped revision (r3). Loading this dump may result in invalid mergeinfo.",
		"WARNING 0x0000: Referencing data in revision 1, which is older than the oldest dumped revision (r3).  Loading this dump into an empty repository will fail.",
		"WARNING 0x0000: The range of revisions dumped contained references to copy sources outside that range.",
		"WARNING 0x0001: The range of revisions dumped contained mergeinfo which reference revisions outside that range.",
	}
	if strings.Join(warnings, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(warnings, "\n"), strings.Join(want, "\n"))
	}
}

// TestDumpWhole dumps a tree of the middle of history, which loads as one revision that has all of it.
func TestDumpWhole(t *testing.T) {
	r, _ := load(t, dated("/d1:1"), svnrepos.LoadOptions{})
	for _, deltas := range [...]bool{false, true} {
		r2, _ := load(t, dump(t, r, svnrepos.DumpOptions{From: 3, To: svn.InvalidRevnum, Deltas: deltas}), svnrepos.LoadOptions{})
		root, err := r2.FS.Root(1)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range [...]string{"/d1", "/d2", "/d6"} {
			if kind, err := root.Kind(path); kind != svn.Dir || err != nil {
				t.Errorf("%s is a %s, %v", path, kind, err)
			}
		}
		if r2.FS.Youngest() != 2 {
			t.Errorf("%d revisions", r2.FS.Youngest())
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(dated("/d1:1-2,4-5"))
	for _, d := range oddDumps() {
		f.Add([]byte(d))
	}
	r := &svnrepos.Repository{FS: newFS(f)}
	refuse := errors.New("refused")
	f.Fuzz(func(t *testing.T, d []byte) {
		// Nothing is committed, so that the repository stays as it is.
		o := svnrepos.LoadOptions{UUID: svnrepos.IgnoreUUID, PreCommit: func(*svnfs.Txn) error { return refuse }}
		if _, err := loadInto(t, r, d, o); err == nil && r.FS.Youngest() != 0 || len(r.FS.Txns()) > 0 {
			t.Fatalf("%d revisions, transactions %q", r.FS.Youngest(), r.FS.Txns())
		}
	})
}

// TestLoadSameRevs loads what a repository is a copy of, piece by piece: nothing is renumbered, and nothing may come between.
func TestLoadSameRevs(t *testing.T) {
	dump := bytes.ReplaceAll(bytes.ReplaceAll(dated("/d1:1,9"), []byte("number: 6"), []byte("number: 3")), []byte("number: 7"), []byte("number: 4"))
	at := bytes.Index(dump, []byte("Revision-number: 2"))
	r, _ := load(t, dump[:at], svnrepos.LoadOptions{SameRevs: true})
	rest := append([]byte("SVN-fs-dump-format-version: 2\n\n"), dump[at:]...)
	if _, err := loadInto(t, r, rest, svnrepos.LoadOptions{SameRevs: true}); err != nil {
		t.Fatal(err)
	}
	if got := prop(t, r.FS, "/d7", svn.PropMergeinfo); got != "/d1:1,9" {
		t.Errorf("mergeinfo %q", got)
	}
	if _, err := loadInto(t, r, rest, svnrepos.LoadOptions{SameRevs: true}); !errors.Is(err, svn.ErrFSConflict) || r.FS.Youngest() != 4 {
		t.Errorf("again: %v, %d revisions", err, r.FS.Youngest())
	}
}

// TestLoadCutOff has the source fail where a record could end: the revision is not committed.
func TestLoadCutOff(t *testing.T) {
	dump := dated("/d1:1")
	at := bytes.Index(dump, []byte("Revision-number: 6"))
	r := &svnrepos.Repository{FS: newFS(t)}
	lost := fmt.Errorf("lost: %w", io.EOF)
	o := svnrepos.LoadOptions{Committer: svnfs.Direct, Meta: testMeta}
	err := r.Load(t.Context(), io.MultiReader(bytes.NewReader(dump[:at]), iotest.ErrReader(lost)), o, nil)
	if !errors.Is(err, lost) || r.FS.Youngest() != 1 {
		t.Errorf("%v, %d revisions", err, r.FS.Youngest())
	}
}

// TestLoadNoText has a uuid and a name that the journal, whose names are text, could not give back.
func TestLoadNoText(t *testing.T) {
	const head, props = "SVN-fs-dump-format-version: 2\n\n", "K 1\n\xff\nV 1\nx\nPROPS-END\n"
	for dump, want := range map[string]string{
		head + "UUID: \xff\n\n": `Malformed UUID "\xff"`,
		head + fmt.Sprintf("Revision-number: 0\nProp-content-length: %d\nContent-length: %[1]d\n\n", len(props)) + props: `E195011: "\xff" is not`,
	} {
		r := &svnrepos.Repository{FS: newFS(t)}
		if _, err := loadInto(t, r, []byte(dump), svnrepos.LoadOptions{BypassPropValidation: true}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
