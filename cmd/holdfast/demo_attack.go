package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// attacker holds everything that the host holds: the endpoint of one mirror and the host's credential there. It speaks
// S3 by itself, so that no client library stands between it and what the endpoint really does.
type attacker struct {
	endpoint, bucket, accessKey, secretKey string
	key                                    string // an object that exists
}

// attempt is one call that must not get through.
type attempt struct {
	what           string
	method, object string
	query          url.Values
	header         map[string]string
	body           string
	// also lists answers that refuse this call besides 403, 405 and 501.
	also []int
}

// verdict is what came of an attempt.
type verdict struct {
	Mirror  string `json:"mirror"`
	Attempt string `json:"attempt"`
	Answer  string `json:"answer"`
	Refused bool   `json:"refused"`
}

// attempts lists what an attacker with the host's credential would try.
func (at attacker) attempts() []attempt {
	q := func(pairs ...string) url.Values {
		v := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			v.Set(pairs[i], pairs[i+1])
		}
		return v
	}
	exists := []int{http.StatusPreconditionFailed}
	multi := "<Delete><Object><Key>" + at.key + "</Key></Object></Delete>"
	const tomorrow = "<LifecycleConfiguration><Rule><ID>x</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter>" +
		"<Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>"
	return []attempt{
		{what: "delete an object", method: "DELETE", object: at.key},
		{what: "delete a version of it", method: "DELETE", object: at.key, query: q("versionId", "null")},
		{what: "delete many objects in one call", method: "POST", query: q("delete", ""), body: multi},
		{what: "overwrite an object", method: "PUT", object: at.key, body: "gone", also: exists},
		{what: "overwrite it if it is missing", method: "PUT", object: at.key, body: "gone", also: exists,
			header: map[string]string{"If-None-Match": "*"}},
		{what: "copy another object over it", method: "PUT", object: at.key,
			header: map[string]string{"X-Amz-Copy-Source": "/" + at.bucket + "/" + at.key}},
		{what: "let a lifecycle rule delete all", method: "PUT", query: q("lifecycle", ""), body: tomorrow},
		{what: "suspend versioning", method: "PUT", query: q("versioning", ""),
			body: "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"},
		{what: "switch off the object lock", method: "PUT", query: q("object-lock", ""), body: "<ObjectLockConfiguration/>"},
		{what: "shorten an object's retention", method: "PUT", object: at.key, query: q("retention", ""),
			body: "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2001-01-01T00:00:00Z</RetainUntilDate></Retention>"},
		{what: "give itself rights by policy", method: "PUT", query: q("policy", ""), body: `{"Statement":[]}`},
		{what: "give itself rights by ACL", method: "PUT", query: q("acl", ""), body: "<AccessControlPolicy/>"},
		{what: "replicate elsewhere and delete", method: "PUT", query: q("replication", ""), body: "<ReplicationConfiguration/>"},
		{what: "delete the bucket", method: "DELETE"},
		{what: "create the bucket anew", method: "PUT"},
		{what: "list the bucket", method: "GET", query: q("list-type", "2")},
		{what: "list all versions", method: "GET", query: q("versions", "")},
		{what: "list unfinished uploads", method: "GET", query: q("uploads", "")},
		{what: "read an object", method: "GET", object: at.key},
		{what: "read an object's headers", method: "HEAD", object: at.key},
		{what: "leave the bucket by a path", method: "GET", object: "../../../../etc/passwd",
			also: []int{http.StatusBadRequest, http.StatusNotFound}},
	}
}

// try makes one attempt and judges the answer: only a clear refusal counts.
func (at attacker) try(ctx context.Context, client *http.Client, t attempt) (verdict, error) {
	v := verdict{Attempt: t.what}
	req, err := at.request(ctx, t)
	if err != nil {
		return v, err
	}
	at.sign(req, t.body, time.Now())
	resp, err := client.Do(req)
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return v, err
	}
	var answer struct{ Code string }
	_ = xml.Unmarshal(body, &answer) // an answer without a code, to HEAD for one, is judged by its status
	v.Answer = strings.TrimSpace(fmt.Sprint(resp.StatusCode, " ", answer.Code))
	refusals := append([]int{http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusNotImplemented}, t.also...)
	v.Refused = slices.Contains(refusals, resp.StatusCode)
	return v, nil
}

func (at attacker) request(ctx context.Context, t attempt) (*http.Request, error) {
	target := at.endpoint + "/" + at.bucket
	if t.object != "" {
		target += "/" + t.object
	}
	if len(t.query) > 0 {
		target += "?" + t.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, t.method, target, strings.NewReader(t.body))
	if err != nil {
		return nil, err
	}
	for name, value := range t.header {
		req.Header.Set(name, value)
	}
	return req, nil
}

// sign signs a request as AWS's Signature Version 4 says: the method, path, query, every header that matters, and the
// body's hash.
func (at attacker) sign(req *http.Request, body string, now time.Time) {
	const region = "us-east-1"
	stamp, day := now.UTC().Format("20060102T150405Z"), now.UTC().Format("20060102")
	sum := sha256.Sum256([]byte(body))
	req.Header.Set("X-Amz-Date", stamp)
	req.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))

	headers := map[string]string{"host": req.URL.Host}
	for name := range req.Header {
		headers[strings.ToLower(name)] = strings.TrimSpace(req.Header.Get(name))
	}
	var names []string
	for name := range headers {
		names = append(names, name)
	}
	slices.Sort(names)
	var canonical bytes.Buffer
	fmt.Fprintf(&canonical, "%s\n%s\n%s\n", req.Method, req.URL.EscapedPath(), strings.ReplaceAll(req.URL.Query().Encode(), "+", "%20"))
	for _, name := range names {
		fmt.Fprintf(&canonical, "%s:%s\n", name, headers[name])
	}
	signed := strings.Join(names, ";")
	fmt.Fprintf(&canonical, "\n%s\n%s", signed, hex.EncodeToString(sum[:]))

	scope := day + "/" + region + "/s3/aws4_request"
	hash := sha256.Sum256(canonical.Bytes())
	text := "AWS4-HMAC-SHA256\n" + stamp + "\n" + scope + "\n" + hex.EncodeToString(hash[:])
	key := []byte("AWS4" + at.secretKey)
	for _, part := range []string{day, region, "s3", "aws4_request", text} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	req.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s",
		at.accessKey, scope, signed, hex.EncodeToString(key)))
}
