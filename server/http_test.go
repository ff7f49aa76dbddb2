package server_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/auth"
	"holdfast/server"
	"holdfast/server/gitproto"
)

const aliceToken = "hft_alice"

// httpConfig knows alice and her token. The repository public can be read by anybody, and private by alice; she may
// write to both. What is allowed goes to serve.
func httpConfig(serve func(ctx context.Context, r server.GitRequest, in io.Reader, out io.Writer) error) server.HTTPConfig {
	return server.HTTPConfig{
		Authenticate: func(token string) (auth.Identity, bool) {
			return auth.Identity{Name: "alice", Key: "token:ci"}, token == aliceToken
		},
		Git: func(ctx context.Context, r server.GitRequest, in io.Reader, out io.Writer) error {
			switch {
			case r.Repo == "panic":
				panic("in a request")
			case r.Repo == "cut":
				return gitproto.ErrHungUp
			case r.Repo == "public" && (r.Who.Name == "alice" || r.Service == server.UploadPack):
			case r.Repo == "public":
				return auth.ErrDenied
			case r.Repo == "readable" && r.Service == server.ReceivePack && r.Who.Name == "alice":
				return fmt.Errorf("no: %w", auth.ErrDenied)
			case r.Repo != "private" || r.Who.Name != "alice":
				return auth.ErrNotFound
			}
			return serve(ctx, r, in, out)
		},
		Log: quiet,
	}
}

// realGit lets git itself answer, from the bare repositories in dir.
func realGit(dir string) func(context.Context, server.GitRequest, io.Reader, io.Writer) error {
	return func(ctx context.Context, r server.GitRequest, in io.Reader, out io.Writer) error {
		args := []string{strings.TrimPrefix(string(r.Service), "git-"), "--stateless-rpc"}
		if r.Advertise {
			args = append(args, "--http-backend-info-refs")
			if !strings.Contains(r.Protocol, "version=2") || r.Service == server.ReceivePack {
				fmt.Fprintf(out, "%04x# service=%s\n0000", len(r.Service)+15, r.Service)
			}
		}
		cmd := exec.CommandContext(ctx, "git", append(args, filepath.Join(dir, r.Repo+".git"))...)
		cmd.Env = append(os.Environ(), "GIT_PROTOCOL="+r.Protocol)
		cmd.Stdin, cmd.Stdout = in, out
		return cmd.Run()
	}
}

func serveHTTP(t testing.TB, ln net.Listener, c server.HTTPConfig) (stop func()) {
	t.Helper()
	return serve(t, func(ctx context.Context) error { return server.ServeHTTP(ctx, ln, c) })
}

