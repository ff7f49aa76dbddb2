package s3_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/replication"
	"holdfast/replication/s3"
)

// TestErrors: only an answer that leaves no doubt becomes a sentinel, and no request is sent twice.
func TestErrors(t *testing.T) {
	sentinels := []error{replication.ErrExists, replication.ErrNotFound, replication.ErrDenied, replication.ErrUnsupported}
	ops := map[string]func(ctx context.Context, b replication.Bucket) error{
		"put": func(ctx context.Context, b replication.Bucket) error {
			return b.Put(ctx, "k", strings.NewReader("data"), 4)
		},
		"get": func(ctx context.Context, b replication.Bucket) error {
			_, err := b.Get(ctx, "k", "")
			return err
		},
		"upload": func(ctx context.Context, b replication.Bucket) error {
			_, err := b.Upload(ctx, "k")
			return err
		},
		"list": func(ctx context.Context, b replication.Bucket) error {
			for _, err := range b.List(ctx, "", "") {
				return err
			}
			return nil
		},
	}
	for _, test := range []struct {
		op     string
		status int
		code   string
		want   error // nil: none of the sentinels
	}{
		{"put", 412, "PreconditionFailed", replication.ErrExists},
		{"put", 403, "AccessDenied", replication.ErrDenied},
		{"put", 403, "SignatureDoesNotMatch", replication.ErrDenied},
		{"put", 501, "NotImplemented", replication.ErrUnsupported},
		{"put", 405, "MethodNotAllowed", replication.ErrUnsupported},
		{"put", 409, "ConditionalRequestConflict", nil},
		{"put", 404, "NoSuchBucket", nil},
		{"put", 400, "BadDigest", nil},
		{"put", 500, "InternalError", nil},
		{"put", 503, "SlowDown", nil},
		{"put", 503, "", nil},
		{"put", 429, "TooManyRequests", nil},
		{"put", 307, "TemporaryRedirect", nil},
		{"put", 204, "", nil},
		{"upload", 403, "AccessDenied", replication.ErrDenied},
		{"upload", 200, "", nil}, // names no upload
		{"get", 404, "NoSuchKey", replication.ErrNotFound},
		{"get", 404, "NoSuchVersion", replication.ErrNotFound},
		{"get", 404, "NoSuchBucket", nil},
		{"get", 405, "MethodNotAllowed", replication.ErrNotFound},
		{"get", 412, "PreconditionFailed", nil},
		{"get", 403, "AccessDenied", replication.ErrDenied},
		{"get", 503, "SlowDown", nil},
		{"list", 404, "NoSuchBucket", nil},
		{"list", 403, "AccessDenied", replication.ErrDenied},
		{"list", 500, "InternalError", nil},
	} {
		t.Run(fmt.Sprintf("%s %d %s", test.op, test.status, test.code), func(t *testing.T) {
			var requests atomic.Int32
			e := serve(t, func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				io.Copy(io.Discard, r.Body)
				w.Header().Set("Location", "/elsewhere")
				if test.code == "" {
					w.WriteHeader(test.status)
					return
				}
				fail(w, test.status, test.code)
			})
			err := ops[test.op](t.Context(), e.bucket(t, e.config(e.Writer)))
			if err == nil {
				t.Fatal("no error")
			}
			for _, s := range sentinels {
				if errors.Is(err, s) != (s == test.want) {
					t.Errorf("%v: is %q: %v", err, s, errors.Is(err, s))
				}
			}
			if n := requests.Load(); n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// TestHeaders: what goes over the wire is signed, hashed and conditional.
func TestHeaders(t *testing.T) {
	var mu sync.Mutex
	got := map[string]*http.Request{}
	e := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		sum := sha256.Sum256(body)
		if r.Method != "POST" || r.URL.Query().Has("uploadId") {
			if want := hex.EncodeToString(sum[:]); r.Header.Get("X-Amz-Content-Sha256") != want {
				t.Errorf("%s %s: x-amz-content-sha256 is %q; want %s", r.Method, r.URL, r.Header.Get("X-Amz-Content-Sha256"), want)
			}
		}
		if r.Method == "PUT" && r.Header.Get("X-Amz-Checksum-Sha256") != base64.StdEncoding.EncodeToString(sum[:]) {
			t.Errorf("%s %s: wrong checksum %q", r.Method, r.URL, r.Header.Get("X-Amz-Checksum-Sha256"))
		}
		if len(r.TransferEncoding) > 0 || r.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s %s: chunked", r.Method, r.URL)
		}
		q := r.URL.Query()
		switch {
		case q.Has("uploads"):
			got["create"] = r
			w.Write([]byte("<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"))
		case q.Has("partNumber"):
			got["part"] = r
			w.Header().Set("ETag", `"x"`)
		case q.Has("uploadId"):
			got["complete"] = r
			if !bytes.Contains(body, []byte("<ChecksumSHA256>")) {
				t.Errorf("complete: no checksums in %s", body)
			}
			w.Write([]byte("<CompleteMultipartUploadResult><Bucket>b</Bucket></CompleteMultipartUploadResult>"))
		default:
			got["put"] = r
		}
	})
	for _, conditional := range []bool{true, false} {
		clear(got)
		c := e.config(e.Writer)
		c.Conditions = s3.Conditions{Put: conditional, Complete: conditional}
		b := e.bucket(t, c)
		if err := b.Put(t.Context(), "k", strings.NewReader("data"), 4); err != nil {
			t.Fatal(err)
		}
		u, err := b.Upload(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		u.Write([]byte("data"))
		if err := u.Complete(t.Context()); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]bool{"put": conditional, "complete": conditional, "part": false, "create": false} {
			if has := got[name].Header.Get("If-None-Match") == "*"; has != want {
				t.Errorf("%s: conditional is %v; want %v", name, has, want)
			}
		}
		if got["create"].Header.Get("X-Amz-Checksum-Algorithm") != "SHA256" {
			t.Error("create announces no checksum")
		}
	}
}

