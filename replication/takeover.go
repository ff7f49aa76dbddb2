package replication

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/mod/sumdb/note"

	"holdfast/storage"
)

// takeoverFact is the plan of a takeover under way, a takeoverPlan.
const takeoverFact = "replication.takeover"

// ErrOvertaken: the mirrors hold more than the store that is to take over, or another takeover came first.
var ErrOvertaken = errors.New("the mirrors have moved on since this directory was restored")

// Target is a mirror to write to, with a credential that the old host does not have.
type Target struct {
	Name        string
	Bucket      Bucket
	Conditional bool // it enforces If-None-Match, as a probe found
}

// TakeoverOptions tune Takeover. The zero value works.
type TakeoverOptions struct {
	Mirrors []KitMirror // where the mirrors are from now on; default: as the kit says
	Acks    int         // mirrors that must take the new root record; default 2, or all targets if they are fewer
	Now     func() time.Time

	// Progress, if set, is called after each segment that was compared, by one goroutine.
	Progress func(CopyProgress)
	Log      *slog.Logger

	Parallel int           // segments looked up at once; default 8
	TempDir  string        // for objects on their way; default os.TempDir()
	Attempts int           // tries of each call; default 4
	Backoff  time.Duration // before the second try; doubles each time; default 200 ms
}

// takeoverPlan is what a takeover decided before it wrote anything. A second run finishes it.
type takeoverPlan struct {
	Root   []byte  `json:"root"` // the signed record
	Ref    RootRef `json:"ref"`
	Secret string  `json:"secret"` // the new journal key
}

// Takeover makes a restored store the writer of its instance again, in a new epoch. It copies to each target what that
// mirror lacks, byte for byte from the others; writes a root record, signed by the kit's key, that says where the old
// epoch ends and names a new journal key, whose secret stays in the store; closes the next numbers of the old epoch, so
// that the old host gets no more acks where conditions are enforced; and notes the new root record in the kit.
//
// readers are the same mirrors with credentials that may read; a target without a reader is neither compared nor
// copied to. Everything is planned and recorded before it is written: when stopped at any point, call it again. The
// report is valid beside an error.
func Takeover(ctx context.Context, kit *Kit, s *storage.Store, writers []Target, readers []Source, o TakeoverOptions) (TakeoverReport, error) {
	t := newTakeover(kit, s, writers, readers, o)
	err := t.run(ctx)
	if err != nil {
		err = fmt.Errorf("takeover: %w", err)
	}
	return t.conclude(), err
}

// takeover is one call of Takeover.
type takeover struct {
	kit     *Kit
	store   *storage.Store
	o       TakeoverOptions
	r       *restorer // reads root records and judges segments
	copier  *copier
	targets []*target
	rep     TakeoverReport

	running bool // the store is the new epoch's writer already; only what lies elsewhere is left to finish
	from    *restored
	plan    takeoverPlan
	root    Root
	old     epoch // the one that ends
}

