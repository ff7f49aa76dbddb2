package archive_test

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"holdfast/server/archive"
	"holdfast/storage/object"
)

// gitRepo is a Source and a place to run git in.
type gitRepo struct {
	t   testing.TB
	dir string
	in  io.WriteCloser
	out *bufio.Reader
}

func newRepo(t testing.TB, format object.Format) *gitRepo {
	t.Helper()
	r := &gitRepo{t: t, dir: t.TempDir()}
	r.git("init", "-q", "--object-format="+format.String(), "--initial-branch=main")
	return r
}

func (r *gitRepo) command(args ...string) *exec.Cmd {
	cmd := exec.Command("git", args...)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "HOME="+r.dir, "TZ=UTC", "LC_ALL=C",
		"GIT_AUTHOR_NAME=A U Thor", "GIT_AUTHOR_EMAIL=author@example.org", "GIT_AUTHOR_DATE=1700000000 +0130",
		"GIT_COMMITTER_NAME=C O Mitter", "GIT_COMMITTER_EMAIL=c@example.org", "GIT_COMMITTER_DATE=1700000100 -0800")
	return cmd
}

func (r *gitRepo) git(args ...string) string {
	r.t.Helper()
	cmd := r.command(args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatalf("git %q: %v\n%s", args, err, &stderr)
	}
	return string(out)
}