// TestLock: the lock goes with what creates an object.
func TestLock(t *testing.T) {
	var got []string
	e := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		got = append(got, r.Header.Get("X-Amz-Object-Lock-Mode")+" "+r.Header.Get("X-Amz-Object-Lock-Retain-Until-Date"))
		if r.URL.Query().Has("uploads") {
			w.Write([]byte("<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"))
		}
	})
	c := e.config(e.Writer)
	c.LockDays, c.Now = 90, func() time.Time { return time.Date(2026, 11, 23, 16, 28, 0, 0, time.UTC) }
	b := e.bucket(t, c)
	if err := b.Put(t.Context(), "k", strings.NewReader("data"), 4); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Upload(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	for i, lock := range got {
		if lock != "COMPLIANCE 2027-02-21T16:28:00Z" {
			t.Errorf("request %d: %q", i, lock)
		}
	}
}

// TestSecret: a server that echoes what it was sent, and more, gets nothing into an error.
func TestSecret(t *testing.T) {
	e := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(403)
		fmt.Fprintf(w, "<Error><Code>AccessDenied</Code><Message>you sent a-very-secret-key\n\x1b[31m%s</Message></Error>",
			strings.Repeat("long ", 1000))
	})
	b := e.bucket(t, e.config(e.Writer))
	err := b.Put(t.Context(), "k", strings.NewReader("data"), 4)
	if err == nil || strings.Contains(err.Error(), e.Writer.Secret) || strings.ContainsAny(err.Error(), "\n\x1b") || len(err.Error()) > 1000 {
		t.Errorf("err = %.1500q", err)
	}
	for _, text := range []string{fmt.Sprint(e.config(e.Writer)), fmt.Sprintf("%+v", e.config(e.Writer)), fmt.Sprintf("%#v", e.config(e.Writer))} {
		if strings.Contains(text, e.Writer.Secret) {
			t.Errorf("a printed Config has the secret: %s", text)
		}
	}
}

