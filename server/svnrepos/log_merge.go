package svnrepos

import (
	"cmp"
	"slices"

	"holdfast/storage/svn"
	"holdfast/storage/svn/mergeinfo"
)

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

// spans turns mergeinfo around: it yields spans of revisions that have the same paths, with those paths, from the youngest on. The
// lists of paths are made one at a time, as together they may be as long as the square of the mergeinfo.
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

// coverage is what was searched: by path, spans from their oldest revision to the one after their youngest, which do not touch,
// from the youngest on.
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
