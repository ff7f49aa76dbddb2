package worm

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/signature"
)

// refusal is an S3 error.
type refusal struct {
	status  int
	code    string
	message string
}

func denied(message string) *refusal { return &refusal{http.StatusForbidden, "AccessDenied", message} }

func invalid(message string) *refusal {
	return &refusal{http.StatusBadRequest, "InvalidRequest", message}
}

func notOffered(message string) *refusal {
	return &refusal{http.StatusNotImplemented, "NotImplemented", message}
}

// bodyKind says which body an operation has.
type bodyKind int

const (
	noBody bodyKind = iota
	xmlBody
	dataBody
)

// maxXMLBytes bounds the list of parts in a completion; 10,000 of them take about 1.7 MB.
const maxXMLBytes = 4 << 20

// operation is one S3 call that somebody may make. Its query must hold all of required and nothing but those and
// optional, each once.
type operation struct {
	name     string
	role     string
	method   string
	onKey    bool
	required []string
	optional []string
	body     bodyKind
}

// operations is all that the endpoint does. What is not here is denied.
var operations = []operation{
	{name: "PutObject", role: "writer", method: "PUT", onKey: true, body: dataBody},
	{name: "CreateMultipartUpload", role: "writer", method: "POST", onKey: true, required: []string{"uploads"}},
	{name: "UploadPart", role: "writer", method: "PUT", onKey: true, required: []string{"partNumber", "uploadId"},
		body: dataBody},
	{name: "CompleteMultipartUpload", role: "writer", method: "POST", onKey: true, required: []string{"uploadId"},
		body: xmlBody},
	{name: "AbortMultipartUpload", role: "writer", method: "DELETE", onKey: true, required: []string{"uploadId"}},
	{name: "GetObject", role: "reader", method: "GET", onKey: true, optional: []string{"versionId"}},
	{name: "HeadObject", role: "reader", method: "HEAD", onKey: true, optional: []string{"versionId"}},
	{name: "ListObjectsV2", role: "reader", method: "GET", required: []string{"list-type"}, optional: []string{
		"prefix", "start-after", "continuation-token", "max-keys", "encoding-type", "fetch-owner", "delimiter"}},
	{name: "ListObjectVersions", role: "reader", method: "GET", required: []string{"versions"}, optional: []string{
		"prefix", "key-marker", "version-id-marker", "max-keys", "encoding-type", "delimiter"}},
	{name: "GetBucketLocation", role: "reader", method: "GET", required: []string{"location"}},
	{name: "HeadBucket", role: "reader", method: "HEAD"},
}

// parameters checks the values of the query; parameters without a check may have any.
var parameters = map[string]func(value string) bool{
	"uploads":       isEmpty,
	"versions":      isEmpty,
	"location":      isEmpty,
	"delimiter":     isEmpty, // no common prefixes here
	"list-type":     func(v string) bool { return v == "2" },
	"versionId":     func(v string) bool { return v == "null" }, // an object's only version
	"uploadId":      func(v string) bool { return len(v) == 32 && strings.Trim(v, "0123456789abcdef") == "" },
	"partNumber":    func(v string) bool { n, err := strconv.Atoi(v); return err == nil && n >= 1 && n <= 10_000 },
	"encoding-type": func(v string) bool { return v == "" || v == "url" },
	"max-keys":      func(v string) bool { n, err := strconv.Atoi(v); return err == nil && n >= 0 },
}

func isEmpty(v string) bool { return v == "" }

// headers are the x-amz headers that a request may have, with the values that are allowed; nil: any. Others would ask
// for something that is not done here (a lock, a copy, tags), so they are refused and not ignored.
var headers = map[string][]string{
	"X-Amz-Date":                   nil,
	"X-Amz-Content-Sha256":         nil,
	"X-Amz-Checksum-Sha256":        nil,
	"X-Amz-Checksum-Algorithm":     {"SHA256"},
	"X-Amz-Sdk-Checksum-Algorithm": {"SHA256"},
	"X-Amz-Checksum-Mode":          {"ENABLED"},
	"X-Amz-User-Agent":             nil,
}

// emptySHA256 is the hash of no bytes.
var emptySHA256 = sha256.Sum256(nil)

