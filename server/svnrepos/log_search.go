package svnrepos

import (
	"holdfast/storage/svn"
	"holdfast/storage/svn/mergeinfo"
	"holdfast/storage/svnfs"
)

// logSearch is a search for the revisions of a range that changed one of some paths, which are those of the youngest revision.
type logSearch struct {
	paths            []string
	oldest, youngest svn.Revnum
	limit            int
	ascending        bool // from the oldest on

	merged      bool // it is for revisions that another one merged: paths need not be there
	subtractive bool // and that took them back
}

// pathHistory is how far a path was followed.
type pathHistory struct {
	path string
	rev  svn.Revnum // the next revision that changed it
	done bool       // there is none
	at   *svnfs.History
}

// missing reports whether an error says that a path is not there.
func missing(err error) bool {
	switch svn.CodeOf(err) {
	case svn.ErrFSNotFound, svn.ErrFSNotDirectory, svn.ErrFSNoSuchRevision:
		return true
	}
	return false
}

// histories opens those of a search's paths.
func (l *logger) histories(s logSearch) ([]*pathHistory, error) {
	root, err := l.r.FS.Root(s.youngest)
	if err != nil {
		return nil, err
	}
	all := make([]*pathHistory, 0, len(s.paths))
	for _, path := range s.paths {
		if !l.all && !l.r.readable(path) {
			return nil, unreadableLog()
		}
		h := &pathHistory{path: path, rev: s.youngest}
		if h.at, err = root.History(path); err == nil {
			err = l.advance(h, s.oldest)
		}
		if err != nil {
			if s.merged && missing(err) {
				continue
			}
			return nil, err
		}
		all = append(all, h)
	}
	return all, nil
}

// advance goes to the change of a path before the last one.
func (l *logger) advance(h *pathHistory, oldest svn.Revnum) error {
	prev, err := h.at.Prev(!l.req.StrictNode)
	if err != nil {
		return err
	}
	if prev == nil {
		h.at, h.done = nil, true
		return nil
	}
	h.at = prev
	h.path, h.rev = prev.Location()
	if h.rev < oldest || !l.all && !l.r.readable(h.path) {
		h.at, h.done = nil, true
	}
	return nil
}

// search reports what a search finds, and what those revisions merged if that is wanted.
func (l *logger) search(s logSearch) error {
	if l.searched != nil {
		s = l.searched.reduce(s)
	}
	if len(s.paths) == 0 {
		return nil
	}
	if l.searched != nil {
		l.searched.add(s)
	}
	histories, err := l.histories(s)
	if err != nil {
		return err
	}
	if s.ascending {
		return l.ascend(s, histories)
	}
	count := 0
	return l.walk(histories, s, func(rev svn.Revnum, m *merges) (more bool, err error) {
		if l.searched == nil && !s.merged && m.any() {
			l.sent, l.searched = map[svn.Revnum]bool{}, coverage{}
		}
		if err := l.sendWithMerges(rev, s, m); err != nil {
			return false, err
		}
		count++
		return s.limit == 0 || count < s.limit, nil
	})
}

// found is a revision that is reported later.
type found struct {
	rev svn.Revnum
	m   *merges // nil if it merged none
}

// ascend reports from the oldest revision on. History goes the other way, so it must be walked to its end first.
func (l *logger) ascend(s logSearch, histories []*pathHistory) error {
	var revs []found
	err := l.walk(histories, s, func(rev svn.Revnum, m *merges) (bool, error) {
		if !m.any() {
			m = nil
		}
		revs = append(revs, found{rev, m})
		return true, nil
	})
	if err != nil {
		return err
	}
	l.sent = map[svn.Revnum]bool{}
	for i, count := len(revs)-1, 1; i >= 0; i, count = i-1, count+1 {
		if err := l.ctx.Err(); err != nil {
			return err
		}
		if err := l.sendWithMerges(revs[i].rev, s, revs[i].m); err != nil {
			return err
		}
		if s.limit > 0 && count >= s.limit {
			break
		}
	}
	return nil
}

// walk calls visit for each revision that changed one of the paths, from the youngest on.
func (l *logger) walk(histories []*pathHistory, s logSearch, visit func(rev svn.Revnum, m *merges) (more bool, err error)) error {
	for {
		if err := l.ctx.Err(); err != nil {
			return err
		}
		current := svn.InvalidRevnum
		for _, h := range histories {
			if !h.done {
				current = max(current, h.rev)
			}
		}
		if !current.Valid() {
			return nil
		}
		for _, h := range histories {
			if !h.done && h.rev >= current {
				if err := l.advance(h, s.oldest); err != nil {
					return err
				}
			}
		}
		var m *merges
		if l.req.IncludeMerged {
			var err error
			if m, err = l.r.mergesOf(histories, current); err != nil {
				return err
			}
		}
		if more, err := visit(current, m); err != nil || !more {
			return err
		}
	}
}

// sendWithMerges reports a revision, and then those that it merged.
func (l *logger) sendWithMerges(rev svn.Revnum, s logSearch, m *merges) error {
	if err := l.send(rev, s, m.any()); err != nil || !m.any() {
		return err
	}
	return l.merged(m)
}

// historyOf returns where the paths of a search were, as mergeinfo.
func (l *logger) historyOf(s logSearch) (mergeinfo.Mergeinfo, error) {
	all := mergeinfo.Mergeinfo{}
	for _, path := range s.paths {
		lists := mergeinfo.Mergeinfo{}
		err := l.r.LocationSegments(l.ctx, path, s.youngest, s.youngest, s.oldest, func(seg LocationSegment) error {
			if seg.HasPath && seg.End > 0 {
				at := "/" + seg.Path
				lists[at] = append(lists[at], mergeinfo.Range{Start: max(seg.Start-1, 0), End: seg.End, Inheritable: true})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		for at, list := range lists {
			if lists[at], err = mergeinfo.Canonicalize(list); err != nil {
				return nil, err
			}
		}
		all.Merge(lists)
	}
	return all, nil
}
