package server

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"holdfast/auth"
	"holdfast/replication"
	"holdfast/storage"
	"holdfast/storage/object"
	"holdfast/storage/svnfs"
)

// hostKeySecret names the journal's secret that holds the SSH host key, as PEM.
const hostKeySecret = "ssh_host_ed25519_key"

// Bootstrap writes the first entries of a new host: holdfast-admin with one admin, and the SSH host key. The store must
// be empty.
func Bootstrap(st *storage.Store, admin, authorizedKey, host string, now time.Time) error {
	edit := new(auth.Policy).Edit()
	if err := addUser(edit, admin, authorizedKey, auth.User{Admin: true}); err != nil {
		return err
	}
	repo, err := st.Create(storage.NewRepoID(), storage.RepoInit{SCM: storage.Git, Format: object.SHA1, Head: policyRef})
	if err != nil {
		return err
	}
	meta := storage.Meta{Actor: admin, Time: now, Nonce: storage.NewNonce()}
	info := commitInfo{author: admin, host: host, time: now, message: "Begin this host's policy\n\nThe first admin is " + admin + "."}
	policy, _, err := commitFiles(repo, meta, edit.Changes(), info)
	if err != nil {
		return err
	}
	defer policy.Discard()

	key, err := newHostKey()
	if err != nil {
		return err
	}
	meta.Nonce = storage.NewNonce()
	secret, err := st.BeginHost(meta, storage.KindSecret, key)
	if err != nil {
		return err
	}
	defer secret.Discard()
	_, err = st.Commit(policy, secret)
	return err
}

// newHostKey returns a new ed25519 host key as the data of a secret's entry.
func newHostKey() ([]byte, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return nil, err
	}
	return json.Marshal(storage.Secret{Name: hostKeySecret, Value: pem.EncodeToMemory(block)})
}

// policyEdit is one change of the policy by an admin verb.
type policyEdit struct {
	who     auth.Identity
	allowed func() error // asked twice: before, and with policyMu held
	message string
	edit    func(*auth.Edit) error
	tell    io.Writer
}

// changePolicy makes a commit in holdfast-admin, and waits for its acks like any push.
func (s *Server) changePolicy(ctx context.Context, p policyEdit) error {
	if err := errors.Join(p.allowed(), s.writable()); err != nil {
		return err
	}
	e, err := s.commitPolicy(p)
	if err != nil {
		return err
	}
	_, err = s.wait(ctx, e, p.tell)
	return err
}

func (s *Server) commitPolicy(p policyEdit) (storage.Entry, error) {
	s.policyMu.Lock()
	defer s.policyMu.Unlock()
	if err := p.allowed(); err != nil {
		return storage.Entry{}, err
	}
	txn, next, err := s.policyTxn(p.who, p.edit, p.message)
	if err != nil {
		return storage.Entry{}, err
	}
	defer txn.Discard()
	entries, err := s.commitNext(p.who, next, txn)
	if err != nil {
		return storage.Entry{}, err
	}
	return entries[len(entries)-1], nil
}

// isHostAdmin and isRepoAdmin return the check of policyEdit.allowed.
func (s *Server) isHostAdmin(who auth.Identity) func() error {
	return func() error { return s.allow(who, auth.AdminRepo, auth.HostAdmin) }
}

func (s *Server) isRepoAdmin(who auth.Identity, repo string) func() error {
	return func() error { return s.allow(who, repo, auth.Admin) }
}

// isSelf allows what users may change of themselves, and admins of everybody.
func (s *Server) isSelf(who auth.Identity, user string) func() error {
	return func() error {
		if who.Name == user && s.policy.Load().policy.Known(s.vouched(who)) {
			return nil
		}
		return s.allow(who, auth.AdminRepo, auth.HostAdmin)
	}
}

// AddUser adds a user with one key, in authorized_keys form. Like every verb that changes the policy, it returns once
// enough mirrors hold the change, tells which on tell, and returns auth.ErrDenied if who may not.
func (s *Server) AddUser(ctx context.Context, who auth.Identity, name, key string, admin bool, tell io.Writer) error {
	return s.changePolicy(ctx, policyEdit{who, s.isHostAdmin(who), "Add user " + name, func(e *auth.Edit) error {
		return addUser(e, name, key, auth.User{Admin: admin})
	}, tell})
}