func newTakeover(kit *Kit, s *storage.Store, writers []Target, readers []Source, o TakeoverOptions) *takeover {
	ro := RestoreOptions{Log: o.Log, Parallel: o.Parallel, TempDir: o.TempDir, Attempts: o.Attempts, Backoff: o.Backoff}.withDefaults()
	if o.Acks <= 0 {
		o.Acks = min(2, len(writers))
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if len(o.Mirrors) == 0 {
		o.Mirrors = kit.Mirrors()
	}
	t := &takeover{kit: kit, store: s, o: o, r: newRestorer(readers, kit, s, ro), rep: TakeoverReport{Instance: kit.Instance()}}
	t.targets = newTargets(writers, t.r.mirrors)
	t.copier = &copier{ms: t.r.mirrors, targets: t.targets, counts: t.inJournal, progress: o.Progress}
	return t
}

func (t *takeover) run(ctx context.Context) error {
	if err := t.check(ctx); err != nil {
		return err
	}
	if err := t.copyAll(ctx); err != nil {
		return err
	}
	// Copying may have taken hours, in which the old host had its acks.
	if err := t.checkBehind(ctx); err != nil {
		return err
	}
	if err := t.makePlan(); err != nil {
		return err
	}
	if err := t.putRoot(ctx); err != nil {
		return err
	}
	if err := t.closeOld(ctx); err != nil {
		return err
	}
	if err := t.kit.SetKnownRoot(t.plan.Ref.Version, t.plan.Ref.Sum, t.o.Mirrors); err != nil {
		return fmt.Errorf("the mirrors have root version %d, the kit could not be updated; make it writable and run takeover again: %w", t.plan.Ref.Version, err)
	}
	return t.start()
}

// check makes sure that the store may take over, and reads what was decided before.
func (t *takeover) check(ctx context.Context) error {
	if len(t.targets) == 0 {
		return errors.New("no mirror to write to: give new writer credentials")
	}
	if err := t.r.checkArguments(); err != nil {
		return err
	}
	if err := t.checkStore(); err != nil {
		return err
	}
	found, err := t.r.mirrors.findRoots(ctx)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return t.r.noRoot()
	}
	top, err := t.r.topRoot(found)
	if err != nil {
		return err
	}
	if err := t.checkRoots(found, top); err != nil {
		return err
	}
	t.copier.roots = rootObjects(found)
	return t.checkBehind(ctx)
}

// checkStore refuses stores that are no whole restored copy of the kit's instance.
func (t *takeover) checkStore() error {
	state, err := t.store.State()
	if err != nil {
		return err
	}
	if state.Instance != t.kit.Instance() {
		return fmt.Errorf("%w: the store holds instance %q, this kit is of %s", ErrNotRestorable, state.Instance, t.kit.Instance())
	}
	if err := t.loadPlan(); err != nil {
		return err
	}
	if !state.Detached {
		if t.plan.Ref.Version == 0 || t.root.Epoch != state.Epoch {
			return errors.New("this is a host's own directory. Restore into a new one and take over with that")
		}
		t.running = true
		return nil
	}
	if t.from, err = loadRestored(t.store); err != nil {
		return err
	}
	switch seq, head, err := t.store.Head(); {
	case err != nil:
		return err
	case t.from == nil:
		return fmt.Errorf("%w: it does not say how it was restored", ErrNotRestorable)
	case len(t.from.Repos) > 0:
		return errors.New("this directory holds chosen repositories only. Restore everything into a new one and take over with that")
	case t.from.Position.Last != seq || t.from.Position.Head != head:
		return errors.New("the restore was not finished: run holdfast restore again, it goes on")
	}
	return nil
}

func (t *takeover) loadPlan() error {
	raw, err := t.store.Fact(takeoverFact)
	if err != nil || raw == nil {
		return err
	}
	if err := json.Unmarshal(raw, &t.plan); err != nil {
		return fmt.Errorf("fact %s: %w", takeoverFact, err)
	}
	var ref RootRef
	if t.root, ref, err = OpenRoot(t.plan.Root, t.kit.RootVerifier()); err == nil && ref != t.plan.Ref {
		err = errors.New("it is not the record that was planned")
	}
	if err != nil {
		return fmt.Errorf("fact %s: %w", takeoverFact, err)
	}
	return nil
}

