package svnproto_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"holdfast/server/svnproto"
	"holdfast/storage/svn"
	"holdfast/storage/svn/svndiff"
	"holdfast/storage/svnfs"
)

// begin starts a session of an anonymous client that may write.
func begin(t *testing.T, h *fakeHost) *talk {
	h.anonymous = svnproto.WriteAccess
	k := h.talk(t)
	k.start()
	return k
}

const commitBegin = "( commit ( 3:log ( ) false ( ( 7:svn:log 3:log ) ) ) ) "

// delta is the svndiff of a text against nothing, as a string.
func delta(text string) string {
	var b bytes.Buffer
	h := svndiff.NewEncoder(&b, 1, 5)
	if err := errors.Join(svndiff.Delta(strings.NewReader(""), strings.NewReader(text), h, svndiff.DeltaOptions{}), h.Close()); err != nil {
		panic(err)
	}
	return str(b.String())
}

// addFile is the edit that adds a file.
func addFile(name, text string) string {
	return "( open-root ( ( ) 1:r ) ) ( add-file ( " + str(name) + "1:r 1:f ( ) ) ) ( apply-textdelta ( 1:f ( ) ) ) " +
		"( textdelta-chunk ( 1:f " + delta(text) + ") ) ( textdelta-end ( 1:f ) ) ( close-file ( 1:f ( ) ) ) ( close-dir ( 1:r ) ) "
}

func TestCommit(t *testing.T) {
	h := newHost(t)
	h.settled = "one mirror lags"
	k := begin(t, h)
	k.expect(commitBegin, noAuth, success)
	k.expect(addFile("a", "text")+"( close-edit ( ) ) ", success, noAuth)
	if got := k.read(); !strings.HasPrefix(got, "( 1 ( 27:") || !strings.HasSuffix(got, ") ( ) ( 15:one mirror lags ) )") {
		t.Error(got)
	}
	k.expect("( get-file ( 1:a ( ) false true ) ) ", noAuth, "( success ( ( 32:1cb251ec0d568de6a929b520c4aed8d1 ) 1 ( ) ) )", "4:text", "0:", success)
}

// After an error the rest of an edit is read and thrown away, and the session goes on.
func TestCommitFails(t *testing.T) {
	h := newHost(t)
	k := begin(t, h)
	for _, test := range []struct {
		edit, want string
	}{
		{"( open-root ( ( ) 1:r ) ) ( open-file ( 4:none 1:r 1:f ( 0 ) ) ) ", "160013"},
		{"( open-root ( ( ) 1:r ) ) ( add-file ( 3:a/b 1:r 1:f ( 24:svn://localhost/other/x 1 ) ) ) ", ""},
		{"( open-root ( ( ) 1:r ) ) ( add-file ( 4:../x 1:r 1:f ( ) ) ) ", "160005"},
		{"( open-root ( ( ) 1:r ) ) ( add-file ( 1:x 1:r 1:f ( 23:svn://localhost/other/x 1 ) ) ) ", "Source url 'svn://localhost/other/x' is from different repository"},
		{"( open-root ( ( ) 1:r ) ) ( add-file ( 1:x 1:r 1:f ( ) ) ) ( apply-textdelta ( 1:f ( ) ) ) ( textdelta-chunk ( 1:f 4:SVX\x01 ) ) ", "185000"},
		{"( open-root ( ( ) 1:r ) ) ( frob ( ) ) ", "210001"},
		{"( close-edit ( ) ) ", "165002"},
	} {
		if test.want == "" {
			continue
		}
		k.expect(commitBegin, noAuth, success)
		k.send(test.edit)
		if got := k.read(); !strings.Contains(got, test.want) || !strings.HasPrefix(got, "( failure ") {
			t.Errorf("%s: %s", test.edit, got)
		}
		k.send("( close-file ( 7:unknown ( ) ) ) ( anything ( ( at all ) ) ) ( abort-edit ( ) ) ")
		k.expect("( get-latest-rev ( ) ) ", noAuth, "( success ( 0 ) )")
	}
	if txns := h.fs.Txns(); len(txns) > 0 {
		t.Errorf("open transactions: %v", txns)
	}
}

