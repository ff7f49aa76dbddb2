package svnrepos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"holdfast/storage"
	"holdfast/storage/svn"
	"holdfast/storage/svn/dumpfile"
	"holdfast/storage/svnfs"
)

// LoadUUID says what becomes of the repository's uuid.
type LoadUUID uint8

// The ways to treat the uuid of a dump.
const (
	TakeUUIDIfEmpty LoadUUID = iota // the repository gets it if it has no revision but 0
	IgnoreUUID
	ForceUUID
)

// LoadOptions are the options of Load.
type LoadOptions struct {
	First, Last svn.Revnum // revisions of the dump that are loaded; both 0 for all
	UUID        LoadUUID
	ParentDir   string // that everything is put below, relative; "" for the root. It must exist

	IgnoreDates          bool // revisions get the time of the load
	BypassPropValidation bool // take properties that no client could set
	NormalizeProps       bool // end the lines of Subversion's own properties as they should be, instead of refusing them

	// SameRevs is for a dump of what the repository is a copy of: each revision gets the number that it has there, or is refused, and
	// svn:mergeinfo is taken as it is.
	SameRevs bool

	// PreCommit may refuse a revision, PostCommit hears of it; either may be nil.
	PreCommit  func(*svnfs.Txn) error
	PostCommit func(svn.Revnum) error

	Committer svnfs.Committer
	Meta      func() storage.Meta // of a commit
}

// LoadEvent is a step of a load.
type LoadEvent struct {
	Kind    LoadEventKind
	Path    string     // of a node, relative
	Rev     svn.Revnum // of the dump
	NewRev  svn.Revnum // that it was committed as
	Warning Warning
}

// LoadEventKind says what an event tells.
type LoadEventKind uint8

// The events.
const (
	LoadTxnStarted LoadEventKind = iota
	LoadNodeStarted
	LoadNodeCopied
	LoadNodeDone
	LoadCommitted
	LoadSkipped
	LoadNormalizedMergeinfo
	LoadWarning
	LoadRevPropsSet
)

// String returns what Subversion's svnadmin prints.
func (e LoadEvent) String() string {
	switch e.Kind {
	case LoadTxnStarted:
		return fmt.Sprintf("<<< Started new transaction, based on original revision %d\n", e.Rev)
	case LoadNodeStarted:
		return fmt.Sprintf("     * editing path : %s ...", e.Path) // whatever is done to it
	case LoadNodeCopied:
		return "COPIED..."
	case LoadNodeDone:
		return " done.\n"
	case LoadCommitted:
		if e.Rev == e.NewRev {
			return fmt.Sprintf("\n------- Committed revision %d >>>\n\n", e.NewRev)
		}
		return fmt.Sprintf("\n------- Committed new rev %d (loaded from original rev %d) >>>\n\n", e.NewRev, e.Rev)
	case LoadSkipped:
		return fmt.Sprintf("<<< Skipped original revision %d\n", e.Rev)
	case LoadNormalizedMergeinfo:
		return fmt.Sprintf(" removing '\\r' from %s ...", svn.PropMergeinfo)
	case LoadRevPropsSet:
		return fmt.Sprintf("Properties set on revision %d.\n", e.Rev)
	}
	return e.Warning.String() + "\n"
}

// Load makes the revisions of a dump file revisions of the repository, after those that there are. Sources of copies and
// svn:mergeinfo are renumbered. Revision properties are set exactly as they stand in the dump, those of revision 0 only if there is no
// other revision yet. Each revision is one commit: after an error those before it stay. progress may be nil.
//
// The client's access is not looked at: this is for an administrator.
//
// Source: Subversion's svn_repos.h (svn_repos_load_fs6) and the behaviour of libsvn_repos/load-fs-vtable.c.
func (r *Repository) Load(ctx context.Context, in io.Reader, o LoadOptions, progress func(LoadEvent)) error {
	l, err := r.newLoader(ctx, in, o, progress)
	if err != nil {
		return err
	}
	defer l.abort()
	return l.each(l.record, l.commit)
}

