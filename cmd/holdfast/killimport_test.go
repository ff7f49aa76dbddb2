//go:build slow

package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"

	"holdfast/server/svnservetest"
)

// TestKillImport kills an import from svnserve at random moments: now the server that does it, now the command that waits for it. Whatever
// is there is the beginning of the source, and run again it becomes all of it.
func TestKillImport(t *testing.T) {
	source := svnservetest.New(t, manyRevisions(100**killRounds))
	rng := rand.New(rand.NewPCG(*killSeed, 3))
	t.Logf("run again with -seed %d -kills %d", *killSeed, *killRounds)
	h := newHostAcks(t, 2, 2)
	h.serve()
	want := strings.TrimSpace(string(source.Dump()))
	args := []string{"repo", "import", "copy", "svn://" + source.Addr + "/repo", "--data", h.data}
	for round := range *killRounds {
		ctx, kill := context.WithCancel(context.Background())
		cmd := exec.CommandContext(ctx, h.bin, args...)
		cmd.Env = h.env()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.NewTimer(time.Duration(50+rng.IntN(1000)) * time.Millisecond)
		<-timer.C
		if round%2 == 0 {
			h.server.kill()
			h.serve()
		}
		kill()
		_ = cmd.Wait() // it was killed, or done
		h.holdfast("check")
		if !strings.Contains(h.holdfast("repo", "list"), "copy") {
			continue
		}
		if got := h.holdfast("svn", "dump", "-q", "copy"); strings.Contains(got, "\nRevision-number: 1\n") && !strings.HasPrefix(want, got) {
			t.Fatalf("after round %d the copy is no beginning of the source:\n%s", round, got)
		} else {
			t.Logf("after round %d there are %d revisions", round, strings.Count(got, "\nRevision-number: ")-1)
		}
	}
	for {
		cmd := exec.Command(h.bin, args...)
		cmd.Env = h.env()
		out, err := cmd.CombinedOutput()
		if err == nil {
			break
		}
		if !bytes.Contains(out, []byte("is under way")) { // the last one that was killed, which the server has not noticed yet
			t.Fatalf("%v\n%s", err, out)
		}
	}
	if got := h.holdfast("svn", "dump", "-q", "copy"); got != want {
		t.Errorf("the copy's dump has %d bytes and is not the source's, of %d", len(got), len(want))
	}
}

// manyRevisions returns a dump of n revisions, each of which adds a few files and changes one.
func manyRevisions(n int) []byte {
	var b bytes.Buffer
	b.WriteString("SVN-fs-dump-format-version: 2\n\n")
	for rev := 1; rev <= n; rev++ {
		props := fmt.Sprintf("K 7\nsvn:log\nV %d\n%d\nK 8\nsvn:date\nV 27\n%sZ\nPROPS-END\n", len(fmt.Sprint(rev)), rev,
			time.Unix(1_500_000_000+int64(rev), 0).UTC().Format("2006-01-02T15:04:05.000000"))
		fmt.Fprintf(&b, "Revision-number: %d\nProp-content-length: %d\nContent-length: %d\n\n%s\n", rev, len(props), len(props), props)
		node := func(path, action, text string) {
			fmt.Fprintf(&b, "Node-path: %s\nNode-kind: file\nNode-action: %s\nText-content-length: %d\nContent-length: %d\n\n%s\n\n",
				path, action, len(text), len(text), text)
		}
		for i := range 5 {
			node(fmt.Sprintf("f%d-%d", rev, i), "add", fmt.Sprint("file ", rev, i))
		}
		if rev > 1 {
			node(fmt.Sprintf("f%d-0", rev/2), "change", strings.Repeat(fmt.Sprint(rev, "\n"), 100))
		}
	}
	return b.Bytes()
}
