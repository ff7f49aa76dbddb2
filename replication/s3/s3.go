// Package s3 is replication.Bucket on S3, with minio-go; no other package imports it.
//
// Nothing is retried here, and every request says what it carries: the SHA-256 of the body stands in the signature and,
// as locked buckets want one, in a checksum header; nothing is unsigned or chunked. Puts and completions are conditional
// where Probe found that the server enforces it. Errors wrap replication's sentinels where the server said clearly that
// nothing was done; any other error leaves the outcome unknown, a timeout and a 500 alike.
//
// What was observed of real servers, and is relied on or worked around here:
//
//   - minio-go closes the body it is given, rewinds it to its absolute start, and may still read it after the call has
//     returned: bodies are wrapped (body).
//   - It asks for the bucket's location if no region is set, which a writer may not: Region is required.
//   - Its PutObject does not pass a condition on to the completion of a multipart upload, and prefers unsigned and
//     streamed payloads: minio.Core is used, with DisableContentSha256.
//   - Its listings end silently when the context does, and go on for ever if a server keeps sending empty pages.
package s3

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"holdfast/replication"
)

// The bounds of Config.PartBytes: S3 takes no smaller parts, and each upload holds PartBuffers of them in memory.
const (
	MinPartBytes = 5 << 20
	MaxPartBytes = 64 << 20
)

// maxParts is S3's limit.
const maxParts = 10_000

// Conditions are the requests on which a server was found to enforce If-None-Match: *. See Probe.
type Conditions struct {
	Put      bool `json:"put"`      // PutObject
	Complete bool `json:"complete"` // CompleteMultipartUpload
}

// Checksum is the integrity header that goes with every body. The SHA-256 in the signature goes with each anyway.
type Checksum string

// The checksums.
const (
	SHA256 Checksum = "sha256" // x-amz-checksum-sha256, the default
	MD5    Checksum = "md5"    // Content-MD5, for servers that refuse the other
)

// Config is what New needs. Endpoint, Region, Bucket and the keys must be set; the zero value of the rest works.
type Config struct {
	Endpoint string // scheme and host; http on loopback only
	Region   string
	Bucket   string

	AccessKey, SecretKey string

	Conditions Conditions
	Checksum   Checksum
	// LockDays locks each object in COMPLIANCE mode for so many days from now on, 0: the bucket's default rule holds. It
	// is for buckets whose rule fails its probe, and needs the right s3:PutObjectRetention, which a policy can bound by
	// s3:object-lock-remaining-retention-days.
	LockDays int
	// Now is the clock of LockDays, time.Now by default.
	Now func() time.Time
	// PartBytes is the size of an upload's parts, from MinPartBytes, which is the default, to MaxPartBytes.
	PartBytes int
	// PartBuffers is how many parts of an upload are in memory, 3 by default: one is filled while the others are sent.
	// At most 4.
	PartBuffers int
	// PageKeys is the size of a page of a listing, 1,000 by default and at most.
	PageKeys int
	// RootCAs are the certificate authorities to trust, the system's if nil.
	RootCAs *x509.CertPool
	// Transport replaces the HTTP transport, RootCAs included.
	Transport http.RoundTripper
}

// String leaves the secret out.
func (c Config) String() string { return c.Endpoint + "/" + c.Bucket + " as " + c.AccessKey }

// GoString leaves the secret out.
func (c Config) GoString() string { return c.String() }

// Bucket implements replication.Bucket.
type Bucket struct {
	cfg       Config
	host      string
	plain     bool // http
	core      minio.Core
	transport http.RoundTripper
	idle      func()
}

var _ replication.Bucket = (*Bucket)(nil)

