package s3

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/minio/minio-go/v7"

	"holdfast/replication"
)

// upload is a multipart upload. Parts are sent while later ones are filled; Write waits for a buffer. The buffers are the
// upload's own: those in a sync.Pool were often not found again, and others were made.
type upload struct {
	b    *Bucket
	ctx  context.Context // of the parts
	stop context.CancelCauseFunc
	key  string
	id   string

	// Owned by the caller's goroutine.
	buf   []byte // being filled; nil: take one
	made  int    // buffers
	sent  int    // parts handed to goroutines
	state uploadState

	free chan []byte    // buffers that wait to be filled
	wg   sync.WaitGroup // one for each part being sent

	mu    sync.Mutex
	parts []minio.CompletePart
	err   error // of the first part that failed
}

type uploadState int

const (
	uploadOpen uploadState = iota
	uploadCompleted
	uploadAborted
)

// Upload implements replication.Bucket. ctx bounds the sending of the parts too. At most Config.PartBuffers parts are in
// memory, and an object has at most 10,000 of them.
func (b *Bucket) Upload(ctx context.Context, key string) (replication.Upload, error) {
	var opts minio.PutObjectOptions
	if b.cfg.Checksum == SHA256 {
		opts.UserMetadata = map[string]string{headerAlgorithm: "SHA256"}
	}
	b.cfg.lock(&opts)
	id, err := b.core.NewMultipartUpload(ctx, b.cfg.Bucket, key, opts)
	if err == nil && id == "" {
		err = errors.New("the server named no upload")
	}
	if err != nil {
		return nil, b.wrap(opUpload, key, err)
	}
	u := &upload{b: b, key: key, id: id, free: make(chan []byte, b.cfg.PartBuffers)}
	u.ctx, u.stop = context.WithCancelCause(ctx)
	return u, nil
}

func (u *upload) Write(p []byte) (n int, err error) {
	if err := u.usable(); err != nil {
		return 0, err
	}
	for len(p) > 0 {
		if err := u.takeBuffer(); err != nil {
			return n, err
		}
		m := min(len(p), u.b.cfg.PartBytes-len(u.buf))
		u.buf = append(u.buf, p[:m]...)
		n, p = n+m, p[m:]
		if len(u.buf) == u.b.cfg.PartBytes {
			if err := u.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// usable returns why the upload cannot go on.
func (u *upload) usable() error {
	if u.state != uploadOpen {
		return u.b.wrap(opUpload, u.key, errors.New("the upload is over"))
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

// takeBuffer sees to it that there is a buffer to fill.
func (u *upload) takeBuffer() error {
	if u.buf != nil {
		return nil
	}
	select {
	case u.buf = <-u.free:
		return nil
	default:
	}
	if u.made < u.b.cfg.PartBuffers {
		u.made++
		u.buf = make([]byte, 0, u.b.cfg.PartBytes)
		return nil
	}
	select {
	case u.buf = <-u.free:
		return nil
	case <-u.ctx.Done():
		return cmp.Or(u.usable(), u.b.wrap(opUpload, u.key, u.ctx.Err()))
	}
}

// flush hands the buffer to a goroutine that sends it.
func (u *upload) flush() error {
	if u.sent == maxParts {
		return u.b.wrap(opUpload, u.key,
			fmt.Errorf("more than %d parts of %d bytes; set a larger part size", maxParts, u.b.cfg.PartBytes))
	}
	if err := u.takeBuffer(); err != nil {
		return err
	}
	u.sent++
	number, buf := u.sent, u.buf
	u.buf = nil
	u.wg.Go(func() {
		part, err := u.send(number, buf)
		u.free <- buf[:0]
		u.mu.Lock()
		defer u.mu.Unlock()
		if err == nil {
			u.parts = append(u.parts, part)
		} else if u.err == nil {
			u.err = err
			u.stop(err)
		}
	})
	return nil
}

// send sends one part. data is not used any more when it returns.
func (u *upload) send(number int, data []byte) (minio.CompletePart, error) {
	s, err := u.b.sum(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return minio.CompletePart{}, u.b.wrap(opPart, u.key, err)
	}
	opts := minio.PutObjectPartOptions{Sha256Hex: s.sha256Hex, Md5Base64: s.md5Base64, DisableContentSha256: true}
	done := minio.CompletePart{PartNumber: number}
	if u.b.cfg.Checksum == SHA256 {
		opts.CustomHeader = http.Header{headerSHA256: {s.sha256Base64}}
		done.ChecksumSHA256 = s.sha256Base64
	}
	lent := &body{src: bytes.NewReader(data), size: int64(len(data))}
	defer lent.detach()
	part, err := u.b.core.PutObjectPart(u.ctx, u.b.cfg.Bucket, u.key, u.id, number, lent, int64(len(data)), opts)
	if err == nil && part.ETag == "" {
		err = errors.New("the server sent no ETag")
	}
	if err != nil {
		return minio.CompletePart{}, u.b.wrap(opPart, u.key, err)
	}
	done.ETag = part.ETag
	return done, nil
}

// Complete sends the rest and finishes the object. After an error Abort frees what was sent.
func (u *upload) Complete(ctx context.Context) error {
	if err := u.usable(); err != nil {
		return err
	}
	if len(u.buf) > 0 || u.sent == 0 { // an object has at least one part
		if err := u.flush(); err != nil {
			return err
		}
	}
	if err := u.wait(ctx); err != nil {
		return u.b.wrap(opComplete, u.key, err)
	}
	if err := u.usable(); err != nil {
		return err
	}
	slices.SortFunc(u.parts, func(a, b minio.CompletePart) int { return a.PartNumber - b.PartNumber })
	var opts minio.PutObjectOptions
	if u.b.cfg.Conditions.Complete {
		opts.SetMatchETagExcept("*")
	}
	if _, err := u.b.core.CompleteMultipartUpload(ctx, u.b.cfg.Bucket, u.key, u.id, u.parts, opts); err != nil {
		return u.b.wrap(opComplete, u.key, err)
	}
	u.end(uploadCompleted)
	return nil
}

// wait waits for the parts that are being sent.
func (u *upload) wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		u.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Abort stops the sending and drops what the server has.
func (u *upload) Abort(ctx context.Context) error {
	if u.state != uploadOpen {
		return nil
	}
	u.stop(errors.New("the upload was aborted"))
	u.wg.Wait()
	err := u.b.wrap(opAbort, u.key, u.b.core.AbortMultipartUpload(ctx, u.b.cfg.Bucket, u.key, u.id))
	if err == nil || errors.Is(err, replication.ErrNotFound) {
		u.end(uploadAborted)
		return nil
	}
	return err
}

func (u *upload) end(state uploadState) {
	u.state = state
	u.stop(nil)
	u.buf = nil
}
