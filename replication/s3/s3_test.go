package s3_test

import (
	"crypto/x509"
	"io"
	"log"
	"log/slog"
	"net/http/httptest"
	"testing"

	"holdfast/replication"
	"holdfast/replication/buckettest"
	"holdfast/replication/s3"
	"holdfast/replication/worm"
)

// site is an S3 endpoint with a bucket and the credentials of a writer and a reader.
type site struct {
	buckettest.Endpoint
	roots *x509.CertPool
}

func (e site) config(key buckettest.Key) s3.Config {
	return s3.Config{
		Endpoint: e.URL, Region: e.Region, Bucket: e.Bucket, AccessKey: key.Access, SecretKey: key.Secret,
		PartBytes: s3.MinPartBytes, PageKeys: 7, RootCAs: e.roots, Conditions: s3.Conditions{Put: true, Complete: true},
	}
}

// bucket returns the bucket as key sees it.
func (e site) bucket(t testing.TB, c s3.Config) *s3.Bucket {
	t.Helper()
	b, err := s3.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func (e site) open(t *testing.T) (replication.Bucket, replication.Bucket) {
	return e.bucket(t, e.config(e.Writer)), e.bucket(t, e.config(e.Reader))
}

// startWorm starts an append-only endpoint of ours, over TLS if scheme is https.
func startWorm(t testing.TB, scheme string) site {
	t.Helper()
	e := site{Endpoint: buckettest.Endpoint{
		Region: "us-east-1", Bucket: "acme-code",
		Writer: buckettest.Key{Access: "writerkey", Secret: "writersecret0123456789"},
		Reader: buckettest.Key{Access: "readerkey", Secret: "readersecret0123456789"},
	}}
	server, err := worm.New(worm.Config{
		Dir: t.TempDir(), Bucket: e.Bucket, Region: e.Region, NoSync: true, Log: slog.New(slog.DiscardHandler),
		Writer: worm.KeyPair{AccessKey: e.Writer.Access, SecretKey: e.Writer.Secret},
		Reader: worm.KeyPair{AccessKey: e.Reader.Access, SecretKey: e.Reader.Secret},
	})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewUnstartedServer(server)
	web.Config.ErrorLog = log.New(io.Discard, "", 0)
	if scheme == "https" {
		web.StartTLS()
		e.roots = x509.NewCertPool()
		e.roots.AddCert(web.Certificate())
	} else {
		web.Start()
	}
	t.Cleanup(func() {
		web.Close()
		server.Close()
	})
	e.URL, e.Client = web.URL, web.Client()
	return e
}

func TestWorm(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			e := startWorm(t, scheme)
			buckettest.Suite{Open: e.open, Conditional: buckettest.WriteOnce, BigBytes: 2*s3.MinPartBytes + 17}.Run(t)
			t.Run("attacks", func(t *testing.T) {
				w, r := e.open(t)
				e.RunDenied(t, w, r)
			})
		})
	}
}

// TestMD5: the other checksum works too.
func TestMD5(t *testing.T) {
	e := startWorm(t, "http")
	open := func(t *testing.T) (replication.Bucket, replication.Bucket) {
		w, r := e.config(e.Writer), e.config(e.Reader)
		w.Checksum = s3.MD5
		return e.bucket(t, w), e.bucket(t, r)
	}
	buckettest.Suite{Open: open, Conditional: buckettest.WriteOnce, BigBytes: 2*s3.MinPartBytes + 17, Keys: 8}.Run(t)
}
