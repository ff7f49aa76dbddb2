package svnrepos_test

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"strings"
	"testing"

	"holdfast/server/svnrepos"
	"holdfast/storage"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// rights are of one client: all, but for what is listed, with what is below.
type rights struct {
	unreadable, unwritable []string
	nothing                bool
}

func (a rights) AllowsSomewhere(svnrepos.Op) bool { return !a.nothing }

func (a rights) Allows(path string, op svnrepos.Op) bool {
	hidden := a.unreadable
	if op == svnrepos.Write || op == svnrepos.WriteTree {
		hidden = append(hidden, a.unwritable...)
	}
	for _, p := range hidden {
		_, below := svn.Rel(p, path)
		_, above := svn.Rel(path, p)
		if below || above && (op == svnrepos.ReadTree || op == svnrepos.WriteTree) {
			return false
		}
	}
	return true
}

func request() svnrepos.CommitRequest {
	return svnrepos.CommitRequest{Base: "/", User: "joe", Committer: svnfs.Direct, Meta: testMeta, RevProps: svn.Props{svn.PropLog: "why"}}
}

// put gives a file a text.
func put(f svn.FileEditor, text string) error {
	h, err := f.ApplyTextDelta("")
	if err != nil {
		return err
	}
	w := &svn.Window{TargetLen: len(text), Ops: []svn.Op{{Action: svn.FromNew, Len: len(text)}}, NewData: []byte(text)}
	if err := h.Window(w); err != nil {
		return err
	}
	if err := h.Close(); err != nil {
		return err
	}
	return f.Close(fmt.Sprintf("%x", md5.Sum([]byte(text))))
}

func addFile(d svn.DirEditor, path, text string) error {
	f, err := d.AddFile(path, nil)
	if err != nil {
		return err
	}
	return put(f, text)
}

// commit runs an edit whose root is opened at base.
func commit(ctx context.Context, r *svnrepos.Repository, req svnrepos.CommitRequest, base svn.Revnum, drive func(svn.DirEditor) error) (svnrepos.CommitInfo, error) {
	e, err := r.CommitEditor(ctx, req)
	if err != nil {
		return svnrepos.CommitInfo{}, err
	}
	defer e.Abort()
	root, err := e.OpenRoot(base)
	if err != nil {
		return svnrepos.CommitInfo{}, err
	}
	if err := drive(root); err != nil {
		return svnrepos.CommitInfo{}, err
	}
	if err := root.Close(); err != nil {
		return svnrepos.CommitInfo{}, err
	}
	err = e.Close()
	return e.Info(), err
}

// twoRevisions makes r1 with /trunk, /trunk/f and /other/g, and r2, which changes f and the properties of /trunk.
func twoRevisions(t *testing.T) *svnfs.FS {
	t.Helper()
	fs := newFS(t)
	r := &svnrepos.Repository{FS: fs}
	steps := []func(svn.DirEditor) error{
		func(root svn.DirEditor) error {
			trunk, err := root.AddDirectory("trunk", nil)
			if err != nil {
				return err
			}
			other, err2 := root.AddDirectory("other", nil)
			if err2 != nil {
				return err2
			}
			return errors.Join(err, addFile(trunk, "trunk/f", "one\n"), addFile(other, "other/g", "g\n"))
		},
		func(root svn.DirEditor) error {
			trunk, err := root.OpenDirectory("trunk", 1)
			if err != nil {
				return err
			}
			f, err := trunk.OpenFile("trunk/f", 1)
			if err != nil {
				return err
			}
			return errors.Join(put(f, "two\n"), trunk.ChangeProp("color", ptr("red")))
		},
	}
	for i, drive := range steps {
		info, err := commit(t.Context(), r, request(), svn.Revnum(i), drive)
		if err != nil || info.Rev != svn.Revnum(i+1) {
			t.Fatalf("r%d: %+v %v", i+1, info, err)
		}
	}
	return fs
}

