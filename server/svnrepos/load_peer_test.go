package svnrepos_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/storage/svn"

	"holdfast/server/svnrepos"
)

// loadWay is a way to load a dump, in our words and in svnadmin's.
type loadWay struct {
	name  string
	o     svnrepos.LoadOptions
	flags []string
	first string // a dump that is loaded before
}

const someRevisions = `SVN-fs-dump-format-version: 2

Revision-number: 1
Prop-content-length: 10
Content-length: 10

PROPS-END

Node-path: below
Node-kind: dir
Node-action: add


Revision-number: 2
Prop-content-length: 10
Content-length: 10

PROPS-END

`

func loadWays() []loadWay {
	return []loadWay{
		{name: "plain"},
		{name: "any properties", o: svnrepos.LoadOptions{BypassPropValidation: true}, flags: []string{"--bypass-prop-validation"}},
		{name: "normalized", o: svnrepos.LoadOptions{NormalizeProps: true}, flags: []string{"--normalize-props"}},
		{name: "later", first: someRevisions, o: svnrepos.LoadOptions{BypassPropValidation: true}, flags: []string{"--bypass-prop-validation"}},
		{name: "below", first: someRevisions, o: svnrepos.LoadOptions{ParentDir: "below"}, flags: []string{"--parent-dir", "below"}},
		{name: "some", o: svnrepos.LoadOptions{First: 1, Last: 3, UUID: svnrepos.IgnoreUUID}, flags: []string{"-r", "1:3", "--ignore-uuid"}},
	}
}

// TestLoadLikeSubversion loads dumps as svnadmin does: what is said, the error, and what the repositories hold after it are the same.
func TestLoadLikeSubversion(t *testing.T) {
	dir := os.Getenv("SVN_DUMPS")
	empty := filepath.Join(t.TempDir(), "empty")
	subversion(t, nil, "svnadmin", "create", empty)
	for name, d := range dumpsToLoad(t, dir) {
		for i, way := range loadWays() {
			if dir == "" && i > 0 && (way.first == "" || !strings.Contains(name, "merges of") && !strings.Contains(name, "copy of") && name != "root") {
				continue
			}
			if i > 0 && strings.HasSuffix(name, "gap") {
				continue // Subversion confuses the numbers of the dump and its own
			}
			t.Run(name+"/"+way.name, func(t *testing.T) { loadBoth(t, empty, d, way) })
		}
	}
}

