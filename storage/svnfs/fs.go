package svnfs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"sort"
	"sync"
	"time"

	"holdfast/storage"
	"holdfast/storage/object"
	"holdfast/storage/svn"
)

// RevsRef names the git commit of the youngest revision.
const RevsRef = "refs/svn/revs"

// Committer carries a change through the order of a push.
type Committer interface {
	// Commit makes one change of a repository durable on this host, and does not wait for mirrors. It begins a transaction,
	// calls fill once to put packs, ref updates and data into it, prepares and commits it. Errors are fill's, or say that
	// nothing was changed.
	Commit(ctx context.Context, repo *storage.Repo, m storage.Meta, fill func(*storage.Txn) error) (storage.Entry, error)
}

// Direct commits to the store, whatever policy or mirrors there are: for tests, and for tools beside a stopped host.
var Direct Committer = direct{}

type direct struct{}

func (direct) Commit(_ context.Context, repo *storage.Repo, m storage.Meta, fill func(*storage.Txn) error) (storage.Entry, error) {
	txn, err := repo.Begin(m)
	if err != nil {
		return storage.Entry{}, err
	}
	defer txn.Discard()
	if err := fill(txn); err != nil {
		return storage.Entry{}, err
	}
	entries, err := repo.Store().Commit(txn)
	if err != nil {
		return storage.Entry{}, err
	}
	return entries[0], nil
}

// FS is the filesystem of one repository. There is one for each repository in use, and it may be used by many goroutines.
type FS struct {
	repo   *storage.Repo
	format object.Format
	index  *index

	*caches

	// commitMu is held by whoever commits: from looking at the youngest revision to the update of the index. It guards writes of
	// state too.
	commitMu sync.Mutex

	stateMu sync.Mutex // guards the rest
	state   indexState
	txns    map[string]*Txn
	nextTxn int
}

// NewUUID returns a random UUID (RFC 9562, version 4).
func NewUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

func isUUID(s string) bool { return uuidForm.MatchString(s) }

// open opens a repository that has revision 0.
func open(repo *storage.Repo, c *caches) (*FS, error) {
	if repo.SCM() != storage.Svn {
		return nil, svn.Errorf(svn.ErrFSUnknownFSType, "the repository is not one of Subversion")
	}
	x, err := openIndex(repo)
	if err != nil {
		return nil, err
	}
	f := newFS(repo, x, c)
	if err = f.catchUp(); err == nil && !f.state.youngest.Valid() {
		err = svn.Errorf(svn.ErrFSCorrupt, "the repository has no revision")
	}
	if err != nil {
		return nil, errors.Join(err, x.close())
	}
	return f, nil
}

func newFS(repo *storage.Repo, x *index, c *caches) *FS {
	return &FS{caches: c, repo: repo, format: repo.Format(), index: x, state: x.current(), txns: map[string]*Txn{}}
}

func (f *FS) close() error { return f.index.close() }

// UUID returns the repository's uuid.
func (f *FS) UUID() string {
	f.stateMu.Lock()
	defer f.stateMu.Unlock()
	return f.state.uuid
}

// Youngest returns the number of the last revision.
func (f *FS) Youngest() svn.Revnum {
	f.stateMu.Lock()
	defer f.stateMu.Unlock()
	return f.state.youngest
}

// Repo returns the repository that the filesystem is in.
func (f *FS) Repo() *storage.Repo { return f.repo }

// Root returns the tree of a revision.
func (f *FS) Root(rev svn.Revnum) (*Root, error) {
	r, err := f.revision(rev)
	if err != nil {
		return nil, err
	}
	n, err := f.node(r.root)
	if err != nil {
		return nil, err
	}
	return &Root{fs: f, rev: rev, root: n}, nil
}

// Changes returns what a revision changed, sorted by path.
func (f *FS) Changes(rev svn.Revnum) ([]svn.Change, error) {
	r, err := f.revision(rev)
	if err != nil {
		return nil, err
	}
	return append([]svn.Change(nil), r.changes...), nil
}

// RevProps returns a revision's properties as they are now; the caller may change them.
func (f *FS) RevProps(rev svn.Revnum) (svn.Props, error) {
	p, err := f.revProps(rev)
	if err != nil {
		return nil, err
	}
	return p.Clone(), nil
}

// revProps returns a revision's properties; they are shared.
func (f *FS) revProps(rev svn.Revnum) (svn.Props, error) {
	key, pageKey := revisionKey{f, rev}, revisionKey{f, rev / 64}
	f.stateMu.Lock()
	p, ok := f.revisionProps.get(key)
	page, known := f.edited.get(pageKey)
	applied := f.state.applied
	f.stateMu.Unlock()
	if ok {
		return p, nil
	}
	r, err := f.revision(rev)
	if err != nil {
		return nil, err
	}
	if !known || page>>(rev%64)&1 != 0 {
		if page, p, err = f.index.revProps(rev); err != nil {
			return nil, err
		}
	}
	if p == nil {
		p = r.props
	}
	f.stateMu.Lock()
	defer f.stateMu.Unlock()
	if applied == f.state.applied { // else they may have been edited since
		f.revisionProps.put(key, p)
		f.edited.put(pageKey, page)
	}
	return p, nil
}

