package replication_test

import (
	"strings"
	"testing"
	"time"

	"holdfast/replication"
)

// What fills the spool may be on every mirror already and only not deleted yet: then no backlog is dropped for it, and no
// push is refused.
func TestSpoolBoundDeletesFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHost(t)
		h.o.SpoolBytes = 1 << 20
		h.buckets[2].OnPut = func(string) (bool, error) {
			time.Sleep(time.Second)
			return true, nil
		}
		h.start()
		for range 20 {
			if err := h.r.Ready(); err != nil {
				t.Fatalf("Ready: %v", err)
			}
			h.mustAck(h.push(strings.Repeat("x", 300<<10)))
			time.Sleep(1100 * time.Millisecond)
		}
		for _, s := range h.r.Status() {
			if s.State != replication.StateOK || s.Behind != 0 {
				t.Errorf("%+v", s)
			}
		}
	})
}
