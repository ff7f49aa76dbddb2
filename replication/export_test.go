package replication

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"filippo.io/age"

	"holdfast/storage"
)

// ParseHeaderForTest reads the text of a header or a closed object and writes it again.
func ParseHeaderForTest(text string) (string, error) {
	switch magic, _, _ := strings.Cut(text, "\n"); magic {
	case segmentMagic:
		h, err := parseHeader(text)
		return h.text(), err
	case closedMagic:
		c, err := parseClosed(text)
		return c.text(), err
	}
	return "", errors.New("no magic")
}

// BodyForTest returns the tar of a segment in clear.
func BodyForTest(t testing.TB, entries []storage.Entry, open func(storage.PackID) (io.ReadCloser, error)) []byte {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	if err := writeLists(tw, Contents{Entries: entries}); err != nil {
		t.Fatal(err)
	}
	for _, p := range distinctPacks(entries) {
		if err := writePack(tw, p, open); err != nil {
			t.Fatal(err)
		}
	}
	tw.Close()
	return buf.Bytes()
}

// SegmentForTest signs a header over any body.
func SegmentForTest(t testing.TB, h Header, plain []byte, k SealKeys) []byte {
	var body, object bytes.Buffer
	enc, err := age.Encrypt(&body, k.Recipients...)
	if err != nil {
		t.Fatal(err)
	}
	enc.Write(plain)
	enc.Close()
	h.BodySum, h.BodySize = sha256.Sum256(body.Bytes()), int64(body.Len())
	if err := writeNote(&object, h.text(), k.Signer); err != nil {
		t.Fatal(err)
	}
	object.Write(body.Bytes())
	return object.Bytes()
}

// CountSyncsForTest counts the fsyncs of every spool until the test ends.
func CountSyncsForTest(t testing.TB) *atomic.Int64 {
	n, before := new(atomic.Int64), syncFile
	syncFile = func(f *os.File) error { n.Add(1); return before(f) }
	t.Cleanup(func() { syncFile = before })
	return n
}
