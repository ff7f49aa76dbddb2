package server_test

import (
	"bufio"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/server"
)

// TestQueue has one place for packs, taken by a client that does not read. Who waits for it hears from the server, who
// goes away leaves the queue, and the place comes free when the first client is gone.
func TestQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.Config{MaxFetches: 1, KeepAlive: 10 * time.Millisecond})
	dir := w.work("app")
	// More than what fits between a server and a client.
	big := make([]byte, 12<<20)
	rand.NewChaCha8([32]byte{2}).Read(big)
	write(t, filepath.Join(dir, "big"), string(big))
	w.ok("root", dir, "add", ".")
	w.ok("root", dir, "commit", "-qm", "big")
	w.ok("root", dir, "push", "-q", w.url("app"), "main")
	c := newRPCClient(w)
	id := strings.TrimSpace(w.ok("root", dir, "rev-parse", "HEAD"))
	fetch := func() (*bufio.Reader, func()) {
		ctx, cancel := context.WithCancel(t.Context())
		body := pkt("command=fetch", "0001", "want "+id, "done", "0000")
		req := must(http.NewRequestWithContext(ctx, "POST", "http://"+w.http+"/app.git/git-upload-pack", strings.NewReader(body)))
		req.SetBasicAuth("root", c.token)
		req.Header.Set("Content-Type", "application/x-git-upload-pack-request")
		req.Header.Set("Git-Protocol", "version=2")
		resp := must(http.DefaultTransport.RoundTrip(req))
		return bufio.NewReader(resp.Body), func() { cancel(); resp.Body.Close() }
	}
	expect := func(r io.Reader, want string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
			t.Fatalf("%v: got %q, want %q", err, got, want)
		}
	}
	first, leave := fetch()
	for line := ""; !strings.Contains(line, "PACK"); {
		var frame [64]byte
		n := must(first.Read(frame[:]))
		line += string(frame[:n])
	}
	const waiting = "000dpackfile\n" + "0005\x01" + "0005\x01"
	second, leaveSecond := fetch()
	third, leaveThird := fetch()
	expect(second, waiting)
	expect(third, waiting)
	leaveThird()
	ssh := w.command("root", w.dir, "clone", "-q", w.url("app"), "ssh")
	if err := ssh.Start(); err != nil {
		t.Fatal(err)
	}
	leave()
	if n, err := io.Copy(io.Discard, second); err != nil || n < int64(len(big)) {
		t.Errorf("the second client got %d bytes: %v", n, err)
	}
	leaveSecond()
	if err := ssh.Wait(); err != nil {
		t.Error(err)
	}
}
