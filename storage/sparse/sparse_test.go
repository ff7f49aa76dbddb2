package sparse_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/storage/sparse"
)

// has reports whether the file at a path matches.
func has(p *sparse.Patterns, path string) bool {
	names := strings.Split(path, "/")
	d := p.Root()
	for _, name := range names[:len(names)-1] {
		d = p.Enter(d, []byte(name))
	}
	return p.Has(d, []byte(names[len(names)-1]))
}

func TestPatterns(t *testing.T) {
	all := []string{"a", "b.c", "d/a", "d/b.c", "d/e/a", "d/e/f/b.c", "g/e/a", "gh/a"}
	for _, tt := range []struct{ patterns, want string }{
		{"", ""},
		{"*", "a b.c d/a d/b.c d/e/a d/e/f/b.c g/e/a gh/a"},
		{"/", "a b.c d/a d/b.c d/e/a d/e/f/b.c g/e/a gh/a"}, // the root itself
		{"\r\n", "a b.c d/a d/b.c d/e/a d/e/f/b.c g/e/a gh/a"},
		{"a", "a d/a d/e/a g/e/a gh/a"},
		{"/a", "a"},
		{"a/", ""},
		{"d/", "d/a d/b.c d/e/a d/e/f/b.c"},
		{"# d\nd \n!e\\ ", "d/a d/b.c d/e/a d/e/f/b.c"},
		{"\xef\xbb\xbfd\n!e\r\nf", "d/a d/b.c d/e/f/b.c"},
		{"/*\n!/*/\n/d/\n!/d/*/\n/d/e/f/", "a b.c d/a d/b.c d/e/f/b.c"}, // a cone
		{"e/a", ""},
		{"d/e/a", "d/e/a"},
		{"*/e", "d/e/a d/e/f/b.c g/e/a"},
		{"**/e", "d/e/a d/e/f/b.c g/e/a"},
		{"**/a\n!/**/e/a", "a d/a gh/a"},
		{"d/**/b.c", "d/b.c d/e/f/b.c"},
		{"d/**", "d/a d/b.c d/e/a d/e/f/b.c"},
		{"g**", "g/e/a gh/a"},
		{"/g**", "g/e/a gh/a"},
		{"/g**/a", "g/e/a gh/a"}, // for git the pattern begins with the stars
		{"d/?", "d/a d/e/a d/e/f/b.c"},
		{"[!a-cg]*", "d/a d/b.c d/e/a d/e/f/b.c g/e/a"},
		{"[[:alpha:]].[^[:space:]d]", "b.c d/b.c d/e/f/b.c"},
		{"[[:foo:]]\n[a\n\\", ""},
		{"*.c\n!d/*", "b.c d/e/f/b.c"},
		{"\\a", "a d/a d/e/a g/e/a gh/a"},
		{"a\x00b", "a d/a d/e/a g/e/a gh/a"},
	} {
		p := sparse.Parse([]byte(tt.patterns))
		for range 2 { // the second time from what is known
			var got []string
			for _, path := range all {
				if has(p, path) {
					got = append(got, path)
				}
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("%q matches %s, want %s", tt.patterns, got, tt.want)
			}
		}
	}
	both := sparse.Parse([]byte("d/"), []byte("*.c"))
	if has(both, "d/a") || has(both, "b.c") || !has(both, "d/b.c") || !has(both, "d/e/f/b.c") {
		t.Error("two files are not both heeded")
	}
	if p := sparse.Parse([]byte("*\n")); p.Has(p.Enter(p.Root(), []byte("d")), []byte("x")) == p.Has(sparse.All, nil) != true {
		t.Error("a star does not take all")
	}
	if p := sparse.Parse([]byte("/\n/x")); p.Has(p.Alone(), []byte("a")) || !p.Has(p.Alone(), []byte("x")) {
		t.Error("the root of a tree wanted by itself is matched, or its entries are not")
	}
}

// TestCostly matches patterns that take a backtracking matcher exponential time, and more directories than are told apart.
func TestCostly(t *testing.T) {
	name := strings.Repeat("a", 1000)
	p := sparse.Parse([]byte(strings.Repeat("*a", 200) + "b\n/" + strings.Repeat("**/a*", 200) + "b\n"))
	if has(p, strings.Repeat(name+"/", 5)+name) {
		t.Error("a costly pattern matches")
	}
	p = sparse.Parse([]byte("/" + strings.Repeat("[ab]/**/", 60) + "x\n"))
	d := p.Root()
	r := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		d = p.Enter(d, []byte{"ab"[r.IntN(2)]})
	}
	many := []byte(strings.Repeat("*a*b*c*d*\n", 10_000))
	p = sparse.Parse(many)
	for i := range 100_000 {
		p.Has(p.Root(), fmt.Appendf(nil, "abcabcabcabcabc%d", i))
	}
	if !p.Has(p.Root(), []byte("no match")) {
		t.Error("work is not bounded")
	}
}

