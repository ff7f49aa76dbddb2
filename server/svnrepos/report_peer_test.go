package svnrepos_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// editLog notes the operations of an edit by path: the order of a directory's entries means nothing.
type editLog struct{ ops map[string][]string }

func newEditLog() *editLog { return &editLog{map[string][]string{}} }

func (l *editLog) add(path, format string, args ...any) {
	l.ops[path] = append(l.ops[path], fmt.Sprintf(format, args...))
}

func (l *editLog) prop(path, name string, value *string) {
	if value == nil {
		l.add(path, "p %s removed", name)
		return
	}
	l.add(path, "p %s=%q", name, *value)
}

// String sorts properties: they come in no order.
func (l *editLog) String() string {
	var b strings.Builder
	for _, path := range slices.Sorted(maps.Keys(l.ops)) {
		var props []string
		flush := func() {
			slices.Sort(props)
			for _, p := range slices.Compact(props) {
				fmt.Fprintf(&b, "  %s\n", p)
			}
			props = nil
		}
		fmt.Fprintf(&b, "%s\n", path)
		for _, op := range l.ops[path] {
			if strings.HasPrefix(op, "p ") {
				props = append(props, op)
				continue
			}
			flush()
			fmt.Fprintf(&b, "  %s\n", op)
		}
		flush()
	}
	return b.String()
}

// The editor of an editLog; the paths of its directories are absolute.
type (
	logEditor struct{ l *editLog }
	logEntry  struct {
		l    *editLog
		path string
	}
	logDir  struct{ logEntry }
	logFile struct{ logEntry }
)

func (e logEntry) ChangeProp(name string, value *string) error {
	e.l.prop(e.path, name, value)
	return nil
}

func (e logEditor) SetTargetRevision(rev svn.Revnum) error { e.l.add("", "target %d", rev); return nil }
func (e logEditor) Close() error                           { e.l.add("", "close"); return nil }
func (e logEditor) Abort() error                           { e.l.add("", "abort"); return nil }
func (e logEditor) OpenRoot(base svn.Revnum) (svn.DirEditor, error) {
	e.l.add("/", "root %d", base)
	return logDir{logEntry{e.l, "/"}}, nil
}

func (d logDir) at(path string) logEntry { return logEntry{d.l, "/" + path} }
func (d logDir) DeleteEntry(path string, rev svn.Revnum) error {
	d.l.add("/"+path, "D %d", rev)
	return nil
}
func (d logDir) AddDirectory(path string, from *svn.CopyFrom) (svn.DirEditor, error) {
	d.l.add("/"+path, "A dir %s", fromWord(from))
	return logDir{d.at(path)}, nil
}
func (d logDir) OpenDirectory(path string, base svn.Revnum) (svn.DirEditor, error) {
	d.l.add("/"+path, "U dir %d", base)
	return logDir{d.at(path)}, nil
}
func (d logDir) AddFile(path string, from *svn.CopyFrom) (svn.FileEditor, error) {
	d.l.add("/"+path, "A file %s", fromWord(from))
	return logFile{d.at(path)}, nil
}
func (d logDir) OpenFile(path string, base svn.Revnum) (svn.FileEditor, error) {
	d.l.add("/"+path, "U file %d", base)
	return logFile{d.at(path)}, nil
}
func (d logDir) AbsentDirectory(path string) error { d.l.add("/"+path, "absent dir"); return nil }
func (d logDir) AbsentFile(path string) error      { d.l.add("/"+path, "absent file"); return nil }
func (d logDir) Close() error                      { return nil }

func (f logFile) ApplyTextDelta(base string) (svn.WindowHandler, error) {
	f.l.add(f.path, "text of %q", base)
	return nil, nil
}
func (f logFile) Close(md5 string) error { f.l.add(f.path, "close %s", md5); return nil }

func fromWord(from *svn.CopyFrom) string {
	if from == nil {
		return "-"
	}
	return from.String()
}

// peer is an svnserve that serves a copy of a filesystem, as a client sees it on a pipe.
type peer struct {
	t   *testing.T
	url string
	out io.Writer
	in  *bufio.Reader
}