// A client that has finished the edit before it reads of the error does not abort it.
func TestCommitFailsLate(t *testing.T) {
	k := begin(t, newHost(t))
	k.expect(commitBegin, noAuth, success)
	k.send("( open-root ( ( ) 1:r ) ) ( open-file ( 4:none 1:r 1:f ( 0 ) ) ) ( close-edit ( ) ) ")
	if got := k.read(); !strings.HasPrefix(got, "( failure ( ( 160013 ") {
		t.Error(got)
	}
	k.send("( abort-edit ( ) ) ")
	k.expect("( get-latest-rev ( ) ) ", noAuth, "( success ( 0 ) )")
	k.expect(commitBegin, noAuth, success)
	k.expect("( open-root ( ( ) 1:r ) ) ( abort-edit ( ) ) ", success)
	k.expect("( get-latest-rev ( ) ) ", noAuth, "( success ( 0 ) )")
}

// What makes no sense as an edit ends the session and leaves nothing behind.
func TestCommitMalformed(t *testing.T) {
	for _, edit := range []string{
		"( open-root ( ( ) 1:r ) ) ( close-dir ( 1:x ) ) ",
		"( open-root ( ( ) 1:r ) ) ( close-file ( 1:r ( ) ) ) ",
		"( open-root ( ( ) 1:r ) ) ( add-file ( 1:a 1:r 1:f ( ) ) ) ( add-dir ( 1:b 1:f 1:d ( ) ) ) ",
		"( open-root ( ( ) 1:r ) ) ( add-file ( 1:a 1:r 1:f ( ) ) ) ( textdelta-chunk ( 1:f 4:SVN\x00 ) ) ",
		"( open-root ( ( ) 1:r ) ) ( add-file ( 1:a 1:r 1:f ( ) ) ) ( apply-textdelta ( 1:f ( ) ) ) ( apply-textdelta ( 1:f ( ) ) ) ",
		"( open-root ( 1:r ) ) ",
		"( open-root ( ( ) 1:r ) ) ( delete-entry ( 1:a ) ) ",
		"( finish-replay ( ) ) ",
		"( ( open-root ) ) ",
		"word ",
		"( open-root ( ( ) 2000000:",
	} {
		h := newHost(t)
		k := begin(t, h)
		k.expect(commitBegin, noAuth, success)
		k.send(edit)
		if got := k.read(); !strings.HasPrefix(got, "( failure ( ( 210") {
			t.Errorf("%s: %s", edit, got)
		}
		if err := <-k.done; err == nil {
			t.Errorf("%s: no error", edit)
		}
		if txns := h.fs.Txns(); len(txns) > 0 {
			t.Errorf("%s: open transactions: %v", edit, txns)
		}
	}
}

func TestCommitLimits(t *testing.T) {
	k := begin(t, newHost(t))
	k.expect(commitBegin, noAuth, success)
	for what, piece := range map[string]func(name string) string{
		"files": func(name string) string {
			return "( add-file ( " + name + "1:r 1:f ( ) ) ) ( close-file ( 1:f ( ) ) ) "
		},
		"tokens":     func(name string) string { return "( open-dir ( 1:d 1:r " + name + "( ) ) ) " },
		"properties": func(name string) string { return "( change-dir-prop ( 1:r " + name + "( 1:v ) ) ) " },
		"deletions": func(name string) string {
			return "( add-file ( " + name + "1:r 1:f ( ) ) ) ( delete-entry ( " + name + "( ) 1:r ) ) "
		},
	} {
		k.send("( open-root ( ( ) 1:r ) ) ( add-dir ( 1:d 1:r 1:d ( ) ) ) ")
		for i := range 200 {
			k.send(piece(str(fmt.Sprintf("%0200d", i))))
		}
		if got := k.read(); !strings.Contains(got, "The names and properties of this commit take more than 100000 bytes") {
			t.Errorf("%s: %s", what, got)
		}
		k.send("( abort-edit ( ) ) ")
		k.expect(commitBegin, noAuth, success)
	}
	k.send("( open-root ( ( ) 1:r ) ) ")
	for i := range 65 {
		token := str(fmt.Sprint("t", i))
		k.send(fmt.Sprintf("( add-file ( %s1:r %s( ) ) ) ( apply-textdelta ( %s( ) ) ) ", str(fmt.Sprint("f", i)), token, token))
	}
	if got := k.read(); !strings.Contains(got, "More than 64 texts are under way at once") {
		t.Error(got)
	}
}