func TestHTTPWithGit(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"public", "private"} {
		newGitRepo(t, dir, name)
	}
	var chunked, compressed atomic.Bool
	h := server.HTTPHandler(httpConfig(realGit(dir)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TransferEncoding) > 0 {
			chunked.Store(true)
		}
		if r.Header.Get("Content-Encoding") == "gzip" {
			compressed.Store(true)
		}
		h.ServeHTTP(w, r)
	}))
	defer srv.Close()
	addr := srv.Listener.Addr().String()
	for _, version := range []string{"0", "2"} {
		git := func(dir string, args ...string) string {
			return git(t, dir, append([]string{"-c", "protocol.version=" + version, "-c", "credential.helper="}, args...)...)
		}
		url, work, other := "http://git:"+aliceToken+"@"+addr+"/private.git", filepath.Join(dir, "work"+version), filepath.Join(dir, "other"+version)
		git(dir, "clone", "-q", "http://"+addr+"/public.git", "anonymous"+version)
		cmd := exec.Command("git", "clone", "http://"+addr+"/private.git", filepath.Join(dir, "x"))
		cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "HOME="+dir)
		if out, err := cmd.CombinedOutput(); err == nil {
			t.Errorf("version %s: anonymous cloned a private repository: %s", version, out)
		}
		git(dir, "clone", "-q", "http://alice:"+aliceToken+"@"+addr+"/private", work)
		git(dir, "clone", "-q", url, other)
		// More than http.postBuffer, so that git sends chunks.
		write(t, filepath.Join(work, "big"+version), randomish(3<<20))
		git(work, "add", ".")
		git(work, "commit", "-qm", "big")
		git(work, "push", "-q", "origin", "HEAD:refs/heads/pushed"+version)
		// Many haves, newer than what is common, so that git compresses them.
		var history strings.Builder
		for i := range 200 {
			fmt.Fprintf(&history, "commit refs/heads/many\ncommitter A <a@example.org> %d +0000\ndata 0\n", 4_000_000_000+i)
		}
		write(t, filepath.Join(dir, "history"), history.String())
		cmd = exec.Command("sh", "-c", "git -C \"$0\" fast-import --quiet < \"$1\"", work, filepath.Join(dir, "history"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("fast-import: %v\n%s", err, out)
		}
		git(other, "commit", "-q", "--allow-empty", "-m", "theirs")
		git(other, "push", "-q", "origin", "HEAD:refs/heads/main")
		git(work, "fetch", "-q")
		if got, want := git(work, "rev-parse", "origin/main"), git(other, "rev-parse", "HEAD"); got != want {
			t.Errorf("version %s: fetched %s, want %s", version, got, want)
		}
	}
	if !chunked.Load() || !compressed.Load() {
		t.Errorf("git did not send what this is about: chunks %v, gzip %v", chunked.Load(), compressed.Load())
	}
}

// request is a row of a table: what is asked, and a part of what is answered.
type request struct {
	name, method, path, body string
	header                   http.Header
	status                   int
	text                     string
}

