package main

import "testing"

func TestRoomFor(t *testing.T) {
	for live, want := range map[uint64]int{0: 100, 10 << 20: 100, 28 << 20: 100, 40 << 20: 40, 60 << 20: leastRoom, 1 << 30: leastRoom} {
		if got := roomFor(live); got != want {
			t.Errorf("%d bytes in use: the heap grows by %d%%, not %d%%", live, got, want)
		}
	}
}