// falling hooks panic.
type falling struct{ svnproto.NoHooks }

func (falling) StartCommit(context.Context, svnproto.Client, string, string, svn.Props) error {
	panic("at the disco")
}

// A panic, which listeners survive, leaves no transaction behind.
func TestCommitPanics(t *testing.T) {
	h := newHost(t)
	h.anonymous, h.hooks = svnproto.WriteAccess, falling{}
	in := strings.NewReader(hello + "( ANONYMOUS ( 0: ) ) " + commitBegin + "( open-root ( ( ) 1:r ) ) ")
	func() {
		defer func() {
			if recover() == nil {
				t.Error("there was no panic")
			}
		}()
		t.Error(svnproto.Serve(t.Context(), in, io.Discard, h, svnproto.Options{}))
	}()
	if txns := h.fs.Txns(); len(txns) > 0 {
		t.Errorf("open transactions: %v", txns)
	}
}

// svndiffOf is the svndiff of so many windows that are like one another.
func svndiffOf(windows int, w svn.Window) string {
	var b bytes.Buffer
	h := svndiff.NewEncoder(&b, 0, 0)
	var err error
	for range windows {
		err = errors.Join(err, h.Window(&w))
	}
	if err = errors.Join(err, h.Close()); err != nil {
		panic(err)
	}
	return b.String()
}

// TestCommitBombs has texts that are much larger than what was sent: one, and many. What is copied from an older text is no bomb.
func TestCommitBombs(t *testing.T) {
	k := begin(t, newHost(t))
	const n = svn.MaxWindow
	swell := svn.Window{TargetLen: n, NewData: []byte{0}, Ops: []svn.Op{{Action: svn.FromNew, Len: 1}, {Action: svn.FromTarget, Len: n - 1}}}
	again := svn.Window{SourceLen: n, TargetLen: n, Ops: []svn.Op{{Action: svn.FromSource, Len: n}}}
	file := func(name, from string, windows int, w svn.Window) string {
		return "( add-file ( " + str(name) + "1:r 1:f ( " + from + ") ) ) ( apply-textdelta ( 1:f ( ) ) ) ( textdelta-chunk ( 1:f " +
			str(svndiffOf(windows, w)) + ") ) ( textdelta-end ( 1:f ) ) ( close-file ( 1:f ( ) ) ) "
	}
	edit := func(files ...string) {
		k.expect(commitBegin, noAuth, success)
		k.send("( open-root ( ( ) 1:r ) ) " + strings.Join(files, ""))
	}
	for want, files := range map[string][]string{
		"A text takes more than 600000 bytes":                             {file("a", "", 6, swell)},
		"The texts of this commit are more than 1024 times what was sent": {file("a", "", 5, swell), file("b", "", 5, swell)},
	} {
		edit(files...)
		if got := k.read(); !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
		k.send("( abort-edit ( ) ) ")
	}
	edit(file("a", "", 5, swell), "( close-edit ( ) ) ")
	if got := k.read() + k.read() + k.read(); !strings.Contains(got, "( 1 ( 27:") {
		t.Fatal(got)
	}
	from := str("/a") + "1 "
	edit(file("b", from, 5, again), file("c", from, 5, again), file("d", from, 5, again), "( close-edit ( ) ) ")
	if got := k.read() + k.read() + k.read(); !strings.Contains(got, "( 2 ( 27:") {
		t.Error(got)
	}
}

