package storage

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"holdfast/storage/object"
)

// stage holds what a request would change, so that a refused request leaves no trace in the shared write.
type stage struct {
	s       *Store
	tx      *bbolt.Tx
	head    head
	epoch   uint64
	repos   map[RepoID]*repoRecord
	refs    map[string]*Ref        // by refKey; nil for a deleted ref
	records map[string]*packRecord // by packKey
	packs   []stagedPack           // that come into their repositories
	moves   []packMove
	rows    []row // further puts
	entries []Entry
}

type stagedPack struct {
	repo   *repoState
	pack   *txnPack
	number uint32
}

// packMove says that packs were merged into others, or that one of those is wanted again.
type packMove struct {
	repo    *repoState
	numbers []uint32
	gone    bool
}

type row struct {
	bucket, key []byte
	value       []byte
}

func newStage(s *Store, tx *bbolt.Tx, h head) *stage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &stage{s: s, tx: tx, head: h, epoch: s.state.Epoch,
		repos: map[RepoID]*repoRecord{}, refs: map[string]*Ref{}, records: map[string]*packRecord{}}
}

// add stages one transaction.
func (st *stage) add(t *Txn) error {
	if err := st.s.admits(t.meta); err != nil {
		return err
	}
	e := st.newEntry(t)
	if t.record != nil {
		e = *t.record
		if err := st.head.checkRecord(e); err != nil {
			return err
		}
		if err := st.addAbsent(e.Repo); err != nil {
			return err
		}
	}
	if t.repo != nil {
		if err := st.addRepo(t, &e); err != nil {
			return err
		}
	}
	if t.secret != nil {
		st.rows = append(st.rows, row{bucketSecrets, []byte(t.secret.Name), t.secret.Value})
	}
	line, err := e.Encode()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	sum := Hash(sha256.Sum256(line))
	if err := t.meta.checkReplay(e, sum); err != nil {
		return err
	}
	st.head = head{seq: e.Seq, hash: sum, time: e.Time}
	if t.repo != nil {
		rec := st.repos[t.repo.id]
		rec.Last, rec.Hash = e.Seq, st.head.hash
	}
	st.rows = append(st.rows, row{bucketJournal, seqKey(e.Seq), line})
	st.entries = append(st.entries, e)
	return nil
}

// addAbsent notes that only the journal knows the repository of a recorded entry.
func (st *stage) addAbsent(id RepoID) error {
	if id == "" {
		return nil
	}
	if rec, err := st.repo(id); err != nil || rec != nil {
		return cmp.Or(err, error(&Error{Op: "record entry", Repo: id, Err: ErrExists}))
	}
	st.rows = append(st.rows, row{bucketAbsent, id.raw(), []byte{}})
	return nil
}

func (st *stage) newEntry(t *Txn) Entry {
	e := Entry{
		Seq: st.head.seq + 1, Epoch: st.epoch, Time: t.meta.Time.UTC().Truncate(time.Microsecond),
		Actor: t.meta.Actor, Key: t.meta.Key, Repo: t.repoID(), Kind: t.kind, Init: t.init,
		Refs: t.Updates(), Packs: t.Packs(), Options: t.meta.Options, Cert: t.meta.Cert, Data: t.data,
		Nonce: t.meta.Nonce, Prev: st.head.hash,
	}
	if t.meta.Epoch != 0 {
		e.Epoch = t.meta.Epoch
	}
	if e.Time.Before(st.head.time) {
		e.Time = st.head.time
	}
	return e
}

// addRepo stages what the transaction changes in its repository.
func (st *stage) addRepo(t *Txn, e *Entry) error {
	rec, err := st.repo(t.repo.id)
	switch {
	case err != nil:
		return err
	case rec == nil && t.init == nil:
		return ErrNotFound
	case rec != nil && t.init != nil:
		return ErrExists
	case rec == nil:
		rec = &repoRecord{Init: *t.init}
		st.repos[t.repo.id] = rec
		st.refs[string(refKey(t.repo.id, HeadRef))] = &Ref{Name: HeadRef, Target: t.init.Head}
	}
	e.PrevRepo = rec.Hash
	if err := st.addRefs(t, rec); err != nil {
		return err
	}
	for _, p := range t.packs {
		if err := st.addPack(t, p, rec, e.Seq); err != nil {
			return err
		}
	}
	return nil
}

// repo returns the stage's copy of a repository's record, nil if there is none.
func (st *stage) repo(id RepoID) (*repoRecord, error) {
	if rec, ok := st.repos[id]; ok {
		return rec, nil
	}
	rec, err := getRepo(st.tx, id)
	if err != nil || rec == nil {
		return nil, err
	}
	st.repos[id] = rec
	return rec, nil
}

// pack returns the stage's copy of a pack's record, nil if there is none.
func (st *stage) pack(id PackID, repo RepoID) (*packRecord, error) {
	key := string(packKey(id, repo))
	if rec, ok := st.records[key]; ok {
		return rec, nil
	}
	rec, err := getPack(st.tx, id, repo)
	if err != nil || rec == nil {
		return nil, err
	}
	st.records[key] = rec
	return rec, nil
}

// addPack stages the record of a pack. If the repository has it already, that it is named again is noted: its bytes are
// needed until the entry is shipped.
func (st *stage) addPack(t *Txn, p *txnPack, rec *repoRecord, seq Seq) error {
	have, err := st.pack(p.info.ID, t.repo.id)
	if err != nil {
		return err
	}
	if have == nil {
		have = &packRecord{Info: p.info, Trailer: p.trailer, External: p.external}
		st.bring(t.st, have, rec, p.placed.pack)
	} else if have.Gone {
		st.recall(t.st, have, rec, p.placed.pack)
	}
	have.Seq = seq
	if have.External == nil {
		have.External = p.external
	}
	return nil
}

