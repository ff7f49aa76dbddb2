//go:build bench

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// svnRows compare with Subversion's own server, on the same data in the same run. They need svn, svnadmin and svnserve, and but
// for the first a dump of a real history with /trunk, which -svn names.
var svnRows = []row{
	{"svn-tree", "a tree of 35,000 files: exported, and listed", (*bench).rowSvnTree},
	{"svn-load", "SVN loaded from its dump", (*bench).rowSvnLoad},
	{"svn-read", "SVN exported, logged, blamed, updated, switched, dumped over the wire", (*bench).rowSvnRead},
	{"svn-commit", "commits of one file, three mirrors", (*bench).rowSvnCommit},
	{"svn-disk", "the same where every fsync takes 5 ms more", (*bench).rowSvnDisk},
	{"svn-wide", "a commit in a directory of 10,000 entries", (*bench).rowSvnWide},
}

func init() { rows = append(rows, svnRows...) }

const svnserve = "svnserve"

// svnPair is one repository on both servers.
type svnPair struct {
	b      *bench
	h      *host
	peer   *exec.Cmd
	root   string // of the peer's repositories
	addr   string // of the peer
	secret string // of the admin, for svn://
}

// svnServers starts both servers, or finds them running.
func (b *bench) svnServers() (*svnPair, error) {
	if b.svn != nil { // a new process, whose memory is that of the row
		b.svn.h.stop()
		return b.svn, b.svn.h.serve()
	}
	p, err := b.startSvn("svn-world", "svnserve")
	b.svn = p
	return p, err
}

// startSvn starts both servers in directories of these names.
func (b *bench) startSvn(ours, theirs string) (*svnPair, error) {
	h, err := b.newHostWith(ours, 3, `svn: {listen: "127.0.0.1:0"}`)
	if err != nil {
		return nil, err
	}
	p := &svnPair{b: b, h: h, root: b.path(theirs)}
	if err := errors.Join(h.serve(), os.MkdirAll(p.root, 0o700)); err != nil {
		h.close()
		return nil, err
	}
	if p.secret, err = b.run(".", nil, b.holdfast, "user", "svn-secret", "create", "root", "--data", h.data()); err != nil {
		return nil, err
	}
	p.secret = lastWord(p.secret)
	addrs, err := freeAddrs(1)
	if err != nil {
		return nil, err
	}
	p.addr = addrs[0]
	hostName, port, err := net.SplitHostPort(p.addr)
	if err != nil {
		return nil, err
	}
	p.peer = b.command("svnserve", "-d", "-T", "--foreground", "-r", p.root, "--listen-host", hostName, "--listen-port", port)
	return p, p.peer.Start()
}

func lastWord(s string) string {
	f := strings.Fields(s)
	if len(f) == 0 {
		return ""
	}
	return f[len(f)-1]
}

func (p *svnPair) close() {
	if p.peer != nil && p.peer.Process != nil {
		p.peer.Process.Signal(syscall.SIGTERM)
		p.peer.Wait()
	}
	p.h.close()
}

func (p *svnPair) ours(repo string) string   { return "svn://" + p.h.server.addrs["svn"] + "/" + repo }
func (p *svnPair) theirs(repo string) string { return "svn://" + p.addr + "/" + repo }

// has reports whether a repository is there already.
func (p *svnPair) has(repo string) bool {
	_, err := os.Stat(filepath.Join(p.root, repo, "format"))
	return err == nil
}

// create makes a repository on both servers.
func (p *svnPair) create(repo string) error {
	if _, err := p.b.run(".", nil, p.b.holdfast, "repo", "create", repo, "--svn", "--public", "--data", p.h.data()); err != nil {
		return err
	}
	dir := filepath.Join(p.root, repo)
	if _, err := p.b.run(".", nil, "svnadmin", "create", dir); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "conf", "svnserve.conf"), []byte("[general]\nanon-access = write\n"), 0o600)
}

