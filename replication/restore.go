package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"holdfast/storage"
)

// Source is a mirror to read from.
type Source struct {
	Name   string
	Bucket Bucket
}

// RestoreOptions tune Restore. The zero value restores everything.
type RestoreOptions struct {
	At    time.Time   // stop before the first entry that is later; zero for none
	AtSeq storage.Seq // stop after this entry; 0 for none
	// AtMove stops after the entry that moves a ref the Count-th time: the revision of a Subversion repository, say. Nil for none.
	AtMove *RefMove
	Repos  []storage.RepoID // packs and refs of these and of the first repository (holdfast-admin) only; empty for all

	// Head is the hash of an entry of the branch to take where the journal has several. It must be found.
	Head storage.Hash
	// DryRun reads and checks everything but the content of packs, and writes nothing: no store is needed.
	DryRun bool

	// Progress, if set, is called after each segment, by one goroutine at a time.
	Progress func(RestoreProgress)
	// Log gets what would interest somebody who watches. Default: nothing.
	Log *slog.Logger

	Parallel    int           // segments that are fetched ahead; default 8
	TempDir     string        // where they lie meanwhile, encrypted; default os.TempDir()
	Attempts    int           // tries of each read; default 4
	Backoff     time.Duration // before the second try; doubles each time; default 200 ms
	MaxVersions int           // versions of a key that are looked at while another mirror has a valid one; default 100
}

// RefMove is the Count-th time that a ref of a repository is moved; its creation is the first.
type RefMove struct {
	Repo  storage.RepoID
	Ref   string
	Count int64
}

// RestoreProgress is how far a restore has come.
type RestoreProgress struct {
	Epoch    uint64
	Segment  uint64 // the number just done
	Segments uint64 // an estimate of the epoch's last number; 0 if unknown
	Seq      storage.Seq
	Entries  int64 // replayed so far
	Bytes    int64 // of packs
}

func (o RestoreOptions) withDefaults() RestoreOptions {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Parallel <= 0 {
		o.Parallel = 8
	}
	if o.Attempts <= 0 {
		o.Attempts = 4
	}
	if o.Backoff <= 0 {
		o.Backoff = 200 * time.Millisecond
	}
	if o.MaxVersions <= 0 {
		o.MaxVersions = 100
	}
	return o
}

// Restore replays the journal that the mirrors hold into a store, and leaves the store detached: it serves reads and
// ships nothing until Takeover. It is a push read from elsewhere: every entry goes through the same transaction, and
// must come out as the entry that was shipped, or it is not stored.
//
// What counts is proven by the kit's root key, through root records, signed segments and the chain of entries, never by
// a listing: junk, newer versions and delete markers on a mirror change nothing. A segment or pack that is missing or
// bad on one mirror is taken from another; the Report says so.
//
// The store must be empty or the result of an earlier Restore of the same instance, after whose last entry it goes on;
// a killed Restore is finished by calling it again. The Report is valid beside an error. An error that wraps
// ErrIncomplete means that everything before a gap was restored; one that wraps ErrUndecided that the operator has to
// choose among the Report's branches.
func Restore(ctx context.Context, from []Source, kit *Kit, to *storage.Store, o RestoreOptions) (Report, error) {
	r := newRestorer(from, kit, to, o.withDefaults())
	err := r.run(ctx)
	r.conclude()
	if err == nil && !r.report.Complete() {
		err = ErrIncomplete
	}
	if err != nil {
		err = fmt.Errorf("restore: %w", err)
	}
	return *r.report, err
}

// restorer is one call of Restore. Its methods belong to one goroutine, except those of restore_find.go.
type restorer struct {
	kit     *Kit
	to      *storage.Store // nil in a dry run
	o       RestoreOptions
	mirrors *mirrorSet
	report  *Report

	line        []epoch  // the terms that the root records tell of
	at          Position // of the last entry that is in the store
	from        uint64   // where a segment of at's log was parked first, if any still is, else 0: read on from there
	time        time.Time
	recent      map[storage.Seq]storage.Hash
	repos       map[storage.RepoID]storage.Hash // each repository's last entry
	admin       atomic.Pointer[storage.RepoID]  // the first repository of the journal; also read by the look ahead
	batch       batch
	config      []byte
	branches    []*branch // those that were not taken
	headSeen    bool      // Options.Head was met
	clockWarned bool
	done        bool        // the cut was reached
	moves       int64       // of AtMove's ref so far
	counted     storage.Seq // the last entry that was looked at for that
	total       uint64
}

// run restores everything, term by term.
func (r *restorer) run(ctx context.Context) error {
	if err := r.checkArguments(); err != nil {
		return err
	}
	if err := r.findRoots(ctx); err != nil {
		return err
	}
	if err := r.openTarget(); err != nil {
		return err
	}
	for _, e := range r.line {
		if e.number < r.at.Epoch {
			continue
		}
		if more, err := r.walk(ctx, e); err != nil || !more {
			return errors.Join(err, r.close())
		}
	}
	return r.close()
}

