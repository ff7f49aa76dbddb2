package sparse

import (
	"math/bits"
	"slices"
)

// places are those in a pattern's tokens that what was read so far can have led to: bit i says that token i comes next. The
// bit behind the last token's says that what was read matches.
type places []uint64

func (p places) add(i int)      { p[i>>6] |= 1 << (i & 63) }
func (p places) has(i int) bool { return p[i>>6]&(1<<(i&63)) != 0 }

func (p places) empty() bool {
	for _, word := range p {
		if word != 0 {
			return false
		}
	}
	return true
}

func (p places) len() (n int) {
	for _, word := range p {
		n += bits.OnesCount64(word)
	}
	return n
}

// next returns the first place from i on, -1 if there is none.
func (p places) next(i int) int {
	for w := i >> 6; w < len(p); w++ {
		word := p[w]
		if w == i>>6 {
			word &= ^uint64(0) << (i & 63)
		}
		if word != 0 {
			return w<<6 + bits.TrailingZeros64(word)
		}
	}
	return -1
}

// start returns the places before anything is read.
func (q *pattern) start() places {
	if len(q.tokens) < 64 {
		return q.word(q.skip(1))
	}
	p := make(places, len(q.tokens)>>6+1)
	p.add(0)
	q.skipAll(p)
	return p
}

// word is the places of a short pattern.
func (q *pattern) word(w uint64) places {
	if w == 0 {
		return nil
	}
	return places{w}
}

// follow returns the places that a text leads to, none at all if there is none, and how many places it came by.
func (q *pattern) follow(from places, text string) (to places, steps int) {
	if len(from) == 1 {
		w := from[0]
		for i := 0; i < len(text) && w != 0; i++ {
			steps += bits.OnesCount64(w)
			w = q.step(w, text[i])
		}
		return q.word(w), steps + 1
	}
	to = slices.Clone(from)
	other := make(places, len(from))
	for i := 0; i < len(text) && !to.empty(); i++ {
		steps += to.len()
		q.stepAll(other, to, text[i])
		to, other = other, to
	}
	if to.empty() {
		to = nil
	}
	return to, steps + 1
}

// matches reports whether the pattern matches a name.
func (q *pattern) matches(name string) (ok bool, steps int) {
	if len(q.tokens) >= 64 {
		p, steps := q.follow(q.start(), name)
		return q.ends(p), steps
	}
	w := q.skip(1)
	for i := 0; i < len(name) && w != 0; i++ {
		steps += bits.OnesCount64(w)
		w = q.step(w, name[i])
	}
	return w>>len(q.tokens)&1 != 0, steps + 1
}

// ends reports whether what was read matches.
func (q *pattern) ends(p places) bool { return len(p) > 0 && p.has(len(q.tokens)) }

// step returns the places that a byte leads to, in a short pattern.
func (q *pattern) step(from uint64, b byte) (to uint64) {
	for ; from != 0; from &= from - 1 {
		if i := bits.TrailingZeros64(from); i < len(q.tokens) {
			if by := q.advance(i, b); by >= 0 {
				to |= 1 << (i + by)
			}
		}
	}
	return q.skip(to)
}

func (q *pattern) stepAll(to, from places, b byte) {
	clear(to)
	for i := from.next(0); i >= 0 && i < len(q.tokens); i = from.next(i + 1) {
		if by := q.advance(i, b); by >= 0 {
			to.add(i + by)
		}
	}
	q.skipAll(to)
}

// advance returns by how much a byte leads on from token i, -1 if it leads nowhere.
func (q *pattern) advance(i int, b byte) int {
	switch t := &q.tokens[i]; t.kind {
	case literal:
		if b == t.literal {
			return 1
		}
	case any:
		if b != '/' {
			return 1
		}
	case inClass:
		if q.classes[t.class].has(b) {
			return 1
		}
	case star:
		if b != '/' {
			return 0
		}
	case starstar:
		return 0
	}
	return -1
}

// skip adds the places that those there are lead to without reading anything, in a short pattern.
func (q *pattern) skip(p uint64) uint64 {
	if !q.skips {
		return p
	}
	for rest := p; rest != 0; rest &= rest - 1 {
		i := bits.TrailingZeros64(rest)
		if i == len(q.tokens) {
			break
		}
		for _, by := range skips[q.tokens[i].kind] {
			p |= 1 << (i + by)
			rest |= 1 << (i + by)
		}
	}
	return p
}

func (q *pattern) skipAll(p places) {
	for i := p.next(0); i >= 0 && i < len(q.tokens); i = p.next(i + 1) {
		for _, by := range skips[q.tokens[i].kind] {
			p.add(i + by)
		}
	}
}

// skips are the tokens that match nothing at all too: how far behind them it may go on.
var skips = [...][]int{star: {1}, starstar: {1}, starsDir: {1, 3}}
