package replication

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"filippo.io/age"
	"golang.org/x/mod/sumdb/note"

	"holdfast/storage"
)

// rootFormat is the first field of a root record, and its version.
const rootFormat = "holdfast root v1"

// Limits of a root record.
const (
	MaxRootBytes      = 256 << 10
	MaxRootRecipients = 16
	MaxRootMirrors    = 64
)

// ErrUnknownRoot: an object names a root record that is not among the verified ones.
var ErrUnknownRoot = errors.New("it names a root record that is not known")

// RootRef names one root record: its version and the SHA-256 of its signed bytes.
type RootRef struct {
	Version uint64 `json:"version"`
	Sum     Sum    `json:"sha256"`
}

// String returns the reference as it ends a key.
func (r RootRef) String() string { return fixed(r.Version) + "-" + r.Sum.String() }

// Root is a root record: whom an instance trusts from this version on. Format: doc/formats/root.md.
type Root struct {
	Format     string       `json:"format"` // set by Sign
	Instance   string       `json:"instance"`
	Version    uint64       `json:"version"`    // counts from 1; each is signed by the kit's root key
	Epoch      uint64       `json:"epoch"`      // the writer's term that it is for; counts from 1
	Generation uint64       `json:"generation"` // into which its writer ships at first; counts from 1
	Journal    string       `json:"journal"`    // verifier key (C2SP signed note) of the key that signs this epoch's segments
	Recipients []string     `json:"recipients"` // age recipients, all of one type
	Mirrors    []RootMirror `json:"mirrors"`
	Created    time.Time    `json:"created"`         // UTC, whole seconds
	Prev       Sum          `json:"prev,omitzero"`   // of the signed bytes of the previous version; zero in version 1
	After      *Position    `json:"after,omitempty"` // where the previous epoch ends; nil in epoch 1
}

// RootMirror says where a mirror is. It holds no credential.
type RootMirror struct {
	Name     string `json:"name"`
	Endpoint string `json:"endpoint"`
	Bucket   string `json:"bucket"`
	Region   string `json:"region"`
}

// Position is a place in the log: a segment and the last entry that it carries. With Number 0 the epoch had no accepted segment.
type Position struct {
	Generation uint64       `json:"generation"`
	Epoch      uint64       `json:"epoch"`
	Number     uint64       `json:"number"`
	Last       storage.Seq  `json:"last"`
	Head       storage.Hash `json:"head"` // of the entry Last
}

// Sign returns the record as a signed note, the bytes that lie on the mirrors, and the reference that names them.
func (r Root) Sign(key note.Signer) ([]byte, RootRef, error) {
	r.Format = rootFormat
	r.Created = r.Created.UTC().Truncate(time.Second)
	if err := r.check(); err != nil {
		return nil, RootRef{}, fmt.Errorf("root record: %w", err)
	}
	text, err := r.text()
	if err != nil {
		return nil, RootRef{}, fmt.Errorf("root record: %w", err)
	}
	object, err := note.Sign(&note.Note{Text: text}, key)
	if err != nil {
		return nil, RootRef{}, fmt.Errorf("sign root record: %w", err)
	}
	if len(object) > MaxRootBytes {
		return nil, RootRef{}, fmt.Errorf("root record of %d bytes: the limit is %d", len(object), MaxRootBytes)
	}
	return object, RootRef{Version: r.Version, Sum: sha256.Sum256(object)}, nil
}

// OpenRoot verifies and decodes a signed root record. key is the kit's root key.
func OpenRoot(object []byte, key note.Verifier) (Root, RootRef, error) {
	r, err := openRoot(object, key)
	if err != nil {
		return Root{}, RootRef{}, fmt.Errorf("root record: %w", err)
	}
	return r, RootRef{Version: r.Version, Sum: sha256.Sum256(object)}, nil
}

func openRoot(object []byte, key note.Verifier) (r Root, err error) {
	if len(object) > MaxRootBytes {
		return r, fmt.Errorf("%d bytes: the limit is %d", len(object), MaxRootBytes)
	}
	text, err := openNote(object, key)
	if err != nil {
		return r, err
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return r, err
	}
	if err := r.check(); err != nil {
		return r, err
	}
	if again, err := r.text(); err != nil || again != text {
		return r, errors.New("not in canonical form")
	}
	return r, nil
}