func ptr(s string) *string { return &s }

func TestCommitInfo(t *testing.T) {
	fs := newFS(t)
	req := request()
	req.RevProps = svn.Props{svn.PropLog: "why", svn.PropAuthor: "somebody", "svn:client-date": "1", "svn:txn-user-agent": "x", "mine": "\xff\r"}
	var seen svn.Props
	req.PreCommit = func(txn *svnfs.Txn) error {
		seen = txn.Props().Clone()
		return nil
	}
	req.PostCommit = func(svn.Revnum) error { return svn.Errorf(svn.ErrReposHookFailure, "the bell is broken") }
	info, err := commit(t.Context(), &svnrepos.Repository{FS: fs}, req, 0, func(d svn.DirEditor) error { return addFile(d, "f", "text") })
	if err != nil {
		t.Fatal(err)
	}
	if info.Rev != 1 || *info.Author != "joe" || info.Date != svn.FormatTime(testMeta().Time) || info.PostCommitErr != "the bell is broken" ||
		info.Entry.Seq == 0 {
		t.Errorf("info %+v", info)
	}
	props, err := fs.RevProps(1)
	if err != nil || len(props) != 4 || props[svn.PropLog] != "why" || props[svn.PropAuthor] != "joe" || props["mine"] != "\xff\r" {
		t.Errorf("properties %q, %v", props, err)
	}
	if seen["svn:txn-user-agent"] != "x" {
		t.Errorf("the hook saw %q", seen)
	}
	if open := fs.Txns(); len(open) != 0 {
		t.Errorf("open transactions %q", open)
	}
}

func TestCommitAnonymous(t *testing.T) {
	req := request()
	req.User = ""
	info, err := commit(t.Context(), &svnrepos.Repository{FS: newFS(t)}, req, 0, func(d svn.DirEditor) error { return addFile(d, "f", "") })
	if err != nil || info.Author != nil {
		t.Errorf("%+v %v", info, err)
	}
}

// open opens /trunk at a revision and goes on there.
func inTrunk(base svn.Revnum, drive func(svn.DirEditor) error) func(svn.DirEditor) error {
	return func(root svn.DirEditor) error {
		trunk, err := root.OpenDirectory("trunk", base)
		if err != nil {
			return err
		}
		return drive(trunk)
	}
}

// theFile opens /trunk/f at a revision.
func theFile(base svn.Revnum, drive func(svn.FileEditor) error) func(svn.DirEditor) error {
	return inTrunk(base, func(d svn.DirEditor) error {
		f, err := d.OpenFile("trunk/f", base)
		if err != nil {
			return err
		}
		return drive(f)
	})
}

func setProp(name, value string) func(svn.DirEditor) error {
	return theFile(2, func(f svn.FileEditor) error { return f.ChangeProp(name, &value) })
}

func addCopy(path string, from svn.CopyFrom) func(svn.DirEditor) error {
	return inTrunk(2, func(d svn.DirEditor) error { _, err := d.AddFile(path, &from); return err })
}

func addDirCopy(path string, from svn.CopyFrom) func(svn.DirEditor) error {
	return func(d svn.DirEditor) error { _, err := d.AddDirectory(path, &from); return err }
}

