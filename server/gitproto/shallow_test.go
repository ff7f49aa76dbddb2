package gitproto_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/server/gitproto"
	"holdfast/storage/object"
)

// partial is a PartialFetcher made of functions. It has the objects 1 to 9.
type partial struct {
	*fake
	deepen func(r gitproto.DeepenRequest) (gitproto.Boundary, error)
}

func newPartial() *partial {
	p := &partial{fake: &fake{refs: mainRef(), has: func(id object.ID) bool { return id == testID(int(id.Bytes()[19])) && id.Bytes()[19] < 10 }}}
	p.refs = append(p.refs, gitproto.Ref{Name: "refs/heads/v1", ID: testID(2)}, gitproto.Ref{Name: "refs/heads/x", ID: testID(3)},
		gitproto.Ref{Name: "refs/tags/v1", ID: testID(4), Peeled: testID(2)})
	p.deepen = func(r gitproto.DeepenRequest) (gitproto.Boundary, error) {
		return gitproto.Boundary{Shallow: []object.ID{testID(5)}, Unshallow: r.Shallow}, nil
	}
	return p
}

func (p *partial) CheckWants(_ context.Context, wants []object.ID) ([]object.ID, error) {
	return slices.DeleteFunc(slices.Clone(wants), func(id object.ID) bool { return id.Bytes()[19] < 10 }), nil
}

func (p *partial) Deepen(_ context.Context, r gitproto.DeepenRequest) (gitproto.Boundary, error) {
	return p.deepen(r)
}

func id(n int) string { return testID(n).String() }

// TestPartialRequests gives requests of each version and looks at what reaches the Fetcher and at the answer.
func TestPartialRequests(t *testing.T) {
	ids := func(numbers ...int) (ids []object.ID) {
		for _, n := range numbers {
			ids = append(ids, testID(n))
		}
		return ids
	}
	blobless := object.Filter{Omit: []object.Type{object.Blob}}
	boundary := "shallow " + id(5) + "\n"
	for _, tt := range []struct {
		name   string
		lines  []string // between the wants and the end
		deepen gitproto.DeepenRequest
		pack   gitproto.PackRequest
		told   string // the boundary; "-" if it is not to be told
	}{
		{"depth", []string{"deepen 3"}, gitproto.DeepenRequest{Depth: 3}, gitproto.PackRequest{Boundary: ids(5)}, boundary},
		{"infinite", []string{"shallow " + id(6), "shallow " + id(99), "deepen 2147483647"},
			gitproto.DeepenRequest{Depth: gitproto.Infinite, Shallow: ids(6)},
			gitproto.PackRequest{Shallow: ids(6), Boundary: ids(5), Unshallow: ids(6)}, boundary + "unshallow " + id(6) + "\n"},
		{"since and not", []string{"deepen-since 12345", "deepen-not main", "deepen-not refs/tags/v1", "deepen-not heads/x"},
			gitproto.DeepenRequest{Since: 12345, Not: ids(1, 4, 3)}, gitproto.PackRequest{Boundary: ids(5)}, boundary},
		{"shallow", []string{"shallow " + id(6)}, gitproto.DeepenRequest{}, gitproto.PackRequest{Shallow: ids(6)}, "-"},
		{"filter", []string{"filter blob:none"}, gitproto.DeepenRequest{}, gitproto.PackRequest{Filter: blobless}, "-"},
		{"sparse", []string{"filter combine:sparse:oid=v1:p+sparse:oid=main+sparse:oid=" + id(3) + "+sparse:oid=" + id(99) + ":p+sparse:oid=no:p"},
			gitproto.DeepenRequest{}, gitproto.PackRequest{Filter: object.Filter{Sparse: []object.SparseBlob{{Name: "v1:p", ID: testID(4)},
				{Name: "main", ID: testID(1)}, {Name: id(3), ID: testID(3)}, {Name: id(99) + ":p"}, {Name: "no:p"}}}}, "-"},
		{"both", []string{"deepen 1", "filter blob:none"}, gitproto.DeepenRequest{Depth: 1},
			gitproto.PackRequest{Boundary: ids(5), Filter: blobless}, boundary},
	} {
		for _, version := range []int{0, 2} {
			for _, stateless := range []bool{true, false} {
				repo := newPartial()
				var asked gitproto.DeepenRequest
				var packed gitproto.PackRequest
				inner := repo.deepen
				repo.deepen = func(r gitproto.DeepenRequest) (gitproto.Boundary, error) { asked = r; return inner(r) }
				repo.pack = func(w io.Writer, r gitproto.PackRequest, _ func(string)) error {
					packed = r
					_, err := io.WriteString(w, "PACK")
					return err
				}
				o := gitproto.Options{Version: version, Stateless: stateless}
				request := pkt(slices.Concat([]string{"want " + id(1) + " filter"}, tt.lines, []string{"0000", "done"})...)
				want := tt.told + "flush packet\nNAK\nPACK\n"
				if tt.told == "-" {
					want = "NAK\nPACK\n"
				}
				if version == 2 {
					request = pkt(slices.Concat([]string{"command=fetch", "0001", "want " + id(1)}, tt.lines, []string{"done", "0000"})...)
					want = "shallow-info\n" + strings.TrimPrefix(tt.told, "-") + "delimiter packet\npackfile\n\\1 PACK\n"
					if tt.name == "filter" || tt.name == "sparse" {
						want = "packfile\n\\1 PACK\n"
					}
				}
				var out bytes.Buffer
				if err := gitproto.UploadPack(t.Context(), strings.NewReader(request), &out, repo, o); err != nil {
					t.Errorf("%s, v%d: %v", tt.name, version, err)
				}
				if got := show(t, out.Bytes()); !strings.HasPrefix(got, want) && !strings.Contains(got, "flush packet\n"+want) {
					t.Errorf("%s, v%d: answered\n%s, want\n%s", tt.name, version, got, want)
				}
				tt.pack.Wants = ids(1)
				if asksBoundary := tt.deepen.Depth > 0 || tt.deepen.Since > 0; asksBoundary {
					tt.deepen.Wants = ids(1)
				}
				same := cmp.Comparer(func(a, b object.ID) bool { return a == b })
				if diff := cmp.Diff(tt.deepen, asked, same); diff != "" {
					t.Errorf("%s, v%d: asked for %s", tt.name, version, diff)
				}
				if diff := cmp.Diff(tt.pack, packed, same); diff != "" {
					t.Errorf("%s, v%d: packed %s", tt.name, version, diff)
				}
			}
		}
	}
}

