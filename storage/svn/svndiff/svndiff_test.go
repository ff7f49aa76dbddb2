package svndiff_test

import (
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"holdfast/storage/svn"
	"holdfast/storage/svn/svndiff"
)

// cases are pairs of texts, with all that the search for copies distinguishes.
func cases(t testing.TB) map[string][2][]byte {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	lines := func(n int) []byte {
		var b bytes.Buffer
		for b.Len() < n {
			fmt.Fprintf(&b, "line %d of the text\n", r.IntN(500))
		}
		return b.Bytes()
	}
	edit := func(b []byte, n int) []byte {
		b = slices.Clone(b)
		for range n {
			at := r.IntN(len(b) + 1)
			switch r.IntN(3) {
			case 0:
				b = slices.Insert(b, at, random(r.IntN(40))...)
			case 1:
				b = slices.Delete(b, at, min(len(b), at+r.IntN(200)))
			case 2:
				b = append(b[at:], b[:at]...)
			}
		}
		return b
	}
	big, text := random(350_000), lines(250_000)
	return map[string][2][]byte{
		"nothing from nothing": {nil, nil}, "nothing from something": {big, nil}, "small from nothing": {nil, []byte("abc")},
		"big from nothing": {nil, big}, "the same": {big, big}, "one byte": {[]byte("x"), []byte("x")},
		"a window": {big[:svn.MaxWindow], big[1 : svn.MaxWindow+1]}, "two windows": {nil, big[:2*svn.MaxWindow]},
		"longer": {big[:1000], big}, "shorter": {big, big[200_000:201_000]}, "short blocks": {big[:63], big[:64]},
		"edits": {big, edit(big, 50)}, "text": {text, edit(text, 200)}, "moved": {text, append(bytes.Clone(text[100_000:]), text[:100_000]...)},
		"zeros": {make([]byte, 1000), make([]byte, 300_000)}, "tail": {append([]byte("abc"), big[:500]...), append([]byte("defg"), big[:500]...)},
		"small edit": {text[:5000], edit(text[:5000], 3)}, "other": {random(100_000), random(100_000)}, "repeats": {bytes.Repeat(big[:100], 900), bytes.Repeat(big[:99], 901)},
	}
}

// encode returns the delta between two texts, and checks the sum of the target.
func encode(t testing.TB, from, to []byte, version, level int) []byte {
	t.Helper()
	var b bytes.Buffer
	sum := md5.New()
	err := svndiff.Delta(bytes.NewReader(from), iotest.HalfReader(bytes.NewReader(to)), svndiff.NewEncoder(&b, version, level), svndiff.DeltaOptions{Sum: sum})
	if err != nil {
		t.Fatal(err)
	}
	if want := md5.Sum(to); !bytes.Equal(sum.Sum(nil), want[:]) {
		t.Error("the target's sum is wrong")
	}
	return b.Bytes()
}

// apply makes the target, with the delta in pieces of some size.
func apply(from, delta []byte, piece int) ([]byte, error) {
	var out bytes.Buffer
	sum := md5.New()
	d := svndiff.NewDecoder(svndiff.NewApplier(bytes.NewReader(from), &out, sum))
	for p := range slices.Chunk(delta, piece) {
		if _, err := d.Write(p); err != nil {
			return nil, err
		}
	}
	if err := d.Close(); err != nil {
		return nil, err
	}
	if want := md5.Sum(out.Bytes()); !bytes.Equal(sum.Sum(nil), want[:]) {
		return nil, errors.New("the sum is wrong")
	}
	return out.Bytes(), nil
}

func TestRoundTrip(t *testing.T) {
	for name, c := range cases(t) {
		for _, v := range [...][2]int{{0, 0}, {1, 0}, {1, 5}, {1, 9}, {2, 0}} {
			delta := encode(t, c[0], c[1], v[0], v[1])
			for _, piece := range [...]int{1 << 30, 4096, 7} {
				got, err := apply(c[0], delta, piece)
				if err != nil || !bytes.Equal(got, c[1]) {
					t.Errorf("%s, version %d at %d in pieces of %d: %d bytes, %v", name, v[0], v[1], piece, len(got), err)
				}
			}
			if _, err := apply(c[0], delta[:len(delta)-1], 100); !errors.Is(err, svn.ErrSvndiffUnexpectedEnd) {
				t.Errorf("%s, version %d, cut short: %v", name, v[0], err)
			}
		}
	}
}

