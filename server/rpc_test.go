package server_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/server"
)

// rpcClient speaks the protocol by itself, over HTTP, where git does not know how.
type rpcClient struct {
	*world
	token string
}

func newRPCClient(w *world) *rpcClient {
	w.t.Helper()
	return &rpcClient{w, must(w.srv.CreateToken(w.t.Context(), server.Local, "root", "rpc", time.Time{}, io.Discard))}
}

// post sends one request of a version to a service of a repository and returns the answer.
func (c *rpcClient) post(repo, service, version, body string) string {
	c.t.Helper()
	url := "http://" + c.http + "/" + repo + ".git/" + service
	req := must(http.NewRequestWithContext(c.t.Context(), "POST", url, strings.NewReader(body)))
	req.SetBasicAuth("root", c.token)
	req.Header.Set("Content-Type", "application/x-"+service+"-request")
	req.Header.Set("Git-Protocol", "version="+version)
	resp := must(http.DefaultClient.Do(req))
	defer resp.Body.Close()
	return string(must(io.ReadAll(resp.Body)))
}

// pkt encodes packet lines: 0000 and 0001 stay as they are.
func pkt(lines ...string) string {
	var out strings.Builder
	for _, line := range lines {
		if line == "0000" || line == "0001" {
			out.WriteString(line)
		} else {
			fmt.Fprintf(&out, "%04x%s\n", len(line)+5, line)
		}
	}
	return out.String()
}

// TestObjectInfo asks for the sizes of what refs lead to, and of what they do not.
func TestObjectInfo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.Config{})
	dir := w.work("app")
	rev := func(name string) string { return strings.TrimSpace(w.ok("root", dir, "rev-parse", name)) }
	blob, tree, old := rev("HEAD:file"), rev("HEAD^{tree}"), rev("HEAD")
	w.ok("root", dir, "commit", "-q", "--allow-empty", "-m", "second")
	w.ok("root", dir, "push", "-q", w.url("app"), "main")
	w.ok("root", dir, "commit", "-q", "--allow-empty", "-m", "a lost commit")
	lost := rev("HEAD")
	w.ok("root", dir, "push", "-q", w.url("app"), "main:lost")
	w.ok("root", dir, "push", "-q", w.url("app"), ":lost")
	want := []string{"size"}
	request := []string{"command=object-info", "0001", "size"}
	for _, id := range []string{blob, tree, old, rev("main~1")} {
		want = append(want, id+" "+strings.TrimSpace(w.ok("root", dir, "cat-file", "-s", id)))
		request = append(request, "oid "+id)
	}
	for _, id := range []string{lost, strings.Repeat("42", 20)} {
		want = append(want, id+" ")
		request = append(request, "oid "+id)
	}
	got := newRPCClient(w).post("app", "git-upload-pack", "2", pkt(append(request, "0000")...))
	if got != pkt(append(want, "0000")...) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestBundles puts bundles into the policy, and has them told to clients.
func TestBundles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.Config{})
	w.ok("root", w.work("app"), "push", "-q", w.url("app"), "main")
	c := newRPCClient(w)
	w.ok("root", w.dir, "clone", "-q", w.url("holdfast-admin"), "admin")
	admin := filepath.Join(w.dir, "admin")
	file := filepath.Join(admin, "repos", "app.yaml")
	write(t, file, string(must(os.ReadFile(file)))+"bundles: [{id: base, uri: \"https://cdn.example.org/app.bundle\"}]\n")
	w.ok("root", admin, "commit", "-qam", "a bundle")
	request := pkt("command=bundle-uri", "0000")
	if got := c.post("app", "git-upload-pack", "2", request); !strings.Contains(got, "invalid command") {
		t.Errorf("without bundles: %q", got)
	}
	w.ok("root", admin, "push", "-q", "origin", "HEAD:main")
	want := "0014bundle.version=1" + "0013bundle.mode=all" + "0036bundle.base.uri=https://cdn.example.org/app.bundle" + "0000"
	if got := c.post("app", "git-upload-pack", "2", request); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	w.ok("root", w.dir, "clone", "-q", w.url("app"), "clone")
}

// bytes runs git as root and returns what it writes to its standard output.
func (w *world) bytes(dir string, args ...string) string {
	w.t.Helper()
	cmd := w.command("root", dir, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatalf("git %q: %v\n%s", args, err, &stderr)
	}
	return string(out)
}