// refusing hooks refuse everything.
type refusing struct{ svnproto.NoHooks }

func hookFailed(name string) error {
	return svn.Errorf(svn.ErrReposHookFailure, "Commit blocked by %s hook", name)
}

func (refusing) StartCommit(_ context.Context, _ svnproto.Client, _, txn string, props svn.Props) error {
	if txn == "" || props[svn.PropLog] == "" {
		return errors.New("no transaction")
	}
	if props[svn.PropLog] == "start" {
		return hookFailed("start-commit")
	}
	return nil
}

func (refusing) PreCommit(context.Context, *svnfs.Txn, map[string]string) error {
	return hookFailed("pre-commit")
}

func (refusing) PreLock(context.Context, string, string, string, bool) (string, error) {
	return "", hookFailed("pre-lock")
}

func (refusing) PostLock(context.Context, []string, string) error { return nil }

func (refusing) PreUnlock(context.Context, string, string, string, bool) error {
	return hookFailed("pre-unlock")
}

func (refusing) PostUnlock(context.Context, []string, string) error { return nil }

func (refusing) PreRevPropChange(context.Context, svn.Revnum, string, string, *string, *string) error {
	return hookFailed("pre-revprop-change")
}

func TestHooksRefuse(t *testing.T) {
	h := newHost(t)
	h.hooks, h.lockHooks = refusing{}, refusing{}
	k := begin(t, h)
	k.expect("( commit ( 5:start ) ) ", noAuth, success)
	k.expect("( open-root ( ( ) 1:r ) ) ", failure(svn.ErrReposHookFailure, "Commit blocked by start-commit hook"))
	k.send("( abort-edit ( ) ) ")
	k.expect("( commit ( 2:ok ) ) ", noAuth, success)
	k.expect(addFile("a", "text")+"( close-edit ( ) ) ", failure(svn.ErrReposHookFailure, "Commit blocked by pre-commit hook"))
	k.send("( abort-edit ( ) ) ")
	k.expect("( change-rev-prop ( 0 7:svn:log 1:x ) ) ", noAuth, failure(svn.ErrReposHookFailure, "Commit blocked by pre-revprop-change hook"))
	k.expect("( lock-many ( ( ) false ( ( 1:a ( ) ) ( 1:b ( ) ) ) ) ) ", "( success ( ( CRAM-MD5 ) 4:test ) )")
	k.send("( CRAM-MD5 ( ) ) ")
	lockFailed := failure(svn.ErrReposHookFailure, "Commit blocked by pre-lock hook")
	k.expect(cramAnswer(k, "alice", "secret"), success, lockFailed, lockFailed, "done", success)
	k.expect("( unlock ( 1:a ( ) true ) ) ", noAuth, failure(svn.ErrReposHookFailure, "Commit blocked by pre-unlock hook"))
	k.expect("( get-latest-rev ( ) ) ", noAuth, "( success ( 0 ) )")
}

// minting hooks give the tokens of locks.
type minting struct {
	refusing // what is not asked of them here
	asked    map[string]int
}

func (m minting) PreLock(_ context.Context, path, _, _ string, _ bool) (string, error) {
	m.asked[path]++
	return map[string]string{"/good": "opaquelocktoken:good", "/bad": "other:bad", "/worse": "opaquelocktoken:\u00e4"}[path], nil
}

func (m minting) PostLock(_ context.Context, paths []string, _ string) error {
	return fmt.Errorf("told of %s", paths)
}

