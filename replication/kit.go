package replication

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"filippo.io/age"
	"golang.org/x/mod/sumdb/note"
)

// Names of the files of a recovery kit.
const (
	kitFile     = "kit.yaml"
	rootFile    = "root.key"
	ageFile     = "recovery.agekey"
	readersFile = "readers.yaml"
	readmeFile  = "README.txt"
)

// kitVersion is the value of holdfast_kit in the kit.yaml that this program writes, and the only one it reads.
const kitVersion = 1

// maxKitFileBytes bounds each file of a kit.
const maxKitFileBytes = 1 << 20

// Causes that OpenKit reports, wrapped in its errors.
var (
	// ErrNoKit: the directory holds no kit.yaml.
	ErrNoKit = errors.New("this is not a recovery kit, or an unfinished one")
	// ErrKitDamaged: a file of the kit is missing, unreadable or does not fit the others.
	ErrKitDamaged = errors.New("the recovery kit is damaged")
)

// RecipientType names the kind of age key that segments are encrypted to. age refuses to mix them in one file.
type RecipientType string

// The types of recipients.
const (
	Hybrid RecipientType = "hybrid" // post-quantum, ML-KEM-768 with X25519; reading by hand takes age 1.3 or newer
	X25519 RecipientType = "x25519" // any age reads it
)

// KitMirror says where a mirror is found. It holds no credential.
type KitMirror struct {
	Name     string `yaml:"name" json:"name"`
	Endpoint string `yaml:"endpoint" json:"endpoint"`
	Bucket   string `yaml:"bucket" json:"bucket"`
	Region   string `yaml:"region,omitempty" json:"region,omitempty"`
}

// Credential is an S3 key pair.
type Credential struct {
	AccessKey string `yaml:"access_key"`
	SecretKey string `yaml:"secret_key"`
}

// KitOptions says what CreateKit writes.
type KitOptions struct {
	Instance  string                // the instance's id
	Name      string                // what people call the host; may be empty
	Recipient RecipientType         // Hybrid if empty
	Mirrors   []KitMirror           // at least one
	Readers   map[string]Credential // reader credentials by the mirror's name; may be empty
	Created   time.Time             // stands in the files for people to read
}

// Kit is an opened recovery kit: what the operator keeps offline. It is the only place of the root secret, which says
// who is trusted, and of the recovery identity, which reads the mirrors. A Kit is not safe for concurrent use.
type Kit struct {
	dir      string
	meta     kitMeta
	readers  map[string]Credential
	root     string // the encoded signer of root records
	identity string // the encoded age identity
	verifier note.Verifier
	signer   note.Signer
	age      age.Identity
	public   string // the age recipient that fits identity
	warnings []string
}

// kitMeta is kit.yaml.
type kitMeta struct {
	Version       int           `yaml:"holdfast_kit"`
	Instance      string        `yaml:"instance"`
	Name          string        `yaml:"name,omitempty"`
	Created       string        `yaml:"created,omitempty"`
	RootKey       string        `yaml:"root_key"`
	Root          kitRoot       `yaml:"root"`
	RecipientType RecipientType `yaml:"recipient_type"`
	RecipientSum  string        `yaml:"recipient_sha256"`
	Mirrors       []KitMirror   `yaml:"mirrors"`
}

// kitRoot is the highest root record that the kit has seen.
type kitRoot struct {
	Version uint64 `yaml:"version"`
	SHA256  string `yaml:"sha256,omitempty"`
}

// kitReaders is readers.yaml.
type kitReaders struct {
	Readers map[string]Credential `yaml:"readers"`
}

var mirrorName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// ValidMirrorName returns an error that says what is wrong with a mirror's name: it stands in messages, in kits, and in
// capitals in the names of environment variables.
func ValidMirrorName(name string) error {
	if !mirrorName.MatchString(name) {
		return fmt.Errorf("mirror name %q: want 1 to 32 of a-z, 0-9 and -, the first of them no -", name)
	}
	return nil
}

// ReaderEnv returns the names of the environment variables that hold a mirror's reader credential.
func ReaderEnv(mirror string) (key, secret string) {
	upper := strings.ReplaceAll(strings.ToUpper(mirror), "-", "_")
	return "HOLDFAST_" + upper + "_READER_KEY", "HOLDFAST_" + upper + "_READER_SECRET"
}

// CreateKit makes a new root key and a new recovery identity and writes them to dir as a recovery kit. dir must not
// exist or be empty; its files are durable on return, kit.yaml last, so that a directory with a kit.yaml is complete.
// The secrets exist nowhere else. Should it fail, it removes the files that it wrote.
func CreateKit(dir string, o KitOptions) (*Kit, error) {
	k, err := newKit(o)
	if err != nil {
		return nil, fmt.Errorf("create recovery kit: %w", err)
	}
	if err := k.write(dir); err != nil {
		return nil, fmt.Errorf("create recovery kit: %w", err)
	}
	return k, nil
}

