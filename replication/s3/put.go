package s3

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/minio/minio-go/v7"
)

// The headers of checksums; minio-go passes them on where they are given as metadata.
const (
	headerSHA256    = "x-amz-checksum-sha256"
	headerAlgorithm = "x-amz-checksum-algorithm"
)

// sums are the hashes of one body in the forms that requests want.
type sums struct {
	sha256Hex, sha256Base64 string
	md5Base64               string // only where Config.Checksum asks for it
}

// sum reads exactly size bytes of r.
func (b *Bucket) sum(r io.Reader, size int64) (sums, error) {
	sha := sha256.New()
	var w io.Writer = sha
	var other hash.Hash
	if b.cfg.Checksum == MD5 {
		other = md5.New()
		w = io.MultiWriter(sha, other)
	}
	n, err := io.Copy(w, io.LimitReader(r, size+1))
	if err != nil {
		return sums{}, err
	}
	if n != size {
		return sums{}, fmt.Errorf("the body does not have the %d bytes that were announced", size)
	}
	digest := sha.Sum(nil)
	s := sums{sha256Hex: hex.EncodeToString(digest), sha256Base64: base64.StdEncoding.EncodeToString(digest)}
	if other != nil {
		s.md5Base64 = base64.StdEncoding.EncodeToString(other.Sum(nil))
	}
	return s, nil
}

// Put implements replication.Bucket. It reads body twice, first for its hash. S3 takes up to 5 GiB in one Put.
func (b *Bucket) Put(ctx context.Context, key string, src io.ReadSeeker, size int64) error {
	start, err := src.Seek(0, io.SeekCurrent)
	if err != nil {
		return b.wrap(opPut, key, err)
	}
	s, err := b.sum(src, size)
	if err != nil {
		return b.wrap(opPut, key, err)
	}
	opts := minio.PutObjectOptions{DisableContentSha256: true}
	if b.cfg.Checksum == SHA256 {
		opts.UserMetadata = map[string]string{headerSHA256: s.sha256Base64}
	}
	b.cfg.lock(&opts)
	if b.cfg.Conditions.Put {
		opts.SetMatchETagExcept("*")
	}
	data := &body{src: src, start: start, size: size}
	defer data.detach()
	_, err = b.core.PutObject(ctx, b.cfg.Bucket, key, data, size, s.md5Base64, s.sha256Hex, opts)
	return b.wrap(opPut, key, err)
}

// body lends src to the HTTP transport, from start on. The transport may go on reading after a call returned, for
// instance when the server answered early; detach takes src back.
type body struct {
	mu    sync.Mutex
	src   io.ReadSeeker // nil once detached
	start int64
	size  int64
	pos   int64
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.src == nil {
		return 0, errors.New("the request is over")
	}
	if b.pos == b.size {
		return 0, io.EOF
	}
	n, err := b.src.Read(p[:min(int64(len(p)), b.size-b.pos)])
	b.pos += int64(n)
	return n, err
}

// Seek serves minio-go, which goes to offset 0 before it sends.
func (b *body) Seek(offset int64, whence int) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.src == nil || whence != io.SeekStart || offset < 0 || offset > b.size {
		return 0, errors.New("seek not possible")
	}
	if _, err := b.src.Seek(b.start+offset, io.SeekStart); err != nil {
		return 0, err
	}
	b.pos = offset
	return offset, nil
}

func (b *body) detach() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.src = nil
}
