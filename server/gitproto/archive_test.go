package gitproto_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"holdfast/server/gitproto"
)

// fakeArchiver answers with the request itself.
type fakeArchiver struct{ fail string }

func (fakeArchiver) ArchiveFormats() []string { return []string{"tar", "zip"} }

func (a fakeArchiver) Archive(_ context.Context, r gitproto.ArchiveRequest) (func(context.Context, io.Writer, io.Writer) error, error) {
	if r.Tree == "nothing" {
		return nil, errors.New("no such ref:\nnothing")
	}
	return func(_ context.Context, w, names io.Writer) error {
		if names != nil {
			fmt.Fprintln(names, "file")
		}
		fmt.Fprintf(w, "%+v", r)
		if a.fail != "" {
			return errors.New(a.fail)
		}
		return nil
	}, nil
}

func arguments(args ...string) string {
	var lines []string
	for _, a := range args {
		lines = append(lines, "argument "+a)
	}
	return pkt(append(lines, "0000")...)
}

func TestUploadArchive(t *testing.T) {
	const ack = "ACK\nflush packet\n"
	ok := func(r gitproto.ArchiveRequest) string { return ack + fmt.Sprintf("\x01%+v\nflush packet\n", r) }
	plain := gitproto.ArchiveRequest{Tree: "main", Format: "tar", Level: -1, Paths: []string{}}
	with := func(change func(r *gitproto.ArchiveRequest)) string {
		r := plain
		change(&r)
		return ok(r)
	}
	for _, tt := range []struct {
		request, want string
		failed        bool
	}{
		{arguments("main"), ok(plain), false},
		{arguments("--format=zip", "--prefix", "a b/", "-7", "main", "x", "--", "-y"), with(func(r *gitproto.ArchiveRequest) {
			r.Format, r.Prefix, r.Level, r.Paths = "zip", "a b/", 7, []string{"x", "-y"}
		}), false},
		{arguments("--verbose", "main"), with(func(r *gitproto.ArchiveRequest) { r.Names = true }), false},
		{arguments("-l"), ack + "\x01tar\nzip\nflush packet\n", false},
		{arguments("--list", "main"), ack + "\x01tar\nzip\nflush packet\n", false},
		{arguments(), "NACK name a branch or tag to archive\n", true},
		{arguments("--prefix"), "NACK option --prefix needs a value\n", true},
		{arguments("--add-file=x", "main"), "NACK options --add-file and --remote cannot be used together\n", true},
		{arguments("-10", "main"), "NACK option \"-10\" is not served here: known are --format, --prefix, --list, --verbose and -0 to -9\n", true},
		{arguments("-+1", "main"), "NACK option \"-+1\" is not served here: known are --format, --prefix, --list, --verbose and -0 to -9\n", true},
		{arguments("nothing"), "NACK no such ref: nothing\n", true},
		{pkt("arg main", "0000"), "ERR upload-archive: protocol error: expected an argument, got \"arg main\"\n", true},
		{pkt("argument main", "0001"), "ERR upload-archive: protocol error: expected flush after arguments, got a delimiter packet\n", true},
		{arguments("1", "2", "3", "4", "5", "6", "7", "8", "9"), "ERR upload-archive: more than 8 arguments\n", true},
		{"", "", true},
		{pkt("argument main"), "", true},
	} {
		var out bytes.Buffer
		err := gitproto.UploadArchive(t.Context(), strings.NewReader(tt.request), &out, fakeArchiver{}, gitproto.Options{MaxArguments: 8})
		if got := show(t, out.Bytes()); got != tt.want || (err != nil) != tt.failed {
			t.Errorf("%q: %v; got\n%swant\n%s", tt.request, err, got, tt.want)
		}
	}
	var out bytes.Buffer
	err := gitproto.UploadArchive(t.Context(), strings.NewReader(arguments("main")), &out, fakeArchiver{"the disk is on fire"}, gitproto.Options{})
	if err == nil || show(t, out.Bytes()) != ack+"\x03upload-archive: the disk is on fire\n" {
		t.Errorf("%v: %q", err, &out)
	}
}

func FuzzArchive(f *testing.F) {
	f.Add([]byte(arguments("--format=tar.gz", "--prefix=x/", "-v", "-9", "main:dir", "--", "*.c")))
	f.Add([]byte(arguments("--list")))
	f.Add([]byte(arguments("nothing", "--prefix")))
	f.Fuzz(func(t *testing.T, request []byte) {
		var out bytes.Buffer
		o := gitproto.Options{MaxArguments: 5, MaxRequestBytes: 4000}
		err := gitproto.UploadArchive(t.Context(), bytes.NewReader(request), &out, fakeArchiver{}, o)
		if told := out.Len() > 0; told == errors.Is(err, gitproto.ErrHungUp) {
			t.Errorf("error %v, answered %q", err, &out)
		}
		show(t, out.Bytes())
	})
}