func addUser(e *auth.Edit, name, line string, u auth.User) error {
	key, err := auth.ParseKey(line)
	if err != nil {
		return err
	}
	u.Name, u.Keys = name, []auth.Key{key}
	return e.AddUser(u)
}

// RemoveUser removes a user and their grants; what they pushed stays.
func (s *Server) RemoveUser(ctx context.Context, who auth.Identity, name string, tell io.Writer) error {
	return s.changePolicy(ctx, policyEdit{who, s.isHostAdmin(who), "Remove user " + name, func(e *auth.Edit) error {
		return e.RemoveUser(name)
	}, tell})
}

// AddKey gives a user another key: an SSH key, as a line, or an armored OpenPGP key, to sign pushes with.
func (s *Server) AddKey(ctx context.Context, who auth.Identity, user, key string, tell io.Writer) error {
	return s.changePolicy(ctx, policyEdit{who, s.isSelf(who, user), "Add a key of " + user, func(e *auth.Edit) error {
		if auth.IsPGPKey(key) {
			k, err := auth.ParsePGPKey(key)
			if err != nil {
				return err
			}
			return e.AddPGPKey(user, k)
		}
		k, err := auth.ParseKey(key)
		if err != nil {
			return err
		}
		return e.AddKey(user, k)
	}, tell})
}

// RemoveKey takes the key with a fingerprint (SHA256:... or openpgp:...) from a user; sessions that it opened may do
// nothing more.
func (s *Server) RemoveKey(ctx context.Context, who auth.Identity, user, fingerprint string, tell io.Writer) error {
	return s.changePolicy(ctx, policyEdit{who, s.isSelf(who, user), "Remove a key of " + user, func(e *auth.Edit) error {
		if strings.HasPrefix(fingerprint, auth.PGPPrefix) {
			return e.RemovePGPKey(user, fingerprint)
		}
		return e.RemoveKey(user, fingerprint)
	}, tell})
}

// CreateToken gives a user a token for HTTP and returns it: it is shown once, only its hash is stored. A zero expires
// means that it does not expire.
func (s *Server) CreateToken(ctx context.Context, who auth.Identity, user, name string, expires time.Time, tell io.Writer) (string, error) {
	secret, err := auth.NewToken(rand.Reader)
	if err != nil {
		return "", err
	}
	token := auth.Token{Name: name, SHA256: auth.HashToken(secret), Created: s.c.Now().UTC().Truncate(time.Second), Expires: expires}
	err = s.changePolicy(ctx, policyEdit{who, s.isSelf(who, user), "Create token " + name + " of " + user, func(e *auth.Edit) error {
		return e.AddToken(user, token)
	}, tell})
	return secret, err
}

// RevokeToken takes a token from a user.
func (s *Server) RevokeToken(ctx context.Context, who auth.Identity, user, name string, tell io.Writer) error {
	return s.changePolicy(ctx, policyEdit{who, s.isSelf(who, user), "Revoke token " + name + " of " + user, func(e *auth.Edit) error {
		return e.RevokeToken(user, name)
	}, tell})
}

// NewRepo is a repository to be created. The zero value of each field but Name works.
type NewRepo struct {
	Name   string
	SCM    storage.SCM   // git if empty
	Format object.Format // of its object ids; SHA-1 if zero. It stays what it is: git cannot change it either
	Public bool          // anybody may read it
}

// CreateRepo creates an empty repository, of which who becomes an admin.
func (s *Server) CreateRepo(ctx context.Context, who auth.Identity, r NewRepo, tell io.Writer) error {
	n := mintRepo(r.Name, cmp.Or(r.SCM, storage.Git), nil)
	n.public = r.Public
	if r.Format != 0 {
		n.init.Format = r.Format
	}
	_, err := s.push(ctx, who, push{repo: r.Name, create: n, tell: tell})
	return err
}

// edit adds the repository to the policy.
func (n *newRepo) edit(who auth.Identity) func(*auth.Edit) error {
	return func(e *auth.Edit) error {
		r := auth.Repo{Name: n.name, ID: n.id, SCM: string(n.init.SCM), Format: n.init.Format.String(), Public: n.public}
		if who != Local {
			r.Grants = map[string]auth.Op{who.Name: auth.Admin}
		}
		return e.CreateRepo(r)
	}
}

