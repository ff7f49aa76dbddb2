package svnfs

import (
	"bytes"
	"encoding/json"

	"go.etcd.io/bbolt"

	"holdfast/storage"
	"holdfast/storage/svn"
)

// fact is what an entry of kind svn records beside a revision, or without one; the entry's data is a list of them in JSON. One
// field is set.
type fact struct {
	UUID    string       `json:"uuid,omitempty"`
	View    int          `json:"view,omitempty"` // the rules of the git view
	RevProp *revPropFact `json:"revprop,omitempty"`
	Lock    *svn.Lock    `json:"lock,omitempty"`
	Unlock  string       `json:"unlock,omitempty"` // a path
}

// revPropFact sets a revision property, or removes it.
type revPropFact struct {
	Rev   svn.Revnum `json:"rev"`
	Name  string     `json:"name"`
	Value []byte     `json:"value"` // nil (null) if it is removed
}

func encodeFacts(facts []fact) ([]byte, error) { return json.Marshal(facts) }

func decodeFacts(data []byte) (facts []fact, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return facts, d.Decode(&facts)
}

// apply adds the facts of an entry to an update of the index.
func (u *indexUpdate) apply(facts []fact, props func(svn.Revnum) (svn.Props, error)) error {
	for _, f := range facts {
		switch {
		case f.UUID != "":
			u.uuid = f.UUID
		case f.View != 0:
			u.view = f.View
		case f.Lock != nil:
			u.locks[f.Lock.Path] = f.Lock
		case f.Unlock != "":
			u.locks[f.Unlock] = nil
		case f.RevProp != nil:
			now, ok := u.revProps[f.RevProp.Rev]
			if !ok {
				var err error
				if now, err = props(f.RevProp.Rev); err != nil {
					return err
				}
			}
			now = now.Clone()
			var value *string
			if f.RevProp.Value != nil {
				s := string(f.RevProp.Value)
				value = &s
			}
			now.Set(f.RevProp.Name, value)
			u.revProps[f.RevProp.Rev] = now
		}
	}
	return nil
}

func newIndexUpdate() *indexUpdate {
	return &indexUpdate{revs: map[svn.Revnum]revPlace{}, revProps: map[svn.Revnum]svn.Props{}, locks: map[string]*svn.Lock{},
		moved: map[string][]movedRef{}}
}

func putLock(b *bbolt.Bucket, path string, lock *svn.Lock) error {
	if lock == nil {
		return b.Delete([]byte(path))
	}
	v, err := json.Marshal(lock)
	if err != nil {
		return err
	}
	return b.Put([]byte(path), v)
}

// entryPage is how many entries are read at a time.
const entryPage = 1000

// catchUp brings the index up to the journal, and makes room for one more update of it. Call it with commitMu held.
func (f *FS) catchUp() error {
	if err := f.index.flush(maxPending); err != nil {
		return err
	}
	last, err := f.repo.LastEntry()
	if err != nil {
		return err
	}
	for f.state.applied < last {
		page, err := f.repo.Store().Entries(f.state.applied, entryPage)
		if err != nil {
			return err
		}
		u := newIndexUpdate()
		for _, e := range page {
			if u.applied = e.Seq; e.Repo == f.repo.ID() {
				if err := f.take(u, e); err != nil {
					return err
				}
			}
		}
		if len(page) == 0 {
			break
		}
		f.put(u)
		if err := f.index.flush(maxPending); err != nil {
			return err
		}
	}
	return nil
}

// take adds an entry of the repository to an update.
func (f *FS) take(u *indexUpdate, e storage.Entry) error {
	for _, ref := range e.Refs {
		if ref.Name == RevsRef && !ref.New.IsZero() {
			if err := f.takeRevisions(u, ref.New); err != nil {
				return err
			}
		}
	}
	if err := f.takeView(u, e); err != nil {
		return err
	}
	if e.Kind != storage.KindSvn {
		return nil
	}
	facts, err := decodeFacts(e.Data)
	if err != nil {
		return svn.Wrap(err, svn.ErrFSCorrupt, "entry %d: malformed facts", e.Seq)
	}
	return u.apply(facts, func(rev svn.Revnum) (svn.Props, error) {
		if p, ok := u.revs[rev]; ok {
			r, err := f.readRevision(p.revision)
			if err != nil {
				return nil, err
			}
			return r.props, nil
		}
		return f.revProps(rev)
	})
}

// takeView adds what an entry moved of the git view.
func (f *FS) takeView(u *indexUpdate, e storage.Entry) error {
	rev := svn.InvalidRevnum
	for _, ref := range e.Refs {
		if ref.Name == RevsRef && !ref.New.IsZero() {
			var err error
			if rev, _, _, err = f.readCommit(ref.New); err != nil {
				return err
			}
		}
	}
	for _, ref := range e.Refs {
		if rev.Valid() && ref.Name != RevsRef && ref.Target == "" {
			u.moved[ref.Name] = append(u.moved[ref.Name], movedRef{rev, ref.New})
		}
	}
	return nil
}

// put makes an update of the index visible.
func (f *FS) put(u *indexUpdate) {
	f.index.update(u)
	f.stateMu.Lock()
	defer f.stateMu.Unlock()
	f.state = f.index.current()
	for rev := range u.revProps {
		f.revisionProps.drop(revisionKey{f, rev})
		f.edited.drop(revisionKey{f, rev / 64})
	}
}