// request is what the router made of an HTTP request.
type request struct {
	role  *role
	op    *operation
	key   string
	query url.Values
	sum   [sha256.Size]byte // of the body
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q, no := s.route(r)
	if no == nil {
		no = s.serve(w, r, q)
	}
	if no == nil {
		return
	}
	if s.refusal.Allow() {
		s.cfg.Log.Warn("mirror: refused a request", "remote", r.RemoteAddr, "method", r.Method,
			"path", clip(r.URL.Path), "query", clip(r.URL.RawQuery), "code", no.code, "err", no.message)
	}
	no.write(w, r)
}

// clip bounds what a stranger can write into the log.
func clip(s string) string { return s[:min(len(s), 200)] }

// route decides whether the request is allowed; it reads no body.
func (s *Server) route(r *http.Request) (*request, *refusal) {
	if auth := r.Header["Authorization"]; len(auth) != 1 || !strings.HasPrefix(auth[0], "AWS4-HMAC-SHA256 ") {
		return nil, denied("a request must be signed with AWS signature version 4 in its Authorization header")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, invalid("the query cannot be parsed")
	}
	who, no := s.authenticate(r)
	if no != nil {
		return nil, no
	}
	q := &request{role: who, query: query}
	if q.op, q.key = s.match(r, query); q.op == nil || q.op.role != who.name {
		return nil, denied("this key may not do that; nothing on this mirror can be deleted or changed")
	}
	if q.op.onKey {
		if err := checkKey(q.key); err != nil {
			return nil, invalid(err.Error())
		}
	}
	if no := q.checkHeaders(r); no != nil {
		return nil, no
	}
	return q, q.checkBody(r, s.cfg.MaxBodyBytes)
}

// authenticate verifies the signature. Every x-amz header is covered by it, and with x-amz-content-sha256 the body.
func (s *Server) authenticate(r *http.Request) (*role, *refusal) {
	var who *role
	code := signature.V4SignVerifyWithLookup(r, func(accessKey string) (string, bool) {
		if who = s.keys[accessKey]; who == nil {
			return "", false
		}
		return who.secret, true
	})
	if code != signature.ErrNone {
		e := signature.GetAPIError(code)
		return nil, &refusal{e.HTTPStatusCode, e.Code, e.Description}
	}
	if region := s.cfg.Region; region != "" && !strings.Contains(r.Header.Get("Authorization"), "/"+region+"/s3/aws4_request") {
		return nil, &refusal{http.StatusBadRequest, "AuthorizationHeaderMalformed", "the region must be " + region}
	}
	return who, nil
}

// match finds the operation; nil if there is none.
func (s *Server) match(r *http.Request, query url.Values) (*operation, string) {
	path, ok := strings.CutPrefix(r.URL.Path, "/"+s.cfg.Bucket)
	if !ok || path != "" && path[0] != '/' {
		return nil, ""
	}
	key := strings.TrimPrefix(path, "/")
	query.Del("x-id") // the AWS SDKs name the operation, for logs
	for i := range operations {
		if op := &operations[i]; op.method == r.Method && op.onKey == (key != "") && op.accepts(query) {
			return op, key
		}
	}
	return nil, ""
}

func (op *operation) accepts(query url.Values) bool {
	for _, name := range op.required {
		if !query.Has(name) {
			return false
		}
	}
	for name, values := range query {
		if !slices.Contains(op.required, name) && !slices.Contains(op.optional, name) || len(values) != 1 {
			return false
		}
		if check := parameters[name]; check != nil && !check(values[0]) {
			return false
		}
	}
	return true
}

func (q *request) checkHeaders(r *http.Request) *refusal {
	for name, values := range r.Header {
		if !strings.HasPrefix(name, "X-Amz-") {
			continue
		}
		allowed, ok := headers[name]
		if !ok || len(values) != 1 || allowed != nil && !slices.Contains(allowed, values[0]) {
			return notOffered("the header " + strings.ToLower(name) + " is not supported here")
		}
	}
	return nil
}

