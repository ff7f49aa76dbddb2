package storage

// Fill makes index.db cover all of the repository's packs.
func (s *Store) Fill(id RepoID) error {
	rec, err := s.repoRecord(id)
	if err != nil {
		return err
	}
	st, err := s.repoState(id, rec.Init.Format)
	if err != nil {
		return err
	}
	return st.fill()
}

// IndexPath returns where the repository's index.db is.
func (s *Store) IndexPath(id RepoID) string { return (&repoState{s: s, id: id}).indexDBPath() }

// PackPath returns where a pack is.
func (s *Store) PackPath(repo RepoID, id PackID) string {
	return (&repoState{s: s, id: repo}).packPath(id)
}

// Dir returns the store's directory.
func (s *Store) Dir() string { return s.dir }