func (r request) do(t testing.TB, h http.Handler) *http.Response {
	t.Helper()
	req := httptest.NewRequest(r.method, r.path, strings.NewReader(r.body))
	for name, values := range r.header {
		req.Header[name] = values
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return rec.Result()
}

func basic(user, password string) http.Header {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header
}

func TestHTTPAnswers(t *testing.T) {
	h := server.HTTPHandler(httpConfig(func(_ context.Context, r server.GitRequest, in io.Reader, out io.Writer) error {
		body, err := io.ReadAll(in)
		fmt.Fprintf(out, "%s %s %s %q %v %s", r.Who.Name, r.Repo, r.Service, r.Protocol, r.Advertise, body)
		return err
	}))
	alice := basic("alice", aliceToken)
	post := func(service string) http.Header {
		header := alice.Clone()
		header.Set("Content-Type", "application/x-"+service+"-request")
		return header
	}
	with := func(header http.Header, name, value string) http.Header {
		header = header.Clone()
		header[name] = []string{value}
		return header
	}
	const refs, upload, receive = "/info/refs?service=git-upload-pack", "/git-upload-pack", "/git-receive-pack"
	for _, r := range []request{
		{name: "health", method: "GET", path: "/healthz", status: 200, text: "ok\n"},
		{name: "health by HEAD", method: "HEAD", path: "/healthz", status: 200},
		{name: "health by POST", method: "POST", path: "/healthz", status: 405},
		{name: "public", method: "GET", path: "/public.git" + refs, status: 200, text: ` public git-upload-pack "" true `},
		{name: "without .git", method: "GET", path: "/public" + refs, status: 200, text: ` public git-upload-pack "" true `},
		{name: "with a protocol", method: "GET", path: "/public.git" + refs, header: http.Header{"Git-Protocol": {"version=2"}}, status: 200, text: `"version=2"`},
		{name: "with a long protocol", method: "GET", path: "/public.git" + refs, header: http.Header{"Git-Protocol": {strings.Repeat("x", 300)}}, status: 200, text: `""`},
		{name: "public with a login", method: "GET", path: "/public.git" + refs, header: alice, status: 200, text: "alice public"},
		{name: "public with a wrong login", method: "GET", path: "/public.git" + refs, header: basic("alice", "x"), status: 401, text: "wrong user or token"},
		{name: "another's name", method: "GET", path: "/private.git" + refs, header: basic("bob", aliceToken), status: 401},
		{name: "no name", method: "GET", path: "/private.git" + refs, header: basic("", aliceToken), status: 401},
		{name: "the name git", method: "GET", path: "/private.git" + refs, header: basic("git", aliceToken), status: 200, text: "alice private"},
		{name: "the name token", method: "GET", path: "/private.git" + refs, header: basic("token", aliceToken), status: 200, text: "alice private"},
		{name: "another scheme", method: "GET", path: "/public.git" + refs, header: http.Header{"Authorization": {"Digest x"}}, status: 401},
		{name: "anonymous to private", method: "GET", path: "/private.git" + refs, status: 401, text: "log in with a token"},
		{name: "anonymous to unknown", method: "GET", path: "/unknown.git" + refs, status: 401, text: "log in with a token"},
		{name: "anonymous to invalid", method: "GET", path: "/-x.git" + refs, status: 401, text: "log in with a token"},
		{name: "unknown", method: "GET", path: "/unknown.git" + refs, header: alice, status: 404, text: "no such repository"},
		{name: "invalid", method: "GET", path: "/a//b.git" + refs, header: alice, status: 404},
		{name: "climbing", method: "GET", path: "/a/../../etc.git" + refs, header: alice, status: 404},
		{name: "escaped", method: "GET", path: "/a%2fb.git" + refs, header: alice, status: 404},
		{name: "anonymous push", method: "GET", path: "/public.git/info/refs?service=git-receive-pack", status: 401},
		{name: "denied push", method: "GET", path: "/readable.git/info/refs?service=git-receive-pack", header: alice, status: 403, text: "you may not"},
		{name: "push", method: "GET", path: "/public.git/info/refs?service=git-receive-pack", header: alice, status: 200, text: "alice public git-receive-pack"},
		{name: "dumb", method: "GET", path: "/public.git/info/refs", status: 403, text: "dumb HTTP"},
		{name: "dumb, unknown", method: "GET", path: "/unknown.git/info/refs", status: 403, text: "dumb HTTP"},
		{name: "another service", method: "GET", path: "/public.git/info/refs?service=git-upload-archive", status: 403},
		{name: "dumb object", method: "GET", path: "/public.git/objects/info/packs", status: 403, text: "dumb HTTP"},
		{name: "dumb HEAD", method: "GET", path: "/public.git/HEAD", status: 403, text: "dumb HTTP"},
		{name: "refs by POST", method: "POST", path: "/public.git" + refs, status: 405},
		{name: "refs by HEAD", method: "HEAD", path: "/public.git" + refs, status: 405},
		{name: "fetch by GET", method: "GET", path: "/public.git" + upload, status: 405},
		{name: "fetch by PUT", method: "PUT", path: "/public.git" + upload, status: 405},
		{name: "root", method: "GET", path: "/", status: 404},
		{name: "nothing", method: "GET", path: "/x", status: 404},
		{name: "fetch", method: "POST", path: "/private.git" + upload, header: post("git-upload-pack"), body: "hello", status: 200, text: `git-upload-pack "" false hello`},
		{name: "push body", method: "POST", path: "/private.git" + receive, header: post("git-receive-pack"), body: "hello", status: 200, text: `git-receive-pack "" false hello`},
		{name: "wrong type", method: "POST", path: "/private.git" + upload, header: post("git-receive-pack"), status: 415},
		{name: "form", method: "POST", path: "/private.git" + receive, header: with(post("x"), "Content-Type", "application/x-www-form-urlencoded"), status: 415},
		{name: "gzip", method: "POST", path: "/private.git" + upload, header: with(post("git-upload-pack"), "Content-Encoding", "gzip"), body: zip("hello"), status: 200, text: " false hello"},
		{name: "x-gzip", method: "POST", path: "/private.git" + upload, header: with(post("git-upload-pack"), "Content-Encoding", "x-gzip"), body: zip("hello"), status: 200, text: " false hello"},
		{name: "deflate", method: "POST", path: "/private.git" + upload, header: with(post("git-upload-pack"), "Content-Encoding", "deflate"), body: "x", status: 415},
		{name: "empty", method: "POST", path: "/cut.git" + upload, header: post("git-upload-pack"), status: 400, text: "ends too early"},
		{name: "panic", method: "GET", path: "/panic" + refs, header: alice, status: 500, text: "internal error"},
	} {
		res := r.do(t, h)
		body, _ := io.ReadAll(res.Body)
		if res.StatusCode != r.status || !strings.Contains(string(body), r.text) {
			t.Errorf("%s: %d %q, want %d %q", r.name, res.StatusCode, body, r.status, r.text)
		}
		for name, want := range map[string]string{
			"Cache-Control": "no-cache, max-age=0, must-revalidate", "X-Content-Type-Options": "nosniff",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		} {
			if got := res.Header.Get(name); got != want {
				t.Errorf("%s: header %s: %q", r.name, name, got)
			}
		}
		wantType := "text/plain; charset=utf-8"
		if r.status == 200 && r.path != "/healthz" {
			wantType = "application/x-git-"
		}
		if got := res.Header.Get("Content-Type"); !strings.HasPrefix(got, wantType) {
			t.Errorf("%s: content type %q", r.name, got)
		}
		if got := res.Header.Get("WWW-Authenticate"); (got != "") != (r.status == 401) {
			t.Errorf("%s: WWW-Authenticate %q", r.name, got)
		}
		if got := res.Header.Get("Allow"); (got != "") != (r.status == 405) {
			t.Errorf("%s: Allow %q", r.name, got)
		}
	}
}

func TestHTTPContentTypes(t *testing.T) {
	h := server.HTTPHandler(httpConfig(func(context.Context, server.GitRequest, io.Reader, io.Writer) error { return nil }))
	for _, service := range []string{"git-upload-pack", "git-receive-pack"} {
		header := basic("alice", aliceToken)
		res := request{method: "GET", path: "/public/info/refs?service=" + service, header: header}.do(t, h)
		if got, want := res.Header.Get("Content-Type"), "application/x-"+service+"-advertisement"; got != want || res.StatusCode != 200 {
			t.Errorf("%d %s, want %s", res.StatusCode, got, want)
		}
		header.Set("Content-Type", "application/x-"+service+"-request")
		res = request{method: "POST", path: "/public/" + service, header: header}.do(t, h)
		if got, want := res.Header.Get("Content-Type"), "application/x-"+service+"-result"; got != want || res.StatusCode != 200 {
			t.Errorf("%d %s, want %s", res.StatusCode, got, want)
		}
	}
}

// To the anonymous, a private repository looks like one that does not exist, to the last byte.
func TestHTTPHidesPrivateRepositories(t *testing.T) {
	h := server.HTTPHandler(httpConfig(func(context.Context, server.GitRequest, io.Reader, io.Writer) error { return nil }))
	dump := func(r request) string {
		res := r.do(t, h)
		body, _ := io.ReadAll(res.Body)
		return fmt.Sprint(res.StatusCode, res.Header, string(body))
	}
	for _, r := range []request{
		{method: "GET", path: "/%s.git/info/refs?service=git-upload-pack"},
		{method: "GET", path: "/%s.git/info/refs?service=git-receive-pack"},
		{method: "GET", path: "/%s.git/info/refs"},
		{method: "GET", path: "/%s.git/HEAD"},
		{method: "POST", path: "/%s.git/git-upload-pack", header: http.Header{"Content-Type": {"application/x-git-upload-pack-request"}}},
		{method: "POST", path: "/%s.git/git-receive-pack", header: http.Header{"Content-Type": {"application/x-git-receive-pack-request"}}},
	} {
		private, unknown := r, r
		private.path, unknown.path = fmt.Sprintf(r.path, "private"), fmt.Sprintf(r.path, "unknown")
		if a, b := dump(private), dump(unknown); a != b {
			t.Errorf("%s: private %s, unknown %s", r.path, a, b)
		}
	}
}

func zip(data string) string {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	io.WriteString(w, data)
	w.Close()
	return buf.String()
}

func TestHTTPBodyLimits(t *testing.T) {
	var got int64
	c := httpConfig(func(_ context.Context, _ server.GitRequest, in io.Reader, out io.Writer) (err error) {
		got, err = io.Copy(io.Discard, in)
		return err
	})
	c.MaxFetchBytes, c.MaxPushBytes = 2<<20, 8<<20
	h := server.HTTPHandler(c)
	for _, r := range []struct {
		name, service, encoding, body string
		status                        int
		most                          int64
	}{
		{"fetch within", "git-upload-pack", "", strings.Repeat("x", 2<<20), 200, 2 << 20},
		{"fetch beyond", "git-upload-pack", "", strings.Repeat("x", 2<<20+1), 413, 2<<20 + 64<<10},
		{"push within", "git-receive-pack", "", strings.Repeat("x", 8<<20), 200, 8 << 20},
		{"push beyond", "git-receive-pack", "", strings.Repeat("x", 8<<20+1), 413, 8<<20 + 64<<10},
		{"grows within what is free", "git-receive-pack", "gzip", zip(strings.Repeat("x", 1<<20)), 200, 1 << 20},
		{"bomb", "git-receive-pack", "gzip", zip(strings.Repeat("x", 7<<20)), 413, 4 << 20},
		{"grows beyond the limit", "git-upload-pack", "gzip", zip(strings.Repeat(randomish(40<<10), 52)), 413, 2<<20 + 64<<10},
		{"truncated", "git-upload-pack", "gzip", zip("hello")[:20], 400, 5},
		{"damaged", "git-upload-pack", "gzip", zip("hello")[:20] + "xxxxxxxxx", 400, 5},
		{"no gzip", "git-upload-pack", "gzip", "hello, world", 400, 0},
		{"empty gzip", "git-upload-pack", "gzip", "", 400, 0},
		{"something behind", "git-upload-pack", "gzip", zip("hello") + "x", 400, 5},
		{"a second member", "git-upload-pack", "gzip", zip("hello") + zip("world"), 400, 5},
	} {
		for _, chunked := range []bool{false, true} {
			got = 0
			req := httptest.NewRequest("POST", "/private/"+r.service, strings.NewReader(r.body))
			req.SetBasicAuth("alice", aliceToken)
			req.Header.Set("Content-Type", "application/x-"+r.service+"-request")
			if r.encoding != "" {
				req.Header.Set("Content-Encoding", r.encoding)
			}
			if chunked {
				req.ContentLength = -1
			}
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, req)
			if rec.Code != r.status || got > r.most {
				t.Errorf("%s, chunked %v: %d %q after %d bytes, want %d", r.name, chunked, rec.Code, rec.Body, got, r.status)
			}
		}
	}
}

