package svnrepos_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
	"holdfast/storage/svn/svndiff"
)

// windowCounter is an encoder that counts the windows that it had to encode.
type windowCounter struct {
	*svndiff.Encoder
	windows *int
}

func (c windowCounter) Window(w *svn.Window) error {
	*c.windows++
	return c.Encoder.Window(w)
}

// TestDeltasAreKept asks twice for the same deltas: they are made once in each version of svndiff, and are the same; but not those that
// are from nothing, or large.
func TestDeltasAreKept(t *testing.T) {
	fs := newFS(t)
	var large strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&large, "%d ", i*i)
	}
	long := strings.Repeat("long.", 50_000)
	script(t, fs, "put /f "+long, "put /f "+long+"a", "put /f b"+long, "put /f "+large.String())
	r := &svnrepos.Repository{FS: fs}
	ask := func(version int) (windows int, texts []string) {
		var all []*bytes.Buffer
		err := r.FileRevs(t.Context(), "/f", 0, -1, false, func(svnrepos.FileRev) (svn.WindowHandler, error) {
			all = append(all, new(bytes.Buffer))
			return windowCounter{svndiff.NewEncoder(all[len(all)-1], version, 5), &windows}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range all {
			texts = append(texts, b.String())
		}
		return windows, texts
	}
	for version := range 3 {
		windows, first := ask(version)
		again, second := ask(version)
		// The three windows of the first text are from nothing, and the two of the last are more than is kept.
		if windows != 11 || again != 5 || !slices.Equal(first, second) {
			t.Errorf("version %d: %d windows, then %d, %t", version, windows, again, slices.Equal(first, second))
		}
	}
}