func TestHookTokens(t *testing.T) {
	h := newHost(t)
	k := begin(t, h)
	k.expect(commitBegin, noAuth, success)
	k.expect(addFile("good", "text")+"( close-edit ( ) ) ", success, noAuth)
	k.read()
	m := minting{asked: map[string]int{}}
	h.lockHooks, h.anonymous = m, svnproto.ReadAccess
	k = h.talk(t)
	k.start()
	k.expect("( lock-many ( ( ) false ( ( 4:good ( ) ) ( 3:bad ( ) ) ( 5:worse ( ) ) ( 3:bad ( ) ) ) ) ) ", "( success ( ( CRAM-MD5 ) 4:test ) )")
	k.send("( CRAM-MD5 ( ) ) ")
	bad := failure(svn.ErrFSBadLockToken, "Lock token URI 'other:bad' has bad scheme; expected 'opaquelocktoken'")
	k.expect(cramAnswer(k, "alice", "secret"), success)
	if got := k.read(); !strings.HasPrefix(got, "( success ( 5:/good 20:opaquelocktoken:good 5:alice ( ) ") {
		t.Error(got)
	}
	k.expect("", bad, failure(svn.ErrFSBadLockToken, "Lock token 'opaquelocktoken:\u00e4' is not ASCII or is a control character at byte 16"), bad, "done",
		failure(svn.ErrReposPostLockHookFailed, "Locking succeeded, but post-lock hook failed"))
	if m.asked["/bad"] != 1 {
		t.Error(m.asked)
	}
	k.expect("( get-latest-rev ( ) ) ", noAuth, "( success ( 1 ) )")
	if len(h.unseen) != 1 || !strings.Contains(h.unseen[0].Error(), "told of [/good]") {
		t.Error(h.unseen)
	}
}

// watching hooks keep the lock of one file.
type watching struct {
	svnproto.NoHooks
	keeps string
	saw   []string
}

func (w *watching) PreCommit(_ context.Context, _ *svnfs.Txn, tokens map[string]string) error {
	w.saw = append(w.saw, fmt.Sprint("commit with ", slices.Sorted(maps.Keys(tokens))))
	return nil
}

func (w *watching) PostCommit(context.Context, svn.Revnum, string) error {
	w.saw = append(w.saw, "committed")
	return nil
}

func (w *watching) PreLock(context.Context, string, string, string, bool) (string, error) {
	return "", nil
}

func (w *watching) PostLock(context.Context, []string, string) error { return nil }

func (w *watching) PreUnlock(_ context.Context, path, user, token string, breakLock bool) error {
	if path == w.keeps {
		return hookFailed("pre-unlock")
	}
	w.saw = append(w.saw, fmt.Sprintf("unlock %s %s %.15s %t", path, user, token, breakLock))
	return nil
}

func (w *watching) PostUnlock(_ context.Context, paths []string, user string) error {
	w.saw = append(w.saw, fmt.Sprintf("unlocked %s %s", paths, user))
	return nil
}

