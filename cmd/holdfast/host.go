package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"holdfast/replication"
	"holdfast/replication/s3"
	"holdfast/server"
	"holdfast/storage"
)

// configFact is the fact that holds the SHA-256 of the configuration file that the journal last recorded.
const configFact = "host.config"

// host is a data directory with everything wired: store, replicator, server.
type host struct {
	dir      string
	store    *storage.Store
	rep      *replication.Replicator // nil if the store is detached
	srv      *server.Server
	log      *slog.Logger
	detached bool

	cancel context.CancelFunc // ends the replicator and the maintenance; nil before start
	ended  chan struct{}      // closed when the replicator has ended
	err    error              // of the replicator; set before ended is closed
	tidy   sync.WaitGroup     // the store's maintenance
}

// openHost opens a host for one verb, with its mirrors but without listeners. close ends it.
func openHost(ctx context.Context, a *app, dir string) (*host, error) {
	cfg, err := a.loadConfig(dir)
	if err != nil {
		return nil, err
	}
	h, err := a.wire(ctx, dir, cfg, a.logger(slog.LevelWarn), nil)
	if err != nil {
		return nil, err
	}
	h.start()
	return h, nil
}

// wire opens a host's store and builds what stands on it. lns are its listeners, none for a single verb.
func (a *app) wire(ctx context.Context, dir string, cfg *config, log *slog.Logger, lns []listener) (h *host, err error) {
	st, err := openStore(dir, cfg, log)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.Close())
		}
	}()
	state, err := st.State()
	if err != nil {
		return nil, err
	}
	if head, _, err := st.Head(); err != nil {
		return nil, err
	} else if state.Instance == "" || head == 0 {
		return nil, notSetUp(dir)
	}
	h = &host{dir: dir, store: st, log: log, detached: state.Detached}
	var mirrors server.Mirrors = detachedMirrors{}
	if !state.Detached {
		if len(lns) > 0 { // a probe stores objects, which is not for a verb that may only read
			if err := a.probeUnknown(ctx, dir, cfg, st); err != nil {
				return nil, err
			}
		}
		if h.rep, err = a.replicator(dir, cfg, st, log); err != nil {
			return nil, err
		}
		st.Foretell(h.rep.Foretell)
		mirrors = h.rep
	}
	h.srv, err = server.New(st, mirrors, server.Config{
		Name: cfg.Name, SSHAddr: addr(lns, "ssh"), HTTPAddr: addr(lns, "http"), SvnAddr: addr(lns, "svn"), Warn: cfg.Replication.OnTimeout == "warn",
		Commands:   overSSH(func() *server.Server { return h.srv }),
		MaxFetches: int(cfg.Limits.Fetches), MaxPushes: int(cfg.Limits.Pushes), MaxTxnRefs: int(cfg.Limits.RefsPerPush),
		MaxRefName: int(cfg.Limits.RefNameBytes), MaxPushOptions: int(cfg.Limits.PushOptions), MaxPackBytes: cfg.Limits.PackBytes,
		MaxObjectBytes: cfg.Limits.ObjectBytes, MaxPushOptionBytes: int(cfg.Limits.OptionBytes), MaxCertBytes: int(cfg.Limits.CertBytes),
		MaxCertAge:  cfg.Limits.CertAge,
		IdleTimeout: cfg.Limits.IdleTimeout, DrainTime: cfg.Limits.DrainTime, Log: log,
	})
	return h, err
}

func openStore(dir string, cfg *config, log *slog.Logger) (*storage.Store, error) {
	l := cfg.Limits
	return storage.Open(dir, storage.Options{
		MaxPackBytes: l.PackBytes, MaxObjects: l.Objects, MaxObjectBytes: l.ObjectBytes, MaxInflatedBytes: l.InflatedBytes,
		MaxUpdates: int(l.RefsPerPush), Log: log,
	})
}

// replicator wires the mirrors to a store. dir is the configuration's directory.
func (a *app) replicator(dir string, cfg *config, st *storage.Store, log *slog.Logger) (*replication.Replicator, error) {
	w, err := replication.LoadWriter(st)
	if err != nil {
		return nil, err
	}
	mirrors, err := a.mirrors(dir, cfg)
	if err != nil {
		return nil, err
	}
	return replication.New(st, mirrors, replication.Options{
		Dir: filepath.Join(dir, "spool"), Root: w.Root, RootKey: w.RootKey, Signer: w.Signer,
		Acks: cfg.Replication.Acks, AckTimeout: cfg.Replication.AckTimeout, SpoolBytes: cfg.Replication.SpoolBytes,
		LockAge: cfg.lockAge(), Log: log,
	})
}

// lockAge is the shortest lock that the configuration asks for; 0 if a mirror leaves it to its bucket.
func (c *config) lockAge() time.Duration {
	shortest := 0
	for _, m := range c.Mirrors {
		if m.LockDays == 0 {
			return 0
		}
		if shortest == 0 || m.LockDays < shortest {
			shortest = m.LockDays
		}
	}
	return time.Duration(shortest) * 24 * time.Hour
}

