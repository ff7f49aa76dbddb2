package svnrepos

import (
	"cmp"
	"slices"

	"holdfast/storage/svn"
	"holdfast/storage/svn/mergeinfo"
	"holdfast/storage/svnfs"
)

// merges is the mergeinfo that a revision added and deleted.
type merges struct {
	added, deleted mergeinfo.Mergeinfo
}

func (m *merges) any() bool { return m != nil && len(m.added)+len(m.deleted) > 0 }

// The bounds of what is searched for merges without regard for what was searched before: from there on nothing is searched twice.
// Going from the old to the young, Subversion always searches twice, which mergeinfo that leads in circles makes endless.
const (
	maxSearches = 10_000
	maxDepth    = 100
)

// maxNesting bounds how deep in merges of merges a log goes; what they merged in turn is not told.
const maxNesting = 20_000

// merged reports the revisions that were merged, from the youngest on, and the end of them.
func (l *logger) merged(m *merges) error {
	if l.depth == maxNesting {
		return l.emit(&LogEntry{Rev: svn.InvalidRevnum})
	}
	l.searches++
	l.depth++
	defer func() { l.depth-- }()
	if l.searched == nil && (l.searches > maxSearches || l.depth > maxDepth) {
		l.searched = coverage{}
	}
	added, deleted := spansOf(m.added), spansOf(m.deleted)
	for {
		s, ok := youngestOf(added, deleted)
		if !ok {
			return l.emit(&LogEntry{Rev: svn.InvalidRevnum})
		}
		if err := l.search(s); err != nil {
			return err
		}
	}
}

// youngestOf takes the younger of the next spans, of deleted mergeinfo if they are the same, and makes a search of it.
func youngestOf(added, deleted *spans) (s logSearch, ok bool) {
	a, haveA := added.peek()
	d, haveD := deleted.peek()
	switch {
	case !haveA && !haveD:
		return s, false
	case !haveD || haveA && cmp.Or(cmp.Compare(a.oldest, d.oldest), cmp.Compare(a.youngest, d.youngest)) > 0:
		added.taken()
		return a, true
	}
	deleted.taken()
	d.subtractive = true
	return d, true
}

// spans turns mergeinfo around: it yields spans of revisions that have the same paths, with those paths, from the youngest on. The lists of
// paths are made one at a time, as together they may be as long as the square of the mergeinfo.
type spans struct {
	edges []spanEdge // from the youngest on
	next  logSearch
	ready bool
	open  map[string]bool
}

// spanEdge is where a range of a path begins, seen from the youngest revision, or just beyond its end.
type spanEdge struct {
	at   svn.Revnum
	path string
	open bool
}

func spansOf(m mergeinfo.Mergeinfo) *spans {
	s := &spans{open: map[string]bool{}}
	for path, list := range m {
		for _, r := range list {
			s.edges = append(s.edges, spanEdge{r.End, path, true}, spanEdge{r.Start, path, false})
		}
	}
	slices.SortFunc(s.edges, func(a, b spanEdge) int {
		if c := cmp.Compare(b.at, a.at); c != 0 || a.open == b.open {
			return c
		}
		if a.open {
			return 1 // what ends goes first: a list may have ranges that touch
		}
		return -1
	})
	return s
}

// peek returns the next span; it is the same until it is taken.
func (s *spans) peek() (logSearch, bool) {
	for !s.ready {
		if len(s.edges) == 0 {
			return logSearch{}, false
		}
		at := s.edges[0].at
		for len(s.edges) > 0 && s.edges[0].at == at {
			if e := s.edges[0]; e.open {
				s.open[e.path] = true
			} else {
				delete(s.open, e.path)
			}
			s.edges = s.edges[1:]
		}
		if len(s.open) == 0 {
			continue
		}
		paths := make([]string, 0, len(s.open))
		for path := range s.open {
			paths = append(paths, path)
		}
		slices.Sort(paths)
		s.next = logSearch{paths: paths, oldest: s.edges[0].at + 1, youngest: at, merged: true}
		s.ready = true
	}
	return s.next, true
}

func (s *spans) taken() { s.ready = false }

// coverage is what was searched: by path, spans from their oldest revision to the one after their youngest, which do not touch, from the
// youngest on.
type coverage map[string][]coveredSpan