// randomish returns n bytes that do not compress well.
func randomish(n int) string {
	b, x := make([]byte, n), uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return string(b)
}

func TestHTTPLimitsFailedLogins(t *testing.T) {
	c := httpConfig(func(context.Context, server.GitRequest, io.Reader, io.Writer) error { return nil })
	c.FailuresPerMinute = 3
	h := server.HTTPHandler(c)
	try := func(remote, forwarded, token string) int {
		req := httptest.NewRequest("GET", "/private/info/refs?service=git-upload-pack", nil)
		req.SetBasicAuth("alice", token)
		if req.RemoteAddr = remote; forwarded != "" {
			req.Header.Set("X-Forwarded-For", forwarded)
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		if (rec.Header().Get("Retry-After") != "") != (rec.Code == 429) {
			t.Errorf("Retry-After %q with %d", rec.Header().Get("Retry-After"), rec.Code)
		}
		return rec.Code
	}
	for i, want := range []int{401, 401, 401, 429} {
		if got := try("192.0.2.7:1", "", "x"); got != want {
			t.Errorf("failure %d: %d, want %d", i+1, got, want)
		}
	}
	for _, r := range []struct {
		name, remote, forwarded, token string
		want                           int
	}{
		{"a valid token", "192.0.2.7:1", "", aliceToken, 200},
		{"another address", "192.0.2.8:1", "", "x", 401},
		{"the same address by a proxy", "127.0.0.1:1", "192.0.2.7", "x", 429},
		{"by two proxies", "127.0.0.1:1", "192.0.2.7, 127.0.0.2", "x", 429},
		{"claiming another address", "192.0.2.7:1", "192.0.2.9", "x", 429},
		{"claiming another address to a proxy", "[::1]:1", "192.0.2.9, 192.0.2.7", "x", 429},
		{"another address by a proxy", "127.0.0.1:1", "192.0.2.10", "x", 401},
		{"junk by a proxy", "127.0.0.1:1", "junk", "x", 401},
	} {
		if got := try(r.remote, r.forwarded, r.token); got != r.want {
			t.Errorf("%s: %d, want %d", r.name, got, r.want)
		}
	}
}

func TestHTTPHealth(t *testing.T) {
	c := httpConfig(nil)
	c.Healthy = func(context.Context) error { return errors.New("too few mirrors") }
	res := request{method: "GET", path: "/healthz"}.do(t, server.HTTPHandler(c))
	if body, _ := io.ReadAll(res.Body); res.StatusCode != 503 || !strings.Contains(string(body), "too few mirrors") {
		t.Errorf("%d %q", res.StatusCode, body)
	}
}

// A response that a panic cuts short must not look whole.
func TestHTTPPanicAfterOutput(t *testing.T) {
	ln := listen(t)
	serveHTTP(t, ln, httpConfig(func(_ context.Context, _ server.GitRequest, _ io.Reader, out io.Writer) error {
		io.WriteString(out, "half")
		out.(http.Flusher).Flush()
		panic("in a response")
	}))
	url := "http://" + ln.Addr().String()
	res, err := http.Get(url + "/public/info/refs?service=git-upload-pack")
	if err == nil {
		_, err = io.ReadAll(res.Body)
		res.Body.Close()
	}
	if err == nil {
		t.Error("the response looks whole")
	}
	res, err = http.Get(url + "/healthz")
	if err != nil || res.StatusCode != 200 {
		t.Errorf("after it: %v", err)
	}
	res.Body.Close()
}

// ask sends the head of a request over conn.
func ask(t testing.TB, conn net.Conn, method, path, header string) {
	t.Helper()
	if _, err := fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n", method, path, header); err != nil {
		t.Error(err)
	}
}