// newPeer copies a filesystem to Subversion, where nobody may read what is at or below a path, if it is not "".
func newPeer(t *testing.T, fs *svnfs.FS, unreadable string) *peer {
	t.Helper()
	for _, program := range []string{"svnserve", "svnadmin"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("no %s here", program)
		}
	}
	root := t.TempDir()
	dir := filepath.Join(root, "r")
	if out, err := exec.Command("svnadmin", "create", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if unreadable != "" {
		hidePath(t, filepath.Join(dir, "conf"), unreadable)
	}
	var dump, said bytes.Buffer
	repo := svnrepos.Repository{FS: fs}
	o := svnrepos.DumpOptions{From: svn.InvalidRevnum, To: svn.InvalidRevnum}
	if err := repo.Dump(t.Context(), &dump, o, nil); err != nil {
		t.Fatal(err)
	}
	load := exec.Command("svnadmin", "load", "-q", "--force-uuid", dir)
	load.Stdin, load.Stderr = &dump, &said
	if err := load.Run(); err != nil {
		t.Fatalf("%v: %s", err, said.String())
	}
	p := &peer{t: t, url: "svn://peer/r"}
	p.start(exec.Command("svnserve", "-t", "-r", root))
	return p
}

func hidePath(t *testing.T, conf, path string) {
	t.Helper()
	for name, text := range map[string]string{
		"svnserve.conf": "[general]\nanon-access = read\nauth-access = read\nauthz-db = authz\n",
		"authz":         "[/]\n* = r\n[" + path + "]\n* =\n",
	} {
		if err := os.WriteFile(filepath.Join(conf, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

func (p *peer) start(cmd *exec.Cmd) {
	p.t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	cmd.Stderr = p.t.Output()
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	p.out, p.in = in, bufio.NewReader(out)
	p.read()
	p.send("( 2 ( edit-pipeline svndiff1 absent-entries depth mergeinfo log-revprops ) %s 4:test ( ) )", counted(p.url))
	p.read()
	p.send("( EXTERNAL ( 0: ) )")
	p.read()
	p.read()
}

func counted(s string) string { return fmt.Sprintf("%d:%s", len(s), s) }

func (p *peer) send(format string, args ...any) {
	p.t.Helper()
	if _, err := fmt.Fprintf(p.out, format+" ", args...); err != nil {
		p.t.Fatal(err)
	}
}

// read reads an item: a string is a string, a number or a word too, and a list is a []any.
func (p *peer) read() any {
	p.t.Helper()
	item, err := readItem(p.in)
	if err != nil {
		p.t.Fatal(err)
	}
	return item
}

func readItem(in *bufio.Reader) (any, error) {
	word := ""
	for {
		c, err := in.ReadByte()
		if err != nil {
			return nil, err
		}
		switch {
		case c == '(':
			return readList(in)
		case c == ':':
			n, err := strconv.Atoi(word)
			if err != nil {
				return nil, err
			}
			b := make([]byte, n)
			_, err = io.ReadFull(in, b)
			return string(b), err
		case c == ' ' || c == '\n':
			if word != "" {
				return word, nil
			}
		default:
			word += string(rune(c))
		}
	}
}

func readList(in *bufio.Reader) (any, error) {
	list := []any{}
	for {
		item, err := readItem(in)
		if err != nil {
			return nil, err
		}
		if item == ")" {
			return list, nil
		}
		list = append(list, item)
	}
}

// optional returns what is in a list of at most one item.
func optional(item any) *string {
	list := item.([]any)
	if len(list) == 0 {
		return nil
	}
	s := list[0].(string)
	return &s
}

func optionalRev(item any) string {
	if rev := optional(item); rev != nil {
		return *rev
	}
	return "-1"
}

func copyWord(item any) string {
	list := item.([]any)
	if len(list) == 0 {
		return "-"
	}
	path := strings.TrimPrefix(list[0].(string), "svn://peer/r")
	return strings.ReplaceAll(path, "%20", " ") + "@" + list[1].(string)
}

// edit reads an edit up to its end, and the command's response.
func (p *peer) edit() (*editLog, error) {
	p.t.Helper()
	l, tokens := newEditLog(), map[string]string{}
	for {
		cmd := p.read().([]any)
		word, args := cmd[0].(string), cmd[1].([]any)
		switch word {
		case "success":
			return l, nil
		case "failure":
			return l, failure(args)
		case "finish-replay":
		case "close-edit":
			l.add("", "close")
		case "abort-edit":
			l.add("", "abort")
		default:
			note(l, tokens, word, args)
		}
		if word == "close-edit" || word == "abort-edit" {
			p.send("( success ( ) )")
		}
	}
}

func failure(args []any) error {
	first := args[0].([]any)
	code, err := strconv.Atoi(first[0].(string))
	if err != nil {
		return err
	}
	return svn.Errorf(svn.Code(code), "%s", first[1])
}

// note notes one command of an edit.
func note(l *editLog, tokens map[string]string, word string, args []any) {
	str := func(i int) string { return args[i].(string) }
	switch word {
	case "target-rev":
		l.add("", "target %s", str(0))
	case "open-root":
		tokens[str(1)] = "/"
		l.add("/", "root %s", optionalRev(args[0]))
	case "delete-entry":
		l.add("/"+str(0), "D %s", optionalRev(args[1]))
	case "add-dir", "add-file":
		tokens[str(2)] = "/" + str(0)
		l.add("/"+str(0), "A %s %s", strings.TrimPrefix(word, "add-"), copyWord(args[3]))
	case "open-dir", "open-file":
		tokens[str(2)] = "/" + str(0)
		l.add("/"+str(0), "U %s %s", strings.TrimPrefix(word, "open-"), optionalRev(args[3]))
	case "absent-dir", "absent-file":
		l.add("/"+str(0), "absent %s", strings.TrimPrefix(word, "absent-"))
	case "change-dir-prop", "change-file-prop":
		l.prop(tokens[str(0)], str(1), optional(args[2]))
	case "apply-textdelta":
		base := ""
		if b := optional(args[1]); b != nil {
			base = *b
		}
		l.add(tokens[str(0)], "text of %q", base)
	case "close-file":
		l.add(tokens[str(0)], "close %s", *optional(args[1]))
	}
}

// address returns the URL of a path.
func (p *peer) address(path string) string {
	return p.url + strings.TrimSuffix(strings.ReplaceAll(path, " ", "%20"), "/")
}

func boolWord(b bool) string { return strconv.FormatBool(b) }

// report does what a ReportRequest says.
func (p *peer) report(req svnrepos.ReportRequest, says []say) (*editLog, error) {
	p.t.Helper()
	p.send("( reparent ( %s ) )", counted(p.address(req.Anchor)))
	p.read()
	p.read()
	if req.SwitchPath != "" {
		p.send("( switch ( ( %d ) %s true %s %s %s %s ) )", req.Rev, counted(req.Target), counted(p.address(req.SwitchPath)),
			req.Depth, boolWord(req.SendCopyFrom), boolWord(req.IgnoreAncestry))
	} else {
		p.send("( update ( ( %d ) %s true %s %s %s ) )", req.Rev, counted(req.Target), req.Depth,
			boolWord(req.SendCopyFrom), boolWord(req.IgnoreAncestry))
	}
	p.read()
	for _, s := range says {
		switch {
		case s.rev < 0:
			p.send("( delete-path ( %s ) )", counted(s.path))
		case s.link != "":
			p.send("( link-path ( %s %s %d %t ( ) %s ) )", counted(s.path), counted(p.address(s.link)), s.rev, s.startEmpty, s.depth)
		default:
			p.send("( set-path ( %s %d %t ( ) %s ) )", counted(s.path), s.rev, s.startEmpty, s.depth)
		}
	}
	p.send("( finish-report ( ) )")
	p.read() // auth-request
	return p.edit()
}

// replay asks for what a revision did, with a session at base.
func (p *peer) replay(rev, lowWater svn.Revnum, base string, deltas bool) (*editLog, error) {
	p.t.Helper()
	p.send("( reparent ( %s ) )", counted(p.address(base)))
	p.read()
	p.read()
	p.send("( replay ( %d %d %t ) )", rev, lowWater, deltas)
	p.read()
	return p.edit()
}

// compareWithPeer makes the same report to Subversion, and wants the same edit or the same error.
func compareWithPeer(t *testing.T, repo *svnrepos.Repository, p *peer, req svnrepos.ReportRequest, says []say) {
	t.Helper()
	want, wantErr := p.report(req, says)
	got := newEditLog()
	report, err := repo.BeginReport(req, logEditor{got})
	for _, s := range says {
		if err == nil {
			err = s.to(report)
		}
	}
	if err == nil {
		err = report.Finish(t.Context())
	}
	if err == nil && errors.Is(wantErr, svn.ErrFSNotFound) {
		return // svnserve stumbles over what is said of a directory's entries when the directory has become a file
	}
	var e *svn.Error
	if wantErr != nil && (!errors.As(err, &e) || svn.Code(e.Code) != svn.CodeOf(wantErr) || e.Message != wantErr.(*svn.Error).Message) ||
		wantErr == nil && err != nil {
		t.Fatalf("%+v %+v: got error %v, want %v", req, says, err, wantErr)
	}
	if got.String() != want.String() {
		t.Fatalf("%+v %+v: got\n%s\nwant\n%s", req, says, got, want)
	}
}