// TestHooksOfEndedLocks has a commit end two locks, of which one stays since a hook wants it to.
func TestHooksOfEndedLocks(t *testing.T) {
	w := &watching{keeps: "/a"}
	h := newHost(t)
	h.hooks, h.lockHooks = w, w
	k := h.talk(t)
	k.start()
	k.expect("( commit ( 1:x ) ) ", "( success ( ( CRAM-MD5 ) 4:test ) )")
	k.send("( CRAM-MD5 ( ) ) ")
	k.expect(cramAnswer(k, "alice", "secret"), success, success)
	k.send("( open-root ( ( ) 1:r ) ) ")
	for _, name := range []string{"a", "b"} {
		k.send("( add-file ( 1:" + name + " 1:r 1:f ( ) ) ) ( close-file ( 1:f ( ) ) ) ")
	}
	k.expect("( close-dir ( 1:r ) ) ( close-edit ( ) ) ", success, noAuth)
	k.read()
	tokens := ""
	for _, name := range []string{"a", "b"} {
		k.expect("( lock ( 1:"+name+" ( ) false ( 1 ) ) ) ", noAuth)
		token := strings.Fields(k.read())[5] // ( success ( ( PATH TOKEN
		tokens += "( 1:" + name + " " + token + " ) "
	}
	w.saw = nil
	k.expect("( commit ( 1:y ( "+tokens+") false ( ) ) ) ", noAuth, success)
	k.expect("( open-root ( ( ) 1:r ) ) ( change-dir-prop ( 1:r 1:p ( 1:v ) ) ) ( close-dir ( 1:r ) ) ( close-edit ( ) ) ", success, noAuth)
	k.read()
	want := []string{"commit with [a b]", "committed", "unlock /b alice opaquelocktoken false", "unlocked [/b] alice"}
	if !slices.Equal(w.saw, want) {
		t.Errorf("%q, want %q", w.saw, want)
	}
	k.expect("( get-lock ( 1:b ) ) ", noAuth, "( success ( ( ) ) )")
	k.expect("( get-lock ( 1:a ) ) ", noAuth)
	if got := k.read(); !strings.Contains(got, "5:alice") {
		t.Error(got)
	}
}

// withFiles returns a session of a repository with n files in revision 1.
func withFiles(t *testing.T, n int) *talk {
	t.Helper()
	h := newHost(t)
	k := begin(t, h)
	k.expect(commitBegin, noAuth, success)
	k.send("( open-root ( ( ) 1:r ) ) ")
	text := make([]byte, 20_000)
	for i := range n {
		rand.NewChaCha8([32]byte{byte(i)}).Read(text)
		k.send(fmt.Sprintf("( add-file ( %s1:r 1:f ( ) ) ) ( apply-textdelta ( 1:f ( ) ) ) ( textdelta-chunk ( 1:f %s) ) ( textdelta-end ( 1:f ) ) ( close-file ( 1:f ( ) ) ) ",
			str(fmt.Sprint("f", i)), delta(string(text))))
	}
	k.expect("( close-dir ( 1:r ) ) ( close-edit ( ) ) ", success, noAuth)
	k.read()
	return k
}

func TestUpdate(t *testing.T) {
	k := withFiles(t, 1)
	k.expect("( update ( ( ) 0: true ) ) ", noAuth)
	k.expect("( set-path ( 0: 0 true ) ) ( finish-report ( ) ) ", noAuth, "( target-rev ( 1 ) )", "( open-root ( ( 0 ) 2:d0 ) )")
	var edit []string
	for {
		line := k.read()
		if edit = append(edit, line); strings.HasPrefix(line, "( close-edit") {
			break
		}
	}
	all := strings.Join(edit, "\n")
	want(t, all, "( change-dir-prop ( 2:d0 23:svn:entry:committed-rev ( 1:1 ) ) )", "( add-file ( 2:f0 2:d0 2:c1 ( ) ) )",
		"( apply-textdelta ( 2:c1 ( ) ) )", "( textdelta-chunk ( 2:c1 ", "( textdelta-end ( 2:c1 ) )", "( close-file ( 2:c1 ( 32:", "( close-dir ( 2:d0 ) )")
	k.expect("( success ( ) ) ", success)
	k.expect("( get-latest-rev ( ) ) ", noAuth, "( success ( 1 ) )")
}

// A client may give up in the midst of an update; the server notices, ends the edit and tells the client its own error.
func TestUpdateBrokenOff(t *testing.T) {
	k := withFiles(t, 60)
	k.expect("( update ( ( ) 0: true ) ) ", noAuth)
	k.expect("( set-path ( 0: 0 true ) ) ( finish-report ( ) ) ", noAuth, "( target-rev ( 1 ) )")
	k.send(failure(155000, "disk full") + " ")
	for {
		line := k.read()
		if line == "( abort-edit ( ) )" {
			break
		}
		if strings.HasPrefix(line, "( close-edit") {
			t.Fatal("the server did not notice")
		}
	}
	k.expect("", failure(155000, "disk full"))
	k.expect("( get-latest-rev ( ) ) ", noAuth, "( success ( 1 ) )")
}

