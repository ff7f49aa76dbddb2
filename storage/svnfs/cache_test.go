package svnfs_test

import (
	"fmt"
	"testing"

	"holdfast/storage/svnfs"
)

// TestCache has values pushed out by newer ones, those first that were not used for the longest time.
func TestCache(t *testing.T) {
	c := svnfs.NewCache(10)
	show := func() string {
		return fmt.Sprint(c.Cost(), c.Get("a"), c.Get("b"), c.Get("c"), c.Get("d")) // d is the one used last now
	}
	for _, step := range []struct {
		key  string
		cost int
		want string
	}{
		{"a", 4, "4 4 0 0 0"},
		{"b", 3, "7 4 3 0 0"},
		{"b", 3, "7 4 3 0 0"}, // is there already
		{"c", 3, "10 4 3 3 0"},
		{"d", 1, "7 0 3 3 1"},
		{"a", 7, "8 7 0 0 1"},
		{"b", 100, "100 0 100 0 0"}, // more than there is room for: until the next
		{"c", 10, "10 0 0 10 0"},
	} {
		c.Put(step.key, step.cost)
		if got := show(); got != step.want {
			t.Errorf("%s of %d: %s, want %s", step.key, step.cost, got, step.want)
		}
	}
	c.Drop("a") // is not there
	c.Drop("c")
	if got := show(); got != "0 0 0 0 0" {
		t.Errorf("after all were dropped: %s", got)
	}
}