// mirrors opens the configured mirrors with the host's credentials.
func (a *app) mirrors(dir string, cfg *config) ([]*replication.Mirror, error) {
	known, err := loadProbes(dir)
	if err != nil {
		return nil, err
	}
	var all []*replication.Mirror
	for _, m := range cfg.Mirrors {
		found := known.of(m)
		bucket, err := a.writer(dir, m, found)
		if err != nil {
			return nil, err
		}
		all = append(all, replication.NewMirror(m.Name, bucket, replication.MirrorOptions{
			Conditional: found.Conditions.Put, Idempotent: found.Idempotent,
		}))
	}
	return all, nil
}

// recordConfig puts the configuration into the journal if it changed since it was last recorded there, so that a restore
// brings it back.
func (h *host) recordConfig(file string) error {
	if h.detached {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return recordConfig(h.store, data, time.Now())
}

func recordConfig(st *storage.Store, data []byte, now time.Time) error {
	sum := sha256.Sum256(data)
	last, err := st.Fact(configFact)
	if err != nil || string(last) == string(sum[:]) {
		return err
	}
	txn, err := st.BeginHost(storage.Meta{Actor: server.Local.Name, Time: now}, storage.KindConfig, data)
	if err != nil {
		return err
	}
	defer txn.Discard()
	if _, err := st.Commit(txn); err != nil {
		return err
	}
	return st.SetFact(configFact, sum[:])
}

// start lets the replicator, and the store's maintenance behind it, run until close.
func (h *host) start() {
	h.ended = make(chan struct{})
	var ctx context.Context
	ctx, h.cancel = context.WithCancel(context.Background())
	if h.rep == nil {
		h.tidy.Go(func() { h.store.Maintain(ctx, nil) })
		close(h.ended)
		return
	}
	h.tidy.Go(func() { h.store.Maintain(ctx, h.rep.Settled) })
	go func() {
		defer close(h.ended)
		h.err = h.rep.Run(ctx)
	}()
}

// failed waits for ctx, or for the replicator to end before it was asked to.
func (h *host) failed(ctx context.Context) error {
	if h.rep == nil {
		<-ctx.Done()
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case <-h.ended:
		return errors.Join(errors.New("replication ended"), h.err)
	}
}

// close ends the replicator, which saves how far the mirrors are, and closes the store.
func (h *host) close() error {
	if h.cancel != nil {
		h.cancel()
		<-h.ended
		h.tidy.Wait()
	}
	return errors.Join(h.err, h.srv.Close(), h.store.Close())
}

// detachedMirrors stands for the mirrors of a restored host that no takeover has made the writer: it never ships.
type detachedMirrors struct{}

var errDetached = errors.New("this host was restored and is detached: it ships nothing before \"holdfast takeover\"")

func (detachedMirrors) Ready() error { return errDetached }
func (detachedMirrors) Notify()      {}
func (detachedMirrors) Wait(context.Context, storage.Seq) (replication.Receipt, error) {
	return replication.Receipt{}, errDetached
}
func (detachedMirrors) NewBigPack(context.Context) *replication.BigPack {
	return &replication.BigPack{}
}
func (detachedMirrors) Status() []replication.MirrorStatus { return nil }

// writerConfig is a mirror's bucket with the host's put-only credential. dir is the configuration's directory.
func (a *app) writerConfig(dir string, m mirrorConfig) (c s3.Config, err error) {
	c = s3.Config{Endpoint: m.Endpoint, Region: m.Region, Bucket: m.Bucket}
	if c.AccessKey, err = a.secret(dir, m.AccessKey); err != nil {
		return c, fmt.Errorf("mirror %s: access key: %w", m.Name, err)
	}
	if c.SecretKey, err = a.secret(dir, m.SecretKey); err != nil {
		return c, fmt.Errorf("mirror %s: secret key: %w", m.Name, err)
	}
	return c, nil
}

// writer opens a mirror's bucket with the host's credential, to be used as its probe says.
func (a *app) writer(dir string, m mirrorConfig, found probed) (*s3.Bucket, error) {
	c, err := a.writerConfig(dir, m)
	if err != nil {
		return nil, err
	}
	c.Conditions, c.Checksum = found.Conditions, found.Checksum
	bucket, err := s3.New(c)
	if err != nil {
		return nil, fmt.Errorf("mirror %s: %w", m.Name, err)
	}
	return bucket, nil
}

// readerConfig is a mirror's bucket with a credential that reads.
func readerConfig(m replication.KitMirror, c replication.Credential) s3.Config {
	return s3.Config{Endpoint: m.Endpoint, Region: m.Region, Bucket: m.Bucket, AccessKey: c.AccessKey, SecretKey: c.SecretKey}
}

// envReader takes a mirror's reader credential from the environment; its fields are empty where that has none.
func (a *app) envReader(mirror string) replication.Credential {
	key, secret := replication.ReaderEnv(mirror)
	return replication.Credential{AccessKey: a.Getenv(key), SecretKey: a.Getenv(secret)}
}
