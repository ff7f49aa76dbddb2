package buckettest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/replication"
)

// Key is an S3 credential.
type Key struct{ Access, Secret string }

// Endpoint sends raw requests to an S3 endpoint, signed by an implementation of signature V4 that has nothing in common
// with the clients and servers under test.
//
// Source: AWS, "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)".
type Endpoint struct {
	URL    string // scheme and host
	Region string
	Bucket string
	Client *http.Client // http.DefaultClient if nil

	Writer, Reader Key
	// OverwriteAllowed says that a put of a taken key makes a new version, as on all providers whose policies cannot
	// forbid it.
	OverwriteAllowed bool
}

// Raw is a request to an Endpoint. The zero value asks for the list of buckets.
type Raw struct {
	Method string // GET if empty
	Path   string // with the leading slash, not escaped
	Query  string // encoded
	Header http.Header
	Body   []byte
	// Sum is the value of x-amz-content-sha256, by default the hash of Body.
	Sum string
	// Time is when the request is signed, by default now.
	Time time.Time
	// Mangle changes the request after it was signed.
	Mangle func(r *http.Request)
}

// Answer is the response to a Raw request; Code is the S3 error's.
type Answer struct {
	Status int
	Code   string
	Header http.Header
	Body   []byte
}

// Do signs and sends a request.
func (e Endpoint) Do(t testing.TB, key Key, raw Raw) Answer {
	t.Helper()
	req := e.Request(t, key, raw)
	client := e.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s?%s: %v", raw.Method, raw.Path, raw.Query, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s?%s: %v", raw.Method, raw.Path, raw.Query, err)
	}
	var s3err struct{ Code string }
	if resp.StatusCode >= 300 && len(body) > 0 {
		xml.Unmarshal(body, &s3err)
	}
	return Answer{Status: resp.StatusCode, Code: s3err.Code, Header: resp.Header, Body: body}
}

// Request returns the signed request.
func (e Endpoint) Request(t testing.TB, key Key, raw Raw) *http.Request {
	t.Helper()
	base, err := url.Parse(e.URL)
	if err != nil {
		t.Fatal(err)
	}
	u := &url.URL{Scheme: base.Scheme, Host: base.Host, Path: raw.Path, RawPath: awsEscape(raw.Path, "/"), RawQuery: raw.Query}
	method := raw.Method
	if method == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(t.Context(), method, u.String(), bytes.NewReader(raw.Body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range raw.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	sign(req, key, e.Region, raw)
	if raw.Mangle != nil {
		raw.Mangle(req)
	}
	return req
}

func sign(req *http.Request, key Key, region string, raw Raw) {
	when := raw.Time
	if when.IsZero() {
		when = time.Now()
	}
	sum := raw.Sum
	if sum == "" {
		hash := sha256.Sum256(raw.Body)
		sum = hex.EncodeToString(hash[:])
	}
	stamp, day := when.UTC().Format("20060102T150405Z"), when.UTC().Format("20060102")
	req.Header.Set("X-Amz-Date", stamp)
	req.Header.Set("X-Amz-Content-Sha256", sum)

	names := []string{"host"}
	for name := range req.Header {
		names = append(names, strings.ToLower(name))
	}
	slices.Sort(names)
	var canonical strings.Builder
	for _, name := range names {
		value := req.URL.Host
		if name != "host" {
			value = strings.Join(req.Header.Values(name), ",")
		}
		canonical.WriteString(name + ":" + strings.TrimSpace(value) + "\n")
	}
	signed := strings.Join(names, ";")
	request := sha256.Sum256([]byte(strings.Join([]string{
		req.Method, awsEscape(raw.Path, "/"), canonicalQuery(raw.Query), canonical.String(), signed, sum}, "\n")))
	scope := day + "/" + region + "/s3/aws4_request"
	mac := []byte("AWS4" + key.Secret)
	for _, part := range []string{day, region, "s3", "aws4_request",
		"AWS4-HMAC-SHA256\n" + stamp + "\n" + scope + "\n" + hex.EncodeToString(request[:])} {
		h := hmac.New(sha256.New, mac)
		h.Write([]byte(part))
		mac = h.Sum(nil)
	}
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+key.Access+"/"+scope+
		", SignedHeaders="+signed+", Signature="+hex.EncodeToString(mac))
}

func canonicalQuery(query string) string {
	values, err := url.ParseQuery(query)
	if err != nil {
		return query
	}
	var pairs []string
	for name, vs := range values {
		for _, v := range vs {
			pairs = append(pairs, awsEscape(name, "")+"="+awsEscape(v, ""))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

// awsEscape is AWS's UriEncode, with the characters in keep left as they are.
func awsEscape(s, keep string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(plain+keep, s[i]) >= 0 {
			b.WriteByte(s[i])
		} else {
			b.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{s[i]})))
		}
	}
	return b.String()
}

