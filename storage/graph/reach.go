package graph

import "container/heap"

// Ancestors returns the commits and all their ancestors.
func (g *Graph) Ancestors(commits []uint32) Set {
	seen := NewSet(g.Commits())
	var todo []uint32
	add := func(c uint32) {
		if !seen.Has(c) {
			seen.Add(c)
			todo = append(todo, c)
		}
	}
	for _, c := range commits {
		add(c)
	}
	for len(todo) > 0 {
		c := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		g.Parents(c, add)
	}
	return seen
}

// Missing returns the commits that wants lead to and haves do not: the newest first, as far as generation numbers or their
// order in the pack tell. With haves, it looks at no commit that is older than all that it returns, but for parents.
func (g *Graph) Missing(wants, haves []uint32) []uint32 {
	if len(haves) == 0 {
		return g.Ancestors(wants).Elements()
	}
	q := &generations{g: g, queued: NewSet(g.Commits()), had: NewSet(g.Commits())}
	for _, c := range haves {
		q.push(c, true)
	}
	for _, c := range wants {
		q.push(c, false)
	}
	var missing []uint32
	for q.wanted > 0 && q.Len() > 0 {
		c := heap.Pop(q).(uint32)
		had := q.had.Has(c)
		if !had {
			q.wanted--
			missing = append(missing, c)
		}
		g.Parents(c, func(p uint32) { q.push(p, had) })
	}
	return missing
}

// History calls fn with what commits and their ancestors introduce, that of the newest first, until fn returns false or max
// commits were visited.
func (g *Graph) History(commits []uint32, max int, fn func(place uint32) bool) {
	q := &generations{g: g, queued: NewSet(g.Commits()), had: NewSet(g.Commits())}
	for _, c := range commits {
		q.push(c, false)
	}
	more := true
	for ; more && max > 0 && q.Len() > 0; max-- {
		c := heap.Pop(q).(uint32)
		for i := g.introducedAt.at(c); more && i < g.introducedAt.at(c+1); i++ {
			more = fn(g.introduced.at(i))
		}
		g.Parents(c, func(p uint32) { q.push(p, false) })
	}
}

// Elements returns the elements in ascending order.
func (s Set) Elements() []uint32 {
	all := make([]uint32, 0, s.Len())
	for i, ok := s.Next(0); ok; i, ok = s.Next(i + 1) {
		all = append(all, i)
	}
	return all
}

// generations is a heap.Interface of commits, those with the largest generation numbers first. Whatever is pushed after a
// commit was popped has a smaller one, so that all is known of a commit when it is popped.
type generations struct {
	g           *Graph
	items       []uint32
	queued, had Set
	wanted      int // items that are not had
}

func (q *generations) push(c uint32, had bool) {
	known := q.queued.Has(c)
	switch {
	case had && !q.had.Has(c):
		q.had.Add(c)
		if known {
			q.wanted--
		}
	case !known && !had:
		q.wanted++
	}
	if !known {
		q.queued.Add(c)
		heap.Push(q, c)
	}
}

func (q *generations) Len() int { return len(q.items) }
func (q *generations) Less(i, j int) bool {
	return q.g.Generation(q.items[i]) > q.g.Generation(q.items[j])
}
func (q *generations) Swap(i, j int) { q.items[i], q.items[j] = q.items[j], q.items[i] }

// Push is for package heap.
func (q *generations) Push(x any) { q.items = append(q.items, x.(uint32)) }

// Pop is for package heap.
func (q *generations) Pop() any {
	last := q.items[len(q.items)-1]
	q.items = q.items[:len(q.items)-1]
	return last
}

// AddObjects adds the commits and all that they introduce to a set of places.
func (g *Graph) AddObjects(to Set, commits []uint32) {
	add := to.Add
	for _, c := range commits {
		to.Add(g.Place(c))
		g.Introduced(c, add)
	}
}
