package replication

import (
	"cmp"
	"container/heap"

	"holdfast/storage"
)

// parked is a number of the log that holds a segment which does not join the journal yet: entries between are missing.
// Where a mirror refused a number, they come again under a later one, at any distance. So that any number of segments
// can wait, only their places are kept; they are read again when their turn comes.
type parked struct {
	number uint64
	first  storage.Seq // the first entry of any segment there that waits
	src    *source     // a mirror that holds it
}

// parking holds the parked numbers of one log.
type parking struct {
	waiting parkedHeap // by first
	ready   parkedHeap // those that join now, by number: what came first goes first
}

func newParking() *parking {
	return &parking{
		waiting: parkedHeap{before: func(a, b parked) int { return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.number, b.number)) }},
		ready:   parkedHeap{before: func(a, b parked) int { return cmp.Compare(a.number, b.number) }},
	}
}

func (p *parking) add(x parked) { heap.Push(&p.waiting, x) }

func (p *parking) empty() bool { return p.waiting.Len()+p.ready.Len() == 0 }

// next takes out the lowest number whose segment joins a journal that ends with last.
func (p *parking) next(last storage.Seq) (x parked, ok bool) {
	for p.waiting.Len() > 0 && p.waiting.all[0].first <= last+1 {
		heap.Push(&p.ready, heap.Pop(&p.waiting))
	}
	if p.ready.Len() == 0 {
		return x, false
	}
	return heap.Pop(&p.ready).(parked), true
}

// nearest returns the parked segment that the fewest entries separate from the journal's end.
func (p *parking) nearest() parked { return p.waiting.all[0] }

// parkedHeap implements heap.Interface.
type parkedHeap struct {
	all    []parked
	before func(a, b parked) int
}

func (h *parkedHeap) Len() int           { return len(h.all) }
func (h *parkedHeap) Less(i, j int) bool { return h.before(h.all[i], h.all[j]) < 0 }
func (h *parkedHeap) Swap(i, j int)      { h.all[i], h.all[j] = h.all[j], h.all[i] }
func (h *parkedHeap) Push(x any)         { h.all = append(h.all, x.(parked)) }

func (h *parkedHeap) Pop() any {
	x := h.all[len(h.all)-1]
	h.all = h.all[:len(h.all)-1]
	return x
}
