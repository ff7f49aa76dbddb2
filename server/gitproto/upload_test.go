package gitproto_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"holdfast/server/gitproto"
	"holdfast/storage/object"
)

// TestAdvertisementStreams lists 100,000 refs and looks at how the bytes come out.
func TestAdvertisementStreams(t *testing.T) {
	for version := range 3 {
		yielded := 0
		repo := streamRepo{&fake{}, func(yield func(gitproto.Ref, error) bool) {
			for i := range 100_000 {
				yielded++
				if !yield(gitproto.Ref{Name: fmt.Sprintf("refs/heads/%06d", i), ID: testID(i + 1)}, nil) {
					return
				}
			}
		}}
		first, largest, total := 0, 0, 0
		out := writerFunc(func(p []byte) (int, error) {
			if first == 0 && yielded > 0 {
				first = yielded
			}
			largest, total = max(largest, len(p)), total+len(p)
			return len(p), nil
		})
		request := "0000"
		if version == 2 {
			request = pkt("command=ls-refs", "0000")
		}
		err := gitproto.UploadPack(t.Context(), strings.NewReader(request), out, repo, gitproto.Options{Version: version})
		if err != nil {
			t.Fatal(err)
		}
		if first > 3000 || largest > 64<<10 || total < 6_000_000 {
			t.Errorf("v%d: first write after %d refs, largest of %d bytes, %d bytes in all", version, first, largest, total)
		}
	}
}

// TestManyHaves offers 100,000 haves, half of them known.
func TestManyHaves(t *testing.T) {
	var lines []string
	for i := range 100_000 {
		lines = append(lines, "have "+testID(i+2).String())
	}
	want := "want " + testID(1).String()
	v0 := pkt(append(append([]string{want + " multi_ack_detailed", "0000"}, lines...), "done")...)
	v2 := pkt(append(append([]string{"command=fetch", "0001", want, "done"}, lines...), "0000")...)
	for version, request := range map[int]string{0: v0, 2: v2} {
		var got gitproto.PackRequest
		repo := &fake{refs: mainRef(), has: func(id object.ID) bool { return id.Bytes()[19]%2 == 0 },
			pack: func(w io.Writer, r gitproto.PackRequest, _ func(string)) error {
				got = r
				return nil
			}}
		o := gitproto.Options{Version: version, Stateless: true, MaxCommon: 30_000}
		if err := gitproto.UploadPack(t.Context(), strings.NewReader(request), io.Discard, repo, o); err != nil {
			t.Fatal(err)
		}
		if len(got.Haves) != 30_000 {
			t.Errorf("v%d: %d haves taken into account", version, len(got.Haves))
		}
		o.MaxHaves = 99_999
		var out bytes.Buffer
		err := gitproto.UploadPack(t.Context(), strings.NewReader(request), &out, repo, o)
		told := "ERR upload-pack: more than 99999 haves in one fetch\n"
		if !errors.Is(err, gitproto.ErrLimit) || show(t, out.Bytes()) != told {
			t.Errorf("v%d: %v\n%s", version, err, &out)
		}
		o.MaxHaves, o.MaxRequestBytes = 0, 100_000
		err = gitproto.UploadPack(t.Context(), strings.NewReader(request), io.Discard, repo, o)
		if !errors.Is(err, gitproto.ErrLimit) {
			t.Errorf("v%d: %v", version, err)
		}
	}
}

