package worm

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"hash"
	"io"
	"net/http"
	"time"

	"github.com/rclone/gofakes3"
	"golang.org/x/time/rate"
)

// readChunk bounds one read of a body, and so how far a rate limit is overdrawn.
const readChunk = 64 << 10

// body is a request's body on its way to the backend. It fails unless it is exactly the bytes that the signature covers.
type body struct {
	ctx  context.Context
	src  io.ReadCloser
	hash hash.Hash
	want [sha256.Size]byte
	size int64
	n    int64

	rate *rate.Limiter
	idle func() // moves the deadline of the connection

	quota   *quota
	promise int64 // of the quota, for this request
}

type bodyKey struct{}

// bodyOf returns the body of the request that ctx belongs to.
func bodyOf(ctx context.Context) *body {
	b, _ := ctx.Value(bodyKey{}).(*body)
	return b
}

func (b *body) Read(p []byte) (int, error) {
	if b.n == b.size {
		return 0, b.end()
	}
	if len(p) > readChunk {
		p = p[:readChunk]
	}
	b.idle()
	n, err := b.src.Read(p[:min(int64(len(p)), b.size-b.n)])
	b.hash.Write(p[:n])
	b.n += int64(n)
	if b.rate != nil && n > 0 {
		if err := b.rate.WaitN(b.ctx, n); err != nil {
			return n, gofakes3.ErrIncompleteBody
		}
	}
	switch {
	case b.n == b.size:
		return n, b.end()
	case err != nil:
		return n, gofakes3.ErrIncompleteBody
	}
	return n, nil
}

// end is what a reader gets at the end of the body: io.EOF if the hash is right. Only then may the backend make the
// bytes visible.
func (b *body) end() error {
	if subtle.ConstantTimeCompare(b.hash.Sum(nil), b.want[:]) != 1 {
		return gofakes3.ErrorMessage(gofakes3.ErrBadDigest, "the body does not have the SHA-256 of x-amz-content-sha256")
	}
	return io.EOF
}

func (b *body) Close() error { return b.src.Close() }

// keep turns the promise of the quota into what a part takes, which its upload gives back.
func (b *body) keep() int64 {
	n := b.promise
	b.promise = 0
	return n
}

// release gives back what was promised and not kept.
func (b *body) release() { b.quota.add(-b.keep()) }

// deadlines moves a connection's deadlines while data flows, so that they end idleness and not length.
type deadlines struct {
	rc      *http.ResponseController
	timeout time.Duration
}

// Errors mean that the connection has no deadlines, as in tests without one.

func (d deadlines) read()  { _ = d.rc.SetReadDeadline(time.Now().Add(d.timeout)) }
func (d deadlines) write() { _ = d.rc.SetWriteDeadline(time.Now().Add(d.timeout)) }

func (d deadlines) clear() {
	_ = d.rc.SetReadDeadline(time.Time{})
	_ = d.rc.SetWriteDeadline(time.Time{})
}

type deadlinesKey struct{}
