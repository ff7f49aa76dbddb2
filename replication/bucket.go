package replication

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// Causes that a Bucket reports, wrapped in its errors.
var (
	// ErrExists: a conditional put found the key taken by other bytes. It is returned only where the server said so (412).
	ErrExists = errors.New("the key exists already")
	// ErrNotFound: no version of the key exists.
	ErrNotFound = errors.New("no such object")
	// ErrDenied: the server refused the credential (403).
	ErrDenied = errors.New("access denied")
	// ErrUnsupported: the server does not offer the operation (405, 501).
	ErrUnsupported = errors.New("not offered by this server")
)

// Version tells apart the versions of one key. It is the provider's opaque text.
type Version string

// Object is one version of a key.
type Object struct {
	Key      string
	Version  Version
	Size     int64
	Modified time.Time // by the provider's clock
	Deleted  bool      // a delete marker: it hides older versions and destroys none
}

// Bucket is one S3 bucket, append-only by type: there is no call that deletes.
//
// Every method is safe for concurrent use, honours ctx, makes one attempt and never retries by itself: the caller must
// know which attempt was the first. An error that wraps none of this package's sentinels leaves the outcome unknown.
type Bucket interface {
	// Put creates key with the size bytes of body and returns once the object is durable. Where the bucket is known to
	// enforce it, the put is conditional: if key exists with other bytes it returns ErrExists and changes nothing; with
	// the same bytes it may return nil or ErrExists.
	Put(ctx context.Context, key string, body io.ReadSeeker, size int64) error
	// Upload starts a multipart upload of key. Parts are sent while they are written; see Upload.
	Upload(ctx context.Context, key string) (Upload, error)
	// Versions returns every version of exactly key, oldest first, delete markers included; an empty result where there
	// is none. It returns at most 1,000,000.
	Versions(ctx context.Context, key string) ([]Object, error)
	// Get opens one version of key, the newest where v is empty. It returns ErrNotFound if there is no such version.
	Get(ctx context.Context, key string, v Version) (io.ReadCloser, error)
	// List yields the newest version of each key with the prefix, in the order of keys, those after `after` only.
	List(ctx context.Context, prefix, after string) iter.Seq2[Object, error]
}

// Upload is a multipart upload under way. It is not safe for concurrent use.
type Upload interface {
	// Write queues p for sending, in parts of bounded size. An error means that the upload cannot be completed any more.
	io.Writer
	// Complete finishes the object and returns once it is durable. Like Put it is conditional where the bucket enforces
	// that, and then may return ErrExists.
	Complete(ctx context.Context) error
	// Abort drops what was sent. It is a no-op after Complete.
	Abort(ctx context.Context) error
}