// TestUploadErrors gives malformed requests of each version.
func TestUploadErrors(t *testing.T) {
	id, broken := testID(1).String(), gitproto.ErrProtocol
	for _, tt := range []struct {
		version       int
		request, want string
		kind          error
	}{
		{0, pkt("have " + id), `protocol error: expected a want, got "have ` + id + `"`, broken},
		{0, pkt("want 123", "0000"), `protocol error: expected a sha1 object id, got "123"`, broken},
		{0, pkt("want "+strings.Repeat("a", 64), "0000"), `protocol error: expected a sha1 object id, got "`, broken},
		{0, pkt("want "+object.ID{}.String(), "0000"), "not our ref " + object.ID{}.String(), gitproto.ErrNotOurRef},
		{0, pkt("want "+id+" object-format=sha256", "0000"), "protocol error: mismatched object format", broken},
		{0, pkt("want "+id, "deepen 1", "0000", "done"), "shallow clones are not supported here", broken},
		{0, pkt("want "+id, "shallow "+id, "0000", "done"), "fetching into a shallow repository", broken},
		{0, pkt("want "+id, "filter blob:none", "0000", "done"), "partial clones are not supported here", broken},
		{0, pkt("want "+id, "0000", "foo"), `protocol error: expected a have or done, got "foo"`, broken},
		{0, pkt("want "+id, "0000", "0001"), "protocol error: unexpected delimiter packet among the haves", broken},
		{0, "GET / HTTP/1.0", "protocol error: bad line length", broken},
		{0, pkt("want " + id), "", gitproto.ErrHungUp},
		{0, pkt("want "+id, "0000", "have "+id), "", gitproto.ErrHungUp},
		{0, pkt("want "+id, "0000") + "00", "", gitproto.ErrHungUp},
		{2, pkt("command=push", "0000"), `protocol error: invalid command "push"`, broken},
		{2, pkt("command=object-info", "0000"), `protocol error: invalid command "object-info"`, broken},
		{2, pkt("command=fetch", "command=ls-refs", "0000"), `protocol error: command "ls-refs" requested after`, broken},
		{2, pkt("agent=x", "0000"), "protocol error: no command requested", broken},
		{2, pkt("foo", "0000"), `protocol error: unknown capability "foo"`, broken},
		{2, pkt("object-format=sha256", "command=fetch", "0000"), "protocol error: mismatched object format", broken},
		{2, pkt("command=ls-refs", "0001", "foo", "0000"), "protocol error: unexpected argument of ls-refs", broken},
		{2, pkt("command=fetch", "0001", "foo", "0000"), "protocol error: unexpected argument of fetch", broken},
		{2, pkt("command=fetch", "0001", "deepen 3", "0000"), "shallow clones are not supported", broken},
		{2, pkt("command=fetch", "0001", "filter x", "0000"), "partial clones are not supported", broken},
		{2, pkt("command=fetch", "0001", "want-ref x", "0000"), "unknown ref x", gitproto.ErrNotOurRef},
		{2, pkt("command=fetch", "0001", "want-ref x", "want-ref x", "0000"), "protocol error: duplicate want-ref", broken},
		{2, pkt("command=fetch", "0001", "packfile-uris", "0000"), "protocol error: packfile-uris was not offered", broken},
		{2, pkt("command=fetch", "0001", "want "+id, "0001", "0000"), "protocol error: expected flush after fetch arguments", broken},
		{2, pkt("command=ls-refs", "0001", "0001", "0000"), "protocol error: expected flush after ls-refs arguments", broken},
		{2, pkt("command=fetch", "0001", "have "+id, "wait-for-done", "done", "0000"), "protocol error: done without", broken},
		{2, pkt("command=fetch", "0001", "want "+testID(7).String(), "done", "0000"),
			"not our ref " + testID(7).String(), gitproto.ErrNotOurRef},
		{2, pkt("command=fetch", "0001", "want "+id), "", gitproto.ErrHungUp},
	} {
		for _, stateless := range []bool{true, false} {
			var out bytes.Buffer
			o := gitproto.Options{Version: tt.version, Stateless: stateless}
			err := gitproto.UploadPack(t.Context(), strings.NewReader(tt.request), &out, &fake{refs: mainRef()}, o)
			if !errors.Is(err, tt.kind) {
				t.Errorf("%q: %v, want %v", tt.request, err, tt.kind)
			}
			got := out.String()
			if _, text, told := strings.Cut(got, "ERR "); told != (tt.want != "") || !strings.Contains(text, tt.want) {
				t.Errorf("%q: answered %q", tt.request, got)
			}
		}
	}
}