// writerMayNot and readerMayNot are requests that must change nothing. KEY stands for a key that exists.
var writerMayNot = []Raw{
	{Method: "DELETE", Path: "KEY"},
	{Method: "DELETE", Path: "KEY", Query: "versionId=null"},
	{Method: "GET", Path: "KEY"},
	{Method: "HEAD", Path: "KEY"},
	{Method: "GET", Path: "KEY", Query: "versionId=null"},
	{Method: "GET", Path: "KEY", Query: "acl"},
	{Method: "PUT", Path: "KEY", Query: "acl", Header: http.Header{"X-Amz-Acl": {"public-read"}}},
	{Method: "PUT", Path: "KEY", Query: "retention", Body: []byte("<Retention><Mode>GOVERNANCE</Mode></Retention>")},
	{Method: "PUT", Path: "KEY", Query: "legal-hold", Body: []byte("<LegalHold><Status>OFF</Status></LegalHold>")},
	{Method: "PUT", Path: "KEY", Query: "tagging", Body: []byte("<Tagging><TagSet></TagSet></Tagging>")},
	{Method: "GET", Path: "BUCKET"},
	{Method: "GET", Path: "BUCKET", Query: "list-type=2"},
	{Method: "GET", Path: "BUCKET", Query: "versions="},
	{Method: "GET", Path: "BUCKET", Query: "policy="},
	{Method: "PUT", Path: "BUCKET", Query: "policy=", Body: []byte("{")},
	{Method: "PUT", Path: "BUCKET", Query: "acl=", Body: []byte("<x/>")},
	{Method: "PUT", Path: "BUCKET", Query: "versioning=", Body: []byte("<VersioningConfiguration/>")},
	{Method: "PUT", Path: "BUCKET", Query: "object-lock=", Body: []byte("<ObjectLockConfiguration/>")},
	{Method: "PUT", Path: "BUCKET", Query: "lifecycle=", Body: []byte("<LifecycleConfiguration/>")},
	{Method: "PUT", Path: "BUCKET", Query: "replication=", Body: []byte("<ReplicationConfiguration/>")},
	{Method: "DELETE", Path: "BUCKET"},
	{Method: "DELETE", Path: "BUCKET", Query: "policy="},
	{Method: "DELETE", Path: "BUCKET", Query: "lifecycle="},
}

var readerMayNot = []Raw{
	{Method: "PUT", Path: "KEY", Body: []byte("other")},
	{Method: "PUT", Path: "NEW", Body: []byte("other")},
	{Method: "POST", Path: "NEW", Query: "uploads="},
	{Method: "DELETE", Path: "KEY"},
	{Method: "DELETE", Path: "KEY", Query: "versionId=null"},
	{Method: "DELETE", Path: "BUCKET"},
	{Method: "PUT", Path: "BUCKET", Query: "policy=", Body: []byte("{")},
	{Method: "PUT", Path: "BUCKET", Query: "versioning=", Body: []byte("<VersioningConfiguration/>")},
	{Method: "PUT", Path: "BUCKET", Query: "lifecycle=", Body: []byte("<LifecycleConfiguration/>")},
}

// RunDenied sends what an attacker with the mirror's credentials would, and makes sure that every request is refused
// and that afterwards the objects are what they were.
func (e Endpoint) RunDenied(t *testing.T, w, r replication.Bucket) {
	key, data := "v1/denied/"+hex.EncodeToString(noise(6)), []byte("stays as it is")
	if err := w.Put(t.Context(), key, bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	expand := func(raw Raw) Raw {
		raw.Path = strings.NewReplacer(
			"KEY", "/"+e.Bucket+"/"+key, "NEW", "/"+e.Bucket+"/"+key+"-new", "BUCKET", "/"+e.Bucket).Replace(raw.Path)
		return raw
	}
	for who, raws := range map[string][]Raw{"writer": writerMayNot, "reader": readerMayNot} {
		cred := map[string]Key{"writer": e.Writer, "reader": e.Reader}[who]
		for _, raw := range append(raws, e.copies(key)...) {
			if got := e.Do(t, cred, expand(raw)); got.Status < 400 {
				t.Errorf("%s: %s %s?%s: %d %s", who, raw.Method, raw.Path, raw.Query, got.Status, got.Body)
			}
		}
		if got := e.Do(t, cred, e.multiDelete(key)); got.Status < 300 && !bytes.Contains(got.Body, []byte("AccessDenied")) {
			t.Errorf("%s: multi-delete: %d %s", who, got.Status, got.Body)
		}
	}
	if !e.OverwriteAllowed {
		got := e.Do(t, e.Writer, expand(Raw{Method: "PUT", Path: "KEY", Body: []byte("other")}))
		if got.Status != http.StatusPreconditionFailed {
			t.Errorf("overwrite: %d %s", got.Status, got.Body)
		}
	}
	e.wantUnchanged(t, r, key, data)
}

func (e Endpoint) copies(key string) []Raw {
	source := http.Header{"X-Amz-Copy-Source": {"/" + e.Bucket + "/" + key}}
	if e.OverwriteAllowed {
		return []Raw{{Method: "PUT", Path: "NEW", Header: source}} // reading the source must be refused
	}
	return []Raw{{Method: "PUT", Path: "NEW", Header: source}, {Method: "PUT", Path: "KEY", Header: source}}
}

func (e Endpoint) multiDelete(key string) Raw {
	body := []byte("<Delete><Object><Key>" + key + "</Key></Object></Delete>")
	sum := sha256.Sum256(body)
	return Raw{Method: "POST", Path: "/" + e.Bucket, Query: "delete=", Body: body, Header: http.Header{
		"X-Amz-Checksum-Sha256": {base64.StdEncoding.EncodeToString(sum[:])}}}
}

func (e Endpoint) wantUnchanged(t *testing.T, r replication.Bucket, key string, data []byte) {
	vs, err := r.Versions(t.Context(), key)
	if err != nil || len(vs) != 1 || vs[0].Deleted {
		t.Fatalf("versions: %+v, %v; want the one that was put", vs, err)
	}
	body, err := r.Get(t.Context(), key, vs[0].Version)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the object is %q now, %v", got, err)
	}
	if vs, err := r.Versions(t.Context(), key+"-new"); err != nil || len(vs) > 0 {
		t.Errorf("a refused request stored something: %+v, %v", vs, err)
	}
}
