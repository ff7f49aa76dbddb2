package storage

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"holdfast/storage/object"
)

// The buckets of host.db. Numbers in keys are big-endian, so that keys sort as the numbers do.
var (
	bucketMeta      = []byte("meta")      // "version" -> 1
	bucketRefs      = []byte("refs")      // repository (16 bytes) and ref name -> ref, see encodeRef
	bucketJournal   = []byte("journal")   // sequence (8 bytes) -> the entry's line
	bucketRepos     = []byte("repos")     // repository -> JSON repoRecord
	bucketPacks     = []byte("packs")     // PackID and repository -> JSON packRecord
	bucketRepoPacks = []byte("repopacks") // repository and local pack number (4 bytes) -> PackID, until it is swept up
	bucketAbsent    = []byte("absent")    // repository of which the journal alone was restored -> nothing
	bucketSecrets   = []byte("secrets")   // name -> value
	bucketFacts     = []byte("facts")     // name -> value
)

// hostVersion is the version of host.db's layout.
const hostVersion = 1

// repoRecord is what host.db keeps of a repository besides its refs and packs.
type repoRecord struct {
	Init  RepoInit `json:"init"`
	Last  Seq      `json:"last"`  // the repository's last entry
	Hash  Hash     `json:"hash"`  // of that entry
	Packs uint32   `json:"packs"` // local pack numbers given out: 0 to Packs-1
	Refs  int      `json:"refs"`
}

// packRecord is what host.db keeps of a pack: one that was received, or one that a merge has made. The record of a
// received pack stays for ever, since entries name it.
type packRecord struct {
	Info     PackInfo `json:"info"`    // of a merged pack: without the bases that were added
	Trailer  []byte   `json:"trailer"` // of the pack as received
	Stored   int64    `json:"stored"`  // bytes of the file, after bases were added
	Seq      Seq      `json:"seq"`     // the last entry that names the pack, or one of those that were merged into it
	Number   uint32   `json:"number"`  // local to the repository
	External []byte   `json:"external,omitempty"`

	Merged bool   `json:"merged,omitempty"` // made by a merge: no entry names it
	First  uint32 `json:"first,omitempty"`  // of a merged pack: the lowest of the numbers that were merged into it
	Cruft  bool   `json:"cruft,omitempty"`  // holds what no ref led to when it was made

	// Gone says that the pack's objects are in pack Into now, or where that one went. Its file, its records in index.db and
	// its number are swept up once nobody reads there any more.
	Gone bool   `json:"gone,omitempty"`
	Into uint32 `json:"into,omitempty"`
}

// first is where the pack stands among the others: what its objects link to is in packs before it, or in itself. Cruft
// packs stand aside.
func (r *packRecord) first() uint32 {
	if r.Merged {
		return r.First
	}
	return r.Number
}

// hostMmap is mapped for host.db ahead of its growth: bbolt maps anew only when the file outgrows the mapping, and
// that waits for all readers. It costs address space only.
const hostMmap = 64 << 30

