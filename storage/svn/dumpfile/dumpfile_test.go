package dumpfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"holdfast/storage/svn"
	"holdfast/storage/svn/dumpfile"
)

// rewrite reads a dump file and writes it again.
func rewrite(in io.Reader, out io.Writer) error {
	r, w := dumpfile.NewReader(in), dumpfile.NewWriter(out)
	format := dumpfile.FormatPlain
	var b bytes.Buffer // what follows the format, which is not known before it is seen whether there are deltas
	body := dumpfile.NewWriter(&b)
	var waiting *dumpfile.Node // a deletion that may be half of a replacement
	for {
		rec, err := r.Next()
		if waiting != nil {
			if err == nil && rec.Node != nil && rec.Node.Path == waiting.Path {
				err = body.Deleted(waiting.Path)
			} else if err == nil || err == io.EOF {
				err = errors.Join(body.Node(waiting, nil, nil, dumpfile.NoText), err)
			}
			waiting = nil
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && rec.Node != nil && rec.Node.Action == dumpfile.Delete {
			waiting = rec.Node
			continue
		}
		if err == nil {
			err = copyRecord(r, rec, body)
		}
		if err != nil {
			return err
		}
		if rec.Node != nil && (rec.Node.TextDelta || rec.Node.PropDelta) {
			format = dumpfile.FormatDeltas
		}
	}
	if err := w.Format(format); err != nil {
		return err
	}
	_, err := b.WriteTo(out)
	return err
}

func copyRecord(r *dumpfile.Reader, rec *dumpfile.Record, w *dumpfile.Writer) error {
	if rec.UUID != "" {
		return w.UUID(rec.UUID)
	}
	changes, ok, err := r.Props()
	if err != nil {
		return err
	}
	set, gone := svn.Props{}, svn.Props{}
	for _, c := range changes {
		set.Set(c.Name, c.Value)
		if c.Value == nil {
			gone[c.Name] = ""
		}
	}
	if rec.IsRevision {
		return w.Revision(rec.Rev, set)
	}
	if rec.Node == nil {
		return nil
	}
	var props []byte
	if ok {
		props = dumpfile.EncodePropDelta(gone, set)
	}
	text, err := r.Text()
	if err != nil {
		return err
	}
	if text == nil {
		return w.Node(rec.Node, props, nil, dumpfile.NoText)
	}
	b, err := io.ReadAll(text)
	if err != nil {
		return err
	}
	return w.Node(rec.Node, props, bytes.NewReader(b), int64(len(b)))
}

func run(t *testing.T, dir, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, errs.Bytes())
	}
	return out
}

