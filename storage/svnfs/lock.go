package svnfs

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.etcd.io/bbolt"

	"holdfast/storage"
	"holdfast/storage/svn"
	"holdfast/storage/svn/mergeinfo"
)

// Lock returns the lock of a path, nil if there is none or it has expired.
func (f *FS) Lock(path string) (*svn.Lock, error) {
	if !f.locked() {
		return nil, nil
	}
	locks, err := f.locksAt(path, false)
	if err != nil || len(locks) == 0 {
		return nil, err
	}
	return &locks[0], nil
}

func (f *FS) locked() bool {
	f.stateMu.Lock()
	defer f.stateMu.Unlock()
	return f.state.locked
}

// Locks returns the locks at and below a path, down to a depth, sorted by path.
func (f *FS) Locks(path string, depth svn.Depth) ([]svn.Lock, error) {
	if !f.locked() {
		return nil, nil
	}
	locks, err := f.locksAt(path, depth != svn.DepthEmpty)
	if err != nil || depth == svn.DepthInfinity || depth == svn.DepthEmpty {
		return locks, err
	}
	return slices.DeleteFunc(locks, func(l svn.Lock) bool {
		rel, _ := svn.Rel(path, l.Path)
		return strings.Contains(rel, "/")
	}), nil
}

// locksAt returns the locks of a path and, if below is set, of all below it, without those that have expired.
func (f *FS) locksAt(path string, below bool) ([]svn.Lock, error) {
	found, err := f.index.locks(path, below)
	if err != nil {
		return nil, err
	}
	now, locks := time.Now(), make([]svn.Lock, 0, len(found))
	for _, l := range found {
		if l.Expires.IsZero() || !now.After(l.Expires) {
			locks = append(locks, *l)
		}
	}
	slices.SortFunc(locks, func(a, b svn.Lock) int { return mergeinfo.ComparePaths(a.Path, b.Path) })
	return locks, nil
}

// locks returns the locks of a path and, if below is set, of all below it, by path.
func (x *index) locks(path string, below bool) (map[string]*svn.Lock, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	found := map[string]*svn.Lock{}
	take := func(k, v []byte) error {
		l := new(svn.Lock)
		if err := json.Unmarshal(v, l); err != nil {
			return svn.Wrap(err, svn.ErrFSCorrupt, "%s: malformed lock", indexFile)
		}
		found[string(k)] = l
		return nil
	}
	err := x.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketLocks)
		if v := b.Get([]byte(path)); v != nil {
			if err := take([]byte(path), v); err != nil || !below {
				return err
			}
		}
		prefix := []byte(strings.TrimSuffix(path, "/") + "/")
		c := b.Cursor()
		for k, v := c.Seek(prefix); below && bytes.HasPrefix(k, prefix); k, v = c.Next() {
			if err := take(k, v); err != nil {
				return err
			}
		}
		return nil
	})
	for p, l := range x.pending.locks {
		rel, in := svn.Rel(path, p)
		switch {
		case !in || rel != "" && !below:
		case l == nil:
			delete(found, p)
		default:
			found[p] = l
		}
	}
	return found, err
}

// allowed checks the locks of a path, and if below is set of all below it, where the transaction is to check them.
func (t *Txn) allowed(path string, below bool) error {
	if !t.o.CheckLocks {
		return nil
	}
	return t.verifyLocksAt(path, below)
}

func (t *Txn) verifyLocksAt(path string, below bool) error {
	if !t.fs.locked() {
		return nil
	}
	locks, err := t.fs.locksAt(path, below)
	if err != nil {
		return err
	}
	for _, l := range locks {
		switch {
		case t.o.User == "":
			return svn.Errorf(svn.ErrFSNoUser, "Cannot verify lock on path '%s'; no username available", l.Path)
		case t.o.User != l.Owner:
			return svn.Errorf(svn.ErrFSLockOwnerMismatch, "User '%s' does not own lock on path '%s' (currently locked by '%s')",
				t.o.User, l.Path, l.Owner)
		case !t.tokens[l.Token]:
			return svn.Errorf(svn.ErrFSBadLockToken, "Cannot verify lock on path '%s'; no matching lock-token available", l.Path)
		}
	}
	return nil
}

// verifyLocks checks the locks of all that the transaction changes: they may have come since.
func (t *Txn) verifyLocks() error {
	if !t.fs.locked() {
		return nil
	}
	last := ""
	for _, c := range t.Changes() {
		if last != "" {
			if _, below := svn.Rel(last, c.Path); below {
				continue
			}
		}
		below := c.Action != svn.Modified
		if err := t.verifyLocksAt(c.Path, below); err != nil {
			return err
		}
		if below {
			last = c.Path
		}
	}
	return nil
}