func openHostDB(dir string, o Options) (*bbolt.DB, error) {
	path := filepath.Join(dir, "host.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:         200 * time.Millisecond, // for the file lock
		NoFreelistSync:  true,                   // a large freelist was seen to add 575 KB to each commit
		FreelistType:    bbolt.FreelistMapType,
		InitialMmapSize: hostMmap,
		NoSync:          o.NoSync,
		NoStatistics:    true,
	})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("%s: %w", dir, ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := db.Update(initHostDB); err != nil {
		db.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return db, nil
}

func initHostDB(tx *bbolt.Tx) error {
	if meta := tx.Bucket(bucketMeta); meta != nil {
		if v := meta.Get([]byte("version")); len(v) != 1 || v[0] != hostVersion {
			return fmt.Errorf("layout version %v: this program knows version %d", v, hostVersion)
		}
	}
	for _, name := range [][]byte{bucketMeta, bucketRefs, bucketJournal, bucketRepos, bucketPacks, bucketRepoPacks,
		bucketAbsent, bucketSecrets, bucketFacts} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	return tx.Bucket(bucketMeta).Put([]byte("version"), []byte{hostVersion})
}

// raw returns the id's 16 bytes, the prefix of its keys.
func (id RepoID) raw() []byte {
	b, err := hex.DecodeString(string(id))
	if err != nil || len(b) != 16 {
		panic(fmt.Sprintf("storage: %q is not a repository id", id))
	}
	return b
}

func repoIDFromRaw(b []byte) RepoID { return RepoID(hex.EncodeToString(b)) }

func seqKey(seq Seq) []byte { return binary.BigEndian.AppendUint64(nil, uint64(seq)) }

func refKey(repo RepoID, name string) []byte { return append(repo.raw(), name...) }

func packKey(id PackID, repo RepoID) []byte { return append(id[:], repo.raw()...) }

func repoPackKey(repo RepoID, number uint32) []byte {
	return binary.BigEndian.AppendUint32(repo.raw(), number)
}

func getJSON[T any](b *bbolt.Bucket, key []byte) (*T, error) {
	raw := b.Get(key)
	if raw == nil {
		return nil, nil
	}
	v := new(T)
	if err := json.Unmarshal(raw, v); err != nil {
		return nil, fmt.Errorf("%w: host.db: %w", ErrCorrupt, err)
	}
	return v, nil
}

func putJSON(b *bbolt.Bucket, key []byte, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return b.Put(key, raw)
}

func getRepo(tx *bbolt.Tx, id RepoID) (*repoRecord, error) {
	return getJSON[repoRecord](tx.Bucket(bucketRepos), id.raw())
}

func getPack(tx *bbolt.Tx, id PackID, repo RepoID) (*packRecord, error) {
	return getJSON[packRecord](tx.Bucket(bucketPacks), packKey(id, repo))
}

// The first byte of a ref's value.
const (
	refDirect   = 1 // the id
	refPeeled   = 2 // the id of a tag, the id that it peels to
	refSymbolic = 3 // the name of the ref that it points at
)

// encodeRef returns the value of a ref: a tag byte, then a name, or ids each led by the byte of their format.
func encodeRef(r Ref) []byte {
	if r.Target != "" {
		return append([]byte{refSymbolic}, r.Target...)
	}
	b := []byte{refDirect, byte(r.ID.Format())}
	b = r.ID.Append(b)
	if !r.Peeled.IsZero() {
		b[0] = refPeeled
		b = append(b, byte(r.Peeled.Format()))
		b = r.Peeled.Append(b)
	}
	return b
}

func decodeRef(name string, b []byte) (Ref, error) {
	r := Ref{Name: name}
	if len(b) == 0 {
		return r, fmt.Errorf("%w: host.db: ref %s has no value", ErrCorrupt, name)
	}
	tag, rest := b[0], b[1:]
	var err error
	switch tag {
	case refSymbolic:
		r.Target = string(rest)
		return r, nil
	case refDirect, refPeeled:
		if r.ID, rest, err = cutID(rest); err == nil && tag == refPeeled {
			r.Peeled, rest, err = cutID(rest)
		}
		if err == nil && len(rest) == 0 {
			return r, nil
		}
	}
	return r, fmt.Errorf("%w: host.db: ref %s has a malformed value", ErrCorrupt, name)
}

func cutID(b []byte) (object.ID, []byte, error) {
	if len(b) == 0 || (b[0] != byte(object.SHA1) && b[0] != byte(object.SHA256)) {
		return object.ID{}, nil, ErrCorrupt
	}
	f := object.Format(b[0])
	if len(b) < 1+f.Size() {
		return object.ID{}, nil, ErrCorrupt
	}
	return object.NewID(f, b[1:1+f.Size()]), b[1+f.Size():], nil
}

// syncDir makes renames and creations in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