// newKit makes the keys of a kit and keeps them in memory.
func newKit(o KitOptions) (*Kit, error) {
	if o.Recipient == "" {
		o.Recipient = Hybrid
	}
	skey, vkey, err := note.GenerateKey(rand.Reader, rootKeyName(o.Instance))
	if err != nil {
		return nil, err
	}
	identity, public, err := generateIdentity(o.Recipient)
	if err != nil {
		return nil, err
	}
	k := &Kit{
		meta: kitMeta{
			Version: kitVersion, Instance: o.Instance, Name: o.Name, RootKey: vkey,
			RecipientType: o.Recipient, RecipientSum: hexSum(public), Mirrors: o.Mirrors,
		},
		readers: o.Readers, root: skey, identity: identity,
	}
	if !o.Created.IsZero() {
		k.meta.Created = o.Created.UTC().Format(time.RFC3339)
	}
	if err := k.bind(); err != nil {
		return nil, err
	}
	return k, nil
}

func generateIdentity(t RecipientType) (secret, public string, err error) {
	switch t {
	case Hybrid:
		id, err := age.GenerateHybridIdentity()
		if err != nil {
			return "", "", err
		}
		return id.String(), id.Recipient().String(), nil
	case X25519:
		id, err := age.GenerateX25519Identity()
		if err != nil {
			return "", "", err
		}
		return id.String(), id.Recipient().String(), nil
	}
	return "", "", fmt.Errorf("recipient type %q: want %s or %s", t, Hybrid, X25519)
}

// OpenKit reads the recovery kit in dir and checks that its files are whole and fit together. Its errors name the file
// and what to do about it. Files that others may read are no error, since a kit may lie on a disc without permissions;
// see Warnings.
func OpenKit(dir string) (*Kit, error) {
	k := &Kit{dir: dir}
	if err := k.read(); err != nil {
		return nil, fmt.Errorf("recovery kit %s: %w", dir, err)
	}
	if err := k.bind(); err != nil {
		return nil, fmt.Errorf("recovery kit %s: %w", dir, err)
	}
	return k, nil
}

func (k *Kit) read() error {
	data, err := k.readFile(kitFile)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: there is no %s", ErrNoKit, kitFile)
	} else if err != nil {
		return err
	}
	if err := unmarshalStrict(data, &k.meta); err != nil {
		return damaged(kitFile, err)
	}
	if k.root, err = k.readSecret(rootFile); err != nil {
		return err
	}
	if k.identity, err = k.readSecret(ageFile); err != nil {
		return err
	}
	return k.readReaders()
}

func (k *Kit) readReaders() error {
	data, err := k.readFile(readersFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	var r kitReaders
	if err := unmarshalStrict(data, &r); err != nil {
		return damaged(readersFile, err)
	}
	k.readers = r.Readers
	return k.checkMode(readersFile)
}

// readSecret returns the only line of a key file that is neither empty nor a comment.
func (k *Kit) readSecret(name string) (string, error) {
	data, err := k.readFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return "", damaged(name, errors.New("the file is missing: take it from another copy of the kit"))
	} else if err != nil {
		return "", err
	}
	var secret string
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if secret != "" {
			return "", damaged(name, errors.New("it holds more than one key"))
		}
		secret = line
	}
	if secret == "" {
		return "", damaged(name, errors.New("it holds no key"))
	}
	return secret, k.checkMode(name)
}

func (k *Kit) readFile(name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(k.dir, name))
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("%w: open it as the user who owns it", err)
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKitFileBytes+1))
	if err != nil {
		return nil, damaged(name, err)
	}
	if len(data) > maxKitFileBytes {
		return nil, damaged(name, fmt.Errorf("it is longer than %d bytes", maxKitFileBytes))
	}
	return data, nil
}

func (k *Kit) checkMode(name string) error {
	path := filepath.Join(k.dir, name)
	fi, err := os.Stat(path)
	if err != nil {
		return err
	}
	if perm := fi.Mode().Perm(); perm&0o077 != 0 {
		k.warnings = append(k.warnings, fmt.Sprintf("%s may be read by others (mode %04o): chmod 600 %s", name, perm, path))
	}
	return nil
}

// Dir returns the directory of the kit.
func (k *Kit) Dir() string { return k.dir }

// Instance returns the id of the instance that the kit restores.
func (k *Kit) Instance() string { return k.meta.Instance }

// Name returns what people call the host; it may be empty.
func (k *Kit) Name() string { return k.meta.Name }

// RootVerifier returns the key that checks root records.
func (k *Kit) RootVerifier() note.Verifier { return k.verifier }

// RootKey returns the encoded form of RootVerifier.
func (k *Kit) RootKey() string { return k.meta.RootKey }

// RootSigner returns the key that signs root records.
func (k *Kit) RootSigner() note.Signer { return k.signer }