// TestEmptyRequest: a POST must hold something; over a stream the client may go without a word, or in the middle of one
// between two commands.
func TestEmptyRequest(t *testing.T) {
	for _, tt := range []struct {
		o       gitproto.Options
		request string
		kind    error
	}{
		{gitproto.Options{Stateless: true}, "", gitproto.ErrHungUp},
		{gitproto.Options{}, "", nil},
		{gitproto.Options{Version: 2}, "", nil},
		{gitproto.Options{Version: 2}, pkt("command=ls-refs", "0000") + "\n", nil},
		{gitproto.Options{Version: 2}, pkt("command=ls-refs", "0000") + "0012command", nil},
		{gitproto.Options{Version: 2}, pkt("command=ls-refs") + "\n", gitproto.ErrHungUp},
	} {
		err := gitproto.UploadPack(t.Context(), strings.NewReader(tt.request), io.Discard, &fake{refs: mainRef()}, tt.o)
		if !errors.Is(err, tt.kind) {
			t.Errorf("version %d, %q: %v, want %v", tt.o.Version, tt.request, err, tt.kind)
		}
	}
}

// TestWithheld: what is withheld is neither offered nor served.
func TestWithheld(t *testing.T) {
	withheld := []string{"filter", "ref-in-want", "unborn", "atomic", "push-options", "allow-tip-sha1-in-want", "allow-reachable-sha1-in-want"}
	for version := range 3 {
		o := gitproto.Options{Version: version, Withheld: withheld, Advertise: true}
		var out bytes.Buffer
		if err := gitproto.UploadPack(t.Context(), nil, &out, newPartial(), o); err != nil {
			t.Fatal(err)
		}
		if err := gitproto.ReceivePack(t.Context(), nil, &out, fakePusher{&fake{}}, o); err != nil {
			t.Fatal(err)
		}
		for _, word := range withheld {
			if strings.Contains(out.String(), word) {
				t.Errorf("version %d: %s is in\n%s", version, word, &out)
			}
		}
	}
	const deep = 9 // no ref stands for it
	for _, tt := range []struct {
		version       int
		request, want string
	}{
		{0, pkt("want "+id(1)+" filter", "filter blob:none", "0000", "done"), "filtering capability not negotiated"},
		{0, pkt("want "+id(deep), "0000", "done"), "not our ref " + id(deep)},
		{2, pkt("command=fetch", "0001", "want "+id(1), "filter blob:none", "done", "0000"), "filtering capability not negotiated"},
		{2, pkt("command=fetch", "0001", "want-ref refs/heads/main", "done", "0000"), "ref-in-want was not offered"},
		{2, pkt("command=ls-refs", "0001", "unborn", "0000"), "unexpected argument of ls-refs"},
	} {
		var out bytes.Buffer
		o := gitproto.Options{Version: tt.version, Withheld: withheld, Stateless: true}
		err := gitproto.UploadPack(t.Context(), strings.NewReader(tt.request), &out, newPartial(), o)
		if err == nil || !strings.Contains(out.String(), "ERR upload-pack: ") || !strings.Contains(out.String(), tt.want) {
			t.Errorf("%q: %v, answered %q", tt.request, err, &out)
		}
	}
	for _, word := range []string{"atomic", "push-options"} {
		var out bytes.Buffer
		request := pushRequest(word+" report-status", "refs/heads/a") + "0000"
		err := gitproto.ReceivePack(t.Context(), strings.NewReader(request), &out, fakePusher{&fake{}},
			gitproto.Options{Withheld: withheld, Stateless: true})
		if !errors.Is(err, gitproto.ErrProtocol) || !strings.Contains(out.String(), word+" was not offered") {
			t.Errorf("%s: %v, answered %q", word, err, &out)
		}
	}
}

