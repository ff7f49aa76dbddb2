//go:build clients

package server_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
)

// program is the client's command line, with who it is.
func (x *svnCell) program() []string {
	p := []string{"svn"}
	if x.c.name == "SVNKit" { // Debian's jsvn is a script that no shell can run
		p = []string{"java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Duser.home=" + x.path("home"),
			"-Dfile.encoding=UTF-8", "-Dsun.jnu.encoding=UTF-8", "-classpath", "/usr/share/svnkit/svnkit-cli.jar", "org.tmatesoft.svn.cli.SVN"}
	}
	return append(append(p, "--config-dir", x.path("config")), x.credentials("")...)
}

// credentials are the options that say who the client is.
func (x *svnCell) credentials(prefix string) []string {
	o := []string{"--non-interactive", "--no-auth-cache"}
	if strings.HasPrefix(x.url, "svn+") {
		return o
	}
	return append(o, "--"+prefix+"username", "alice", "--"+prefix+"password", x.secret)
}

// run runs a program in the cell's directory and keeps what it prints.
func (x *svnCell) run(name string, args ...string) {
	x.t.Helper()
	x.said.Write(x.mustIn(x.t, x.dir, nil, name, args...))
}

func (x *svnCell) svn(args ...string) {
	x.t.Helper()
	p := append(x.program(), args...)
	x.run(p[0], p[1:]...)
}

// keepTree keeps the names and contents of all files of a working copy.
func (x *svnCell) keepTree(dir string) {
	x.t.Helper()
	root := filepath.Join(x.dir, dir)
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if d != nil && (d.Name() == ".svn" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		info, err2 := d.Info()
		if err == nil && err2 == nil {
			fmt.Fprintf(&x.said, "%s %o %q\n", path, info.Mode()&0o100, data)
		}
		return err
	})
	if err != nil {
		x.t.Fatal(err)
	}
}

func (x *svnCell) path(name string) string { return filepath.Join(x.dir, name) }

func (x *svnCell) checkout() {
	x.svn("checkout", x.url+"/trunk", x.path("wc"))
	x.svn("checkout", "-r2", "--depth", "files", x.url+"/trunk", x.path("shallow"))
	x.svn("update", "--set-depth", "infinity", x.path("shallow"))
	x.svn("export", x.url+"/tags/one", x.path("tag"))
	x.svn("info", x.url+"/trunk")
	x.svn("list", "-v", "-R", x.url)
	x.svn("cat", x.url+"/trunk/file@2")
	for _, dir := range []string{"wc", "shallow", "tag"} {
		x.keepTree(dir)
	}
}

func (x *svnCell) commit() {
	write(x.t, x.path("wc/file"), numbered(1, 10)+"changed\n"+numbered(12, 20)+"on the branch\n"+numbered(21, 45))
	write(x.t, x.path("wc/binary"), string(bytes.Repeat([]byte{0, 1, 2, 0xfe}, 6000)))
	write(x.t, x.path("wc/new"), "new $Rev$\n")
	x.svn("add", x.path("wc/new"))
	x.svn("propset", "svn:keywords", "Rev", x.path("wc/new"))
	x.svn("mkdir", x.path("wc/dir"))
	x.svn("copy", x.path("wc/file"), x.path("wc/dir/copy"))
	x.svn("propset", "color", "gr\u00fcn", x.path("wc/dir"))
	x.status()
	x.svn("commit", "-m", "several things", x.path("wc"))
	x.svn("delete", x.path("wc/new"))
	x.svn("commit", "-m", "gone", x.path("wc"))
	x.svn("update", x.path("wc"))
	x.svn("mkdir", "-m", "by URL", x.url+"/tags/made")
	x.svn("move", "-m", "renamed", x.url+"/tags/made", x.url+"/tags/renamed")
	x.svn("diff", "-r5:HEAD", x.url+"/trunk/file")
	x.keepTree("wc")
}

// status keeps what is changed, which clients show in any order.
func (x *svnCell) status() {
	x.t.Helper()
	p := append(x.program(), "status", "-u", x.path("wc"))
	lines := strings.Split(string(x.mustIn(x.t, x.dir, nil, p[0], p[1:]...)), "\n")
	slices.Sort(lines)
	x.said.WriteString(strings.Join(lines, "\n"))
}