// RecoveryIdentity returns the identity that decrypts the mirrors.
func (k *Kit) RecoveryIdentity() age.Identity { return k.age }

// Recipient returns the public key, as age writes it, that fits RecoveryIdentity.
func (k *Kit) Recipient() string { return k.public }

// RecipientType returns the type of Recipient.
func (k *Kit) RecipientType() RecipientType { return k.meta.RecipientType }

// Mirrors returns where the mirrors were when the kit was last written.
func (k *Kit) Mirrors() []KitMirror { return append([]KitMirror(nil), k.meta.Mirrors...) }

// Reader returns the reader credential of a mirror: the one in the environment (ReaderEnv) if both its variables are
// set, else the kit's. ok is false if there is none.
func (k *Kit) Reader(mirror string) (c Credential, ok bool) {
	key, secret := ReaderEnv(mirror)
	c = Credential{AccessKey: os.Getenv(key), SecretKey: os.Getenv(secret)}
	if c.AccessKey != "" && c.SecretKey != "" {
		return c, true
	}
	c, ok = k.readers[mirror]
	return c, ok
}

// KnownRoot returns version and hash of the highest root record that the kit has seen; 0 if none.
func (k *Kit) KnownRoot() (version uint64, hash [32]byte) {
	hash, _ = k.rootHash()
	return k.meta.Root.Version, hash
}

func (k *Kit) rootHash() (sum [32]byte, err error) {
	if k.meta.Root.Version == 0 && k.meta.Root.SHA256 == "" {
		return sum, nil
	}
	raw, err := hex.DecodeString(k.meta.Root.SHA256)
	if err != nil || len(raw) != len(sum) {
		return sum, errors.New("want 64 hexadecimal digits")
	}
	copy(sum[:], raw)
	return sum, nil
}

// SetKnownRoot writes version and hash of a newer root record, and the mirrors that it names unless there are none,
// into the kit. The kit is unchanged if it fails. A lower version than the known one is refused.
func (k *Kit) SetKnownRoot(version uint64, hash [32]byte, mirrors []KitMirror) error {
	if version < k.meta.Root.Version {
		return fmt.Errorf("recovery kit %s: root version %d is older than version %d, which it knows", k.dir, version, k.meta.Root.Version)
	}
	next := *k
	next.know(RootRef{Version: version, Sum: hash}, mirrors)
	if err := next.bind(); err != nil {
		return fmt.Errorf("recovery kit %s: %w", k.dir, err)
	}
	if err := next.rewrite(); err != nil {
		return fmt.Errorf("recovery kit %s: %w", k.dir, err)
	}
	*k = next
	return nil
}

// know takes a newer root record and its mirrors, if there are any, into the kit in memory.
func (k *Kit) know(ref RootRef, mirrors []KitMirror) {
	k.meta.Root = kitRoot{Version: ref.Version, SHA256: ref.Sum.String()}
	if len(mirrors) == 0 {
		return
	}
	old := k.readers
	k.meta.Mirrors, k.readers = append([]KitMirror(nil), mirrors...), make(map[string]Credential)
	for _, m := range mirrors {
		if c, ok := old[m.Name]; ok {
			k.readers[m.Name] = c
		}
	}
}

// Warnings returns what is unsafe about the kit and yet no reason to refuse it.
func (k *Kit) Warnings() []string { return append([]string(nil), k.warnings...) }

// Verify reads the kit again from its directory and returns everything that is wrong with it, nil if nothing is.
// Unlike OpenKit it also takes loose permissions, a missing README and files that do not belong there for faults.
func (k *Kit) Verify() error {
	fresh, err := OpenKit(k.dir)
	if err != nil {
		return err
	}
	var faults []error
	for _, w := range fresh.warnings {
		faults = append(faults, errors.New(w))
	}
	if fi, err := os.Stat(filepath.Join(k.dir, readmeFile)); err != nil || fi.Size() == 0 {
		faults = append(faults, fmt.Errorf("%s is missing or empty", readmeFile))
	}
	if fresh.meta.Root.Version == 0 {
		faults = append(faults, fmt.Errorf("%s knows no root record: init did not finish", kitFile))
	}
	names, err := os.ReadDir(k.dir)
	if err != nil {
		return err
	}
	for _, e := range names {
		switch e.Name() {
		case kitFile, rootFile, ageFile, readersFile, readmeFile:
		default:
			faults = append(faults, fmt.Errorf("%s does not belong to a kit: it may be a remnant that holds a secret", e.Name()))
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("recovery kit %s: %w", k.dir, errors.Join(faults...))
}

// Env lists the environment variables that the reader credentials can come from, in the order of the mirrors.
func (k *Kit) Env() []string {
	var names []string
	for _, m := range k.meta.Mirrors {
		key, secret := ReaderEnv(m.Name)
		names = append(names, key, secret)
	}
	return names
}
