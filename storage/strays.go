package storage

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// eachStray calls fn for each file or directory below repos/ that belongs to nothing in host.db.
func (s *Store) eachStray(fn func(path string) error) error {
	root := filepath.Join(s.dir, "repos")
	groups, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	for _, group := range groups {
		path := filepath.Join(root, group.Name())
		repos, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		for _, repo := range repos {
			if err := s.strayIn(RepoID(repo.Name()), filepath.Join(path, repo.Name()), fn); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) strayIn(id RepoID, dir string, fn func(path string) error) error {
	s.reposMu.Lock()
	st := s.repos[id]
	s.reposMu.Unlock()
	if st == nil {
		if _, err := s.repoRecord(id); isNotFound(err) {
			return fn(dir)
		} else if err != nil {
			return err
		}
		st = newRepoState(s, id, 0)
	}
	d, err := os.Open(st.packsDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(1000)
		for _, name := range names {
			known, err := st.knows(name)
			if err != nil {
				return err
			}
			if !known {
				if err := fn(filepath.Join(st.packsDir(), name)); err != nil {
					return err
				}
			}
		}
		if len(names) == 0 {
			if err == io.EOF {
				err = nil
			}
			return err
		}
	}
}

// knows reports whether a name in the packs directory is that of a pack which host.db lists, or of a file beside one.
func (st *repoState) knows(name string) (bool, error) {
	ext := filepath.Ext(name)
	var id PackID
	if !slices.Contains(packExts, ext) || id.UnmarshalText([]byte(strings.TrimSuffix(name, ext))) != nil {
		return false, nil
	}
	st.placeMu.Lock()
	_, placed := st.placed[id]
	st.placeMu.Unlock()
	if placed {
		return true, nil
	}
	_, listed, err := st.packRecord(id)
	return listed, err
}