// LockTarget is a file to be locked.
type LockTarget struct {
	Path    string
	Token   string     // "" for a new one
	Base    svn.Revnum // the file must not be younger; svn.InvalidRevnum does not look
	Expires time.Time  // when the lock ends by itself; zero if it never does
}

// LockResult is what became of one path.
type LockResult struct {
	Path string
	Lock *svn.Lock // nil if Err is set, or if the lock is gone
	Err  error
}

// SetLocks locks files for a user, as many as can be: each result says what became of one, in the order of paths. The locks are one
// entry of the journal, zero if there is none.
func (f *FS) SetLocks(ctx context.Context, c Committer, m storage.Meta, user string, comment *string, steal bool,
	targets []LockTarget) ([]LockResult, storage.Entry, error) {
	if user == "" {
		return nil, storage.Entry{}, f.noUser()
	}
	targets = slices.Clone(targets)
	slices.SortFunc(targets, func(a, b LockTarget) int { return mergeinfo.ComparePaths(a.Path, b.Path) })
	return f.changeLocks(ctx, c, m, func(root *Root) (results []LockResult, facts []fact) {
		for _, t := range targets {
			if err := f.checkLock(root, t, steal); err != nil {
				results = append(results, LockResult{Path: t.Path, Err: err})
				continue
			}
			l := &svn.Lock{Path: t.Path, Token: t.Token, Owner: user, Comment: comment, Created: m.Time.UTC(), Expires: t.Expires}
			if l.Token == "" {
				l.Token = "opaquelocktoken:" + NewUUID()
			}
			results = append(results, LockResult{Path: t.Path, Lock: l})
			facts = append(facts, fact{Lock: l})
		}
		return results, facts
	})
}

func (f *FS) noUser() error {
	return svn.Errorf(svn.ErrFSNoUser, "No username is currently associated with filesystem '%s'", f.UUID())
}

// changeLocks writes the facts that decide, which sees the youngest revision, comes to.
func (f *FS) changeLocks(ctx context.Context, c Committer, m storage.Meta,
	decide func(*Root) ([]LockResult, []fact)) ([]LockResult, storage.Entry, error) {
	f.commitMu.Lock()
	defer f.commitMu.Unlock()
	if err := f.catchUp(); err != nil {
		return nil, storage.Entry{}, err
	}
	root, err := f.Root(f.state.youngest)
	if err != nil {
		return nil, storage.Entry{}, err
	}
	results, facts := decide(root)
	if len(facts) == 0 {
		return results, storage.Entry{}, nil
	}
	e, err := f.commitFacts(ctx, c, m, facts)
	return results, e, err
}

func (f *FS) checkLock(root *Root, t LockTarget, steal bool) error {
	kind, err := root.Kind(t.Path)
	if err != nil {
		return err
	}
	switch {
	case kind == svn.Dir:
		return svn.Errorf(svn.ErrFSNotFile, "'%s' is not a file in filesystem '%s'", t.Path, f.UUID())
	case kind == svn.None && t.Base.Valid():
		return svn.Errorf(svn.ErrFSOutOfDate, "Path '%s' doesn't exist in HEAD revision", t.Path)
	case kind == svn.None:
		return svn.Errorf(svn.ErrFSNotFound, "Path '%s' doesn't exist in HEAD revision", t.Path)
	case t.Base.Valid() && t.Base > root.rev:
		return svn.Errorf(svn.ErrFSNoSuchRevision, "No such revision %d", t.Base)
	}
	n, err := root.Node(t.Path)
	if err != nil {
		return err
	}
	if t.Base.Valid() && t.Base < n.CreatedRev() {
		return svn.Errorf(svn.ErrFSOutOfDate, "Lock failed: newer version of '%s' exists", t.Path)
	}
	l, err := f.Lock(t.Path)
	if err == nil && l != nil && !steal {
		err = svn.Errorf(svn.ErrFSPathAlreadyLocked, "Path '%s' is already locked by user '%s' in filesystem '%s'", l.Path, l.Owner, f.UUID())
	}
	return err
}

// Unlocks ends locks, as many as can be: of each path the token must be given, unless breaking them.
func (f *FS) Unlocks(ctx context.Context, c Committer, m storage.Meta, user string, breakLock bool,
	tokens map[string]string) ([]LockResult, storage.Entry, error) {
	if user == "" {
		return nil, storage.Entry{}, f.noUser()
	}
	paths := make([]string, 0, len(tokens))
	for path := range tokens {
		paths = append(paths, path)
	}
	slices.SortFunc(paths, mergeinfo.ComparePaths)
	return f.changeLocks(ctx, c, m, func(*Root) (results []LockResult, facts []fact) {
		for _, path := range paths {
			err := f.checkUnlock(path, tokens[path], user, breakLock)
			results = append(results, LockResult{Path: path, Err: err})
			if err == nil {
				facts = append(facts, fact{Unlock: path})
			}
		}
		return results, facts
	})
}

