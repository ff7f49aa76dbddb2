package archive_test

import (
	"strings"
	"testing"

	"holdfast/server/archive"
)

func TestGlob(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		attr, path    bool
	}{
		{"a", "a", true, true}, {"a", "ab", false, false}, {"", "", true, true},
		{"*", "abc", true, true}, {"*", "a/c", false, true}, {"a*c", "abbc", true, true}, {"a*c", "a/c", false, true},
		{"?", "x", true, true}, {"?", "/", false, true}, {"??", "é", true, true}, // bytes
		{"**/x", "x", true, false}, {"**/x", "a/b/x", true, true}, {"**/x", "ax", false, false},
		{"a/**", "a/b/c", true, true}, {"a/**", "a", false, false}, {"a/**/b", "a/b", true, false},
		{"a/**/b", "a/x/y/b", true, true}, {"a**b", "a/b", false, true}, {"a**b", "axb", true, true}, {"**", "a/b", true, true},
		{"***/x", "a/b/x", true, true},
		{"[abc]", "b", true, true}, {"[!abc]", "b", false, false}, {"[^abc]", "d", true, true}, {"[a-c]x", "cx", true, true},
		{"[]]", "]", true, true}, {"[!]]", "]", false, false}, {"[]-a]", "^", true, true}, {"[a-]", "-", true, true},
		{"[!a]", "/", false, true}, {"[[:digit:]x]", "7", true, true}, {"[[:digit:]x]", "x", true, true}, {"[[:upper:]]", "a", false, false},
		{"[\\]]", "]", true, true}, {"[a\\-c]", "b", false, false}, {"[z-a]", "m", false, false},
		{"\\*", "*", true, true}, {"\\*", "a", false, false}, {"\\a", "a", true, true}, {"[\xff]", "\xff", true, true},
		{"\xff*", "\xffx", true, true}, {"a.c", "abc", false, false}, {"a\nb", "a\nb", true, true}, {"*", "a\nb", true, true},
	} {
		for _, path := range []bool{false, true} {
			want := tt.attr
			if path {
				want = tt.path
			}
			if got, err := archive.Match(tt.pattern, tt.name, path); err != nil || got != want {
				t.Errorf("%q, %q, path %t: %t, %v", tt.pattern, tt.name, path, got, err)
			}
		}
	}
	for _, pattern := range []string{"[", "[a", "[[:digit:", "[[:nothing:]]", "\\", "a\\", "[\\", "[a-\\", strings.Repeat("?", 5000)} {
		if _, err := archive.Match(pattern, "a", false); err == nil {
			t.Errorf("%.20q is a pattern", pattern)
		}
	}
}

func FuzzGlob(f *testing.F) {
	for _, pattern := range []string{"*.c", "a/**/b", "[!a-z[:digit:]]?", "\\[x", "**", "[", "\xff[\xfe-\xff]*"} {
		f.Add(pattern, "a/b", true)
		f.Add(pattern, "x.c", false)
	}
	f.Fuzz(func(t *testing.T, pattern, name string, ofPath bool) {
		archive.Match(pattern, name, ofPath)
		var quoted strings.Builder
		for i := range len(name) {
			quoted.WriteString("\\" + name[i:i+1])
		}
		if got, err := archive.Match(quoted.String(), name, ofPath); len(name) < 2000 && (err != nil || !got) {
			t.Errorf("%q does not match %q: %v", quoted.String(), name, err)
		}
	})
}

func FuzzAttributes(f *testing.F) {
	f.Add("# x\n[attr]m export-ignore\n*.x m -export-subst\n\"q\\\"\" export-ignore\n/a/b/ !m\n", "a/b")
	f.Add("[attr]a a a a\n[attr]b a a export-ignore\n* b\n", "x")
	f.Fuzz(func(t *testing.T, text, path string) {
		if rules, _ := archive.Rules(text, path); rules > strings.Count(text, "\n")+1 {
			t.Errorf("%d rules", rules)
		}
	})
}

func FuzzExpand(f *testing.F) {
	commit := "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nparent 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n" +
		"author A <a@b> 1 +0000\ncommitter B <c> 99999999999 -2359\n\nsubject\nmore\n\nbody\n"
	f.Add([]byte("a$Format:%H%h%an%cD%x00%$b"), []byte(commit))
	f.Add([]byte("$Format:%B%B%b%f%s%e%d$"), []byte(commit))
	f.Fuzz(func(t *testing.T, text, commit []byte) { archive.Expand(text, commit) })
}