func (r *gitRepo) write(name, content string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *gitRepo) id(name string) object.ID {
	r.t.Helper()
	id, err := object.ParseID(strings.TrimSpace(r.git("rev-parse", name)))
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

// root returns the Root of a commit, or of a tree at a time.
func (r *gitRepo) root(name string) archive.Root {
	r.t.Helper()
	root := archive.Root{Tree: r.id(name + "^{tree}")}
	if r.command("rev-parse", "-q", "--verify", name+"^{commit}").Run() == nil {
		root.Commit = r.id(name + "^{commit}")
		root.Time, _ = strconv.ParseInt(strings.TrimSpace(r.git("log", "-1", "--format=%ct", name)), 10, 64)
	}
	return root
}

func (r *gitRepo) ReadObject(id object.ID) (object.Type, []byte, error) {
	if r.in == nil {
		cmd := r.command("cat-file", "--batch")
		in, err := cmd.StdinPipe()
		if err != nil {
			return 0, nil, err
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			return 0, nil, err
		}
		if err := cmd.Start(); err != nil {
			return 0, nil, err
		}
		r.in, r.out = in, bufio.NewReader(out)
		r.t.Cleanup(func() { in.Close(); cmd.Wait() })
	}
	fmt.Fprintln(r.in, id)
	line, err := r.out.ReadString('\n')
	if err != nil {
		return 0, nil, err
	}
	fields := strings.Fields(line)
	if len(fields) != 3 {
		return 0, nil, fmt.Errorf("cat-file: %s", line)
	}
	typ, err := object.ParseType(fields[1])
	if err != nil {
		return 0, nil, err
	}
	size, _ := strconv.Atoi(fields[2])
	data := make([]byte, size+1)
	_, err = io.ReadFull(r.out, data)
	return typ, data[:size], err
}

func (r *gitRepo) OpenObject(id object.ID) (object.Type, int64, io.ReadCloser, error) {
	typ, data, err := r.ReadObject(id)
	return typ, int64(len(data)), io.NopCloser(bytes.NewReader(data)), err
}

func make1(t testing.TB, r *gitRepo, name string, o archive.Options) ([]byte, error) {
	t.Helper()
	a, err := archive.New(t.Context(), r, r.root(name), o)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = a.Write(t.Context(), &out)
	return out.Bytes(), err
}

// rich makes a repository with every kind of entry, and names at the edges of what a tar header holds.
func rich(t testing.TB, f object.Format) *gitRepo {
	r := newRepo(t, f)
	r.write("plain", "content\n")
	r.write("empty", "")
	r.write("program", "#!/bin/sh\n")
	r.write("dir/sub/file", strings.Repeat("x", 512))
	r.write("dir/sub.x", strings.Repeat("y", 10240))
	r.write("dir-x", "sorts between")
	r.write("naïve/ümläut", "utf-8")
	r.write("with space/a b", "b")
	for _, n := range []int{98, 99, 100, 101, 150, 154, 155, 156, 200, 250} {
		r.write(strings.Repeat("n", n), fmt.Sprint(n))
		r.write(strings.Repeat("d", n)+"/"+strings.Repeat("f", 90), fmt.Sprint(n))
		r.write("deep/"+strings.Repeat("e", n/2)+"/"+strings.Repeat("e", n/2)+"/x", fmt.Sprint(n))
	}
	for name, target := range map[string]string{
		"link": "plain", "link100": strings.Repeat("t", 100), "link101": strings.Repeat("t", 101),
		"dir/" + strings.Repeat("l", 101): strings.Repeat("t", 300),
	} {
		if err := os.Symlink(target, filepath.Join(r.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	r.git("add", ".")
	r.git("update-index", "--chmod=+x", "program")
	r.git("update-index", "--add", "--cacheinfo", "160000,"+r.git("hash-object", "plain")[:2*f.Size()]+",modules/one")
	r.git("commit", "-q", "-m", "everything")
	r.git("tag", "-a", "-m", "a tag", "v1")
	return r
}

// TestSameTarAsGit compares archives with git's, byte by byte.
func TestSameTarAsGit(t *testing.T) {
	t.Parallel()
	for _, f := range []object.Format{object.SHA1, object.SHA256} {
		r := rich(t, f)
		for _, tt := range []struct {
			name   string
			prefix string
			paths  []string
		}{
			{name: "main"}, {name: "v1"}, {name: "main", prefix: "app-1.0/"}, {name: "main", prefix: "a/b//"},
			{name: "main", prefix: "x-"}, {name: "main", prefix: "/"},
			{name: "main", paths: []string{"dir"}}, {name: "main", paths: []string{"dir/"}}, {name: "main", paths: []string{"dir/sub"}},
			{name: "main", paths: []string{"dir/sub/file", "plain", "modules"}}, {name: "main", paths: []string{"."}},
			{name: "main", paths: []string{"*file"}}, {name: "main", paths: []string{"d*"}}, {name: "main", paths: []string{"dir/s?b/*"}},
			{name: "main", paths: []string{"[l-p]*"}}, {name: "main", paths: []string{"./dir//sub", "./plain"}},
			{name: "main", paths: []string{"na*/*"}, prefix: "p/"},
		} {
			want := r.git(append([]string{"archive", "--prefix=" + tt.prefix, tt.name}, tt.paths...)...)
			got, err := make1(t, r, tt.name, archive.Options{Prefix: tt.prefix, Paths: tt.paths})
			if err != nil || string(got) != want {
				t.Errorf("%s %+v: %v; %s", f, tt, err, difference(got, []byte(want)))
			}
		}
	}
}

// difference shows where two archives begin to differ.
func difference(got, want []byte) string {
	n := 0
	for n < len(got) && n < len(want) && got[n] == want[n] {
		n++
	}
	near := func(b []byte) []byte { return bytes.ReplaceAll(b[max(0, n-40):min(len(b), n+1500)], []byte{0}, nil) }
	return fmt.Sprintf("at %d got %q, want %q", n, near(got), near(want))
}

// TestExport compares the effect of attributes with git's.
func TestExport(t *testing.T) {
	t.Parallel()
	r := newRepo(t, object.SHA1)
	r.write(".gitattributes", `# a comment
[attr]internal export-ignore -text
[attr]nested internal
*.secret export-ignore
docs/ export-ignore
/only-here export-ignore
not/only-here export-ignore=value
src/**/gen export-ignore
**/tmp export-ignore
a/*.c internal
b?r nested
[!x]yz export-ignore
"quo\"ted" export-ignore
*.keep export-ignore
kept.keep -export-ignore
*.undo export-ignore
undone.undo !export-ignore
!negative export-ignore
*.in export-subst
`)
	r.write("sub/.gitattributes", "*.secret -export-ignore\n*.late export-ignore\n/x export-ignore\n[attr]mine export-ignore\nm mine\n")
	for _, name := range []string{
		"a.secret", "sub/b.secret", "sub/deep/c.secret", "docs/x", "sub/docs/y", "docs.txt", "only-here", "sub/only-here",
		"not/only-here", "src/gen", "src/a/gen", "src/a/b/gen/x", "src/a/genx", "tmp/x", "q/tmp", "q/r/tmp/z", "a/x.c",
		"a/b/x.c", "bar/baz", "bbr", "xyz", "ayz", "quo\"ted", "kept.keep", "other.keep", "undone.undo", "other.undo", "!negative",
		"sub/a.late", "a.late", "sub/x", "x", "sub/deep/x", "sub/m", "only/docs", "empty-after/x.secret",
	} {
		r.write(name, name)
	}
	r.write("version.in", "a $Format:%H %h%n%T %t|%P|%p$ b $Format:%an <%ae> %al %aD|%ad|%ai|%as|%at|%aN %aE$\n"+
		"$Format:%cn %ce %cd %cD %ci %cs %ct$ $Format:%s|%f|%b|%B|%e|%%|%x41|%n$ $Format:%d|%D$\n"+
		"$Format:%zz %x4 %$ $Format: no end, $Format:$ $ $Format:%H")
	r.write("raw.txt", "$Format:%H$")
	r.git("add", "-f", ".")
	r.git("commit", "-q", "-m", "  First: a (subject)..\nin two  lines.\n\n\nThe body.\n\nMore.\n")
	r.write("more", "more")
	r.git("add", ".")
	r.git("commit", "-q", "-m", "Second")
	for _, name := range []string{"main", "main~1"} {
		want := r.git("archive", name)
		o := archive.Options{}
		if name == "main" {
			o.Decorate = func() ([]string, error) { return []string{"HEAD -> main"}, nil }
		}
		got, err := make1(t, r, name, o)
		if err != nil || string(got) != want {
			t.Errorf("%s: %v; %d bytes, want %d\n%s", name, err, len(got), len(want), difference(got, []byte(want)))
		}
	}
}

func TestTreeWithoutCommit(t *testing.T) {
	t.Parallel()
	r := rich(t, object.SHA1)
	r.write(".gitattributes", "* export-subst\n")
	root := archive.Root{Tree: r.id("main:dir"), Time: 1700000000}
	a, err := archive.New(t.Context(), r, root, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := a.Write(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	want := []byte(r.git("archive", "main:dir"))
	if at := bytes.Index(want, []byte("sub/")); at != bytes.Index(out.Bytes(), []byte("sub/")) || len(want) != out.Len() {
		t.Errorf("%d bytes, want %d", out.Len(), len(want))
	}
}

// TestCompressed: what is inside is the same, whatever the level.
func TestCompressed(t *testing.T) {
	t.Parallel()
	r := rich(t, object.SHA1)
	tar := r.git("archive", "--prefix=p/", "main")
	for _, level := range []int{0, archive.NoCompression, 1, 9} {
		for _, format := range []archive.Format{archive.Tgz, archive.TarGz} {
			data, err := make1(t, r, "main", archive.Options{Format: format, Prefix: "p/", Level: level})
			if err != nil {
				t.Fatal(err)
			}
			gz, err := gzip.NewReader(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(gz); err != nil || string(got) != tar {
				t.Errorf("%s, level %d: %v, another tar", format, level, err)
			}
		}
		data, err := make1(t, r, "main", archive.Options{Format: archive.Zip, Prefix: "p/", Level: level})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := zipped(t, data), zipped(t, []byte(r.git("archive", "--format=zip", "--prefix=p/", "main"))); got != want {
			t.Errorf("zip, level %d: got\n%s\nwant\n%s", level, got, want)
		}
	}
}

// zipped lists what is in a zip file.
func zipped(t *testing.T, data []byte) string {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	list := []string{z.Comment}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		m := f.Mode()
		if f.CreatorVersion == 0 { // git says nothing about the mode of plain files and directories
			m &^= 0o777
		}
		list = append(list, fmt.Sprintf("%s %v %v %d %q", f.Name, m.Type(), m&0o111 != 0 && m.IsRegular(), f.Modified.Unix(), content))
	}
	return strings.Join(list, "\n")
}

func TestNames(t *testing.T) {
	t.Parallel()
	r := rich(t, object.SHA1)
	var names bytes.Buffer
	if _, err := make1(t, r, "main", archive.Options{Prefix: "p/", Paths: []string{"dir"}, Names: &names}); err != nil {
		t.Fatal(err)
	}
	cmd := r.command("archive", "-v", "-o", "x.tar", "--prefix=p/", "main", "dir")
	want, err := cmd.CombinedOutput()
	if err != nil || names.String() != string(want) {
		t.Errorf("%v: got\n%s\nwant\n%s", err, &names, want)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	r := rich(t, object.SHA1)
	for want, o := range map[string]archive.Options{
		"unknown archive format":    {Format: "rar"},
		"not compressed":            {Level: 3},
		"no compression level 10":   {Level: 10, Format: archive.Zip},
		`"nothing" is not in the`:   {Paths: []string{"plain", "nothing"}},
		`"dir/nothing/x" is not in`: {Paths: []string{"dir/nothing/x"}},
		`"*.nothing" is not in the`: {Paths: []string{"*.nothing"}},
		"an empty path":             {Paths: []string{""}},
		"begin with a colon":        {Paths: []string{":(icase)x"}},
		"without a slash":           {Paths: []string{"/etc/passwd"}},
		"leads out of the tree":     {Paths: []string{"../x"}},
		"without its end":           {Paths: []string{"[x"}},
		"1025 paths":                {Paths: slices.Repeat([]string{"x"}, 1025)},
	} {
		if _, err := make1(t, r, "main", o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o.Paths, err, want)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrNoProgress)
	a, err := archive.New(t.Context(), r, r.root("main"), archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Write(ctx, io.Discard); err != io.ErrNoProgress {
		t.Errorf("a cancelled archive ends with %v", err)
	}
}

// TestCostlyPatterns: attributes must not keep the server busy.
func TestCostlyPatterns(t *testing.T) {
	t.Parallel()
	r := newRepo(t, object.SHA1)
	var rules strings.Builder
	for range 500 {
		fmt.Fprintf(&rules, "b%s export-ignore\n", strings.Repeat("*a", 900)) // b ends the real work early
	}
	for want, attributes := range map[string]string{
		"too much work":        rules.String(),
		"more than 1000 rules": strings.Repeat("x export-ignore\n", 1001),
	} {
		r.write("attributes", attributes)
		// Not git add, nor an index: that would look at the attributes, and hang.
		blob := strings.TrimSpace(r.git("hash-object", "-w", "--no-filters", "attributes"))
		list := "100644 blob " + blob + "\t.gitattributes\n"
		for i := range 20 {
			list += fmt.Sprintf("100644 blob %s\t%s%d\n", blob, strings.Repeat("a", 200), i)
		}
		mktree := r.command("mktree")
		mktree.Stdin = strings.NewReader(list)
		tree, err := mktree.Output()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := make1(t, r, strings.TrimSpace(string(tree)), archive.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the archive ends with %v, want %q", err, want)
		}
	}
}
