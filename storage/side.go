package storage

import (
	"os"
	"path/filepath"
)

// SidePath returns where a file that is derived from the repository's entries may be kept: an index, say. Its directory exists once
// the repository has its first pack. Such a file is no part of the store: it must be able to be made again.
func (r *Repo) SidePath(name string) string { return filepath.Join(r.s.dirOf(r.id), name) }

// Scratch returns an empty file for what is not yet part of any transaction. It has no name any more: the space is free once it is
// closed, however the process ends.
func (s *Store) Scratch() (*os.File, error) {
	f, err := os.CreateTemp(s.quarantineDir(), "scratch")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Options returns the options in force: what is kept beside the store has the same limits.
func (s *Store) Options() Options { return s.opts }
