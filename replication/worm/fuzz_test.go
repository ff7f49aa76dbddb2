package worm_test

import (
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/replication/buckettest"
	"holdfast/replication/worm"
)

// tree returns the content of every file below dir.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		out[p] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// FuzzRouter sends requests with good signatures. Whatever they are, an object that is there stays as it is, the reader
// changes nothing, the writer reads nothing, and nothing appears outside of the objects and uploads.
func FuzzRouter(f *testing.F) {
	for _, path := range []string{"/acme-code/v1/secret", "/acme-code/v1/new", "/acme-code", "/", "//acme-code/x", "/acme-code//", "/acme-code/../x"} {
		for _, method := range []string{"GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS"} {
			f.Add(method, path, "", "", "", "body", true)
		}
	}
	for _, query := range []string{"uploads=", "uploadId=0", "uploadId=&partNumber=1", "delete=", "versions=", "versionId=null",
		"list-type=2&prefix=v1", "policy", "acl", "tagging", "uploads&delete", "list-type=2&X-Amz-Signature=0", "a;b", "%zz"} {
		f.Add("POST", "/acme-code/v1/secret", query, "", "", "<x/>", true)
		f.Add("DELETE", "/acme-code", query, "", "", "", true)
		f.Add("GET", "/acme-code", query, "", "", "", false)
	}
	f.Add("PUT", "/acme-code/v1/new", "", "X-Amz-Copy-Source", "/acme-code/v1/secret", "", true)
	f.Add("PUT", "/acme-code/v1/new", "", "Content-Encoding", "aws-chunked", "4\r\nbody\r\n0\r\n\r\n", true)
	f.Add("PUT", "/acme-code/v1/new", "", "X-Amz-Decoded-Content-Length", "1", "body", true)
	f.Add("GET", "/acme-code/v1/secret", "", "Range", "bytes=-9999999999", "", false)

	const secret = "nobody but the reader sees this"
	f.Fuzz(func(t *testing.T, method, path, query, header, value, body string, asWriter bool) {
		base := "http://mirror.test"
		key := reader
		if asWriter {
			key = writer
		}
		dir := t.TempDir()
		server, err := worm.New(config(dir))
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		e := buckettest.Endpoint{URL: base, Region: "us-east-1", Bucket: bucket}
		send := func(key buckettest.Key, raw buckettest.Raw) *httptest.ResponseRecorder {
			req := e.Request(t, key, raw)
			w := httptest.NewRecorder()
			server.ServeHTTP(w, req)
			return w
		}
		if w := send(writer, buckettest.Raw{Method: "PUT", Path: "/" + bucket + "/v1/secret", Body: []byte(secret)}); w.Code != 200 {
			t.Fatal(w.Code, w.Body)
		}
		before := tree(t, dir)
		raw := buckettest.Raw{Method: method, Path: path, Query: query, Body: []byte(body)}
		if header != "" {
			raw.Header = http.Header{header: {value}}
		}
		if _, err := http.NewRequest(method, base+"/?"+query, nil); err != nil || !strings.HasPrefix(path, "/") || strings.ContainsAny(header+value, "\r\n") {
			return
		}
		w := send(key, raw)
		after := tree(t, dir)
		if asWriter && strings.Contains(w.Body.String(), secret) {
			t.Error("the writer read an object")
		}
		if !asWriter && !maps.Equal(before, after) {
			t.Error("the reader changed something")
		}
		for p, data := range before {
			if after[p] != data {
				t.Errorf("%s changed", p)
			}
		}
		for p := range after {
			rel, _ := filepath.Rel(dir, p)
			if top, _, _ := strings.Cut(rel, "/"); top != "objects" && top != "uploads" && top != "lock" {
				t.Errorf("%s appeared", rel)
			}
		}
	})
}