// TestVectors are written by hand from notes/svndiff.
func TestVectors(t *testing.T) {
	const source = "aaaabbbbcccc"
	for _, c := range []struct {
		name, delta, want string
		code              svn.Code
	}{
		{"the example", "SVN\x00\x00\x0c\x10\x07\x01\x04\x00\x04\x08\x81\x47\x08d", "aaaaccccdddddddd", 0},
		{"plain sections", "SVN\x01\x00\x0c\x10\x08\x02\x07\x04\x00\x04\x08\x81\x47\x08\x01d", "aaaaccccdddddddd", 0},
		{"LZ4", "SVN\x02\x00\x00\x1e\x02\x0c\x01\x9e\x1e\x1fa\x01\x00\x05\x50aaaaa", strings.Repeat("a", 30), 0},
		{"zlib", "SVN\x01\x00\x00\x1e\x02\x0c\x01\x9e\x1e\x78\x9c\x4b\x4c\xc4\x07\x00\xb0\x4f\x0b\x5f", strings.Repeat("a", 30), 0},
		{"no window", "SVN\x00", "", 0},
		{"no magic", "SVM\x00", "", svn.ErrSvndiffInvalidHeader},
		{"version 3", "SVN\x03", "", svn.ErrSvndiffInvalidHeader},
		{"empty", "", "", svn.ErrSvndiffUnexpectedEnd},
		{"no number", "SVN\x00" + strings.Repeat("\x80", 10), "", svn.ErrSvndiffCorruptWindow},
		{"too large", "SVN\x00\x00\x00\x86\xa0\x01\x00\x00", "", svn.ErrSvndiffCorruptWindow},
		{"too many instructions", "SVN\x00\x00\x00\x01\x81\x83\xa0\x01\x00", "", svn.ErrSvndiffCorruptWindow},
		{"offset overflows", "SVN\x00" + strings.Repeat("\xff", 8) + "\x7f\x01\x01\x01\x00\x80", "", svn.ErrSvndiffCorruptWindow},
		{"backwards", "SVN\x00\x01\x04\x04\x02\x00\x04\x00\x00\x04\x04\x02\x00\x04\x00", "", svn.ErrSvndiffBackwardView},
		{"narrower", "SVN\x00\x00\x08\x04\x02\x00\x04\x00\x00\x04\x04\x02\x00\x04\x00", "", svn.ErrSvndiffBackwardView},
		{"overlapping views", "SVN\x00\x00\x08\x04\x02\x00\x04\x00\x04\x08\x04\x02\x00\x04\x00", "aaaabbbb", 0},
		{"a gap", "SVN\x00\x00\x02\x02\x02\x00\x02\x00\x08\x04\x04\x02\x00\x04\x00", "aacccc", 0},
		{"source too short", "SVN\x00\x00\x0d\x04\x02\x00\x04\x00", "", svn.ErrIncompleteData},
		{"bad action", "SVN\x00\x00\x04\x04\x02\x00\xc4\x00", "", svn.ErrSvndiffInvalidOps},
		{"no offset", "SVN\x00\x00\x04\x04\x01\x00\x04", "", svn.ErrSvndiffInvalidOps},
		{"length zero", "SVN\x00\x00\x04\x04\x03\x00\x00\x00\x00", "", svn.ErrSvndiffInvalidOps},
		{"past the target", "SVN\x00\x00\x04\x04\x02\x00\x05\x00", "", svn.ErrSvndiffInvalidOps},
		{"past the source", "SVN\x00\x00\x04\x04\x02\x00\x04\x01", "", svn.ErrSvndiffInvalidOps},
		{"far past the source", "SVN\x00\x00\x04\x04\x0b\x00\x04" + strings.Repeat("\xff", 9) + "\x7f", "", svn.ErrSvndiffInvalidOps},
		{"target not yet there", "SVN\x00\x00\x00\x04\x02\x00\x44\x00", "", svn.ErrSvndiffInvalidOps},
		{"past the new data", "SVN\x00\x00\x00\x04\x01\x03\x84abc", "", svn.ErrSvndiffInvalidOps},
		{"new data left", "SVN\x00\x00\x00\x04\x01\x05\x84abcde", "", svn.ErrSvndiffInvalidOps},
		{"target left", "SVN\x00\x00\x00\x04\x01\x03\x83abc", "", svn.ErrSvndiffInvalidOps},
		{"a bomb", "SVN\x01\x00\x00\x04\x02\x08\x01\x84\x86\xa0\x01abcde", "", svn.ErrSvndiffInvalidCompressedData},
		{"no zlib", "SVN\x01\x00\x00\x04\x02\x05\x01\x84\x20abcd", "", svn.ErrStreamMalformedData},
		{"no LZ4", "SVN\x02\x00\x00\x04\x02\x05\x01\x84\x20\xf0bcd", "", svn.ErrSvndiffInvalidCompressedData},
	} {
		got, err := apply([]byte(source), []byte(c.delta), 3)
		if string(got) != c.want || svn.CodeOf(err) != c.code {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

// counter counts windows, and fails at one.
type counter struct{ windows, failAt, closed int }

func (c *counter) Window(*svn.Window) error {
	if c.windows++; c.windows == c.failAt {
		return io.ErrClosedPipe
	}
	return nil
}
func (c *counter) Close() error { c.closed++; return nil }

func TestHandlerFails(t *testing.T) {
	big := cases(t)["big from nothing"][1]
	delta := encode(t, nil, big, 0, 0)
	c := &counter{failAt: 2}
	d := svndiff.NewDecoder(c)
	if _, err := d.Write(delta); err != io.ErrClosedPipe {
		t.Error(err)
	}
	if err := d.Close(); err != io.ErrClosedPipe || c.closed != 0 || c.windows != 2 {
		t.Errorf("%v, %+v", err, c)
	}
	c = &counter{failAt: 3}
	if err := svndiff.Delta(nil, bytes.NewReader(big), c, svndiff.DeltaOptions{}); err != io.ErrClosedPipe || c.closed != 0 {
		t.Errorf("%v, %+v", err, c)
	}
	if err := svndiff.Delta(nil, iotest.ErrReader(io.ErrNoProgress), c, svndiff.DeltaOptions{}); err != io.ErrNoProgress {
		t.Error(err)
	}
	if _, err := svndiff.NewDecoder(nil).Write([]byte("no svndiff")); err != nil {
		t.Error("without a handler:", err)
	}
}

// TestApplierRefuses gives it windows that no Decoder passes on.
func TestApplierRefuses(t *testing.T) {
	for name, w := range map[string]svn.Window{
		"target":        {TargetLen: svn.MaxWindow + 1},
		"negative":      {TargetLen: -1},
		"source":        {SourceLen: svn.MaxWindow + 1},
		"no source":     {TargetLen: 1, Ops: []svn.Op{{Action: svn.FromSource, Len: 1}}},
		"from target":   {TargetLen: 1, Ops: []svn.Op{{Action: svn.FromTarget, Len: 1}}},
		"new data":      {TargetLen: 1, Ops: []svn.Op{{Action: svn.FromNew, Offset: 1, Len: 1}}},
		"offset":        {TargetLen: 1, Ops: []svn.Op{{Action: svn.FromNew, Offset: -1, Len: 1}}},
		"length":        {TargetLen: 1, Ops: []svn.Op{{Action: svn.FromNew, Len: -1}}},
		"short":         {TargetLen: 2, Ops: []svn.Op{{Action: svn.FromNew, Len: 1}}, NewData: []byte("a")},
		"negative view": {SourceOffset: -1, SourceLen: 1},
	} {
		if err := svndiff.NewApplier(strings.NewReader("abc"), io.Discard, nil).Window(&w); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range cases(f) {
		from, to := c[0][:min(len(c[0]), 700)], c[1][:min(len(c[1]), 1500)]
		for version := range 3 {
			f.Add(from, encode(f, from, to, version, 5))
		}
	}
	f.Fuzz(func(t *testing.T, from, delta []byte) {
		whole, err := apply(from, delta, 1<<30)
		pieces, err2 := apply(from, delta, 5)
		if !bytes.Equal(whole, pieces) || (err == nil) != (err2 == nil) {
			t.Fatalf("%d bytes, %v; in pieces %d bytes, %v", len(whole), err, len(pieces), err2)
		}
	})
}

func FuzzLZ4(f *testing.F) {
	f.Add([]byte("\x1fa\x01\x00\x05\x50aaaaa"), 30)
	f.Add(bytes.Repeat([]byte("abc"), 100), 300)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		svndiff.UnLZ4(b, size&0xffff) // does not panic
		if got, err := svndiff.UnLZ4(svndiff.LZ4(b), len(b)); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("%q, %v", got, err)
		}
	})
}

func FuzzRoundTrip(f *testing.F) {
	for _, c := range cases(f) {
		f.Add(c[0][:min(len(c[0]), 2000)], c[1][:min(len(c[1]), 2000)], byte(2))
	}
	f.Fuzz(func(t *testing.T, from, to []byte, version byte) {
		got, err := apply(from, encode(t, from, to, int(version%3), 5), 1000)
		if err != nil || !bytes.Equal(got, to) {
			t.Fatalf("%q, %v", got, err)
		}
	})
}

func TestChecksum(t *testing.T) {
	for _, block := range [][]byte{bytes.Repeat([]byte{0xff}, 64), bytes.Repeat([]byte("0f\x80\xfe"), 16), []byte(fmt.Sprintf("%064d", 123456789))} {
		var s1, s2 uint32
		for _, c := range block {
			s1 += uint32(c)
			s2 += s1
		}
		if got := svndiff.Checksum(block); got != s2<<16+s1 {
			t.Errorf("%x for %x", got, block)
		}
	}
}