// load loads a dump on both and measures it: of ours the server and the command, of theirs svnadmin.
func (p *svnPair) load(repo string, dump func() (io.ReadCloser, error)) (ours, theirs usage, err error) {
	feed := func(args ...string) (usage, error) {
		in, err := dump()
		if err != nil {
			return usage{}, err
		}
		defer in.Close()
		cmd := exec.CommandContext(p.b.ctx, args[0], args[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Env = in, io.Discard, p.b.env()
		return measure(cmd, nil)
	}
	var command usage
	ours, err = p.h.during(afterPush, func() (err error) {
		command, err = feed(p.b.holdfast, "svn", "load", repo, "--data", p.h.data())
		return err
	})
	if err != nil {
		return ours, theirs, err
	}
	ours.cpu += command.cpu
	theirs, err = feed("svnadmin", "load", "-q", filepath.Join(p.root, repo))
	return ours, theirs, err
}

// compare runs a command against both servers, times in a row, and returns what each server took for one.
func (p *svnPair) compare(times int, ours, theirs func() error) (o, t usage, err error) {
	repeat := func(f func() error) func() error {
		return func() error {
			for range times {
				if err := f(); err != nil {
					return err
				}
			}
			return nil
		}
	}
	if err := ours(); err != nil { // both have seen the data before
		return o, t, err
	}
	if err := theirs(); err != nil {
		return o, t, err
	}
	if o, err = p.h.during(afterFetch, repeat(ours)); err == nil {
		t, err = during(p.peer.Process.Pid, afterFetch, repeat(theirs))
	}
	n := time.Duration(times)
	o.cpu, o.wall, t.cpu, t.wall = o.cpu/n, o.wall/n, t.cpu/n, t.wall/n
	return o, t, err
}

// svnCommand runs a client.
func (b *bench) svnCommand(args ...string) error {
	_, err := b.run(".", []string{"SVN_SSH=ssh " + strings.Join(b.sshOptions(), " ")}, args[0],
		append([]string{args[1], "--non-interactive", "--no-auth-cache"}, args[2:]...)...)
	return err
}

// figures of one operation: no slower than svnserve.
func svnFigures(what string, o, t usage) []figure {
	return []figure{
		of(what+", CPU ms", ms(o.cpu)).beside(svnserve, ms(t.cpu), true).atMostOf(1),
		of(what+", wall ms", ms(o.wall)).beside(svnserve, ms(t.wall), true).atMostOf(1),
		of(what+", anon MB", float64(o.anon)/mb).beside(svnserve, float64(t.anon)/mb, true).atMost(100),
	}
}

// read measures one client's command against both servers; "URL" in it stands for the repository's, "OUT" for a new directory.
func (p *svnPair) read(what, repo string, times int, args ...string) ([]figure, error) {
	client := func(url string) func() error {
		return func() error {
			out := p.b.path("svn-out")
			defer os.RemoveAll(out)
			with := make([]string, len(args))
			for i, a := range args {
				with[i] = strings.ReplaceAll(strings.ReplaceAll(a, "URL", url), "OUT", out)
			}
			return p.b.svnCommand(with...)
		}
	}
	o, t, err := p.compare(times, client(p.ours(repo)), client(p.theirs(repo)))
	return svnFigures(what, o, t), err
}

// treeDump writes a dump whose one revision adds trunk with dirs directories of files files each.
func treeDump(dirs, files int) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() {
			_, err := fmt.Fprintf(w, "SVN-fs-dump-format-version: 2\n\nRevision-number: 1\nProp-content-length: 10\nContent-length: 10\n\nPROPS-END\n\n"+
				"Node-path: trunk\nNode-kind: dir\nNode-action: add\n\n\n")
			for d := 0; d < dirs && err == nil; d++ {
				_, err = fmt.Fprintf(w, "Node-path: trunk/d%02d\nNode-kind: dir\nNode-action: add\n\n\n", d)
				for f := 0; f < files && err == nil; f++ {
					text := bytes.Repeat([]byte(fmt.Sprintf("line of file %d in directory %d\n", f, d)), 1+f%60)
					_, err = fmt.Fprintf(w, "Node-path: trunk/d%02d/file%05d.txt\nNode-kind: file\nNode-action: add\nText-content-length: %d\nContent-length: %d\n\n%s\n\n",
						d, f, len(text), len(text), text)
				}
			}
			w.CloseWithError(err)
		}()
		return r, nil
	}
}

func (b *bench) rowSvnTree() ([]figure, error) {
	p, err := b.svnServers()
	if err != nil {
		return nil, err
	}
	if !p.has("tree") {
		if err := p.create("tree"); err != nil {
			return nil, err
		}
		if _, _, err := p.load("tree", treeDump(35, 1000)); err != nil {
			return nil, err
		}
	}
	return p.reads("tree",
		svnRead{"export", 1, []string{"svn", "export", "-q", "URL/trunk", "OUT"}},
		svnRead{"ls -R", 1, []string{"svn", "ls", "-R", "URL/trunk"}},
	)
}

