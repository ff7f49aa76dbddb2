package svnproto_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"holdfast/server/svnproto"
)

const anonymousHello = hello + "( ANONYMOUS ( 0: ) ) "

// serveBytes gives a session all that a client would say at once.
func serveBytes(h *fakeHost, in []byte) string {
	var out bytes.Buffer
	o := svnproto.Options{MaxRequestBytes: 1 << 16, MaxItems: 1 << 12, MaxCommitBytes: 1 << 16}
	svnproto.Serve(context.Background(), bytes.NewReader(in), &out, h, o)
	return out.String()
}

// checkAnswers makes sure that everything that was written is items.
func checkAnswers(t *testing.T, out string) {
	r := svnproto.NewReader(strings.NewReader(out))
	for {
		if _, err := r.Read(); err != nil {
			if !strings.Contains(err.Error(), io.EOF.Error()) || strings.TrimSpace(out) == "" {
				t.Fatalf("%v in %q", err, out)
			}
			return
		}
	}
}

// FuzzCommands reads a session's commands.
func FuzzCommands(f *testing.F) {
	for _, c := range differentialCommands {
		f.Add([]byte(c))
	}
	f.Add([]byte("( lock-many ( ( ) false ( ( 1:a ( 1 ) ) ) ) ) ( unlock-many ( true ( ( 1:a ( 1:t ) ) ) ) ) "))
	f.Add([]byte(commitBegin + addFile("a", "text") + "( close-edit ( ) ) "))
	h := newHost(f)
	h.anonymous = svnproto.WriteAccess
	f.Fuzz(func(t *testing.T, in []byte) {
		checkAnswers(t, serveBytes(h, append([]byte(anonymousHello), in...)))
		if txns := h.fs.Txns(); len(txns) > 0 {
			t.Fatalf("open transactions: %v", txns)
		}
	})
}

// FuzzEdit reads a commit's edit.
func FuzzEdit(f *testing.F) {
	f.Add([]byte(addFile("a", "text") + "( close-edit ( ) ) "))
	f.Add([]byte("( open-root ( ( 0 ) 1:r ) ) ( add-dir ( 1:d 1:r 1:d ( ) ) ) ( change-dir-prop ( 1:d 1:p ( 1:v ) ) ) ( delete-entry ( 1:d ( 0 ) 1:r ) ) ( close-dir ( 1:d ) ) ( close-dir ( 1:r ) ) ( close-edit ( ) ) "))
	f.Add([]byte("( open-root ( ( ) 1:r ) ) ( add-file ( 1:b 1:r 1:f ( 22:svn://localhost/repo/a 1 ) ) ) ( change-file-prop ( 1:f 1:p ( ) ) ) ( close-file ( 1:f ( 3:abc ) ) ) ( abort-edit ( ) ) "))
	f.Add([]byte("( open-root ( ( ) 1:r ) ) ( absent-file ( 1:b 1:r ) ) ( open-dir ( 1:x 1:r 1:y ( 7 ) ) ) "))
	h := newHost(f)
	h.anonymous = svnproto.WriteAccess
	f.Fuzz(func(t *testing.T, in []byte) {
		out := serveBytes(h, append([]byte(anonymousHello+commitBegin), in...))
		checkAnswers(t, out)
		if txns := h.fs.Txns(); len(txns) > 0 {
			t.Fatalf("open transactions: %v", txns)
		}
	})
}
