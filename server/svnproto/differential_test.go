package svnproto_test

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"holdfast/server/svnproto"
)

// peer is svnserve with the same revisions as a fakeHost.
type peer struct{ root string }

// twins makes the same revisions in both.
func twins(t *testing.T) (*fakeHost, peer) {
	t.Helper()
	p := peer{t.TempDir()}
	repo := filepath.Join(p.root, "repo")
	for _, args := range [][]string{{"svnadmin", "create", repo}, {"svnadmin", "setuuid", repo, testUUID}} {
		if out, err := svnCommand(t, p.root, args...); err != nil {
			t.Fatal(out, err)
		}
	}
	for name, text := range map[string]string{"conf/svnserve.conf": "[general]\nanon-access = write\nrealm = test\n", "hooks/pre-revprop-change": "#!/bin/sh\n"} {
		if err := os.WriteFile(filepath.Join(repo, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	h := newHost(t)
	populate(newClient(t, "alice"), "file://"+repo)
	populate(newClient(t, "alice"), h.listen(t))
	h.anonymous, h.passwords = svnproto.WriteAccess, nil
	return h, p
}

func populate(c *client, url string) {
	c.svn("mkdir", "-m", "layout", url+"/trunk", url+"/branches", url+"/trunk/d \u00e4")
	c.svn("checkout", url+"/trunk", "wc")
	c.write("wc/f", strings.Repeat("some text to be changed\n", 500))
	c.svn("add", "wc/f")
	c.svn("propset", "p", "a value", "wc/f")
	c.svn("propset", "q", "of a directory", "wc")
	c.svn("commit", "-m", "a file", "wc")
	c.write("wc/f", strings.Repeat("some text to be changed\n", 300)+"changed\n")
	c.svn("commit", "-m", "changed", "wc")
	c.svn("copy", "-m", "branch", url+"/trunk", url+"/branches/b")
	c.svn("update", "wc")
	c.svn("switch", url+"/branches/b", "wc")
	c.write("wc/f", "only on the branch\n")
	c.svn("commit", "-m", "on the branch", "wc")
	c.svn("switch", url+"/trunk", "wc")
	c.svn("merge", url+"/branches/b", "wc")
	c.svn("commit", "-m", "merged", "wc")
	c.svn("delete", "-m", "gone", url+"/branches/b")
	c.svn("lock", "-m", "a comment", url+"/trunk/f")
	for i := range 8 {
		rev := string(rune('0' + i))
		c.svn("propset", "--revprop", "-r"+rev, "svn:date", "2024-01-0"+string(rune('1'+i))+"T00:00:00.000000Z", url)
	}
	c.svn("propset", "--revprop", "-r3", "custom", "revision property", url)
}

// start starts a session.
func (p peer) start(t *testing.T) io.ReadWriteCloser {
	t.Helper()
	c := exec.Command("svnserve", "-i", "-r", p.root)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { in.Close(); c.Wait() })
	return struct {
		io.Reader
		io.WriteCloser
	}{out, in}
}

func (h *fakeHost) start(t *testing.T) io.ReadWriteCloser {
	t.Helper()
	address, _, _ := strings.Cut(strings.TrimPrefix(h.listen(t), "svn://"), "/")
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

var varying = regexp.MustCompile(`opaquelocktoken:[-0-9a-f]{36}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z`)

// normal brings lists of lists into an order: that of properties and entries is not defined.
func normal(it svnproto.Item) string {
	if it.Kind != svnproto.List {
		return strings.TrimSpace(show(it))
	}
	var parts []string
	lists := true
	for _, sub := range it.List {
		parts = append(parts, normal(sub))
		lists = lists && sub.Kind == svnproto.List
	}
	if lists {
		slices.Sort(parts)
	}
	return "( " + strings.Join(append(parts, ")"), " ")
}

const sentinel = "( no-such ( ) ) "

// answers holds a conversation of one command, and returns what came back.
func answers(t *testing.T, c io.ReadWriter, r *svnproto.Reader, say string) (lines []string) {
	t.Helper()
	report := strings.Contains(say, "finish-report") || strings.Contains(say, "( replay")
	if !report {
		say += sentinel
	}
	if _, err := io.WriteString(c, say); err != nil {
		t.Fatal(err)
	}
	chunks := ""
	for {
		it, err := r.Read()
		if err != nil {
			return append(lines, err.Error())
		}
		line := normal(it)
		switch { // texts may be cut anywhere
		case strings.HasPrefix(line, "( textdelta-chunk"):
			chunks += string(it.List[1].List[1].Bytes)
			continue
		case it.Kind == svnproto.String && len(it.Bytes) > 0:
			chunks += string(it.Bytes)
			continue
		}
		if chunks != "" {
			lines, chunks = append(lines, "text "+chunks), ""
		}
		if strings.Contains(line, "Unknown editor command 'no-such'") {
			return lines
		}
		lines = append(lines, line)
		answer := ""
		switch {
		case strings.HasPrefix(line, "( close-edit") || strings.HasPrefix(line, "( abort-edit"):
			answer = "( success ( ) ) "
		case report && (strings.HasPrefix(line, "( failure") || strings.HasPrefix(line, "( success ( ) )")):
			answer, report = sentinel, false
		}
		if _, err := io.WriteString(c, answer); err != nil {
			t.Fatal(err)
		}
	}
}

var positions = regexp.MustCompile(` \d+:[^ ]*/(?:subversion|build)[^ ]*\.c \d+ \)`)

// texts takes out what differs from day to day, and where in its source svnserve found an error.
func texts(lines []string) []string {
	for i := range lines {
		lines[i] = text(lines[i])
	}
	return lines
}

func text(s string) string {
	s = positions.ReplaceAllString(s, " 0: 0 )")
	s = strings.ReplaceAll(s, "svn://localhost/repo", "URL")
	return varying.ReplaceAllStringFunc(s, func(v string) string {
		if strings.HasPrefix(v, "2024-01") || strings.HasPrefix(v, "1970") {
			return v
		}
		return "varying"
	})
}

// TestDifferential compares answers with svnserve's, item by item. One difference is meant: an update that fails before its report fails
// at the end of it, where svnserve takes the report for commands that it does not know.
func TestDifferential(t *testing.T) {
	h, p := twins(t)
	ours, theirs := h.start(t), p.start(t)
	ourReader, theirReader := svnproto.NewReader(ours), svnproto.NewReader(theirs)
	begin := "( 2 ( edit-pipeline absent-entries depth mergeinfo log-revprops ) 20:svn://localhost/repo 1:x ( ) ) ( ANONYMOUS ( 0: ) ) "
	commands := append([]string{begin}, differentialCommands...)
	for _, say := range commands {
		got, want := texts(answers(t, ours, ourReader, say)), texts(answers(t, theirs, theirReader, say))
		if strings.Contains(say, "get-locations") {
			slices.Sort(got)
			slices.Sort(want)
		}
		for i := range max(len(got), len(want)) {
			if i >= len(got) || i >= len(want) || got[i] != want[i] {
				t.Errorf("%s\ngot\n%.1500q\nwant\n%.1500q", say, got[i:], want[i:])
				break
			}
		}
	}
}

// TestRdump compares what svnrdump makes of both, loads it, and has svnsync copy it.
func TestRdump(t *testing.T) {
	h, p := twins(t)
	url := h.listen(t)
	dump := func(url string) string {
		out, err := svnCommand(t, p.root, "svnrdump", "dump", "-q", url)
		if err != nil {
			t.Fatal(out, err)
		}
		return out
	}
	ours := dump(url)
	if got, want := texts([]string{ours})[0], texts([]string{dump("file://" + p.root + "/repo")})[0]; got != want {
		t.Errorf("got\n%.3000s\nwant\n%.3000s", got, want)
	}
	copied := newHost(t)
	copied.anonymous = svnproto.WriteAccess
	to := copied.listen(t)
	load := exec.Command("svnrdump", "load", "-q", to)
	load.Stdin = strings.NewReader(ours)
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatal(string(out), err)
	}
	if got, want := strings.ReplaceAll(dump(to), url, to), ours; got != want {
		t.Errorf("loaded\n%.3000s\nwant\n%.3000s", got, want)
	}
	synced := newHost(t)
	synced.anonymous = svnproto.WriteAccess
	at := synced.listen(t)
	for _, args := range [][]string{{"svnsync", "init", "-q", at, url}, {"svnsync", "sync", "-q", at}} {
		if out, err := svnCommand(t, p.root, args...); err != nil {
			t.Fatal(out, err)
		}
	}
	if synced.fs.Youngest() != h.fs.Youngest() {
		t.Error(synced.fs.Youngest(), "revisions")
	}
}

const reportEmpty = "( set-path ( 0: 0 true ( ) infinity ) ) ( finish-report ( ) ) "

var differentialCommands = []string{
	"( get-latest-rev ( ) ) ",
	"( get-dated-rev ( 27:2024-01-03T12:00:00.000000Z ) ) ",
	"( get-dated-rev ( 27:1999-01-03T12:00:00.000000Z ) ) ",
	"( get-dated-rev ( 5:never ) ) ",
	"( rev-proplist ( 3 ) ) ",
	"( rev-proplist ( 33 ) ) ",
	"( rev-prop ( 3 6:custom ) ) ",
	"( rev-prop ( 3 4:none ) ) ",
	"( check-path ( 7:trunk/f ( ) ) ) ",
	"( check-path ( 9:trunk/f/x ( 2 ) ) ) ",
	"( check-path ( 5:trunk ( 99 ) ) ) ",
	"( check-path ( 8:branches ( 4 ) ) ) ",
	"( stat ( 7:trunk/f ( ) ) ) ",
	"( stat ( 5:trunk ( 3 ) ) ) ",
	"( stat ( 4:none ( ) ) ) ",
	"( stat ( 0: ( 0 ) ) ) ",
	"( get-file ( 7:trunk/f ( 2 ) true false false ) ) ",
	"( get-file ( 7:trunk/f ( ) false false ) ) ",
	"( get-file ( 7:trunk/f ( 6 ) true false true ) ) ",
	"( get-file ( 5:trunk ( ) true true ) ) ",
	"( get-file ( 4:none ( ) true true ) ) ",
	"( get-dir ( 5:trunk ( ) true true ( kind size has-props created-rev time last-author ) false ) ) ",
	"( get-dir ( 5:trunk ( 2 ) false true ( kind ) ) ) ",
	"( get-dir ( 5:trunk ( 2 ) true false ( ) true ) ) ",
	"( get-dir ( 0: ( 0 ) true true ) ) ",
	"( get-dir ( 7:trunk/f ( ) true true ) ) ",
	"( get-dir ( 7:trunk/f ( ) true false ) ) ",
	"( get-dir ( 4:none ( ) true true ) ) ",
	"( list ( 0: ( ) infinity ( kind size has-props created-rev time last-author ) ) ) ",
	"( list ( 5:trunk ( ) files ( kind ) ( 1:f 1:* ) ) ) ",
	"( list ( 5:trunk ( ) immediates ( size ) ( ) ) ) ",
	"( list ( 4:none ( ) immediates ( size ) ) ) ",
	"( list ( 5:trunk ( ) unknown ( size ) ) ) ",
	"( log ( ( 0: ) ( 7 ) ( 0 ) true false 0 false revprops ( 10:svn:author 8:svn:date 7:svn:log ) ) ) ",
	"( log ( ( 0: ) ( 7 ) ( 0 ) true false 0 false all-revprops ( ) ) ) ",
	"( log ( ( 7:trunk/f ) ( 7 ) ( 1 ) true false 0 true revprops ( 7:svn:log ) ) ) ",
	"( log ( ( 5:trunk ) ( 1 ) ( 7 ) false true 2 false revprops ( ) ) ) ",
	"( log ( ( 5:trunk 8:branches ) ( ) ( ) false true ) ) ",
	"( log ( ( 4:none ) ( 7 ) ( 1 ) false true ) ) ",
	"( log ( ( 0: ) ( 99 ) ( 1 ) false true ) ) ",
	"( get-locations ( 12:branches/b/f 5 ( 5 4 3 2 1 ) ) ) ",
	"( get-locations ( 4:none 5 ( 5 4 ) ) ) ",
	"( get-location-segments ( 12:branches/b/f ( 5 ) ( ) ( ) ) ) ",
	"( get-location-segments ( 12:branches/b/f ( 5 ) ( 5 ) ( 1 ) ) ) ",
	"( get-location-segments ( 4:none ( 5 ) ( 5 ) ( 1 ) ) ) ",
	"( get-location-segments ( 4:none ( 5 ) ( 1 ) ( 2 ) ) ) ",
	"( get-location-segments ( 4:none ( 5 ) ( 6 ) ( 2 ) ) ) ",
	"( get-file-revs ( 7:trunk/f ( 1 ) ( 7 ) false ) ) ",
	"( get-file-revs ( 7:trunk/f ( 7 ) ( 1 ) false ) ) ",
	"( get-file-revs ( 7:trunk/f ( 1 ) ( 7 ) true ) ) ",
	"( get-file-revs ( 5:trunk ( 1 ) ( 7 ) ) ) ",
	"( get-file-revs ( 4:none ( 1 ) ( 7 ) ) ) ",
	"( get-mergeinfo ( ( 5:trunk ) ( ) explicit false ) ) ",
	"( get-mergeinfo ( ( 7:trunk/f 0: ) ( ) inherited true ) ) ",
	"( get-mergeinfo ( ( 7:trunk/f ) ( 6 ) nearest-ancestor false ) ) ",
	"( get-mergeinfo ( ( 4:none ) ( 6 ) explicit false ) ) ",
	"( get-mergeinfo ( ( ) ( 99 ) explicit false ) ) ",
	"( get-deleted-rev ( 10:branches/b 5 7 ) ) ",
	"( get-deleted-rev ( 5:trunk 5 7 ) ) ",
	"( get-deleted-rev ( 4:none 5 7 ) ) ",
	"( get-deleted-rev ( 4:none 5 99 ) ) ",
	"( get-iprops ( 7:trunk/f ( 6 ) ) ) ",
	"( get-iprops ( 4:none ( 6 ) ) ) ",
	"( get-lock ( 7:trunk/f ) ) ",
	"( get-lock ( 5:trunk ) ) ",
	"( get-locks ( 0: ) ) ",
	"( get-locks ( 5:trunk ( immediates ) ) ) ",
	"( get-locks ( 5:trunk ( exclude ) ) ) ",
	"( lock ( 7:trunk/f ( ) false ( ) ) ) ",
	"( unlock ( 7:trunk/f ( ) false ) ) ",
	"( change-rev-prop ( 99 1:a 1:b ) ) ",
	"( change-rev-prop ( 1 5:svn:a 1:b ) ) ",
	"( change-rev-prop ( 1 1:a 1:b ) ) ",
	"( change-rev-prop2 ( 1 1:a ( 1:c ) ( false 1:x ) ) ) ",
	"( change-rev-prop2 ( 1 1:a ( ) ( false 1:b ) ) ) ",
	"( change-rev-prop2 ( 1 1:a ( ) ( true 1:b ) ) ) ",
	"( rev-proplist ( 1 ) ) ",
	"( reparent ( 26:svn://localhost/repo/trunk ) ) ",
	"( check-path ( 1:f ( ) ) ) ",
	"( reparent ( 22:svn://localhost/other/ ) ) ",
	"( reparent ( 20:svn://localhost/repo ) ) ",
	"( no ( ) ) ",
	"( update ( ( 2 ) 7:trunk/f true infinity false ) ) " + "( set-path ( 0: 1 true ( ) infinity ) ) ( finish-report ( ) ) ",
	"( update ( ( 99 ) 0: true infinity false ) ) " + reportEmpty,
	"( update ( ( 3 ) 0: true unknown true ) ) ( set-path ( 0: 2 false ) ) ( finish-report ( ) ) ",
	"( update ( ( 3 ) 0: true infinity true ) ) ( finish-report ( ) ) ",
	"( update ( ( 3 ) 0: true infinity true ) ) ( set-path ( 0: 99 false ) ) ( finish-report ( ) ) ",
	"( status ( 0: true ( 6 ) infinity ) ) ( set-path ( 0: 5 false ) ) ( finish-report ( ) ) ",
	"( switch ( ( 4 ) 5:trunk true 31:svn://localhost/repo/branches/b infinity ) ) ( set-path ( 0: 2 false ) ) ( finish-report ( ) ) ",
	"( diff ( ( 5 ) 5:trunk true false 31:svn://localhost/repo/branches/b true infinity ) ) ( set-path ( 0: 4 false ) ) ( finish-report ( ) ) ",
	"( diff ( ( 5 ) 5:trunk true true 31:svn://localhost/repo/branches/b false infinity ) ) ( set-path ( 0: 4 false ) ) ( finish-report ( ) ) ",
	"( diff ( ( 5 ) 5:trunk true true 31:svn://localhost/repo/branches/x false infinity ) ) ( set-path ( 0: 4 false ) ) ( finish-report ( ) ) ",
	"( replay ( 3 0 true ) ) ",
	"( replay ( 4 0 false ) ) ",
	"( replay-range ( 5 7 3 true ) ) ",
	"( replay ( 0 0 true ) ) ",
}