// svnRead is a client's command to be compared.
type svnRead struct {
	what  string
	times int
	args  []string
}

func (p *svnPair) reads(repo string, list ...svnRead) (all []figure, err error) {
	for _, r := range list {
		f, err := p.read(r.what, repo, r.times, r.args...)
		if err != nil {
			return all, err
		}
		all = append(all, f...)
	}
	return all, nil
}

func (b *bench) svnDump() (io.ReadCloser, error) { return os.Open(b.svnDumpFile) }

// lacksSvnDump says that a row is left out, if it is.
func (b *bench) lacksSvnDump() bool {
	if b.svnDumpFile == "" {
		fmt.Fprintln(os.Stderr, "  left out: it needs a dump of a history, which -svn names")
	}
	return b.svnDumpFile == ""
}

func (b *bench) rowSvnLoad() ([]figure, error) {
	if b.lacksSvnDump() {
		return nil, nil
	}
	p, err := b.svnServers()
	if err != nil {
		return nil, err
	}
	if p.has("history") {
		return nil, errors.New("it is loaded already: take another -work to measure it again")
	}
	if err := p.create("history"); err != nil {
		return nil, err
	}
	ours, theirs, err := p.load("history", b.svnDump)
	if err != nil {
		return nil, err
	}
	id, err := b.run(".", nil, b.holdfast, "repo", "show", "history", "--json", "--data", p.h.data())
	if err != nil {
		return nil, err
	}
	_, rest, _ := strings.Cut(id, `"id": "`)
	name := rest[:min(32, len(rest))]
	mine, err := treeSize(filepath.Join(p.h.data(), "repos", name[:2], name))
	if err != nil {
		return nil, err
	}
	other, err := treeSize(filepath.Join(p.root, "history", "db"))
	return []figure{
		of("CPU s", ours.cpu.Seconds()).beside("svnadmin", theirs.cpu.Seconds(), true).atMostOf(1),
		of("anon MB", float64(ours.anon)/mb).beside("svnadmin", float64(theirs.anon)/mb, true).atMost(100),
		of("disk MB", float64(mine)/mb).beside("svnadmin", float64(other)/mb, true).atMostOf(1),
	}, err
}

// treeSize is the space that the files of a directory take on the disk.
func treeSize(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return err
	})
	return n, err
}

// loaded has the history on both servers.
func (b *bench) loaded() (*svnPair, error) {
	p, err := b.svnServers()
	if err != nil || p.has("history") {
		return p, err
	}
	if err := p.create("history"); err != nil {
		return nil, err
	}
	_, _, err = p.load("history", b.svnDump)
	return p, err
}

func (b *bench) rowSvnRead() ([]figure, error) {
	if b.lacksSvnDump() {
		return nil, nil
	}
	p, err := b.loaded()
	if err != nil {
		return nil, err
	}
	youngest, err := b.run(".", nil, "svn", "info", "--show-item", "revision", p.theirs("history"))
	if err != nil {
		return nil, err
	}
	file, err := b.busiest(p.theirs("history"))
	if err != nil {
		return nil, err
	}
	head, err := strconv.Atoi(youngest)
	if err != nil {
		return nil, err
	}
	old := strconv.Itoa(head / 3)
	all, err := p.reads("history",
		svnRead{"export", 3, []string{"svn", "export", "-q", "--ignore-externals", "URL/trunk", "OUT"}},
		svnRead{"log -v", 3, []string{"svn", "log", "-v", "URL"}},
		svnRead{"log of a file", 5, []string{"svn", "log", "URL" + file}},
		svnRead{"blame of a file", 3, []string{"svn", "blame", "URL" + file}},
		svnRead{"diff", 3, []string{"svn", "diff", "-r", old + ":HEAD", "URL/trunk"}},
		svnRead{"svnrdump", 1, []string{"svnrdump", "dump", "-q", "URL"}},
	)
	if err != nil {
		return all, err
	}
	for _, w := range []struct {
		what string
		from []string
		to   []string
	}{
		{"update", []string{"-r", old, "/trunk"}, []string{"update"}},
		{"switch", []string{"-r", "HEAD", "/trunk@" + old}, []string{"switch", "--ignore-ancestry", "/trunk"}},
	} {
		f, err := p.working(w.what, w.from, w.to)
		if all = append(all, f...); err != nil {
			return all, err
		}
	}
	return all, nil
}