func (x *svnCell) merge() {
	x.svn("copy", "-m", "a branch", x.url+"/trunk", x.url+"/branches/b")
	x.svn("switch", x.url+"/branches/b", x.path("wc"))
	write(x.t, x.path("wc/dir/copy"), numbered(1, 50))
	x.svn("commit", "-m", "work on it", x.path("wc"))
	x.svn("switch", x.url+"/trunk", x.path("wc"))
	write(x.t, x.path("wc/file"), "first\n"+numbered(1, 45))
	x.svn("commit", "-m", "meanwhile", x.path("wc"))
	x.svn("update", x.path("wc"))
	x.svn("merge", x.url+"/branches/b", x.path("wc"))
	x.svn("commit", "-m", "merged b", x.path("wc"))
	x.svn("update", x.path("wc"))
	x.svn("propget", "svn:mergeinfo", x.path("wc"))
	x.svn("mergeinfo", "--show-revs", "merged", x.url+"/branches/b", x.url+"/trunk")
	x.svn("mergeinfo", "--show-revs", "eligible", x.url+"/trunk", x.url+"/branches/b")
	x.keepTree("wc")
}

func (x *svnCell) log() {
	x.svn("log", "-v", x.url)
	x.svn("log", "-q", "-r", "2:HEAD", "--limit", "3", x.url+"/trunk/file")
	x.svn("log", "--stop-on-copy", x.url+"/branches/b")
	x.svn("log", "-g", x.url+"/trunk")
	x.svn("log", "--xml", "-r", "5", "--with-all-revprops", x.url)
}

func (x *svnCell) blame() {
	x.svn("blame", x.url+"/trunk/file")
	x.svn("blame", "-v", x.url+"/trunk/dir/copy@HEAD")
	x.svn("blame", "-g", x.url+"/trunk/file@5")
}

func (x *svnCell) lock() {
	x.svn("update", x.path("wc"))
	x.svn("lock", "-m", "mine", x.path("wc/file"))
	x.status()
	write(x.t, x.path("wc/file"), "locked\n")
	x.svn("commit", "--no-unlock", "-m", "with a lock", x.path("wc"))
	x.svn("unlock", x.path("wc/file"))
	x.svn("lock", x.url+"/trunk/binary")
	x.svn("unlock", "--force", x.url+"/trunk/binary")
}

func (x *svnCell) git(args ...string) {
	x.t.Helper()
	x.run("git", append([]string{"-C", x.path("git"), "-c", "core.abbrev=40"}, args...)...)
}

func (x *svnCell) user() []string {
	if strings.HasPrefix(x.url, "svn+") {
		return nil
	}
	return []string{"--username=alice", "--no-auth-cache"}
}

func (x *svnCell) gitClone() {
	x.run("git", append(append([]string{"svn", "clone", "-q", "--stdlayout", "--prefix=svn/"}, x.user()...), x.url, x.path("git"))...)
	x.git("log", "--all", "--format=%an %s", "--name-status", "--topo-order")
	x.git("fsck", "--full")
	x.keepTree("git")
}

func (x *svnCell) gitCommit() {
	for i, text := range []string{"one\n", "two\n"} {
		write(x.t, x.path("git/new"), text+numbered(1, 10))
		x.git("add", "new")
		x.git("commit", "-q", "-m", fmt.Sprint("from git ", i))
	}
	x.git("mv", "file", "moved")
	x.git("commit", "-q", "-m", "moved")
	x.dcommit()
	x.git("status", "--short")
}

func (x *svnCell) dcommit() {
	x.git(append([]string{"svn", "dcommit", "-q"}, x.user()[:min(1, len(x.user()))]...)...)
}

func (x *svnCell) gitMerge() {
	x.git("checkout", "-q", "-b", "old", "svn/old")
	write(x.t, x.path("git/extra"), "extra\n")
	x.git("add", "extra")
	x.git("commit", "-q", "-m", "more on the old branch")
	x.dcommit()
	x.git("checkout", "-q", "master")
	x.git("merge", "-q", "--no-ff", "-m", "merge old", "old")
	x.dcommit()
	x.keepTree("git")
}

