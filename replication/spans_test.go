package replication

import (
	"math/rand/v2"
	"testing"

	"holdfast/storage"
)

// TestSpans compares a set of ranges with a set of numbers.
func TestSpans(t *testing.T) {
	const top = 40
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var s spans
		var have [top + 2]bool
		for range 12 {
			first := 1 + rnd.IntN(top)
			last := min(top, first+rnd.IntN(6))
			s = s.add(storage.Seq(first), storage.Seq(last))
			for i := first; i <= last; i++ {
				have[i] = true
			}
			checkSpans(t, s, have[:])
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func checkSpans(t *testing.T, s spans, have []bool) {
	t.Helper()
	if !s.valid() {
		t.Errorf("%v is in no order", s)
	}
	through := 0
	for have[through+1] {
		through++
	}
	if s.through() != storage.Seq(through) {
		t.Errorf("%v reaches to %d, want %d", s, s.through(), through)
	}
	head := len(have) - 2
	end := through + 1
	for end < head && !have[end+1] {
		end++
	}
	want := span{storage.Seq(through + 1), storage.Seq(end)}
	if gap, ok := s.missing(storage.Seq(head)); ok != (through < head) || ok && gap != want {
		t.Errorf("%v lacks %v, %v; want %v", s, gap, ok, want)
	}
}