// TestDifferential compares random patterns, on a tree of random names, with git.
func TestDifferential(t *testing.T) {
	dir := t.TempDir()
	git := func(in string, args ...string) string {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=A", "-c", "user.email=a@example.org"}, args...)...)
		cmd.Stdin = strings.NewReader(in)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "HOME="+dir, "LC_ALL=C")
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(args, err)
		}
		return string(out)
	}
	git("", "init", "-q", ".")
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	names := []string{"a", "b", "ab", "ba", "a.b", "aab", "-", "[", "a b", "A", "1", "!a", "#b", "\xff"}
	paths := map[string]bool{}
	var stream bytes.Buffer
	stream.WriteString("commit refs/heads/main\ncommitter A <a@example.org> 0 +0000\ndata 0\n")
	for range 300 {
		parts := make([]string, 1+r.IntN(5))
		for i := range parts {
			parts[i] = names[r.IntN(len(names))]
		}
		parts[len(parts)-1] += "_"[:r.IntN(2)] // so that files and directories seldom have the same name
		path := strings.Join(parts, "/")
		if conflicts(paths, path) {
			continue
		}
		paths[path] = true
		fmt.Fprintf(&stream, "M 100644 inline \"%s\"\ndata %d\n%s\n", quoted(path), len(path), path)
	}
	git(stream.String(), "fast-import", "--quiet")
	for range 60 {
		patterns := randomPatterns(r)
		blob := strings.TrimSpace(git(patterns, "hash-object", "-w", "--stdin"))
		want := map[string]bool{}
		for line := range strings.Lines(git("", "rev-list", "--objects", "--filter=sparse:oid="+blob, "main")) {
			_, path, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			want[path] = true
		}
		p := sparse.Parse([]byte(patterns))
		for path := range paths {
			if got := has(p, path); got != want[path] {
				t.Errorf("%q, %q: %v, git says %v", patterns, path, got, want[path])
			}
		}
	}
}

func conflicts(paths map[string]bool, path string) bool {
	for other := range paths {
		if path == other || strings.HasPrefix(path, other+"/") || strings.HasPrefix(other, path+"/") {
			return true
		}
	}
	return false
}

func quoted(path string) string {
	var b strings.Builder
	for _, c := range []byte(path) {
		fmt.Fprintf(&b, "\\%03o", c)
	}
	return b.String()
}

// randomPatterns have few stars each: git takes exponential time for many.
func randomPatterns(r *rand.Rand) string {
	pieces := []string{"a", "b", "a", "b", "/", "/", "/", ".", "?", "*", "*", "**", "**/", "/**", "[ab]", "[!a]", "[^b-]", "[]a]", "[a-]",
		"[[:alpha:]]", "[[:upper:][:digit:]]", "[[:punct:]x]", "[b-a]", "[a-\\b]", "[[:no:]]", "[[:a", "[a", "\\a", "\\", "\\*",
		"\\/", "[/]", "[[:]", " ", "\\ ", "_", "#", "!", "\xff", "[\x80-\xff]", "-", "[", "]", "1", "A"}
	var b strings.Builder
	for range 1 + r.IntN(5) {
		b.WriteString([]string{"", "", "", "!", "/", "!/", "**/", "*", "#"}[r.IntN(9)])
		stars := 0
		for range r.IntN(6) {
			piece := pieces[r.IntN(len(pieces))]
			if stars += strings.Count(piece, "*"); stars <= 3 {
				b.WriteString(piece)
			}
		}
		b.WriteString([]string{"\n", "\n", "/\n", "\r\n", "  \n", "/*\n", ""}[r.IntN(7)])
	}
	return b.String()
}

// FuzzParse: whatever the patterns, the answers neither panic nor depend on what was asked before.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"*\n!/*/\n", "**/a/[!b-c]*\\ \n", "[[:alpha:]", "a/**/b\n/\n", "\xef\xbb\xbf#\n\\"} {
		f.Add([]byte(s), "a/b/c")
	}
	f.Fuzz(func(t *testing.T, patterns []byte, path string) {
		p := sparse.Parse(patterns)
		first := has(p, path)
		has(p, "a/"+path)
		if has(p, path) != first || has(sparse.Parse(patterns), path) != first {
			t.Errorf("%q, %q: not the same twice", patterns, path)
		}
	})
}

func BenchmarkCone(b *testing.B) {
	var text bytes.Buffer
	text.WriteString("/*\n!/*/\n")
	var paths []string
	for i := range 2000 {
		fmt.Fprintf(&text, "/d%d/\n!/d%d/*/\n/d%d/e/\n", i, i, i)
		paths = append(paths, filepath.Join(fmt.Sprint("d", i), "e", "f"), filepath.Join(fmt.Sprint("d", i), "g", "f"))
	}
	for b.Loop() {
		p := sparse.Parse(text.Bytes())
		if n := len(slices.DeleteFunc(slices.Clone(paths), func(path string) bool { return has(p, path) })); n != 2000 {
			b.Fatal(n)
		}
	}
}