const fetchHeader = "Content-Type: application/x-git-upload-pack-request\r\nContent-Length: 20\r\n"

func readResponse(t testing.TB, conn net.Conn) (status int, body string) {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err.Error()
	}
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(data)
}

func TestHTTPTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newMemListener()
		serveHTTP(t, ln, httpConfig(func(ctx context.Context, r server.GitRequest, in io.Reader, out io.Writer) error {
			body, err := io.ReadAll(in)
			if err != nil {
				return err
			}
			switch strings.TrimRight(string(body), ".") {
			case "think":
				select {
				case <-time.After(3 * time.Hour):
				case <-ctx.Done():
					return ctx.Err()
				}
			case "stream":
				for range 10 {
					fmt.Fprint(out, ".")
					out.(http.Flusher).Flush()
					time.Sleep(9 * time.Minute)
				}
			case "flood":
				for {
					if _, err := out.Write(make([]byte, 1<<20)); err != nil {
						return err
					}
				}
			}
			fmt.Fprint(out, "done")
			return nil
		}))
		post := func(body string) net.Conn {
			conn := ln.dial(t, "192.0.2.7")
			ask(t, conn, "POST", "/public/git-upload-pack", fetchHeader)
			io.WriteString(conn, body+strings.Repeat(".", 20-len(body)))
			return conn
		}
		for _, c := range []struct {
			name string
			conn func() net.Conn
			want time.Duration
		}{
			{"no request", func() net.Conn { return ln.dial(t, "192.0.2.7") }, 30 * time.Second},
			{"half a header", func() net.Conn {
				conn := ln.dial(t, "192.0.2.7")
				io.WriteString(conn, "GET / HTTP/1.1\r\nHost:")
				return conn
			}, 30 * time.Second},
			{"no next request", func() net.Conn {
				conn := ln.dial(t, "192.0.2.7")
				ask(t, conn, "GET", "/healthz", "")
				return conn
			}, 2 * time.Minute},
			{"no body", func() net.Conn {
				conn := ln.dial(t, "192.0.2.7")
				ask(t, conn, "POST", "/public/git-upload-pack", fetchHeader)
				return conn
			}, 10 * time.Minute},
			{"no body that anybody wants", func() net.Conn {
				conn := ln.dial(t, "192.0.2.7")
				ask(t, conn, "POST", "/nothing", fetchHeader)
				return conn
			}, 10 * time.Minute},
		} {
			// net/http lingers for half a second when it closes early.
			if d := closedAfter(c.conn()); d < c.want || d > c.want+time.Second {
				t.Errorf("%s: closed after %v, want %v", c.name, d, c.want)
			}
		}

		// A client that takes nothing: the write fails in the end, and what was under way is all that comes.
		stuck := post("flood")
		time.Sleep(11 * time.Minute)
		if d := closedAfter(stuck); d > time.Second {
			t.Errorf("a stuck client is still served, for %v", d)
		}

		slow := ln.dial(t, "192.0.2.7")
		ask(t, slow, "POST", "/public/git-upload-pack", fetchHeader)
		go io.Copy(slow, &slowReader{n: 20, every: 9 * time.Minute})
		if status, body := readResponse(t, slow); status != 200 || body != "done" {
			t.Errorf("a slow body: %d %q", status, body)
		}
		// The answer takes hours: neither side sends a byte meanwhile.
		if status, body := readResponse(t, post("think")); status != 200 || body != "done" {
			t.Errorf("a slow answer: %d %q", status, body)
		}
		if status, body := readResponse(t, post("stream")); status != 200 || body != "..........done" {
			t.Errorf("a slow stream: %d %q", status, body)
		}
	})
}

