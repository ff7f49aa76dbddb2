package mergeinfo

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"holdfast/storage/svn"
)

// Range is the revisions Start+1 to End. Start is at least 0 and less than End.
type Range struct {
	Start, End  svn.Revnum
	Inheritable bool
}

// Rangelist is a set of revisions, each of which is inheritable or not. See the package's comment for its form.
type Rangelist []Range

// Inheritance says whether an operation on two sets tells revisions apart that are inheritable in one set only.
type Inheritance bool

// The ways to see inheritance.
const (
	IgnoreInheritance   Inheritance = false // a revision is one, inherited or not; the results are inheritable if either is
	ConsiderInheritance Inheritance = true
)

// NewRangelist returns the revisions start+1 to end.
func NewRangelist(start, end svn.Revnum) Rangelist { return Rangelist{{start, end, true}} }

// String returns the form that the property has.
func (l Rangelist) String() string { return string(l.append(nil)) }

func (l Rangelist) append(b []byte) []byte {
	for i, r := range l {
		if i > 0 {
			b = append(b, ',')
		}
		b = r.append(b)
	}
	return b
}

func (r Range) append(b []byte) []byte {
	if r.Start+1 < r.End {
		b = strconv.AppendInt(b, int64(r.Start+1), 10)
		b = append(b, '-')
	}
	b = strconv.AppendInt(b, int64(r.End), 10)
	if !r.Inheritable {
		b = append(b, '*')
	}
	return b
}

// String returns the form that the property has.
func (r Range) String() string { return string(r.append(nil)) }

// Contains reports whether a revision is in the set.
func (l Rangelist) Contains(rev svn.Revnum) bool {
	i, _ := slices.BinarySearchFunc(l, rev, func(r Range, rev svn.Revnum) int { return cmp.Compare(r.End, rev) })
	return i < len(l) && l[i].Start < rev
}

func compareRanges(a, b Range) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End))
}

// Canonicalize sorts the ranges in place and joins those that touch or overlap. Overlapping ranges must agree in inheritance.
func Canonicalize(l Rangelist) (Rangelist, error) {
	if len(l) == 0 {
		return l, nil
	}
	slices.SortStableFunc(l, compareRanges)
	out := l[:1]
	for _, r := range l[1:] {
		last := &out[len(out)-1]
		switch {
		case r.Start > last.End || r.Start == last.End && r.Inheritable != last.Inheritable:
			out = append(out, r)
		case r.Inheritable != last.Inheritable:
			return nil, svn.Errorf(svn.ErrMergeinfoParseError,
				"Unable to parse overlapping revision ranges '%s' and '%s' with different inheritance types", *last, r)
		default:
			last.End = max(last.End, r.End)
		}
	}
	return out, nil
}

// push appends a range that lies behind all of the list, joined to the last if they touch or overlap and agree in inheritance.
func (l Rangelist) push(r Range, inheritance Inheritance) Rangelist {
	if len(l) > 0 {
		last := &l[len(l)-1]
		if r.Start <= last.End && (inheritance == IgnoreInheritance || r.Inheritable == last.Inheritable) {
			last.End = max(last.End, r.End)
			last.Inheritable = last.Inheritable || r.Inheritable
			return l
		}
	}
	return append(l, r)
}

// level is what a list says of a revision; the higher wins in a union.
type level int

const (
	absent level = iota
	uninherited
	inherited
)

const forever svn.Revnum = math.MaxInt64

// cursor walks a list as intervals, gaps included.
type cursor struct{ rest Rangelist }

// at returns the level of the revision after from, and until where it is the same. From must not decrease.
func (c *cursor) at(from svn.Revnum) (l level, until svn.Revnum) {
	for len(c.rest) > 0 && c.rest[0].End <= from {
		c.rest = c.rest[1:]
	}
	switch {
	case len(c.rest) == 0:
		return absent, forever
	case from < c.rest[0].Start:
		return absent, c.rest[0].Start
	case c.rest[0].Inheritable:
		return inherited, c.rest[0].End
	}
	return uninherited, c.rest[0].End
}

// Merge returns the union. A revision of both sets is inheritable if it is in either.
func (l Rangelist) Merge(m Rangelist) Rangelist {
	out := make(Rangelist, 0, len(l)+len(m))
	a, b := cursor{l}, cursor{m}
	for from := svn.Revnum(0); ; {
		inA, untilA := a.at(from)
		inB, untilB := b.at(from)
		until := min(untilA, untilB)
		if until == forever {
			return out
		}
		if in := max(inA, inB); in != absent {
			out = out.push(Range{from, until, in == inherited}, ConsiderInheritance)
		}
		from = until
	}
}

// Intersect returns the revisions of both sets.
func (l Rangelist) Intersect(m Rangelist, inheritance Inheritance) Rangelist {
	w := walk{eraser: l, board: m, inheritance: inheritance}
	w.run(func(r Range, common bool) {
		if common {
			w.out = w.out.push(r, inheritance)
		}
	})
	return w.out
}

// Remove returns the revisions of the set that are not in eraser.
func (l Rangelist) Remove(eraser Rangelist, inheritance Inheritance) Rangelist {
	w := walk{eraser: eraser, board: l, inheritance: inheritance}
	w.run(func(r Range, common bool) {
		if !common {
			w.out = w.out.push(r, inheritance)
		}
	})
	return w.out
}

// Diff returns what is gone and what has come from one set to the other.
func Diff(from, to Rangelist, inheritance Inheritance) (deleted, added Rangelist) {
	return from.Remove(to, inheritance), to.Remove(from, inheritance)
}

// walk cuts board at eraser's ranges.
type walk struct {
	eraser, board Rangelist
	inheritance   Inheritance
	out           Rangelist
}

// run emits the pieces of board, in order: those that eraser's ranges have in common with it, and the others.
//
// Like Subversion, it leaves a range of eraser behind for good when it meets one of board that begins later and that it cannot
// match for its inheritance; what of board comes after that is not compared with it.
func (w *walk) run(emit func(r Range, common bool)) {
	for len(w.board) > 0 {
		piece := w.board[0]
		w.board = w.board[1:]
		for piece.Start < piece.End && len(w.eraser) > 0 {
			e := w.eraser[0]
			if !w.meet(e, piece) {
				if compareRanges(e, piece) >= 0 {
					break
				}
				w.eraser = w.eraser[1:]
				continue
			}
			if piece.Start < e.Start {
				emit(Range{piece.Start, e.Start, piece.Inheritable}, false)
			}
			end := min(piece.End, e.End)
			emit(Range{max(piece.Start, e.Start), end, piece.Inheritable || e.Inheritable}, true)
			if piece.Start == e.Start && piece.End == e.End {
				w.eraser = w.eraser[1:]
			}
			piece.Start = end
		}
		if piece.Start < piece.End {
			emit(piece, false)
		}
	}
}

// meet reports whether two ranges have revisions in common, as far as inheritance lets them.
func (w *walk) meet(a, b Range) bool {
	return a.Start < b.End && b.Start < a.End && (w.inheritance == IgnoreInheritance || a.Inheritable == b.Inheritable)
}

// Inheritable returns the ranges that are inheritable.
func (l Rangelist) Inheritable() Rangelist {
	out := make(Rangelist, 0, len(l))
	for _, r := range l {
		if r.Inheritable {
			out = append(out, r)
		}
	}
	return out
}

// Uninheritable returns the ranges that are not inheritable.
func (l Rangelist) Uninheritable() Rangelist {
	out := make(Rangelist, 0, len(l))
	for _, r := range l {
		if !r.Inheritable {
			out = append(out, r)
		}
	}
	return out
}
