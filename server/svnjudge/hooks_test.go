//go:build judge

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestHooks compares what hooks are told with what Subversion tells them: tokens of the locks that a commit has, and which of those it
// ends. One of them a hook wants to stay.
func TestHooks(t *testing.T) {
	w := newWorld(t)
	for _, s := range w.sides {
		for name, script := range map[string]string{
			"pre-commit":  "#!/bin/sh\necho pre-commit >>\"$1/said\"; /usr/bin/sort >>\"$1/said\"\n",
			"post-commit": "#!/bin/sh\necho post-commit \"$2\" >>\"$1/said\"\n",
			"pre-unlock":  "#!/bin/sh\necho pre-unlock \"$3\" \"$4\" \"$5\" >>\"$1/said.$(/usr/bin/basename \"$2\")\"\ncase $2 in */stays) exit 1;; esac\n",
			"post-unlock": "#!/bin/sh\necho post-unlock \"$2\" >>\"$1/said\"; /usr/bin/sort >>\"$1/said\"\n",
		} {
			if err := os.WriteFile(filepath.Join(s.repo, "hooks", name), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	svn := func(args ...string) step { return step{argv: append([]string{"svn"}, args...)} }
	file := func(name, content string) step { return step{file: name, content: content} }
	const wc = "$DIR/wc/d"
	both := operation{steps: []step{
		svn("mkdir", "-q", "-m", "d", "$URL/d"),
		svn("checkout", "-q", "$URL", "$DIR/wc"),
		file(wc+"/stays", "1"), file(wc+"/goes [a]", "1"), file(wc+"/deleted", "1"), file(wc+"/kept", "1"),
		svn("add", "-q", wc+"/stays", wc+"/goes [a]", wc+"/deleted", wc+"/kept"),
		svn("commit", "-q", "-m", "files", "$DIR/wc"),
		svn("lock", wc+"/stays", wc+"/goes [a]", wc+"/deleted", wc+"/kept"),
		svn("delete", "-q", wc+"/deleted"),
		file(wc+"/goes [a]", "2"),
		svn("commit", "-q", "-m", "from above", wc+"/goes [a]", wc+"/deleted", wc+"/stays"),
		svn("info", "$URL/d/stays"), svn("info", "$URL/d/goes [a]"),
		file(wc+"/kept", "2"),
		svn("commit", "-q", "--no-unlock", "-m", "kept", wc+"/kept"),
		svn("info", "$URL/d/kept"),
	}}
	var said [2]string
	for i, s := range w.sides {
		said[i] = s.play(both)
		for _, name := range []string{"said", "said.stays", "said.goes [a]", "said.deleted", "said.kept"} {
			b, _ := os.ReadFile(filepath.Join(s.repo, name)) // none is none
			said[i] += "== " + name + "\n" + s.plain(string(b))
		}
	}
	if said[0] != said[1] {
		t.Error(difference(said[0], said[1]))
	}
	if !strings.Contains(said[0], "goes%20[a]|TOKEN") || !strings.Contains(said[0], "post-unlock alice") {
		t.Error("Subversion's hooks were not told of locks:\n" + said[0])
	}
}
