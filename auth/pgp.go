package auth

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// MaxPGPKeyBytes is the size of the largest OpenPGP public key that ParsePGPKey reads, armored.
const MaxPGPKeyBytes = 48 << 10

// PGPPrefix begins the fingerprint of an OpenPGP key.
const PGPPrefix = "openpgp:"

// PGPKey is a user's OpenPGP public key. It verifies what the user signs, and lets nobody in.
type PGPKey struct {
	Fingerprint string // of the primary key: PGPPrefix and upper-case hexadecimal digits
	UserID      string // one of the key's user ids, such as "Alice <alice@example.org>"
	Armor       string // the key, armored, without the text around it

	line int // in the user's file
}

// IsPGPKey reports whether text is meant as an armored OpenPGP key. ParsePGPKey says whether it is a good one.
func IsPGPKey(text string) bool { return strings.Contains(text, "-----BEGIN PGP ") }

// PGPFingerprint returns the fingerprint that text means, as gpg prints it or as PGPKey has it; ok is false if it is none.
func PGPFingerprint(text string) (fingerprint string, ok bool) {
	digits := strings.ToUpper(strings.ReplaceAll(strings.TrimPrefix(text, PGPPrefix), " ", ""))
	if len(digits) != 40 && len(digits) != 64 || strings.Trim(digits, "0123456789ABCDEF") != "" {
		return "", false
	}
	return PGPPrefix + digits, true
}

// ParsePGPKey reads one armored OpenPGP public key, as "gpg --armor --export" writes it. It refuses private keys,
// several keys at once, and keys that are revoked, too weak to trust, or not made for signing. Whether the key has
// expired is for User.Verify to say: that depends on when it is asked.
func ParsePGPKey(text string) (PGPKey, error) {
	block, entity, err := readPGPKey(text)
	if err != nil {
		return PGPKey{}, err
	}
	if _, err := entity.VerifyPrimaryKey(time.Time{}, pgpConfig(time.Time{})); err != nil {
		return PGPKey{}, fmt.Errorf("this OpenPGP key cannot be used: %w", err)
	}
	if _, ok := entity.SigningKey(time.Time{}, pgpConfig(time.Time{})); !ok {
		return PGPKey{}, fmt.Errorf("this OpenPGP key cannot sign, or is too weak: it takes one made for signing, "+
			"such as ed25519 or RSA of at least %d bits", MinRSABits)
	}
	k := PGPKey{Fingerprint: pgpFingerprint(entity), Armor: block}
	if names := slices.Sorted(maps.Keys(entity.Identities)); len(names) > 0 {
		k.UserID = printable(names[0])
	}
	return k, nil
}

func pgpFingerprint(e *openpgp.Entity) string {
	return fmt.Sprintf("%s%X", PGPPrefix, e.PrimaryKey.Fingerprint)
}

// readPGPKey returns the armored block in text, and the one key in it.
func readPGPKey(text string) (string, *openpgp.Entity, error) {
	if len(text) > MaxPGPKeyBytes {
		return "", nil, fmt.Errorf("the OpenPGP key has more than %d bytes: "+
			"export it with \"gpg --armor --export-options export-minimal --export\"", MaxPGPKeyBytes)
	}
	if strings.Contains(text, "PGP PRIVATE KEY") {
		return "", nil, errors.New("this is a private key: give the public one (gpg --armor --export), " +
			"and make a new key if this one was seen by anybody")
	}
	const begin, end = "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"
	text = strings.ReplaceAll(text, "\r\n", "\n")
	_, inside, began := strings.Cut(text, begin)
	inside, after, ended := strings.Cut(inside, end)
	if !began || !ended {
		return "", nil, errors.New("not an armored OpenPGP public key: give what \"gpg --armor --export\" prints")
	}
	block := begin + inside + end + "\n"
	if err := oneArmor(block); err != nil {
		return "", nil, err
	}
	keys, err := openpgp.ReadArmoredKeyRing(strings.NewReader(block))
	switch {
	case err != nil:
		return "", nil, fmt.Errorf("not a good OpenPGP public key: %w", err)
	case len(keys) != 1 || strings.Contains(after, begin):
		return "", nil, errors.New("one OpenPGP key at a time, please: this has several, or none that is supported")
	case keys[0].PrivateKey != nil:
		return "", nil, errors.New("this holds a private key: give the public one (gpg --armor --export)")
	}
	return block, keys[0], nil
}

