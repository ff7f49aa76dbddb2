//go:build bench

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// softServe is a running soft-serve, the peer of the rows over SSH.
type softServe struct {
	cmd  *exec.Cmd
	addr string
	log  bytes.Buffer
	done chan struct{}
}

// softHere starts soft-serve on first use. It returns nil where it is not installed.
func (b *bench) softHere() (*softServe, error) {
	if _, err := os.Stat(b.soft); err != nil {
		return nil, nil
	}
	if b.peer != nil {
		return b.peer, nil
	}
	addrs, err := freeAddrs(4)
	if err != nil {
		return nil, err
	}
	public, err := os.ReadFile(b.key + ".pub")
	if err != nil {
		return nil, err
	}
	s := &softServe{cmd: exec.CommandContext(b.ctx, b.soft, "serve"), addr: addrs[0], done: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	s.cmd.Env = append(b.env(), "SOFT_SERVE_DATA_PATH="+b.path("soft"), "SOFT_SERVE_SSH_LISTEN_ADDR="+addrs[0],
		"SOFT_SERVE_GIT_LISTEN_ADDR="+addrs[1], "SOFT_SERVE_HTTP_LISTEN_ADDR="+addrs[2], "SOFT_SERVE_STATS_LISTEN_ADDR="+addrs[3],
		"SOFT_SERVE_INITIAL_ADMIN_KEYS="+strings.TrimSpace(string(public)))
	return s, b.startSoft(s)
}

// freeAddrs returns addresses that are free now: soft-serve cannot be told to choose them itself.
func freeAddrs(n int) (addrs []string, err error) {
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer ln.Close() // all of them at the end, so that no two are the same
		addrs = append(addrs, ln.Addr().String())
	}
	return addrs, nil
}

func (b *bench) startSoft(s *softServe) error {
	if err := s.cmd.Start(); err != nil {
		return err
	}
	go func() {
		s.cmd.Wait()
		close(s.done)
	}()
	for range 300 {
		if conn, err := net.Dial("tcp", s.addr); err == nil {
			conn.Close()
			b.peer = s
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("soft-serve did not come up:\n%s", &s.log)
		case <-time.After(100 * time.Millisecond):
		}
	}
	s.close()
	return errors.New("soft-serve does not listen after 30 s")
}

func (s *softServe) close() {
	s.cmd.Process.Signal(syscall.SIGTERM)
	<-s.done
}

func (s *softServe) url(repo string) string { return "ssh://admin@" + s.addr + "/" + repo }

func (s *softServe) during(calm time.Duration, work func() error) (usage, error) {
	return during(s.cmd.Process.Pid, calm, work)
}