type coveredSpan struct{ from, to svn.Revnum }

// add records a search.
func (c coverage) add(s logSearch) {
	for _, path := range s.paths {
		list, n := c[path], coveredSpan{s.oldest, s.youngest + 1}
		i, _ := slices.BinarySearchFunc(list, n.to, func(have coveredSpan, to svn.Revnum) int {
			if have.from > to {
				return -1
			}
			return 1
		})
		j := i
		for j < len(list) && list[j].to >= n.from {
			n.from, n.to = min(n.from, list[j].from), max(n.to, list[j].to)
			j++
		}
		c[path] = slices.Replace(list, i, j, n)
	}
}

// holding returns the span that has a revision.
func (c coverage) holding(path string, rev svn.Revnum) (coveredSpan, bool) {
	list := c[path]
	i, _ := slices.BinarySearchFunc(list, rev, func(have coveredSpan, rev svn.Revnum) int {
		if have.from > rev {
			return -1
		}
		return 1
	})
	if i == len(list) || list[i].to <= rev {
		return coveredSpan{}, false
	}
	return list[i], true
}

// reduce takes off a search the paths that were searched, and if there is one path only, the part of the range. The revision
// where a part ends may be left in.
func (c coverage) reduce(s logSearch) logSearch {
	oldest, end := s.oldest, s.youngest+1
	paths := slices.Clone(s.paths)
	for i := 0; i < len(paths); i++ {
		first, ok := c.holding(paths[i], oldest)
		switch {
		case ok && first.to >= end:
			paths = slices.Delete(paths, i, i+1)
			i--
		case len(paths) > 1:
		case ok:
			s.oldest = first.to - 1
		default:
			if last, ok := c.holding(paths[i], end-1); ok {
				s.youngest = last.from
			}
		}
	}
	s.paths = paths
	return s
}

// mergesOf returns the mergeinfo that a revision added to paths, or deleted: their own, that of what is below them, and what they inherit. Those
// that are not there do not matter; nor does any if some is malformed.
func (r *Repository) mergesOf(paths []string, rev svn.Revnum) (*merges, error) {
	m := &merges{mergeinfo.Mergeinfo{}, mergeinfo.Mergeinfo{}}
	if rev == 0 || len(paths) == 0 {
		return m, nil
	}
	changed, err := r.mergeinfoChanged(rev)
	if svn.CodeOf(err) == svn.ErrMergeinfoParseError || err == nil && len(changed) == 0 {
		return m, nil
	}
	if err != nil {
		return nil, err
	}
	root, err := r.FS.Root(rev)
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		if changed[path] != nil {
			continue
		}
		if err := r.inheritedMerges(m, root, path); err != nil {
			return nil, err
		}
	}
	for path, c := range changed {
		if slices.ContainsFunc(paths, func(above string) bool { _, ok := svn.Rel(above, path); return ok }) {
			m.deleted.Merge(c.deleted)
			m.added.Merge(c.added)
		}
	}
	return m, nil
}

// inheritedMerges adds what changed of the mergeinfo that a path inherits.
func (r *Repository) inheritedMerges(m *merges, root *svnfs.Root, path string) error {
	before, err := r.predecessorOf(root, path)
	if err != nil {
		if code := svn.CodeOf(err); code == svn.ErrFSNotFound || code == svn.ErrFSNotDirectory {
			return nil
		}
		return err
	}
	prevRoot, err := r.FS.Root(before.rev)
	if err != nil {
		return err
	}
	prev, err := mergeinfoOf(prevRoot, before.path, Inherited)
	switch svn.CodeOf(err) {
	case svn.ErrFSNotFound, svn.ErrFSNotDirectory:
		return nil
	}
	if err != nil {
		return err
	}
	prevAbove, _, err := nearestMergeinfo(prevRoot, before.path, NearestAncestor)
	if err != nil {
		return err
	}
	now, err := mergeinfoOf(root, path, Inherited)
	if err != nil {
		return err
	}
	above, _, err := nearestMergeinfo(root, path, NearestAncestor)
	if err != nil {
		return err
	}
	// A copy that has the same parents as its source, and so inherits other paths than that, was not merged into.
	same := prevAbove == nil
	if prevAbove != nil && above != nil {
		same = mergeinfo.Equal(prevAbove, above, mergeinfo.ConsiderInheritance)
	}
	if same || prev == nil && now == nil {
		return nil
	}
	deleted, added := mergeinfo.Compare(prev, now, mergeinfo.IgnoreInheritance)
	m.deleted.Merge(deleted)
	m.added.Merge(added)
	return nil
}

