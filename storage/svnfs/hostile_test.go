package svnfs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"holdfast/storage"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// reopen opens the filesystem anew, as another process would.
func (w *world) reopen() {
	w.t.Helper()
	w.release()
	if err := w.reg.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.openFS()
}

func (w *world) head() storage.Seq {
	w.t.Helper()
	seq, _, err := w.store.Head()
	if err != nil {
		w.t.Fatal(err)
	}
	return seq
}

func (w *world) setRevProp(rev svn.Revnum, name, value string) error {
	_, err := w.fs.ChangeRevProp(context.Background(), svnfs.Direct, w.meta(), rev, name, nil, &value)
	return err
}

func (w *world) revProp(rev svn.Revnum, name string) string {
	w.t.Helper()
	props, err := w.fs.RevProps(rev)
	if err != nil {
		w.t.Fatal(err)
	}
	return props[name]
}

// TestIndexCannotBeWritten has a disk that takes no more of svn.db. What is in the journal is made, and seen; what is refused is not in
// the journal.
func TestIndexCannotBeWritten(t *testing.T) {
	w := newWorld(t)
	w.commit("put /f 1")
	w.fs.LimitIndex(1)
	value, refused := "", 0
	for i := range 600 {
		next, before := fmt.Sprint(i, strings.Repeat("x", 1<<10)), w.head()
		err := w.setRevProp(svn.Revnum(i%2), fmt.Sprint(i), next)
		switch made := w.head() > before; {
		case made && err != nil:
			t.Fatalf("edit %d is in the journal, and failed: %v", i, err)
		case made:
			value = next
			if got := w.revProp(svn.Revnum(i%2), fmt.Sprint(i)); got != value {
				t.Fatalf("edit %d is not seen: %q", i, got)
			}
		case err == nil:
			t.Fatalf("edit %d is not in the journal", i)
		default:
			refused++
		}
	}
	if refused == 0 {
		t.Error("all edits were made: they fill the memory")
	}
	w.fs.LimitIndex(0)
	if err := w.setRevProp(1, "last", "yes"); err != nil {
		t.Error(err)
	}
	w.reopen()
	if got := w.revProp(1, "last"); got != "yes" {
		t.Errorf("after all: %q", got)
	}
	if err := w.fs.VerifyIndex(); err != nil {
		t.Error(err)
	}
}

// openFiles returns what files below a directory this process has open.
func openFiles(t *testing.T, dir string) (open []string) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil || len(fds) == 0 {
		t.Skip("no /proc")
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, dir) {
			open = append(open, to)
		}
	}
	return open
}

// TestAbortClosesSources gives transactions up in the middle of a large text's delta: the pack that the old text is read from must not
// stay open.
func TestAbortClosesSources(t *testing.T) {
	w := newWorld(t)
	random := make([]byte, 2<<20)
	rand.NewChaCha8([32]byte{}).Read(random)
	w.commit("put /big " + string(random))
	txn := w.begin(1)
	if _, err := txn.ApplyTextDelta("/big", ""); err != nil {
		t.Fatal(err)
	}
	txn.Abort()
	w.release()
	w.reg.Close()
	w.store.Close()
	if open := openFiles(t, w.dir); len(open) > 0 {
		t.Errorf("still open: %q", open)
	}
}

// TestOddUUID gives the repository uuids that a dump may have. As in Subversion, those that are none are refused; after the others it can
// be committed to.
func TestOddUUID(t *testing.T) {
	for _, uuid := range []string{"a>b <c", "\x00\r\t", "ü\xff", " ", "6F2C1C1A-0000-4000-8000-00000000000Z", "6F2C1C1A-0000-4000-8000-000000000001\n",
		"6F2C1C1A-0000-4000-8000-00000000000a"} {
		w := newWorld(t)
		w.commit("mkdir /trunk", "put /trunk/f 1")
		_, err := w.fs.SetUUID(context.Background(), svnfs.Direct, w.meta(), uuid)
		if good := len(uuid) == 36 && uuid[35] == 'a'; good != (err == nil) || !good && svn.CodeOf(err) != svn.ErrBadUUID {
			t.Errorf("%q: %v", uuid, err)
		}
		if _, err := w.try(w.begin(1, "put /trunk/f 2")); err != nil {
			t.Errorf("after %q: %v", uuid, err)
		}
		w.loseIndex()
		if got := w.fs.UUID(); err == nil && got != uuid {
			t.Errorf("%q became %q", uuid, got)
		}
	}
}