// TestStatelessBoundary: over HTTP a client of version 0 asks for the boundary in a request of its own.
func TestStatelessBoundary(t *testing.T) {
	var out bytes.Buffer
	request := pkt("want "+id(1), "deepen 1", "0000")
	err := gitproto.UploadPack(t.Context(), strings.NewReader(request), &out, newPartial(), gitproto.Options{Stateless: true})
	if want := "shallow " + id(5) + "\nflush packet\n"; err != nil || show(t, out.Bytes()) != want {
		t.Errorf("%v, answered\n%s", err, &out)
	}
}

func TestPartialErrors(t *testing.T) {
	broken := gitproto.ErrProtocol
	for _, tt := range []struct {
		line, want string
		kind       error
	}{
		{"shallow x", "expected a sha1 object id", broken},
		{"deepen 0", "invalid deepen", broken},
		{"deepen -1", "invalid deepen", broken},
		{"deepen x", "invalid deepen", broken},
		{"deepen-since 0", "invalid deepen-since", broken},
		{"deepen-since", "invalid deepen-since", broken},
		{"deepen-not ", "invalid deepen-not", broken},
		{"deepen-not v1", "ambiguous deepen-not: \"v1\"", broken},
		{"deepen-not nothing", "ambiguous deepen-not", broken},
		{"deepen-not " + strings.Repeat("x", 2000), "invalid deepen-not", broken},
		{"filter", "invalid filter", broken},
		{"filter sparse:path=x", "sparse:path filters support has been dropped", broken},
	} {
		for _, version := range []int{0, 2} {
			request := pkt("want "+id(1)+" filter", tt.line, "0000")
			if version == 2 {
				request = pkt("command=fetch", "0001", "want "+id(1), tt.line, "done", "0000")
			}
			partialFails(t, version, request, tt.want, tt.kind)
		}
	}
	want, many := "want "+id(1), "command=fetch"
	partialFails(t, 0, pkt(want, "filter blob:none", "0000"), "filtering capability not negotiated", broken)
	partialFails(t, 0, pkt(want, "deepen 1", "deepen-since 5", "0000"), "cannot be used together", broken)
	partialFails(t, 2, pkt(many, "0001", want, "filter tree:1", "filter tree:2", "done", "0000"), "cannot be combined", broken)
	partialFails(t, 2, pkt(slices.Concat([]string{many, "0001", want}, slices.Repeat([]string{"shallow " + id(2)}, 6), []string{"0000"})...),
		"more than 5 shallow commits", gitproto.ErrLimit)
	partialFails(t, 2, pkt(slices.Concat([]string{many, "0001", want}, slices.Repeat([]string{"deepen-not x"}, 4), []string{"0000"})...),
		"more than 3 deepen-not lines", gitproto.ErrLimit)
}

