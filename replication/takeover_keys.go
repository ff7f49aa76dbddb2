package replication

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"

	"holdfast/storage"
)

// Facts that make a store a writer. The private journal key is kept there alone.
const (
	rootFact       = "host.root"        // the signed root record of the epoch
	rootKeyFact    = "host.root_key"    // the kit's public root key, which verifies it
	journalKeyFact = "host.journal_key" // the secret that signs the epoch's segments
)

// ErrNoWriter: the store has no journal key. It is restored and not taken over, or new and not initialised.
var ErrNoWriter = errors.New("the store has no journal key")

// Writer is what a store needs to ship its journal; see Options of the Replicator.
type Writer struct {
	Root    []byte        // the signed root record of the epoch
	RootKey note.Verifier // verifies it
	Signer  note.Signer   // the journal key that it names
}

// LoadWriter returns the store's writer keys, or an error that wraps ErrNoWriter.
func LoadWriter(s *storage.Store) (w Writer, err error) {
	facts := make(map[string]string)
	for _, name := range []string{rootFact, rootKeyFact, journalKeyFact} {
		value, err := s.Fact(name)
		if err != nil {
			return w, err
		}
		if len(value) == 0 {
			return w, fmt.Errorf("%w (fact %s)", ErrNoWriter, name)
		}
		facts[name] = string(value)
	}
	w.Root = []byte(facts[rootFact])
	if w.RootKey, err = note.NewVerifier(facts[rootKeyFact]); err != nil {
		return w, fmt.Errorf("fact %s: %w", rootKeyFact, err)
	}
	if w.Signer, err = note.NewSigner(facts[journalKeyFact]); err != nil {
		return w, fmt.Errorf("fact %s: it holds no signing key", journalKeyFact) // the cause may quote the secret
	}
	return w, nil
}

// saveWriter stores the keys. The root record goes last: with an old one, a new key is refused and nothing is shipped.
func saveWriter(s *storage.Store, root []byte, rootKey, journalSecret string) error {
	return errors.Join(
		s.SetFact(journalKeyFact, []byte(journalSecret)),
		s.SetFact(rootKeyFact, []byte(rootKey)),
		s.SetFact(rootFact, root))
}

// InitRoot begins an instance: it makes the recovery kit in dir (see CreateKit), the first root record and the first
// epoch's journal key, and makes the empty store s their writer. The root record reaches the mirrors through the
// Replicator. An empty o.Instance is replaced by a random one.
func InitRoot(dir string, s *storage.Store, o KitOptions) (*Kit, error) {
	kit, err := initRoot(dir, s, o)
	if err != nil {
		return nil, fmt.Errorf("begin an instance: %w", err)
	}
	return kit, nil
}

func initRoot(dir string, s *storage.Store, o KitOptions) (*Kit, error) {
	state, err := s.State()
	if err != nil {
		return nil, err
	}
	if seq, _, err := s.Head(); err != nil {
		return nil, err
	} else if seq > 0 || state != (storage.State{}) {
		return nil, errors.New("the store is in use already")
	}
	if o.Instance == "" {
		o.Instance = NewInstance()
	}
	kit, err := newKit(o)
	if err != nil {
		return nil, err
	}
	root := Root{
		Instance: kit.Instance(), Version: 1, Epoch: 1, Generation: 1, Recipients: []string{kit.Recipient()},
		Mirrors: rootMirrors(kit.Mirrors()), Created: orNow(o.Created),
	}
	secret, object, ref, err := root.signNew(kit)
	if err != nil {
		return nil, err
	}
	kit.know(ref, nil)
	// The kit first: a store whose kit is lost could never be restored.
	if err := kit.write(dir); err != nil {
		return nil, err
	}
	if err := saveWriter(s, object, kit.RootKey(), secret); err != nil {
		return nil, err
	}
	return kit, s.SetState(storage.State{Instance: kit.Instance(), Epoch: 1})
}

// signNew gives the record a new journal key and signs it with the kit's key.
func (r Root) signNew(kit *Kit) (secret string, object []byte, ref RootRef, err error) {
	if secret, r.Journal, err = NewJournalKey(r.Instance, r.Epoch); err != nil {
		return "", nil, ref, err
	}
	object, ref, err = r.Sign(kit.RootSigner())
	return secret, object, ref, err
}

func rootMirrors(ms []KitMirror) []RootMirror {
	out := make([]RootMirror, len(ms))
	for i, m := range ms {
		out[i] = RootMirror(m)
	}
	return out
}

func orNow(t time.Time) time.Time {
	if t.IsZero() {
		return time.Now()
	}
	return t
}
