package worm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/rclone/gofakes3"
)

// errDenied is what a backend answers to calls that the router lets nobody make. It is a plain code, into which
// gofakes3 does not write.
const errDenied = gofakes3.ErrorCode("AccessDenied")

// backend denies everything. writeBackend and readBackend allow what their key may do.
type backend struct{ s *Server }

func (b backend) BucketExists(_ context.Context, name string) (bool, error) {
	return name == b.s.cfg.Bucket, nil
}

func (backend) ListBuckets(context.Context) ([]gofakes3.BucketInfo, error) { return nil, errDenied }

func (backend) ListBucket(context.Context, string, *gofakes3.Prefix, gofakes3.ListBucketPage,
) (*gofakes3.ObjectList, error) {
	return nil, errDenied
}

func (backend) CreateBucket(context.Context, string) error { return errDenied }

func (backend) DeleteBucket(context.Context, string) error { return errDenied }

func (backend) GetObject(context.Context, string, string, *gofakes3.ObjectRangeRequest) (*gofakes3.Object, error) {
	return nil, errDenied
}

func (backend) HeadObject(context.Context, string, string) (*gofakes3.Object, error) {
	return nil, errDenied
}

func (backend) DeleteObject(context.Context, string, string) (gofakes3.ObjectDeleteResult, error) {
	return gofakes3.ObjectDeleteResult{}, errDenied
}

func (backend) PutObject(context.Context, string, string, map[string]string, io.Reader, int64,
) (gofakes3.PutObjectResult, error) {
	return gofakes3.PutObjectResult{}, errDenied
}

func (backend) DeleteMulti(context.Context, string, ...string) (gofakes3.MultiDeleteResult, error) {
	return gofakes3.MultiDeleteResult{}, errDenied
}

func (backend) CopyObject(context.Context, string, string, string, string, map[string]string,
) (gofakes3.CopyObjectResult, error) {
	return gofakes3.CopyObjectResult{}, errDenied
}

// fail logs a failure of the disk and makes it an error that tells a client no paths. S3 errors pass.
func (b backend) fail(op, key string, err error) error {
	var s3err gofakes3.Error
	if err == nil || errors.As(err, &s3err) {
		return err
	}
	b.s.cfg.Log.Error("mirror: the store failed", "op", op, "key", key, "err", err)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return gofakes3.ErrorMessage("InsufficientStorage", "the mirror's disk is full; nothing was stored")
	}
	return gofakes3.ErrorMessage(gofakes3.ErrInternal, "the mirror could not do this; its log says why")
}

// writeBackend is what the writer's instance works on.
type writeBackend struct{ backend }

// etag is an object's entity tag. An object never changes, so that its key decides. It is not shaped like an MD5, for
// which clients might take it.
func etag(key string) []byte {
	sum := sha256.Sum256([]byte(key))
	return sum[:]
}

func (b *writeBackend) PutObject(ctx context.Context, _, key string, _ map[string]string, input io.Reader, size int64,
) (gofakes3.PutObjectResult, error) {
	if err := b.s.store.put(ctx, key, input, size); err != nil {
		return gofakes3.PutObjectResult{}, b.fail("put", key, err)
	}
	return gofakes3.PutObjectResult{ETag: fmt.Sprintf(`"%x"`, etag(key))}, nil
}

func (b *writeBackend) CreateMultipartUpload(_ context.Context, _, key string, _ map[string]string,
) (gofakes3.UploadID, error) {
	id, err := b.s.uploads.create(key)
	return id, b.fail("upload", key, err)
}

func (b *writeBackend) UploadPart(ctx context.Context, _, key string, id gofakes3.UploadID, n int, size int64,
	body io.Reader) (string, error) {
	tag, err := b.s.uploads.part(ctx, key, id, n, size, body)
	return tag, b.fail("upload part", key, err)
}

func (b *writeBackend) CompleteMultipartUpload(_ context.Context, _, key string, id gofakes3.UploadID,
	in *gofakes3.CompleteMultipartUploadRequest) (gofakes3.VersionID, string, error) {
	err := b.s.uploads.complete(key, id, in.Parts)
	return "", fmt.Sprintf(`"%x"`, etag(key)), b.fail("complete", key, err)
}

func (b *writeBackend) AbortMultipartUpload(_ context.Context, _, key string, id gofakes3.UploadID) error {
	return b.fail("abort", key, b.s.uploads.abort(key, id))
}

// readBackend is what the reader's instance works on.
type readBackend struct{ backend }

func (b *readBackend) HeadObject(ctx context.Context, bucket, key string) (*gofakes3.Object, error) {
	o, err := b.GetObject(ctx, bucket, key, nil)
	if err != nil {
		return nil, err
	}
	o.Contents.Close()
	o.Contents = http.NoBody
	return o, nil
}

func (b *readBackend) GetObject(ctx context.Context, _, key string, want *gofakes3.ObjectRangeRequest,
) (*gofakes3.Object, error) {
	f, err := os.Open(b.s.store.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, gofakes3.KeyNotFound(key)
	}
	if err != nil {
		return nil, b.fail("get", key, err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, b.fail("get", key, err)
	}
	o := &gofakes3.Object{
		Name: key, Size: info.Size(), Hash: etag(key),
		Metadata: map[string]string{
			"Last-Modified": info.ModTime().UTC().Format(http.TimeFormat), "Content-Type": "application/octet-stream",
		},
	}
	d, _ := ctx.Value(deadlinesKey{}).(deadlines)
	var src io.Reader = f
	if o.Range, err = want.Range(o.Size); err != nil {
		f.Close()
		return nil, err
	}
	if o.Range != nil {
		src = io.NewSectionReader(f, o.Range.Start, o.Range.Length)
	}
	o.Contents = &contents{Reader: src, Closer: f, idle: d.write}
	return o, nil
}

// contents is an object on its way to a client.
type contents struct {
	io.Reader
	io.Closer
	idle func()
}

func (c *contents) Read(p []byte) (int, error) {
	c.idle()
	return c.Reader.Read(p)
}

func (b *readBackend) ListBucket(_ context.Context, _ string, prefix *gofakes3.Prefix, page gofakes3.ListBucketPage,
) (*gofakes3.ObjectList, error) {
	s := span{after: page.Marker}
	if prefix != nil {
		s.prefix = prefix.Prefix
	}
	out := gofakes3.NewObjectList()
	var failed error
	walk(filepath.Join(b.s.store.dir, objectsDir), "", s, func(o object, err error) bool {
		if errors.Is(err, fs.ErrNotExist) {
			return true
		}
		if err != nil {
			failed = err
			return false
		}
		if page.MaxKeys > 0 && int64(len(out.Contents)) == page.MaxKeys {
			out.IsTruncated = true
			out.NextMarker = out.Contents[len(out.Contents)-1].Key
			return false
		}
		out.Add(&gofakes3.Content{
			Key: strings.Clone(o.key), LastModified: gofakes3.NewContentTime(o.info.ModTime().UTC()),
			ETag: fmt.Sprintf(`"%x"`, etag(o.key)), Size: o.info.Size(), StorageClass: gofakes3.StorageStandard,
		})
		return true
	})
	return out, b.fail("list", s.prefix, failed)
}