// TestBrokenTransport: errors of the transport come back as they are and nothing is written after them.
func TestBrokenTransport(t *testing.T) {
	broken := errors.New("connection reset")
	for version := range 3 {
		in := io.MultiReader(strings.NewReader("00"), iotest.ErrReader(broken))
		var out bytes.Buffer
		o := gitproto.Options{Version: version, Stateless: true}
		err := gitproto.UploadPack(t.Context(), in, &out, &fake{refs: mainRef()}, o)
		if !errors.Is(err, broken) || out.Len() > 0 {
			t.Errorf("v%d: %v, wrote %q", version, err, &out)
		}
		sink := writerFunc(func([]byte) (int, error) { return 0, broken })
		if err := gitproto.UploadPack(t.Context(), strings.NewReader("0000"), sink, &fake{refs: mainRef()},
			gitproto.Options{Version: version}); !errors.Is(err, broken) {
			t.Errorf("v%d: %v", version, err)
		}
	}
	var once sync.Once
	failing := writerFunc(func(p []byte) (n int, err error) {
		n, err = 0, broken
		once.Do(func() { n, err = len(p), nil }) // the advertisement passes
		return n, err
	})
	repo := &fake{refs: mainRef(), pack: func(w io.Writer, _ gitproto.PackRequest, _ func(string)) error {
		_, err := w.Write(make([]byte, 100_000))
		return err
	}}
	err := gitproto.UploadPack(t.Context(), strings.NewReader(wants("side-band-64k")), failing, repo, gitproto.Options{})
	if !errors.Is(err, broken) {
		t.Error(err)
	}
}

func TestContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	repo := &fake{refs: mainRef(), pack: func(w io.Writer, _ gitproto.PackRequest, _ func(string)) error {
		cancel(errors.New("the server is shutting down"))
		_, err := w.Write(make([]byte, 100_000))
		return err
	}}
	var out bytes.Buffer
	o := gitproto.Options{Stateless: true}
	err := gitproto.UploadPack(ctx, strings.NewReader(wants("side-band-64k")), &out, repo, o)
	want := "NAK\n\x03upload-pack: the server is shutting down\n"
	if err == nil || show(t, out.Bytes()) != want {
		t.Errorf("%v, wrote %q, want %q", err, &out, want)
	}
	out.Reset()
	if err := gitproto.UploadPack(ctx, strings.NewReader(wants("")), &out, repo, o); err == nil ||
		show(t, out.Bytes()) != "ERR upload-pack: the server is shutting down\n" {
		t.Errorf("%v, wrote %q", err, &out)
	}
}

// TestRefMoves wants what the same conversation has advertised, though the ref has moved since.
func TestRefMoves(t *testing.T) {
	for version, request := range map[int]string{
		0: wants(""),
		2: pkt("command=ls-refs", "0000") + pkt("command=fetch", "0001", "want "+testID(1).String(), "done", "0000"),
	} {
		repo := &fake{refs: mainRef()}
		moving := streamRepo{repo, func(yield func(gitproto.Ref, error) bool) {
			for _, ref := range repo.refs {
				yield(ref, nil)
			}
			repo.refs = []gitproto.Ref{{Name: "refs/heads/main", ID: testID(2)}}
		}}
		if err := gitproto.UploadPack(t.Context(), strings.NewReader(request), io.Discard, moving,
			gitproto.Options{Version: version}); err != nil {
			t.Errorf("v%d: %v", version, err)
		}
	}
}

type sizer struct{ *fake }

// Size knows more objects than refs lead to.
func (sizer) Size(id object.ID) (int64, bool, error) { return 42, true, nil }

