package server

import (
	"slices"
	"strings"
	"testing"
)

// FuzzSplitCommand checks that arguments survive git's way of quoting them, and that no command line breaks the parser.
func FuzzSplitCommand(f *testing.F) {
	for _, raw := range []string{"git-upload-pack 'a b.git'", `it'\''s'\!`, `"a\"b`, "a\\", "'", " \t\n", "\xff\x00"} {
		f.Add(raw, raw)
	}
	quote := func(arg string) string {
		return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(arg) + "'"
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		if argv, err := splitCommand(one); err == nil && slices.ContainsFunc(argv, func(arg string) bool { return len(arg) > len(one) }) {
			t.Errorf("splitCommand(%q) = %q", one, argv)
		}
		if strings.Contains(one+two, "\x00") {
			return
		}
		want := []string{"git-receive-pack", one, two}
		got, err := splitCommand("git-receive-pack " + quote(one) + "  " + quote(two) + " ")
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	})
}
