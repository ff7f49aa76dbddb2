package svnproto_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"holdfast/server/svnproto"
	"holdfast/storage/svn"
)

// write writes an item with the Writer.
func write(w *svnproto.Writer, it svnproto.Item) {
	switch it.Kind {
	case svnproto.Number:
		w.Number(it.Num)
	case svnproto.Word:
		w.Word(string(it.Bytes))
	case svnproto.String:
		w.Bytes(it.Bytes)
	case svnproto.List:
		w.Open()
		for _, sub := range it.List {
			write(w, sub)
		}
		w.Close()
	}
}

// show returns an item as it is written.
func show(it svnproto.Item) string {
	var b bytes.Buffer
	w := svnproto.NewWriter(&b)
	write(w, it)
	w.Flush()
	return b.String()
}

func TestReadItems(t *testing.T) {
	long := fmt.Sprintf("%d:%s ", 300_000, strings.Repeat("x", 300_000))
	many := "( " + strings.Repeat("1 ", 5000) + ") "
	for in, want := range map[string]string{
		"( ) ": "( ) ",
		"\n ( word 22\n6:string  ( sublist ) )\n": "( word 22 6:string ( sublist ) ) ",
		"0: ":                   "0: ",
		"3:a\n) ":               "3:a\n) ",
		"18446744073709551615 ": "18446744073709551615 ",
		"( get-file ( 1:a ( ) true ( 2:b) ( ( ( x ) ) ) ) ) ) ": "( get-file ( 1:a ( ) true ( 2:b) ( ( ( x ) ) ) ) ) ) ",
		"( " + long + "5:after ( " + long + ") ) ":              "( " + long + "5:after ( " + long + ") ) ",
		"( " + many + "( " + many + ") a ) ":                    "( " + many + "( " + many + ") a ) ",
		"a23456789012345678901234 ":                             "a23456789012345678901234 ",
	} {
		for _, src := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in))} {
			it, err := svnproto.NewReader(src).Read()
			if got := show(it); err != nil || got != want {
				t.Errorf("%.60q: %.60q, %v", in, got, err)
			}
		}
	}
}

func TestRefuseItems(t *testing.T) {
	for in, want := range map[string]svn.Code{
		"":                                 svn.ErrRASvnConnectionClosed,
		"( a":                              svn.ErrRASvnConnectionClosed,
		"99999999999:":                     svn.ErrRASvnRequestSize,
		"16000000:abc":                     svn.ErrRASvnConnectionClosed,
		") ":                               svn.ErrRASvnMalformedData,
		"(a ) x":                           0, // the space is not required of others either
		"12a ":                             svn.ErrRASvnMalformedData,
		"word) ":                           svn.ErrRASvnMalformedData,
		"1:ab ":                            svn.ErrRASvnMalformedData,
		"18446744073709551616 ":            svn.ErrRASvnMalformedData,
		"99999999999999999999999: ":        svn.ErrRASvnMalformedData,
		"a234567890123456789012345 ":       svn.ErrRASvnMalformedData,
		strings.Repeat("( ", 63) + "a ":    svn.ErrRASvnMalformedData,
		strings.Repeat("( ", 1<<20):        svn.ErrRASvnMalformedData,
		"( " + strings.Repeat("1 ", 1<<20): svn.ErrRASvnRequestSize,
		"\x00":                             svn.ErrRASvnMalformedData,
	} {
		_, err := svnproto.NewReader(strings.NewReader(in)).Read()
		if svn.CodeOf(err) != want {
			t.Errorf("%.40q: %v, want E%d", in, err, want)
		}
	}
	r := svnproto.NewReader(io.MultiReader(strings.NewReader(strings.Repeat(" ", 1000)+"( 5:abcde ) ( 6:abcdef ) "), iotest.ErrReader(io.ErrNoProgress)))
	r.MaxBytes = 12
	if _, err := r.Read(); err != nil {
		t.Error("white space between commands counts:", err)
	}
	if _, err := r.Read(); svn.CodeOf(err) != svn.ErrRASvnRequestSize {
		t.Error(err)
	}
}

// What a string says of its length is not believed.
func TestStringMemory(t *testing.T) {
	r := svnproto.NewReader(strings.NewReader("16000000:abc"))
	if n := testing.AllocsPerRun(1, func() { r.Read() }); n > 10 {
		t.Error(n, "allocations")
	}
	var before = testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			svnproto.NewReader(strings.NewReader("16000000:abc")).Read()
		}
	})
	if n := before.AllocedBytesPerOp(); n > 200_000 {
		t.Error(n, "bytes for a string that did not come")
	}
}

func TestArrived(t *testing.T) {
	pr, pw := io.Pipe()
	r := svnproto.NewReader(pr)
	for range 2 {
		if r.Arrived() {
			t.Fatal("nothing was sent")
		}
	}
	if _, err := io.WriteString(pw, "( a ( ) ) \n"); err != nil {
		t.Fatal(err)
	}
	if it, err := r.Read(); err != nil || show(it) != "( a ( ) ) " {
		t.Fatal(show(it), err)
	}
	if r.Arrived() {
		t.Fatal("white space is nothing")
	}
	pw.Close()
	if _, err := r.Read(); !errors.Is(err, svn.ErrRASvnConnectionClosed) {
		t.Fatal(err)
	}
}

func TestWriterPath(t *testing.T) {
	long := "/" + strings.Repeat("x", 40_000)
	for _, dir := range []string{"/", "/a", "/a/b", long, long + long} {
		for _, name := range []string{"", "n", long[1:], long[1:] + long[1:]} {
			var got, want bytes.Buffer
			for w, write := range map[*bytes.Buffer]func(w *svnproto.Writer){
				&got:  func(w *svnproto.Writer) { w.Path(dir, name) },
				&want: func(w *svnproto.Writer) { w.Str(svn.Join(dir, name)) },
			} {
				to := svnproto.NewWriter(w)
				for range 3 {
					write(to)
				}
				if err := to.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			if got.String() != want.String() {
				t.Errorf("%.9s and %.9s: %.50q", dir, name, got.String())
			}
		}
	}
}

func TestWriterErrors(t *testing.T) {
	pr, pw := io.Pipe()
	pr.Close()
	w := svnproto.NewWriter(pw)
	w.Str(strings.Repeat("x", 1<<20))
	w.Bytes(make([]byte, 1<<20))
	if err := w.Flush(); !errors.Is(err, io.ErrClosedPipe) || w.Err() == nil {
		t.Error(err)
	}
}

func FuzzItem(f *testing.F) {
	for _, seed := range []string{"( word 22 6:string ( sublist ) ) ", "( ( ( ) ) 1:) ) ", "5:", "99999999999999999999 ", "( a-b ( 3:abc 4 true ) ) ( "} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := svnproto.NewReader(iotest.HalfReader(bytes.NewReader(in)))
		r.MaxBytes, r.MaxItems = 1<<16, 1<<10
		for {
			it, err := r.Read()
			if err != nil {
				return
			}
			text := show(it)
			again, err := svnproto.NewReader(strings.NewReader(text)).Read()
			if err != nil || show(again) != text {
				t.Fatalf("%q became %q, %v", text, show(again), err)
			}
		}
	})
}
