package replication

import (
	"slices"

	"holdfast/storage"
)

// span is a range of entries, both ends included.
type span struct {
	First storage.Seq `json:"first"`
	Last  storage.Seq `json:"last"`
}

// spans is a set of entries: ranges in order that neither overlap nor touch. In a mirror's life it is nearly always one.
type spans []span

// add returns the set with first..last in it. The receiver is not changed.
func (s spans) add(first, last storage.Seq) spans {
	if last < first {
		return s
	}
	var out spans
	for _, have := range s {
		if have.Last+1 < first || last+1 < have.First {
			out = append(out, have)
			continue
		}
		first, last = min(first, have.First), max(last, have.Last)
	}
	at, _ := slices.BinarySearchFunc(out, first, func(a span, b storage.Seq) int {
		if a.First < b {
			return -1
		}
		return 1
	})
	return slices.Insert(out, at, span{first, last})
}

// through returns the last entry of the run that begins at entry 1, 0 if entry 1 is missing.
func (s spans) through() storage.Seq {
	if len(s) == 0 || s[0].First > 1 {
		return 0
	}
	return s[0].Last
}

// missing returns the first range that the set lacks up to head. ok is false if it lacks none.
func (s spans) missing(head storage.Seq) (gap span, ok bool) {
	gap = span{First: s.through() + 1, Last: head}
	for _, have := range s {
		if have.First > gap.First {
			gap.Last = min(head, have.First-1)
			break
		}
	}
	return gap, gap.First <= gap.Last
}

// valid reports whether s is a set in the form that add makes.
func (s spans) valid() bool {
	for i, v := range s {
		if v.First < 1 || v.Last < v.First || i > 0 && v.First <= s[i-1].Last+1 {
			return false
		}
	}
	return true
}