// checkRoots compares the root records with those of the restore: nobody else may have taken over since.
func (t *takeover) checkRoots(found map[RootRef]*rootFound, top *rootFound) error {
	for ref, f := range found {
		t.r.mirrors.roots[ref] = f.root
	}
	if t.plan.Ref.Version > 0 {
		if top.root.Version > t.plan.Ref.Version || top.root.Version == t.plan.Ref.Version && top.ref != t.plan.Ref {
			return fmt.Errorf("%w: root version %d was written by another takeover. Restore into a new directory", ErrOvertaken, top.root.Version)
		}
		before := t.root.Prev
		old, ok := found[RootRef{Version: t.root.Version - 1, Sum: before}]
		if !ok {
			return fmt.Errorf("root version %d, on which the takeover under way builds, is on no mirror that was read", t.root.Version-1)
		}
		t.old = epoch{number: old.root.Epoch, generation: t.root.After.Generation, end: t.root.After}
		t.r.at = *t.root.After
		return nil
	}
	known, _ := t.kit.KnownRoot()
	switch {
	case top.root.Version < known:
		return fmt.Errorf("%w: the kit knows root version %d, the mirrors that were read end at %d. Give more mirrors", ErrIncomplete, known, top.root.Version)
	case top.root.Version != t.from.Root:
		return fmt.Errorf("%w: they have root version %d, it was restored with %d. Restore again", ErrOvertaken, top.root.Version, t.from.Root)
	}
	t.r.at = t.from.Position
	t.old = epoch{number: top.root.Epoch, generation: top.root.Generation}
	t.root = Root{
		Instance: t.kit.Instance(), Version: top.root.Version + 1, Epoch: top.root.Epoch + 1, Prev: top.ref.Sum,
		Recipients: []string{t.kit.Recipient()}, Mirrors: rootMirrors(t.o.Mirrors), Created: t.o.Now(),
	}
	after := t.from.Position
	if after.Epoch != top.root.Epoch {
		// Restored up to a point in an earlier epoch: nothing of the last one counts.
		after = t.old.start(after.Last, after.Head)
	}
	t.old.generation, t.old.end = after.Generation, &after
	t.root.Generation, t.root.After = after.Generation, &after
	return nil
}

// checkBehind refuses if the mirrors hold acknowledged entries behind the end of the store, unless it was restored to
// an earlier point on purpose.
func (t *takeover) checkBehind(ctx context.Context) error {
	end := t.old.end
	if t.plan.Ref.Version > 0 || t.from.Incomplete {
		return nil
	}
	for n := end.Number + 1; n <= end.Number+Window; n++ {
		f, err := t.r.mirrors.survey(ctx, t.old, n)
		if err != nil {
			return err
		}
		for _, c := range f.found {
			if rel, err := t.r.relation(c.header); err != nil {
				return err
			} else if rel == relJoins {
				return fmt.Errorf("%w: mirror %s has segment %d/%d with entries up to #%d, the store ends with #%d. Run holdfast restore again: it goes on from there. If the old host still writes, stop it or revoke its keys first",
					ErrOvertaken, c.src.name, t.old.number, n, c.header.Last, end.Last)
			}
		}
	}
	return nil
}

// inJournal reports whether a segment carries only entries of the store's journal: others are not copied on.
func (t *takeover) inJournal(h Header) (bool, error) {
	rel, err := t.r.relation(h)
	return rel == relKnown, err
}

