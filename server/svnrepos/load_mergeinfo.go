package svnrepos

import (
	"cmp"
	"slices"
	"strings"

	"holdfast/storage/svn"
	"holdfast/storage/svn/mergeinfo"
)

// revMap tells what revisions of a dump became.
type revMap struct {
	oldest  svn.Revnum                // of the dump that was loaded; 0 for none
	ordered []renumbered              // in the order of the dump's numbers
	others  map[svn.Revnum]svn.Revnum // those that came with a lower number than one before
}

type renumbered struct{ rev, became svn.Revnum }

// began takes note of a revision that is loaded.
func (m *revMap) began(rev svn.Revnum) {
	if m.oldest == 0 {
		m.oldest = rev
	}
}

// committed takes note of what a revision became.
func (m *revMap) committed(rev, became svn.Revnum) {
	if n := len(m.ordered); n == 0 || rev > m.ordered[n-1].rev {
		m.ordered = append(m.ordered, renumbered{rev, became})
		return
	}
	if m.others == nil {
		m.others = map[svn.Revnum]svn.Revnum{}
	}
	m.others[rev] = became
}

// get returns what a revision became. One that the dump lacks between two that it has counts as the former: as what that became, where
// Subversion takes its number in the dump.
func (m *revMap) get(rev svn.Revnum) (svn.Revnum, bool) {
	if became, ok := m.others[rev]; ok {
		return became, true
	}
	i, ok := slices.BinarySearchFunc(m.ordered, rev, func(r renumbered, rev svn.Revnum) int { return cmp.Compare(r.rev, rev) })
	if ok {
		return m.ordered[i].became, true
	}
	if i == 0 || i == len(m.ordered) {
		return svn.InvalidRevnum, false
	}
	return m.ordered[i-1].became, true
}

// mergeinfo returns the value of svn:mergeinfo for the repository that the dump is loaded into.
func (l *loader) mergeinfo(value string) (string, error) {
	if strings.Contains(value, "\r") {
		value = onlyNewlines(value)
		l.tell(LoadEvent{Kind: LoadNormalizedMergeinfo})
	}
	m, err := mergeinfo.Parse(value)
	if err != nil {
		return "", err
	}
	var before mergeinfo.Mergeinfo
	if oldest := l.revs.oldest; oldest > 1 {
		older := mergeinfo.NewRangelist(0, oldest-1)
		before, m = mergeinfo.Mergeinfo{}, m.Clone()
		for path, list := range m {
			if old := moved(older.Intersect(list, mergeinfo.IgnoreInheritance), -l.offset); len(old) > 0 {
				before[path] = old
			}
			if m[path] = list.Remove(older, mergeinfo.IgnoreInheritance); len(m[path]) == 0 {
				delete(m, path)
			}
		}
	}
	out := mergeinfo.Mergeinfo{}
	for path, list := range m {
		if list, err = mergeinfo.Canonicalize(l.revs.renumber(list)); err != nil {
			return "", err
		}
		if len(list) > 0 {
			out[path] = list
		}
	}
	out.Merge(before)
	if l.parent != "/" {
		out = below(l.parent, out)
	}
	return out.String(), nil
}

// moved returns ranges moved by a number of revisions. Those that would begin at or before revision 0 are dropped.
func moved(list mergeinfo.Rangelist, by svn.Revnum) mergeinfo.Rangelist {
	var out mergeinfo.Rangelist
	for _, r := range list {
		if r.Start+by > 0 && r.End+by > 0 {
			r.Start, r.End = r.Start+by, r.End+by
			out = append(out, r)
		}
	}
	return out
}

// renumber returns what ranges of the dump became. A range whose start is not known is left as it is, and one of which nothing is left is
// dropped, where Subversion fails or writes what cannot be read.
func (m *revMap) renumber(list mergeinfo.Rangelist) mergeinfo.Rangelist {
	out := make(mergeinfo.Rangelist, 0, len(list))
	for _, r := range list {
		start, ok := m.get(r.Start)
		if !ok && r.Start == m.oldest-1 {
			// Start is the revision before the range's first, which the dump need not have.
			if start, ok = m.get(m.oldest); ok {
				start--
			} else {
				start, ok = r.Start, true
			}
		}
		if ok {
			r.Start = start
			if end, ok := m.get(r.End); ok {
				r.End = end
			}
		}
		if r.Start < r.End {
			out = append(out, r)
		}
	}
	return out
}

// below returns mergeinfo whose sources are below a directory.
func below(parent string, m mergeinfo.Mergeinfo) mergeinfo.Mergeinfo {
	out := make(mergeinfo.Mergeinfo, len(m))
	for path, list := range m {
		out[svn.Join(parent, path[1:])] = list
	}
	return out
}
