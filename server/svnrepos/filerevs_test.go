package svnrepos_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
	"holdfast/storage/svn/svndiff"
)

// textTaker puts a file's texts together from deltas.
type textTaker struct {
	text    []byte
	next    bytes.Buffer
	applier *svndiff.Applier
}

func (k *textTaker) begin() svn.WindowHandler {
	k.next.Reset()
	k.applier = svndiff.NewApplier(bytes.NewReader(k.text), &k.next, nil)
	return k
}

func (k *textTaker) Window(w *svn.Window) error { return k.applier.Window(w) }

func (k *textTaker) Close() error {
	k.text = bytes.Clone(k.next.Bytes())
	return k.applier.Close()
}

// describeFileRevs shows a line a revision, with the text if there is a delta.
func describeFileRevs(t *testing.T, r *svnrepos.Repository, path string, start, end svn.Revnum, merged bool) string {
	t.Helper()
	var b strings.Builder
	var k textTaker
	pending := func() {}
	err := r.FileRevs(t.Context(), path, start, end, merged, func(rev svnrepos.FileRev) (svn.WindowHandler, error) {
		pending()
		fmt.Fprintf(&b, "%s@%d", rev.Path, rev.Rev)
		if rev.MergedRevision {
			b.WriteString(" merged")
		}
		for _, c := range rev.PropDiffs {
			if c.Value == nil {
				fmt.Fprintf(&b, " -%s", c.Name)
			} else {
				fmt.Fprintf(&b, " %s=%s", c.Name, *c.Value)
			}
		}
		if want, err := r.RevProps(rev.Rev); err != nil || !maps.Equal(rev.RevProps, want) {
			t.Errorf("r%d: %v, want %v; %v", rev.Rev, rev.RevProps, want, err)
		}
		if !rev.HasDelta {
			b.WriteString("\n")
			pending = func() {}
			return nil, nil
		}
		pending = func() { fmt.Fprintf(&b, " %s\n", strings.ReplaceAll(string(k.text), "\n", "")) }
		return k.begin(), nil
	})
	pending()
	return describeError(&b, err)
}

func TestFileRevs(t *testing.T) {
	r := newMergedHistory(t)
	for _, test := range []struct {
		name, path string
		concealed  concealed
		start, end svn.Revnum
		merged     bool
		want       string
	}{
		{"all", "/trunk/h", nil, 0, -1, false, `/trunk/f@1 123
/trunk/f@7 1234
/trunk/f@10 123
/trunk/h@11
/trunk/h@12 p=w 1235
/trunk/h@13 svn:mergeinfo=/branches/b/f:3 12345`},
		{"merged", "/trunk/h", nil, 0, -1, true, `/trunk/f@1 123
/branches/b/f@2 merged 123
/branches/b/f@3 merged 1234
/trunk/f@7 1234
/trunk/f@10 123
/trunk/h@11 123
/trunk/h@12 p=w 1235
/trunk/h@13 svn:mergeinfo=/branches/b/f:3 12345`},
		{"backwards", "/trunk/h", nil, -1, 0, false, `/trunk/h@13 p=w svn:mergeinfo=/branches/b/f:3 12345
/trunk/h@12 -svn:mergeinfo 1235
/trunk/h@11 -p 123
/trunk/f@10
/trunk/f@7 1234
/trunk/f@1 123`},
		{"from the middle", "/trunk/h", nil, 12, 12, false, "/trunk/h@12 p=w 1235"},
		{"before a change", "/trunk/f", nil, 3, 5, false, "/trunk/f@1 123"},
		{"copies", "/tags/1/n", nil, 0, 10, false, "/branches/b/n@6 new\n/trunk/n@7\n/tags/1/n@9"},
		{"a hidden source", "/tags/1/n", concealed{"/branches"}, 0, 10, false, "/trunk/n@7 new\n/tags/1/n@9"},
		{"hidden", "/tags/1/n", concealed{"/tags"}, 0, 10, false, "E220001: Unreadable path encountered; access denied"},
		{"backwards and merged", "/trunk/h", nil, -1, 0, true, "E200007: Trying to use an unsupported feature"},
		{"a directory", "/trunk", nil, 0, -1, false, "E160017: '/trunk' is not a file in revision 13"},
		{"nothing", "/trunk/f", nil, 0, -1, false, "E160017: '/trunk/f' is not a file in revision 13"},
		{"no revision", "/trunk/h", nil, 0, 99, false, "E160006: No such revision 99"},
	} {
		r.Access = test.concealed
		if got := describeFileRevs(t, r, test.path, test.start, test.end, test.merged); got != test.want {
			t.Errorf("%s:\n%s\nwant\n%s", test.name, got, test.want)
		}
	}
}

// TestFileRevsTexts has texts that are kept for the next delta, that are too long for it, and that nobody wanted.
func TestFileRevsTexts(t *testing.T) {
	fs := newFS(t)
	long := strings.Repeat("0123456789abcdef", 300000)
	script(t, fs, "put /f a", "put /f "+long, "put /f "+long+"b", "put /f c", "put /f d", "set p v /f", "put /f e")
	r := &svnrepos.Repository{FS: fs}
	var k textTaker
	var got []int
	err := r.FileRevs(t.Context(), "/f", 0, -1, false, func(rev svnrepos.FileRev) (svn.WindowHandler, error) {
		got = append(got, len(k.text))
		if rev.HasDelta != (rev.Rev != 6) {
			t.Errorf("r%d: %v", rev.Rev, rev.HasDelta)
		}
		if !rev.HasDelta {
			return nil, nil
		}
		return k.begin(), nil
	})
	if err != nil || fmt.Sprint(got) != fmt.Sprintf("[0 1 %d %d 1 1 1]", len(long), len(long)+1) || string(k.text) != "e" {
		t.Errorf("%v, %v, %.20s", err, got, k.text)
	}
	stop := errors.New("stop")
	k = textTaker{}
	err = r.FileRevs(t.Context(), "/f", 0, -1, false, func(rev svnrepos.FileRev) (svn.WindowHandler, error) {
		if rev.Rev == 5 {
			k.text = []byte("c") // what r4 has, of which no delta was taken
			return k.begin(), nil
		}
		if rev.Rev == 6 {
			return nil, stop
		}
		return nil, nil
	})
	if !errors.Is(err, stop) || string(k.text) != "d" {
		t.Errorf("%v, %s", err, k.text)
	}
}
