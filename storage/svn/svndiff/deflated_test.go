package svndiff_test

import (
	"bytes"
	"compress/zlib"
	"strings"
	"testing"

	"holdfast/storage/svn"
	"holdfast/storage/svn/svndiff"
)

func deflate(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestAppendDeflated(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("a line\n", 9), strings.Repeat("a line\n", 100), strings.Repeat("x", 63+64), strings.Repeat("x", svn.MaxWindow),
	} {
		diff, ok := svndiff.AppendDeflated(nil, len(text), deflate(t, text))
		if !ok {
			t.Fatalf("no svndiff of %d bytes", len(text))
		}
		var got bytes.Buffer
		d := svndiff.NewDecoder(svndiff.NewApplier(nil, &got, nil))
		if _, err := d.Write(diff); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if got.String() != text {
			t.Errorf("a text of %d bytes became one of %d", len(text), got.Len())
		}
	}
}

func TestAppendDeflatedRefuses(t *testing.T) {
	for _, text := range []string{"", "short", strings.Repeat("x", svn.MaxWindow+1)} {
		if diff, ok := svndiff.AppendDeflated(nil, len(text), deflate(t, text)); ok || len(diff) > 0 {
			t.Errorf("a text of %d bytes became %q", len(text), diff)
		}
	}
}