// TestOddRevProps sets revision properties with names and values of any bytes: what is taken is as it was after a restart.
func TestOddRevProps(t *testing.T) {
	w := newWorld(t)
	w.commit("mkdir /a")
	taken := svn.Props{}
	for _, name := range []string{"ok", "\xff", "a\nb", "\x00", "ü", "a<&>b", strings.Repeat("n", 70_000)} {
		if err := w.setRevProp(1, name, name); err == nil {
			taken[name] = name
		} else if utf8.ValidString(name) {
			t.Errorf("%.20q is refused: %v", name, err)
		}
	}
	check := func() {
		t.Helper()
		for name, value := range taken {
			if got := w.revProp(1, name); got != value {
				t.Errorf("%.20q is %.20q", name, got)
			}
		}
		if err := w.fs.VerifyIndex(); err != nil {
			t.Error(err)
		}
	}
	check()
	w.reopen()
	check()
	w.loseIndex()
	check()
}

// TestOddLogs commits what authors, dates and messages may be: before 1970, after 9999, no date at all, not in UTF-8.
func TestOddLogs(t *testing.T) {
	w := newWorld(t)
	w.commit("mkdir /trunk")
	for _, value := range []string{
		"", "\xff\xfe", "a\x00b", "<", "a>b", "\n", "\r\n", " \u2028 ", "1969-12-31T23:59:59.999999Z", "0001-01-01T00:00:00.000000Z", "-100",
		"9999-12-31T23:59:59.999999Z", "10000-01-01T00:00:00.000000Z", "2026-13-01T00:00:00.000000Z", strings.Repeat("long ", 1<<16),
	} {
		txn, err := w.fs.Begin(w.fs.Youngest(), svnfs.TxnOptions{KeepDate: true,
			Props: svn.Props{svn.PropAuthor: value, svn.PropDate: value, svn.PropLog: value, value: value}})
		if err != nil {
			t.Fatal(err)
		}
		if err := edit(w, txn, "put /trunk/f "+fmt.Sprint(w.fs.Youngest())); err != nil {
			t.Fatal(err)
		}
		rev, err := w.try(txn)
		if err != nil {
			t.Errorf("%.20q: %v", value, err)
			continue
		}
		if props, err := w.fs.RevProps(rev); err != nil || props[svn.PropLog] != value || props[svn.PropDate] != value {
			t.Errorf("%.20q became %.20q, %v", value, props[svn.PropLog], err)
		}
	}
	w.loseIndex()
	if err := w.fs.Verify(context.Background(), 0, w.fs.Youngest(), nil); err != nil {
		t.Error(err)
	}
	w.fs.DatedRev(w.clock)
}

// A bomb is a delta of a few bytes that makes a long text: the limit for an object must hold while it is written, not only once all of it
// is on the disk.
func TestBomb(t *testing.T) {
	w := newWorldWith(t, storage.Options{NoSync: true, MaxObjectBytes: 1 << 20})
	w.commit("put /f 1")
	txn := w.begin(1)
	h, err := txn.ApplyTextDelta("/f", "")
	if err != nil {
		t.Fatal(err)
	}
	window := &svn.Window{TargetLen: svn.MaxWindow, NewData: []byte("x"),
		Ops: []svn.Op{{Action: svn.FromNew, Len: 1}, {Action: svn.FromTarget, Len: svn.MaxWindow - 1}}}
	for n := 0; ; n += svn.MaxWindow {
		if err := h.Window(window); errors.Is(err, storage.ErrTooLarge) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if n > 2<<20 {
			t.Fatal("there is no end to it")
		}
	}
	txn.Abort()
	w.commitSilently("put /f " + strings.Repeat("x", 1<<20))
}