// openNote verifies a note that bears one signature, and that by key.
func openNote(object []byte, key note.Verifier) (text string, err error) {
	if key == nil {
		return "", errors.New("no key to verify it with")
	}
	n, err := note.Open(object, note.VerifierList(key))
	if err != nil {
		return "", err
	}
	if len(n.UnverifiedSigs) > 0 {
		return "", errors.New("it bears signatures of other keys")
	}
	return n.Text, nil
}

// text is the record's canonical JSON: one line, the fields in the order of the type, no HTML escapes.
func (r Root) text() (string, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(r)
	return buf.String(), err
}

func (r Root) check() error {
	switch {
	case r.Format != rootFormat:
		return fmt.Errorf("format %.40q: this program reads %q", r.Format, rootFormat)
	case !ValidInstance(r.Instance):
		return fmt.Errorf("bad instance %.80q", r.Instance)
	case !counts(r.Version) || !counts(r.Epoch) || !counts(r.Generation):
		return fmt.Errorf("version %d, epoch %d and generation %d must count from 1", r.Version, r.Epoch, r.Generation)
	case (r.Version == 1) != r.Prev.IsZero():
		return errors.New("every version but the first names the one before it")
	case (r.Epoch == 1) != (r.After == nil):
		return errors.New("every epoch but the first says where the one before it ends")
	case r.After != nil && (r.After.Epoch+1 != r.Epoch || r.After.Generation == 0 || r.After.Generation > r.Generation):
		return fmt.Errorf("epoch %d cannot follow generation %d, epoch %d", r.Epoch, r.After.Generation, r.After.Epoch)
	case len(r.Mirrors) > MaxRootMirrors:
		return fmt.Errorf("%d mirrors: the limit is %d", len(r.Mirrors), MaxRootMirrors)
	}
	if _, err := note.NewVerifier(r.Journal); err != nil {
		return fmt.Errorf("journal key: %w", err)
	}
	_, err := ParseRecipients(r.Recipients)
	return err
}

func counts(n uint64) bool { return n >= 1 && n <= maxNumber }

// JournalVerifier returns the key that verifies the segments of the record's epoch.
func (r Root) JournalVerifier() (note.Verifier, error) { return note.NewVerifier(r.Journal) }

// ParseRecipients reads age recipients: all X25519 (age1...) or all hybrid post-quantum (age1pq1...). The two cannot be
// mixed, or the weaker would open what the stronger protects.
func ParseRecipients(list []string) ([]age.Recipient, error) {
	if len(list) == 0 || len(list) > MaxRootRecipients {
		return nil, fmt.Errorf("%d age recipients: want 1 to %d", len(list), MaxRootRecipients)
	}
	var out []age.Recipient
	for _, s := range list {
		if strings.HasPrefix(s, "age1pq1") != strings.HasPrefix(list[0], "age1pq1") {
			return nil, errors.New("post-quantum and X25519 recipients cannot be mixed")
		}
		r, err := parseRecipient(s)
		if err != nil {
			return nil, fmt.Errorf("age recipient: %w", err)
		}
		out = append(out, r)
	}
	return out, nil
}

func parseRecipient(s string) (age.Recipient, error) {
	if strings.HasPrefix(s, "age1pq1") {
		return age.ParseHybridRecipient(s)
	}
	return age.ParseX25519Recipient(s)
}

// Roots are verified root records of one instance by their references: what a reader of segments trusts.
type Roots map[RootRef]Root

// verifier returns the record that ref names, and the journal key in it.
func (rs Roots) verifier(ref RootRef, instance string) (Root, note.Verifier, error) {
	r, ok := rs[ref]
	if !ok {
		return Root{}, nil, fmt.Errorf("%w: version %d, %s", ErrUnknownRoot, ref.Version, ref.Sum)
	}
	if r.Instance != instance {
		return Root{}, nil, fmt.Errorf("it is of instance %s, its root record of %s", instance, r.Instance)
	}
	v, err := r.JournalVerifier()
	return r, v, err
}

// NewJournalKey returns a new key pair for one epoch of an instance, in the encoding of C2SP signed notes. secret signs
// segments and must stay on the host; public goes into a root record.
func NewJournalKey(instance string, epoch uint64) (secret, public string, err error) {
	return note.GenerateKey(rand.Reader, fmt.Sprintf("holdfast/%s/journal/%d", instance, epoch))
}
