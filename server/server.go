package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"holdfast/auth"
	"holdfast/replication"
	"holdfast/storage"
	"holdfast/storage/svnfs"
)

// Local is the identity of whoever runs the command line on the host itself: it may do everything. No user can have
// this name.
var Local = auth.Identity{Name: "(local)"}

// Mirrors is what a push needs of replication; *replication.Replicator fits.
type Mirrors interface {
	// Ready returns an error while too few mirrors are reachable for a push to be acknowledged.
	Ready() error
	// Notify tells that entries were committed.
	Notify()
	// Wait returns once enough mirrors hold the entry, or an error that wraps replication.ErrNotAcked.
	Wait(ctx context.Context, seq storage.Seq) (replication.Receipt, error)
	// NewBigPack takes a pack's bytes as they are received; small ones it only counts.
	NewBigPack(ctx context.Context) *replication.BigPack
	// Status tells how each mirror stands.
	Status() []replication.MirrorStatus
}

// Config is what a Server is told. Its zero value works, but for Commands.
type Config struct {
	Name     string // the host's name in clone URLs and in the committer of policy changes; "localhost" if empty
	SSHAddr  string // where SSH listens, for clone URLs; "" if it does not
	HTTPAddr string // where HTTP listens, for clone URLs; "" if it does not
	SvnAddr  string // where svn:// listens, for URLs; "" if it does not

	// Warn makes a push that lacks acks succeed with a warning (on_timeout: warn) instead of failing.
	Warn bool
	// Commands runs an admin verb that came over SSH and returns its exit status.
	Commands func(ctx context.Context, who auth.Identity, args []string, stdin io.Reader, stdout, stderr io.Writer) int

	MaxFetches  int           // packs computed at once; 16 if zero. More wait
	MaxPushes   int           // packs received at once; 16 if zero. More wait
	KeepAlive   time.Duration // how often a waiting client hears from us; 5 s if zero
	IdleTimeout time.Duration // a session without a byte in either direction ends; 10 min if zero
	DrainTime   time.Duration // how long running sessions may go on after a shutdown began; 30 s if zero
	MaxTxnRefs  int           // refs in one push; 100,000 if zero

	// What one push may bring; see gitproto.Options for the defaults.
	MaxRefName, MaxPushOptions, MaxPushOptionBytes, MaxCertBytes int
	// MaxPackBytes is storage.Options.MaxPackBytes: over HTTP, a request's body may be that much and its packet lines;
	// 16 GiB if zero.
	MaxPackBytes int64
	// MaxObjectBytes is storage.Options.MaxObjectBytes: a text of a Subversion commit is refused beyond it, before all of it is on
	// disk; 4 GiB if zero.
	MaxObjectBytes int64
	// MaxCertAge is how old the nonce in a push certificate may be: over HTTP, the time between a client's two requests,
	// in which the user is asked for a passphrase; 15 min if zero.
	MaxCertAge time.Duration

	Log *slog.Logger     // slog.Default() if nil
	Now func() time.Time // time.Now if nil
}

func (c Config) withDefaults() Config {
	set := func(n *int, def int) {
		if *n == 0 {
			*n = def
		}
	}
	setTime := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	set(&c.MaxFetches, 16)
	set(&c.MaxPushes, 16)
	set(&c.MaxTxnRefs, 100_000)
	setTime(&c.KeepAlive, 5*time.Second)
	setTime(&c.IdleTimeout, 10*time.Minute)
	setTime(&c.DrainTime, 30*time.Second)
	setTime(&c.MaxCertAge, 15*time.Minute)
	if c.MaxPackBytes == 0 {
		c.MaxPackBytes = 16 << 30
	}
	if c.Name == "" {
		c.Name = "localhost"
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Server serves one store. All methods are safe for concurrent use.
type Server struct {
	store   *storage.Store
	mirrors Mirrors
	c       Config

	nonces  *nonces       // of push certificates
	fetches chan struct{} // a place in it is a pack being computed
	pushes  chan struct{} // a place in it is a pack being received

	svn     *svnfs.Registry // the Subversion repositories in use
	imports sync.Map        // the names that are being imported into

	policyMu sync.Mutex // held from reading holdfast-admin's tip to the commit of its next
	policy   atomic.Pointer[policyState]
}

// New returns a server on st, which Bootstrap or a restore has filled. It fails if the policy there cannot be read.
func New(st *storage.Store, mirrors Mirrors, c Config) (*Server, error) {
	c = c.withDefaults()
	s := &Server{
		store: st, mirrors: mirrors, c: c,
		nonces:  newNonces(c.MaxCertAge),
		fetches: make(chan struct{}, c.MaxFetches),
		pushes:  make(chan struct{}, c.MaxPushes),
		svn:     svnfs.NewRegistry(0),
	}
	if err := s.reloadPolicy(); err != nil {
		return nil, err
	}
	return s, nil
}

// Close closes what the server has opened in the store, once nobody is served any more. The store stays open.
func (s *Server) Close() error { return s.svn.Close() }

// HostKey returns the host's SSH key, which is a secret of the journal.
func (s *Server) HostKey() (ssh.Signer, error) {
	pem, err := s.store.Secret(hostKeySecret)
	if err != nil {
		return nil, fmt.Errorf("read the SSH host key from the journal: %w", err)
	}
	return ssh.ParsePrivateKey(pem)
}

// take waits for a place in the queue and returns what gives it back.
func take(ctx context.Context, queue chan struct{}) (func(), error) {
	select {
	case queue <- struct{}{}:
		return func() { <-queue }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// allow decides for who, with the policy of this moment: a key or token that was taken away since the session began
// counts no more.
func (s *Server) allow(who auth.Identity, repo string, op auth.Op) error {
	if who == Local {
		return nil
	}
	return s.policy.Load().policy.Allow(s.vouched(who), repo, op)
}

// repo finds a repository by name, for who. A repository that who may not read does not exist.
func (s *Server) repo(who auth.Identity, name string, op auth.Op) (*storage.Repo, error) {
	if err := s.allow(who, name, op); err != nil {
		return nil, err
	}
	if name == auth.AdminRepo {
		return s.store.Repo(s.policy.Load().repo)
	}
	r, ok := s.policy.Load().policy.Repo(name)
	if !ok {
		return nil, auth.ErrNotFound
	}
	return s.store.Repo(storage.RepoID(r.ID))
}

// isNotFound reports whether err says that a repository does not exist, or must not be known to.
func isNotFound(err error) bool {
	return errors.Is(err, auth.ErrNotFound) || errors.Is(err, storage.ErrNotFound)
}
