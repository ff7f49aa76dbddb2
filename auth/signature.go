package auth

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// SignatureSkew is how far the clock of a signer may be off. OpenPGP's signatures alone have a time.
const SignatureSkew = 10 * time.Minute

// MaxSignatureBytes is the size of the largest armored signature that User.Verify looks at.
const MaxSignatureBytes = 64 << 10

// gitNamespace is what git has SSH signatures made for.
const gitNamespace = "git"

// The first lines of the signatures that Verify knows.
const (
	sshSignature = "-----BEGIN SSH SIGNATURE-----"
	pgpSignature = "-----BEGIN PGP SIGNATURE-----"
)

// ErrSignature is what every error of User.Verify wraps.
var ErrSignature = errors.New("signature not accepted")

var (
	errUnknownKey   = errors.New("the key is none of the user's")
	errBadSignature = errors.New("the signature is not good")
)

// signatureError words an error of Verify.
type signatureError struct{ err error }

func (e *signatureError) Error() string   { return e.err.Error() }
func (e *signatureError) Unwrap() []error { return []error{ErrSignature, e.err} }

// Verify checks a detached, armored signature that git made of message: with SSH, in the namespace "git", or with
// OpenPGP. It returns the fingerprint of the key, which is one of u's: SHA256:... or openpgp:.... A signature of OpenPGP
// must have been made between from and until, give or take SignatureSkew, and its key must have been good then.
func (u User) Verify(message, signature []byte, from, until time.Time) (fingerprint string, err error) {
	switch {
	case len(signature) > MaxSignatureBytes:
		err = fmt.Errorf("the signature has more than %d bytes", MaxSignatureBytes)
	case bytes.HasPrefix(signature, []byte(sshSignature)):
		fingerprint, err = verifySSH(u.Keys, message, signature)
	case bytes.HasPrefix(signature, []byte(pgpSignature)):
		fingerprint, err = verifyPGP(u.PGPKeys, message, signature, from, until)
	default:
		err = errors.New("the signature is neither of SSH nor of OpenPGP")
	}
	if err != nil {
		return "", &signatureError{err}
	}
	return fingerprint, nil
}

func verifySSH(keys []Key, message, signature []byte) (string, error) {
	sig, err := sshsig.Unarmor(signature)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errBadSignature, err)
	}
	print := ssh.FingerprintSHA256(sig.PublicKey)
	// Certificates carry another key's name than their own, and are nobody's here: the whole encoding is compared.
	blob := string(sig.PublicKey.Marshal())
	if !slices.ContainsFunc(keys, func(k Key) bool { return k.blob == blob }) {
		return "", fmt.Errorf("%w: %s", errUnknownKey, print)
	}
	err = sshsig.Verify(bytes.NewReader(message), sig, sig.PublicKey, sig.HashAlgorithm, gitNamespace)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errBadSignature, err)
	}
	return print, nil
}
