package server_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/auth"
	"holdfast/server"
	"holdfast/server/svnpull"
	"holdfast/server/svnrepos"
	"holdfast/server/svnservetest"
	"holdfast/storage/svn"
	"holdfast/storage/svn/dumpfile"
)

// cutting passes connections on to a server, and ends each once budget has given the number of bytes that it may bring.
func cutting(t *testing.T, to string, budget func() int64) (address string) {
	t.Helper()
	return svnservetest.Listen(t, func(conn *net.TCPConn) {
		defer conn.Close()
		server, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		defer server.Close()
		go io.Copy(server, conn)
		_, _ = io.Copy(conn, io.LimitReader(server, budget()))
	})
}

// history writes a dump of what is hard to bring over: mergeinfo of the first revision and of none, line ends that no client may set,
// copies, replacements, binary texts.
func history(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := dumpfile.NewWriter(&b)
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	rev := svn.Revnum(0)
	commit := func(log string) {
		props := svn.Props{svn.PropDate: fmt.Sprintf("2011-02-%02dT01:02:03.000004Z", rev+1)}
		if rev > 0 {
			props[svn.PropLog], props[svn.PropAuthor], props["x"] = log, "harry", "\x00\xff"
		}
		ok(w.Revision(rev, props))
		rev++
	}
	node := func(n dumpfile.Node, props svn.Props, text string) {
		var block []byte
		if props != nil {
			block = dumpfile.EncodePropDelta(nil, props)
			n.PropDelta = true
		}
		if text == "" {
			ok(w.Node(&n, block, nil, dumpfile.NoText))
			return
		}
		ok(w.Node(&n, block, strings.NewReader(text), int64(len(text))))
	}
	ok(w.Format(dumpfile.FormatDeltas))
	ok(w.UUID("11111111-2222-4333-8444-555555555555"))
	commit("")
	commit("first\r\nwith old line ends\r\n")
	for _, dir := range []string{"trunk", "branches", "trunk/d"} {
		node(dumpfile.Node{Path: dir, Kind: svn.Dir, Action: dumpfile.Add}, nil, "")
	}
	commit("files")
	for i := range 30 {
		props := svn.Props{"svn:ignore": "a\r\nb", "n": fmt.Sprint(i)}
		node(dumpfile.Node{Path: fmt.Sprintf("trunk/f%d", i), Kind: svn.File, Action: dumpfile.Add}, props, strings.Repeat(fmt.Sprint(i, "\x00\xfe\n"), 50*i+1))
	}
	commit("a branch, changed")
	node(dumpfile.Node{Path: "branches/b", Kind: svn.Dir, Action: dumpfile.Add, CopyFrom: &svn.CopyFrom{Path: "trunk", Rev: 2}}, nil, "")
	node(dumpfile.Node{Path: "branches/b/f1", Action: dumpfile.Delete}, nil, "")
	node(dumpfile.Node{Path: "branches/b/f2", Kind: svn.File, Action: dumpfile.Change}, nil, "changed\n")
	commit("merged, so it says")
	merged := svn.Props{svn.PropMergeinfo: "/branches/b:1,3"}
	node(dumpfile.Node{Path: "trunk", Kind: svn.Dir, Action: dumpfile.Change}, merged, "")
	commit("replaced")
	node(dumpfile.Node{Path: "trunk/d", Action: dumpfile.Delete}, nil, "")
	node(dumpfile.Node{Path: "trunk/d", Kind: svn.File, Action: dumpfile.Add, CopyFrom: &svn.CopyFrom{Path: "branches/b/f2", Rev: 3}}, nil, "")
	node(dumpfile.Node{Path: "trunk/f3", Kind: svn.File, Action: dumpfile.Change}, nil, "short\n")
	commit("nothing")
	return b.Bytes()
}

func (w *svnWorld) importFrom(name, address string) error {
	return w.srv.SvnImport(w.t.Context(), server.Local, name, "svn://"+address+"/repo", svnpull.Options{}, nil, io.Discard)
}

func (w *svnWorld) dump(name string) []byte {
	w.t.Helper()
	var b bytes.Buffer
	if err := w.srv.SvnDump(w.t.Context(), server.Local, name, &b, svnrepos.DumpOptions{From: svn.InvalidRevnum, To: svn.InvalidRevnum}, nil); err != nil {
		w.t.Fatal(err)
	}
	return b.Bytes()
}

