//go:build slow

package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestKillSvn kills the server at random moments under concurrent Subversion commits, locks and edits of revision properties. Whatever
// svn said was done must be there after each restart, `holdfast check` must find nothing, and in the end each single mirror must
// bring all of it back: the same dump, locks and revision properties included.
func TestKillSvn(t *testing.T) {
	for _, program := range []string{"svn", "svnmucc"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	rng := rand.New(rand.NewPCG(*killSeed, 2))
	t.Logf("run again with -seed %d -kills %d", *killSeed, *killRounds)
	h := newHostAcks(t, 3, 3)
	h.serve()
	h.holdfast("repo", "create", "site", "--svn")

	writers := make([]*svnWriter, 4)
	for i := range writers {
		writers[i] = &svnWriter{h: h, dir: fmt.Sprintf("w%d", i), texts: map[string]string{}, last: map[string]string{}}
	}
	for range *killRounds {
		ctx, stop := context.WithCancel(context.Background())
		var g sync.WaitGroup
		for _, w := range writers {
			g.Go(func() { w.work(ctx) })
		}
		timer := time.NewTimer(time.Duration(50+rng.IntN(1500)) * time.Millisecond)
		<-timer.C
		h.server.kill()
		stop()
		g.Wait()
		h.holdfast("check")
		h.serve()
		for _, w := range writers {
			w.compare(h.server, w.last)
			w.last = map[string]string{}
		}
	}
	commits := 0
	for _, w := range writers {
		commits += len(w.texts)
	}
	t.Logf("%d commits were acknowledged over %d kills", commits, *killRounds)
	for _, w := range writers {
		w.compare(h.server, w.texts)
	}
	dump := h.holdfast("svn", "dump", "site")
	h.server.stop()

	for i := range h.mirrors {
		dir := filepath.Join(h.dir, fmt.Sprint("restored-svn-", i))
		h.run(h.env(), h.bin, "restore", "--kit", h.kit, "--data", dir, "--mirror", h.mirrorName(i))
		h.run(h.env(), h.bin, "check", "--data", dir)
		if got := h.run(h.env(), h.bin, "svn", "dump", "site", "--data", dir); got != dump {
			t.Errorf("the repository that %s brings back has another dump: %d bytes, not %d", h.mirrorName(i), len(got), len(dump))
		}
		restored := h.serveDir(dir)
		for _, w := range writers {
			w.compare(restored, nil) // the dump has the texts
		}
		restored.stop()
	}
}

// svnWriter commits to a directory of its own, and notes what it was told is done.
type svnWriter struct {
	h     *host3
	dir   string
	n     int
	texts map[string]string // by path and revision, "w0/3@7": the text there
	last  map[string]string // those since the last kill

	locked string // a file that is locked, "" if that is not known
	rev    string // a revision whose message was changed
	log    string // to this, "" if that is not known
}

// svn runs a client against a host.
func (w *svnWriter) svn(at *process, args ...string) (string, error) {
	_, port, _ := strings.Cut(at.addr, ":")
	cmd := exec.Command(args[0], append(args[1:], "--non-interactive", "--config-dir", filepath.Join(w.h.dir, "svn-"+w.dir))...)
	cmd.Env = append(w.h.env(), "SVN_SSH=ssh -p "+port+" -i "+w.h.key+
		" -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil && strings.Contains(stderr.String(), "arning") {
		err = fmt.Errorf("it was done, with a warning: %s", stderr.Bytes())
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, stderr.Bytes())
	}
	return string(out), err
}

const killURL = "svn+ssh://git@127.0.0.1/site/"

// work commits until ctx ends.
func (w *svnWriter) work(ctx context.Context) {
	file := filepath.Join(w.h.dir, "text-"+w.dir)
	for ; ctx.Err() == nil; w.n++ {
		text := fmt.Sprintf("text %d of %s\n", w.n, w.dir)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			w.h.t.Error(err)
			return
		}
		if len(w.texts) == 0 { // an earlier try may have made it, without saying so
			w.svn(w.h.server, "svn", "mkdir", "-m", "a directory", killURL+w.dir)
		}
		path := fmt.Sprintf("%s/%d", w.dir, w.n)
		out, err := w.svn(w.h.server, "svnmucc", "-m", text, "put", file, killURL+path)
		if err != nil {
			continue
		}
		rev, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(out), "r"), " ")
		w.texts[path+"@"+rev], w.last[path+"@"+rev] = text, text
		switch w.n % 3 {
		case 0:
			w.lock(path)
		case 1:
			w.message(rev)
		}
	}
}

func (w *svnWriter) lock(path string) {
	w.locked = ""
	if _, err := w.svn(w.h.server, "svn", "lock", killURL+path, "-m", "mine"); err == nil {
		w.locked = path
	}
}

func (w *svnWriter) message(rev string) {
	w.log, w.rev = "", rev
	message := "said better by " + w.dir
	if _, err := w.svn(w.h.server, "svn", "propset", "--revprop", "-r", rev, "svn:log", message, killURL); err == nil {
		w.log = message
	}
}

// compare requires that a host has texts that were acknowledged, and the last lock and message.
func (w *svnWriter) compare(at *process, texts map[string]string) {
	w.h.t.Helper()
	for place, text := range texts {
		if got, err := w.svn(at, "svn", "cat", killURL+place); err != nil || got != text {
			w.h.t.Fatalf("%s was acknowledged and is %q, %v", place, got, err)
		}
	}
	if w.locked != "" {
		if got, err := w.svn(at, "svn", "info", killURL+w.locked); err != nil || !strings.Contains(got, "Lock Token: opaquelocktoken:") {
			w.h.t.Fatalf("the lock of %s was acknowledged and is not there: %s, %v", w.locked, got, err)
		}
	}
	if w.log != "" {
		got, err := w.svn(at, "svn", "propget", "--revprop", "-r", w.rev, "svn:log", killURL)
		if err != nil || strings.TrimSpace(got) != w.log {
			w.h.t.Fatalf("the message of r%s was acknowledged and is %q, %v", w.rev, got, err)
		}
	}
}
