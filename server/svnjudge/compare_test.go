//go:build judge

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCompare(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"baseline": "# words\na: 1 2 3-xfail 4-skip 5 6\n",
		"skip":     "a 6  # not asked\n",
		"a.log":    "PASS:  a_tests.py 1: one\nsomething\nFAIL:  a_tests.py 2: two\nXFAIL: a_tests.py 3: three\nSKIP:  a_tests.py 6: six\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		only, want string
		status     int
	}{
		{"", "FAILED a 2: two\nFAILED a 5: did not run\na 1 passed 2 failed 1 skipped\n1 skipped\n1 passed, 2 failed\n", 1},
		{"1 3", "a 1 passed 0 failed 0 skipped\n0 skipped\n1 passed, 0 failed\n", 0},
		{"3", "a 0 passed 0 failed 0 skipped\nnothing was judged\n0 skipped\n0 passed, 0 failed\n", 1},
	} {
		var out strings.Builder
		status, err := compare(&out, comparison{filepath.Join(dir, "baseline"), filepath.Join(dir, "skip"), dir, test.only, []string{"a"}})
		var got strings.Builder
		for line := range strings.Lines(out.String()) {
			got.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
		}
		if err != nil || status != test.status || got.String() != test.want {
			t.Errorf("%q: %d, %v\n%s", test.only, status, err, got.String())
		}
	}
}