// TestSvnImportCut has an import end in the middle again and again. What is there is always the beginning of the source's history, and in
// the end all of it.
func TestSvnImportCut(t *testing.T) {
	t.Parallel()
	w := newSvnWorld(t, server.Config{}, time.Minute)
	src := svnservetest.New(t, history(t))
	want := src.Dump()
	var left atomic.Int64
	left.Store(500) // enough for the greeting and the login
	cut := cutting(t, src.Addr, left.Load)
	attempts, whole := 0, 0
	for err := w.importFrom("copy", cut); err != nil; err = w.importFrom("copy", cut) {
		if attempts++; attempts > 200 {
			t.Fatal(err)
		}
		left.Add(400)
		if _, err := w.srv.Repo(server.Local, "copy"); err != nil {
			continue // it was not made yet
		}
		got := w.dump("copy")
		if bytes.Contains(got, []byte("\nRevision-number: 1\n")) {
			if whole++; !bytes.HasPrefix(want, bytes.TrimSuffix(got, []byte("\n"))) {
				t.Fatalf("after %d attempts there is\n%s", attempts, got)
			}
		}
	}
	if got := w.dump("copy"); !bytes.Equal(got, want) || whole < 3 {
		t.Errorf("after %d attempts, %d with revisions, the copy is\n%s\nnot\n%s", attempts, whole, got, want)
	}
}

// TestSvnImportFollows imports what is new, as long as nothing else was done to either side.
func TestSvnImportFollows(t *testing.T) {
	t.Parallel()
	w := newSvnWorld(t, server.Config{}, time.Minute)
	all := history(t)
	at := bytes.Index(all, []byte("Revision-number: 4"))
	src := svnservetest.New(t, all[:at])
	for _, more := range [][]byte{nil, append([]byte("SVN-fs-dump-format-version: 3\n\n"), all[at:]...), nil} {
		if more != nil {
			src.Load(more)
		}
		if err := w.importFrom("copy", src.Addr); err != nil {
			t.Fatal(err)
		}
		if got, want := w.dump("copy"), src.Dump(); !bytes.Equal(got, want) {
			t.Fatalf("the copy is\n%s\nnot\n%s", got, want)
		}
	}
	date := filepath.Join(t.TempDir(), "date")
	write(t, date, "2012-01-01T00:00:00.000000Z")
	svnservetest.Admin(t, nil, "setrevprop", src.Dir, "-r", "6", "svn:date", date)
	if err := w.importFrom("copy", src.Addr); err == nil || !strings.Contains(err.Error(), "its r6 is of 2011") {
		t.Errorf("with another r6: %v", err)
	}
	if _, err := w.mkdir("own"); err != nil {
		t.Fatal(err)
	}
	if err := w.importFrom("app", src.Addr); err == nil || !strings.Contains(err.Error(), "uuid") {
		t.Errorf("over a repository with revisions of its own: %v", err)
	}
}

// TestSvnImportRefused has sources that are none, and somebody who may not.
func TestSvnImportRefused(t *testing.T) {
	t.Parallel()
	w := newSvnWorld(t, server.Config{}, time.Minute)
	gone := listen(t)
	address := gone.Addr().String()
	gone.Close()
	if err := w.importFrom("copy", address); err == nil || !strings.Contains(err.Error(), "cannot reach the server of svn://"+address+"/repo: ") {
		t.Errorf("nobody there: %v", err)
	}
	for _, url := range []string{"https://127.0.0.1/repo", "file:///repo", "svn+ssh://127.0.0.1/repo", "git@127.0.0.1:repo"} {
		err := w.srv.SvnImport(t.Context(), server.Local, "copy", url, svnpull.Options{}, nil, io.Discard)
		if err == nil || !strings.Contains(err.Error(), "svnrdump dump URL | holdfast svn load copy") {
			t.Errorf("%s: %v", url, err)
		}
	}
	err := w.srv.SvnImport(t.Context(), auth.Identity{Name: "alice"}, "app", "svn://"+address+"/repo", svnpull.Options{}, nil, io.Discard)
	if err == nil || strings.Contains(err.Error(), "refused") {
		t.Errorf("for alice: %v", err)
	}
	if _, err := w.srv.Repo(server.Local, "copy"); err == nil {
		t.Error("there is a repository after all")
	}
}

// TestSvnImportTwice starts an import while another one into the same repository waits for its source, and then ends that.
func TestSvnImportTwice(t *testing.T) {
	t.Parallel()
	w := newSvnWorld(t, server.Config{}, time.Minute)
	ln := listen(t)
	defer ln.Close()
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	url := "svn://" + ln.Addr().String() + "/repo"
	go func() { first <- w.srv.SvnImport(ctx, server.Local, "copy", url, svnpull.Options{}, nil, io.Discard) }()
	conn := must(ln.Accept())
	defer conn.Close()
	if err := w.importFrom("copy", ln.Addr().String()); err == nil || !strings.Contains(err.Error(), "under way") {
		t.Errorf("the second import: %v", err)
	}
	cancel()
	if err := <-first; err == nil {
		t.Error("an import from a silent server succeeded")
	}
}
