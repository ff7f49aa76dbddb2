package storage

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"holdfast/storage/object"
)

// Repo is one repository of a Store. It is a handle: cheap, and safe for many goroutines.
type Repo struct {
	s       *Store
	id      RepoID
	init    RepoInit
	created bool // made by Create: may not exist yet
}

// Ref is a name for an object, or, with Target set, for another ref.
type Ref struct {
	Name   string
	ID     object.ID
	Peeled object.ID // what an annotated tag leads to in the end; zero for anything else
	Target string    // full name of a ref, set in a symbolic ref alone
}

// repoState is what the store keeps in memory of a repository in use.
type repoState struct {
	s      *Store
	id     RepoID
	format object.Format
	exists atomic.Bool // host.db knows it
	hasDir atomic.Bool // this process has made its directory durable

	txns int // open transactions; guarded by Store.reposMu

	placeMu sync.Mutex // guards placed, and files in the packs directory against removal
	placed  map[PackID]*placedPack

	views   views
	tidy    tidiness
	merging atomic.Bool // for Stats

	loadMu sync.Mutex // held while fresh is loaded
	fresh  freshPacks
	fillMu sync.Mutex // held while packs move from fresh into index.db

	indexMu sync.RWMutex // held by who writes index.db, for writing while another file takes its place
	base    basePacks
}

// Repo returns a repository, or an error that wraps ErrNotFound.
func (s *Store) Repo(id RepoID) (*Repo, error) {
	rec, err := s.repoRecord(id)
	if err != nil {
		return nil, &Error{Op: "open repository", Repo: id, Err: err}
	}
	return &Repo{s: s, id: id, init: rec.Init}, nil
}

// Create returns a repository that comes into being when its first transaction commits. If it exists already, the
// error wraps ErrExists; if another Create's transaction wins, Commit says so.
func (s *Store) Create(id RepoID, init RepoInit) (*Repo, error) {
	err := checkInit(id, init)
	if err == nil {
		if _, err = s.repoRecord(id); err == nil {
			err = ErrExists
		} else if isNotFound(err) {
			err = nil
		}
	}
	if err != nil {
		return nil, &Error{Op: "create repository", Repo: id, Err: err}
	}
	return &Repo{s: s, id: id, init: init, created: true}, nil
}

func checkInit(id RepoID, init RepoInit) error {
	switch {
	case !id.Valid():
		return fmt.Errorf("a repository id has 32 lower-case hexadecimal digits")
	case init.SCM != Git && init.SCM != Svn:
		return fmt.Errorf("unknown kind of repository %q", init.SCM)
	case init.Format != object.SHA1 && init.Format != object.SHA256:
		return fmt.Errorf("unknown object format %s", init.Format)
	}
	return validHead(init.Head)
}

// repoRecord returns a repository's record, or an error that wraps ErrNotFound.
func (s *Store) repoRecord(id RepoID) (rec *repoRecord, err error) {
	if !id.Valid() {
		return nil, ErrNotFound
	}
	err = s.view(func(tx *bbolt.Tx) error {
		rec, err = getRepo(tx, id)
		return err
	})
	if err == nil && rec == nil {
		err = ErrNotFound
	}
	return rec, err
}

// repoState returns the state in memory of an existing repository; it is made on first use and stays.
func (s *Store) repoState(id RepoID, format object.Format) (*repoState, error) {
	st, err := s.knownState(id, format)
	if err != nil {
		return nil, err
	}
	return st, st.load()
}

func (s *Store) knownState(id RepoID, format object.Format) (*repoState, error) {
	s.reposMu.Lock()
	defer s.reposMu.Unlock()
	if s.dead.Load() {
		return nil, ErrClosed
	}
	if st := s.repos[id]; st != nil && st.exists.Load() {
		return st, nil
	}
	if _, err := s.repoRecord(id); err != nil {
		return nil, err
	}
	st := s.repos[id]
	if st == nil { // else its first commit has just happened
		st = newRepoState(s, id, format)
		s.repos[id] = st
	}
	st.exists.Store(true)
	return st, nil
}

func newRepoState(s *Store, id RepoID, format object.Format) *repoState {
	st := &repoState{s: s, id: id, format: format, placed: map[PackID]*placedPack{}}
	st.views.freed = func() { s.merger.add(id, time.Now()) }
	return st
}

// enter returns the state for a transaction on r, and the RepoInit if the transaction is to bring r into being.
func (s *Store) enter(r *Repo) (*repoState, *RepoInit, error) {
	st, err := s.repoState(r.id, r.init.Format)
	if err != nil && !(isNotFound(err) && r.created) {
		return nil, nil, err
	}
	s.reposMu.Lock()
	defer s.reposMu.Unlock()
	if err != nil {
		if st = s.repos[r.id]; st == nil {
			st = newRepoState(s, r.id, r.init.Format)
			st.fresh.loaded = true
			s.repos[r.id] = st
		}
	}
	if st.format != r.init.Format {
		return nil, nil, fmt.Errorf("%w, or is being created, with %s ids", ErrExists, st.format)
	}
	st.txns++
	if st.exists.Load() {
		return st, nil, nil
	}
	init := r.init
	return st, &init, nil
}