func TestCommitRefuses(t *testing.T) {
	fs := twoRevisions(t)
	const sum = "00000000000000000000000000000001"
	for _, row := range []struct {
		name  string
		drive func(svn.DirEditor) error
		want  string
	}{
		{"old file", theFile(1, nil), "E160028: File '/trunk/f' is out of date"},
		{"delete an old file", inTrunk(1, func(d svn.DirEditor) error { return d.DeleteEntry("trunk/f", 1) }), "E160028: File '/trunk/f' is out of date"},
		{"delete an old directory", func(d svn.DirEditor) error { return d.DeleteEntry("trunk", 1) }, "E160028: Directory '/trunk' is out of date"},
		{"delete nothing", inTrunk(2, func(d svn.DirEditor) error { return d.DeleteEntry("trunk/x", 2) }), "E160028: '/trunk/x' is out of date"},
		{"old directory", inTrunk(1, func(d svn.DirEditor) error { return d.ChangeProp("a", ptr("b")) }), "E160028: Directory '/trunk' is out of date"},
		{"old root", func(d svn.DirEditor) error { return d.ChangeProp("a", ptr("b")) }, "E160028: Directory '/' is out of date"},
		{"no directory", func(d svn.DirEditor) error { _, err := d.OpenDirectory("x", 1); return err }, "E160016: Path 'x' not present"},
		{"no file", func(d svn.DirEditor) error { _, err := d.OpenFile("x", 1); return err }, "E160013: File not found: transaction '"},
		{"add twice", inTrunk(2, func(d svn.DirEditor) error { return addFile(d, "trunk/f", "") }), "E160020: "},
		{"copy onto a file", addCopy("trunk/f", svn.CopyFrom{Path: "/other/g", Rev: 1}), "E160028: File '/trunk/f' is out of date"},
		{"copy of no revision", addCopy("trunk/x", svn.CopyFrom{Path: "/other/g", Rev: svn.InvalidRevnum}), "E160000: Got source path but no source revision for '/trunk/x'"},
		{"copy of a revision to come", addCopy("trunk/x", svn.CopyFrom{Path: "/other/g", Rev: 9}), "E160006: No such revision 9"},
		{"copy of nothing", addCopy("trunk/x", svn.CopyFrom{Path: "/other/x", Rev: 1}), "E160013: File not found: revision 1, path '/other/x'"},
		{"a revision to come", theFile(9, nil), "E160006: No such revision 9"},
		{"control character", func(d svn.DirEditor) error { return addFile(d, "a\tb", "") }, "E160005: Invalid control character '0x09' in path"},
		{"wrong checksum", theFile(2, func(f svn.FileEditor) error { return f.Close(sum) }),
			"E200014: Checksum mismatch for resulting fulltext\n(/trunk/f):\n   expected:  " + sum + "\n     actual:  "},
		{"no checksum", theFile(2, func(f svn.FileEditor) error { return f.Close("12xy") }), "E125012: "},
		{"wrong base", theFile(2, func(f svn.FileEditor) error { _, err := f.ApplyTextDelta(sum); return err }), "E200014: "},
		{"a client's own property", setProp("svn:wc:x", "1"), "E165002: Storage of non-regular property 'svn:wc:x' is disallowed"},
		{"an entry's property", setProp("svn:entry:x", "1"), "E165002: Storage of non-regular property 'svn:entry:x' is disallowed"},
		{"no UTF-8", setProp("svn:ignore", "\xff"), "E125005: Cannot accept 'svn:ignore' property because it is not encoded in UTF-8"},
		{"line endings", setProp("svn:ignore", "a\r\n"), "E125005: Invalid property value: E125017: Cannot accept non-LF line endings in 'svn:ignore' property"},
		{"mergeinfo", setProp("svn:mergeinfo", "/a:x"), "E200020: Commit rejected because mergeinfo on '/trunk/f' is syntactically invalid: "},
		{"mergeinfo with NUL", setProp("svn:mergeinfo", "/a:1\x00"), "E200020: Commit rejected because mergeinfo on '/trunk/f' contains unexpected string terminator"},
	} {
		base := svn.Revnum(2)
		if row.name == "old root" {
			base = 1
		}
		_, err := commit(t.Context(), &svnrepos.Repository{FS: fs}, request(), base, row.drive)
		if err == nil || !strings.HasPrefix(err.Error(), row.want) {
			t.Errorf("%s: %v, not %s", row.name, err, row.want)
		}
	}
	if fs.Youngest() != 2 || len(fs.Txns()) != 0 {
		t.Errorf("youngest is %d, open are %q", fs.Youngest(), fs.Txns())
	}
}

