package mergeinfo_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"holdfast/storage/svn"
	"holdfast/storage/svn/mergeinfo"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "",
		"/trunk:1":                   "/trunk:1",
		"trunk: 3-5,9*,1":            "/trunk:1,3-5,9*",
		"/a:1-3,4-6\n/a/b:7\n/a-b:2": "/a:1-6\n/a/b:7\n/a-b:2",
		"/a:1-5,3-9":                 "/a:1-9",
		"/a:1-5,6*":                  "/a:1-5,6*",
		"/a:4033\na:4039-4995,1":     "/a:1,4033,4039-4995",
		"/a:1-3*\n/a:2":              "/a:1*,2,3*",
		"/c:d:e:1":                   "/c:d:e:1",
		"//a/./b/:2147483647":        "/a/b:2147483647",
		":1":                         "/:1",
		"/a:1,\n/b:2\n":              "/a:1\n/b:2",
		"/a:1\x00garbage":            "/a:1",
		"/\u00e4:1\n/z:2":            "/z:2\n/\u00e4:1",
		"/b:2\n/a b:1":               "/a b:1\n/b:2",
	} {
		m, err := mergeinfo.Parse(in)
		if err != nil || m.String() != want {
			t.Errorf("%q is %q, %v, want %q", in, m, err, want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for in, want := range map[string]string{
		"/a":                  "Pathname not terminated by ':'",
		"/a:":                 "Mergeinfo for '/a' maps to an empty revision range",
		"/a: \n/b:1":          "Mergeinfo for '/a' maps to an empty revision range",
		"/a:0":                "Invalid revision number '0' found in range list",
		"/a:5-3":              "Unable to parse reversed revision range '5-3'",
		"/a:5-5":              "Unable to parse revision range '5-5' with same start and end revisions",
		"/a:5x":               "Invalid character 'x' found in revision list",
		"/a:5-7x":             "Invalid character 'x' found in range list",
		"/a:5*6":              "Invalid character '6' found in range list",
		"/a:5,":               "Range list parsing ended before hitting newline",
		"/a:5-9,7-8*":         "Unable to parse overlapping revision ranges '5-9' and '7-8*' with different inheritance types",
		"/a:-5":               "Could not parse mergeinfo string '/a:-5'|Negative revision number found parsing '-5'",
		"/a:x\n/b:1":          "Could not parse mergeinfo string '/a:x\n/b:1'|Invalid revision number found parsing 'x\n/b:1'",
		"/a:2147483648":       "Could not parse mergeinfo string '/a:2147483648'|Revision number too large '2147483648'",
		"/a:1-99999999999999": "Could not parse mergeinfo string '/a:1-99999999999999'|Revision number longer than 10 digits '99999999999999'",
	} {
		_, err := mergeinfo.Parse(in)
		if !errors.Is(err, svn.ErrMergeinfoParseError) {
			t.Errorf("%q: %v", in, err)
			continue
		}
		var got []string
		for e := new(svn.Error); errors.As(err, &e); err = e.Cause {
			got = append(got, e.Message)
		}
		if strings.Join(got, "|") != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func list(t *testing.T, s string) mergeinfo.Rangelist {
	t.Helper()
	if s == "" {
		return nil
	}
	m, err := mergeinfo.Parse("/a:" + s)
	if err != nil {
		t.Fatal(err)
	}
	return m["/a"]
}

// TestRangelists has the examples of Subversion's own comments and tests.
func TestRangelists(t *testing.T) {
	const ignore, consider = mergeinfo.IgnoreInheritance, mergeinfo.ConsiderInheritance
	for _, test := range []struct {
		a, b                               string
		how                                mergeinfo.Inheritance
		union, common, aWithoutB, bWithout string
	}{
		{"1-100", "90-420*", consider, "1-100,101-420*", "", "1-100", "90-420*"},
		{"1-100", "90-420*", ignore, "1-100,101-420*", "90-100", "1-89", "101-420*"},
		{"1-100*", "90-420*", consider, "1-420*", "90-100*", "1-89*", "101-420*"},
		{"4-10*", "6", ignore, "4-5*,6,7-10*", "6", "4-5*,7-10*", ""},
		{"4-10*", "6-12", consider, "4-5*,6-12", "", "4-10*", "6-12"},
		{"4-10", "6*", ignore, "4-10", "6", "4-5,7-10", ""},
		{"1-5,6-10*", "20", ignore, "1-5,6-10*,20", "", "1-10", "20"},
		{"1-5,6-10*", "20", consider, "1-5,6-10*,20", "", "1-5,6-10*", "20"},
		{"5-10*,20-30", "1-100", consider, "1-100", "", "5-10*,20-30", "1-100"},
		{"1,3,5,7", "2-6", ignore, "1-7", "3,5", "1,7", "2,4,6"},
		{"", "2-6", ignore, "2-6", "", "", "2-6"},
		{"2-6", "2-6", consider, "2-6", "2-6", "", ""},
		{"3-4*,5-8", "2-9", ignore, "2-9", "3-8", "", "2,9"},
	} {
		a, b := list(t, test.a), list(t, test.b)
		for name, c := range map[string]struct {
			got  mergeinfo.Rangelist
			want string
		}{
			"a union b":   {a.Merge(b), test.union},
			"b union a":   {b.Merge(a), test.union},
			"in both":     {a.Intersect(b, test.how), test.common},
			"a without b": {a.Remove(b, test.how), test.aWithoutB},
			"b without a": {b.Remove(a, test.how), test.bWithout},
		} {
			if c.got.String() != c.want {
				t.Errorf("%s, %s (%v), %s: %s, want %s", test.a, test.b, test.how, name, c.got, c.want)
			}
		}
	}
}

func TestMergeinfo(t *testing.T) {
	parse := func(s string) mergeinfo.Mergeinfo {
		m, err := mergeinfo.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	from, to := parse("/a:1-5\n/b:3*\n/c:9"), parse("/a:1-2,7\n/c:9\n/d:4")
	deleted, added := mergeinfo.Compare(from, to, mergeinfo.IgnoreInheritance)
	if got := fmt.Sprintf("%q %q", deleted.String(), added.String()); got != `"/a:3-5\n/b:3*" "/a:7\n/d:4"` {
		t.Error(got)
	}
	if deleted, added = mergeinfo.Compare(nil, to, mergeinfo.IgnoreInheritance); len(deleted) != 0 || len(added) != 3 {
		t.Error(deleted, added)
	}
	if got := from.Inheritable().Below("x/y").String(); got != "/a/x/y:1-5\n/c/x/y:9" {
		t.Error(got)
	}
	if got := parse("/:1").Below("x").String(); got != "/x:1" {
		t.Error(got)
	}
	if got := from.Intersect(to, mergeinfo.IgnoreInheritance).String(); got != "/a:1-2\n/c:9" {
		t.Error(got)
	}
	sum := from.Clone()
	sum.Merge(to)
	if sum.String() != "/a:1-5,7\n/b:3*\n/c:9\n/d:4" || from.String() != "/a:1-5\n/b:3*\n/c:9" {
		t.Error(sum, from)
	}
	equal := func(m, n mergeinfo.Mergeinfo, how mergeinfo.Inheritance) bool { return mergeinfo.Equal(m, n, how) }
	if !equal(nil, nil, true) || equal(nil, mergeinfo.Mergeinfo{}, true) || !equal(from, from.Clone(), true) || equal(from, to, false) ||
		equal(parse("/a:1"), parse("/a:1*"), true) || !equal(parse("/a:1"), parse("/a:1*"), false) {
		t.Error("equality is wrong")
	}
}

// TestAgainstSets compares random lists with plain sets of revisions.
func TestAgainstSets(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	const revs = 24
	for range 20000 {
		var a, b [revs + 1]int // 0 absent, 1 uninherited, 2 inherited
		for i := 1; i <= revs; i++ {
			a[i], b[i] = max(0, rnd.IntN(5)-2), max(0, rnd.IntN(5)-2)
		}
		la, lb := fromSet(t, a[:]), fromSet(t, b[:])
		union, common, without := la.Merge(lb), la.Intersect(lb, false), la.Remove(lb, false)
		for i := 1; i <= revs; i++ {
			rev := svn.Revnum(i)
			if union.Contains(rev) != (max(a[i], b[i]) > 0) || common.Contains(rev) != (min(a[i], b[i]) > 0) || without.Contains(rev) != (a[i] > 0 && b[i] == 0) {
				t.Fatalf("%s, %s: r%d: union %s, common %s, without %s", la, lb, i, union, common, without)
			}
			if union.Inheritable().Contains(rev) != (max(a[i], b[i]) == 2) {
				t.Fatalf("%s, %s: r%d is inherited otherwise in %s", la, lb, i, union)
			}
		}
		for _, l := range []mergeinfo.Rangelist{union, common, without, la.Remove(lb, true), la.Intersect(lb, true)} {
			checkCanonical(t, l)
		}
	}
}

func fromSet(t *testing.T, levels []int) mergeinfo.Rangelist {
	var l mergeinfo.Rangelist
	for i, level := range levels {
		if level > 0 {
			l = append(l, mergeinfo.Range{Start: svn.Revnum(i - 1), End: svn.Revnum(i), Inheritable: level == 2})
		}
	}
	l, err := mergeinfo.Canonicalize(l)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func checkCanonical(t *testing.T, l mergeinfo.Rangelist) {
	t.Helper()
	for i, r := range l {
		if r.Start < 0 || r.Start >= r.End || i > 0 && (l[i-1].End > r.Start || l[i-1].End == r.Start && l[i-1].Inheritable == r.Inheritable) {
			t.Fatalf("%s is not canonical", l)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("/a:1-5,7*\n/a/b:3", "/a:2")
	f.Add("a:1,\n/b: 3*,4", "/b:1-3*,5\n/b:9")
	f.Add("/x:2147483647", "/x:1-2147483647*")
	f.Fuzz(func(t *testing.T, s, other string) {
		m, err := mergeinfo.Parse(s)
		if err != nil {
			if svn.CodeOf(err) != svn.ErrMergeinfoParseError {
				t.Fatal(err)
			}
			return
		}
		for _, path := range m.Paths() {
			checkCanonical(t, m[path])
		}
		again, err := mergeinfo.Parse(m.String())
		if err != nil || again.String() != m.String() {
			t.Fatalf("%q is read again as %q, %v", m, again, err)
		}
		n, err := mergeinfo.Parse(other)
		if err != nil {
			return
		}
		for _, how := range []mergeinfo.Inheritance{mergeinfo.IgnoreInheritance, mergeinfo.ConsiderInheritance} {
			deleted, added := mergeinfo.Compare(m, n, how)
			for _, r := range []mergeinfo.Mergeinfo{deleted, added, m.Intersect(n, how)} {
				for path := range r {
					checkCanonical(t, r[path])
				}
			}
		}
		union := m.Clone()
		union.Merge(n)
		if left := m.Remove(union, mergeinfo.IgnoreInheritance); len(left) > 0 {
			t.Fatalf("%q without %q is %q", m, union, left)
		}
	})
}

// TestHostileSize reads and combines lists that take quadratic time where entries are removed one by one.
func TestHostileSize(t *testing.T) {
	var b strings.Builder
	b.WriteString("/a:")
	const n = 200000
	for i := range n {
		fmt.Fprintf(&b, "%d,", n-i)
	}
	m, err := mergeinfo.Parse(b.String() + "\n")
	if err != nil || m.String() != fmt.Sprintf("/a:1-%d", n) {
		t.Fatal(err)
	}
	var odd mergeinfo.Rangelist
	for i := range svn.Revnum(n / 2) {
		odd = append(odd, mergeinfo.Range{Start: 2 * i, End: 2*i + 1, Inheritable: true})
	}
	if got := m["/a"].Remove(odd, false); len(got) != n/2 {
		t.Error(len(got))
	}
	if got := odd.Intersect(m["/a"], true); !slices.Equal(got, odd) {
		t.Error(len(got))
	}
}

// TestParseOnePathOften has a path in 300,000 lines: they must not each be merged into all that were before.
func TestParseOnePathOften(t *testing.T) {
	const n = 300_000
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "/a:%d\n", 2*(i*7919%n)+1)
	}
	b.WriteString("/a:3*\n/b:5*\n/b:5\n/b:4*")
	m, err := mergeinfo.Parse(b.String())
	if err != nil {
		t.Fatal(err)
	}
	a := m["/a"]
	if len(a) != n || a[0] != (mergeinfo.Range{Start: 0, End: 1, Inheritable: true}) || !a.Contains(2*n-1) || a.Contains(2) {
		t.Errorf("%d ranges, the first is %v", len(a), a[0])
	}
	if got := m["/b"].String(); got != "4*,5" {
		t.Errorf("/b: %s", got)
	}
}
