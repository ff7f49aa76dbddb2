package gitproto

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ArchiveRequest is what a client asks of upload-archive.
type ArchiveRequest struct {
	Tree   string   // the name of a ref, and behind a colon perhaps a path in it
	Format string   // tar unless another one is named; not checked
	Prefix string   // before every name in the archive
	Level  int      // of compression, 0 for none to 9; -1 if none is named
	Paths  []string // what of the tree is wanted; all if empty
	Names  bool     // the client wants to hear the names of entries as they are written
}

// Archiver is a repository of which one client may have archives. The texts of its errors reach the client.
type Archiver interface {
	// ArchiveFormats lists the formats.
	ArchiveFormats() []string
	// Archive finds what a client asks for, and returns what writes it: the archive to w, the names of its entries to
	// names unless that is nil. Writes to w fail when ctx ends.
	Archive(ctx context.Context, r ArchiveRequest) (func(ctx context.Context, w, names io.Writer) error, error)
}

// archiver is the state of a conversation of upload-archive.
type archiver struct {
	*conn
	a Archiver
}

// UploadArchive serves git archive --remote: git-upload-archive, over a stream. It returns nil when the client has its
// archive; else an *Error, of which the client has been told if it is still there.
func UploadArchive(ctx context.Context, in io.Reader, out io.Writer, a Archiver, o Options) error {
	c := &archiver{conn: newConn(ctx, "upload-archive", in, out, 0, o), a: a}
	return c.end(c.converse())
}

func (c *archiver) converse() error {
	args, err := c.arguments()
	if err != nil {
		return err
	}
	r, list, err := parseArchiveRequest(args)
	if err != nil {
		return c.nack(err)
	}
	if list {
		return c.send(func(_ context.Context, w, _ io.Writer) error {
			_, err := io.WriteString(w, strings.Join(c.a.ArchiveFormats(), "\n")+"\n")
			return err
		}, false)
	}
	write, err := c.a.Archive(c.ctx, r)
	if err != nil {
		return c.nack(err)
	}
	return c.send(write, r.Names)
}

// arguments reads the request: arguments as of git archive, each in a line of its own.
func (c *archiver) arguments() (args []string, err error) {
	err = c.lines("arguments", func(line string) error {
		arg, ok := strings.CutPrefix(line, "argument ")
		switch {
		case !ok:
			return violation("expected an argument, got %.100q", line)
		case len(args) == c.o.MaxArguments:
			return overLimit("more than %d arguments", c.o.MaxArguments)
		}
		args = append(args, arg)
		return nil
	})
	return args, err
}

// nack refuses a request that was read to its end.
func (c *archiver) nack(err error) error {
	c.w.Linef("NACK %s\n", oneLine(err.Error()))
	if err := c.flush(); err != nil {
		return err
	}
	return &settledError{err}
}

// send answers with what write writes.
func (c *archiver) send(write func(ctx context.Context, w, names io.Writer) error, withNames bool) error {
	c.w.Linef("ACK\n")
	c.w.Special(Flush)
	if err := c.flush(); err != nil {
		return err
	}
	m := newMux(c.ctx, c.out, maxPacket, c.o.KeepAlive)
	stop := m.start()
	var names io.Writer
	if withNames {
		names = progressWriter{m}
	}
	err := write(c.ctx, m, names)
	stop()
	if err == nil {
		return m.finish()
	}
	if broken := m.failure(); broken != nil {
		return broken
	}
	m.text(bandError, []byte(oneLine((&Error{c.op, err}).Error())+"\n"))
	return &settledError{err}
}

// parseArchiveRequest reads arguments of git archive, as far as they have a meaning here.
func parseArchiveRequest(args []string) (r ArchiveRequest, list bool, err error) {
	r = ArchiveRequest{Format: "tar", Level: -1}
	var names []string
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			names, args = append(names, args...), nil
			break
		}
		if arg == "-" || !strings.HasPrefix(arg, "-") {
			names = append(names, arg)
			continue
		}
		if args, err = r.option(arg, args, &list); err != nil {
			return r, false, err
		}
	}
	if list {
		return r, true, nil
	}
	if len(names) == 0 {
		return r, false, fmt.Errorf("name a branch or tag to archive")
	}
	r.Tree, r.Paths = names[0], names[1:]
	return r, false, nil
}

// option takes one option, and its value if that is the next argument. It returns the arguments that are left.
func (r *ArchiveRequest) option(arg string, rest []string, list *bool) ([]string, error) {
	name, value, inline := strings.Cut(arg, "=")
	switch name {
	case "--format", "--prefix":
		if !inline {
			if len(rest) == 0 {
				return nil, fmt.Errorf("option %s needs a value", name)
			}
			value, rest = rest[0], rest[1:]
		}
		if name == "--format" {
			r.Format = value
		} else {
			r.Prefix = value
		}
		return rest, nil
	case "--add-file", "--add-virtual-file":
		return nil, fmt.Errorf("options %s and --remote cannot be used together", name)
	}
	switch arg {
	case "-l", "--list":
		*list = true
	case "-v", "--verbose":
		r.Names = true
	case "--no-verbose":
		r.Names = false
	default:
		level, err := strconv.ParseUint(arg[1:], 10, 8)
		if err != nil || level > 9 {
			return nil, fmt.Errorf("option %.100q is not served here: known are --format, --prefix, --list, --verbose and -0 to -9", arg)
		}
		r.Level = int(level)
	}
	return rest, nil
}