// RenameRepo gives a repository another name; clones of the old name have to be told.
func (s *Server) RenameRepo(ctx context.Context, who auth.Identity, from, to string, tell io.Writer) error {
	return s.changePolicy(ctx, policyEdit{who, s.isRepoAdmin(who, from), "Rename repository " + from + " to " + to, func(e *auth.Edit) error {
		return e.RenameRepo(from, to)
	}, tell})
}

// DeleteRepo takes a repository out of sight. Its data stays, here and on the mirrors: UndeleteRepo brings it back.
func (s *Server) DeleteRepo(ctx context.Context, who auth.Identity, name string, tell io.Writer) error {
	return s.changePolicy(ctx, policyEdit{who, s.isRepoAdmin(who, name), "Delete repository " + name, func(e *auth.Edit) error {
		return e.DeleteRepo(name)
	}, tell})
}

// UndeleteRepo brings back a deleted repository as it was: data, grants and name.
func (s *Server) UndeleteRepo(ctx context.Context, who auth.Identity, name string, tell io.Writer) error {
	if err := s.isHostAdmin(who)(); err != nil {
		return err
	}
	file := "repos/" + name + ".yaml"
	last, err := s.lastPolicyFiles(file)
	if err != nil {
		return err
	}
	return s.changePolicy(ctx, policyEdit{who, s.isHostAdmin(who), "Undelete repository " + name, func(e *auth.Edit) error {
		return e.UndeleteRepo(name, last[file], last["repos/"+name+".authz"])
	}, tell})
}

// lastPolicyFiles returns the files of holdfast-admin in the newest commit that has the named one.
func (s *Server) lastPolicyFiles(name string) (map[string][]byte, error) {
	st := s.policy.Load()
	admin, err := s.store.Repo(st.repo)
	if err != nil {
		return nil, err
	}
	for id := st.tip; !id.IsZero(); {
		files, err := treeFiles(admin.ReadObject, id)
		if err != nil {
			return nil, err
		}
		if files[name] != nil {
			return files, nil
		}
		_, data, err := admin.ReadObject(id)
		if err != nil {
			return nil, err
		}
		c, err := object.ParseCommit(admin.Format(), data)
		if err != nil {
			return nil, err
		}
		if id = (object.ID{}); len(c.Parents) > 0 {
			id = c.Parents[0]
		}
	}
	return nil, fmt.Errorf("no repository was ever called so: %w", auth.ErrNotFound)
}

// Grant gives a user, an @group or * (every user) read, write or admin rights on a repository; "none" takes them away.
func (s *Server) Grant(ctx context.Context, who auth.Identity, repo, to, level string, tell io.Writer) error {
	if level == "none" {
		return s.changePolicy(ctx, policyEdit{who, s.isRepoAdmin(who, repo), "Revoke the grant of " + to + " on " + repo, func(e *auth.Edit) error {
			return e.Revoke(repo, to)
		}, tell})
	}
	op, err := auth.ParseGrant(level)
	if err != nil {
		return err
	}
	return s.changePolicy(ctx, policyEdit{who, s.isRepoAdmin(who, repo), "Grant " + to + " " + level + " on " + repo, func(e *auth.Edit) error {
		return e.Grant(repo, to, op)
	}, tell})
}

// RepoInfo is what `repo list` and `repo show` say.
type RepoInfo struct {
	Name   string            `json:"name"`
	ID     string            `json:"id"`
	Kind   string            `json:"kind"`
	Format string            `json:"format"`
	Public bool              `json:"public"`
	Signed string            `json:"signed_push"` // required, optional or off
	Head   string            `json:"head"`
	Grants map[string]string `json:"grants,omitempty"`
	Last   storage.Seq       `json:"last_entry"` // 0 if nothing was pushed yet
	SSH    string            `json:"ssh,omitempty"`
	HTTP   string            `json:"http,omitempty"`
	Svn    string            `json:"svn,omitempty"` // svn://; SSH is svn+ssh:// for a Subversion repository

	// What follows is said of a single repository only.
	Storage  *storage.Stats `json:"storage,omitempty"`
	SvnIndex int64          `json:"svn_index_bytes,omitempty"` // what a Subversion repository's svn.db takes on the disk
}

