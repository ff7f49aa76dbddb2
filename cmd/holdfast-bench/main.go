//go:build bench

// Command holdfast-bench measures a host beside its peers, git itself and soft-serve, and prints a table.
//
// What counts is the CPU time and the memory of the servers, not of the clients; wall times are only good for ratios of
// runs on one machine. Each row prepares what it needs, and all go through real processes: a holdfast with mirrors in
// processes of their own, git's client and ssh, or, for the rows of the engine alone, this program again as a child that
// serves the same packages over a pipe, as git's upload-pack does. doc/benchmarks.md says what each row means.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if len(os.Args) > 1 && os.Args[1] == engineCommand {
		err = engine(ctx, os.Args[2:])
	} else {
		err = run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "holdfast-bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	o := options{}
	flag.StringVar(&o.big, "big", "", "a bare repository of some hundred thousand objects, such as git's own")
	flag.StringVar(&o.mid, "mid", "", "one of some 30 MB; default: the same as -big")
	flag.StringVar(&o.holdfast, "holdfast", "build/bin/holdfast", "the program")
	flag.StringVar(&o.soft, "soft", "build/bin/soft", "soft-serve, if it is there")
	flag.StringVar(&o.svnDumpFile, "svn", "", "a dump of a Subversion repository with /trunk, for the rows svn-load and svn-read")
	flag.StringVar(&o.work, "work", "", "directory to keep what is prepared and to find it again; default: a temporary one")
	flag.StringVar(&o.mirrors, "mirrors", "", "directory for what the mirrors hold, best on another file system; default: -work")
	flag.IntVar(&o.runs, "runs", 3, "how often short things are measured; the least counts")
	flag.IntVar(&o.pushes, "pushes", 10_000, "pushes of the row pushes")
	asJSON := flag.Bool("json", false, "print JSON, one figure a line")
	names := flag.String("rows", "", "comma-separated rows; default: all. They are "+rowNames())
	flag.Parse()
	chosen, err := chooseRows(*names)
	if err != nil {
		return err
	}
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	print := tablePrinter(os.Stdout)
	if *asJSON {
		print = jsonPrinter(os.Stdout)
	}
	for _, row := range chosen {
		fmt.Fprintf(os.Stderr, "%s: %s\n", row.name, row.about)
		figures, failed := row.measure(b)
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("row %s: %w", row.name, failed))
		}
		for _, f := range figures {
			f.Row = row.name
			err = errors.Join(err, print(f))
		}
	}
	return err
}

// options are the flags.
type options struct {
	big, mid, holdfast, soft, work, mirrors string
	svnDumpFile                             string
	runs, pushes                            int
}

// bench is what the rows share.
type bench struct {
	options
	ctx  context.Context
	stop context.CancelFunc // ends all children
	self string             // this program
	key  string             // private SSH key of the admin
	kept bool               // work is not removed in the end

	world *host             // the host with three mirrors that most rows use, nil before one needs it
	peer  *softServe        // nil before one needs it
	svn   *svnPair          // nil before one needs it
	under []string          // a program, with its arguments, that servers run under; nil for none
	gits  map[string]string // what gitCopy has made
}

func newBench(ctx context.Context, o options) (b *bench, err error) {
	b = &bench{options: o, kept: o.work != "", gits: map[string]string{}}
	b.ctx, b.stop = context.WithCancel(ctx)
	if b.mid == "" {
		b.mid = b.big
	}
	if b.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if b.work == "" {
		if b.work, err = os.MkdirTemp("", "holdfast-bench"); err != nil {
			return nil, err
		}
	}
	for _, path := range []*string{&b.big, &b.mid, &b.holdfast, &b.soft, &b.work, &b.mirrors, &b.svnDumpFile} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(b.holdfast); err != nil {
		return nil, fmt.Errorf("%w: build it with \"make build/bin/holdfast\", or say where it is with -holdfast", err)
	}
	if err := os.MkdirAll(b.work, 0o700); err != nil {
		return nil, err
	}
	b.key = filepath.Join(b.work, "key")
	return b, b.newKey()
}

func (b *bench) close() error {
	if b.world != nil {
		b.world.close()
	}
	if b.peer != nil {
		b.peer.close()
	}
	if b.svn != nil {
		b.svn.close()
	}
	b.stop()
	if b.kept {
		return nil
	}
	return os.RemoveAll(b.work)
}

// path returns a place below the work directory.
func (b *bench) path(name string) string { return filepath.Join(b.work, name) }

func rowNames() string {
	var names []string
	for _, r := range rows {
		names = append(names, r.name)
	}
	return strings.Join(names, " ")
}

func chooseRows(names string) (chosen []row, err error) {
	if names == "" {
		return rows, nil
	}
	for _, name := range strings.FieldsFunc(names, func(r rune) bool { return r == ',' || r == ' ' }) {
		found := false
		for _, r := range rows {
			if r.name == name {
				chosen, found = append(chosen, r), true
			}
		}
		if !found {
			return nil, fmt.Errorf("no row %q: there are %s", name, rowNames())
		}
	}
	return chosen, nil
}
