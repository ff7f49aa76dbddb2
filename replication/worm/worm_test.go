package worm_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/replication/buckettest"
	"holdfast/replication/worm"
)

const bucket = "acme-code"

var (
	writer = buckettest.Key{Access: "writerkey", Secret: "writersecret0123456789"}
	reader = buckettest.Key{Access: "readerkey", Secret: "readersecret0123456789"}
)

// mirror is a Server on loopback.
type mirror struct {
	*testing.T
	buckettest.Endpoint
	dir    string
	server *worm.Server
	web    *httptest.Server
}

func config(dir string) worm.Config {
	return worm.Config{
		Dir: dir, Bucket: bucket, NoSync: true, Log: slog.New(slog.DiscardHandler),
		Writer: worm.KeyPair{AccessKey: writer.Access, SecretKey: writer.Secret},
		Reader: worm.KeyPair{AccessKey: reader.Access, SecretKey: reader.Secret},
	}
}

func start(t *testing.T, change func(c *worm.Config)) *mirror {
	t.Helper()
	c := config(t.TempDir())
	if change != nil {
		change(&c)
	}
	m := &mirror{T: t, dir: c.Dir}
	m.open(c)
	t.Cleanup(func() { m.stop() })
	return m
}

func (m *mirror) open(c worm.Config) {
	m.Helper()
	server, err := worm.New(c)
	if err != nil {
		m.Fatal(err)
	}
	m.server, m.web = server, httptest.NewServer(server)
	m.Endpoint = buckettest.Endpoint{
		URL: m.web.URL, Region: "us-east-1", Bucket: bucket, Client: m.web.Client(), Writer: writer, Reader: reader,
	}
}

func (m *mirror) stop() {
	m.web.Close()
	if err := m.server.Close(); err != nil {
		m.Error(err)
	}
}

func (m *mirror) put(key, data string) buckettest.Answer {
	m.Helper()
	return m.Do(m.T, writer, buckettest.Raw{Method: "PUT", Path: "/" + bucket + "/" + key, Body: []byte(data)})
}

func (m *mirror) get(key string) buckettest.Answer {
	m.Helper()
	return m.Do(m.T, reader, buckettest.Raw{Path: "/" + bucket + "/" + key})
}

func (m *mirror) want(what string, got buckettest.Answer, status int, code string) {
	m.Helper()
	if got.Status != status || got.Code != code {
		m.Errorf("%s: %d %s; want %d %s\n%s", what, got.Status, got.Code, status, code, got.Body)
	}
}

// files returns the content of every file below dir but the lock.
func (m *mirror) files(dir string) map[string]string {
	m.Helper()
	return tree(m, filepath.Join(m.dir, dir))
}

