package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"holdfast/auth"
	"holdfast/replication"
	"holdfast/server/gitproto"
	"holdfast/storage"
	"holdfast/storage/object"
	"holdfast/storage/svnfs"
)

// push is what a client wants to change, whatever protocol brought it; the fields on refs and certificates are git's.
type push struct {
	repo    string
	updates []storage.RefUpdate
	atomic  bool      // all updates or none
	pack    io.Reader // nil where nothing new is needed; not read past the pack's end
	options []string
	cert    *gitproto.Certificate // nil if it is not signed; else its updates are these
	begun   time.Time             // when the certificate came in
	// received is called when the pack's last byte was read, or no more of it will be; nil where nobody waits for that.
	received func()
	// tell gets lines for the person who waits; safe for concurrent use. io.Discard where nobody listens.
	tell io.Writer
	// progress hears how far the checks are; nil where nobody listens.
	progress func(stage string, done, total int64)
	// create is the new repository of a create-on-push; holdfast-admin changes in the same write.
	create *newRepo

	rejected map[string]error // by ref: those that were taken out, of a push that is not atomic
}

// empty reports whether every update was rejected.
func (p push) empty() bool { return len(p.updates) == 0 && len(p.rejected) > 0 }

// outcome is what became of a push.
type outcome struct {
	rejected map[string]error // by ref: those that were not updated, of a push that is not atomic
	receipt  replication.Receipt
}

// notAcked is the answer to a push that is stored here and not yet on enough mirrors.
const notAcked = "stored on the host, not yet on enough mirrors; it keeps trying"

// push is the order of a git push. An error means that nothing was changed, unless it wraps replication.ErrNotAcked: then
// the refs have moved here and the mirrors have yet to follow.
func (s *Server) push(ctx context.Context, who auth.Identity, p push) (outcome, error) {
	p.rejected = map[string]error{}
	out := outcome{rejected: p.rejected}
	repo, err := s.pushTarget(who, &p)
	if err != nil {
		return out, err
	}
	signer, err := s.signer(who, &p)
	if err != nil {
		return out, err
	}
	if err := s.spendNonce(p); err != nil {
		return out, err
	}
	entries, err := s.change(ctx, who, repo, s.meta(who, p), &p, func(txn *storage.Txn) error {
		err := readPack(ctx, txn, p)
		if err == nil {
			_, err = s.signer(who, &p)
		}
		for _, u := range p.updates {
			txn.Update(u)
		}
		return err
	})
	if err != nil || p.empty() {
		return out, err
	}
	if signer != "" {
		fmt.Fprintf(p.tell, "holdfast: signed by %s with %s\n", who.Name, signer)
	}
	out.receipt, err = s.wait(ctx, entries[len(entries)-1], p.tell)
	return out, err
}

// change makes one change of a repository, whatever system it is of, and does not wait for mirrors. fill puts packs, ref updates
// and data into the transaction; what may take time is done there, so the policy is asked again behind it.
func (s *Server) change(ctx context.Context, who auth.Identity, repo *storage.Repo, m storage.Meta, p *push,
	fill func(*storage.Txn) error,
) (entries []storage.Entry, err error) {
	release, err := take(ctx, s.pushes)
	if err != nil {
		return nil, err
	}
	defer release()
	txn, err := p.begin(repo, m)
	if err != nil {
		return nil, err
	}
	defer txn.Discard()
	big := s.mirrors.NewBigPack(ctx)
	defer big.Abort()
	txn.Tee, txn.Progress = big, p.progress
	if err := fill(txn); err != nil {
		return nil, err
	}
	if now, err := s.pushTarget(who, p); err != nil {
		return nil, err
	} else if now.ID() != repo.ID() {
		return nil, auth.ErrNotFound // the name has gone to another one
	}
	if err := retryWithout(txn, p, txn.Prepare); err != nil || p.empty() {
		return nil, err
	}
	if err := completeBig(ctx, txn, big); err != nil {
		return nil, err
	}
	err = retryWithout(txn, p, func() (err error) {
		entries, err = s.commit(who, txn, *p)
		return err
	})
	if err == nil && len(entries) > 0 {
		s.log(who, *p, entries[len(entries)-1])
	}
	return entries, err
}

