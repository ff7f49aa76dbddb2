package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"holdfast/replication"
)

// errKilled is the panic that stands for a kill -9: nothing that was written is taken back.
const errKilled = "killed"

// killPoint is when a run is killed.
type killPoint int

const (
	untilReady killPoint = iota // it is not killed
	atProbe                     // when init has made the kit and probes the first mirror
	hostMade                    // when init is done and nothing is served yet
)

// runQuickstart runs a quickstart below dir until it is ready or killed, and returns what it said.
func runQuickstart(t *testing.T, dir string, kill killPoint) (said string, killed bool) {
	t.Helper()
	var out bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a := &app{Stdin: strings.NewReader(""), Stdout: &stopAt{&out, "restore --kit", cancel}, Stderr: &out, Getenv: func(string) string { return "" }}
	a.ReadFile = func(path string) ([]byte, error) {
		if kill == atProbe && strings.HasSuffix(path, "local1.key") {
			panic(errKilled)
		}
		return os.ReadFile(path)
	}
	q := &quickstart{a: a, dir: filepath.Join(dir, "data"), ssh: "127.0.0.1:0", http: "127.0.0.1:0"}
	if err := q.load(); err != nil {
		t.Fatal(err)
	}
	mirrors, stop := context.WithCancel(context.Background())
	var g errgroup.Group
	defer func() {
		stop()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	}()
	if err := q.startMirrors(mirrors, &g); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if p := recover(); p == errKilled {
			said, killed = out.String(), true
		} else if p != nil {
			panic(p)
		}
	}()
	if kill == hostMade {
		if err := q.make(ctx); err != nil {
			t.Fatal(err)
		}
		return out.String(), true
	}
	if err := q.serve(ctx); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return out.String(), false
}

// stopAt writes to buf, and stops the run once what it writes holds text.
type stopAt struct {
	buf  *bytes.Buffer
	text string
	stop func()
}

func (s *stopAt) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(s.text)) {
		s.stop()
	}
	return s.buf.Write(p)
}

// Whenever the very first run is killed, the next one makes a host that serves, and a kit that fits it.
func TestQuickstartKilled(t *testing.T) {
	remove := func(t *testing.T, dir string, names ...string) {
		for _, name := range names {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name string
		kill killPoint
		left func(t *testing.T, dir string) // makes of it what an earlier kill would have left
		anew bool
	}{
		{name: "with the kit made", kill: atProbe, anew: true},
		{name: "while the kit was made", kill: atProbe, anew: true, left: func(t *testing.T, dir string) {
			remove(t, dir, "holdfast-kit/kit.yaml", "holdfast-kit/readers.yaml")
		}},
		{name: "with the configuration only", kill: atProbe, anew: true, left: func(t *testing.T, dir string) {
			remove(t, dir, "holdfast-kit", "data/host.db", "data/repos", "data/quarantine")
		}},
		{name: "while the configuration was written", kill: atProbe, anew: true, left: func(t *testing.T, dir string) {
			remove(t, dir, "holdfast-kit", "data/host.db", "data/repos", "data/quarantine")
			if err := os.Truncate(filepath.Join(dir, "data", configName), 10); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "with the host made", kill: hostMade},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if said, killed := runQuickstart(t, dir, tt.kill); !killed {
				t.Fatalf("was not killed:\n%s", said)
			}
			if tt.left != nil {
				tt.left(t, dir)
			}
			said, _ := runQuickstart(t, dir, untilReady)
			if anew := strings.Contains(said, "the last quickstart was ended"); anew != tt.anew || !strings.Contains(said, "git clone") {
				t.Errorf("the second run:\n%s", said)
			}
			kit, err := replication.OpenKit(filepath.Join(dir, "holdfast-kit"))
			if err != nil {
				t.Fatal(err)
			}
			known, err := loadProbes(filepath.Join(dir, "data"))
			if err != nil || known.Instance != kit.Instance() {
				t.Errorf("the kit is of %s, the host of %s, %v", kit.Instance(), known.Instance, err)
			}
			if said, _ = runQuickstart(t, dir, untilReady); strings.Contains(said, "the last quickstart was ended") {
				t.Errorf("the third run:\n%s", said)
			}
		})
	}
}

// What a quickstart did not make is left alone, whatever else was begun.
func TestQuickstartKeepsOthers(t *testing.T) {
	dir := t.TempDir()
	runQuickstart(t, dir, atProbe)
	path := filepath.Join(dir, "holdfast-kit", "root.key")
	if err := os.WriteFile(path, []byte("# holdfast root key of instance other\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	q := &quickstart{a: &app{Stderr: io.Discard}, dir: filepath.Join(dir, "data")}
	if err := q.load(); err != nil || !q.fresh {
		t.Fatal(q.fresh, err)
	}
	if err := q.clear(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the kit of another host: %v", err)
	}

	dir = t.TempDir()
	runQuickstart(t, dir, untilReady)
	q = &quickstart{a: &app{Stderr: io.Discard}, dir: filepath.Join(dir, "data")}
	if err := q.load(); err != nil || q.fresh {
		t.Fatal(q.fresh, err)
	}
	if err := q.clear(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"data/host.db", "data/" + configName, "holdfast-kit/kit.yaml"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("of a finished host: %v", err)
		}
	}
}
