// Package worm is an append-only S3 endpoint: the mirror that `holdfast mirror serve` runs on a machine of one's own,
// and that quickstart and demo embed.
//
// It is an http.Handler with one bucket and two key pairs. The writer may put objects; the reader may read and list
// them; nobody may delete, overwrite, or change anything else, and there is no code that could. An object is written
// once: the same bytes again are 200, other bytes are 412 whether the request was conditional or not.
//
// A request passes three walls:
//
//	router    signature V4 over the headers, then a list of the operations that each key may call, by method, path,
//	          query and headers. Everything else is 403. What goes on is a new request, built from what was checked.
//	gofakes3  github.com/rclone/gofakes3 speaks S3: one instance for each key.
//	backend   the writer's can only write, the reader's can only read. Bodies are checked against the SHA-256 that
//	          the signature covers before anything becomes visible.
//
// gofakes3 alone is no security boundary: its keys carry no rights, it does not check a body's hash, and it keeps
// multipart uploads in memory. store.go says how objects lie on disk and survive being killed; upload.go has the
// multipart uploads. Memory is bounded by Config.MaxRequests times a copy buffer.
//
// The handler does not care for TLS: whoever listens must, except on loopback. Whoever has root on the machine can
// delete everything; that is what the other mirrors are for.
package worm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/rclone/gofakes3"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

// KeyPair is an S3 credential.
type KeyPair struct{ AccessKey, SecretKey string }

// The shortest keys that are accepted.
const (
	minAccessKey = 3
	minSecretKey = 16
)

// Config is what New needs. Dir, Bucket, Writer and Reader must be set; the zero value of the rest works.
type Config struct {
	Dir            string  // created if missing; one Server at a time uses it
	Bucket         string  // the only bucket
	Region         string  // the region that signatures must name; empty: any
	Writer, Reader KeyPair // they must differ
	// QuotaBytes bounds what the mirror stores, 0: the disk does. Files and directories count in blocks of 4 KiB.
	// Past it, writes are answered 507 QuotaExceeded.
	QuotaBytes int64
	// RatePerWriter bounds the bytes a second that are read from the writer, 0: no bound. A request costs 4 KiB more than
	// its body.
	RatePerWriter int64
	// MaxRequests bounds the requests that run at once for each key, 32 by default. Past it they are answered 503 SlowDown.
	MaxRequests int
	// MaxObjectBytes bounds one object, 1 TiB by default, and MaxBodyBytes one request's body, 5 GiB by default: an
	// object that is put whole, or a part.
	MaxObjectBytes, MaxBodyBytes int64
	// MaxUploads bounds the multipart uploads that are open, 64 by default. One that nobody touched for UploadExpiry, 24
	// hours by default, is dropped when the next one starts.
	MaxUploads   int
	UploadExpiry time.Duration
	// IdleTimeout ends a request that transfers nothing for so long, a minute by default.
	IdleTimeout time.Duration
	// Log gets refused requests and failures of the disk. It defaults to slog.Default().
	Log *slog.Logger
	// Now is the clock of UploadExpiry, time.Now by default.
	Now func() time.Time
	// NoSync leaves out fsync, for tests whose data may be lost.
	NoSync bool
}

func (c Config) withDefaults() Config {
	c.MaxRequests = cmp.Or(c.MaxRequests, 32)
	c.MaxObjectBytes = cmp.Or(c.MaxObjectBytes, 1<<40)
	c.MaxBodyBytes = cmp.Or(c.MaxBodyBytes, 5<<30)
	c.MaxUploads = cmp.Or(c.MaxUploads, 64)
	c.UploadExpiry = cmp.Or(c.UploadExpiry, 24*time.Hour)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, time.Minute)
	c.Log = cmp.Or(c.Log, slog.Default())
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func (c Config) check() error {
	if c.Dir == "" {
		return errors.New("no directory is set")
	}
	if err := gofakes3.ValidateBucketName(c.Bucket); err != nil {
		return fmt.Errorf("bucket %q: %w", c.Bucket, err)
	}
	for role, k := range map[string]KeyPair{"writer": c.Writer, "reader": c.Reader} {
		if len(k.AccessKey) < minAccessKey {
			return fmt.Errorf("the %s's access key must have at least %d characters", role, minAccessKey)
		}
		if len(k.SecretKey) < minSecretKey {
			return fmt.Errorf("the %s's secret key must have at least %d characters", role, minSecretKey)
		}
	}
	if c.Writer.AccessKey == c.Reader.AccessKey || c.Writer.SecretKey == c.Reader.SecretKey {
		return errors.New("writer and reader must have different keys")
	}
	for name, n := range map[string]int64{"QuotaBytes": c.QuotaBytes, "RatePerWriter": c.RatePerWriter,
		"MaxRequests": int64(c.MaxRequests), "MaxObjectBytes": c.MaxObjectBytes, "MaxBodyBytes": c.MaxBodyBytes,
		"MaxUploads": int64(c.MaxUploads), "UploadExpiry": int64(c.UploadExpiry), "IdleTimeout": int64(c.IdleTimeout)} {
		if n < 0 {
			return fmt.Errorf("%s is negative", name)
		}
	}
	return nil
}