func (f *FS) checkUnlock(path, token, user string, breakLock bool) error {
	l, err := f.Lock(path)
	switch {
	case err != nil:
		return err
	case l == nil, !breakLock && l.Token != token:
		return svn.Errorf(svn.ErrFSNoSuchLock, "No lock on path '%s' in filesystem '%s'", path, f.UUID())
	case !breakLock && l.Owner != user:
		return svn.Errorf(svn.ErrFSLockOwnerMismatch, "User '%s' is trying to use a lock owned by '%s' in filesystem '%s'",
			user, l.Owner, f.UUID())
	}
	return nil
}

// Expect is the value that a property is believed to have; nil for none.
type Expect struct{ Value *string }

// ChangeRevProp sets a revision property, or removes it if value is nil. If expect is not nil and the property is something else
// by now, the error is svn.ErrFSPropBasevalueMismatch.
func (f *FS) ChangeRevProp(ctx context.Context, c Committer, m storage.Meta, rev svn.Revnum, name string,
	expect *Expect, value *string) (storage.Entry, error) {
	f.commitMu.Lock()
	defer f.commitMu.Unlock()
	if err := f.catchUp(); err != nil {
		return storage.Entry{}, err
	}
	change, err := revPropChange(rev, svn.PropChange{Name: name, Value: value})
	if err != nil {
		return storage.Entry{}, err
	}
	props, err := f.revProps(rev)
	if err != nil {
		return storage.Entry{}, err
	}
	if now, ok := props[name]; expect != nil && ((expect.Value != nil) != ok || ok && *expect.Value != now) {
		return storage.Entry{}, svn.Errorf(svn.ErrFSPropBasevalueMismatch, "revprop '%s' has unexpected value in filesystem", name)
	}
	return f.commitFacts(ctx, c, m, []fact{change})
}

// ChangeRevProps makes several changes of a revision's properties, which must not be none, in one entry.
func (f *FS) ChangeRevProps(ctx context.Context, c Committer, m storage.Meta, rev svn.Revnum, changes []svn.PropChange) (storage.Entry, error) {
	f.commitMu.Lock()
	defer f.commitMu.Unlock()
	if err := f.catchUp(); err != nil {
		return storage.Entry{}, err
	}
	if _, err := f.revProps(rev); err != nil {
		return storage.Entry{}, err
	}
	var facts []fact
	for _, c := range changes {
		change, err := revPropChange(rev, c)
		if err != nil {
			return storage.Entry{}, err
		}
		facts = append(facts, change)
	}
	return f.commitFacts(ctx, c, m, facts)
}

// revPropChange returns the fact of a change. JSON has no names that are not UTF-8: it would put others in their place.
func revPropChange(rev svn.Revnum, c svn.PropChange) (fact, error) {
	if !utf8.ValidString(c.Name) {
		return fact{}, svn.Errorf(svn.ErrBadPropertyValue, "Property name '%q' is not in UTF-8", c.Name)
	}
	p := &revPropFact{Rev: rev, Name: c.Name}
	if c.Value != nil {
		p.Value = append([]byte{}, *c.Value...)
	}
	return fact{RevProp: p}, nil
}

// SetUUID gives the repository another uuid, which must be one: it is part of the commits of all revisions to come.
func (f *FS) SetUUID(ctx context.Context, c Committer, m storage.Meta, uuid string) (storage.Entry, error) {
	if !isUUID(uuid) {
		return storage.Entry{}, svn.Errorf(svn.ErrBadUUID, "Malformed UUID '%s'", uuid)
	}
	f.commitMu.Lock()
	defer f.commitMu.Unlock()
	if err := f.catchUp(); err != nil {
		return storage.Entry{}, err
	}
	return f.commitFacts(ctx, c, m, []fact{{UUID: uuid}})
}

// commitFacts writes an entry of facts and takes it into the index. Call it with commitMu held.
func (f *FS) commitFacts(ctx context.Context, c Committer, m storage.Meta, facts []fact) (storage.Entry, error) {
	u := newIndexUpdate()
	if err := u.apply(facts, f.revProps); err != nil {
		return storage.Entry{}, err
	}
	e, err := c.Commit(ctx, f.repo, m, func(txn *storage.Txn) error { return setFacts(txn, facts) })
	if err != nil {
		return e, err
	}
	u.applied = e.Seq
	f.put(u)
	return e, nil
}
