package storage_test

import (
	"bytes"
	"compress/zlib"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"holdfast/storage"
	"holdfast/storage/object"
)

func TestReadDeflated(t *testing.T) {
	s := open(t, t.TempDir(), noSync())
	repo, tip := tinyRepo(t, s)
	large := make([]byte, 2<<20)
	for i := range large {
		large[i] = byte(rand.Uint32())
	}
	data, next := tiny(t, string(large), tip)
	push(t, repo, data, update("refs/heads/main", tip, next))

	var buf []byte
	for _, content := range []string{"first", string(large)} {
		stream, ok, err := repo.ReadDeflated(blobObj(content).id(), buf)
		if err != nil {
			t.Fatal(err)
		}
		if ok != (content == "first") {
			t.Errorf("a blob of %d bytes is returned: %t", len(content), ok)
		}
		if !ok {
			continue
		}
		r, err := zlib.NewReader(bytes.NewReader(stream))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != content {
			t.Errorf("got %q, %v", got, err)
		}
		buf = stream
	}
	if _, _, err := repo.ReadDeflated(object.HashObject(object.SHA1, object.Blob, []byte("none")), nil); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("got %v for what is not there", err)
	}
}