// A client that asks whether to go on is told so when somebody wants the body, and spared sending it otherwise.
func TestHTTPContinue(t *testing.T) {
	ln := listen(t)
	serveHTTP(t, ln, httpConfig(func(_ context.Context, _ server.GitRequest, in io.Reader, out io.Writer) error {
		_, err := io.Copy(out, in)
		return err
	}))
	for path, want := range map[string]string{"public": "HTTP/1.1 100 Continue\r\n", "private": "HTTP/1.1 401 Unauthorized\r\n"} {
		for _, encoding := range []string{"", "Content-Encoding: gzip\r\n"} {
			conn, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			body := "hello"
			if encoding != "" {
				body = zip(body)
			}
			ask(t, conn, "POST", "/"+path+"/git-upload-pack", fmt.Sprintf("Content-Type: application/x-git-upload-pack-request\r\n"+
				"Content-Length: %d\r\nExpect: 100-continue\r\n%s", len(body), encoding))
			r := bufio.NewReader(conn)
			if line, err := r.ReadString('\n'); line != want {
				t.Errorf("%s: %q, %v, want %q", path, line, err, want)
			}
			if path == "private" {
				continue
			}
			r.ReadString('\n')
			io.WriteString(conn, body)
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if data, err := io.ReadAll(res.Body); string(data) != "hello" || err != nil {
				t.Errorf("%s: %q, %v", path, data, err)
			}
		}
	}
}

func TestHTTPNoticesThatTheClientLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newMemListener()
		left := make(chan error, 2)
		serveHTTP(t, ln, httpConfig(func(ctx context.Context, _ server.GitRequest, in io.Reader, _ io.Writer) error {
			io.Copy(io.Discard, in)
			<-ctx.Done()
			left <- ctx.Err()
			return ctx.Err()
		}))
		for _, body := range []string{strings.Repeat(".", 40), zip("hello")} {
			conn := ln.dial(t, "192.0.2.7")
			encoding := ""
			if strings.HasPrefix(body, "\x1f") {
				encoding = "Content-Encoding: gzip\r\n"
			}
			ask(t, conn, "POST", "/public/git-upload-pack",
				fmt.Sprintf("Content-Type: application/x-git-upload-pack-request\r\nContent-Length: %d\r\n%s", len(body), encoding))
			io.WriteString(conn, body)
			synctest.Wait()
			conn.Close()
			<-left
		}
	})
}

func TestHTTPBoundsConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newMemListener()
		c := httpConfig(nil)
		c.MaxConns, c.MaxConnsPerAddr = 4, 2
		serveHTTP(t, ln, c)
		healthy := func(conn net.Conn) bool {
			ask(t, conn, "GET", "/healthz", "")
			status, _ := readResponse(t, conn)
			return status == 200
		}
		first, second := ln.dial(t, "192.0.2.7"), ln.dial(t, "192.0.2.7")
		if !healthy(first) || !healthy(second) {
			t.Fatal("the first two are not served")
		}
		if d := closedAfter(ln.dial(t, "192.0.2.7")); d != 0 {
			t.Errorf("a third from one address was closed after %v", d)
		}
		// Proxies speak for many.
		for range 2 {
			if !healthy(ln.dial(t, "127.0.0.1")) {
				t.Error("a proxy is not served")
			}
		}
		waits := ln.dial(t, "127.0.0.1")
		served := make(chan bool, 1)
		go func() { served <- healthy(waits) }()
		synctest.Wait()
		if len(served) != 0 {
			t.Error("a fifth in all did not wait")
		}
		first.Close()
		if !<-served {
			t.Error("the fifth was not served when there was room")
		}
	})
}

func TestHTTPDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newMemListener()
		release := make(chan struct{})
		ended := make(chan string, 2)
		stop := serveHTTP(t, ln, httpConfig(func(ctx context.Context, r server.GitRequest, in io.Reader, out io.Writer) error {
			select {
			case <-release:
				fmt.Fprint(out, "finished")
			case <-ctx.Done():
			}
			if r.Protocol == "stuck" {
				<-ctx.Done()
			}
			ended <- r.Protocol
			return nil
		}))
		path := "/public/info/refs?service=git-upload-pack"
		busy, stuck := ln.dial(t, "192.0.2.7"), ln.dial(t, "192.0.2.7")
		ask(t, busy, "GET", path, "")
		ask(t, stuck, "GET", path, "Git-Protocol: stuck\r\n")
		synctest.Wait()
		start, stopped := time.Now(), make(chan struct{})
		go func() { stop(); close(stopped) }()
		synctest.Wait()
		close(release)
		if status, body := readResponse(t, busy); status != 200 || body != "finished" {
			t.Errorf("the running request: %d %q", status, body)
		}
		<-stopped
		if d := time.Since(start); d < 30*time.Second || d > 31*time.Second || len(ended) != 2 {
			t.Errorf("stopped after %v with %d requests ended", d, len(ended))
		}
	})
}