func (x *svnCell) gitLog() {
	x.git("svn", "rebase", "-q")
	x.git("svn", "log", "-v", "--topo-order") // by date, commits of one second have another order than those of two
	x.git("svn", "info")
}

func (x *svnCell) gitBlame() { x.git("svn", "blame", "moved") }

// syncOut mirrors the repository into a local one, twice: all, then what came since.
func (x *svnCell) syncOut() {
	mirror := "file://" + x.localMirror()
	args := []string{"--non-interactive", "--no-auth-cache"}
	x.run("svnsync", append(append([]string{"init"}, x.credentials("source-")...), mirror, x.url)...)
	x.run("svnsync", append(append([]string{"sync"}, x.credentials("source-")...), mirror)...)
	x.run("svn", append(append([]string{"mkdir", "-m", "one more"}, x.credentials("")...), x.url+"/more")...)
	x.run("svnsync", append(append([]string{"sync"}, x.credentials("source-")...), mirror)...)
	x.run("svnsync", append(append([]string{"info"}, args...), mirror)...)
	x.keepMirror()
}

func (x *svnCell) localMirror() string {
	dir := x.path("mirror")
	x.run("svnadmin", "create", dir)
	hook := filepath.Join(dir, "hooks/pre-revprop-change")
	write(x.t, hook, "#!/bin/sh\n")
	if err := os.Chmod(hook, 0o700); err != nil {
		x.t.Fatal(err)
	}
	return dir
}

// keepMirror compares a local repository with the one that it was made from; svnsync's notes are its own.
func (x *svnCell) keepMirror() {
	x.t.Helper()
	got := revisions(x.mustIn(x.t, x.dir, nil, "svnadmin", "dump", "-q", x.path("mirror")))
	if want := revisions(x.dump(x.name)); got != want {
		x.t.Errorf("the copy differs (-want +got):\n%s", cmp.Diff(want, got))
	}
}

// revisions cuts off a dump all that is before revision 1.
func revisions(dump []byte) string {
	_, rest, _ := bytes.Cut(dump, []byte("\nRevision-number: 1\n"))
	return string(rest)
}

// syncIn mirrors a local repository into the empty one of the server.
func (x *svnCell) syncIn() {
	source := filepath.Join(x.repos, "seed")
	to := x.url + "-empty"
	x.run("svnsync", append(append([]string{"init"}, x.credentials("sync-")...), to, "file://"+source)...)
	x.run("svnsync", append(append([]string{"sync"}, x.credentials("sync-")...), to)...)
	x.run("svnsync", append(append([]string{"copy-revprops"}, x.credentials("sync-")...), to)...)
	x.run("svnsync", append(append([]string{"info"}, x.credentials("sync-")...), to)...)
	x.likeSeed()
}

func (x *svnCell) likeSeed() {
	x.t.Helper()
	want := revisions(x.must(x.t, nil, "svnadmin", "dump", "-q", filepath.Join(x.repos, "seed")))
	if got := revisions(x.dump(x.name + "-empty")); got != want {
		x.t.Errorf("the copy differs (-want +got):\n%s", cmp.Diff(want, got))
	}
}

func (x *svnCell) dumpOut() {
	dump := x.mustIn(x.t, x.dir, nil, "svnrdump", append(append([]string{"dump", "-q"}, x.credentials("")...), x.url)...)
	x.must(x.t, dump, "svnadmin", "load", "-q", x.localMirror())
	x.keepMirror()
	x.said.Write(x.mustIn(x.t, x.dir, nil, "svnrdump", append(append([]string{"dump", "-q", "--incremental", "-r3:4"}, x.credentials("")...), x.url)...))
}

func (x *svnCell) loadIn() {
	x.said.Write(x.mustIn(x.t, x.dir, x.seed, "svnrdump", append(append([]string{"load", "-q"}, x.credentials("")...), x.url+"-empty")...))
	x.likeSeed()
}