func TestCommitRefusesToOpen(t *testing.T) {
	fs := twoRevisions(t)
	nothing := func(svn.DirEditor) error { return nil }
	if _, err := commit(t.Context(), &svnrepos.Repository{FS: fs}, request(), 3, nothing); fmt.Sprint(err) != "E160006: No such revision 3 (HEAD is 2)" {
		t.Error(err)
	}
	for name, want := range map[string]string{svn.PropDate: "E125005: Wrong or unexpected property value: ", "svn:log": "E125005: Invalid property value: E125017: "} {
		req := request()
		req.RevProps[name] = "a\nb\r"
		if name == svn.PropDate {
			req.RevProps[name] = "yesterday"
		}
		if _, err := commit(t.Context(), &svnrepos.Repository{FS: fs}, req, 2, nothing); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	e, err := (&svnrepos.Repository{FS: fs}).CommitEditor(t.Context(), request())
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); fmt.Sprint(err) != "E165002: No valid transaction supplied to close_edit" {
		t.Error(err)
	}
}

func TestCommitUnknownChecksum(t *testing.T) {
	zero := strings.Repeat("0", 32)
	drive := theFile(2, func(f svn.FileEditor) error { return errors.Join(f.ChangeProp("a", ptr("b")), f.Close(zero)) })
	if _, err := commit(t.Context(), &svnrepos.Repository{FS: twoRevisions(t)}, request(), 2, drive); err != nil {
		t.Error(err)
	}
}

// A copy may take the place of what came with the copy of its parent, and a file may be put in the place of one that is deleted.
func TestCommitReplaces(t *testing.T) {
	fs := twoRevisions(t)
	_, err := commit(t.Context(), &svnrepos.Repository{FS: fs}, request(), 2, func(root svn.DirEditor) error {
		d, err := root.AddDirectory("branch", &svn.CopyFrom{Path: "/trunk", Rev: 2})
		if err != nil {
			return err
		}
		_, err = d.AddFile("branch/f", &svn.CopyFrom{Path: "/other/g", Rev: 1})
		return errors.Join(err, inTrunk(2, func(d svn.DirEditor) error {
			return errors.Join(d.DeleteEntry("trunk/f", 2), addFile(d, "trunk/f", "new\n"))
		})(root))
	})
	if err != nil {
		t.Fatal(err)
	}
	changes, err := fs.Changes(3)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range changes {
		from := ""
		if c.CopyFrom != nil {
			from = c.CopyFrom.String()
		}
		got = append(got, fmt.Sprintf("%c%s %s", c.Action, c.Path, from))
	}
	if want := "[A/branch /trunk@2 R/branch/f /other/g@1 R/trunk/f ]"; fmt.Sprint(got) != want {
		t.Errorf("%v, not %s", got, want)
	}
}