func TestReportErrors(t *testing.T) {
	k := withFiles(t, 1)
	for name, test := range map[string]struct {
		command, report string
		want            []string
	}{
		"nothing":   {"( update ( ( ) 0: true ) ) ", "( finish-report ( ) ) ", []string{noAuth, failure(svn.ErrReposBadRevisionReport, "Invalid report for top level of working copy")}},
		"path":      {"( update ( ( ) 0: true ) ) ", "( set-path ( 2:.. 0 true ) ) ( delete-path ( 1:x ) ) ( finish-report ( ) ) ", []string{noAuth, failure(svn.ErrFSPathSyntax, "Path '..' has a '..' in it")}},
		"elsewhere": {"( switch ( ( ) 0: true 22:svn://localhost/other/ ) ) ", "( set-path ( 0: 0 true ) ) ( finish-report ( ) ) ", []string{noAuth, failure(svn.ErrRAIllegalURL, "'svn://localhost/other' is not the same repository as 'svn://localhost/repo'")}},
		"link":      {"( status ( 0: true ) ) ", "( set-path ( 0: 0 true ) ) ( link-path ( 1:a 21:svn://localhost/other 1 false ) ) ( finish-report ( ) ) ", []string{noAuth, failure(svn.ErrRAIllegalURL, "'svn://localhost/other' is not the same repository as 'svn://localhost/repo'")}},
		"aborted":   {"( diff ( ( ) 0: true false 20:svn://localhost/repo ) ) ", "( set-path ( 0: 0 true ) ) ( abort-report ( ) ) ", []string{success}},
		"unknown":   {"( status ( 0: true ) ) ", "( frob ( ) ) ( abort-report ( ) ) ", []string{failure(svn.ErrRASvnUnknownCmd, "Unknown editor command 'frob'"), success}},
	} {
		t.Run(name, func(t *testing.T) {
			k.t = t
			k.expect(test.command, noAuth)
			k.expect(test.report, test.want...)
			k.expect("( get-latest-rev ( ) ) ", noAuth, "( success ( 1 ) )")
		})
	}
}

func TestReplay(t *testing.T) {
	k := withFiles(t, 1)
	k.expect("( replay-range ( 0 1 0 true ) ) ", noAuth)
	var edit []string
	for len(edit) == 0 || edit[len(edit)-1] != success {
		edit = append(edit, k.read())
	}
	all := strings.Join(edit, "\n")
	want(t, all, "( revprops ( ( 8:svn:date ", "( target-rev ( 0 ) )\n( finish-replay ( ) )\n( revprops (", "( add-file ( 2:f0 ", "( finish-replay ( ) )\n"+success)
	k.expect("( get-latest-rev ( ) ) ", noAuth, "( success ( 1 ) )")
}

// A report that fails does not leave its file open until the collector comes by.
func TestReportFails(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip(err)
	}
	k := begin(t, newHost(t))
	k.expect("( update ( ( 0 ) 0: true infinity false ) ) ", noAuth)
	for i := range 200 {
		k.send("( set-path ( " + str(fmt.Sprintf("%0200d%s", i, strings.Repeat("x", 9000))) + "0 true ( ) infinity ) ) ")
	}
	k.send("( set-path ( 2:.. 0 true ( ) infinity ) ) ")
	if k.expect("( finish-report ( ) ) ", noAuth); !strings.Contains(k.read(), "160005") {
		t.Error("the report did not fail")
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range open {
		if to, _ := os.Readlink("/proc/self/fd/" + fd.Name()); strings.Contains(to, "holdfast-report-") {
			t.Error(to, "is open")
		}
	}
}
