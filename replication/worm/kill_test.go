package worm_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/replication/buckettest"
	"holdfast/replication/worm"
)

// The environment of a process that is a server for a test: its directory, and the largest file that it may write.
const (
	childDir       = "HOLDFAST_WORM_TEST_DIR"
	childFileLimit = "HOLDFAST_WORM_TEST_FILE_LIMIT"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(dir string) error {
	if limit, err := strconv.ParseUint(os.Getenv(childFileLimit), 10, 64); err == nil {
		signal.Ignore(unix.SIGXFSZ) // so that a write fails
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			return err
		}
	}
	server, err := worm.New(config(dir))
	if err != nil {
		return err
	}
	fmt.Println(httptest.NewServer(server).URL)
	_, err = io.Copy(io.Discard, os.Stdin) // until the test kills it or dies itself
	return err
}

// startChild starts a server in a process of its own. kill ends it without a chance to tidy up.
func startChild(t *testing.T, dir string, env ...string) (url string, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), childDir+"="+dir), env...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		cmd.Process.Kill()
		cmd.Wait()
		stdin.Close()
	})
	t.Cleanup(kill)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line), kill
}

// contents are the bytes of a key in TestKill: long enough to be killed in the middle of.
func contents(key string) []byte {
	sum := sha256.Sum256([]byte(key))
	return bytes.Repeat(sum[:], 4000)
}

// TestKill kills the server while it stores objects. Afterwards every object that it acknowledged is there, and every
// object that can be seen is whole.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	acked := map[string]bool{}
	for round := range 4 {
		killOnce(t, dir, round, acked)
	}
	m := &mirror{T: t, dir: dir}
	m.open(config(dir))
	defer m.stop()
	for key := range acked {
		if got := m.get(key); got.Status != 200 || !bytes.Equal(got.Body, contents(key)) {
			t.Errorf("acknowledged %s: %d, %d bytes", key, got.Status, len(got.Body))
		}
	}
	whole := 0
	for path, data := range m.files("objects") {
		if len(data) != len(contents("")) || data[:32] != data[len(data)-32:] {
			t.Errorf("%s is not whole", path)
		}
		whole++
	}
	t.Logf("%d acknowledged, %d stored", len(acked), whole)
	if left := m.files("tmp"); len(left) > 0 {
		t.Errorf("left behind: %d files", len(left))
	}
}

func killOnce(t *testing.T, dir string, round int, acked map[string]bool) {
	url, kill := startChild(t, dir)
	e := buckettest.Endpoint{URL: url, Region: "us-east-1", Bucket: bucket, Writer: writer}

	type result struct {
		key string
		ok  bool
	}
	results := make(chan result)
	ctx, cancel := context.WithCancel(t.Context())
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var workers sync.WaitGroup
	for worker := range 3 {
		workers.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("v1/%d/%d/%04d", round, worker, i)
				req := e.Request(t, writer, buckettest.Raw{Method: "PUT", Path: "/" + bucket + "/" + key, Body: contents(key)})
				resp, err := client.Do(req)
				r := result{key: key, ok: err == nil && resp.StatusCode == 200}
				if err == nil {
					resp.Body.Close()
				}
				select {
				case results <- r:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	for range 5 + rand.IntN(20) {
		if r := <-results; r.ok {
			acked[r.key] = true
		}
	}
	kill()
	cancel()
	workers.Wait()
}