func (t *takeover) copyAll(ctx context.Context) error {
	if err := t.copier.copyRoots(ctx); err != nil {
		return err
	}
	for _, e := range t.epochs() {
		if err := t.copier.copyLog(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// epochs lists the logs that the new epoch builds on, each with its end.
func (t *takeover) epochs() []epoch {
	var line []epoch
	last := t.old
	for {
		line = append([]epoch{last}, line...)
		var before *Position
		for _, r := range t.r.mirrors.roots {
			if r.Epoch == last.number && r.After != nil {
				before = r.After
			}
		}
		if before == nil {
			return line
		}
		last = epoch{number: before.Epoch, generation: before.Generation, end: before}
	}
}

// makePlan decides the new root record once and for all: from here on a second run writes the very same bytes.
func (t *takeover) makePlan() error {
	if t.plan.Ref.Version == 0 {
		secret, object, ref, err := t.root.signNew(t.kit)
		if err != nil {
			return err
		}
		t.plan = takeoverPlan{Root: object, Ref: ref, Secret: secret}
		raw, err := json.Marshal(t.plan)
		if err != nil {
			return err
		}
		if err := t.store.SetFact(takeoverFact, raw); err != nil {
			return err
		}
		if t.root, _, err = OpenRoot(object, t.kit.RootVerifier()); err != nil {
			return err
		}
	}
	t.r.mirrors.roots[t.plan.Ref] = t.root
	t.rep.Epoch, t.rep.RootVersion, t.rep.After = t.root.Epoch, t.root.Version, *t.root.After
	return nil
}

// putRoot writes the new root record to all targets; enough of them must take it.
func (t *takeover) putRoot(ctx context.Context) error {
	key := RootKey(t.kit.Instance(), t.plan.Ref)
	rooted := 0
	var errs []error
	for _, g := range t.targets {
		// The key names its bytes: whoever has it has the record.
		if err := t.copier.put(ctx, g, key, t.plan.Root); err != nil && !errors.Is(err, ErrExists) {
			errs = append(errs, fmt.Errorf("mirror %s: %w", g.name, err))
			g.fail(fmt.Errorf("new root record: %w", err))
			continue
		}
		g.rooted = true
		rooted++
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if rooted < t.o.Acks {
		return fmt.Errorf("only %d of the %d mirrors that are needed took the new root record; run takeover again: %w", rooted, t.o.Acks, errors.Join(errs...))
	}
	return nil
}

// start makes the store the new epoch's writer, if it is not yet. Its state goes last: until then nothing is shipped.
func (t *takeover) start() error {
	if t.running {
		return nil
	}
	if err := saveWriter(t.store, t.plan.Root, t.kit.RootKey(), t.plan.Secret); err != nil {
		return err
	}
	var names, lagging []string
	for _, g := range t.targets {
		names = append(names, g.name)
		if g.rep.Err != "" || g.src == nil {
			lagging = append(lagging, g.name)
		}
	}
	if err := StartEpoch(t.store, t.root, names, lagging, t.o.Now()); err != nil {
		return err
	}
	return t.store.SetState(storage.State{Instance: t.kit.Instance(), Epoch: t.root.Epoch})
}

// closeOld puts closed objects on the next numbers of the old epoch: the very next one on every mirror first.
func (t *takeover) closeOld(ctx context.Context) error {
	signer, err := t.plan.signer()
	if err != nil {
		return err
	}
	for _, upTo := range []uint64{1, Window} {
		for _, g := range t.targets {
			if err := t.closeOn(ctx, g, signer, upTo); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				g.fail(fmt.Errorf("close the old epoch: %w", err))
				t.warn("mirror %s: the old epoch is not closed there (%v): revoke the old host's key at the provider, or it may still get acks", g.name, err)
			}
		}
	}
	return nil
}

// signer returns the new epoch's journal key.
func (p takeoverPlan) signer() (note.Signer, error) {
	signer, err := note.NewSigner(p.Secret)
	if err != nil {
		return nil, fmt.Errorf("fact %s: it holds no signing key", takeoverFact) // the cause may quote the secret
	}
	return signer, nil
}

// closedBytes is the closed object of one number.
func (t *takeover) closedBytes(n uint64, signer note.Signer) (key string, data []byte, err error) {
	c := Closed{Instance: t.kit.Instance(), Generation: t.old.generation, Epoch: t.old.number, Number: n, Root: t.plan.Ref}
	data, err = WriteClosed(c, signer)
	return c.Key(), data, err
}

// closeOn closes numbers behind the old epoch's end on one mirror: as many as upTo behind the last segment there.
func (t *takeover) closeOn(ctx context.Context, g *target, signer note.Signer, upTo uint64) error {
	if !g.rooted {
		return nil
	}
	last := t.old.end.Number + g.late
	for n := t.old.end.Number + g.closed + g.late + 1; n <= last+upTo; n++ {
		key, data, err := t.closedBytes(n, signer)
		if err != nil {
			return err
		}
		switch err := t.copier.put(ctx, g, key, data); {
		case err == nil:
			g.closed++
		case !errors.Is(err, ErrExists):
			return err
		default:
			late, err := t.taken(ctx, g, key)
			if err != nil {
				return err
			}
			if late {
				g.late++
				last = n
			} else {
				g.closed++
			}
		}
	}
	return nil
}

// taken tells what has a key that could not be closed: a segment, which is late, or anything else, which is as good as
// a closed object, or is one.
func (t *takeover) taken(ctx context.Context, g *target, key string) (late bool, err error) {
	if g.src == nil {
		return false, nil
	}
	var f finding
	t.r.mirrors.askOne(ctx, g.src, key, t.r.o.MaxVersions, &f)
	return len(f.found) > 0, f.unread
}