// bring gives a pack a number. p is, of two equal packs, the one whose file is there.
func (st *stage) bring(repo *repoState, have *packRecord, rec *repoRecord, p *txnPack) {
	have.Number, have.Stored = rec.Packs, p.stored
	rec.Packs++
	st.records[string(packKey(have.Info.ID, repo.id))] = have
	st.packs = append(st.packs, stagedPack{repo: repo, pack: p, number: have.Number})
	st.rows = append(st.rows, row{bucketRepoPacks, repoPackKey(repo.id, have.Number), have.Info.ID[:]})
}

// recall brings back a pack that was merged into another. While it is not swept up it is as it was, else it was stored
// again.
func (st *stage) recall(repo *repoState, have *packRecord, rec *repoRecord, p *txnPack) {
	have.Gone, have.Into = false, 0
	if st.tx.Bucket(bucketRepoPacks).Get(repoPackKey(repo.id, have.Number)) == nil {
		st.bring(repo, have, rec, p)
	} else {
		st.moves = append(st.moves, packMove{repo: repo, numbers: []uint32{have.Number}})
	}
}

// put writes what was staged into the transaction of host.db.
func (st *stage) put() error {
	refs := st.tx.Bucket(bucketRefs)
	keys := make([]string, 0, len(st.refs))
	for key := range st.refs {
		keys = append(keys, key)
	}
	slices.Sort(keys) // unsorted puts are quadratic in bbolt
	for _, key := range keys {
		var err error
		if ref := st.refs[key]; ref == nil {
			err = refs.Delete([]byte(key))
		} else {
			err = refs.Put([]byte(key), encodeRef(*ref))
		}
		if err != nil {
			return err
		}
	}
	for id, rec := range st.repos {
		if err := putJSON(st.tx.Bucket(bucketRepos), id.raw(), rec); err != nil {
			return err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(st.records)) {
		if err := putJSON(st.tx.Bucket(bucketPacks), []byte(key), st.records[key]); err != nil {
			return err
		}
	}
	st.tx.Bucket(bucketJournal).FillPercent = 1 // it only grows at its end
	for _, r := range st.rows {
		if err := st.tx.Bucket(r.bucket).Put(r.key, r.value); err != nil {
			return err
		}
	}
	return nil
}

// addRefs stages the transaction's ref updates, or returns RefErrors for all that cannot be made. Conflicts are judged
// by what is there after the whole transaction: a may become a directory in the push that deletes it.
func (st *stage) addRefs(t *Txn, rec *repoRecord) error {
	var refused RefErrors
	var created []string
	count := rec.Refs
	for _, u := range t.updates {
		key := string(refKey(t.repo.id, u.Name))
		if u.Target != "" {
			st.refs[key] = &Ref{Name: u.Name, Target: u.Target}
			continue
		}
		now, err := st.ref(t.repo.id, u.Name)
		if err != nil {
			return err
		}
		switch {
		case now.ID != u.Old:
			refused = append(refused, t.refError(u.Name, staleError(now.ID, u.Old)))
		case u.New.IsZero():
			st.refs[key] = nil
			count--
		default:
			st.refs[key] = &Ref{Name: u.Name, ID: u.New, Peeled: t.values[u.Name].peeled}
			if u.Old.IsZero() {
				created = append(created, u.Name)
				count++
			}
		}
	}
	for _, name := range created {
		if other, err := st.conflict(t.repo.id, name); err != nil {
			return err
		} else if other != "" {
			refused = append(refused, t.refError(name, fmt.Errorf("%w: %s", ErrRefConflict, other)))
		}
	}
	if max := st.s.opts.MaxRefs; count > max && count > rec.Refs {
		for _, name := range created {
			refused = append(refused, t.refError(name, fmt.Errorf("%w: the repository may have %d refs", ErrTooLarge, max)))
		}
	}
	rec.Refs = count
	return refused.orNil()
}

func staleError(now, old object.ID) error {
	switch {
	case now.IsZero():
		return fmt.Errorf("%w (it does not exist)", ErrStale)
	case old.IsZero():
		return fmt.Errorf("%w (it exists already, at %s)", ErrStale, now)
	}
	return fmt.Errorf("%w (it is at %s)", ErrStale, now)
}

// ref returns a ref as it would be after what is staged so far; its ID is zero if it would not exist.
func (st *stage) ref(repo RepoID, name string) (Ref, error) {
	key := refKey(repo, name)
	if ref, ok := st.refs[string(key)]; ok {
		if ref == nil {
			return Ref{}, nil
		}
		return *ref, nil
	}
	value := st.tx.Bucket(bucketRefs).Get(key)
	if value == nil {
		return Ref{}, nil
	}
	return decodeRef(name, value)
}

// conflict returns a ref that cannot exist beside the ref name, since one would be a directory of the other; "" if
// there is none. All refs of the transaction must be staged. Of two staged ones, the longer finds the shorter.
func (st *stage) conflict(repo RepoID, name string) (string, error) {
	for i := len("refs/") + 1; i < len(name); i++ {
		if name[i] != '/' {
			continue
		}
		if above, err := st.ref(repo, name[:i]); err != nil {
			return "", err
		} else if !above.ID.IsZero() {
			return name[:i], nil
		}
	}
	below := string(refKey(repo, name+"/"))
	c := st.tx.Bucket(bucketRefs).Cursor()
	for k, _ := c.Seek([]byte(below)); k != nil && strings.HasPrefix(string(k), below); k, _ = c.Next() {
		if ref, staged := st.refs[string(k)]; !staged || ref != nil {
			return string(k[16:]), nil
		}
	}
	return "", nil
}