// begin begins the transaction. That of a new Subversion repository has its revision 0.
func (p *push) begin(repo *storage.Repo, m storage.Meta) (*storage.Txn, error) {
	if p.create != nil && p.create.init.SCM == storage.Svn {
		return svnfs.PrepareCreate(repo, m, svnfs.NewUUID())
	}
	return repo.Begin(m)
}

// pushTarget says whether who may push to p's repository now, and opens it.
func (s *Server) pushTarget(who auth.Identity, p *push) (*storage.Repo, error) {
	if err := s.writable(); err != nil {
		return nil, err
	}
	if p.create != nil {
		if err := s.allow(who, p.repo, auth.Create); err != nil {
			return nil, err
		}
		return p.create.open(s.store)
	}
	return s.repo(who, p.repo, auth.Write)
}

// writable returns an error while nothing can be pushed, whoever asks.
func (s *Server) writable() error {
	st, err := s.store.State()
	if err != nil {
		return err
	}
	if st.Detached {
		return errDetached
	}
	return s.mirrors.Ready()
}

var errDetached = errors.New("this host was restored and is detached: it serves reads and takes no pushes until " +
	"an operator runs `holdfast takeover`")

// readPack fills the transaction's quarantine; a big pack goes to the mirrors as it comes in.
func readPack(ctx context.Context, txn *storage.Txn, p push) error {
	if p.pack == nil {
		return nil
	}
	err := txn.ReadPack(ctx, p.pack)
	if p.received != nil {
		p.received()
	}
	return err
}

func completeBig(ctx context.Context, txn *storage.Txn, big *replication.BigPack) error {
	external, err := big.Complete(ctx)
	if err != nil || external == nil {
		return err
	}
	for _, info := range txn.Packs() {
		txn.SetExternal(info.ID, external)
	}
	return nil
}

// retryWithout runs step, and again without the refs that it rejects, until it succeeds or nothing is left of the push.
// The rejection of one ref rejects an atomic push whole.
func retryWithout(txn *storage.Txn, p *push, step func() error) error {
	for {
		err := step()
		var refs storage.RefErrors
		if err == nil || p.atomic || !errors.As(err, &refs) {
			return err
		}
		var names []string
		for _, e := range refs {
			p.rejected[e.Ref] = e.Err
			names = append(names, e.Ref)
		}
		txn.Drop(names...)
		kept := p.updates[:0]
		for _, u := range p.updates {
			if p.rejected[u.Name] == nil {
				kept = append(kept, u)
			}
		}
		if p.updates = kept; len(kept) == 0 {
			return nil
		}
	}
}

// commit makes the push stand. A change of policy is checked and put in force under policyMu.
func (s *Server) commit(who auth.Identity, txn *storage.Txn, p push) ([]storage.Entry, error) {
	if p.create == nil && p.repo != auth.AdminRepo {
		return s.committed(s.store.Commit(txn))
	}
	s.policyMu.Lock()
	defer s.policyMu.Unlock()
	if _, err := s.pushTarget(who, &p); err != nil {
		return nil, err
	}
	if p.create == nil {
		next, err := s.checkPolicy(txn, p.updates)
		if err != nil {
			return nil, err
		}
		return s.commitNext(who, next, txn)
	}
	admin, _, err := s.policyTxn(who, p.create.edit(who), p.create.message(), p.create.id)
	if err != nil {
		return nil, err
	}
	defer admin.Discard()
	return s.policyCommitted(s.store.Commit(admin, txn))
}

func (s *Server) committed(entries []storage.Entry, err error) ([]storage.Entry, error) {
	if err == nil {
		s.mirrors.Notify()
	}
	return entries, err
}

func (s *Server) policyCommitted(entries []storage.Entry, err error) ([]storage.Entry, error) {
	if _, err := s.committed(entries, err); err != nil {
		return nil, err
	}
	// The new policy was read before it was committed, so this fails only if the disk does; the old one then stays.
	return entries, s.reloadPolicy()
}

// wait returns once enough mirrors hold the entry, and tells the client which.
func (s *Server) wait(ctx context.Context, e storage.Entry, tell io.Writer) (replication.Receipt, error) {
	receipt, err := s.mirrors.Wait(ctx, e.Seq)
	if err == nil {
		fmt.Fprintf(tell, "holdfast: %s\n", receipt)
		return receipt, nil
	}
	fmt.Fprintf(tell, "holdfast: %v\n", err)
	if s.c.Warn && errors.Is(err, replication.ErrNotAcked) {
		fmt.Fprintf(tell, "holdfast: warning: %s\n", notAcked)
		return receipt, nil
	}
	return receipt, err
}