func newRestorer(from []Source, kit *Kit, to *storage.Store, o RestoreOptions) *restorer {
	r := &restorer{
		kit: kit, to: to, o: o,
		report: &Report{Instance: kit.Instance(), DryRun: o.DryRun, Partial: len(o.Repos) > 0},
		recent: make(map[storage.Seq]storage.Hash),
		repos:  make(map[storage.RepoID]storage.Hash),
	}
	if o.DryRun {
		r.to = nil
	}
	r.mirrors = newMirrorSet(from, kit, o)
	for _, w := range kit.Warnings() {
		r.report.warn("recovery kit: %s", w)
	}
	return r
}

func (r *restorer) checkArguments() error {
	if len(r.mirrors.all) == 0 {
		return errors.New("no mirror to restore from: give reader credentials for at least one")
	}
	if r.to == nil && !r.o.DryRun {
		return errors.New("no store to restore into")
	}
	seen := make(map[string]bool)
	for _, s := range r.mirrors.all {
		if seen[s.name] {
			return fmt.Errorf("mirror %s is given twice", s.name)
		}
		seen[s.name] = true
	}
	for _, id := range r.o.Repos {
		if !id.Valid() {
			return fmt.Errorf("%q is no repository id", id)
		}
	}
	return nil
}

// wants reports whether packs and refs of the repository are to be restored.
func (r *restorer) wants(id storage.RepoID) bool {
	return len(r.o.Repos) == 0 || id == r.adminRepo() || slices.Contains(r.o.Repos, id)
}

// adminRepo returns the journal's first repository, holdfast-admin; empty until it has come.
func (r *restorer) adminRepo() storage.RepoID {
	if id := r.admin.Load(); id != nil {
		return *id
	}
	return ""
}

// clockSlack is how far the host's clock and a provider's may differ without a word.
const clockSlack = 15 * time.Minute

// cut reports whether the entry is behind the point at which the restore is to stop, and says so in the report.
func (r *restorer) cut(e storage.Entry, c candidate) bool {
	switch {
	case r.o.AtSeq > 0 && e.Seq > r.o.AtSeq:
		r.report.Cut = fmt.Sprintf("stopped before #%d, as asked", e.Seq)
	case !r.o.At.IsZero() && e.Time.After(r.o.At):
		r.report.Cut = fmt.Sprintf("stopped before #%d of %s, the first one after %s", e.Seq, e.Time.Format(time.RFC3339), r.o.At.UTC().Format(time.RFC3339))
	case r.o.AtMove != nil && r.moves == r.o.AtMove.Count:
		r.report.Cut = fmt.Sprintf("stopped before #%d, since %s is where it should be", e.Seq, r.o.AtMove.Ref)
	default:
		r.countMove(e)
		return false
	}
	r.done = true
	if !r.o.At.IsZero() && c.modified.Before(r.o.At.Add(-clockSlack)) {
		r.report.warn("mirror %s received #%d by %s, although the host says that it is of %s: one of the clocks was wrong, look at what came before and after",
			c.src.name, e.Seq, c.modified.UTC().Format(time.RFC3339), e.Time.Format(time.RFC3339))
	}
	return true
}

// countMove counts the moves of AtMove's ref; an entry that comes again, from another mirror, counts once.
func (r *restorer) countMove(e storage.Entry) {
	m := r.o.AtMove
	if m == nil || e.Seq <= r.counted {
		return
	}
	r.counted = e.Seq
	if e.Repo == m.Repo && slices.ContainsFunc(e.Refs, func(u storage.RefUpdate) bool { return u.Name == m.Ref }) {
		r.moves++
	}
}

// countMoves counts in what the store has already.
func (r *restorer) countMoves() error {
	for r.o.AtMove != nil {
		page, err := r.to.Entries(r.counted, 0)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, e := range page {
			r.countMove(e)
		}
	}
	return nil
}

// checkClock warns, in a restore to a point in time, of an entry that says it is from before that point and was
// received after it.
func (r *restorer) checkClock(e storage.Entry, c candidate) {
	if r.o.At.IsZero() || r.clockWarned || !c.modified.After(r.o.At.Add(clockSlack)) {
		return
	}
	r.clockWarned = true
	r.report.warn("mirror %s received #%d only on %s, although the host says that it is of %s: it was held up, or made up later. So may be what follows it",
		c.src.name, e.Seq, c.modified.UTC().Format(time.RFC3339), e.Time.Format(time.RFC3339))
}

// conclude fills in what the report says at the end.
func (r *restorer) conclude() {
	rep := r.report
	rep.Moves = r.moves
	rep.Last, rep.Head, rep.Time = r.at.Last, r.at.Head, r.time
	rep.Epoch, rep.Segment = r.at.Epoch, r.at.Number
	rep.Mirrors = r.mirrors.reports()
	for _, m := range rep.Mirrors {
		if m.Err != "" {
			rep.warn("mirror %s could not be used (%s): it may hold more than the others", m.Name, m.Err)
		} else if m.Last < rep.Last && !r.done {
			rep.warn("mirror %s ends at #%d, others at #%d", m.Name, m.Last, rep.Last)
		}
		if m.Junk > 0 {
			rep.warn("mirror %s: %s that this instance did not write, or that hide one it did, were passed over", m.Name, count(m.Junk, "version", "versions"))
		}
	}
}