// checkBody checks what is announced of the body: a length that is known and bounded, and its hash.
func (q *request) checkBody(r *http.Request, limit int64) *refusal {
	switch q.op.body {
	case noBody:
		limit = 0
	case xmlBody:
		limit = maxXMLBytes
	}
	if r.ContentLength < 0 || len(r.TransferEncoding) > 0 {
		return &refusal{http.StatusLengthRequired, "MissingContentLength", "the length of the body must be announced"}
	}
	if r.ContentLength > limit {
		return &refusal{http.StatusBadRequest, "EntityTooLarge",
			"the body may have at most " + strconv.FormatInt(limit, 10) + " bytes"}
	}
	switch announced := r.Header.Get("X-Amz-Content-Sha256"); {
	case parseSum(q.sum[:], announced):
	case q.op.body == noBody && (announced == "" || announced == "UNSIGNED-PAYLOAD"):
		q.sum = emptySHA256
	default:
		return invalid("x-amz-content-sha256 must be the SHA-256 of the body; unsigned and streaming payloads are refused")
	}
	if q.op.body != dataBody {
		return nil // in a completion, the checksum is the object's
	}
	if sum := r.Header.Get("X-Amz-Checksum-Sha256"); sum != "" && sum != base64.StdEncoding.EncodeToString(q.sum[:]) {
		return &refusal{http.StatusBadRequest, "BadDigest", "x-amz-checksum-sha256 and x-amz-content-sha256 differ"}
	}
	return nil
}

// parseSum decodes the 64 hexadecimal digits of a hash.
func parseSum(sum []byte, digits string) bool {
	if len(digits) != hex.EncodedLen(len(sum)) {
		return false
	}
	_, err := hex.Decode(sum, []byte(digits))
	return err == nil
}

// serve hands an allowed request to the instance of its key.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, q *request) *refusal {
	select {
	case q.role.slots <- struct{}{}:
		defer func() { <-q.role.slots }()
	default:
		return &refusal{http.StatusServiceUnavailable, "SlowDown", "too many requests at once"}
	}
	d := deadlines{http.NewResponseController(w), s.cfg.IdleTimeout}
	defer d.clear()
	ctx := context.WithValue(r.Context(), deadlinesKey{}, d)
	b := &body{
		ctx: ctx, src: r.Body, hash: sha256.New(), want: q.sum, size: r.ContentLength,
		rate: q.role.rate, idle: d.read, quota: s.store.quota,
	}
	if q.op.body == dataBody {
		if !s.store.quota.take(blocks(b.size)) {
			return &refusal{http.StatusInsufficientStorage, "QuotaExceeded",
				"the quota of " + strconv.FormatInt(s.cfg.QuotaBytes, 10) + " bytes is used up"}
		}
		b.promise = blocks(b.size)
		defer b.release()
	}
	if b.rate != nil {
		if err := b.rate.WaitN(ctx, blockBytes); err != nil {
			return &refusal{http.StatusServiceUnavailable, "SlowDown", "the request was given up"}
		}
	}
	q.role.handler.ServeHTTP(w, q.rebuild(r, context.WithValue(ctx, bodyKey{}, b), b))
	return nil
}

// rebuild makes the request that gofakes3 sees, from nothing but what was checked. It has no conditions: objects are
// write-once anyway, and identical bytes are to be accepted even where the client asks for a new key.
func (q *request) rebuild(r *http.Request, ctx context.Context, b *body) *http.Request {
	q.query.Del("versionId")
	q.query.Del("fetch-owner") // gofakes3 has the same owner everywhere, so that mirrors would look related
	h := http.Header{"Content-Length": {strconv.FormatInt(b.size, 10)}}
	for _, name := range []string{"Range", "Content-Md5"} {
		if v := r.Header.Get(name); v != "" {
			h.Set(name, v)
		}
	}
	var rest io.ReadCloser = b
	if q.op.body == noBody {
		rest = http.NoBody
	}
	return (&http.Request{
		Method: r.Method, URL: &url.URL{Path: r.URL.Path, RawQuery: q.query.Encode()}, Header: h, Body: rest,
		ContentLength: b.size, Host: r.Host, RemoteAddr: r.RemoteAddr, Proto: r.Proto, ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
}

func (no *refusal) write(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/xml")
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close") // rather than read a body that nobody wants
	}
	if no.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(no.status)
	if r.Method == http.MethodHead {
		return
	}
	io.WriteString(w, xml.Header)
	xml.NewEncoder(w).Encode(struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}{Code: no.code, Message: no.message})
}

var _ gofakes3.MultipartBackend = (*writeBackend)(nil)