// predecessorOf returns where a path of a revision was before it.
func (r *Repository) predecessorOf(root *svnfs.Root, path string) (location, error) {
	prev, err := r.before(location{path, root.Rev()})
	if err != nil {
		return location{}, err
	}
	if prev != nil && prev.appeared == root.Rev() {
		return prev.location, nil
	}
	return location{path, root.Rev() - 1}, nil
}

// mergeinfoChanged returns how a revision changed the mergeinfo of paths, by path. The error is svn.ErrMergeinfoParseError if some is malformed.
func (r *Repository) mergeinfoChanged(rev svn.Revnum) (map[string]*merges, error) {
	changes, err := r.FS.Changes(rev)
	if err != nil {
		return nil, err
	}
	interesting := func(c svn.Change) bool { return c.PropMod && c.MergeinfoMod && c.Action != svn.Deleted }
	if !slices.ContainsFunc(changes, interesting) {
		return nil, nil
	}
	copies := slices.ContainsFunc(changes, func(c svn.Change) bool { return c.Action == svn.Added || c.Action == svn.Replaced })
	root, err := r.FS.Root(rev)
	if err != nil {
		return nil, err
	}
	changed := map[string]*merges{}
	for _, c := range changes {
		if !interesting(c) {
			continue
		}
		m, err := r.mergeinfoChange(root, c, copies)
		if err != nil {
			return nil, err
		}
		if m != nil {
			changed[c.Path] = m
		}
	}
	return changed, nil
}

// mergeinfoChange returns how a change changed the mergeinfo of its path, nil if it did not.
func (r *Repository) mergeinfoChange(root *svnfs.Root, c svn.Change, copies bool) (*merges, error) {
	var base *location
	switch {
	case c.CopyFrom != nil:
		base = &location{c.CopyFrom.Path, c.CopyFrom.Rev}
	case c.Action != svn.Modified:
	case copies:
		before, err := r.predecessorOf(root, c.Path)
		if err != nil {
			return nil, err
		}
		base = &before
	default:
		base = &location{c.Path, root.Rev() - 1}
	}
	now, err := mergeinfoValue(root, c.Path)
	if err != nil {
		return nil, err
	}
	var before *string
	var baseRoot *svnfs.Root
	if base != nil {
		if baseRoot, err = r.FS.Root(base.rev); err != nil {
			return nil, err
		}
		if before, err = mergeinfoValue(baseRoot, base.path); err != nil {
			return nil, err
		}
	}
	if before == nil && now == nil || before != nil && now != nil && *before == *now {
		return nil, nil
	}
	from, err := valueOrInherited(before, baseRoot, base)
	if err != nil {
		return nil, err
	}
	to, err := valueOrInherited(now, root, &location{c.Path, root.Rev()})
	if err != nil {
		return nil, err
	}
	deleted, added := mergeinfo.Compare(from, to, mergeinfo.IgnoreInheritance)
	return &merges{added: added, deleted: deleted}, nil
}

// mergeinfoValue returns the property of a path, nil if it has none.
func mergeinfoValue(root *svnfs.Root, path string) (*string, error) {
	n, err := root.Node(path)
	if err != nil || !n.HasMergeinfo() {
		return nil, err
	}
	props, err := n.Props()
	if err != nil {
		return nil, err
	}
	value, ok := props[svn.PropMergeinfo]
	if !ok {
		return nil, nil
	}
	return &value, nil
}

// valueOrInherited reads a property; without one it is what the path inherits.
func valueOrInherited(value *string, root *svnfs.Root, at *location) (mergeinfo.Mergeinfo, error) {
	switch {
	case value != nil:
		return mergeinfo.Parse(*value)
	case at == nil:
		return nil, nil
	}
	return mergeinfoOf(root, at.path, Inherited)
}