func TestWriteOnce(t *testing.T) {
	m := start(t, nil)
	m.want("put", m.put("v1/k", "data"), 200, "")
	m.want("identical put", m.put("v1/k", "data"), 200, "")
	m.want("different put", m.put("v1/k", "DATA"), 412, "PreconditionFailed")
	m.want("longer put", m.put("v1/k", "data and more"), 412, "PreconditionFailed")
	none := http.Header{"If-None-Match": {"*"}}
	path := "/" + bucket + "/v1/k"
	m.want("identical conditional put", m.Do(t, writer, buckettest.Raw{Method: "PUT", Path: path, Header: none,
		Body: []byte("data")}), 200, "")
	m.want("different conditional put", m.Do(t, writer, buckettest.Raw{Method: "PUT", Path: path, Header: none,
		Body: []byte("DATA")}), 412, "PreconditionFailed")
	got := m.get("v1/k")
	m.want("get", got, 200, "")
	if string(got.Body) != "data" || got.Header.Get("Last-Modified") == "" || got.Header.Get("ETag") == "" {
		t.Errorf("got %q %v", got.Body, got.Header)
	}
	part := m.Do(t, reader, buckettest.Raw{Path: path, Header: http.Header{"Range": {"bytes=1-2"}}})
	if part.Status != 206 || string(part.Body) != "at" {
		t.Errorf("range: %d %q", part.Status, part.Body)
	}
	if left := m.files("tmp"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestRefused: nothing of this reaches the store.
func TestRefused(t *testing.T) {
	m := start(t, func(c *worm.Config) { c.MaxBodyBytes, c.Region = 1000, "us-east-1" })
	m.want("put", m.put("v1/k", "data"), 200, "")
	key, fresh := "/"+bucket+"/v1/k", "/"+bucket+"/v1/new"
	put := func(change func(raw *buckettest.Raw)) buckettest.Raw {
		raw := buckettest.Raw{Method: "PUT", Path: fresh, Body: []byte("body")}
		change(&raw)
		return raw
	}
	header := func(name, value string) buckettest.Raw {
		return put(func(raw *buckettest.Raw) { raw.Header = http.Header{name: {value}} })
	}
	sum := sha256.Sum256([]byte("other"))
	for _, test := range []struct {
		name   string
		key    buckettest.Key
		raw    buckettest.Raw
		status int
		code   string
	}{
		{"unknown key", buckettest.Key{Access: "nobody", Secret: writer.Secret}, put(func(*buckettest.Raw) {}), 403, "InvalidAccessKeyId"},
		{"wrong secret", buckettest.Key{Access: writer.Access, Secret: reader.Secret}, put(func(*buckettest.Raw) {}), 403, "SignatureDoesNotMatch"},
		{"unsigned", writer, put(func(raw *buckettest.Raw) {
			raw.Mangle = func(r *http.Request) { r.Header.Del("Authorization") }
		}), 403, "AccessDenied"},
		{"presigned", writer, put(func(raw *buckettest.Raw) {
			raw.Mangle = func(r *http.Request) {
				r.URL.RawQuery = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00"
				r.Header.Del("Authorization")
			}
		}), 403, "AccessDenied"},
		{"another path than was signed", writer, put(func(raw *buckettest.Raw) {
			raw.Mangle = func(r *http.Request) { r.URL.Path, r.URL.RawPath = key, "" }
		}), 403, "SignatureDoesNotMatch"},
		{"another method than was signed", writer, put(func(raw *buckettest.Raw) {
			raw.Mangle = func(r *http.Request) { r.Method = "POST" }
		}), 403, "SignatureDoesNotMatch"},
		{"another hash than was signed", writer, put(func(raw *buckettest.Raw) {
			raw.Mangle = func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:])) }
		}), 403, "SignatureDoesNotMatch"},
		{"a header that was not signed", writer, put(func(raw *buckettest.Raw) {
			raw.Mangle = func(r *http.Request) { r.Header.Set("X-Amz-Copy-Source", "/"+bucket+"/v1/k") }
		}), 403, "AccessDenied"},
		{"old", writer, put(func(raw *buckettest.Raw) { raw.Time = time.Now().Add(-20 * time.Minute) }), 403, "RequestTimeTooSkewed"},
		{"from the future", writer, put(func(raw *buckettest.Raw) { raw.Time = time.Now().Add(20 * time.Minute) }), 403, "RequestTimeTooSkewed"},
		{"body of another hash", writer, put(func(raw *buckettest.Raw) { raw.Sum = hex.EncodeToString(sum[:]) }), 400, "BadDigest"},
		{"empty body of another hash", writer, put(func(raw *buckettest.Raw) { raw.Body, raw.Sum = nil, hex.EncodeToString(sum[:]) }), 400, "BadDigest"},
		{"unsigned payload", writer, put(func(raw *buckettest.Raw) { raw.Sum = "UNSIGNED-PAYLOAD" }), 400, "InvalidRequest"},
		{"streaming", writer, put(func(raw *buckettest.Raw) { raw.Sum = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" }), 400, "InvalidRequest"},
		{"streaming with a trailer", writer, put(func(raw *buckettest.Raw) { raw.Sum = "STREAMING-UNSIGNED-PAYLOAD-TRAILER" }), 400, "InvalidRequest"},
		{"no length", writer, put(func(raw *buckettest.Raw) {
			raw.Mangle = func(r *http.Request) { r.ContentLength, r.Body = -1, io.NopCloser(strings.NewReader("body")) }
		}), 411, "MissingContentLength"},
		{"too long", writer, put(func(raw *buckettest.Raw) { raw.Body = make([]byte, 1001) }), 400, "EntityTooLarge"},
		{"wrong checksum", writer, header("X-Amz-Checksum-Sha256", "AAAA"), 400, "BadDigest"},
		{"wrong MD5", writer, header("Content-Md5", "1B2M2Y8AsgTpgAmY7PhCfg=="), 400, "BadDigest"},
		{"another checksum", writer, header("X-Amz-Checksum-Crc32", "AAAA"), 501, "NotImplemented"},
		{"lock", writer, header("X-Amz-Object-Lock-Mode", "COMPLIANCE"), 501, "NotImplemented"},
		{"copy", writer, header("X-Amz-Copy-Source", "/"+bucket+"/v1/k"), 501, "NotImplemented"},
		{"session token", writer, header("X-Amz-Security-Token", "x"), 501, "NotImplemented"},
		{"key too long", writer, put(func(raw *buckettest.Raw) { raw.Path = "/" + bucket + "/" + strings.Repeat("k", 1025) }), 400, "InvalidRequest"},
		{"key with a control character", writer, put(func(raw *buckettest.Raw) { raw.Path = "/" + bucket + "/a\x01b" }), 400, "InvalidRequest"},
		{"another bucket", writer, put(func(raw *buckettest.Raw) { raw.Path = "/other/k" }), 403, "AccessDenied"},
		{"a bucket with this one's name in front", writer, put(func(raw *buckettest.Raw) { raw.Path = "/" + bucket + "2/k" }), 403, "AccessDenied"},
		{"two values", writer, put(func(raw *buckettest.Raw) { raw.Query = "uploadId=a&uploadId=b" }), 403, "AccessDenied"},
		{"delete", writer, buckettest.Raw{Method: "DELETE", Path: key}, 403, "AccessDenied"},
		{"delete with an empty upload", writer, buckettest.Raw{Method: "DELETE", Path: key, Query: "uploadId="}, 403, "AccessDenied"},
		{"delete of a version", writer, buckettest.Raw{Method: "DELETE", Path: key, Query: "versionId=null"}, 403, "AccessDenied"},
		{"abort of nothing", writer, buckettest.Raw{Method: "DELETE", Path: key, Query: "uploadId=" + strings.Repeat("0", 32)}, 404, "NoSuchUpload"},
		{"list of buckets", reader, buckettest.Raw{Path: "/"}, 403, "AccessDenied"},
		{"list version 1", reader, buckettest.Raw{Path: "/" + bucket}, 403, "AccessDenied"},
		{"get by the writer", writer, buckettest.Raw{Path: key}, 403, "AccessDenied"},
		{"put by the reader", reader, put(func(*buckettest.Raw) {}), 403, "AccessDenied"},
		{"unknown method", writer, buckettest.Raw{Method: "PATCH", Path: key}, 403, "AccessDenied"},
		{"wrong region", writer, put(func(raw *buckettest.Raw) {
			raw.Mangle = func(r *http.Request) {
				other := m.Endpoint
				other.Region = "elsewhere"
				*r = *other.Request(t, writer, buckettest.Raw{Method: "PUT", Path: fresh, Body: []byte("body")})
			}
		}), 400, "AuthorizationHeaderMalformed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := *m
			m.T = t
			m.want(test.name, m.Do(t, test.key, test.raw), test.status, test.code)
		})
	}
	if files := m.files("objects"); len(files) != 1 {
		t.Errorf("stored: %v", files)
	}
	if left := m.files("tmp"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

type created struct {
	UploadID string `xml:"UploadId"`
}

func (m *mirror) create(key string) string {
	m.Helper()
	got := m.Do(m.T, writer, buckettest.Raw{Method: "POST", Path: "/" + bucket + "/" + key, Query: "uploads="})
	m.want("create", got, 200, "")
	var c created
	if err := xml.Unmarshal(got.Body, &c); err != nil || len(c.UploadID) != 32 {
		m.Fatalf("create: %q %v", got.Body, err)
	}
	return c.UploadID
}

func (m *mirror) part(key, id string, n int, data string) buckettest.Answer {
	m.Helper()
	return m.Do(m.T, writer, buckettest.Raw{Method: "PUT", Path: "/" + bucket + "/" + key,
		Query: fmt.Sprintf("partNumber=%d&uploadId=%s", n, id), Body: []byte(data)})
}

func (m *mirror) complete(key, id string, etags ...string) buckettest.Answer {
	m.Helper()
	body := "<CompleteMultipartUpload>"
	for i, tag := range etags {
		body += fmt.Sprintf("<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, tag)
	}
	return m.Do(m.T, writer, buckettest.Raw{Method: "POST", Path: "/" + bucket + "/" + key, Query: "uploadId=" + id,
		Body: []byte(body + "</CompleteMultipartUpload>")})
}

func TestMultipart(t *testing.T) {
	m := start(t, func(c *worm.Config) { c.MaxObjectBytes = 100 })
	id := m.create("big")
	tags := make([]string, 3)
	for _, n := range []int{3, 1, 2} { // in no order
		got := m.part("big", id, n, strings.Repeat(fmt.Sprint(n), 10))
		m.want("part", got, 200, "")
		tags[n-1] = got.Header.Get("ETag")
	}
	m.want("identical part again", m.part("big", id, 2, strings.Repeat("2", 10)), 200, "")
	m.want("different part again", m.part("big", id, 2, "other"), 400, "InvalidPart")
	m.want("part past the limit", m.part("big", id, 4, strings.Repeat("4", 71)), 400, "EntityTooLarge")
	m.want("part under another key", m.part("other", id, 5, "x"), 404, "NoSuchUpload")
	m.want("part 0", m.part("big", id, 0, "x"), 403, "AccessDenied")
	m.want("complete with fewer parts", m.complete("big", id, tags[:2]...), 400, "InvalidPart")
	m.want("complete with wrong tags", m.complete("big", id, tags[0], tags[0], tags[2]), 400, "InvalidPart")
	m.want("get before complete", m.get("big"), 404, "NoSuchKey")
	m.want("complete", m.complete("big", id, tags...), 200, "")
	m.want("complete again", m.complete("big", id, tags...), 200, "")
	if got := m.get("big"); string(got.Body) != strings.Repeat("1", 10)+strings.Repeat("2", 10)+strings.Repeat("3", 10) {
		t.Errorf("got %q", got.Body)
	}
	if left := m.files("uploads"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}

	for _, test := range []struct {
		data   string
		status int
		code   string
	}{{"other", 412, "PreconditionFailed"}, {string(m.get("big").Body), 200, ""}} {
		id = m.create("big")
		tag := m.part("big", id, 1, test.data).Header.Get("ETag")
		m.want("complete over an object", m.complete("big", id, tag), test.status, test.code)
	}

	id = m.create("never")
	m.part("never", id, 1, "x")
	abort := buckettest.Raw{Method: "DELETE", Path: "/" + bucket + "/never", Query: "uploadId=" + id}
	m.want("abort", m.Do(t, writer, abort), 204, "")
	m.want("abort again", m.Do(t, writer, abort), 404, "NoSuchUpload")
	m.want("part after abort", m.part("never", id, 2, "x"), 404, "NoSuchUpload")
}

func TestUploadLimits(t *testing.T) {
	var mu sync.Mutex
	now := time.Now()
	m := start(t, func(c *worm.Config) {
		c.MaxUploads = 2
		c.UploadExpiry = time.Hour
		c.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	})
	first := m.create("a")
	m.want("part", m.part("a", first, 1, "x"), 200, "")
	m.create("b")
	m.want("one too many", m.Do(t, writer, buckettest.Raw{Method: "POST", Path: "/" + bucket + "/c", Query: "uploads="}),
		503, "SlowDown")
	mu.Lock()
	now = now.Add(2 * time.Hour)
	mu.Unlock()
	m.create("c")
	m.want("part of an expired upload", m.part("a", first, 2, "x"), 404, "NoSuchUpload")
	if left := m.files("uploads"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestQuota(t *testing.T) {
	// The directories v1 and the two files take a block each.
	m := start(t, func(c *worm.Config) { c.QuotaBytes = 5 * 4096 })
	m.want("first", m.put("v1/a", "a"), 200, "")
	m.want("second", m.put("v1/b", "b"), 200, "")
	id := m.create("v1/c")
	m.want("part", m.part("v1/c", id, 1, "c"), 200, "")
	m.want("part that does not fit", m.part("v1/c", id, 2, strings.Repeat("c", 5000)), 507, "QuotaExceeded")
	m.want("object that does not fit", m.put("v1/d", strings.Repeat("d", 5000)), 507, "QuotaExceeded")
	m.want("abort", m.Do(t, writer, buckettest.Raw{Method: "DELETE", Path: "/" + bucket + "/v1/c", Query: "uploadId=" + id}), 204, "")
	m.want("object that fits now", m.put("v1/d", "d"), 200, "")
	m.stop()
	c := config(m.dir)
	c.QuotaBytes = 5 * 4096
	m.open(c)
	m.want("after a restart", m.put("v1/e", strings.Repeat("e", 5000)), 507, "QuotaExceeded")
	m.want("get", m.get("v1/d"), 200, "")
}

// TestKilled: what a process leaves that dies at any moment of a put is not visible and is gone after the next start.
func TestKilled(t *testing.T) {
	m := start(t, nil)
	m.want("put", m.put("v1/whole", "data"), 200, "")
	m.stop()
	for _, p := range []string{"tmp/0123456789abcdef", "uploads/00/part1"} {
		p = filepath.Join(m.dir, p)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte("half an obj"), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	m.open(config(m.dir))
	for _, dir := range []string{"tmp", "uploads"} {
		if left := m.files(dir); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	if got := m.files("objects"); len(got) != 1 {
		t.Errorf("objects: %v", got)
	}
	m.want("get", m.get("v1/whole"), 200, "")
}

// TestBrokenOff: a client that goes away in the middle of a body leaves nothing.
func TestBrokenOff(t *testing.T) {
	m := start(t, nil)
	body := bytes.Repeat([]byte("x"), 100_000)
	req := m.Request(t, writer, buckettest.Raw{Method: "PUT", Path: "/" + bucket + "/k", Body: body})
	half, w := io.Pipe()
	req.Body = half
	req.ContentLength = int64(len(body))
	go func() {
		w.Write(body[:50_000])
		w.CloseWithError(io.ErrClosedPipe)
	}()
	if resp, err := m.web.Client().Do(req); err == nil {
		resp.Body.Close()
		t.Errorf("status %d", resp.StatusCode)
	}
	m.web.Close() // waits for the handler
	for _, dir := range []string{"tmp", "objects"} {
		if left := m.files(dir); len(left) > 0 {
			t.Errorf("left behind in %s: %d files", dir, len(left))
		}
	}
}

func TestBusy(t *testing.T) {
	m := start(t, func(c *worm.Config) { c.MaxRequests = 1 })
	end := m.begin()
	m.want("second request", m.put("k2", "data"), 503, "SlowDown")
	m.want("the reader has slots of its own", m.get("nothing"), 404, "NoSuchKey")
	if status := end(); status != 200 {
		t.Errorf("status %d of the first request", status)
	}
	m.want("afterwards", m.put("k2", "data"), 200, "")
}

// begin begins a request that holds the writer's only slot until it is ended.
func (m *mirror) begin() (end func() (status int)) {
	for {
		req := m.Request(m.T, writer, buckettest.Raw{Method: "PUT", Path: "/" + bucket + "/k", Body: []byte("xy")})
		body, w := io.Pipe()
		req.Body, req.ContentLength = body, 2
		answered := make(chan int, 1)
		go func() {
			resp, err := m.web.Client().Do(req)
			if err != nil {
				answered <- 0
				return
			}
			resp.Body.Close()
			answered <- resp.StatusCode
		}()
		w.Write([]byte("x")) // returns once the transport took it
		for m.put("other", "data").Status == 200 && len(answered) == 0 {
			// The request has not arrived yet.
		}
		if len(answered) == 0 {
			return func() int {
				w.Write([]byte("y"))
				return <-answered
			}
		}
		w.Close() // it came while another was there, and was refused itself
	}
}

// TestIdle: a client that stops in the middle of a body is cut off.
func TestIdle(t *testing.T) {
	m := start(t, func(c *worm.Config) { c.IdleTimeout = 20 * time.Millisecond })
	body := bytes.Repeat([]byte("x"), 1000)
	req := m.Request(t, writer, buckettest.Raw{Method: "PUT", Path: "/" + bucket + "/k", Body: body})
	stalled, w := io.Pipe()
	defer w.Close()
	req.Body = stalled
	go w.Write(body[:500])
	if resp, err := m.web.Client().Do(req); err == nil {
		resp.Body.Close()
		if resp.StatusCode < 400 {
			t.Errorf("status %d", resp.StatusCode)
		}
	}
	if left := m.files("objects"); len(left) > 0 {
		t.Errorf("stored: %v", left)
	}
}

// TestDiskFails: a write that fails half-way is a 5xx that tells no paths, and leaves nothing.
func TestDiskFails(t *testing.T) {
	m := &mirror{T: t, dir: t.TempDir()}
	m.Endpoint = buckettest.Endpoint{Region: "us-east-1", Bucket: bucket, Writer: writer, Reader: reader}
	m.URL, _ = startChild(t, m.dir, "HOLDFAST_WORM_TEST_FILE_LIMIT=10000")
	m.want("put", m.put("v1/k", "data"), 200, "")
	id := m.create("v1/up")
	m.want("part", m.part("v1/up", id, 1, "data"), 200, "")
	large := strings.Repeat("x", 100_000)
	for name, got := range map[string]buckettest.Answer{"put": m.put("v1/large", large), "part": m.part("v1/up", id, 2, large)} {
		m.want(name, got, 500, "InternalError")
		if bytes.Contains(got.Body, []byte(m.dir)) {
			t.Errorf("%s tells a path: %s", name, got.Body)
		}
	}
	if left := m.files("tmp"); len(left) > 0 || len(m.files("objects")) != 1 || len(m.files("uploads")) != 1 {
		t.Errorf("left behind: %d, %d, %d files", len(left), len(m.files("objects")), len(m.files("uploads")))
	}
	m.want("the next put", m.put("v1/small", "data"), 200, "")
}

func TestConfig(t *testing.T) {
	for name, change := range map[string]func(c *worm.Config){
		"no directory":      func(c *worm.Config) { c.Dir = "" },
		"bad bucket":        func(c *worm.Config) { c.Bucket = "a/b" },
		"no writer":         func(c *worm.Config) { c.Writer = worm.KeyPair{} },
		"weak secret":       func(c *worm.Config) { c.Reader.SecretKey = "short" },
		"same access key":   func(c *worm.Config) { c.Reader.AccessKey = c.Writer.AccessKey },
		"same secret":       func(c *worm.Config) { c.Reader.SecretKey = c.Writer.SecretKey },
		"negative quota":    func(c *worm.Config) { c.QuotaBytes = -1 },
		"directory is file": func(c *worm.Config) { c.Dir = filepath.Join(c.Dir, "file"); os.WriteFile(c.Dir, nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			c := config(t.TempDir())
			change(&c)
			if s, err := worm.New(c); err == nil {
				s.Close()
				t.Error("accepted")
			}
		})
	}
	m := start(t, nil)
	if s, err := worm.New(config(m.dir)); err == nil {
		s.Close()
		t.Error("two servers share a directory")
	}
}