// New returns the bucket of cfg. It sends nothing.
func New(cfg Config) (*Bucket, error) {
	u, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	cfg = cfg.withDefaults()
	transport := cfg.Transport
	if transport == nil {
		transport = newTransport(cfg.RootCAs)
	}
	core, err := minio.NewCore(u.Host, &minio.Options{
		Creds:  credentials.NewStaticV4(cfg.AccessKey, cfg.SecretKey, ""),
		Secure: u.Scheme == "https", Transport: pageGuard{transport}, Region: cfg.Region, MaxRetries: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	core.SetAppInfo("holdfast", "1")
	b := &Bucket{cfg: cfg, host: u.Host, plain: u.Scheme == "http", core: *core, transport: transport, idle: func() {}}
	if c, ok := transport.(interface{ CloseIdleConnections() }); ok {
		b.idle = c.CloseIdleConnections
	}
	return b, nil
}

// Close closes the connections that are not in use. The bucket stays usable.
func (b *Bucket) Close() error {
	b.idle()
	return nil
}

func (c Config) withDefaults() Config {
	c.Checksum = cmp.Or(c.Checksum, SHA256)
	c.PartBytes = cmp.Or(c.PartBytes, MinPartBytes)
	c.PartBuffers = cmp.Or(c.PartBuffers, 3)
	c.PageKeys = cmp.Or(c.PageKeys, 1000)
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// check validates cfg; its errors name fields as the configuration file has them.
func (c Config) check() (*url.URL, error) {
	u, err := url.Parse(c.Endpoint)
	switch {
	case c.Endpoint == "":
		return nil, errors.New("no endpoint is set")
	case err != nil:
		return nil, errors.New("the endpoint is not a URL") // err might quote credentials in it
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" ||
		u.Fragment != "" || u.User != nil:
		return nil, errors.New("the endpoint must have the form https://host[:port]")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, fmt.Errorf("endpoint %s: plain http is accepted on loopback only; use https", u.Host)
	case c.Region == "":
		return nil, errors.New("no region is set; without one the client would have to ask for it, which a writer may not")
	case c.Bucket == "":
		return nil, errors.New("no bucket is set")
	case c.AccessKey == "" || c.SecretKey == "":
		return nil, errors.New("no access key or secret key is set")
	case c.Checksum != "" && c.Checksum != SHA256 && c.Checksum != MD5:
		return nil, fmt.Errorf("checksum %q: must be sha256 or md5", c.Checksum)
	case c.PartBytes != 0 && (c.PartBytes < MinPartBytes || c.PartBytes > MaxPartBytes):
		return nil, fmt.Errorf("part size %d: must be from %d to %d", c.PartBytes, MinPartBytes, MaxPartBytes)
	case c.PartBuffers != 0 && (c.PartBuffers < 2 || c.PartBuffers > 4):
		return nil, fmt.Errorf("%d part buffers: must be from 2 to 4", c.PartBuffers)
	case c.LockDays < 0:
		return nil, fmt.Errorf("%d days of lock: must not be negative", c.LockDays)
	case c.PageKeys < 0 || c.PageKeys > 1000:
		return nil, fmt.Errorf("page size %d: must be from 1 to 1000", c.PageKeys)
	}
	return u, nil
}

// loopback reports whether host is this machine and nothing else.
func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// newTransport has no limit on the length of a call: that is the caller's context. HTTP/2 is off, because it sends a
// request again by itself when a server asks for that.
func newTransport(roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:   15 * time.Second,
		ExpectContinueTimeout: time.Second,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       90 * time.Second,
		DisableCompression:    true, // or objects that look compressed would be decompressed
	}
}

// lock makes opts lock the object.
func (c Config) lock(opts *minio.PutObjectOptions) {
	if c.LockDays > 0 {
		opts.Mode, opts.RetainUntilDate = minio.Compliance, c.Now().AddDate(0, 0, c.LockDays)
	}
}

// wrap makes err say what failed where, and what it means.
func (b *Bucket) wrap(op, key string, err error) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf("s3 %s/%s: %s %s", b.host, b.cfg.Bucket, op, key)
	var e minio.ErrorResponse
	if !errors.As(err, &e) {
		return fmt.Errorf("%s: %w", what, err)
	}
	detail := b.clean(strings.TrimSpace(fmt.Sprintf("%d %s: %s", e.StatusCode, e.Code, e.Message)))
	if cause := cause(op, e); cause != nil {
		return fmt.Errorf("%s: %w (%s)", what, cause, detail)
	}
	return fmt.Errorf("%s: %s", what, detail)
}

// cause is the sentinel for an answer that leaves no doubt; nil if there is none.
func cause(op string, e minio.ErrorResponse) error {
	switch e.StatusCode {
	case http.StatusPreconditionFailed:
		if op == opPut || op == opComplete {
			return replication.ErrExists
		}
	case http.StatusNotFound:
		// NoSuchBucket is no statement about a key.
		if e.Code == minio.NoSuchKey || e.Code == minio.NoSuchVersion || e.Code == minio.NoSuchUpload {
			return replication.ErrNotFound
		}
	case http.StatusForbidden:
		return replication.ErrDenied
	case http.StatusMethodNotAllowed:
		if op == opGet {
			return replication.ErrNotFound // the version is a delete marker
		}
		return replication.ErrUnsupported
	case http.StatusNotImplemented:
		return replication.ErrUnsupported
	}
	return nil
}

// The operations, as errors name them.
const (
	opPut      = "put"
	opUpload   = "upload"
	opPart     = "upload part of"
	opComplete = "complete"
	opAbort    = "abort"
	opVersions = "versions of"
	opGet      = "get"
	opList     = "list"
)

// clean makes a server's text fit for a log: no secret, one line, bounded.
func (b *Bucket) clean(s string) string {
	s = strings.ReplaceAll(s, b.cfg.SecretKey, "(secret)")
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
	const limit = 300
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "..."
	}
	return s
}

// pageGuard ends a listing in which the server sends page after page without a key.
type pageGuard struct{ http.RoundTripper }

// maxEmptyPages is how many pages without a key a listing may have in a row.
const maxEmptyPages = 1000

// pages counts the pages since the last key; one goroutine lists.
type pages struct{ n int }

type pagesKey struct{}

func withPages(ctx context.Context) (context.Context, *pages) {
	p := &pages{}
	return context.WithValue(ctx, pagesKey{}, p), p
}

func (g pageGuard) RoundTrip(req *http.Request) (*http.Response, error) {
	if p, ok := req.Context().Value(pagesKey{}).(*pages); ok {
		if p.n++; p.n > maxEmptyPages {
			return nil, fmt.Errorf("the server sent %d pages without a key", maxEmptyPages)
		}
	}
	return g.RoundTripper.RoundTrip(req)
}
