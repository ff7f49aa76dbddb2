package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"holdfast/auth"
	"holdfast/storage"
)

// A user's secret for svn:// is a secret of the journal, so it is mirrored encrypted and restored, and no git repository holds
// it. CRAM-MD5 needs the very secret on the host, unlike a token for HTTP: whoever reads the data directory has it. So the
// host makes it, long and random, and it opens nothing but this user's svn:// on this host.
const (
	svnSecretName = "svn/" // and the user's name; an empty value is a secret that was revoked
	svnSecretKey  = "svn-secret:"
)

// CreateSvnSecret gives a user a new secret for svn:// in place of the one they had, and returns it.
func (s *Server) CreateSvnSecret(ctx context.Context, who auth.Identity, user string, tell io.Writer) (string, error) {
	secret := rand.Text()
	return secret, s.setSvnSecret(ctx, who, user, secret, tell)
}

// RevokeSvnSecret takes the secret from a user; sessions that began with it may do no more than anonymous ones.
func (s *Server) RevokeSvnSecret(ctx context.Context, who auth.Identity, user string, tell io.Writer) error {
	if _, ok := s.svnSecret(user); !ok && s.isSelf(who, user)() == nil {
		return fmt.Errorf("%s has no secret for svn://: %w", user, auth.ErrMissing)
	}
	return s.setSvnSecret(ctx, who, user, "", tell)
}

func (s *Server) setSvnSecret(ctx context.Context, who auth.Identity, user, secret string, tell io.Writer) error {
	if err := errors.Join(s.isSelf(who, user)(), s.writable()); err != nil {
		return err
	}
	e, err := s.commitSvnSecret(who, user, secret)
	if err != nil {
		return err
	}
	s.c.Log.Info("svn secret", slog.Uint64("seq", uint64(e.Seq)), "user", user, "actor", who.Name, "revoked", secret == "")
	_, err = s.wait(ctx, e, tell)
	return err
}

// commitSvnSecret holds policyMu, so that no user is removed meanwhile.
func (s *Server) commitSvnSecret(who auth.Identity, user, secret string) (e storage.Entry, err error) {
	s.policyMu.Lock()
	defer s.policyMu.Unlock()
	if err := s.isSelf(who, user)(); err != nil {
		return e, err
	}
	if _, ok := s.policy.Load().policy.User(user); !ok {
		return e, fmt.Errorf("user %s: %w", user, auth.ErrMissing)
	}
	txn, err := s.svnSecretTxn(who, user, secret)
	if err != nil {
		return e, err
	}
	defer txn.Discard()
	entries, err := s.committed(s.store.Commit(txn))
	if err != nil {
		return e, err
	}
	return entries[0], nil
}

func (s *Server) svnSecretTxn(who auth.Identity, user, secret string) (*storage.Txn, error) {
	data, err := json.Marshal(storage.Secret{Name: svnSecretName + user, Value: []byte(secret)})
	if err != nil {
		return nil, err
	}
	return s.store.BeginHost(s.meta(who, push{}), storage.KindSecret, data)
}

// forgotten returns the transactions that revoke the secrets of users whom the next policy does not know, to be committed with
// it: a later user of the same name starts with nothing.
func (s *Server) forgotten(who auth.Identity, next *auth.Policy) (txns []*storage.Txn, err error) {
	for _, u := range s.policy.Load().policy.Users() {
		if _, stays := next.User(u.Name); stays {
			continue
		}
		if _, has := s.svnSecret(u.Name); !has {
			continue
		}
		txn, err := s.svnSecretTxn(who, u.Name, "")
		if err != nil {
			discard(txns)
			return nil, err
		}
		txns = append(txns, txn)
	}
	return txns, nil
}

func discard(txns []*storage.Txn) {
	for _, t := range txns {
		t.Discard()
	}
}

// commitNext commits a change of policy, with what follows from it, and puts it in force. Call it with policyMu held.
func (s *Server) commitNext(who auth.Identity, next *auth.Policy, txn *storage.Txn) ([]storage.Entry, error) {
	if next == nil { // a draft
		return s.policyCommitted(s.store.Commit(txn))
	}
	gone, err := s.forgotten(who, next)
	if err != nil {
		return nil, err
	}
	defer discard(gone)
	return s.policyCommitted(s.store.Commit(slices.Concat([]*storage.Txn{txn}, gone)...))
}

// svnSecret returns a user's secret for svn://.
func (s *Server) svnSecret(user string) (string, bool) {
	value, err := s.store.Secret(svnSecretName + user)
	return string(value), err == nil && len(value) > 0
}

// HasSvnSecret reports whether a user has a secret for svn://.
func (s *Server) HasSvnSecret(user string) bool {
	_, ok := s.svnSecret(user)
	return ok
}

// svnIdentity is a user who proved to have the secret.
func svnIdentity(user, secret string) auth.Identity {
	sum := sha256.Sum256([]byte(secret))
	return auth.Identity{Name: user, Key: svnSecretKey + hex.EncodeToString(sum[:8])}
}

// vouched returns an identity in the policy's terms, which knows keys and tokens but not the journal's secrets. One whose secret
// was revoked or replaced keeps its key, which the policy does not know, so it counts as anonymous.
func (s *Server) vouched(who auth.Identity) auth.Identity {
	if !strings.HasPrefix(who.Key, svnSecretKey) {
		return who
	}
	if secret, ok := s.svnSecret(who.Name); ok && who == svnIdentity(who.Name, secret) {
		who.Key = ""
	}
	return who
}