// LoadRevProps makes the properties of revisions, which are there, those of the same revisions of a dump file; all else in it is passed
// over. With IgnoreDates they keep their dates. Of the other options, those for the range and for properties count.
//
// Source: Subversion's svn_repos.h (svn_repos_load_fs_revprops).
func (r *Repository) LoadRevProps(ctx context.Context, in io.Reader, o LoadOptions, progress func(LoadEvent)) error {
	l, err := r.newLoader(ctx, in, o, progress)
	if err != nil {
		return err
	}
	return l.each(l.revPropRecord, func() error { return nil })
}

func (r *Repository) newLoader(ctx context.Context, in io.Reader, o LoadOptions, progress func(LoadEvent)) (*loader, error) {
	if progress == nil {
		progress = func(LoadEvent) {}
	}
	parent, err := svn.Canonical(o.ParentDir)
	return &loader{fs: r.FS, ctx: ctx, o: o, in: dumpfile.NewReader(in), tell: progress, parent: parent}, err
}

// loader loads a dump.
type loader struct {
	fs     *svnfs.FS
	ctx    context.Context
	o      LoadOptions
	in     *dumpfile.Reader
	tell   func(LoadEvent)
	parent string // absolute
	revs   revMap

	rev     svn.Revnum // the dump's, that is loaded
	offset  svn.Revnum // from what it will be to it
	begun   bool       // there was a revision
	skipped bool       // it is not loaded
	buf     [32 << 10]byte
	txn     *svnfs.Txn // nil for revision 0, and for those that are skipped
	root    *svnfs.Root
}

// each calls take for each record, and last at the end.
func (l *loader) each(take func(*dumpfile.Record) error, last func() error) error {
	for {
		if err := l.ctx.Err(); err != nil {
			return err
		}
		rec, err := l.in.Next()
		if err == io.EOF { // and no error that has it below: what a lost connection has cut off is no revision
			return errors.Join(l.ctx.Err(), last())
		}
		if err == nil {
			err = take(rec)
		}
		if err != nil {
			return err
		}
	}
}

func (l *loader) record(rec *dumpfile.Record) error {
	switch {
	case rec.IsRevision:
		if err := l.commit(); err != nil {
			return err
		}
		return l.begin(rec.Rev)
	case rec.Node != nil:
		return l.node(rec.Node)
	case rec.UUID != "":
		return l.uuid(rec.UUID)
	}
	return nil
}

// maxUUID is how long a uuid may be at most, in bytes, and what of it an error shows. What is taken has to be one (svnfs.FS.SetUUID).
const maxUUID = 100

func (l *loader) uuid(uuid string) error {
	if len(uuid) > maxUUID || !utf8.ValidString(uuid) {
		return svn.Errorf(svn.ErrBadUUID, "Malformed UUID %.*q", maxUUID, uuid)
	}
	take := l.o.UUID == ForceUUID || l.o.UUID == TakeUUIDIfEmpty && l.fs.Youngest() == 0
	if !take || uuid == l.fs.UUID() {
		return nil
	}
	_, err := l.fs.SetUUID(l.ctx, l.o.Committer, l.o.Meta(), uuid)
	return err
}

// begin starts a revision.
func (l *loader) begin(rev svn.Revnum) error {
	head := l.fs.Youngest()
	l.begun, l.rev, l.offset = true, rev, rev-(head+1)
	if l.skip(rev); l.skipped {
		return nil
	}
	changes, _, err := l.in.Props()
	if err != nil {
		return err
	}
	props := l.revProps(changes)
	if rev == 0 {
		return l.setFirstProps(head, props)
	}
	if err := l.sameRev(head + 1); err != nil {
		return err
	}
	if l.txn, err = l.fs.Begin(head, svnfs.TxnOptions{Props: props, KeepDate: !l.o.IgnoreDates}); err != nil {
		return err
	}
	l.root = l.txn.Root()
	l.tell(LoadEvent{Kind: LoadTxnStarted, Rev: rev})
	l.revs.began(rev)
	return nil
}

// sameRev refuses another number for the revision, if it is to have the same.
func (l *loader) sameRev(rev svn.Revnum) error {
	if l.o.SameRevs && rev != l.rev {
		return svn.Errorf(svn.ErrFSConflict, "Revision %d of the dump would be r%d: there are commits of others", l.rev, rev)
	}
	return nil
}