// TestErrorInside: a completion that answers 200 with an error inside has failed.
func TestErrorInside(t *testing.T) {
	e := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		switch q := r.URL.Query(); {
		case q.Has("uploads"):
			w.Write([]byte("<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"))
		case q.Has("partNumber"):
			w.Header().Set("ETag", `"x"`)
		default:
			w.Write([]byte("<Error><Code>InternalError</Code><Message>no</Message></Error>"))
		}
	})
	u, err := e.bucket(t, e.config(e.Writer)).Upload(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Complete(t.Context()); err == nil {
		t.Error("no error")
	}
}

// TestPartFails: the error of a part comes out of Write or Complete, and Abort still tidies up.
func TestPartFails(t *testing.T) {
	var aborted atomic.Int32
	e := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		switch q := r.URL.Query(); {
		case q.Has("uploads"):
			w.Write([]byte("<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"))
		case q.Get("partNumber") == "2":
			fail(w, 403, "AccessDenied")
		case q.Has("partNumber"):
			w.Header().Set("ETag", `"x"`)
		case r.Method == "DELETE":
			aborted.Add(1)
			w.WriteHeader(204)
		default:
			t.Errorf("%s %s", r.Method, r.URL)
		}
	})
	u, err := e.bucket(t, e.config(e.Writer)).Upload(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, s3.MinPartBytes/2)
	for range 20 {
		if _, err = u.Write(data); err != nil {
			break
		}
	}
	if err == nil {
		err = u.Complete(t.Context())
	}
	if !errors.Is(err, replication.ErrDenied) {
		t.Errorf("err = %v", err)
	}
	if err := u.Complete(t.Context()); !errors.Is(err, replication.ErrDenied) {
		t.Errorf("complete: %v", err)
	}
	if err := u.Abort(t.Context()); err != nil || aborted.Load() != 1 {
		t.Errorf("abort: %v, %d requests", err, aborted.Load())
	}
}

// TestEarlyAnswer: a server that refuses before it has read the body does not leave the client reading it.
func TestEarlyAnswer(t *testing.T) {
	e := serve(t, func(w http.ResponseWriter, r *http.Request) { fail(w, 403, "AccessDenied") })
	b := e.bucket(t, e.config(e.Writer))
	src := &guarded{ReadSeeker: bytes.NewReader(make([]byte, 8<<20)), t: t}
	err := b.Put(t.Context(), "k", src, 8<<20)
	src.over.Store(true)
	if err == nil {
		t.Error("no error")
	}
}

type guarded struct {
	io.ReadSeeker
	t    *testing.T
	over atomic.Bool
}

func (g *guarded) Read(p []byte) (int, error) {
	if g.over.Load() {
		g.t.Error("the body is read after Put has returned")
	}
	return g.ReadSeeker.Read(p)
}

// TestNoVersions: a server that cannot list versions has one version of each key.
func TestNoVersions(t *testing.T) {
	e := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Query().Has("versions"):
			fail(w, 501, "NotImplemented")
		case r.Method == "HEAD" && strings.HasSuffix(r.URL.Path, "/k"):
			w.Header().Set("Last-Modified", "Mon, 23 Nov 2026 16:28:00 GMT")
			w.Header().Set("Content-Length", "4")
		default:
			w.WriteHeader(404)
		}
	})
	b := e.bucket(t, e.config(e.Reader))
	vs, err := b.Versions(t.Context(), "k")
	if err != nil || len(vs) != 1 || vs[0].Key != "k" || vs[0].Size != 4 || vs[0].Version != "" || vs[0].Modified.IsZero() {
		t.Errorf("versions: %+v, %v", vs, err)
	}
	if vs, err := b.Versions(t.Context(), "missing"); err != nil || len(vs) != 0 {
		t.Errorf("versions of a missing key: %+v, %v", vs, err)
	}
}

