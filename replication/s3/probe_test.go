package s3_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"holdfast/replication/buckettest"
	"holdfast/replication/s3"
)

const instance = "0123456789abcdef"

func (e site) probe(t *testing.T, writer, reader buckettest.Key) *s3.ProbeReport {
	t.Helper()
	r := e.config(reader)
	report, err := s3.Probe(t.Context(), s3.ProbeOptions{Instance: instance, Writer: e.config(writer), Reader: &r})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", report)
	return report
}

// find returns the check with that name.
func find(t *testing.T, r *s3.ProbeReport, who, what string) s3.Check {
	t.Helper()
	i := slices.IndexFunc(r.Checks, func(c s3.Check) bool { return c.Who == who && c.What == what })
	if i < 0 {
		t.Fatalf("no check %q of the %s", what, who)
	}
	return r.Checks[i]
}

func TestProbeWorm(t *testing.T) {
	e := startWorm(t, "http")
	r := e.probe(t, e.Writer, e.Reader)
	if !r.Conditions.Put || !r.Conditions.Complete || !r.IdenticalAccepted || r.Checksum != s3.SHA256 {
		t.Errorf("%+v", r)
	}
	if problems := r.Problems(); len(problems) > 0 || r.Worst() != s3.Good {
		t.Errorf("problems: %+v", problems)
	}
	if r.Owner != "" {
		t.Errorf("owner %s: all mirrors of ours would seem to have the same", r.Owner)
	}
	for _, key := range []string{"versioning", "delete a version"} {
		if !strings.Contains(r.String(), key) {
			t.Errorf("the text does not say %q", key)
		}
	}
	var back s3.ProbeReport
	if data, err := json.Marshal(r); err != nil || json.Unmarshal(data, &back) != nil || len(back.Checks) != len(r.Checks) {
		t.Errorf("as JSON: %+v", back)
	}
	_, reader := e.open(t)
	for o, err := range reader.List(t.Context(), "", "") {
		if err != nil || !strings.HasPrefix(o.Key, "v1/"+instance+"/probe/") {
			t.Errorf("the probe stored %q, %v", o.Key, err)
		}
	}
}

func TestProbeVersitygw(t *testing.T) {
	v := startVersity(t)
	t.Run("as it should be", func(t *testing.T) {
		r := v.probe(t, v.Writer, v.Reader)
		if !r.Conditions.Put || !r.Conditions.Complete || r.IdenticalAccepted || r.Versioning != "Enabled" ||
			r.Retention.Mode != "COMPLIANCE" || r.Owner == "" {
			t.Errorf("%+v", r)
		}
		if problems := r.Problems(); len(problems) > 0 {
			t.Errorf("problems: %+v", problems)
		}
	})
	// The same requests with a key that may do everything: a refusal above was about rights.
	t.Run("too strong", func(t *testing.T) {
		r := v.probe(t, v.admin, v.admin)
		for _, what := range []string{
			"delete a version", "hide a key behind a delete marker", "delete the bucket", "change the policy",
			"change versioning", "change the lock rule", "change the access list", "list", "list versions",
			"read an object", "find out whether a key exists",
		} {
			if c := find(t, r, "writer", what); c.Finding != s3.Allowed || c.Grade == s3.Good {
				t.Errorf("%+v", c)
			}
		}
		if c := find(t, r, "reader", "put an object"); c.Finding != s3.Allowed || c.Grade != s3.Danger {
			t.Errorf("%+v", c)
		}
		if r.Worst() != s3.Danger {
			t.Errorf("worst: %s", r.Worst())
		}
	})
	t.Run("no rights", func(t *testing.T) {
		_, err := s3.Probe(t.Context(), s3.ProbeOptions{Instance: instance, Writer: v.config(v.Reader)})
		if err == nil {
			t.Error("a writer that may not put was accepted")
		}
	})
	t.Run("wrong secret", func(t *testing.T) {
		c := v.config(buckettest.Key{Access: v.Writer.Access, Secret: "not this one at all"})
		_, err := s3.Probe(t.Context(), s3.ProbeOptions{Instance: instance, Writer: c})
		if err == nil || strings.Contains(err.Error(), c.SecretKey) {
			t.Errorf("err = %v", err)
		}
	})
}