// Repos returns the repositories that who may read, in the order of their names.
func (s *Server) Repos(who auth.Identity) ([]RepoInfo, error) {
	list := []RepoInfo{}
	for _, r := range s.policy.Load().policy.Repos() {
		if s.allow(who, r.Name, auth.Read) != nil {
			continue
		}
		info, err := s.repoInfo(r)
		if err != nil {
			return nil, err
		}
		list = append(list, info)
	}
	return list, nil
}

// Repo returns one repository that who may read, or auth.ErrNotFound.
func (s *Server) Repo(who auth.Identity, name string) (RepoInfo, error) {
	if err := s.allow(who, name, auth.Read); err != nil {
		return RepoInfo{}, err
	}
	r, ok := s.policy.Load().policy.Repo(name)
	if !ok {
		return RepoInfo{}, auth.ErrNotFound
	}
	info, err := s.repoInfo(r)
	if err != nil {
		return info, err
	}
	repo, err := s.store.Repo(storage.RepoID(r.ID))
	if err != nil {
		return info, err
	}
	stats, err := repo.Stats()
	info.Storage = &stats
	if err == nil && r.SCM == string(storage.Svn) {
		info.SvnIndex, err = svnfs.IndexBytes(repo)
	}
	return info, err
}

func (s *Server) repoInfo(r auth.Repo) (RepoInfo, error) {
	info := RepoInfo{Name: r.Name, ID: r.ID, Kind: r.SCM, Format: r.Format, Public: r.Public, Signed: string(r.Signed), Grants: map[string]string{}}
	for who, level := range r.Grants {
		info.Grants[who] = fmt.Sprint(level)
	}
	if r.SCM == string(storage.Svn) {
		info.SSH, info.Svn = s.svnURLs(r.Name)
	} else {
		info.SSH, info.HTTP = s.cloneURLs(r.Name)
	}
	repo, err := s.store.Repo(storage.RepoID(r.ID))
	if err != nil {
		return info, err
	}
	if info.Head, err = repo.Head(); err != nil {
		return info, err
	}
	info.Last, err = repo.LastEntry()
	return info, err
}

// Users returns the policy's users, for admins of the host; for others themselves.
func (s *Server) Users(who auth.Identity) []auth.User {
	all := s.policy.Load().policy.Users()
	if s.allow(who, auth.AdminRepo, auth.HostAdmin) == nil {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(u auth.User) bool { return u.Name != who.Name })
}

// Mirrors tells how each mirror stands, for admins of the host.
func (s *Server) Mirrors(who auth.Identity) ([]replication.MirrorStatus, error) {
	if err := s.allow(who, auth.AdminRepo, auth.HostAdmin); err != nil {
		return nil, err
	}
	return s.mirrors.Status(), nil
}

// LogEntry is a journal entry with its hash and its repository's name of today, empty if it is deleted.
type LogEntry struct {
	storage.Entry
	Hash     storage.Hash `json:"hash"`
	RepoName string       `json:"repo_name,omitempty"`
}

// Log calls fn with each entry after seq, in order, that who may see: those of repositories that they may read; all
// others and the host's own for admins of the host. It never shows a secret's value. It stops at fn's first error.
func (s *Server) Log(who auth.Identity, after storage.Seq, fn func(LogEntry) error) error {
	all := s.allow(who, auth.AdminRepo, auth.HostAdmin) == nil
	names := map[storage.RepoID]string{s.policy.Load().repo: auth.AdminRepo}
	for _, r := range s.policy.Load().policy.Repos() {
		names[storage.RepoID(r.ID)] = r.Name
	}
	for {
		page, err := s.store.Entries(after, 256)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, e := range page {
			after = e.Seq
			name := names[e.Repo]
			if !all && (name == "" || s.allow(who, name, auth.Read) != nil) {
				continue
			}
			shown := LogEntry{e, e.Hash(), name}
			if e.Kind == storage.KindSecret {
				shown.Data = nil
			}
			if err := fn(shown); err != nil {
				return err
			}
		}
	}
}

// Check proves the store beside the running server, for admins of the host; see storage.Store.Check.
func (s *Server) Check(ctx context.Context, who auth.Identity) (storage.CheckReport, error) {
	if err := s.allow(who, auth.AdminRepo, auth.HostAdmin); err != nil {
		return storage.CheckReport{}, err
	}
	report, err := s.store.Check(ctx, nil)
	if err == nil {
		err = svnfs.Check(ctx, s.store, s.svn.Open, &report)
	}
	return report, err
}