// leave ends what enter began. A repository that did not come into being is forgotten with its last transaction.
func (s *Store) leave(id RepoID, st *repoState) {
	s.reposMu.Lock()
	defer s.reposMu.Unlock()
	if st.txns--; st.txns > 0 || st.exists.Load() || s.repos[id] != st {
		return
	}
	delete(s.repos, id)
	if !s.dead.Load() {
		os.Remove(st.packsDir()) // which is empty, else it stays
		os.Remove(s.dirOf(id))
	}
}

func (s *Store) closeRepos() {
	s.reposMu.Lock()
	defer s.reposMu.Unlock()
	for _, st := range s.repos {
		st.fresh.close()
		st.setBase(nil)
	}
}

func (s *Store) quarantineDir() string { return filepath.Join(s.dir, "quarantine") }

// dirOf returns the repository's directory.
func (s *Store) dirOf(id RepoID) string {
	return filepath.Join(s.dir, "repos", string(id[:2]), string(id))
}

func (st *repoState) packsDir() string { return filepath.Join(st.s.dirOf(st.id), "packs") }

func (st *repoState) packPath(id PackID) string {
	return st.pathOf(id, ".pack")
}

func (st *repoState) indexPath(id PackID) string {
	return st.pathOf(id, ".idx")
}

// packExts are the endings of a pack's files.
var packExts = []string{".pack", ".idx", ".graph"}

func (st *repoState) pathOf(id PackID, ext string) string {
	return filepath.Join(st.packsDir(), id.String()+ext)
}

// Store returns the store that the repository is in.
func (r *Repo) Store() *Store { return r.s }

// ID returns the repository's id.
func (r *Repo) ID() RepoID { return r.id }

// Format returns the repository's object format.
func (r *Repo) Format() object.Format { return r.init.Format }

// SCM returns the version control system that the repository speaks.
func (r *Repo) SCM() SCM { return r.init.SCM }

// Head returns the full name of the ref that HEAD points at, born or not.
func (r *Repo) Head() (string, error) {
	ref, err := r.Ref(HeadRef)
	if isNotFound(err) && r.created {
		return r.init.Head, nil
	}
	return ref.Target, err
}

// LastEntry returns the number of the repository's last entry, 0 for one that is only to be created.
func (r *Repo) LastEntry() (Seq, error) {
	rec, err := r.s.repoRecord(r.id)
	if isNotFound(err) && r.created {
		return 0, nil
	}
	if err != nil {
		return 0, r.fail("find last entry", err)
	}
	return rec.Last, nil
}

// Ref returns one ref, HEAD among them, or an error that wraps ErrNotFound.
func (r *Repo) Ref(name string) (Ref, error) {
	var value []byte
	err := r.s.view(func(tx *bbolt.Tx) error {
		value = bytes.Clone(tx.Bucket(bucketRefs).Get(refKey(r.id, name)))
		return nil
	})
	if err == nil && value == nil {
		err = fmt.Errorf("%s: %w", name, ErrNotFound)
	}
	if err != nil {
		return Ref{}, r.fail("read ref", err)
	}
	return decodeRef(name, value)
}

// maxRefsPage bounds what Refs returns at once.
const maxRefsPage = 10_000

// Refs returns a page of the refs whose names start with prefix and sort after the name after, sorted by name, at most
// limit of them (0, or more than 10,000, is taken as 10,000). HEAD is not among them. A page shows one moment; pages
// that are read one after the other may show different ones.
func (r *Repo) Refs(prefix, after string, limit int) ([]Ref, error) {
	if limit <= 0 || limit > maxRefsPage {
		limit = maxRefsPage
	}
	if prefix == "" {
		prefix = "refs/"
	}
	var names []string
	var values [][]byte
	err := r.s.view(func(tx *bbolt.Tx) error {
		want := refKey(r.id, prefix)
		c := tx.Bucket(bucketRefs).Cursor()
		from := max(prefix, after)
		for k, v := c.Seek(refKey(r.id, from)); bytes.HasPrefix(k, want) && len(names) < limit; k, v = c.Next() {
			if name := string(k[16:]); name != after && name != HeadRef {
				names, values = append(names, name), append(values, bytes.Clone(v))
			}
		}
		return nil
	})
	if err != nil {
		return nil, r.fail("list refs", err)
	}
	refs := make([]Ref, len(names))
	for i := range names {
		if refs[i], err = decodeRef(names[i], values[i]); err != nil {
			return nil, r.fail("list refs", err)
		}
	}
	return refs, nil
}

func (r *Repo) fail(op string, err error) error { return &Error{Op: op, Repo: r.id, Err: err} }

func (s *Store) register(id RepoID, st *repoState) {
	s.reposMu.Lock()
	defer s.reposMu.Unlock()
	s.repos[id] = st
}

// clean removes what pushes that never ended left behind: the quarantine, and pack files that host.db does not name.
// It runs before anything else uses the store.
func (s *Store) clean() error {
	if err := os.RemoveAll(s.quarantineDir()); err != nil {
		return err
	}
	if err := os.Mkdir(s.quarantineDir(), 0o700); err != nil {
		return err
	}
	if !s.opts.NoSync {
		if err := syncDir(s.dir); err != nil {
			return err
		}
	}
	return s.eachStray(os.RemoveAll)
}
