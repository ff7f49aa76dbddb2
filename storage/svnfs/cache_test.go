package svnfs_test

import (
	"fmt"
	"strings"
	"testing"

	"holdfast/storage/svn"
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

// TestCacheCost has what is decoded cost at least what its blob takes, which stays with it: however long paths and names are.
func TestCacheCost(t *testing.T) {
	long := strings.Repeat("/long", svn.MaxPathBytes/5)
	for name, blob := range map[string]string{
		"node":     someNode,
		"path":     strings.Replace(someNode, "/a b", long, 1),
		"copyfrom": strings.Replace(someNode, "/x", long, 1),
		"copyroot": strings.Replace(someNode, "copyroot 0 /", "copyroot 0 "+long, 1),
		"dir":      strings.Replace(someDir, "b c", "b"+long, 1),
		"bucket":   strings.Replace(someBucket, "b c", "b"+long, 1),
		"change":   strings.Replace(someRevision, "/c d", long, 1),
		"copy":     strings.Replace(someRevision, "from 2 /b", "from 2 "+long, 1),
	} {
		if cost := svnfs.Cost([]byte(blob)); cost < len(blob) || cost > len(blob)+2000 {
			t.Errorf("%s: %d bytes cost %d", name, len(blob), cost)
		}
	}
}
