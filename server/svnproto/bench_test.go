package svnproto_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"holdfast/server/svnproto"
)

// BenchmarkCheckout sends 2,000 small files.
func BenchmarkCheckout(b *testing.B) {
	h := newHost(b)
	h.anonymous = svnproto.WriteAccess
	var commit strings.Builder
	commit.WriteString(anonymousHello + commitBegin + "( open-root ( ( ) 1:r ) ) ")
	text := delta(strings.Repeat("some text, not long\n", 100))
	for i := range 2000 {
		fmt.Fprintf(&commit, "( add-file ( %s1:r 1:f ( ) ) ) ( apply-textdelta ( 1:f ( ) ) ) ( textdelta-chunk ( 1:f %s) ) ( textdelta-end ( 1:f ) ) "+
			"( close-file ( 1:f ( ) ) ) ", str(fmt.Sprint("f", i)), text)
	}
	commit.WriteString("( close-dir ( 1:r ) ) ( close-edit ( ) ) ")
	if err := svnproto.Serve(context.Background(), strings.NewReader(commit.String()), io.Discard, h, svnproto.Options{}); err != nil || h.fs.Youngest() != 1 {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		in, say := io.Pipe()
		out := &answering{say: say}
		go io.WriteString(say, anonymousHello+"( update ( ( ) 0: true ) ) "+reportEmpty)
		if err := svnproto.Serve(context.Background(), in, out, h, svnproto.Options{}); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(out.sent)
	}
}

// answering is a client's side of an update: it counts, and says that all was well at the end.
type answering struct {
	sent int64
	say  *io.PipeWriter
}

func (a *answering) Write(p []byte) (int, error) {
	a.sent += int64(len(p))
	if bytes.Contains(p, []byte("( close-edit")) {
		go func() {
			io.WriteString(a.say, "( success ( ) ) ")
			a.say.Close()
		}()
	}
	return len(p), nil
}