func TestCommitAccess(t *testing.T) {
	fs := twoRevisions(t)
	const unwritable, unreadable = "E220004: Access denied", "E220001: Access denied"
	for _, row := range []struct {
		name  string
		may   rights
		drive func(svn.DirEditor) error
		want  string
	}{
		{"no text", rights{unwritable: []string{"/trunk/f"}}, theFile(2, func(f svn.FileEditor) error { return put(f, "x") }), unwritable},
		{"no property", rights{unwritable: []string{"/trunk/f"}}, setProp("a", "b"), unwritable},
		{"nothing to do", rights{unwritable: []string{"/trunk/f"}}, theFile(2, func(svn.FileEditor) error { return nil }), ""},
		{"unreadable", rights{unreadable: []string{"/trunk/f"}}, theFile(2, nil), unreadable},
		{"directory's property", rights{unwritable: []string{"/trunk"}}, inTrunk(2, func(d svn.DirEditor) error { return d.ChangeProp("a", ptr("b")) }), unwritable},
		{"add to a directory", rights{unwritable: []string{"/trunk"}}, inTrunk(2, func(d svn.DirEditor) error { return addFile(d, "trunk/x", "") }), unwritable},
		{"add by way of another", rights{unwritable: []string{"/trunk"}}, func(d svn.DirEditor) error { return addFile(d, "trunk/x", "") }, unwritable},
		{"delete below", rights{unwritable: []string{"/trunk/f"}}, func(d svn.DirEditor) error { return d.DeleteEntry("trunk", 2) }, unwritable},
		{"copy onto what is below", rights{unwritable: []string{"/b/x"}}, addDirCopy("b", svn.CopyFrom{Path: "/trunk", Rev: 2}), unwritable},
		{"copy what is below", rights{unreadable: []string{"/trunk/f"}}, addDirCopy("b", svn.CopyFrom{Path: "/trunk", Rev: 2}), unreadable},
		{"copy a directory as a file", rights{unreadable: []string{"/other/g"}}, addCopy("trunk/x", svn.CopyFrom{Path: "/other", Rev: 2}), unreadable},
		{"copy", rights{unreadable: []string{"/other/x"}}, addCopy("trunk/x", svn.CopyFrom{Path: "/other/g", Rev: 2}), ""},
		{"open what is not there", rights{unreadable: []string{"/none"}}, func(d svn.DirEditor) error {
			_, err := d.OpenDirectory("none", 2)
			return err
		}, ""},
		{"no commit at all", rights{nothing: true}, nil, "E220004: Not authorized to open a commit editor."},
	} {
		req := request()
		req.PreCommit = func(*svnfs.Txn) error { return errors.New("enough") }
		_, err := commit(t.Context(), &svnrepos.Repository{FS: fs, Access: row.may}, req, 2, row.drive)
		if want := row.want; want == "" && fmt.Sprint(err) != "enough" || want != "" && fmt.Sprint(err) != want {
			t.Errorf("%s: %v, not %s", row.name, err, want)
		}
	}
	req := request()
	req.LockTokens = map[string]string{"/trunk/f": "x"}
	r := &svnrepos.Repository{FS: fs, Access: rights{unwritable: []string{"/trunk"}}}
	if _, err := commit(t.Context(), r, req, 2, nil); svn.CodeOf(err) != svn.ErrRANotAuthorized {
		t.Error(err)
	}
}

// Two commits of what is not the same are merged; of the same file, the later one is refused.
func TestCommitConflict(t *testing.T) {
	fs := twoRevisions(t)
	r := &svnrepos.Repository{FS: fs}
	change := theFile(2, func(f svn.FileEditor) error { return put(f, "mine\n") })
	first := func(root svn.DirEditor) error {
		if err := change(root); err != nil {
			return err
		}
		for i, drive := range []func(svn.DirEditor) error{
			func(d svn.DirEditor) error { return addFile(d, "new", "") },
			theFile(2, func(f svn.FileEditor) error { return put(f, "theirs\n") }),
		} {
			if info, err := commit(t.Context(), r, request(), 2, drive); err != nil || info.Rev != svn.Revnum(3+i) {
				t.Fatalf("%+v %v", info, err)
			}
		}
		return nil
	}
	if _, err := commit(t.Context(), r, request(), 2, first); svn.CodeOf(err) != svn.ErrFSConflict {
		t.Errorf("conflict: %v", err)
	}
}

func TestCommitContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	committer := committerFunc(func(ctx context.Context) error { return ctx.Err() })
	req := request()
	req.Committer = committer
	if _, err := commit(ctx, &svnrepos.Repository{FS: twoRevisions(t)}, req, 2, func(d svn.DirEditor) error { return addFile(d, "x", "") }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// committerFunc refuses commits.
type committerFunc func(context.Context) error

func (f committerFunc) Commit(ctx context.Context, _ *storage.Repo, _ storage.Meta, _ func(*storage.Txn) error) (storage.Entry, error) {
	return storage.Entry{}, f(ctx)
}
