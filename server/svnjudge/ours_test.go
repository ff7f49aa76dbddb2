//go:build judge

package main

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"holdfast/storage/svnfs"
)

// startOurs serves a new repository in this process.
func startOurs(t *testing.T, s *side) {
	t.Helper()
	h, err := newHost(s.repo + ".store")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
	})
	configure(t, s.repo)
	if err := os.WriteFile(filepath.Join(s.repo, "format"), []byte("5\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := h.create("", s.repo); err != nil {
		t.Fatal(err)
	}
	fs, release, err := h.open.Open(h.named[""].repo)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if _, err := fs.SetUUID(t.Context(), svnfs.Direct, meta("svnadmin"), uuid); err != nil {
		t.Fatal(err)
	}
	var l net.Listener = listen(t)
	s.url = "svn://" + l.Addr().String()
	go h.acceptAll(t.Context(), l)
}
