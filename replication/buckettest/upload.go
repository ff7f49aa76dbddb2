package buckettest

import (
	"context"
	"errors"

	"holdfast/replication"
)

// upload is a multipart upload. Its parts are counted in the size that a real client would send.
type upload struct {
	b     *Bucket
	ctx   context.Context
	key   string
	data  []byte
	parts int
	err   error
	done  bool
}

// Upload implements replication.Bucket. The parts are of 1 MiB.
func (b *Bucket) Upload(ctx context.Context, key string) (replication.Upload, error) {
	if err := b.ask(ctx, key, func() func(string) error { return b.OnUpload }); err != nil {
		return nil, fail("upload", key, err)
	}
	u := &upload{b: b, ctx: ctx, key: key}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.uploads[u] = struct{}{}
	return u, nil
}

func (u *upload) Write(p []byte) (int, error) {
	if u.done {
		return 0, fail("upload", u.key, errors.New("the upload is over"))
	}
	if u.err != nil {
		return 0, u.err
	}
	u.data = append(u.data, p...)
	for u.err == nil && len(u.data) >= (u.parts+1)*partBytes {
		u.send()
	}
	if u.err != nil {
		return 0, u.err
	}
	return len(p), nil
}

func (u *upload) send() {
	u.parts++
	part := u.parts
	u.err = fail("upload", u.key, u.b.ask(u.ctx, u.key, func() func(string) error {
		if u.b.OnPart == nil {
			return nil
		}
		hook := u.b.OnPart
		return func(key string) error { return hook(key, part) }
	}))
}

func (u *upload) Complete(ctx context.Context) error {
	if u.done {
		return fail("complete", u.key, errors.New("the upload is over"))
	}
	if u.err == nil && (len(u.data) > u.parts*partBytes || u.parts == 0) {
		u.send()
	}
	if u.err != nil {
		return u.err
	}
	if err := ctx.Err(); err != nil {
		return fail("complete", u.key, err)
	}
	u.b.mu.Lock()
	hook := u.b.OnComplete
	u.b.mu.Unlock()
	if err := u.b.write(ctx, u.key, u.data, hook); err != nil {
		return fail("complete", u.key, err)
	}
	u.end()
	return nil
}

func (u *upload) Abort(ctx context.Context) error {
	if u.done {
		return nil
	}
	if err := u.b.ask(ctx, u.key, func() func(string) error { return u.b.OnAbort }); err != nil {
		return fail("abort", u.key, err)
	}
	u.end()
	return nil
}

func (u *upload) end() {
	u.done = true
	u.b.mu.Lock()
	defer u.b.mu.Unlock()
	delete(u.b.uploads, u)
}
