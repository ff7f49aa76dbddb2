package gitproto_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"holdfast/server/gitproto"
)

func TestReader(t *testing.T) {
	long := strings.Repeat("x", gitproto.MaxPayload)
	for _, tt := range []struct {
		name, in, want string
		err            error
	}{
		{"nothing", "", "", io.EOF},
		{"lines", "0006a\n0005a000bfoobar\n0004", `"a\n" "a" "foobar\n" "" `, io.EOF},
		{"upper case", "000Afoobar", `"foobar" `, io.EOF},
		{"specials", "0000000100020000", "flush packet delimiter packet response-end packet flush packet ", io.EOF},
		{"longest", "fff0" + long, fmt.Sprintf("%q ", long), io.EOF},
		{"too long", "fff1" + long + "x", "", gitproto.ErrProtocol},
		{"length 3", "0003", "", gitproto.ErrProtocol},
		{"no digits", "GET / HTTP/1.1", "", gitproto.ErrProtocol},
		{"cut length", "0006a\n00", `"a\n" `, io.ErrUnexpectedEOF},
		{"cut payload", "0007a\n", "", io.ErrUnexpectedEOF},
		{"cut at payload", "0007", "", io.ErrUnexpectedEOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := gitproto.NewReader(iotest.OneByteReader(strings.NewReader(tt.in)))
			var got strings.Builder
			for {
				kind, payload, err := r.Next()
				if err != nil {
					if !errors.Is(err, tt.err) {
						t.Errorf("error %v, want %v", err, tt.err)
					}
					break
				}
				if kind == gitproto.Data {
					fmt.Fprintf(&got, "%q ", payload)
				} else {
					fmt.Fprintf(&got, "%s ", kind)
				}
			}
			if got.String() != tt.want {
				t.Errorf("got %.200s, want %.200s", &got, tt.want)
			}
		})
	}
}

func TestReaderRest(t *testing.T) {
	for _, size := range []int{16, 64 << 10, 1 << 20} {
		r := gitproto.NewReader(bufio.NewReaderSize(strings.NewReader("0006a\n0000PACK..."), size))
		r.Next()
		r.Next()
		if rest, err := io.ReadAll(r.Rest()); string(rest) != "PACK..." || err != nil {
			t.Errorf("buffer of %d: %q, %v", size, rest, err)
		}
	}
}

func TestWriter(t *testing.T) {
	var out bytes.Buffer
	w := gitproto.NewWriter(&out)
	w.Linef("a %d\n", 1)
	w.Packet(nil)
	w.Special(gitproto.Flush)
	w.Special(gitproto.Delim)
	w.Special(gitproto.ResponseEnd)
	if err := w.Flush(); err != nil || out.String() != "0008a 1\n0004000000010002" {
		t.Errorf("wrote %q, %v", &out, err)
	}
	out.Reset()
	w.Packet(make([]byte, gitproto.MaxPayload+1))
	w.Special(gitproto.Flush)
	if err := w.Flush(); err == nil || out.Len() > 0 {
		t.Errorf("a payload beyond the limit: %v, wrote %d bytes", err, out.Len())
	}
}

func TestRefuse(t *testing.T) {
	var out bytes.Buffer
	if err := gitproto.Refuse(&out, "no such\x1b[31m repository\n"); err != nil {
		t.Fatal(err)
	}
	if want := "0020ERR no such [31m repository\n"; out.String() != want {
		t.Errorf("wrote %q, want %q", &out, want)
	}
}

func TestParseVersion(t *testing.T) {
	for value, want := range map[string]int{
		"": 0, "version=1": 1, "version=2": 2, "version=3": 0, "version=2:version=1": 2, "x:version=1:version=9": 1, "version": 0,
	} {
		if got := gitproto.ParseVersion(value); got != want {
			t.Errorf("ParseVersion(%q) = %d, want %d", value, got, want)
		}
	}
}
