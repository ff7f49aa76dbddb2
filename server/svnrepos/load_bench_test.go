package svnrepos_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"holdfast/storage/svn"

	"holdfast/server/svnrepos"
)

// smallCommits returns a dump of commits that each change one of 1,000 files in 50 directories.
func smallCommits(revs int) []byte {
	var b bytes.Buffer
	b.WriteString("SVN-fs-dump-format-version: 2\n\n")
	props := svn.EncodeProps(svn.Props{svn.PropAuthor: "alice", svn.PropDate: "2001-01-01T00:00:00.000000Z", svn.PropLog: "A change of a line"})
	node := func(path, action, kind, text string) {
		fmt.Fprintf(&b, "Node-path: %s\nNode-kind: %s\nNode-action: %s\n", path, kind, action)
		if kind == "file" {
			fmt.Fprintf(&b, "Text-content-length: %d\nContent-length: %d\n\n%s", len(text), len(text), text)
		}
		b.WriteString("\n\n")
	}
	text := func(rev int) string {
		return strings.Repeat("a line of the file\n", 100) + fmt.Sprintf("the line of revision %d\n", rev) + strings.Repeat("and one more\n", 100)
	}
	for rev := 1; rev <= revs; rev++ {
		fmt.Fprintf(&b, "Revision-number: %d\nProp-content-length: %d\nContent-length: %d\n\n%s\n", rev, len(props), len(props), props)
		if rev > 1 {
			n := rev * 7919 % 1000
			node(fmt.Sprintf("trunk/d%d/f%d", n%50, n), "change", "file", text(rev))
			continue
		}
		node("trunk", "add", "dir", "")
		for d := range 50 {
			node(fmt.Sprintf("trunk/d%d", d), "add", "dir", "")
			for n := d; n < 1000; n += 50 {
				node(fmt.Sprintf("trunk/d%d/f%d", d, n), "add", "file", text(1))
			}
		}
	}
	return b.Bytes()
}

func BenchmarkLoad(b *testing.B) {
	const revs = 500
	d := smallCommits(revs)
	b.SetBytes(int64(len(d)))
	for b.Loop() {
		load(b, d, svnrepos.LoadOptions{})
	}
	b.ReportMetric(float64(revs)*float64(b.N)/b.Elapsed().Seconds(), "revisions/s")
}

func BenchmarkDump(b *testing.B) {
	r, _ := load(b, smallCommits(500), svnrepos.LoadOptions{})
	for _, deltas := range [...]bool{false, true} {
		b.Run(fmt.Sprintf("deltas=%t", deltas), func(b *testing.B) {
			for b.Loop() {
				o := svnrepos.DumpOptions{To: svn.InvalidRevnum, Deltas: deltas}
				if err := r.Dump(b.Context(), io.Discard, o, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(500*float64(b.N)/b.Elapsed().Seconds(), "revisions/s")
		})
	}
}