// busiest returns the file that was changed most often.
func (b *bench) busiest(url string) (string, error) {
	log, err := b.run(".", nil, "svn", "log", "-q", "-v", url)
	if err != nil {
		return "", err
	}
	counts, best := map[string]int{}, ""
	for line := range strings.Lines(log) {
		path, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "   M ")
		if name := path[strings.LastIndexByte(path, '/')+1:]; ok && strings.HasPrefix(path, "/trunk/") && strings.Contains(name, ".") {
			if counts[path]++; counts[path] > counts[best] {
				best = path
			}
		}
	}
	return best, nil
}

// working measures a command on a working copy, which is made anew, unmeasured, for each server.
func (p *svnPair) working(what string, from, to []string) ([]figure, error) {
	dir := p.b.path("svn-wc")
	run := func(url string) func() error {
		return func() error {
			args := append([]string{"svn"}, to[:len(to)-1]...)
			if last := to[len(to)-1]; last[0] == '/' {
				args = append(args, url+last, dir)
			} else {
				args = append(args, last, dir)
			}
			return p.b.svnCommand(append(args, "-q")...)
		}
	}
	one := func(url string, during func(time.Duration, func() error) (usage, error)) (usage, error) {
		defer os.RemoveAll(dir)
		args := []string{"svn", "checkout", "-q", "--ignore-externals"}
		args = append(args, from[:len(from)-1]...)
		if err := p.b.svnCommand(append(args, url+from[len(from)-1], dir)...); err != nil {
			return usage{}, err
		}
		return during(afterFetch, run(url))
	}
	o, err := one(p.ours("history"), p.h.during)
	if err != nil {
		return nil, err
	}
	t, err := one(p.theirs("history"), func(calm time.Duration, f func() error) (usage, error) {
		return during(p.peer.Process.Pid, calm, f)
	})
	return svnFigures(what, o, t), err
}

const svnCommits = 50

// commits commits one file again and again.
func (p *svnPair) commits(url string, walls *[]time.Duration, login ...string) func() error {
	return func() error {
		file := p.b.path("svn-file")
		defer os.Remove(file)
		for i := range svnCommits {
			if err := os.WriteFile(file, fmt.Appendf(nil, "%d %d\n", i, time.Now().UnixNano()), 0o600); err != nil {
				return err
			}
			begin := time.Now()
			if err := p.b.svnCommand(append([]string{"svnmucc", "put", file, url + "/file", "-m", "a change"}, login...)...); err != nil {
				return err
			}
			*walls = append(*walls, time.Since(begin))
		}
		return nil
	}
}

// committing is what commits took: of the client, and of the server alone.
type committing struct {
	usage
	wall, inside time.Duration // p50
}

// tapped measures commits over svn://.
func (p *svnPair) tapped(addr string, pid int, calm time.Duration, login ...string) (c committing, err error) {
	t, err := newTap(addr)
	if err != nil {
		return c, err
	}
	var walls []time.Duration
	c.usage, err = during(pid, calm, p.commits("svn://"+t.addr()+"/commits", &walls, login...))
	c.wall, c.inside = median(walls), median(t.close())
	return c, err
}

// commit measures commits on both servers.
func (p *svnPair) commit() (ours, theirs committing, err error) {
	if !p.has("commits") {
		if err = p.create("commits"); err != nil {
			return ours, theirs, err
		}
	}
	if ours, err = p.tapped(p.h.server.addrs["svn"], p.h.server.pid(), afterPush, "--username", "root", "--password", p.secret); err == nil {
		theirs, err = p.tapped(p.addr, p.peer.Process.Pid, afterFetch)
	}
	return ours, theirs, err
}

// rowSvnCommit commits one file again and again, over svn:// and over SSH.
func (b *bench) rowSvnCommit() ([]figure, error) {
	p, err := b.svnServers()
	if err != nil {
		return nil, err
	}
	o, t, err := p.commit()
	if err != nil {
		return nil, err
	}
	figures := []figure{
		of("CPU ms each", ms(o.cpu)/svnCommits).beside(svnserve, ms(t.cpu)/svnCommits, true).atMostOf(1),
		of("inside the server, p50 ms", ms(o.inside)).beside(svnserve, ms(t.inside), true).atMostOf(0.5),
		of("p50 ms", ms(o.wall)).beside(svnserve, ms(t.wall), true).atMostOf(1),
		of("anon MB", float64(o.anon)/mb).beside(svnserve, float64(t.anon)/mb, true).atMost(100),
	}
	over, err := p.overSSH()
	return append(figures, over...), err
}