// oneArmor checks that what lies between the armor's first and last line is plain: no second beginning.
func oneArmor(block string) error {
	if strings.Count(block, "-----BEGIN ") != 1 || strings.ContainsFunc(block, func(r rune) bool { return r < ' ' && r != '\n' }) {
		return errors.New("not a good OpenPGP public key: its armor is broken")
	}
	return nil
}

// verifyPGP returns the fingerprint of the key that made a detached signature, armored, of message.
func verifyPGP(keys []PGPKey, message, signature []byte, from, until time.Time) (string, error) {
	sig, err := dearmor(signature)
	if err != nil {
		return "", err
	}
	issued, err := onePGPSignature(sig)
	if err != nil {
		return "", err
	}
	if made := issued.CreationTime; made.Before(from.Add(-SignatureSkew)) || made.After(until.Add(SignatureSkew)) {
		return "", fmt.Errorf("the signature says that it was made at %s: set the clock of your machine",
			issued.CreationTime.UTC().Format(time.RFC3339))
	}
	var ring openpgp.EntityList
	for _, k := range keys {
		_, entity, err := readPGPKey(k.Armor) // anew each time: an entity remembers what it verified, without a lock
		if err != nil {
			return "", err
		}
		ring = append(ring, entity)
	}
	if issued.IssuerKeyId == nil || len(ring.EntitiesById(*issued.IssuerKeyId)) == 0 {
		return "", errUnknownKey
	}
	_, signer, err := openpgp.VerifyDetachedSignature(ring, bytes.NewReader(message), bytes.NewReader(sig), pgpConfig(until))
	if err != nil {
		return "", fmt.Errorf("%w: %w", errBadSignature, err)
	}
	return pgpFingerprint(signer), nil
}

// pgpConfig is how strict OpenPGP is taken. The library refuses DSA, ElGamal, and messages hashed with SHA-1 or weaker by
// itself, and judges a key by the time at which a signature was made.
func pgpConfig(at time.Time) *packet.Config {
	return &packet.Config{MinRSABits: MinRSABits, Time: func() time.Time { return at.Add(SignatureSkew) }}
}

func dearmor(signature []byte) ([]byte, error) {
	block, err := armor.Decode(bytes.NewReader(signature))
	if err != nil || block.Type != openpgp.SignatureType {
		return nil, fmt.Errorf("%w: it is not in OpenPGP's armor", errBadSignature)
	}
	sig, err := io.ReadAll(block.Body)
	if err != nil {
		return nil, fmt.Errorf("%w: its armor is broken: %w", errBadSignature, err)
	}
	return sig, nil
}

// onePGPSignature wants exactly one signature of a binary document: each one costs a hash over the whole message, and
// one of a text would not tell apart messages that differ in their line ends.
func onePGPSignature(sig []byte) (*packet.Signature, error) {
	packets := packet.NewReader(bytes.NewReader(sig))
	p, err := packets.Next()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBadSignature, err)
	}
	one, ok := p.(*packet.Signature)
	if !ok || one.SigType != packet.SigTypeBinary {
		return nil, fmt.Errorf("%w: it is not a detached signature of a binary document", errBadSignature)
	}
	if _, err := packets.Next(); err != io.EOF {
		return nil, fmt.Errorf("%w: there is more than one", errBadSignature)
	}
	return one, nil
}

// printable makes text fit for a terminal's line.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || 0x7f <= r && r < 0xa0 {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}
