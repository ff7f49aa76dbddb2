package server

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"holdfast/auth"
	"holdfast/server/gitproto"
	"holdfast/storage"
	"holdfast/storage/object"
)

// signedPush says what a repository makes of push certificates.
func (s *Server) signedPush(repo string) auth.SignedPush {
	r, ok := s.policy.Load().policy.Repo(repo)
	if !ok {
		return auth.SignedOptional
	}
	return r.Signed
}

var errUnsigned = errors.New("this repository takes signed pushes only: push with `git push --signed`; to sign with your " +
	"SSH key, run `git config gpg.format ssh` and `git config user.signingkey ~/.ssh/id_ed25519.pub` first")

// signer returns the fingerprint of the key that signed a push, "" if it need not be signed and is not. It is asked again
// once the pack is here: the policy may have changed. A signed push becomes atomic, so that what the journal records is
// what was signed.
func (s *Server) signer(who auth.Identity, p *push) (string, error) {
	mode := s.signedPush(p.repo)
	switch {
	case p.cert == nil && mode == auth.SignedRequired && p.create == nil:
		return "", errUnsigned
	case p.cert == nil:
		return "", nil
	case mode == auth.SignedOff:
		return "", errors.New("this repository takes no push certificates: push with `git push --no-signed`")
	}
	p.atomic = true
	user, _ := s.policy.Load().policy.User(who.Name)
	key, err := verifyCert(user, p.cert, p.begun, p.begun)
	if err == nil {
		err = rightPlace(p.cert, p.repo)
	}
	if err != nil {
		return "", certRefused(err)
	}
	return key, nil
}

// certRefused words why a certificate was not accepted, and what helps.
func certRefused(err error) error {
	if errors.Is(err, auth.ErrSignature) {
		return fmt.Errorf("push certificate refused: %w; sign with a key that `user list` shows as yours, add one with "+
			"`user key add`, or push with `git push --no-signed`", err)
	}
	return fmt.Errorf("push certificate refused: %w", err)
}

// verifyCert returns the fingerprint of user's key that signed the certificate, between the two times.
func verifyCert(user auth.User, cert *gitproto.Certificate, from, until time.Time) (string, error) {
	key, err := user.Verify(cert.Message(), cert.Signature(), from, until)
	if err != nil {
		return "", err
	}
	// With an SSH key, git names its fingerprint as the pusher.
	if strings.HasPrefix(cert.Pusher, "SHA256:") && cert.Pusher != key {
		return "", fmt.Errorf("it names %s as the pusher, and is signed by %s", cert.Pusher, key)
	}
	return key, nil
}

// rightPlace compares the URL in a certificate with the repository. Clients may know the host by many names, so only the
// end of the URL counts.
func rightPlace(cert *gitproto.Certificate, repo string) error {
	url := strings.TrimSuffix(strings.TrimRight(cert.Pushee, "/"), ".git")
	before, ok := strings.CutSuffix(url, repo)
	if cert.Pushee == "" || ok && (before == "" || strings.HasSuffix(before, "/") || strings.HasSuffix(before, ":")) {
		return nil
	}
	return fmt.Errorf("it was made for %q, and this is %s", cert.Pushee, repo)
}

// spendNonce makes sure that a certificate was made for this push: for this repository, just now, and only once.
func (s *Server) spendNonce(p push) error {
	if p.cert == nil {
		return nil
	}
	if err := s.nonces.spend(p.repo, p.cert.Nonce, p.begun); err != nil {
		return certRefused(err)
	}
	return nil
}

// nonces makes the nonces that push certificates are asked to hold, and tells whether one that comes back is of its
// making. Each counts once. The key is drawn when the host starts and kept nowhere else: what was signed before a
// restart is worth nothing after it, when which nonces were spent is forgotten. Safe for concurrent use.
type nonces struct {
	key    []byte
	maxAge time.Duration

	mu    sync.Mutex           // guards the rest
	spent map[string]time.Time // when they were made; those that are too old are forgotten
	swept time.Time
}

func newNonces(maxAge time.Duration) *nonces {
	n := &nonces{key: make([]byte, 32), maxAge: maxAge, spent: map[string]time.Time{}}
	rand.Read(n.key)
	return n
}