// overSSH measures commits over SSH: the peer is svnserve behind OpenSSH's server.
func (p *svnPair) overSSH() ([]figure, error) {
	commits := func(user, addr string, pid int, calm time.Duration) (c committing, err error) {
		var walls []time.Duration
		c.usage, err = during(pid, calm, p.commits("svn+ssh://"+user+"@127.0.0.1/commits", &walls, "--config-option",
			"config:tunnels:ssh=ssh -p "+portOf(addr)+" "+strings.Join(p.b.sshOptions(), " ")))
		c.wall = median(walls)
		return c, err
	}
	o, err := commits("git", p.h.server.addrs["ssh"], p.h.server.pid(), afterPush)
	cpu, wall := of("svn+ssh, CPU ms each", ms(o.cpu)/svnCommits), of("svn+ssh, p50 ms", ms(o.wall))
	if err != nil {
		return nil, err
	}
	s, err := p.b.startSSHD(p.root)
	if s != nil && err == nil {
		defer s.stop()
		var t committing
		t, err = commits(s.user, s.addr, s.cmd.Process.Pid, afterFetch)
		cpu = cpu.beside("sshd+svnserve", ms(t.cpu)/svnCommits, true).atMostOf(1)
		wall = wall.beside("sshd+svnserve", ms(t.wall), true).atMostOf(1)
	}
	return []figure{cpu, wall}, err
}

// slowDisk is what an fsync takes longer in the row svn-disk: about what one takes on a disk behind a network, or of SATA.
const slowDisk = 5 * time.Millisecond

// rowSvnDisk commits as rowSvnCommit does, where a disk is slow: strace delays the fsyncs of both servers.
func (b *bench) rowSvnDisk() ([]figure, error) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		fmt.Fprintln(os.Stderr, "  left out: it needs strace")
		return nil, nil
	}
	b.under = []string{strace, "-D", "-f", "--seccomp-bpf", "-qqq", "-o", os.DevNull, "-e", "trace=fsync,fdatasync",
		"-e", fmt.Sprintf("inject=fsync,fdatasync:delay_exit=%d", slowDisk.Microseconds())}
	defer func() { b.under = nil }()
	p, err := b.startSvn("svn-disk", "svnserve-disk")
	if err != nil {
		return nil, err
	}
	defer p.close()
	o, t, err := p.commit()
	return []figure{
		of("inside the server, p50 ms", ms(o.inside)).beside(svnserve, ms(t.inside), true).atMostOf(0.5),
		of("p50 ms", ms(o.wall)).beside(svnserve, ms(t.wall), true).atMostOf(1),
	}, err
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	if len(d) == 0 {
		return 0
	}
	return d[len(d)/2]
}

// rowSvnWide commits one file of 10,000 in a directory: what it ships.
func (b *bench) rowSvnWide() ([]figure, error) {
	p, err := b.svnServers()
	if err != nil {
		return nil, err
	}
	if !p.has("wide") {
		if err := p.create("wide"); err != nil {
			return nil, err
		}
		if _, _, err := p.load("wide", treeDump(1, 10_000)); err != nil {
			return nil, err
		}
	}
	file := b.path("svn-file")
	defer os.Remove(file)
	if err := os.WriteFile(file, []byte("another text\n"), 0o600); err != nil {
		return nil, err
	}
	if err := b.svnCommand("svnmucc", "put", file, p.ours("wide")+"/trunk/d00/file05000.txt", "-m", "a change", "--username", "root", "--password", p.secret); err != nil {
		return nil, err
	}
	log, err := b.run(".", nil, b.holdfast, "log", "--repo", "wide", "--json", "--data", p.h.data())
	if err != nil {
		return nil, err
	}
	size := int64(0)
	for rest := log; ; {
		_, after, ok := strings.Cut(rest, `"size":`)
		if !ok {
			break
		}
		number := strings.TrimLeft(after, " ")
		if end := strings.IndexFunc(number, func(r rune) bool { return r < '0' || r > '9' }); end > 0 {
			size, _ = strconv.ParseInt(number[:end], 10, 64)
		}
		rest = after
	}
	return []figure{of("bytes of the pack", float64(size)).atMost(8 << 10)}, nil
}
