//go:build bench

package main

import (
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"holdfast/server/gitproto"
)

// uploader makes the command that serves a repository over its standard input and output: ours or git's.
type uploader func() *exec.Cmd

// request is what a client asks of an uploader, in protocol version 2.
type request struct {
	wants, haves []string
	args         []string // further arguments of fetch, such as "deepen 1"
}

// fetched is what an uploader answered.
type fetched struct {
	usage
	bytes   int64 // of the pack
	objects uint32
	first   time.Duration // from the request to the pack's first byte
}

// fetch holds one conversation with an uploader and throws the pack away, once its checksum has been compared.
func (up uploader) fetch(req request) (f fetched, err error) {
	f.usage, err = up.converse(func(in io.Writer, out *gitproto.Reader) error {
		lines := []string{"thin-pack", "ofs-delta", "no-progress"}
		lines = append(lines, req.args...)
		for _, id := range req.wants {
			lines = append(lines, "want "+id)
		}
		for _, id := range req.haves {
			lines = append(lines, "have "+id)
		}
		begin := time.Now()
		if err := command(in, "fetch", append(lines, "done")...); err != nil {
			return err
		}
		return f.read(out, begin)
	})
	return f, err
}

// idle holds a conversation in which nothing is asked.
func (up uploader) idle() (f fetched, err error) {
	f.usage, err = up.converse(func(io.Writer, *gitproto.Reader) error { return nil })
	return f, err
}

// read reads the sections before the pack, and the pack.
func (f *fetched) read(out *gitproto.Reader, begin time.Time) error {
	for {
		kind, line, err := out.Next()
		if err != nil {
			return fmt.Errorf("no pack came: %w", err)
		}
		if kind == gitproto.Data && strings.TrimSpace(string(line)) == "packfile" {
			break
		}
	}
	sum := packSum{sha1: sha1.New()}
	for {
		kind, frame, err := out.Next()
		if err != nil {
			return fmt.Errorf("the pack broke off: %w", err)
		}
		if kind == gitproto.Flush {
			break
		}
		switch band := frame[0]; {
		case band == 3:
			return errors.New(string(frame[1:]))
		case band == 1 && len(frame) > 1:
			if f.bytes == 0 {
				f.first = time.Since(begin)
			}
			f.bytes += int64(len(frame) - 1)
			sum.add(frame[1:])
		}
	}
	f.objects = sum.objects()
	return sum.check()
}

// packSum checks a pack's trailer.
type packSum struct {
	sha1 hash.Hash
	head []byte
	tail []byte // the last bytes, at most a checksum's
}

func (s *packSum) add(p []byte) {
	if missing := 12 - len(s.head); missing > 0 {
		s.head = append(s.head, p[:min(missing, len(p))]...)
	}
	all := append(s.tail, p...)
	keep := max(0, len(all)-sha1.Size)
	s.sha1.Write(all[:keep])
	s.tail = append([]byte(nil), all[keep:]...)
}

func (s *packSum) objects() uint32 {
	if len(s.head) < 12 {
		return 0
	}
	return binary.BigEndian.Uint32(s.head[8:])
}

func (s *packSum) check() error {
	if string(s.sha1.Sum(nil)) != string(s.tail) {
		return errors.New("the pack's checksum is wrong")
	}
	return nil
}

// lsRefs asks n times, in one conversation, for the refs with a prefix, and returns how many lines one answer has.
func (up uploader) lsRefs(prefix string, n int) (u usage, lines int, err error) {
	u, err = up.converse(func(in io.Writer, out *gitproto.Reader) error {
		for range n {
			if err := command(in, "ls-refs", "ref-prefix "+prefix); err != nil {
				return err
			}
			if lines, err = answer(out); err != nil {
				return err
			}
		}
		return nil
	})
	return u, lines, err
}

// answer reads to the next flush packet.
func answer(out *gitproto.Reader) (lines int, err error) {
	for ; ; lines++ {
		if kind, _, err := out.Next(); err != nil || kind == gitproto.Flush {
			return lines, err
		}
	}
}

// converse reads the capabilities, lets talk ask and hear, and hangs up.
func (up uploader) converse(talk func(in io.Writer, out *gitproto.Reader) error) (usage, error) {
	cmd := up()
	cmd.Env = append(os.Environ(), "GIT_PROTOCOL=version=2")
	in, err := cmd.StdinPipe()
	if err != nil {
		return usage{}, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return usage{}, err
	}
	return measure(cmd, func() error {
		r := gitproto.NewReader(out)
		if _, err := answer(r); err != nil {
			return err
		}
		err := talk(in, r)
		in.Close()
		if err == nil {
			_, err = io.Copy(io.Discard, out)
		}
		return err
	})
}

// command writes one request of version 2.
func command(in io.Writer, name string, args ...string) error {
	w := gitproto.NewWriter(in)
	w.Linef("command=%s", name)
	w.Linef("object-format=sha1")
	w.Special(gitproto.Delim)
	for _, arg := range args {
		w.Linef("%s\n", arg)
	}
	w.Special(gitproto.Flush)
	return w.Flush()
}
