package svnpull_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/server/svnpull"
	"holdfast/server/svnservetest"
	"holdfast/storage/svn"
)

// run runs a program of Subversion's and returns what it printed.
func run(t *testing.T, stdin []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "LC_ALL=C")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, errs.Bytes())
	}
	return out.Bytes()
}

// repository makes one with all that a replay can have: copies, replacements, properties of all nodes, texts of all sorts.
func repository(t *testing.T, dir string) {
	t.Helper()
	run(t, nil, "svnadmin", "create", dir)
	url := "file://" + dir
	wc := filepath.Join(t.TempDir(), "wc")
	in := func(name string) string { return filepath.Join(wc, name) }
	write := func(name, text string) {
		if err := os.WriteFile(in(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	commit := func(log string) {
		run(t, nil, "svn", "commit", "-q", "--username", "harry", "-m", log, wc)
		run(t, nil, "svn", "update", "-q", wc)
	}
	run(t, nil, "svn", "checkout", "-q", url, wc)
	run(t, nil, "svn", "mkdir", "-q", in("trunk"), in("branches"), in("trunk/sub"))
	run(t, nil, "svn", "propset", "-q", "root", "yes", wc)
	run(t, nil, "svn", "propset", "-q", "color", "red", in("trunk"))
	commit("dirs")
	write("trunk/empty", "")
	write("trunk/text", strings.Repeat("line\n", 5000))
	write("trunk/sub/deep", "deep\n")
	run(t, nil, "svn", "add", "-q", in("trunk/empty"), in("trunk/text"), in("trunk/sub/deep"))
	run(t, nil, "svn", "propset", "-q", "a", "1", in("trunk/empty"))
	commit("files")
	write("trunk/text", strings.Repeat("line\n", 4000)+"changed\n"+strings.Repeat("line\n", 1000))
	run(t, nil, "svn", "propdel", "-q", "color", in("trunk"))
	run(t, nil, "svn", "propset", "-q", "shape", "round", in("trunk"))
	commit("changes")
	run(t, nil, "svn", "copy", "-q", in("trunk"), in("branches/b"))
	write("branches/b/text", "other\n")
	run(t, nil, "svn", "delete", "-q", in("branches/b/sub/deep"))
	commit("a changed copy")
	run(t, nil, "svn", "copy", "-q", in("trunk/text"), in("copied"))
	run(t, nil, "svn", "propset", "-q", "x", "y", in("copied"))
	commit("a copied file")
	run(t, nil, "svn", "delete", "-q", in("trunk/empty"))
	run(t, nil, "svn", "copy", "-q", in("branches/b/text"), in("trunk/empty"))
	commit("a replacement")
	run(t, nil, "svn", "delete", "-q", in("trunk/sub"))
	run(t, nil, "svn", "propdel", "-q", "root", wc)
	commit("deletions")
}

func open(t *testing.T, address string, o svnpull.Options) (*svnpull.Source, error) {
	t.Helper()
	src, err := svnpull.Open(t.Context(), address, o)
	if err == nil {
		t.Cleanup(func() { src.Close() })
	}
	return src, err
}

func scratch(t *testing.T) func() (*os.File, error) {
	dir := t.TempDir()
	return func() (*os.File, error) { return os.CreateTemp(dir, "text") }
}

// TestPull reads a repository from svnserve, in one go and in two, and has Subversion load what comes: the copy is the same.
func TestPull(t *testing.T) {
	root := t.TempDir()
	host := svnservetest.Serve(t, root)
	repository(t, filepath.Join(root, "repo"))
	want := run(t, nil, "svnadmin", "dump", "-q", filepath.Join(root, "repo"))
	for name, cuts := range map[string][]svn.Revnum{"whole": {0, 7}, "parts": {0, 3, 4, 7}} {
		t.Run(name, func(t *testing.T) {
			src, err := open(t, "svn://"+host+"/repo/", svnpull.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if rev, err := src.Youngest(); err != nil || rev != 7 {
				t.Fatalf("the youngest is %d: %v", rev, err)
			}
			copied := filepath.Join(t.TempDir(), "copy")
			run(t, nil, "svnadmin", "create", copied)
			for i := 0; i < len(cuts); i += 2 {
				var dump bytes.Buffer
				if err := src.Dump(t.Context(), &dump, cuts[i], cuts[i+1], scratch(t)); err != nil {
					t.Fatal(err)
				}
				run(t, dump.Bytes(), "svnadmin", "load", "-q", copied)
			}
			if got := run(t, nil, "svnadmin", "dump", "-q", copied); !bytes.Equal(got, want) {
				t.Errorf("the copy is\n%s\nnot\n%s", got, want)
			}
		})
	}
	src, err := open(t, "svn://"+host+"/repo", svnpull.Options{MaxBytes: 100})
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Dump(t.Context(), io.Discard, 0, 7, scratch(t)); err == nil || !strings.Contains(err.Error(), "r2: ") || !strings.Contains(err.Error(), "longer than 100 bytes") {
		t.Error(err)
	}
	_, port, _ := net.SplitHostPort(host)
	for _, same := range []string{host + "//repo", host + "/./repo/", host + "/%72epo", "LocalHost:" + port + "/repo"} {
		if _, err := open(t, "svn://"+same, svnpull.Options{}); err != nil {
			t.Errorf("%s: %v", same, err)
		}
	}
	if _, err := open(t, "svn://"+host+"/repo/trunk", svnpull.Options{}); err == nil || !strings.Contains(err.Error(), "as a whole") {
		t.Error(err)
	}
	if _, err := open(t, "svn://"+host+"/none", svnpull.Options{}); err == nil || !strings.Contains(err.Error(), "No repository found") {
		t.Error(err)
	}
}

func TestLogin(t *testing.T) {
	root := t.TempDir()
	address := "svn://" + svnservetest.Serve(t, root) + "/repo"
	repo := filepath.Join(root, "repo")
	run(t, nil, "svnadmin", "create", repo)
	for name, text := range map[string]string{
		"svnserve.conf": "[general]\nanon-access = none\npassword-db = passwd\n", "passwd": "[users]\nharry = secret\n",
	} {
		if err := os.WriteFile(filepath.Join(repo, "conf", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ user, password, want string }{
		{"harry", "secret", ""}, {"harry", "wrong", "Password incorrect"}, {"", "", "wants to know a name"},
	} {
		_, err := open(t, address, svnpull.Options{User: c.user, Password: c.password})
		if c.want == "" && err != nil || c.want != "" && !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%q: %v, want %q", c.user, err, c.want)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, address := range []string{"https://h/x", "svn+ssh://h/x", "svn://", "svn://u@h/x", "%"} {
		if _, err := svnpull.Open(t.Context(), address, svnpull.Options{}); err == nil || !strings.Contains(err.Error(), "no URL of the form") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// speak is a server that says something and no more.
func speak(t testing.TB, words []byte) string {
	t.Helper()
	return "svn://" + svnservetest.Listen(t, func(conn *net.TCPConn) {
		go hear(conn)
		_, _ = conn.Write(words)
		_ = conn.CloseWrite()
	})
}

// hear listens to a client until it goes away.
func hear(conn net.Conn) {
	defer conn.Close()
	_, _ = io.Copy(io.Discard, conn)
}

// hello is what a server says until replay-range is answered.
const hello = "( success ( 2 2 ( ) ( edit-pipeline ) ) ) ( success ( ( ) 0: ) ) ( success ( 3:abc 8:svn://x/ ( ) ) ) " +
	"( success ( ( ) 0: ) ) ( success ( ( ) ) ) ( success ( ( ) 0: ) ) "

// FuzzServer has a hostile server. Whatever it says comes to an end, and the dump is bounded by what it said.
func FuzzServer(f *testing.F) {
	f.Add([]byte("( revprops ( ) ) ( open-root ( ( ) 1:a ) ) ( add-dir ( 1:x 1:a 1:b ( ) ) ) ( change-dir-prop ( 1:b 1:p ( 1:v ) ) ) " +
		"( add-file ( 3:x/f 1:b 1:c ( 1:z 0 ) ) ) ( apply-textdelta ( 1:c ( ) ) ) ( textdelta-chunk ( 1:c 4:SVN\x00 ) ) ( textdelta-end ( 1:c ) ) " +
		"( close-file ( 1:c ( ) ) ) ( close-dir ( 1:b ) ) ( finish-replay ( ) ) ( success ( ) ) "))
	f.Add([]byte("( revprops ( ) ) ( textdelta-chunk ( 1:c 1:x ) ) "))
	f.Add([]byte("( failure ( ( 1 1:x 0: 0 ) ) ) "))
	f.Add([]byte("( revprops ( ( 1:a 1:b ) ) ) ( change-dir-prop ( 1:q 1:p ( ) ) ) ( absent-dir ( 1:x 1:y ) ) "))
	f.Fuzz(func(t *testing.T, words []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var dump bytes.Buffer
		err := replayed(t, ctx, &dump, words)
		if ctx.Err() != nil || dump.Len() > 100*(len(words)+10) {
			t.Fatalf("%d bytes of dump: %v", dump.Len(), err)
		}
	})
}

// replayed dumps two revisions of a server that says words in its replay.
func replayed(t *testing.T, ctx context.Context, dump io.Writer, words []byte) error {
	t.Helper()
	address := speak(t, append([]byte(hello), words...))
	src, err := svnpull.Open(ctx, address, svnpull.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	return src.Dump(ctx, dump, 0, 1, scratch(t))
}

// TestHoarder has a server that would have its client keep as much as it likes.
func TestHoarder(t *testing.T) {
	var props strings.Builder
	for i := range 65 {
		fmt.Fprintf(&props, "( change-dir-prop ( 1:b 2:%02d ( %d:%s ) ) ) ", i, 1<<20, strings.Repeat("x", 1<<20))
	}
	for words, want := range map[string]string{
		"( add-dir ( 1:x 1:a 1:b ( ) ) ) " + props.String():                     "the properties of \"x\" are longer than",
		"( add-dir ( 16385:" + strings.Repeat("x", 16385) + " 1:a 1:b ( ) ) ) ": "Malformed network data",
		"( add-dir ( 1:x 1:a 16385:" + strings.Repeat("b", 16385) + " ( ) ) ) ": "Malformed network data",
	} {
		err := replayed(t, t.Context(), io.Discard, []byte("( revprops ( ) ) ( open-root ( ( ) 1:a ) ) "+words))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestGarbage(t *testing.T) {
	for _, words := range []string{"", "x", "( success ( 3 4 ( ) ( ) ) ) ", "( failure ( ( 210005 2:no 0: 0 ) ) ) ", "HTTP/1.1 400 Bad Request\r\n"} {
		if _, err := svnpull.Open(t.Context(), speak(t, []byte(words)), svnpull.Options{}); err == nil {
			t.Errorf("%q was taken for a server", words)
		}
	}
}
