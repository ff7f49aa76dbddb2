package svnrepos_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
	"holdfast/storage/svn/svndiff"
)

// longHistory has 1,000 revisions, each of which changes a file that all change, and some others.
func longHistory(b *testing.B) *svnrepos.Repository {
	fs := newFS(b)
	script(b, fs, "mkdir /trunk; mkdir /trunk/d; mkdir /trunk/d/e; mkdir /branches")
	for rev := range 1000 {
		var text strings.Builder
		for line := range 200 {
			fmt.Fprintf(&text, "line %d as of %d|", line, rev-(rev+line)%200)
		}
		line := fmt.Sprintf("put /trunk/d/f %s; put /trunk/d/e/f%d %d; put /trunk/d/e/g%d %d", text.String(), rev, rev, rev%50, rev)
		if rev == 500 {
			line += "; cp 500 /trunk /branches/b"
		}
		script(b, fs, line)
	}
	return &svnrepos.Repository{FS: fs}
}

func BenchmarkHistory(b *testing.B) {
	r := longHistory(b)
	count := 0
	log := func(req svnrepos.LogRequest) func() error {
		req.Start, req.RevProps = -1, []string{svn.PropAuthor, svn.PropDate, svn.PropLog}
		return func() error {
			return r.Log(b.Context(), req, func(*svnrepos.LogEntry) error { count++; return nil })
		}
	}
	for _, bench := range []struct {
		name string
		run  func() error
		want int
	}{
		{"log", log(svnrepos.LogRequest{}), 1002},
		{"log -v", log(svnrepos.LogRequest{ChangedPaths: true}), 1002},
		{"log of a file", log(svnrepos.LogRequest{Paths: []string{"/trunk/d/f"}}), 1000},
		{"log -g of a directory", log(svnrepos.LogRequest{Paths: []string{"/trunk/d"}, IncludeMerged: true}), 1001},
		{"blame", func() error {
			var k textTaker
			return r.FileRevs(b.Context(), "/trunk/d/f", 0, -1, false, func(svnrepos.FileRev) (svn.WindowHandler, error) { count++; return k.begin(), nil })
		}, 1000},
		{"blame as svndiff", func() error {
			return r.FileRevs(b.Context(), "/trunk/d/f", 0, -1, false, func(svnrepos.FileRev) (svn.WindowHandler, error) {
				count++
				return svndiff.NewEncoder(io.Discard, 2, svndiff.DefaultLevel), nil
			})
		}, 1000},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				count = 0
				if err := bench.run(); err != nil || count != bench.want {
					b.Fatal(count, err)
				}
			}
		})
	}
}
