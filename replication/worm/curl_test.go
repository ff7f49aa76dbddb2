package worm_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os/exec"
	"strings"
	"testing"

	"holdfast/replication/buckettest"
)

// TestCurl talks to the mirror with a client that shares no code with it.
func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed")
	}
	m := start(t, nil)
	run := func(key buckettest.Key, path string, args ...string) (status, body string) {
		t.Helper()
		args = append(args, "-sS", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", key.Access+":"+key.Secret,
			"-w", "\n%{http_code}", m.URL+path)
		out, err := exec.Command(curl, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("curl %s: %v\n%s", path, err, out)
		}
		i := strings.LastIndexByte(string(out), '\n')
		return string(out[i+1:]), string(out[:i])
	}
	sum := func(data string) string {
		hash := sha256.Sum256([]byte(data))
		return "x-amz-content-sha256: " + hex.EncodeToString(hash[:])
	}
	path := "/" + bucket + "/v1/k"
	for _, test := range []struct {
		name   string
		key    buckettest.Key
		path   string
		args   []string
		status string
		body   string
	}{
		{"put", writer, path, []string{"-X", "PUT", "--data-binary", "data", "-H", sum("data")}, "200", ""},
		{"put again", writer, path, []string{"-X", "PUT", "--data-binary", "data", "-H", sum("data")}, "200", ""},
		{"overwrite", writer, path, []string{"-X", "PUT", "--data-binary", "more", "-H", sum("more")}, "412", "PreconditionFailed"},
		{"put of another hash", writer, path, []string{"-X", "PUT", "--data-binary", "more", "-H", sum("less")}, "400", "BadDigest"},
		{"get", reader, path, []string{"-H", sum("")}, "200", "data"},
		{"list", reader, "/" + bucket + "?list-type=2", []string{"-H", sum("")}, "200", "<Key>v1/k</Key>"},
		{"get by the writer", writer, path, []string{"-H", sum("")}, "403", "AccessDenied"},
		{"delete", writer, path, []string{"-X", "DELETE", "-H", sum("")}, "403", "AccessDenied"},
		{"delete by the reader", reader, path, []string{"-X", "DELETE", "-H", sum("")}, "403", "AccessDenied"},
		{"wrong secret", buckettest.Key{Access: reader.Access, Secret: "no"}, path, []string{"-H", sum("")}, "403", "SignatureDoesNotMatch"},
	} {
		status, body := run(test.key, test.path, test.args...)
		if status != test.status || !strings.Contains(body, test.body) {
			t.Errorf("%s: %s %s; want %s with %q", test.name, status, body, test.status, test.body)
		}
	}
}