// DatedRev returns the youngest revision that is not younger than t. Like Subversion, it takes for granted that dates do not
// decrease.
func (f *FS) DatedRev(t time.Time) (svn.Revnum, error) {
	var failed error
	date := func(rev svn.Revnum) time.Time {
		p, err := f.revProps(rev)
		if err != nil {
			failed = err
			return time.Time{}
		}
		d, err := svn.ParseTime(p[svn.PropDate])
		if err != nil {
			failed = svn.Errorf(svn.ErrFSGeneral, "Failed to find time on revision %d", rev)
		}
		return d
	}
	n := sort.Search(int(f.Youngest())+1, func(i int) bool { return failed == nil && date(svn.Revnum(i)).After(t) })
	return svn.Revnum(max(n-1, 0)), failed
}

// revision returns a revision object.
func (f *FS) revision(rev svn.Revnum) (*revision, error) {
	if !rev.Valid() || rev > f.Youngest() {
		return nil, svn.Errorf(svn.ErrFSNoSuchRevision, "No such revision %d", rev)
	}
	if r, ok := f.revisions.get(revisionKey{f, rev}); ok {
		return r, nil
	}
	p, err := f.index.place(rev)
	if err != nil {
		return nil, err
	}
	r, err := f.readRevision(p.revision)
	if err == nil {
		f.revisions.put(revisionKey{f, rev}, r)
	}
	return r, err
}

func (f *FS) readRevision(id ID) (*revision, error) {
	data, err := f.blob(id)
	if err != nil {
		return nil, err
	}
	return decodeRevision(id, data)
}

// blob reads a small object; what it returns is shared.
func (f *FS) blob(id ID) ([]byte, error) {
	typ, data, err := f.repo.ReadObject(id)
	if err == nil && typ != object.Blob {
		err = svn.Errorf(svn.ErrFSCorrupt, "object %s is a %s, not a blob", id, typ)
	}
	return data, err
}

func (f *FS) node(id ID) (*record, error) { return decoded(f, &f.nodes, id, decodeNode) }

func (f *FS) bucket(id ID) ([]Entry, error) {
	if id.IsZero() {
		return nil, nil
	}
	return decoded(f, &f.buckets, id, decodeBucket)
}

// nodeProps returns a node's properties; they are shared.
func (f *FS) nodeProps(id ID) (svn.Props, error) {
	if id.IsZero() {
		return svn.Props{}, nil
	}
	return decoded(f, &f.props, id, decodeProps)
}

func decodeProps(id ID, data []byte) (svn.Props, error) {
	p, err := svn.DecodeProps(data)
	if err != nil {
		return nil, fmt.Errorf("object %s: %w", id, err)
	}
	return p, nil
}

// decoded returns what a blob says, from a cache if it is there.
func decoded[V any](f *FS, c *cache[ID, V], id ID, decode func(ID, []byte) (V, error)) (v V, err error) {
	if v, ok := c.get(id); ok {
		return v, nil
	}
	data, err := f.blob(id)
	if err != nil {
		return v, err
	}
	if v, err = decode(id, data); err == nil {
		c.put(id, v)
	}
	return v, err
}

// entry looks a name up in a directory.
func (f *FS) entry(r *record, name string) (Entry, bool, error) { return r.dir.entry(name, f.bucket) }

// entries returns all entries of a directory, sorted by name; they may be shared.
func (f *FS) entries(r *record) ([]Entry, error) { return r.dir.entries(f.bucket) }

// takeRevisions adds the revisions from a tip back to the last one that is known to an update of the index.
func (f *FS) takeRevisions(u *indexUpdate, tip ID) error {
	for id := tip; !id.IsZero(); {
		rev, place, parent, err := f.readCommit(id)
		if err != nil {
			return err
		}
		if known := rev <= f.state.youngest; known {
			return nil
		}
		if have, ok := u.revs[rev]; ok && have == place {
			return nil
		}
		u.revs[rev] = place
		id = parent
	}
	return nil
}

// readCommit reads what a revision's git commit leads to.
func (f *FS) readCommit(id ID) (rev svn.Revnum, place revPlace, parent ID, err error) {
	fail := func(why error) (svn.Revnum, revPlace, ID, error) {
		return 0, revPlace{}, ID{}, svn.Wrap(why, svn.ErrFSCorrupt, "commit %s is that of no revision", id)
	}
	_, data, err := f.repo.ReadObject(id)
	if err != nil {
		return fail(err)
	}
	c, err := object.ParseCommit(f.format, data)
	if err != nil || len(c.Parents) > 1 {
		return fail(err)
	}
	_, tree, err := f.repo.ReadObject(c.Tree)
	if err != nil {
		return fail(err)
	}
	for e, err := range object.TreeEntries(f.format, tree) {
		if err != nil {
			return fail(err)
		}
		if string(e.Name) != revisionName {
			continue
		}
		r, err := f.readRevision(e.ID)
		if err != nil {
			return fail(err)
		}
		if len(c.Parents) == 1 {
			parent = c.Parents[0]
		}
		return r.number, revPlace{id, e.ID}, parent, nil
	}
	return fail(nil)
}