// TestProbeBackward probes a server that knows neither conditions nor the checksum, and lets everybody do everything.
func TestProbeBackward(t *testing.T) {
	stored := map[string]bool{}
	e := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("X-Amz-Checksum-Sha256") != "":
			fail(w, 400, "InvalidArgument")
		case r.Header.Get("If-None-Match") != "":
			fail(w, 501, "NotImplemented")
		case r.URL.Query().Has("uploads"):
			w.Write([]byte("<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"))
		case r.URL.Query().Has("partNumber"):
			w.Header().Set("ETag", `"x"`)
		case r.Method == "POST":
			w.Write([]byte("<CompleteMultipartUploadResult><Bucket>b</Bucket></CompleteMultipartUploadResult>"))
		case r.Method == "PUT" && r.URL.RawQuery == "":
			stored[r.URL.Path] = true
		case r.Method == "DELETE":
			w.WriteHeader(204)
		default:
			fail(w, 418, "Teapot")
		}
	})
	r, err := s3.Probe(t.Context(), s3.ProbeOptions{Instance: instance, Writer: e.config(e.Writer)})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", r)
	if r.Conditions.Put || r.Conditions.Complete || r.IdenticalAccepted || r.Checksum != s3.MD5 {
		t.Errorf("%+v", r)
	}
	for what, want := range map[string]s3.Finding{
		"conditional put of a taken key": s3.NotOffered, "conditional completion of a taken key": s3.NotOffered,
		"multipart upload without a condition": s3.Allowed, "delete a version": s3.Allowed, "list": s3.Unclear,
		"overwrite": s3.Allowed,
	} {
		if c := find(t, r, "writer", what); c.Finding != want {
			t.Errorf("%+v; want %s", c, want)
		}
	}
	if len(stored) != 2 { // the canary and the one that is overwritten
		t.Errorf("stored: %v", stored)
	}
}

func TestCompare(t *testing.T) {
	got := s3.Compare([]s3.Party{
		{Name: "aws", Endpoint: "https://s3.eu-central-1.amazonaws.com", Keys: []string{"AK1", "AK2"}, Owner: "o1"},
		{Name: "aws2", Endpoint: "https://s3.us-west-2.amazonaws.com", Keys: []string{"AK3", "AK2"}, Owner: "o1"},
		{Name: "b2", Endpoint: "https://s3.backblazeb2.com:443", Keys: []string{"AK4", ""}},
		{Name: "nas", Endpoint: "https://192.0.2.7:9000", Keys: []string{"AK5", ""}},
		{Name: "nas2", Endpoint: "https://192.0.2.7:9001", Keys: []string{"AK6"}},
		{Name: "office", Endpoint: "https://192.0.2.8", Keys: []string{"AK7"}},
	})
	want := []s3.Shared{
		{Mirrors: [2]string{"aws", "aws2"}, What: "domain", Value: "amazonaws.com"},
		{Mirrors: [2]string{"aws", "aws2"}, What: "access key", Value: "AK2"},
		{Mirrors: [2]string{"aws", "aws2"}, What: "owner", Value: "o1"},
		{Mirrors: [2]string{"nas", "nas2"}, What: "host", Value: "192.0.2.7"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// serve starts a server that answers as handle says.
func serve(t testing.TB, handle http.HandlerFunc) site {
	web := httptest.NewServer(handle)
	t.Cleanup(web.Close)
	key := buckettest.Key{Access: "writerkey", Secret: "a-very-secret-key"}
	return site{Endpoint: buckettest.Endpoint{URL: web.URL, Region: "r", Bucket: "acme-code", Writer: key, Reader: key}}
}

// fail answers an S3 error.
func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	w.Write([]byte("<Error><Code>" + code + "</Code><Message>says the server</Message></Error>"))
}
