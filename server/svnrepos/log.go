package svnrepos

import (
	"context"
	"maps"
	"slices"

	"holdfast/storage/svn"
	"holdfast/storage/svn/mergeinfo"
)

// LogRequest says which revisions Log reports, and what of them.
type LogRequest struct {
	Paths         []string   // absolute; revisions that changed none of them are left out. None is the same as "/"
	Start, End    svn.Revnum // the order is from Start to End; invalid ones are the youngest
	Limit         int        // of revisions, those that were merged not counted; 0 is none
	ChangedPaths  bool
	StrictNode    bool // do not follow copies
	IncludeMerged bool // report after a revision those that it merged
	RevProps      []string
	AllRevProps   bool // RevProps does not matter
}

// LogEntry is a revision that Log reports, or, with Rev invalid, the end of the revisions that the last open entry with
// HasChildren merged.
type LogEntry struct {
	Rev              svn.Revnum
	Props            svn.Props // those of the wanted ones that are there and that the client may know
	Changes          []svn.Change
	HasChildren      bool
	SubtractiveMerge bool // the merge took the revision back
}

// Log reports revisions. What an entry holds is valid during the call, and may be changed.
//
// A changed path that the client may not read is left out, and then all properties but author and date are; if it may read none,
// they are too. The history of a path ends where the client may not read it; it is an error if that is at the beginning.
//
// After an entry with HasChildren come those that it merged, which may have children too, and an end. As in Subversion, revisions
// that were reported already, or will be, are left out, but their children and the end are not: there may be more ends than there
// are entries to end.
//
// Source: libsvn_repos/log.c.
func (r *Repository) Log(ctx context.Context, req LogRequest, emit func(*LogEntry) error) error {
	youngest := r.FS.Youngest()
	for _, rev := range [...]*svn.Revnum{&req.Start, &req.End} {
		if !rev.Valid() {
			*rev = youngest
		}
	}
	for _, rev := range [...]svn.Revnum{req.Start, req.End} {
		if rev > youngest {
			return svn.Errorf(svn.ErrFSNoSuchRevision, "No such revision %d", rev)
		}
	}
	l := &logger{ctx: ctx, r: r, req: &req, all: r.readsAll(), emit: emit, wanted: map[string]bool{}}
	for _, name := range req.RevProps {
		l.wanted[name] = true
	}
	if !req.IncludeMerged && (len(req.Paths) == 0 || len(req.Paths) == 1 && req.Paths[0] == "/") {
		return l.every()
	}
	s := logSearch{
		paths: req.Paths, oldest: min(req.Start, req.End), youngest: max(req.Start, req.End),
		limit: req.Limit, ascending: req.Start < req.End,
	}
	if req.IncludeMerged {
		var err error
		if l.target, err = l.historyOf(s); err != nil {
			return err
		}
	}
	return l.search(s)
}

// logger is a Log under way.
type logger struct {
	ctx  context.Context
	r    *Repository
	req  *LogRequest
	all  bool // nothing is hidden
	emit func(*LogEntry) error

	wanted map[string]bool // properties

	// The rest is for merged revisions.
	target   mergeinfo.Mergeinfo // where the paths were in the revisions that are looked at
	sent     map[svn.Revnum]bool // merged revisions that were reported
	searched coverage            // what was searched for merged revisions; nil while that does not matter
	searches int
	depth    int
}

func unreadableLog() error { return svn.Errorf(svn.ErrAuthzUnreadable, "Item is not readable") }

// every reports all revisions of the range: each changes the root.
func (l *logger) every() error {
	if !l.all && !l.r.readable("/") {
		return unreadableLog()
	}
	step, count := svn.Revnum(1), l.req.End-l.req.Start+1
	if l.req.Start >= l.req.End {
		step, count = -1, l.req.Start-l.req.End+1
	}
	if l.req.Limit > 0 {
		count = min(count, svn.Revnum(l.req.Limit))
	}
	for rev := l.req.Start; count > 0; rev, count = rev+step, count-1 {
		if err := l.ctx.Err(); err != nil {
			return err
		}
		if err := l.send(rev, logSearch{}, false); err != nil {
			return err
		}
	}
	return nil
}

// send reports a revision, unless it is a merged one that is or will be reported elsewhere.
func (l *logger) send(rev svn.Revnum, s logSearch, hasChildren bool) error {
	if s.merged && l.sent[rev] {
		return nil
	}
	e := &LogEntry{Rev: rev, HasChildren: hasChildren, SubtractiveMerge: s.subtractive}
	novel, err := l.fill(e, s.merged && len(l.target) > 0)
	if err != nil || !novel {
		return err
	}
	if s.merged {
		l.sent[rev] = true
	}
	return l.emit(e)
}

// fill adds to an entry what is wanted of it. With seek, novel tells whether the revision changed a path that was not in the
// target's history then.
func (l *logger) fill(e *LogEntry, seek bool) (novel bool, err error) {
	novel, access := !seek, FullAccess
	if e.Rev > 0 && (seek || !l.all || l.req.ChangedPaths) {
		changes, err := l.r.FS.Changes(e.Rev)
		if err != nil {
			return false, err
		}
		if !l.all {
			changes, access = l.r.readableChanges(changes)
		}
		novel = novel || slices.ContainsFunc(changes, func(c svn.Change) bool { return !l.inTarget(c.Path, e.Rev) })
		if l.req.ChangedPaths {
			e.Changes = changes
		}
	}
	if access == NoAccess || !novel {
		return novel, nil
	}
	e.Props, err = l.props(e.Rev, access)
	return novel, err
}

// inTarget reports whether a path is at or below where the target of the log was in a revision.
func (l *logger) inTarget(path string, rev svn.Revnum) bool {
	for {
		if l.target[path].Contains(rev) {
			return true
		}
		if path == "/" {
			return false
		}
		path, _ = svn.Split(path)
	}
}

// props returns the wanted properties of a revision.
func (l *logger) props(rev svn.Revnum, access RevisionAccess) (svn.Props, error) {
	if !l.req.AllRevProps && len(l.req.RevProps) == 0 {
		return nil, nil
	}
	props, err := l.r.FS.RevProps(rev)
	if err != nil {
		return nil, err
	}
	if access == PartialAccess {
		props = censor(props)
	}
	if !l.req.AllRevProps {
		maps.DeleteFunc(props, func(name, _ string) bool { return !l.wanted[name] })
	}
	return props, nil
}
