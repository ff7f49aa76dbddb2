package svnrepos

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"holdfast/storage/svn"
	"holdfast/storage/svn/dumpfile"
	"holdfast/storage/svnfs"
)

// DumpOptions are the options of Dump.
type DumpOptions struct {
	From, To    svn.Revnum // InvalidRevnum for the first and the youngest
	Incremental bool       // From is dumped as what it changed, not as a whole tree
	Deltas      bool       // texts and properties are deltas: format 3
	RevProps    bool       // the revisions' properties alone, not what they changed
	// Warn is told what a reader of the dump may stumble over; it may be nil.
	Warn func(w Warning)
}

// Warning is what is wrong, though not so wrong as to stop.
type Warning struct {
	Kind WarningKind
	Text string
}

// WarningKind is the number that Subversion gives a warning.
type WarningKind int

// The kinds of warnings.
//
// Source: Subversion's svn_repos.h (svn_repos_notify_warning_t).
const (
	WarnOldReference     WarningKind = 0
	WarnOldMergeinfo     WarningKind = 1
	WarnInvalidMergeinfo WarningKind = 5
)

// String returns the line that Subversion's svnadmin prints, without its end.
func (w Warning) String() string { return fmt.Sprintf("WARNING 0x%04x: %s", int(w.Kind), w.Text) }

// Dump writes revisions to w as a dump file, and after each calls progress, which may be nil. What the client may not read is left
// out. The dump is, byte for byte, that of `svnadmin dump`; only the first of several revisions, if it is dumped as a whole tree, has its nodes
// sorted by name, where Subversion has them in no order.
//
// Source: Subversion's svn_repos.h (svn_repos_dump_fs4) and the behaviour of libsvn_repos/dump.c.
func (r *Repository) Dump(ctx context.Context, w io.Writer, o DumpOptions, progress func(rev svn.Revnum)) error {
	youngest := r.FS.Youngest()
	if !o.From.Valid() {
		o.From = 0
	}
	if !o.To.Valid() {
		o.To = youngest
	}
	if o.From > o.To {
		return svn.Errorf(svn.ErrReposBadArgs, "Start revision %d is greater than end revision %d", o.From, o.To)
	}
	if o.To > youngest {
		return svn.Errorf(svn.ErrReposBadArgs, "End revision %d is invalid (youngest revision is %d)", o.To, youngest)
	}
	out := bufio.NewWriterSize(w, 64<<10)
	d := &dumper{repo: r, o: o, w: dumpfile.NewWriter(out), roots: rootCache{fs: r.FS}, spool: deltaSpool{store: r.FS.Repo().Store()}}
	defer d.spool.close()
	if err := d.head(); err != nil {
		return err
	}
	for rev := o.From; rev <= o.To; rev++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.revision(ctx, rev); err != nil {
			return err
		}
		if progress != nil {
			progress(rev)
		}
	}
	d.lastWarnings()
	return out.Flush()
}

// dumper dumps revisions, one after another.
type dumper struct {
	repo  *Repository
	o     DumpOptions
	w     *dumpfile.Writer
	roots rootCache
	spool deltaSpool

	oldReference, oldMergeinfo bool // of revisions before the first

	rev     svn.Revnum // that is dumped now
	root    *svnfs.Root
	changes map[string]svn.Change // by path
	deltas  bool
}

func (d *dumper) head() error {
	format := dumpfile.FormatPlain
	if d.o.Deltas {
		format = dumpfile.FormatDeltas
	}
	if err := d.w.Format(format); err != nil {
		return err
	}
	return d.w.UUID(d.repo.FS.UUID())
}

func (d *dumper) revision(ctx context.Context, rev svn.Revnum) error {
	props, err := d.repo.RevProps(rev)
	if err != nil {
		return err
	}
	if err := d.w.Revision(rev, props); err != nil || rev == 0 || d.o.RevProps {
		return err
	}
	d.rev = rev
	if d.root, err = d.roots.root(rev); err != nil {
		return err
	}
	changes, err := d.repo.FS.Changes(rev)
	if err != nil {
		return err
	}
	d.changes = make(map[string]svn.Change, len(changes))
	for _, c := range changes {
		d.changes[c.Path] = c
	}
	whole := rev == d.o.From && !d.o.Incremental
	d.deltas = d.o.Deltas && !whole
	if !whole {
		return d.repo.Replay(ctx, rev, 0, "/", false, dumpEditor{d})
	}
	empty, err := d.roots.root(0)
	if err != nil {
		return err
	}
	return d.repo.Delta(ctx, empty, "/", "", d.root, "/", dumpEditor{d}, DeltaOptions{Depth: svn.DepthInfinity})
}

func (d *dumper) warn(kind WarningKind, format string, args ...any) {
	if d.o.Warn != nil {
		d.o.Warn(Warning{kind, fmt.Sprintf(format, args...)})
	}
}

// lastWarnings says once more what may have gone by unnoticed.
func (d *dumper) lastWarnings() {
	if d.oldReference {
		d.warn(WarnOldReference, "The range of revisions dumped contained references to copy sources outside that range.")
	}
	if d.oldMergeinfo {
		d.warn(WarnOldMergeinfo, "The range of revisions dumped contained mergeinfo which reference revisions outside that range.")
	}
}