// commitSilently commits without a message.
func (w *world) commitSilently(edits ...string) {
	w.t.Helper()
	txn := w.begin(w.fs.Youngest(), edits...)
	txn.SetProp(svn.PropLog, nil)
	if _, err := w.try(txn); err != nil {
		w.t.Fatal(err)
	}
}

// TestTooLargeToRead sets a property that is larger than what can be held in memory: who could not read it again could not mend it.
func TestTooLargeToRead(t *testing.T) {
	w := newWorldWith(t, storage.Options{NoSync: true, MaxReadBytes: 100 << 10})
	w.commit("put /f 1")
	long := strings.Repeat("x", 200<<10)
	if _, err := w.try(w.begin(1, "set /f long "+long)); !errors.Is(err, storage.ErrTooLarge) {
		t.Error(err)
	}
	txn, err := w.fs.Begin(1, svnfs.TxnOptions{Props: svn.Props{svn.PropLog: long}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.try(txn); !errors.Is(err, storage.ErrTooLarge) {
		t.Error(err)
	}
	w.commitSilently("set /f short x", "put /f "+long)
	w.loseIndex()
	if err := w.fs.Verify(context.Background(), 0, w.fs.Youngest(), nil); err != nil {
		t.Error(err)
	}
}

// TestIndexOutlivesTheSystem opens the repository while the system does not let svn.db be opened. The loop of links stands for too many
// open files: what is there must not be taken for broken, and be removed.
func TestIndexOutlivesTheSystem(t *testing.T) {
	w := newWorld(t)
	w.release()
	w.reg.Close()
	path := w.repo.SidePath("svn.db")
	if err := errors.Join(os.Rename(path, path+".away"), os.Symlink("svn.db", path)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := svnfs.NewRegistry(0).Open(w.repo); !errors.Is(err, syscall.ELOOP) {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("it was removed: %v", err)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	w.openFS()
}

// TestIndexBroken has files in the place of svn.db that are none, and some that are cut off.
func TestIndexBroken(t *testing.T) {
	w := newWorld(t)
	w.commit("put /f 1")
	w.reopen()
	path := w.repo.SidePath("svn.db")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"empty": {}, "short": whole[:100], "one page": whole[:4096], "text": []byte(strings.Repeat("no database\n", 10_000)),
		"zeros": make([]byte, len(whole)), "no metas": append(make([]byte, 8192), whole[8192:]...),
	} {
		w.release()
		w.reg.Close()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		w.openFS()
		if got := w.revProp(1, svn.PropAuthor); got != "alice" {
			t.Errorf("%s: %q", name, got)
		}
		if err := w.fs.VerifyIndex(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestChangesBelow has changes below a directory that goes away in the same transaction.
func TestChangesBelow(t *testing.T) {
	w := newWorld(t)
	w.commit("mkdir /a", "mkdir /a/d", "put /a/d/f 1", "put /a/g 1", "mkdir /b", "put /ab 1")
	for _, c := range []struct {
		edits []string
		want  string
	}{
		{[]string{"put /a/d/f 2", "put /a/g 2", "put /ab 2", "rm /a"}, "D /a, M /ab"},
		{[]string{"put /a/d/f 2", "rm /a/d", "put /a/g 2"}, "D /a/d, M /a/g"},
		{[]string{"mkdir /n", "put /n/f 1", "put /nf 1", "rm /n"}, "A /nf"},
		{[]string{"put /a/d/f 2", "cp 1 /b /a"}, "R /a"},
		{[]string{"put /a/d/f 2", "cp 1 /ab /a"}, "R /a"},
		{[]string{"put /a/d/f 2", "rm /a", "cp 1 /a /a", "put /a/g 3"}, "R /a, M /a/g"},
		{[]string{"cp 1 /a /c", "put /c/d/f 2", "rm /c/d", "mkdir /c/d"}, "A /c, R /c/d"},
		{[]string{"cp 1 /a /c", "put /c/d/f 2", "rm /c"}, ""},
		{[]string{"rm /a/d", "mkdir /a/d", "put /a/d/x 1", "rm /a/d"}, "D /a/d"},
		{[]string{"rm /a/d/f", "rm /a/d", "put /a/d 1"}, "R /a/d"},
	} {
		var got []string
		for _, change := range w.begin(1, c.edits...).Changes() {
			got = append(got, string(change.Action)+" "+change.Path)
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%q: %s, want %s", c.edits, s, c.want)
		}
	}
}

// TestOddNames has entries with names that git, a ref or a file system would not have: what cannot be shown is left out of the view, and
// nothing fails.
func TestOddNames(t *testing.T) {
	names := []string{
		".git", ".GIT", "git~1", ".git ", ".git.", ".gi\u200ct", "..\\x", "a\\b", "-x", "@", "@{x", "a..b", ".x", "x.", "x.lock", "x.lock.lock", "%41", "%", "a b",
		"a~b", "a^b", "a:b", "a?b", "a*b", "a[b", "\u00a0", "\u2028", "é", "e\u0301", "\u202e", "\ufeff", "a\x7fb", "\x01", "\t", "HEAD", "refs", "Con", "nul.txt",
		"trunk", "Trunk", ".gitmodules", ".gitattributes", ".gitignore", ".mailmap", strings.Repeat("n", 200), strings.Repeat("ü", 4000), "…", "🦊", "\u0000",
	}
	w := newWorld(t)
	w.commit("mkdir /trunk", "mkdir /branches", "mkdir /tags", "put /trunk/f 1")
	for _, name := range names {
		for _, dir := range []string{"/trunk/", "/trunk/sub", "/branches/", "/tags/"} {
			txn := w.begin(w.fs.Youngest())
			path := dir + name
			var err error
			switch dir {
			case "/trunk/":
				if err = txn.MakeFile(path); err == nil {
					out, _ := txn.ApplyText(path)
					io.WriteString(out, "[submodule \"../x\"]\n\tpath = -x\n\turl = -y\n")
					err = out.Close()
				}
			case "/trunk/sub":
				err = txn.MakeDir(path)
			default:
				err = txn.Copy(w.root(w.fs.Youngest()), "/trunk", path)
			}
			if err != nil {
				t.Errorf("%.30q: %v", path, err)
			} else if rev, err := w.try(txn); err != nil {
				t.Errorf("%.30q: %v", path, err)
			} else if kind, err := w.root(rev).Kind(path); err != nil || kind == svn.None {
				t.Errorf("%.30q is not there: %v", path, err)
			}
			txn.Abort()
		}
	}
	w.gitCopy() // and git finds nothing amiss
	before := w.picture()
	w.loseIndex()
	if w.picture() != before {
		t.Error("without svn.db it is another")
	}
	if err := w.fs.Verify(context.Background(), 0, w.fs.Youngest(), nil); err != nil {
		t.Error(err)
	}
	txn := w.begin(w.fs.Youngest())
	for _, name := range names {
		for _, dir := range []string{"/trunk/", "/branches/", "/tags/"} {
			if err := txn.Delete(dir + name); err != nil {
				t.Errorf("%.30q: %v", dir+name, err)
			}
		}
	}
	if _, err := w.try(txn); err != nil {
		t.Error(err)
	}
}

// TestDeepCopies nests directories deeper than any path leads, by copies that cost little. To show them to git must not take the stack.
func TestDeepCopies(t *testing.T) {
	const half = 20
	t.Cleanup(func(before int) func() { return func() { svnfs.SetMaxLevels(before) } }(svnfs.SetMaxLevels(2 * half)))
	w := newWorld(t)
	var edits []string
	path := ""
	for range half - 1 {
		path += "/a"
		edits = append(edits, "mkdir "+path)
	}
	w.commit(append(edits, "put "+path+"/f x")...)
	w.commit("cp 1 /a " + path + "/a")
	w.commit("cp 2 /a " + path + "/A") // too deep, but what is below A is known
	w.loseIndex()                      // and now it is not
	if _, err := w.try(w.begin(3, "cp 3 /a /d")); svn.CodeOf(err) != svn.ErrFSPathSyntax {
		t.Errorf("a copy of what is nested too deep: %v", err)
	}
	w.commit("cp 2 /a /e")
}