// settled waits until enough mirrors hold the repository's last entry. Without it, the retry of a push that lacked acks
// would look accepted: its ref has moved.
func (s *Server) settled(ctx context.Context, repo *storage.Repo) error {
	seq, err := repo.LastEntry()
	if err != nil || seq == 0 || s.c.Warn {
		return err
	}
	_, err = s.mirrors.Wait(ctx, seq)
	return err
}

func (s *Server) meta(who auth.Identity, p push) storage.Meta {
	m := storage.Meta{Actor: who.Name, Key: who.Key, Time: s.c.Now(), Nonce: storage.NewNonce(), Options: p.options}
	if p.cert != nil {
		m.Cert = p.cert.Raw
	}
	return m
}

func (s *Server) log(who auth.Identity, p push, e storage.Entry) {
	s.c.Log.Info("push", slog.Uint64("seq", uint64(e.Seq)), "repo", p.repo, "actor", who.Name, "refs", len(e.Refs))
}

// policyTxn prepares a transaction that applies edit to the policy in force, and returns the policy that comes of it. Call it with policyMu held, and keep it
// until the transaction is committed.
func (s *Server) policyTxn(who auth.Identity, edit func(*auth.Edit) error, message string, minted ...string,
) (*storage.Txn, *auth.Policy, error) {
	st := s.policy.Load()
	admin, err := s.store.Repo(st.repo)
	if err != nil {
		return nil, nil, err
	}
	files, err := s.policyFiles()
	if err != nil {
		return nil, nil, err
	}
	changed := st.policy.Edit()
	if err := edit(changed); err != nil {
		return nil, nil, err
	}
	for name, data := range changed.Changes() {
		if files[name] = data; data == nil {
			delete(files, name)
		}
	}
	info := commitInfo{parent: st.tip, author: who.Name, host: s.c.Name, time: s.c.Now(), message: message}
	txn, update, err := commitFiles(admin, s.meta(who, push{}), files, info)
	if err != nil {
		return nil, nil, err
	}
	next, err := s.checkPolicy(txn, []storage.RefUpdate{update}, minted...)
	if err != nil {
		txn.Discard()
		return nil, nil, err
	}
	return txn, next, nil
}

// commitFiles prepares a transaction that puts a commit with these files on the policy's branch.
func commitFiles(admin *storage.Repo, m storage.Meta, files map[string][]byte, c commitInfo) (*storage.Txn, storage.RefUpdate, error) {
	id, packed, err := packCommit(admin.Format(), files, c)
	update := storage.RefUpdate{Name: policyRef, Old: c.parent, New: id}
	if err != nil {
		return nil, update, err
	}
	txn, err := admin.Begin(m)
	if err != nil {
		return nil, update, err
	}
	txn.Update(update)
	if err := errors.Join(txn.ReadPack(context.Background(), bytes.NewReader(packed)), txn.Prepare()); err != nil {
		txn.Discard()
		return nil, update, err
	}
	return txn, update, nil
}

// newRepo is a repository to be created with its first push or by an admin verb.
type newRepo struct {
	name   string
	id     string
	init   storage.RepoInit
	public bool
}

func mintRepo(name string, scm storage.SCM, updates []storage.RefUpdate) *newRepo {
	head := headFor(updates)
	if scm == storage.Svn {
		head = "refs/heads/trunk" // of what git clients are shown
	}
	return &newRepo{
		name: name, id: string(storage.NewRepoID()),
		init: storage.RepoInit{SCM: scm, Format: object.SHA1, Head: head},
	}
}

// headFor picks the branch that HEAD of a new repository points at: main, else master, else the first one pushed.
func headFor(updates []storage.RefUpdate) string {
	head := ""
	for _, u := range updates {
		switch {
		case u.Name == "refs/heads/main":
			return u.Name
		case u.Name == "refs/heads/master", head == "" && strings.HasPrefix(u.Name, "refs/heads/"):
			head = u.Name
		}
	}
	if head == "" {
		head = "refs/heads/main"
	}
	return head
}

func (n *newRepo) open(st *storage.Store) (*storage.Repo, error) {
	return st.Create(storage.RepoID(n.id), n.init)
}

func (n *newRepo) message() string { return "Create repository " + n.name }