// issue returns a new nonce for a repository: the time in seconds and what nobody else could know, as git's own have it.
func (n *nonces) issue(repo string, now time.Time) string {
	var unique [8]byte
	rand.Read(unique[:])
	return n.seal(repo, now.Unix(), hex.EncodeToString(unique[:]))
}

func (n *nonces) seal(repo string, seconds int64, unique string) string {
	head := fmt.Sprintf("%d-%s", seconds, unique)
	mac := hmac.New(sha256.New, n.key)
	fmt.Fprintf(mac, "%s\x00%s", head, repo)
	return head + "-" + hex.EncodeToString(mac.Sum(nil)[:16])
}

// spend accepts a nonce that issue made for the repository not long ago, once.
func (n *nonces) spend(repo, nonce string, now time.Time) error {
	_, rest, _ := strings.Cut(nonce, "-")
	unique, _, _ := strings.Cut(rest, "-")
	made, ok := nonceTime(nonce)
	if !ok || !hmac.Equal([]byte(n.seal(repo, made.Unix(), unique)), []byte(nonce)) {
		return errors.New("its nonce is not one that this host gave out for this repository: push again")
	}
	if age := now.Sub(made); age > n.maxAge {
		return fmt.Errorf("its nonce is %v old, more than %v: push again", age.Round(time.Second), n.maxAge)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if now.Sub(n.swept) > n.maxAge {
		n.sweep(now)
	}
	if _, twice := n.spent[nonce]; twice {
		return errors.New("its nonce was used before: push again")
	}
	n.spent[nonce] = made
	return nil
}

// nonceTime is when a nonce says that it was made.
func nonceTime(nonce string) (time.Time, bool) {
	stamp, _, _ := strings.Cut(nonce, "-")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	return time.Unix(seconds, 0), err == nil
}

// sweep forgets what is too old to be spent again.
func (n *nonces) sweep(now time.Time) {
	n.swept = now
	for nonce, made := range n.spent {
		if now.Sub(made) > n.maxAge {
			delete(n.spent, nonce)
		}
	}
}

// Signature is what a push certificate in the journal proves, as far as the policy of today can tell.
type Signature struct {
	Pusher string `json:"pusher"`            // who says to have signed
	Key    string `json:"key,omitempty"`     // fingerprint of the actor's key that did; "" if it does not verify
	Good   bool   `json:"good"`              // the signature is good, and what it covers is what the entry did
	Reason string `json:"problem,omitempty"` // why it is not good
}

// Signature verifies the certificate of an entry against its ref updates and the actor's keys; nil if it has none. A key
// that was taken from the actor since, or an OpenPGP key that expired before the push, no longer verifies.
func (s *Server) Signature(e LogEntry) *Signature {
	if len(e.Cert) == 0 {
		return nil
	}
	cert, err := gitproto.ParseCertificate(e.Cert, formatOf(e.Refs))
	if err != nil {
		return &Signature{Reason: err.Error()}
	}
	sig := &Signature{Pusher: cert.Pusher}
	user, _ := s.policy.Load().policy.User(e.Actor)
	from, ok := nonceTime(cert.Nonce)
	if !ok {
		from = e.Time
	}
	if sig.Key, err = verifyCert(user, cert, from, e.Time); err == nil {
		err = covers(cert, e.Refs)
	}
	if sig.Good = err == nil; !sig.Good {
		sig.Reason = err.Error()
	}
	return sig
}

// formatOf is the object format that ref updates are in.
func formatOf(refs []storage.RefUpdate) object.Format {
	for _, u := range refs {
		for _, id := range []object.ID{u.Old, u.New} {
			if !id.IsZero() {
				return id.Format()
			}
		}
	}
	return object.SHA1
}

// covers compares an entry's updates with those that were signed.
func covers(cert *gitproto.Certificate, refs []storage.RefUpdate) error {
	signed := map[storage.RefUpdate]bool{}
	for _, c := range cert.Commands {
		signed[storage.RefUpdate{Name: c.Ref, Old: c.Old, New: c.New}] = true
	}
	for _, u := range refs {
		if !signed[u] {
			return fmt.Errorf("the entry's update of %s is not what was signed", u.Name)
		}
	}
	if len(signed) != len(refs) {
		return fmt.Errorf("%d updates were signed, and the entry has %d", len(signed), len(refs))
	}
	return nil
}