// TestHostileListing: pages without end, keys out of order, and keys that were not asked for.
func TestHostileListing(t *testing.T) {
	var body string
	var requests atomic.Int32
	e := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		io.WriteString(w, body)
	})
	b := e.bucket(t, e.config(e.Reader))
	list := func(after string) (keys []string, err error) {
		for o, e := range b.List(t.Context(), "p/", after) {
			if err = e; err == nil {
				keys = append(keys, o.Key)
			}
		}
		return keys, err
	}
	const object = "<Contents><Key>%s</Key><LastModified>2026-11-23T16:28:00Z</LastModified></Contents>"

	body = "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken></ListBucketResult>"
	if keys, err := list(""); err == nil || len(keys) > 0 {
		t.Errorf("endless: %q, %v", keys, err)
	}
	body = "<ListVersionsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker></ListVersionsResult>"
	if vs, err := b.Versions(t.Context(), "k"); err == nil {
		t.Errorf("endless: %v", vs)
	}
	if n := requests.Load(); n > 2500 {
		t.Errorf("%d requests", n)
	}
	body = "<ListBucketResult>" + fmt.Sprintf(object+object, "p/b", "p/a") + "</ListBucketResult>"
	if keys, err := list(""); err == nil || len(keys) != 1 {
		t.Errorf("out of order: %q, %v", keys, err)
	}
	body = "<ListBucketResult>" + fmt.Sprintf(object+object+object, "other", "p/a", "p/b") + "</ListBucketResult>"
	if keys, err := list("p/a"); err != nil || len(keys) != 1 || keys[0] != "p/b" {
		t.Errorf("start-after ignored: %q, %v", keys, err)
	}
}

func TestConfig(t *testing.T) {
	good := s3.Config{Endpoint: "https://s3.example.org", Region: "r", Bucket: "acme-code", AccessKey: "k", SecretKey: "s"}
	for name, change := range map[string]func(c *s3.Config){
		"no endpoint":        func(c *s3.Config) { c.Endpoint = "" },
		"no scheme":          func(c *s3.Config) { c.Endpoint = "s3.example.org" },
		"other scheme":       func(c *s3.Config) { c.Endpoint = "ftp://s3.example.org" },
		"plain http":         func(c *s3.Config) { c.Endpoint = "http://s3.example.org" },
		"plain http by name": func(c *s3.Config) { c.Endpoint = "http://localhost.example.org" },
		"a path":             func(c *s3.Config) { c.Endpoint = "https://s3.example.org/bucket" },
		"credentials in URL": func(c *s3.Config) { c.Endpoint = "https://me:hidden@s3.example.org" },
		"not a URL":          func(c *s3.Config) { c.Endpoint = "https://me:hidden@s3.example.org:x y" },
		"no region":          func(c *s3.Config) { c.Region = "" },
		"no bucket":          func(c *s3.Config) { c.Bucket = "" },
		"no access key":      func(c *s3.Config) { c.AccessKey = "" },
		"no secret":          func(c *s3.Config) { c.SecretKey = "" },
		"small parts":        func(c *s3.Config) { c.PartBytes = 1 << 20 },
		"large parts":        func(c *s3.Config) { c.PartBytes = 1 << 30 },
		"many buffers":       func(c *s3.Config) { c.PartBuffers = 5 },
		"negative lock":      func(c *s3.Config) { c.LockDays = -1 },
		"bad checksum":       func(c *s3.Config) { c.Checksum = "crc" },
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			change(&c)
			if _, err := s3.New(c); err == nil || strings.Contains(err.Error(), "hidden") {
				t.Errorf("err = %v", err)
			}
		})
	}
	for _, endpoint := range []string{"https://s3.example.org", "http://127.0.0.1:9000", "http://[::1]:9000", "http://localhost:9000/"} {
		c := good
		c.Endpoint = endpoint
		if _, err := s3.New(c); err != nil {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
}

// BenchmarkPut measures the CPU of a small put, the server's share included.
func BenchmarkPut(b *testing.B) {
	e := serve(b, func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	bucket := e.bucket(b, e.config(e.Writer))
	data := make([]byte, 8<<10)
	for b.Loop() {
		if err := bucket.Put(b.Context(), "v1/x/1/log/1/1", bytes.NewReader(data), int64(len(data))); err != nil {
			b.Fatal(err)
		}
	}
}