// Server is the endpoint. It is safe for concurrent use. Requests must have ended before Close.
type Server struct {
	cfg     Config
	store   *store
	uploads *uploads
	lock    *os.File
	keys    map[string]*role // by access key
	refusal *rate.Limiter    // of log lines
}

// role is one of the two key pairs and what it may do.
type role struct {
	name    string
	secret  string
	handler http.Handler  // the gofakes3 instance
	slots   chan struct{} // one for each request under way
	rate    *rate.Limiter // of bytes received; nil: no bound
}

// New opens the mirror in cfg.Dir and removes what a killed process left unfinished. Where a quota is set, it looks at
// every file once.
func New(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("mirror: %w", err)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("mirror: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	st, err := openStore(cfg.Dir, &quota{limit: cfg.QuotaBytes}, cfg.NoSync)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("mirror %s: %w", cfg.Dir, err)
	}
	s := &Server{cfg: cfg, store: st, lock: lock, refusal: rate.NewLimiter(10, 100)}
	s.uploads = &uploads{
		store: st, maxOpen: cfg.MaxUploads, maxBytes: cfg.MaxObjectBytes, expiry: cfg.UploadExpiry, now: cfg.Now,
		open: map[gofakes3.UploadID]*upload{},
	}
	s.addRoles()
	return s, nil
}

func (s *Server) addRoles() {
	c := s.cfg
	write := gofakes3.New(&writeBackend{backend{s}}, s.options()...)
	s.uploads.forget = func(key string, id gofakes3.UploadID) {
		write.ForgetMultipartUpload(context.Background(), c.Bucket, key, id)
	}
	read := gofakes3.New(&readBackend{backend{s}}, s.options()...)
	w := &role{name: "writer", secret: c.Writer.SecretKey, handler: write.Server(), slots: make(chan struct{}, c.MaxRequests)}
	r := &role{name: "reader", secret: c.Reader.SecretKey, handler: read.Server(), slots: make(chan struct{}, c.MaxRequests)}
	if c.RatePerWriter > 0 {
		w.rate = rate.NewLimiter(rate.Limit(c.RatePerWriter), int(max(min(c.RatePerWriter, 1<<30), readChunk)))
	}
	s.keys = map[string]*role{c.Writer.AccessKey: w, c.Reader.AccessKey: r}
}

// options of a gofakes3 instance. The router has checked signature and clock; the instance gets a request without them.
func (s *Server) options() []gofakes3.Option {
	return []gofakes3.Option{
		gofakes3.WithTimeSkewLimit(0), gofakes3.WithoutVersioning(), gofakes3.WithUnimplementedPageError(),
		gofakes3.WithLogger(logger{s.cfg.Log}),
	}
}

// Close gives the directory free and drops the uploads that are open.
func (s *Server) Close() error {
	s.uploads.closeAll()
	return s.lock.Close()
}

// lockDir makes sure that one process uses dir; the lock ends with the process.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("mirror: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("mirror: another process uses %s", dir)
	}
	return f, nil
}

// logger passes gofakes3's failures on; its refusals are the client's business.
type logger struct{ log *slog.Logger }

func (l logger) Print(level gofakes3.LogLevel, v ...any) {
	if level == gofakes3.LogErr {
		l.log.Error("mirror: a request failed", "err", fmt.Sprint(v...))
	}
}