// TestRewriteSubversion reads dumps that Subversion made of all kinds of changes, and writes the same bytes again.
func TestRewriteSubversion(t *testing.T) {
	if _, err := exec.LookPath("svnadmin"); err != nil {
		t.Skip("no svnadmin")
	}
	dir := t.TempDir()
	wc := filepath.Join(dir, "wc")
	run(t, dir, "svnadmin", "create", "repo")
	run(t, dir, "svn", "checkout", "-q", "file://"+dir+"/repo", wc)
	file := func(name, text string) {
		if err := os.WriteFile(filepath.Join(wc, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	commit := func(commands ...string) {
		for _, c := range commands {
			run(t, wc, "svn", strings.Split(c, " ")...)
		}
		run(t, wc, "svn", "commit", "-q", "-m", "two\nlines \u00e4", "--username", "a")
		run(t, wc, "svn", "update", "-q")
	}
	commit("mkdir -q trunk branches")
	file("trunk/a b", "text of a\n")
	file("trunk/empty", "")
	commit("add -q trunk/empty", "propset -q p value trunk")
	run(t, wc, "svn", "add", "-q", "trunk/a b")
	commit("propset -q x y trunk/empty")
	file("trunk/a b", strings.Repeat("more\n", 1000))
	commit("copy -q trunk branches/b", "propdel -q p branches/b", "propset -q q z branches/b", "rm -q trunk/empty")
	commit("rm -q branches/b/empty", "copy -q trunk branches/b/trunk")
	commit("rm -q branches/b", "copy -q trunk branches/b")
	for _, flags := range [...][]string{nil, {"--deltas"}, {"-r", "3:5", "--incremental"}} {
		dump := run(t, dir, "svnadmin", append([]string{"dump", "-q", "repo"}, flags...)...)
		var b bytes.Buffer
		if err := rewrite(iotest.HalfReader(bytes.NewReader(dump)), &b); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.Bytes(), dump) {
			t.Errorf("%s: written otherwise:\n%q\n%q", flags, dump, b.Bytes())
		}
	}
}

const start = "SVN-fs-dump-format-version: 2\n\n"

// TestReadOld reads format 1, which has one length.
func TestReadOld(t *testing.T) {
	in := "SVN-fs-dump-format-version: 1\n\nRevision-number: 1\nContent-length: 10\n\nPROPS-END\n\n" +
		"Node-path: a\nNode-kind: file\nNode-action: add\nContent-length: 14\n\nPROPS-END\ntext\n\n" +
		"Node-path: b\nNode-kind: file\nNode-action: add\nContent-length: 10\n\nPROPS-END\n\n\n" +
		"Node-path: c\nNode-kind: dir\nNode-action: add\nContent-length: 10\n\nPROPS-END\n\n\n" +
		"Node-path: d\nNode-kind: file\nNode-action: add\n\n\n"
	r := dumpfile.NewReader(strings.NewReader(in))
	var got strings.Builder
	for {
		rec, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if rec.Node == nil {
			continue
		}
		_, ok, err := r.Props()
		text, err2 := r.Text()
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(&got, rec.Node.Path, " ", ok, " ", text != nil, " ")
		if text != nil {
			b, err := io.ReadAll(text)
			fmt.Fprintf(&got, "%q %v ", b, err)
		}
	}
	if want := `a true true "text" <nil> b true true "" <nil> c true false d false false `; got.String() != want {
		t.Errorf("got  %s\nwant %s", got.String(), want)
	}
}

func TestMalformed(t *testing.T) {
	node := start + "Node-path: a\nNode-kind: file\nNode-action: add\n"
	for _, c := range []struct {
		name, in string
		code     svn.Code
	}{
		{"empty", "", svn.ErrIncompleteData},
		{"no dump file", strings.Repeat("x", 100), svn.ErrStreamMalformedData},
		{"another header", "SVN-fs-dump-format: 2\n", svn.ErrStreamMalformedData},
		{"no number", "SVN-fs-dump-format-version: two\n", svn.ErrStreamMalformedData},
		{"format 4", "SVN-fs-dump-format-version: 4\n\n", svn.ErrStreamMalformedData},
		{"format only", start, 0},
		{"blank lines", start + "\n \n\t\n", 0},
		{"no newline", start + "UUID: x", svn.ErrIncompleteData},
		{"no colon", start + "UUID\n\n", svn.ErrStreamMalformedData},
		{"no value", start + "UUID:\n\n", svn.ErrStreamMalformedData},
		{"no record", start + "Something: x\n\n", svn.ErrStreamMalformedData},
		{"no such revision", start + "Revision-number: x\n\n", svn.ErrStreamMalformedData},
		{"long header", start + "UUID: " + strings.Repeat("x", dumpfile.MaxLine) + "\n\n", svn.ErrStreamMalformedData},
		{"many headers", start + "UUID: x\n" + manyHeaders() + "\n", svn.ErrStreamMalformedData},
		{"text too short", node + "Text-content-length: 5\nContent-length: 5\n\nabc\n", svn.ErrIncompleteData},
		{"sizes", node + "Prop-content-length: 10\nText-content-length: 5\nContent-length: 12\n\n", svn.ErrStreamMalformedData},
		{"sizes too large for a sum", node + "Prop-content-length: 10\nText-content-length: 9223372036854775807\nContent-length: 0\n\nPROPS-END\n",
			svn.ErrStreamMalformedData},
		{"negative", node + "Text-content-length: -5\n\n", svn.ErrStreamMalformedData},
		{"big properties", node + "Prop-content-length: 99999999999\n\n", svn.ErrStreamMalformedData},
		{"big property", node + "Prop-content-length: 100\n\nK 99999999999\nx\n", svn.ErrStreamMalformedData},
		{"properties end", node + "Prop-content-length: 100\n\nK 1\nx\nV 1\ny\n", svn.ErrStreamMalformedData},
		{"property ends", node + "Prop-content-length: 100\n\nK 5\nx\n", svn.ErrIncompleteData},
		{"property too long", node + "Prop-content-length: 100\n\nK 1\nxyz\n", svn.ErrStreamMalformedData},
		{"a value first", node + "Prop-content-length: 100\n\nV 1\nx\n", svn.ErrStreamMalformedData},
		{"two names", node + "Prop-content-length: 100\n\nK 1\nx\nK 1\nx\n", svn.ErrStreamMalformedData},
		{"deleted of a revision", start + "Revision-number: 1\nProp-content-length: 20\n\nD 1\nx\nPROPS-END\n", svn.ErrStreamMalformedData},
		{"deleted", node + "Prop-content-length: 16\nContent-length: 16\n\nD 1\nx\nPROPS-END\n", 0},
		{"more content", node + "Prop-content-length: 10\nContent-length: 15\n\nPROPS-END\nabcd\nUUID: x\n\n", 0},
		{"content ends", node + "Prop-content-length: 10\nContent-length: 15\n\nPROPS-END\nabc", svn.ErrIncompleteData},
	} {
		err := rewrite(iotest.OneByteReader(strings.NewReader(c.in)), io.Discard)
		if svn.CodeOf(err) != c.code || c.code == 0 && err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func manyHeaders() string {
	var b strings.Builder
	for i := range dumpfile.MaxHeaders {
		fmt.Fprintf(&b, "h%d: x\n", i)
	}
	return b.String()
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(start + "UUID: x\n\nRevision-number: 1\nProp-content-length: 10\nContent-length: 10\n\nPROPS-END\n\n" +
		"Node-path: a\nNode-kind: file\nNode-action: add\nProp-content-length: 24\nText-content-length: 4\nContent-length: 28\n\nK 1\na\nV 2\nxx\nPROPS-END\ntext\n\n"))
	f.Add([]byte("SVN-fs-dump-format-version: 3\n\nRevision-number: 1\n\nNode-path: b\nNode-action: delete\n\n" +
		"Node-path: b\nNode-action: add\nNode-copyfrom-rev: 1\nNode-copyfrom-path: a\nProp-delta: true\nProp-content-length: 16\n\nD 1\nx\nPROPS-END\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		// What is written is read as what was written.
		var once, twice bytes.Buffer
		if rewrite(bytes.NewReader(in), &once) != nil {
			return
		}
		if err := rewrite(bytes.NewReader(once.Bytes()), &twice); err != nil || !bytes.Equal(once.Bytes(), twice.Bytes()) {
			t.Fatalf("%v\n%q\n%q", err, once.Bytes(), twice.Bytes())
		}
	})
}
