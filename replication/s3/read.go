package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"

	"holdfast/replication"
)

// maxVersions bounds what Versions returns.
const maxVersions = 1_000_000

// Versions implements replication.Bucket. Where the server cannot list versions, what a HEAD finds is the only one.
func (b *Bucket) Versions(ctx context.Context, key string) ([]replication.Object, error) {
	out, err := b.listVersions(ctx, key)
	if errors.Is(err, replication.ErrUnsupported) {
		return b.head(ctx, key)
	}
	return out, err
}

func (b *Bucket) listVersions(ctx context.Context, key string) ([]replication.Object, error) {
	ctx, page := withPages(ctx)
	var out []replication.Object
	for o := range b.core.ListObjectsIter(ctx, b.cfg.Bucket, minio.ListObjectsOptions{
		Prefix: key, WithVersions: true, Recursive: true, MaxKeys: b.cfg.PageKeys,
	}) {
		page.n = 0
		if o.Err != nil {
			return nil, b.wrap(opVersions, key, o.Err)
		}
		if o.Key != key {
			break // a longer key; they come after
		}
		if len(out) == maxVersions {
			return nil, b.wrap(opVersions, key, fmt.Errorf("more than %d versions", maxVersions))
		}
		out = append(out, toObject(o))
	}
	if err := ctx.Err(); err != nil {
		return nil, b.wrap(opVersions, key, err)
	}
	slices.Reverse(out) // S3 lists the newest first
	return out, nil
}

func (b *Bucket) head(ctx context.Context, key string) ([]replication.Object, error) {
	o, err := b.core.StatObject(ctx, b.cfg.Bucket, key, minio.StatObjectOptions{})
	if err := b.wrap(opVersions, key, err); err != nil {
		if errors.Is(err, replication.ErrNotFound) {
			return nil, nil
		}
		return nil, err
	}
	o.Key = key
	return []replication.Object{toObject(o)}, nil
}

func toObject(o minio.ObjectInfo) replication.Object {
	return replication.Object{
		Key: strings.Clone(o.Key), Version: replication.Version(o.VersionID), Size: o.Size, Modified: o.LastModified,
		Deleted: o.IsDeleteMarker,
	}
}

// Get implements replication.Bucket.
func (b *Bucket) Get(ctx context.Context, key string, v replication.Version) (io.ReadCloser, error) {
	r, _, _, err := b.core.GetObject(ctx, b.cfg.Bucket, key, minio.GetObjectOptions{VersionID: string(v)})
	if err != nil {
		return nil, b.wrap(opGet, key, err)
	}
	return r, nil
}

// List implements replication.Bucket. It fails if the server's listing is out of order.
func (b *Bucket) List(ctx context.Context, prefix, after string) iter.Seq2[replication.Object, error] {
	return func(yield func(replication.Object, error) bool) {
		ctx, page := withPages(ctx)
		last := after
		for o := range b.core.ListObjectsIter(ctx, b.cfg.Bucket, minio.ListObjectsOptions{
			Prefix: prefix, StartAfter: after, Recursive: true, MaxKeys: b.cfg.PageKeys,
		}) {
			page.n = 0
			if o.Err != nil {
				yield(replication.Object{}, b.wrap(opList, prefix, o.Err))
				return
			}
			if o.Key <= after || !strings.HasPrefix(o.Key, prefix) {
				continue // not every server knows start-after
			}
			if o.Key <= last {
				yield(replication.Object{}, b.wrap(opList, prefix, errors.New("the server's listing is not in the order of keys")))
				return
			}
			last = o.Key
			if !yield(toObject(o), nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(replication.Object{}, b.wrap(opList, prefix, err))
		}
	}
}