func TestObjectInfo(t *testing.T) {
	one, two := testID(1).String(), testID(2).String()
	for _, tt := range []struct{ request, want string }{
		{pkt("command=object-info", "0001", "size", "oid "+one, "oid "+two, "0000"),
			"size\n" + one + " 42\n" + two + " \nflush packet\n"},
		{pkt("command=object-info", "0001", "oid "+one, "0000"), one + "\nflush packet\n"},
		{pkt("command=object-info", "0000"), "flush packet\n"},
		{pkt("command=object-info", "0001", "oid x", "0000"),
			"ERR upload-pack: protocol error: expected a sha1 object id, got \"x\"\n"},
		{pkt("command=object-info", "0001", "type", "0000"),
			"ERR upload-pack: protocol error: unexpected argument of object-info: \"type\"\n"},
	} {
		var out bytes.Buffer
		o := gitproto.Options{Version: 2, Stateless: true}
		gitproto.UploadPack(t.Context(), strings.NewReader(tt.request), &out, sizer{&fake{refs: mainRef()}}, o)
		if got := show(t, out.Bytes()); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

type bundler struct {
	*fake
	bundles []gitproto.Bundle
}

func (b bundler) Bundles() []gitproto.Bundle { return b.bundles }

// TestBundleURI has the answers that git's protocol-v2 document describes.
func TestBundleURI(t *testing.T) {
	base := gitproto.Bundle{ID: "base", URI: "https://cdn.example.org/base.bundle", CreationToken: 1}
	newer := gitproto.Bundle{ID: "2026-01", URI: "https://cdn.example.org/2026-01.bundle", CreationToken: 20260101}
	plain := gitproto.Bundle{ID: "plain", URI: "http://example.org/x"}
	listed := func(lines ...string) string {
		return "bundle.version=1\nbundle.mode=all\n" + strings.Join(lines, "\n") + "\nflush packet\n"
	}
	for _, tt := range []struct {
		bundles       []gitproto.Bundle
		request, want string
	}{
		{[]gitproto.Bundle{base, newer}, pkt("command=bundle-uri", "object-format=sha1", "0000"), listed("bundle.heuristic=creationToken",
			"bundle.base.uri=https://cdn.example.org/base.bundle", "bundle.base.creationToken=1",
			"bundle.2026-01.uri=https://cdn.example.org/2026-01.bundle", "bundle.2026-01.creationToken=20260101")},
		{[]gitproto.Bundle{base, plain}, pkt("command=bundle-uri", "0001", "0000"), listed(
			"bundle.base.uri=https://cdn.example.org/base.bundle", "bundle.base.creationToken=1", "bundle.plain.uri=http://example.org/x")},
		{[]gitproto.Bundle{base}, pkt("command=bundle-uri", "0001", "size", "0000"),
			"ERR upload-pack: protocol error: unexpected argument of bundle-uri: \"size\"\n"},
		{nil, pkt("command=bundle-uri", "0000"), "ERR upload-pack: protocol error: invalid command \"bundle-uri\"\n"},
	} {
		var out bytes.Buffer
		repo, o := bundler{&fake{}, tt.bundles}, gitproto.Options{Version: 2, Stateless: true}
		gitproto.UploadPack(t.Context(), strings.NewReader(tt.request), &out, repo, o)
		if got := show(t, out.Bytes()); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
		out.Reset()
		o.Advertise = true
		gitproto.UploadPack(t.Context(), nil, &out, repo, o)
		if offered := strings.Contains(out.String(), "000fbundle-uri\n"); offered != (tt.bundles != nil) {
			t.Errorf("%d bundles: advertised %q", len(tt.bundles), &out)
		}
	}
}

// BenchmarkLsRefs lists 100,000 refs.
func BenchmarkLsRefs(b *testing.B) {
	repo := &fake{}
	for i := range 100_000 {
		repo.refs = append(repo.refs, gitproto.Ref{Name: fmt.Sprintf("refs/heads/%06d", i), ID: testID(i + 1)})
	}
	request := pkt("command=ls-refs", "0001", "peel", "symrefs", "0000")
	b.ReportAllocs()
	for b.Loop() {
		o := gitproto.Options{Version: 2, Stateless: true}
		if err := gitproto.UploadPack(b.Context(), strings.NewReader(request), io.Discard, repo, o); err != nil {
			b.Fatal(err)
		}
	}
}