// skip decides whether a revision is not loaded.
func (l *loader) skip(rev svn.Revnum) {
	l.skipped = l.o.Last > 0 && (rev < l.o.First || rev > l.o.Last)
	if l.skipped {
		l.tell(LoadEvent{Kind: LoadSkipped, Rev: rev})
	}
}

// revProps returns the properties of a revision of the dump.
func (l *loader) revProps(changes []svn.PropChange) svn.Props {
	props := svn.Props{}
	for _, c := range changes {
		if c.Name != svn.PropDate || !l.o.IgnoreDates {
			props.Set(c.Name, l.normalized(c.Name, c.Value))
		}
	}
	return props
}

// checkProp refuses what a client could not set.
func (l *loader) checkProp(name string, value *string) error {
	if l.o.BypassPropValidation {
		return nil
	}
	return validateProp(name, value)
}

// normalized returns a property's value with the ends of lines that it should have, if that is asked for.
func (l *loader) normalized(name string, value *string) *string {
	if !l.o.NormalizeProps || value == nil || !strings.HasPrefix(name, "svn:") || !strings.Contains(*value, "\r") {
		return value
	}
	v := onlyNewlines(*value)
	return &v
}

func onlyNewlines(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
}

// setFirstProps sets the properties of revision 0, if there is no other.
func (l *loader) setFirstProps(head svn.Revnum, props svn.Props) error {
	if head != 0 {
		return nil
	}
	return l.setRevProps(0, props)
}

// setRevProps makes the properties of a revision what they are to be.
func (l *loader) setRevProps(rev svn.Revnum, props svn.Props) error {
	old, err := l.fs.RevProps(rev)
	if err != nil {
		return err
	}
	changes := slices.DeleteFunc(svn.PropDiff(old, props), func(c svn.PropChange) bool {
		return c.Name == svn.PropDate && l.o.IgnoreDates
	})
	for _, c := range changes {
		if err := cmp.Or(checkRevPropName(c.Name), l.checkProp(c.Name, c.Value)); err != nil {
			return err
		}
	}
	if len(changes) == 0 {
		return nil
	}
	_, err = l.fs.ChangeRevProps(l.ctx, l.o.Committer, l.o.Meta(), rev, changes)
	return err
}

// revPropRecord takes the properties of a revision, and nothing of other records.
func (l *loader) revPropRecord(rec *dumpfile.Record) error {
	if !rec.IsRevision {
		return nil
	}
	if l.skip(rec.Rev); l.skipped {
		return nil
	}
	changes, _, err := l.in.Props()
	if err != nil {
		return err
	}
	if err := l.setRevProps(rec.Rev, l.revProps(changes)); err != nil {
		return err
	}
	l.tell(LoadEvent{Kind: LoadRevPropsSet, Rev: rec.Rev})
	return nil
}

// commit ends the revision, if there is one.
func (l *loader) commit() error {
	if l.txn == nil {
		return nil
	}
	defer l.abort()
	props := l.txn.Props()
	for _, name := range props.Names() {
		value := props[name]
		if err := l.checkProp(name, &value); err != nil {
			return err
		}
	}
	if l.o.PreCommit != nil {
		if err := l.o.PreCommit(l.txn); err != nil {
			return err
		}
	}
	rev, _, err := l.txn.Commit(l.ctx, l.o.Committer, l.o.Meta())
	if err != nil {
		return err
	}
	l.revs.committed(l.rev, rev)
	if err := l.sameRev(rev); err != nil {
		return err
	}
	if l.o.PostCommit != nil {
		if err := l.o.PostCommit(rev); err != nil {
			return svn.Wrap(err, svn.ErrReposPostCommitHookFailed, "Commit succeeded, but post-commit hook failed")
		}
	}
	l.tell(LoadEvent{Kind: LoadCommitted, Rev: l.rev, NewRev: rev})
	return nil
}

func (l *loader) abort() {
	if l.txn != nil {
		l.txn.Abort()
		l.txn = nil
	}
}
