package server_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/server"
	"holdfast/storage/object"
)

// TestArchive compares git archive --remote with git archive in a clone.
func TestArchive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.Config{})
	w.add("alice")
	for _, format := range []string{"sha1", "sha256"} {
		dir := filepath.Join(w.dir, format)
		w.ok("root", w.dir, "init", "-q", "--object-format="+format, dir)
		write(t, filepath.Join(dir, "version"), "$Format:%H|%D|%d$\n")
		write(t, filepath.Join(dir, ".gitattributes"), "version export-subst\nsecret* export-ignore\n")
		write(t, filepath.Join(dir, "secret"), "secret")
		write(t, filepath.Join(dir, "large"), strings.Repeat("0123456789abcdef", 20_000))
		if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "a", "b", "file"), "file")
		w.ok("root", dir, "add", ".")
		w.ok("root", dir, "commit", "-qm", "first")
		w.ok("root", dir, "tag", "-a", "-m", "tag", "v1")
		w.ok("root", dir, "branch", "beside")
		w.ok("root", dir, "tag", "tree", "HEAD:a")
		w.ok("root", dir, "tag", "blob", "HEAD:large")
		if err := w.srv.CreateRepo(t.Context(), server.Local, server.NewRepo{Name: format, Format: must(object.ParseFormat(format))}, io.Discard); err != nil {
			t.Fatal(err)
		}
		url := w.url(format)
		w.ok("root", dir, "push", "-q", url, "--all")
		w.ok("root", dir, "push", "-q", url, "--tags")
		for i, args := range [][]string{
			{"main"}, {"HEAD"}, {"v1", "--prefix=p/"}, {"--format=tar.gz", "-9", "refs/heads/beside"}, {"--format", "zip", "-0", "main"},
			{"heads/main", "a"}, {"-v", "main", "--", "a/b", "ver*"}, {"--list"}, {"main:a/"}, {"tree"}, {"main:", "large"},
		} {
			if format == "sha256" && i > 2 {
				break
			}
			remote := w.bytes(dir, append([]string{"archive", "--remote=" + url}, args...)...)
			local := w.bytes(dir, append([]string{"archive"}, args...)...)
			switch first := strings.Join(args, " "); {
			case strings.HasPrefix(first, "--format") || strings.Contains(first, ":") || first == "tree":
				// Compressed by others, or with the present as their time.
				if len(remote) == 0 || len(remote) > 2*len(local)+1000 {
					t.Errorf("%v: %d bytes, %d locally", args, len(remote), len(local))
				}
			case remote != local:
				t.Errorf("%s %v: %d bytes, %d locally", format, args, len(remote), len(local))
			}
		}
		if format == "sha256" {
			return
		}
		id := strings.TrimSpace(w.ok("root", dir, "rev-parse", "main"))
		for _, tt := range [][]string{
			{"no such ref: " + id, id}, {"no such ref: main~0", "main~0"}, {"no such ref: refs/svn/revs", "refs/svn/revs"},
			{"no such directory", "main:large"}, {"no such directory", "main:x/y"}, {`"blob" is a blob`, "blob"},
			{`"nothing" is not in the tree`, "main", "nothing"}, {"unknown archive format", "--format=rar", "main"},
			{"cannot be used together", "--add-file=version", "main"}, {"name a branch", "--prefix=x/"}, {`option "--foo"`, "--foo", "main"},
			{"not compressed", "-5", "main"},
		} {
			w.fails("root", dir, tt[:1], append([]string{"archive", "--remote=" + url, "--output=x.tar"}, tt[1:]...)...)
		}
		w.fails("alice", dir, []string{"does not exist"}, "archive", "--remote="+url, "main")
	}
}
