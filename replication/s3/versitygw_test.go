package s3_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"holdfast/replication/buckettest"
	"holdfast/replication/s3"
)

// versity is a versitygw process with a versioned and locked bucket.
type versity struct {
	site
	admin buckettest.Key
}

// versitygw finds the program: VERSITYGW, PATH, GOPATH/bin.
func versitygw(t testing.TB) string {
	home, _ := os.UserHomeDir()
	for _, name := range []string{os.Getenv("VERSITYGW"), "versitygw", filepath.Join(home, "go", "bin", "versitygw")} {
		if path, err := exec.LookPath(name); name != "" && err == nil {
			return path
		}
	}
	t.Skip("versitygw is not installed: go install github.com/versity/versitygw/cmd/versitygw@v1.8.0, or set VERSITYGW")
	return ""
}

func startVersity(t testing.TB) *versity {
	t.Helper()
	bin, dir := versitygw(t), t.TempDir()
	for _, d := range []string{"root", "versions", "iam"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	v := &versity{admin: buckettest.Key{Access: "adminkey", Secret: "adminsecret123"}}
	v.Endpoint = buckettest.Endpoint{
		URL: "http://" + addr, Region: "us-east-1", Bucket: "acme-code", OverwriteAllowed: true,
		Writer: buckettest.Key{Access: "writerkey", Secret: "writersecret123"},
		Reader: buckettest.Key{Access: "readerkey", Secret: "readersecret123"},
	}
	cmd := exec.Command(bin, "--port", addr, "--access", v.admin.Access, "--secret", v.admin.Secret,
		"--iam-dir", filepath.Join(dir, "iam"), "--iam-cache-disable", "--quiet",
		"posix", "--versioning-dir", filepath.Join(dir, "versions"), filepath.Join(dir, "root"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	v.awaitReady(t)
	for _, key := range []buckettest.Key{v.Writer, v.Reader} {
		out, err := exec.Command(bin, "admin", "--access", v.admin.Access, "--secret", v.admin.Secret, "--endpoint-url", v.URL,
			"--allow-insecure", "create-user", "--access", key.Access, "--secret", key.Secret, "--role", "user").CombinedOutput()
		if err != nil {
			t.Fatalf("create-user: %v\n%s", err, out)
		}
	}
	v.createBucket(t)
	return v
}

func (v *versity) awaitReady(t testing.TB) {
	for deadline := time.Now().Add(20 * time.Second); ; {
		resp, err := http.Get(v.URL)
		if err == nil {
			resp.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // there is nothing else to wait for in another process
	}
}

func (v *versity) createBucket(t testing.TB) {
	t.Helper()
	statement := `{"Effect":"Allow","Principal":{"AWS":[%q]},"Action":[%s],"Resource":[%s]}`
	bucket, objects := `"arn:aws:s3:::`+v.Bucket+`"`, `"arn:aws:s3:::`+v.Bucket+`/*"`
	policy := `{"Version":"2012-10-17","Statement":[` +
		fmt.Sprintf(statement, v.Writer.Access, `"s3:PutObject","s3:AbortMultipartUpload"`, objects) + "," +
		fmt.Sprintf(statement, v.Reader.Access, `"s3:GetObject","s3:GetObjectVersion","s3:GetObjectRetention"`, objects) + "," +
		fmt.Sprintf(statement, v.Reader.Access, `"s3:ListBucket","s3:ListBucketVersions","s3:GetBucketVersioning",`+
			`"s3:GetBucketObjectLockConfiguration","s3:GetBucketAcl"`, bucket) + `]}`
	path := "/" + v.Bucket
	for _, raw := range []buckettest.Raw{
		{Method: "PUT", Path: path, Header: http.Header{"X-Amz-Bucket-Object-Lock-Enabled": {"true"}}},
		{Method: "PUT", Path: path, Query: "versioning=", Body: []byte(
			`<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>`)},
		{Method: "PUT", Path: path, Query: "object-lock=", Body: []byte(
			`<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>` +
				`<Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>`)},
		{Method: "PUT", Path: path, Query: "policy=", Body: []byte(policy)},
	} {
		if raw.Header == nil {
			sum := sha256.Sum256(raw.Body)
			raw.Header = http.Header{"X-Amz-Checksum-Sha256": {base64.StdEncoding.EncodeToString(sum[:])}}
		}
		if got := v.Do(t, v.admin, raw); got.Status >= 300 {
			t.Fatalf("%s %s?%s: %d %s", raw.Method, raw.Path, raw.Query, got.Status, got.Body)
		}
	}
}

func (v *versity) AddVersion(t *testing.T, key string, data []byte) {
	t.Helper()
	if got := v.Do(t, v.Writer, buckettest.Raw{Method: "PUT", Path: "/" + v.Bucket + "/" + key, Body: data}); got.Status != 200 {
		t.Fatalf("put %s: %d %s", key, got.Status, got.Body)
	}
}

func (v *versity) AddMarker(t *testing.T, key string) {
	t.Helper()
	if got := v.Do(t, v.admin, buckettest.Raw{Method: "DELETE", Path: "/" + v.Bucket + "/" + key}); got.Status != 204 {
		t.Fatalf("delete %s: %d %s", key, got.Status, got.Body)
	}
}

func TestVersitygw(t *testing.T) {
	v := startVersity(t)
	buckettest.Suite{
		Open: v.open, AddVersion: v.AddVersion, AddMarker: v.AddMarker, BigBytes: 2*s3.MinPartBytes + 17,
		FileTree: true,
	}.Run(t)
	t.Run("attacks", func(t *testing.T) {
		w, r := v.open(t)
		v.RunDenied(t, w, r)
	})
}
