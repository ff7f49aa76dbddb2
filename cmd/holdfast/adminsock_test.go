package main

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What comes over the admin socket may be anything, and a verb may fail in any way: it ends neither the server nor its
// other verbs. The server is nil here, so that every verb that touches it panics.
func TestAdminSocketHostile(t *testing.T) {
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "admin.sock"))
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	done := make(chan error, 1)
	go func() {
		done <- serveAdmin(t.Context(), ln, nil, slog.New(slog.NewTextHandler(&log, nil)))
	}()
	say := func(line string) (last adminMessage, err error) {
		conn, err := net.Dial("unix", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, line+"\n"); err != nil {
			return last, err
		}
		if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
			return last, err
		}
		for c := newAdminConn(conn); ; {
			m, err := c.receive(nil)
			if err != nil {
				return last, err
			}
			if last = m; m.Exit != nil {
				return last, nil
			}
		}
	}
	if m, err := say(`{"args":["repo","list"]}`); err == nil {
		t.Errorf("a verb without a server: %+v", m)
	}
	for _, line := range []string{"no JSON", `{"size":-1}`, `{"size":1000000000}`, `{"size":100}`} {
		if m, err := say(line); err == nil {
			t.Errorf("%s: %+v", line, m)
		}
	}
	for _, line := range []string{`{}`, `{"args":[]}`, `{"args":["serve"]}`, `{"args":["mirror","probe"]}`, `{"args":["-test.v"]}`} {
		if m, err := say(line); err != nil || *m.Exit != 2 {
			t.Errorf("%s: %+v, %v", line, m, err)
		}
	}
	ln.Close()
	<-done
	if !strings.Contains(log.String(), "panic") {
		t.Errorf("the log has no panic:\n%s", log.String())
	}
}

// A client that says nothing does not hold its slot for ever.
func TestAdminSocketSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, conn := net.Pipe()
		defer client.Close()
		start := time.Now()
		err := answerAdmin(t.Context(), conn, nil)
		if took := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || took != adminHelloTimeout {
			t.Errorf("after %s: %v", took, err)
		}
	})
}