func partialFails(t *testing.T, version int, request, want string, kind error) {
	t.Helper()
	var out bytes.Buffer
	o := gitproto.Options{Version: version, Stateless: true, MaxShallows: 5, MaxDeepenNots: 3}
	err := gitproto.UploadPack(t.Context(), strings.NewReader(request), &out, newPartial(), o)
	if !errors.Is(err, kind) || !strings.Contains(out.String(), want) || !strings.Contains(out.String(), "ERR upload-pack: ") {
		t.Errorf("%q: %v, answered %q, want %q", request, err, &out, want)
	}
}

// TestPartialOffered: what a Fetcher does not serve is not offered.
func TestPartialOffered(t *testing.T) {
	for version, words := range map[int][]string{
		0: {" shallow ", " deepen-since ", " deepen-not ", " deepen-relative ", " filter ", " allow-reachable-sha1-in-want "},
		2: {"fetch=shallow wait-for-done filter ref-in-want"},
	} {
		for _, repo := range []gitproto.Fetcher{newPartial(), &fake{refs: mainRef()}} {
			var out bytes.Buffer
			o := gitproto.Options{Version: version, Advertise: true}
			if err := gitproto.UploadPack(t.Context(), nil, &out, repo, o); err != nil {
				t.Fatal(err)
			}
			_, offered := repo.(gitproto.PartialFetcher)
			for _, word := range words {
				if strings.Contains(out.String(), word) != offered {
					t.Errorf("v%d, %T: %q in %s", version, repo, word, &out)
				}
			}
		}
	}
}

func FuzzPartial(f *testing.F) {
	for _, line := range []string{"shallow " + id(6), "deepen 2", "deepen-since 7", "deepen-not x", "filter combine:tree:1+blob:none"} {
		f.Add([]byte(pkt("want "+id(1)+" filter deepen-relative", line, "0000", "have "+id(2), "done")), 0)
		f.Add([]byte(pkt("command=fetch", "0001", "want "+id(1), line, "deepen-relative", "have "+id(2), "done", "0000")), 2)
	}
	f.Fuzz(func(t *testing.T, request []byte, version int) {
		repo := newPartial()
		o := small
		o.Version, o.MaxShallows, o.MaxDeepenNots = version&2, 3, 2
		packed := false
		repo.deepen = func(r gitproto.DeepenRequest) (gitproto.Boundary, error) {
			if r.Depth > 0 == (r.Since > 0 || len(r.Not) > 0) || r.Depth < 0 || len(r.Shallow) > 3 || len(r.Not) > 2 {
				t.Errorf("asked for %+v", r)
			}
			return gitproto.Boundary{Unshallow: r.Shallow}, nil
		}
		repo.pack = func(w io.Writer, r gitproto.PackRequest, _ func(string)) error {
			packed = true
			if len(r.Shallow) > 3 || len(r.Wants) > o.MaxWants {
				t.Errorf("packed %+v", r)
			}
			return nil
		}
		var out bytes.Buffer
		err := gitproto.UploadPack(t.Context(), bytes.NewReader(request), &out, repo, o)
		if err != nil && packed {
			t.Errorf("%v after the pack", err)
		}
		if told := strings.Contains(out.String(), "ERR "); told != (err != nil && !errors.Is(err, gitproto.ErrHungUp)) {
			t.Errorf("error %v, answered %q", err, &out)
		}
		show(t, out.Bytes())
	})
}

// TestWantRef wants by name, with and without a boundary.
func TestWantRef(t *testing.T) {
	for _, tt := range []struct {
		lines []string
		want  string
	}{
		{[]string{"want-ref refs/heads/x", "want-ref refs/heads/main"},
			"wanted-refs\n" + id(3) + " refs/heads/x\n" + id(1) + " refs/heads/main\ndelimiter packet\npackfile\n\\1 PACK\n"},
		{[]string{"want-ref refs/heads/x", "want " + id(3), "deepen 1"}, "shallow-info\nshallow " + id(5) +
			"\ndelimiter packet\nwanted-refs\n" + id(3) + " refs/heads/x\ndelimiter packet\npackfile\n\\1 PACK\n"},
		{[]string{"want-ref refs/heads/"}, "ERR unknown ref refs/heads/\n"},
		{[]string{"want-ref " + id(1)}, "wanted-refs\n" + id(1) + " " + id(1) + "\ndelimiter packet\npackfile\n\\1 PACK\n"},
		{[]string{"want-ref " + id(0)}, "ERR unknown ref " + id(0) + "\n"},
	} {
		var out bytes.Buffer
		request := pkt(slices.Concat([]string{"command=fetch", "0001"}, tt.lines, []string{"done", "0000"})...)
		gitproto.UploadPack(t.Context(), strings.NewReader(request), &out, newPartial(), gitproto.Options{Version: 2, Stateless: true})
		if got := show(t, out.Bytes()); got != tt.want {
			t.Errorf("%q: answered\n%s, want\n%s", tt.lines, got, tt.want)
		}
	}
}
