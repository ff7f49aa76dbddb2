package s3

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/minio/minio-go/v7/pkg/s3utils"
	"github.com/minio/minio-go/v7/pkg/signer"
)

// rawRequest is a call that no client library would make, such as one with a malformed body.
type rawRequest struct {
	method string
	key    string // empty: the bucket
	query  url.Values
	header http.Header
	body   string
}

type rawAnswer struct {
	status  int
	code    string // of the S3 error
	message string
	header  http.Header
	body    []byte
}

// maxRawAnswer bounds what is read of an answer.
const maxRawAnswer = 1 << 20

// raw signs and sends a request, once.
func (b *Bucket) raw(ctx context.Context, r rawRequest) (rawAnswer, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, b.url(r), bytes.NewReader([]byte(r.body)))
	if err != nil {
		return rawAnswer{}, err
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	sum := sha256.Sum256([]byte(r.body))
	req.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
	if r.body != "" && b.cfg.Checksum == MD5 {
		sum := md5.Sum([]byte(r.body))
		req.Header.Set("Content-Md5", base64.StdEncoding.EncodeToString(sum[:]))
	} else if r.body != "" {
		req.Header.Set(headerSHA256, base64.StdEncoding.EncodeToString(sum[:]))
	}
	req = signer.SignV4(*req, b.cfg.AccessKey, b.cfg.SecretKey, "", b.cfg.Region)
	client := http.Client{
		Transport:     b.transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return rawAnswer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxRawAnswer))
	if err != nil {
		return rawAnswer{}, err
	}
	a := rawAnswer{status: resp.StatusCode, header: resp.Header, body: body}
	if a.status >= 300 {
		var e struct{ Code, Message string }
		if xml.Unmarshal(body, &e) == nil {
			a.code, a.message = e.Code, e.Message
		}
	}
	return a, nil
}

// url addresses the bucket as minio-go does.
func (b *Bucket) url(r rawRequest) string {
	u := url.URL{Scheme: "https", Host: b.host}
	if b.plain {
		u.Scheme = "http"
	}
	path := "/" + b.cfg.Bucket + "/"
	if s3utils.IsVirtualHostSupported(u, b.cfg.Bucket) {
		u.Host, path = b.cfg.Bucket+"."+u.Host, "/"
	}
	return fmt.Sprintf("%s://%s%s%s?%s", u.Scheme, u.Host, path, s3utils.EncodePath(r.key), s3utils.QueryEncode(r.query))
}
