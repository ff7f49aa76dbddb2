package object_test

import (
	"bytes"
	"errors"
	"fmt"
	"hash"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/storage/object"
)

var sameID = cmp.Comparer(func(a, b object.ID) bool { return a == b })

func mustID(t testing.TB, s string) object.ID {
	t.Helper()
	id, err := object.ParseID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

const (
	hexA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	hexB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	hexC = "cccccccccccccccccccccccccccccccccccccccc"
)

// tree makes a tree's content of lines "mode name"; every entry has the id hexA.
func tree(lines ...string) []byte {
	var b bytes.Buffer
	for _, l := range lines {
		b.WriteString(l + "\x00" + strings.Repeat("\xaa", 20))
	}
	return b.Bytes()
}

func TestHashObject(t *testing.T) {
	for _, row := range []struct {
		f    object.Format
		typ  object.Type
		data string
		want string
	}{
		{object.SHA1, object.Tree, "", "4b825dc642cb6eb9a060e54bf8d69288fbee4904"},
		{object.SHA1, object.Blob, "", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"},
		{object.SHA1, object.Blob, "hello\n", "ce013625030ba8dba906f756967f9e9ca394464a"},
		{object.SHA256, object.Tree, "", "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321"},
	} {
		if got := object.HashObject(row.f, row.typ, []byte(row.data)); got.String() != row.want {
			t.Errorf("HashObject(%s, %s, %q) = %s, want %s", row.f, row.typ, row.data, got, row.want)
		}
		h := object.NewHasher(row.f)
		for range 2 {
			if got, err := h.Hash(row.typ, []byte(row.data)); err != nil || got.String() != row.want {
				t.Errorf("Hash(%s, %q) = %s, %v", row.typ, row.data, got, err)
			}
		}
	}
}

// attacked claims that all it hashed attacks SHA-1.
type attacked struct{ hash.Hash }

func (a attacked) CollisionResistantSum(b []byte) ([]byte, bool) { return a.Sum(b), true }

func TestSumReportsCollisions(t *testing.T) {
	if _, err := object.Sum(object.SHA1, attacked{object.SHA1.New()}); !errors.Is(err, object.ErrCollision) {
		t.Errorf("got %v, want ErrCollision", err)
	}
	if _, ok := object.SHA1.New().(interface {
		CollisionResistantSum([]byte) ([]byte, bool)
	}); !ok {
		t.Error("the hash for SHA-1 detects no collisions")
	}
}

func TestTreeEntries(t *testing.T) {
	data := tree("100644 a", "40000 b", "160000 sub", "120000 z")
	var got []string
	for e, err := range object.TreeEntries(object.SHA1, data) {
		if err != nil {
			t.Fatal(err)
		}
		l, ok := e.Link()
		got = append(got, fmt.Sprintf("%o %s %s %s %t", e.Mode, e.Name, e.ID, l.Type, ok))
	}
	want := []string{
		"100644 a " + hexA + " blob true", "40000 b " + hexA + " tree true", "160000 sub " + hexA + " type(0) false",
		"120000 z " + hexA + " blob true",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for n := 1; n < len(data); n++ {
		var err error
		for _, err = range object.TreeEntries(object.SHA1, data[:n]) {
			if err != nil {
				break
			}
		}
		if whole := n == 29 || n == 57 || n == 88; err == nil && !whole {
			t.Errorf("the first %d bytes of a tree are taken for a tree", n)
		}
	}
}

const ident = "A U Thor <a@example.org> 1700000000 +0100\n"

func TestParseCommit(t *testing.T) {
	data := "tree " + hexA + "\nparent " + hexB + "\nparent " + hexC + "\nauthor " + ident + "committer C <c@d> 1700000001 +0200\n\nmessage\n"
	got, err := object.ParseCommit(object.SHA1, []byte(data))
	want := object.CommitInfo{Tree: mustID(t, hexA), Parents: []object.ID{mustID(t, hexB), mustID(t, hexC)}, Time: 1700000001}
	if diff := cmp.Diff(want, got, sameID); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	var links []object.Link
	if err := object.Links(object.SHA1, object.Commit, []byte(data), func(l object.Link) { links = append(links, l) }); err != nil {
		t.Fatal(err)
	}
	wantLinks := []object.Link{{ID: want.Tree, Type: object.Tree}, {ID: want.Parents[0], Type: object.Commit}, {ID: want.Parents[1], Type: object.Commit}}
	if diff := cmp.Diff(wantLinks, links, sameID); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"", "tree " + hexA, "tree " + hexA[1:] + "\n", "parent " + hexA + "\n", "tree " + hexA + "\nparent x\n"} {
		if _, err := object.ParseCommit(object.SHA1, []byte(bad)); err == nil {
			t.Errorf("%q is taken for a commit", bad)
		}
	}
	for line, want := range map[string]int64{
		"committer C <c@d> 17 +0200\n": 17, "committer C\n": 0, "committer C <c> x\n": 0, "": 0, "committer C <c> > 5 +0000\n": 5,
		"\ncommitter C <c@d> 17 +0200\n": 0,
	} {
		if got, err := object.ParseCommit(object.SHA1, []byte("tree "+hexA+"\n"+line)); err != nil || got.Time != want {
			t.Errorf("%q: time %d, %v, want %d", line, got.Time, err, want)
		}
	}
}

func TestPeelTag(t *testing.T) {
	data := "object " + hexA + "\ntype commit\ntag v1\ntagger " + ident + "\nmessage\n"
	got, err := object.PeelTag(object.SHA1, []byte(data))
	if want := (object.Link{ID: mustID(t, hexA), Type: object.Commit}); err != nil || got != want {
		t.Errorf("PeelTag = %v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{"", "object " + hexA + "\n", "object " + hexA + "\ntype thing\n", "object x\ntype commit\n"} {
		if _, err := object.PeelTag(object.SHA1, []byte(bad)); err == nil {
			t.Errorf("%q is taken for a tag", bad)
		}
	}
}

func TestLinksMalformed(t *testing.T) {
	for _, typ := range []object.Type{object.Commit, object.Tree, object.Tag, 0, 5} {
		if err := object.Links(object.SHA1, typ, []byte("malformed"), func(object.Link) {}); err == nil {
			t.Errorf("%s: no error", typ)
		}
	}
	if err := object.Links(object.SHA1, object.Blob, []byte("any"), func(object.Link) { t.Error("a blob has a link") }); err != nil {
		t.Error(err)
	}
}

// fsckCase is an object, what is wrong with it, and whether git only warns of it.
type fsckCase struct {
	typ  object.Type
	data string
	want string // git's message id; "" for a good object
	warn bool   // refused only if strict
	newr bool   // git 2.39 is not asked: it does not know it yet, or says more
}

func fsckCases() []fsckCase {
	head := "tree " + hexA + "\n"
	authors := "author " + ident + "committer " + ident
	commit := func(author string) string { return head + "author " + author + "\ncommitter " + ident + "\nmessage\n" }
	tag := func(s string) string { return "object " + hexA + "\ntype commit\ntag v1\n" + s }
	var cases []fsckCase
	add := func(t object.Type, want string, data ...string) {
		for _, d := range data {
			cases = append(cases, fsckCase{typ: t, data: d, want: want})
		}
	}
	trees := func(want string, lines ...string) { add(object.Tree, want, string(tree(lines...))) }
	warn := func() { cases[len(cases)-1].warn = true }

	add(object.Commit, "", head+authors+"\nmessage\n", head+authors, head+"parent "+hexB+"\n"+authors+"\n",
		head+authors+"encoding latin1\ngpgsig x\n y\n\nm")
	add(object.Commit, "unterminatedHeader", "", "tree "+hexA, head+authors[:len(authors)-1])
	add(object.Commit, "nulInHeader", head+"\x00"+authors+"\n")
	add(object.Commit, "missingTree", authors, "tre "+hexA+"\n"+authors)
	add(object.Commit, "badTreeSha1", "tree "+hexA+"x\n"+authors, "tree "+hexA[1:]+"\n"+authors)
	add(object.Commit, "badParentSha1", head+"parent x\n"+authors)
	add(object.Commit, "missingAuthor", head+"committer "+ident)
	add(object.Commit, "multipleAuthors", head+"author "+ident+authors)
	add(object.Commit, "missingCommitter", head+"author "+ident, head+"author "+ident+"\ncommitter "+ident)
	add(object.Commit, "missingNameBeforeEmail", commit("<a@b> 1 +0000"))
	add(object.Commit, "missingEmail", commit("A U Thor"), commit(""))
	add(object.Commit, "badName", commit("A > Thor <a@b> 1 +0000"))
	add(object.Commit, "missingSpaceBeforeEmail", commit("A<a@b> 1 +0000"))
	add(object.Commit, "badEmail", commit("A <a@b"), commit("A <a<b> 1 +0000"))
	add(object.Commit, "missingSpaceBeforeDate", commit("A <a@b>1 +0000"), commit("A <a@b>"))
	add(object.Commit, "badDate", commit("A <a@b> x +0000"), commit("A <a@b> "), commit("A <a@b> 1"), commit("A <a@b> 1x +0000"))
	add(object.Commit, "zeroPaddedDate", commit("A <a@b> 01 +0000"))
	add(object.Commit, "badDateOverflow", commit("A <a@b> 18446744073709551615 +0000"), commit("A <a@b> 99999999999999999999999 +0000"))
	add(object.Commit, "badTimezone", commit("A <a@b> 1 0000"), commit("A <a@b> 1 +000"), commit("A <a@b> 1 +00000"), commit("A <a@b> 1 "))
	add(object.Commit, "", commit("A <> 0 +0000"), commit("A <a@b> \t 1 -9999"), commit(" <a@b> 1 +0000"))
	add(object.Commit, "nulInCommit", head+authors+"\nmess\x00age\n")
	warn()

	add(object.Tag, "", tag("tagger "+ident+"\nm\n"), tag("\nno tagger\n"), tag("tagger "+ident), tag("tagger "+ident+"extra header\n\nm"),
		"object "+hexA+"\ntype tree\ntag bad..name\ntagger "+ident+"\n")
	add(object.Tag, "unterminatedHeader", "object "+hexA)
	add(object.Tag, "nulInHeader", "object "+hexA+"\ntype \x00commit\n\n")
	add(object.Tag, "missingObject", "objects "+hexA+"\n\n")
	add(object.Tag, "badObjectSha1", "object x\n\n")
	add(object.Tag, "missingTypeEntry", "object "+hexA+"\nkind commit\n\n")
	add(object.Tag, "badType", "object "+hexA+"\ntype thing\ntag v1\n\n")
	add(object.Tag, "missingTagEntry", "object "+hexA+"\ntype commit\nname v1\n\n")
	add(object.Tag, "missingTag", "object "+hexA+"\ntype tree\ntag \n")
	add(object.Tag, "", "object "+hexA+"\ntype tree\ntag x\n")
	add(object.Tag, "badTimezone", tag("tagger A <a@b> 1 x\n\n"))

	trees("")
	trees("", "100644 a", "100755 b", "120000 c", "160000 d", "40000 e")
	trees("", "100644 a.c", "40000 a", "100644 a0")
	trees("", "100664 a", "100600 b", "0100644 c"[1:])
	trees("", "100644 .gi", "100644 .gitx", "100644 git", "100644 git~2")
	trees("", "100644 .gitattributes", "100644 .gitignore", "100644 .gitmodules")
	cases[len(cases)-1].newr = true // git misses the blobs
	trees("", "120000 .gitattributes", "120000 .gitignore")
	trees("zeroPaddedFilemode", "040000 a")
	warn()
	trees("largePathname", "100644 "+strings.Repeat("x", 4097))
	warn()
	cases[len(cases)-1].newr = true
	add(object.Tree, "badTree", "100644 a", "100644 a\x00short", "100644 \x00"+strings.Repeat("\xaa", 20), "1o0644 a\x00"+strings.Repeat("\xaa", 20),
		string(tree("100644 a"))+"x", " a\x00"+strings.Repeat("\xaa", 20))
	add(object.Tree, "nullSha1", "100644 a\x00"+strings.Repeat("\x00", 20), "160000 a\x00"+strings.Repeat("\x00", 20))
	trees("fullPathname", "100644 a/b")
	trees("hasDot", "40000 .")
	trees("hasDotdot", "40000 ..")
	for _, name := range []string{
		".git", ".GIT", ".gIt ", ".git.", ".git . .", ".git::$INDEX_ALLOCATION", "git~1", "GIT~1", "git~1 .", ".g\u200cit", "\u200d.git",
		".git\ufeff", "a\\.git", "a\\git~1", ".git\\x",
	} {
		trees("hasDotgit", "40000 "+name)
	}
	for _, name := range []string{".gitmodules", ".GitModules", ".gitmodules ", "gitmod~1", "GITMOD~4", "gi7eba~1", "gi7eb~10", "gi~12345", ".git\u200cmodules"} {
		trees("gitmodulesSymlink", "120000 "+name)
	}
	trees("", "120000 .gitmodule", "120000 gi7eba~0", "120000 gitmodules", "120000 gitmod~5")
	trees("duplicateEntries", "100644 a", "100644 a")
	trees("duplicateEntries", "100644 a", "40000 a")
	trees("duplicateEntries", "100644 foo", "100644 foo.bar", "100644 foo.bar.baz", "40000 foo.bar", "40000 foo")
	trees("duplicateEntries", "100644 foo", "100644 foo.bar", "40000 foo")
	trees("treeNotSorted", "100644 b", "100644 a")
	trees("treeNotSorted", "40000 a", "100644 a.c")
	return cases
}

func TestFsck(t *testing.T) {
	for _, c := range fsckCases() {
		for _, strict := range []bool{false, true} {
			want := c.want
			if c.warn && !strict {
				want = ""
			}
			err := object.Fsck(object.SHA1, c.typ, []byte(c.data), object.FsckOptions{Strict: strict})
			if got := msgID(err); got != want {
				t.Errorf("%s %q, strict %t: %v, want %q", c.typ, c.data, strict, err, want)
			}
		}
	}
}

func msgID(err error) string {
	var fault *object.FsckError
	if errors.As(err, &fault) {
		return fault.MsgID
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// TestFsckAgreesWithGit shows every object to the real git. Its index-pack refuses warnings as well.
func TestFsckAgreesWithGit(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	dir := t.TempDir()
	if out, err := exec.Command("git", "init", "-q", "--bare", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, c := range fsckCases() {
		if c.newr || c.data == "" && c.typ != object.Tree {
			continue
		}
		cmd := exec.Command("git", "index-pack", "--fsck-objects", "--stdin")
		cmd.Dir = dir
		cmd.Stdin = bytes.NewReader(onePack(c.typ, []byte(c.data)))
		out, err := cmd.CombinedOutput()
		if (err != nil) != (c.want != "") {
			t.Errorf("%s %q: git says %s, we say %q", c.typ, c.data, out, c.want)
		}
		if known := strings.Contains(string(out), "error: object"); known && c.want != "" && !strings.Contains(string(out), ": "+c.want+":") {
			t.Errorf("%s %q: git says %s, we say %q", c.typ, c.data, out, c.want)
		}
	}
}
