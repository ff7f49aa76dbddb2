//go:build judge

package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"holdfast/server/svnrepos"
	"holdfast/storage"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// dump writes what svnadmin would.
func (c *call) dump(ctx context.Context) error {
	o := svnrepos.DumpOptions{From: svn.InvalidRevnum, To: svn.InvalidRevnum, Incremental: c.flags["incremental"] != "", Deltas: c.flags["deltas"] != ""}
	if err := c.span(&o); err != nil {
		return err
	}
	tell := func(format string, args ...any) {
		if c.flags["quiet"] == "" {
			fmt.Fprintf(c.stderr, format, args...)
		}
	}
	o.Warn = func(w svnrepos.Warning) { tell("%s\n", w) }
	repo := &svnrepos.Repository{FS: c.fs}
	return repo.Dump(ctx, c.stdout, o, func(rev svn.Revnum) { tell("* Dumped revision %d.\n", rev) })
}

// span takes the revisions of -r.
func (c *call) span(o *svnrepos.DumpOptions) error {
	word, ok := c.flags["revision"]
	if !ok {
		return nil
	}
	from, to, both := strings.Cut(word, ":")
	if !both {
		to = from
	}
	for _, end := range []struct {
		word string
		rev  *svn.Revnum
	}{{from, &o.From}, {to, &o.To}} {
		if end.word == "HEAD" {
			continue
		}
		n, err := strconv.ParseInt(end.word, 10, 64)
		if err != nil {
			return svn.Errorf(svn.ErrRevnumParseFailure, "Invalid revision number found parsing '%s'", end.word)
		}
		*end.rev = svn.Revnum(n)
	}
	return nil
}

// load takes a dump from standard input.
func (c *call) load(ctx context.Context) error {
	o := svnrepos.LoadOptions{
		ParentDir:            c.flags["parent-dir"],
		BypassPropValidation: c.flags["bypass-prop-validation"] != "",
		NormalizeProps:       c.flags["normalize-props"] != "",
		IgnoreDates:          c.flags["ignore-dates"] != "",
		Committer:            svnfs.Direct,
		Meta:                 func() storage.Meta { return meta("svnadmin") },
	}
	switch {
	case c.flags["ignore-uuid"] != "":
		o.UUID = svnrepos.IgnoreUUID
	case c.flags["force-uuid"] != "":
		o.UUID = svnrepos.ForceUUID
	}
	repo := &svnrepos.Repository{FS: c.fs}
	return repo.Load(ctx, c.stdin, o, func(e svnrepos.LoadEvent) {
		if c.flags["quiet"] == "" {
			fmt.Fprint(c.stdout, e)
		}
	})
}
