package svnrepos_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// build makes a repository of revisions that are given as lines of commands.
func build(t *testing.T, revisions ...string) *svnfs.FS {
	t.Helper()
	fs := newFS(t)
	for _, commands := range revisions {
		txn, err := fs.Begin(fs.Youngest(), svnfs.TxnOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(commands, "; ") {
			if err := command(t, fs, txn, strings.Fields(line)); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
		commitTxn(t, txn)
		txn.Abort()
	}
	return fs
}

func command(t *testing.T, fs *svnfs.FS, txn *svnfs.Txn, words []string) error {
	t.Helper()
	switch words[0] {
	case "mkdir":
		return txn.MakeDir(words[1])
	case "rm":
		return txn.Delete(words[1])
	case "put":
		if kind, err := txn.Root().Kind(words[1]); err != nil {
			return err
		} else if kind == svn.None {
			if err := txn.MakeFile(words[1]); err != nil {
				return err
			}
		}
		writeFile(t, txn, words[1], words[2])
		return nil
	case "set":
		return txn.SetNodeProp(words[1], words[2], &words[3])
	case "cp":
		var rev svn.Revnum
		if _, err := fmt.Sscan(words[2], &rev); err != nil {
			return err
		}
		from, err := fs.Root(rev)
		if err != nil {
			return err
		}
		return txn.Copy(from, words[1], words[3])
	}
	return fmt.Errorf("unknown command %q", words)
}

const someTree = "mkdir /a; put /a/f 1; mkdir /a/d; put /a/d/g 1; mkdir /a/d/e; put /a/d/e/h 1"

// TestReportDepths has the tables of reporter.c: which entries are sent for which depths.
func TestReportDepths(t *testing.T) {
	fs := build(t, someTree, "put /a/f 2; put /a/d/g 2; put /a/d/e/h 2; put /a/new 2; mkdir /a/newdir")
	full := "U a/|A a/d/|A a/d/e/|A a/d/e/h|A a/d/g|A a/f|A a/new|A a/newdir/"
	for _, row := range []struct {
		wc, req svn.Depth
		want    string
	}{
		{svn.DepthEmpty, svn.DepthUnknown, "U a/"},
		{svn.DepthEmpty, svn.DepthEmpty, "U a/"},
		{svn.DepthEmpty, svn.DepthFiles, "U a/|A a/f|A a/new"},
		{svn.DepthEmpty, svn.DepthImmediates, "U a/|A a/d/|A a/f|A a/new|A a/newdir/"},
		{svn.DepthEmpty, svn.DepthInfinity, full},
		{svn.DepthFiles, svn.DepthUnknown, "U a/|U a/f|A a/new"},
		{svn.DepthFiles, svn.DepthEmpty, "U a/"},
		{svn.DepthFiles, svn.DepthFiles, "U a/|U a/f|A a/new"},
		{svn.DepthFiles, svn.DepthInfinity, "U a/|A a/d/|A a/d/e/|A a/d/e/h|A a/d/g|U a/f|A a/new|A a/newdir/"},
		{svn.DepthImmediates, svn.DepthUnknown, "U a/|U a/d/|U a/f|A a/new|A a/newdir/"},
		{svn.DepthImmediates, svn.DepthFiles, "U a/|U a/f|A a/new"},
		{svn.DepthImmediates, svn.DepthInfinity, "U a/|U a/d/|A a/d/e/|A a/d/e/h|A a/d/g|U a/f|A a/new|A a/newdir/"},
		{svn.DepthInfinity, svn.DepthUnknown, "U a/|U a/d/|U a/d/e/|U a/d/e/h|U a/d/g|U a/f|A a/new|A a/newdir/"},
		{svn.DepthInfinity, svn.DepthEmpty, "U a/"},
		{svn.DepthInfinity, svn.DepthImmediates, "U a/|U a/d/|U a/f|A a/new|A a/newdir/"},
	} {
		t.Run(row.wc.String()+"-"+row.req.String(), func(t *testing.T) {
			got := reportA(t, fs, row.wc, row.req)
			if got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

// reportA updates a working copy of /a of some depth from revision 1 to 2 and returns the operations, but for those on texts.
func reportA(t *testing.T, fs *svnfs.FS, wc, req svn.Depth) string {
	t.Helper()
	root, err := fs.Root(1)
	if err != nil {
		t.Fatal(err)
	}
	have, err := export(root, "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	a := have.kids["a"]
	for name, kid := range a.kids {
		if wc == svn.DepthEmpty || wc == svn.DepthFiles && kid.dir {
			delete(a.kids, name)
		}
		if wc == svn.DepthImmediates {
			kid.kids = map[string]*wcNode{}
		}
	}
	ed := &wcEditor{fs: fs, root: have}
	repo := svnrepos.Repository{FS: fs}
	report, err := repo.BeginReport(svnrepos.ReportRequest{Rev: 2, Anchor: "/", Target: "a", TextDeltas: true, Depth: req}, ed)
	if err != nil {
		t.Fatal(err)
	}
	err = report.SetPath("", 1, wc, false, "")
	if wc == svn.DepthImmediates {
		err = errors.Join(err, report.SetPath("d", 1, svn.DepthEmpty, false, ""))
	}
	if err = errors.Join(err, report.Finish(t.Context())); err != nil {
		t.Fatal(err)
	}
	return operations(ed)
}

func operations(ed *wcEditor) string {
	var ops []string
	for _, line := range ed.log {
		if line != "text" {
			ops = append(ops, strings.TrimSuffix(line, " "))
		}
	}
	return strings.Join(ops, "|")
}

// say is one description of a report.
type say struct {
	path, link string
	rev        svn.Revnum // of a deletion, -1
	depth      svn.Depth
	startEmpty bool
}

func (s say) to(report *svnrepos.Report) error {
	switch {
	case s.rev < 0:
		return report.DeletePath(s.path)
	case s.link != "":
		return report.LinkPath(s.path, s.link, s.rev, s.depth, s.startEmpty, "")
	}
	return report.SetPath(s.path, s.rev, s.depth, s.startEmpty, "")
}

// run reports to a working copy of a revision and returns the operations.
func run(t *testing.T, repo *svnrepos.Repository, have svn.Revnum, req svnrepos.ReportRequest, says ...say) (*wcEditor, error) {
	t.Helper()
	root, err := repo.FS.Root(have)
	if err != nil {
		t.Fatal(err)
	}
	wc, err := export(root, req.Anchor, nil)
	if err != nil {
		t.Fatal(err)
	}
	ed := &wcEditor{fs: repo.FS, root: wc}
	report, err := repo.BeginReport(req, ed)
	if err != nil {
		return ed, err
	}
	for _, s := range says {
		err = s.to(report)
		if err != nil {
			report.Abort()
			return ed, err
		}
	}
	return ed, report.Finish(t.Context())
}

func TestReportErrors(t *testing.T) {
	fs := build(t, someTree, "rm /a/d; put /f 1")
	const inf = svn.DepthInfinity
	for _, row := range []struct {
		name string
		req  svnrepos.ReportRequest
		says []say
		code svn.Code
		text string
	}{
		{"empty", svnrepos.ReportRequest{Rev: 2, Anchor: "/"}, nil,
			svn.ErrReposBadRevisionReport, "Invalid report for top level of working copy"},
		{"not of the top", svnrepos.ReportRequest{Rev: 2, Anchor: "/"}, []say{{"a", "", 1, inf, false}},
			svn.ErrReposBadRevisionReport, "Invalid report for top level of working copy"},
		{"twice", svnrepos.ReportRequest{Rev: 2, Anchor: "/"}, []say{{"", "", 1, inf, false}, {"", "", 1, inf, false}},
			svn.ErrReposBadRevisionReport, "Two top-level reports with no target"},
		{"exclude", svnrepos.ReportRequest{Rev: 2, Anchor: "/", Depth: svn.DepthExclude}, nil,
			svn.ErrReposBadArgs, "Request depth 'exclude' not supported"},
		{"depth", svnrepos.ReportRequest{Rev: 2, Anchor: "/"}, []say{{"", "", 1, svn.DepthUnknown, false}},
			svn.ErrReposBadArgs, "Unsupported report depth 'unknown'"},
		{"excluded link", svnrepos.ReportRequest{Rev: 2, Anchor: "/"}, []say{{"a", "/b", 1, svn.DepthExclude, false}},
			svn.ErrReposBadArgs, "Depth 'exclude' not supported for link"},
		{"no such revision", svnrepos.ReportRequest{Rev: 9, Anchor: "/"}, []say{{"", "", 1, inf, false}},
			svn.ErrFSNoSuchRevision, "No such revision 9"},
		{"no such source revision", svnrepos.ReportRequest{Rev: 2, Anchor: "/"}, []say{{"", "", 9, inf, false}},
			svn.ErrFSNoSuchRevision, "No such revision 9"},
		{"gone", svnrepos.ReportRequest{Rev: 2, Anchor: "/a/d"}, []say{{"", "", 1, inf, false}},
			svn.ErrFSPathSyntax, "Target path '/a/d' does not exist"},
		{"a file", svnrepos.ReportRequest{Rev: 2, Anchor: "/", SwitchPath: "/f"}, []say{{"", "", 1, inf, false}},
			svn.ErrFSPathSyntax, "Cannot replace a directory from within"},
		{"nowhere", svnrepos.ReportRequest{Rev: 2, Anchor: "/", Depth: inf}, []say{{"", "", 1, inf, false}, {"a", "", 0, inf, false}},
			svn.ErrFSNotFound, "Working copy path 'a' does not exist in repository"},
		{"above", svnrepos.ReportRequest{Rev: 2, Anchor: "/"}, []say{{"..", "", 1, inf, false}},
			svn.ErrFSPathSyntax, "Path '..' has a '..' in it"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := run(t, &svnrepos.Repository{FS: fs}, 1, row.req, row.says...)
			var e *svn.Error
			if !errors.As(err, &e) || e.Code != row.code || e.Message != row.text {
				t.Fatalf("got %v, want %s: %s", err, row.code, row.text)
			}
		})
	}
}

// hidden is an Access to all but what is at or below a path.
type hidden string

func (h hidden) Allows(path string, _ svnrepos.Op) bool {
	_, inside := svn.Rel(string(h), path)
	return !inside
}

func TestReportHidesWhatMayNotBeRead(t *testing.T) {
	fs := build(t, someTree, "put /a/d/g 2; put /a/f 2", "rm /a/d; put /a/d 3")
	for _, row := range []struct {
		hidden string
		rev    svn.Revnum
		want   string
	}{
		{"/a/d", 2, "U a/|absent a/d/|U a/f"},
		{"/a/f", 2, "U a/|U a/d/|U a/d/g|absent a/f"},
		{"/a", 2, "absent a/"},
		{"/a/d", 3, "U a/|D a/d@3|absent a/d|U a/f"},
	} {
		repo := &svnrepos.Repository{FS: fs, Access: hidden(row.hidden)}
		req := svnrepos.ReportRequest{Rev: row.rev, Anchor: "/", TextDeltas: true, Depth: svn.DepthUnknown}
		ed, err := run(t, repo, 1, req, say{"", "", 1, svn.DepthInfinity, false})
		if err != nil {
			t.Fatal(err)
		}
		if got := operations(ed); got != row.want {
			t.Errorf("%s hidden: got %s, want %s", row.hidden, got, row.want)
		}
	}
	_, err := run(t, &svnrepos.Repository{FS: fs, Access: hidden("/")}, 1, svnrepos.ReportRequest{Rev: 2, Anchor: "/"},
		say{"", "", 1, svn.DepthInfinity, false})
	if !errors.Is(err, svn.ErrAuthzRootUnreadable) {
		t.Errorf("got %v for an unreadable root", err)
	}
}

// TestReportFromHidden has clients that say they have what they may not read, and want it made into what they may: that tells
// nothing of it, not even whether it is there.
func TestReportFromHidden(t *testing.T) {
	fs := build(t, "mkdir /secret; put /secret/f 1; set /secret p v; mkdir /secret/x; put /secret/x/g 1; "+
		"mkdir /open; put /open/f 2; mkdir /open/d; put /open/d/f 2; mkdir /open/secret; put /open/secret/h 2; "+
		"mkdir /half; mkdir /half/secret; put /half/secret/f 1; put /half/f 1")
	top := say{"", "", 1, svn.DepthInfinity, false}
	link := func(path, to string) []say { return []say{top, {path, to, 1, svn.DepthInfinity, false}} }
	for _, row := range []struct {
		name, hidden, anchor, target string
		says                         []say
		want                         string
	}{
		{"a directory", "/secret", "/open", "", link("d", "/secret"), "D d@0|A d/|A d/f"},
		{"nothing for a directory", "/secret", "/open", "", link("d", "/secret/none"), "D d@0|A d/|A d/f"},
		{"a file", "/secret", "/open", "", link("f", "/secret/f"), "D f@0|A f"},
		{"nothing for a file", "/secret", "/open", "", link("f", "/secret/none"), "D f@0|A f"},
		{"the target", "/secret", "/", "secret", []say{top}, "D secret@0|A secret/|A secret/d/|A secret/d/f|A secret/f|A secret/secret/|A secret/secret/h"},
		{"below the top", "/half/secret", "/half", "", []say{top}, "A d/|A d/f|U f|D secret@0|A secret/|A secret/h"},
	} {
		repo := &svnrepos.Repository{FS: fs, Access: hidden(row.hidden)}
		ed, err := run(t, repo, 1, svnrepos.ReportRequest{Rev: 1, Anchor: row.anchor, Target: row.target, SwitchPath: "/open",
			TextDeltas: true, Depth: svn.DepthInfinity, IgnoreAncestry: true}, row.says...)
		if got := operations(ed); err != nil || got != row.want {
			t.Errorf("%s: %v; got\n%s, want\n%s", row.name, err, got, row.want)
		}
	}
	for _, anchor := range []string{"/secret", "/secret/f"} {
		_, err := run(t, &svnrepos.Repository{FS: fs, Access: hidden("/secret")}, 1,
			svnrepos.ReportRequest{Rev: 1, Anchor: anchor, SwitchPath: "/open", Depth: svn.DepthInfinity}, top)
		if !errors.Is(err, svn.ErrAuthzRootUnreadable) {
			t.Errorf("%s: got %v", anchor, err)
		}
	}
}

func TestReportIdentity(t *testing.T) {
	fs := build(t, someTree,
		"rm /a/f; put /a/f 1",      // the same text, another node
		"rm /a/d; cp /a/d 2 /a/d",  // a copy of itself
		"put /a/f 4", "put /a/f 1", // changed and changed back: the same node
		"cp /a/f 5 /a/copy; put /a/copy 46") // a changed copy
	const inf = svn.DepthInfinity
	for _, row := range []struct {
		name     string
		from, to svn.Revnum
		req      svnrepos.ReportRequest
		says     []say
		want     string
	}{
		{"replaced by its like", 1, 2, svnrepos.ReportRequest{}, nil, "U a/|D a/f@2|A a/f"},
		{"replaced, ancestry ignored", 1, 2, svnrepos.ReportRequest{IgnoreAncestry: true}, nil, "U a/|U a/f"},
		{"replaced by a copy", 2, 3, svnrepos.ReportRequest{}, nil, "U a/|U a/d/"},
		{"changed back", 3, 5, svnrepos.ReportRequest{}, nil, "U a/|U a/f"},
		{"nothing", 5, 5, svnrepos.ReportRequest{}, nil, ""},
		{"backwards", 3, 1, svnrepos.ReportRequest{}, nil, "U a/|U a/d/|D a/f@2|A a/f"},
		{"a copy", 5, 6, svnrepos.ReportRequest{SendCopyFrom: true}, nil, "U a/|A a/copy /a/f@5"},
		{"a copy without its source", 5, 6, svnrepos.ReportRequest{}, nil, "U a/|A a/copy"},
		{"excluded", 5, 6, svnrepos.ReportRequest{}, []say{{"a/copy", "", 5, svn.DepthExclude, false}}, "U a/"},
		{"excluded and below", 4, 6, svnrepos.ReportRequest{}, []say{{"a", "", 4, svn.DepthExclude, false}, {"a/f", "", 4, inf, false}}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			req := row.req
			req.Rev, req.Anchor, req.TextDeltas, req.Depth = row.to, "/", true, svn.DepthUnknown
			says := append([]say{{"", "", row.from, inf, false}}, row.says...)
			ed, err := run(t, &svnrepos.Repository{FS: fs}, row.from, req, says...)
			if err != nil {
				t.Fatal(err)
			}
			if got := operations(ed); got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

// locked reports a locked file at the youngest revision and returns what became of it.
func locked(t *testing.T, fs *svnfs.FS, token string, req svnrepos.ReportRequest) (*wcNode, *wcEditor) {
	t.Helper()
	root, err := fs.Root(1)
	if err != nil {
		t.Fatal(err)
	}
	wc, err := export(root, "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	ed := &wcEditor{fs: fs, root: wc}
	req.Anchor, req.Depth, req.TextDeltas = "/", svn.DepthUnknown, true
	repo := svnrepos.Repository{FS: fs}
	report, err := repo.BeginReport(req, ed)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(report.SetPath("", 1, svn.DepthInfinity, false, ""), report.SetPath("f", 1, svn.DepthInfinity, false, token),
		report.Finish(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return wc.kids["f"], ed
}

func TestReportBrokenLocks(t *testing.T) {
	fs := build(t, "put /f 1", "put /g 1")
	target := svnfs.LockTarget{Path: "/f", Base: svn.InvalidRevnum}
	results, _, err := fs.SetLocks(t.Context(), svnfs.Direct, testMeta(), "alice", nil, false, []svnfs.LockTarget{target})
	if err != nil || results[0].Err != nil {
		t.Fatal(err, results)
	}
	for _, row := range []struct {
		name, token, want string
	}{
		{"held", results[0].Lock.Token, ""},
		{"stolen", "opaquelocktoken:other", "U f"},
		{"none", "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			f, ed := locked(t, fs, row.token, svnrepos.ReportRequest{Rev: 1})
			if got := operations(ed); got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
			if _, removed := f.gone["svn:entry:lock-token"]; removed != (row.want != "") {
				t.Errorf("the removal of the token was sent: %t", removed)
			}
		})
	}
}

func TestReportEntryProps(t *testing.T) {
	fs := build(t, "put /f 1; put /g 1", "put /f 2")
	for rev := svn.Revnum(1); rev <= 2; rev++ {
		req := svnrepos.ReportRequest{Rev: 2, Anchor: "/", TextDeltas: true, Depth: svn.DepthInfinity}
		ed, err := run(t, &svnrepos.Repository{FS: fs}, 0, req, say{"", "", 0, svn.DepthInfinity, false})
		if err != nil {
			t.Fatal(err)
		}
		node := ed.root.kids[map[svn.Revnum]string{1: "g", 2: "f"}[rev]]
		props, err := fs.RevProps(rev)
		if err != nil {
			t.Fatal(err)
		}
		want := svn.Props{
			"svn:entry:committed-rev": fmt.Sprint(rev), "svn:entry:committed-date": props[svn.PropDate], "svn:entry:uuid": fs.UUID(),
		}
		if !maps.Equal(node.entry, want) {
			t.Errorf("revision %d: got %v, want %v", rev, node.entry, want)
		}
	}
}

// TestReportWithoutTexts has a handler closed that no window was given to.
func TestReportWithoutTexts(t *testing.T) {
	fs := build(t, "put /f 1", "put /f 2")
	ed, err := run(t, &svnrepos.Repository{FS: fs}, 1, svnrepos.ReportRequest{Rev: 2, Anchor: "/", Depth: svn.DepthUnknown},
		say{"", "", 1, svn.DepthInfinity, false})
	if err == nil {
		t.Fatal("the client's checksum was right, without a text")
	}
	if got := strings.Join(ed.log, "|"); got != "U f|text" {
		t.Errorf("got %s", got)
	}
}

// TestReportSpools reports more than is kept in memory.
func TestReportSpools(t *testing.T) {
	fs := build(t, "mkdir /d; put /d/f 1", "put /d/f 2")
	says := []say{{"", "", 1, svn.DepthInfinity, false}}
	for i := range 4000 {
		says = append(says, say{fmt.Sprintf("a%06d%s", i, strings.Repeat("x", 300)), "", 1, svn.DepthExclude, false})
	}
	says = append(says, say{"d/f", "", 2, svn.DepthInfinity, false}, say{"e", "", 1, svn.DepthExclude, false})
	ed, err := run(t, &svnrepos.Repository{FS: fs}, 1, svnrepos.ReportRequest{Rev: 2, Anchor: "/", TextDeltas: true, Depth: svn.DepthUnknown}, says...)
	if err != nil {
		t.Fatal(err)
	}
	if got := operations(ed); got != "U d/" {
		t.Errorf("got %s: what was reported last was not heard", got)
	}
}

// TestReportsTogether has more large reports than the disk is to hold, until one ends.
func TestReportsTogether(t *testing.T) {
	svnrepos.BoundReports(t, 3<<20)
	repo := &svnrepos.Repository{FS: build(t, "mkdir /d")}
	name := strings.Repeat("x", 10_000)
	begin := func() (*svnrepos.Report, error) {
		report, err := repo.BeginReport(svnrepos.ReportRequest{Rev: 1, Anchor: "/"}, &wcEditor{})
		for range 220 {
			err = errors.Join(err, report.SetPath(name, 1, svn.DepthInfinity, false, ""))
		}
		return report, err
	}
	first, err := begin()
	if err != nil {
		t.Fatal(err)
	}
	second, err := begin()
	if !errors.Is(err, svn.ErrReposBadRevisionReport) {
		t.Errorf("got %v", err)
	}
	second.Abort()
	first.Abort()
	third, err := begin()
	if err != nil {
		t.Errorf("after the others: %v", err)
	}
	third.Abort()
}