// loadBoth loads a dump here and by svnadmin into a copy of an empty repository.
func loadBoth(t *testing.T, empty string, d []byte, way loadWay) {
	repo := filepath.Join(t.TempDir(), "repo")
	if err := os.CopyFS(repo, os.DirFS(empty)); err != nil {
		t.Fatal(err)
	}
	r := &svnrepos.Repository{FS: newFS(t)}
	if way.first != "" {
		subversion(t, []byte(way.first), "svnadmin", "load", "-q", repo, "--no-flush-to-disk")
		if _, err := loadInto(t, r, []byte(way.first), svnrepos.LoadOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("svnadmin", append([]string{"load", repo, "--no-flush-to-disk"}, way.flags...)...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(d), &out, &errs
	failed := cmd.Run()
	said, err := loadInto(t, r, d, way.o)
	var e *svn.Error
	switch {
	case (failed != nil) != (err != nil):
		t.Fatalf("%v, want %s", err, errs.Bytes())
	case errors.As(err, &e) && !strings.Contains(errs.String(), strings.SplitN(e.Message, "'", 2)[0]):
		t.Errorf("%v, want %s", err, errs.Bytes())
	}
	differs(t, "said", []byte(said), out.Bytes())
	differs(t, "dump", skipHead(dump(t, r, svnrepos.DumpOptions{To: svn.InvalidRevnum})), skipHead(subversion(t, nil, "svnadmin", "dump", "-q", repo)))
}

// skipHead returns a dump from revision 1 on.
func skipHead(d []byte) []byte {
	_, d, _ = bytes.Cut(d, []byte("Revision-number: 1\n"))
	return d
}

// dumpsToLoad returns dumps with all that needs care, or those below a directory if it is not "".
func dumpsToLoad(t *testing.T, dir string) map[string][]byte {
	dumps := map[string][]byte{}
	if dir == "" {
		for name, d := range oddDumps() {
			dumps[name] = []byte(d)
		}
		return dumps
	}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".dump") {
			return err
		}
		dumps[filepath.Base(filepath.Dir(path))+"/"+filepath.Base(path)], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return dumps
}

// oddDumps are dumps that no svnadmin writes.
func oddDumps() map[string]string {
	const format = "SVN-fs-dump-format-version: 3\n\n"
	rev := func(n int, nodes ...string) string {
		return fmt.Sprintf("Revision-number: %d\nProp-content-length: 10\nContent-length: 10\n\nPROPS-END\n\n", n) + strings.Join(nodes, "")
	}
	node := func(path, action string, headers ...string) string {
		return "Node-path: " + path + "\nNode-action: " + action + "\n" + strings.Join(headers, "\n") + "\n\n"
	}
	text := func(headers, s string) string {
		return fmt.Sprintf("%sText-content-length: %d\nContent-length: %d\n\n%s\n", headers, len(s), len(s), s)
	}
	merges := func(value string) string {
		props := string(svn.EncodeProps(svn.Props{"svn:mergeinfo": value}))
		return fmt.Sprintf("Node-path: b\nNode-action: change\nProp-content-length: %d\n\n%s\n", len(props), props)
	}
	dir, file := "Node-kind: dir", "Node-kind: file"
	a := rev(1, node("a", "add", file, text("", "abc")))
	return map[string]string{
		"two formats":         format + "SVN-fs-dump-format-version: 2\n\n" + a,
		"node in revision 0":  format + rev(0, node("a", "add", dir)),
		"no action":           format + rev(1, node("a", "touch", dir)),
		"no kind":             format + rev(1, node("a", "add")),
		"there already":       format + rev(1, node("b", "add", dir), node("b", "add", dir)),
		"not there":           format + rev(1, node("x", "delete")),
		"change of nothing":   format + rev(1, node("x", "change", text("", "abc"))),
		"properties of none":  format + rev(1, node("x", "change", "Prop-content-length: 10", "", "PROPS-END")),
		"no parent":           format + rev(1, node("x/y", "add", dir)),
		"below a file":        format + a + rev(2, node("a/b", "add", dir)),
		"text of a directory": format + rev(1, node("d", "add", dir, text("", "abc"))),
		"wrong text":          format + rev(1, node("a", "add", file, text("Text-content-md5: 00000000000000000000000000000001\n", "abc"))),
		"right text":          format + rev(1, node("a", "add", file, text("Text-content-md5: 900150983cd24fb0d6963f7d28e17f72\n", "abc"))),
		"no svndiff":          format + rev(1, node("a", "add", file, text("Text-delta: true\n", "abc"))),
		"bad svndiff":         format + rev(1, node("a", "add", file, text("Text-delta: true\n", "SVN\x00\x00\x00\x03\x01\x02\x83ab"))),
		"good svndiff":        format + rev(1, node("a", "add", file, text("Text-delta: true\n", "SVN\x00\x00\x00\x03\x01\x03\x83abc"))),
		"wrong base": format + a + rev(2, node("a", "change", file,
			text("Text-delta: true\nText-delta-base-md5: 00000000000000000000000000000001\n", "SVN\x00"))),
		"copy of nothing":  format + a + rev(2, node("b", "add", file, "Node-copyfrom-rev: 1", "Node-copyfrom-path: x")),
		"copy of later":    format + a + rev(2, node("b", "add", file, "Node-copyfrom-rev: 5", "Node-copyfrom-path: a")),
		"copy of itself":   format + a + rev(2, node("a", "replace", file, "Node-copyfrom-rev: 1", "Node-copyfrom-path: a")),
		"copy of other":    format + a + rev(2, node("b", "add", file, "Node-copyfrom-rev: 1", "Node-copyfrom-path: a", "Text-copy-source-md5: 00000000000000000000000000000001")),
		"copy of a gap":    format + a + rev(5, node("b", "add", file, "Node-copyfrom-rev: 1", "Node-copyfrom-path: a")) + rev(9, node("c", "add", file, "Node-copyfrom-rev: 3", "Node-copyfrom-path: a")),
		"merges of a gap":  format + a + rev(5, node("b", "add", dir)) + rev(9, merges("/a:1-5*,9")) + rev(10, merges("/a:5-9,12\n/y:30")),
		"merges of before": format + rev(4, node("b", "add", dir)) + rev(5, merges("/a:1-4\n/c:2*,4")),
		"merges with CR":   format + rev(1, node("b", "add", dir)) + rev(2, merges("/a:1\r\n/c:1\r\n")),
		"no mergeinfo":     format + rev(1, node("b", "add", dir)) + rev(2, merges("/a:x")),
		"backwards":        format + rev(5, node("b", "add", dir)) + rev(2, node("c", "add", dir)) + rev(3, node("d", "add", dir, "Node-copyfrom-rev: 5", "Node-copyfrom-path: b")),
		"root":             format + rev(1, node("", "change", "Prop-delta: true", "Prop-content-length: 26", "", "K 1", "x", "V 1", "y", "PROPS-END")),
		"root is added":    format + rev(1, node("", "add", dir)),
		"root is deleted":  format + rev(1, node("", "delete")),
	}
}
