package replication

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"holdfast/storage"
)

// walk follows the log of one epoch in one generation.
type walk struct {
	r     *restorer
	e     epoch
	ahead *lookAhead

	parking *parking
	waits   atomic.Bool // something is parked: also read by the look ahead
	useful  uint64      // the last number that carried something
	seen    uint64      // the last number that any segment was found under
	unread  unread
	spoiled []spoiled
	closed  *Closed
	lacks   map[*source]*gap
}

// spoiled is a segment of which no mirror has a good copy. What it carries may come again under a later number.
type spoiled struct {
	number uint64
	last   storage.Seq
}

// unread is a number at which a mirror could not say what it holds.
type unread struct {
	number uint64
	err    error
}

// gap is a range of numbers that one mirror lacks and another has.
type gap struct{ from, to uint64 }

// walk replays the log of an epoch from where the store ends. more is false if the restore is to stop there.
func (r *restorer) walk(ctx context.Context, e epoch) (more bool, err error) {
	if r.at.Epoch == e.number && r.at.Generation > e.generation {
		e.generation = r.at.Generation
	}
	if r.at.Epoch != e.number || r.at.Generation != e.generation {
		r.at.Epoch, r.at.Generation, r.at.Number = e.number, e.generation, 0
		r.from = 0
	}
	// What lies shortly before the place may not have been readable when the rest was.
	from := r.at.Number
	if r.from > 0 {
		from = min(from, r.from)
	}
	first := max(from, Window) - Window + 1
	w := &walk{r: r, e: e, useful: r.at.Number, seen: r.at.Number, parking: newParking(), lacks: make(map[*source]*gap)}
	w.ahead = newLookAhead(ctx, first, r.o.Parallel, w.look)
	defer w.ahead.stop()
	r.estimate(ctx, e)
	for n := first; n <= w.seen+Window && !w.behindEnd(n); n++ {
		f, err := w.ahead.next(ctx)
		if err != nil {
			return false, err
		}
		if err := r.mirrors.allDown(); err != nil {
			return false, err
		}
		w.take(f)
		if err := w.settle(ctx, f); err != nil || r.done {
			return false, err
		}
	}
	return w.finish(ctx)
}

// behindEnd reports whether number n is not part of the epoch any more, by the next epoch's root record.
func (w *walk) behindEnd(n uint64) bool {
	end := w.e.end
	return end != nil && (w.r.at.Last >= end.Last || end.Generation == w.e.generation && n > end.Number)
}

// look surveys one number and fetches the segment if there is no choice to make.
func (w *walk) look(ctx context.Context, n uint64) (*finding, error) {
	f, err := w.r.mirrors.survey(ctx, w.e, n)
	if err != nil {
		return nil, err
	}
	if g := groups(f.found); len(g) == 1 && f.found[0].header.Last > w.r.report.Resumed && !w.waits.Load() {
		// While segments are parked, most of what follows has to wait as well. If no copy is good, that shows again when
		// the segment's turn comes.
		f.body, f.spoiled, _ = w.r.mirrors.fetch(ctx, g[0], w.r.needsPacks)
	}
	return f, nil
}

// take counts what was found at the next number.
func (w *walk) take(f *finding) {
	if f.closed != nil {
		w.closed = f.closed
	}
	if f.unread != nil {
		w.unread = unread{f.number, f.unread}
	}
	w.reportFaults(f)
	if len(f.found) == 0 {
		return
	}
	seen := make(map[*source]storage.Seq)
	for _, c := range f.found {
		seen[c.src] = max(seen[c.src], c.header.Last)
	}
	for s, last := range seen {
		s.count(func(m *MirrorReport) { m.Segments++; m.Last = max(m.Last, last) })
		w.endGap(s)
	}
	for _, s := range f.lack {
		s.count(func(m *MirrorReport) { m.Lacks++ })
		if slices.ContainsFunc(f.faults, func(x fault) bool { return x.src == s }) {
			continue // a line says so already
		}
		if g := w.lacks[s]; g != nil {
			g.to = f.number
		} else {
			w.lacks[s] = &gap{from: f.number, to: f.number}
		}
	}
	w.seen = max(w.seen, f.number)
}

// endGap reports the range that a mirror lacked up to now.
func (w *walk) endGap(s *source) {
	g := w.lacks[s]
	if g == nil {
		return
	}
	delete(w.lacks, s)
	if g.from == g.to {
		w.r.report.damage("mirror %s: segment %s is not there; taken from another", s.name, w.place(g.from))
	} else {
		w.r.report.damage("mirror %s: segments %s to %s are not there; taken from another", s.name, w.place(g.from), w.place(g.to))
	}
}

func (w *walk) reportFaults(f *finding) {
	valid := make(map[*source]bool)
	for _, c := range f.found {
		valid[c.src] = true
	}
	for _, x := range f.faults {
		switch {
		case errors.Is(x.err, errMarker) || valid[x.src]:
			x.src.count(func(m *MirrorReport) { m.Junk++ })
		case len(f.found) > 0:
			x.src.count(func(m *MirrorReport) { m.Bad++ })
			w.r.report.damage("mirror %s: segment %s: %v; taken from %s", x.src.name, w.place(f.number), x.err, f.found[0].src.name)
		default:
			x.src.count(func(m *MirrorReport) { m.Bad++ })
			w.r.report.damage("mirror %s: segment %s: %v; no other copy was found under this number", x.src.name, w.place(f.number), x.err)
		}
	}
}

func (w *walk) place(n uint64) string { return fmt.Sprintf("%d/%d", w.e.number, n) }

// settle replays a finding, and then what was parked and joins the journal now. What does not join is parked.
func (w *walk) settle(ctx context.Context, f *finding) error {
	if len(f.found) == 0 {
		return nil
	}
	place := f.number
	for {
		waits, err := w.use(ctx, f)
		f.free()
		switch {
		case err != nil || w.r.done:
			return err
		case waits > 0:
			w.park(parked{number: f.number, first: waits, src: f.found[0].src})
		default:
			w.useful = max(w.useful, f.number)
		}
		w.progress(f.number)
		p, ok := w.parking.next(w.r.at.Last)
		if !ok {
			break
		}
		if f, err = w.r.mirrors.survey(ctx, w.e, p.number); err != nil {
			return err
		}
		if len(f.found) == 0 {
			w.unread = unread{p.number, cmp.Or(f.unread, errVanished)}
			w.spoiled = append(w.spoiled, spoiled{p.number, p.first})
		}
	}
	if w.parking.empty() {
		w.waits.Store(false)
		if place >= w.r.at.Number { // else an earlier restore parked what comes from here on
			w.r.from = 0
		}
	}
	return nil
}

// errVanished: what was under a number is not there any more.
var errVanished = errors.New("a mirror showed a segment, and a moment later it does not")

func (w *walk) park(p parked) {
	if w.r.from == 0 {
		w.r.from = max(w.r.at.Number, 1)
	}
	w.parking.add(p)
	w.waits.Store(true)
}

// use replays a finding if it joins the journal. Else waits is its first entry if those before it have not come yet, or 0
// if it is of no more use: it brings nothing new, contradicts, or has no good copy.
func (w *walk) use(ctx context.Context, f *finding) (waits storage.Seq, err error) {
	var joins [][]candidate
	known := false
	for _, g := range groups(f.found) {
		h := g[0].header
		switch rel, err := w.r.relation(h); {
		case err != nil:
			return 0, err
		case rel == relKnown:
			known = true
		case rel == relJoins:
			joins = append(joins, g)
		case rel == relAhead && !w.extendsBranch(f.number, g):
			if waits == 0 || h.First < waits {
				waits = h.First
			}
		case rel == relContradicts:
			if err := w.contradiction(f, g); err != nil {
				return 0, err
			}
		}
	}
	if known {
		w.r.at.Number = max(w.r.at.Number, f.number)
	}
	if len(joins) == 0 {
		return waits, nil
	}
	chosen, err := w.choose(ctx, f, joins)
	if err != nil {
		return 0, err
	}
	return 0, w.r.replaySegment(ctx, w, f, chosen)
}

// relation is how a segment's range stands to the journal as far as it was replayed.
type relation int

const (
	relKnown       relation = iota // it carries nothing new
	relJoins                       // its entries come next
	relAhead                       // entries between are not there yet
	relContradicts                 // its entries are others than those in the journal
)

func (r *restorer) relation(h Header) (relation, error) {
	if h.First > r.at.Last+1 {
		return relAhead, nil
	}
	before, known, err := r.hashAt(h.First - 1)
	if err != nil {
		return 0, err
	}
	if !known || before != h.Prev {
		return relContradicts, nil
	}
	if h.Last > r.at.Last {
		return relJoins, nil
	}
	head, known, err := r.hashAt(h.Last)
	if err != nil {
		return 0, err
	}
	if !known && r.to == nil {
		return relKnown, nil // a dry run remembers only so many, and an idle host repeats the first
	}
	if !known || head != h.Head {
		return relContradicts, nil
	}
	return relKnown, nil
}

// recentHashes is how many entries' hashes are kept at hand.
const recentHashes = 1 << 16

func (r *restorer) remember(seq storage.Seq, hash storage.Hash) {
	r.recent[seq] = hash
	delete(r.recent, seq-recentHashes)
}

// hashAt returns the hash of an entry that was replayed.
func (r *restorer) hashAt(seq storage.Seq) (hash storage.Hash, known bool, err error) {
	if seq == 0 {
		return storage.Hash{}, true, nil
	}
	if hash, known = r.recent[seq]; known || r.to == nil {
		return hash, known, nil
	}
	entries, err := r.to.Entries(seq-1, 1)
	if err != nil || len(entries) == 0 {
		return hash, false, err
	}
	return entries[0].Hash(), true, nil
}

// contradiction reports a signed segment that does not fit the entries already replayed.
func (w *walk) contradiction(f *finding, g []candidate) error {
	if w.extendsBranch(f.number, g) {
		return nil
	}
	r := w.r
	if r.report.Resumed > 0 && r.report.Entries == 0 && len(groups(f.found)) == 1 {
		return fmt.Errorf("%w: its journal up to #%d and the one on the mirrors part ways: segment %s on mirror %s carries other entries. Restore into a new directory",
			ErrNotRestorable, r.report.Resumed, w.place(f.number), g[0].src.name)
	}
	w.addBranch(f.number, g, "it contradicts entries that came under an earlier number")
	return nil
}

func (w *walk) progress(n uint64) {
	r := w.r
	if r.o.Progress == nil {
		return
	}
	r.o.Progress(RestoreProgress{
		Epoch: w.e.number, Segment: n, Segments: max(r.total, n), Seq: r.at.Last, Entries: r.report.Entries, Bytes: r.report.Bytes,
	})
}

// estimate guesses how many segments the epoch has, for the progress display alone.
func (r *restorer) estimate(ctx context.Context, e epoch) {
	r.total = 0
	if e.end != nil {
		r.total = e.end.Number
	}
	if r.o.Progress == nil || r.total > 0 {
		return
	}
	s := r.mirrors.all[0]
	there := func(n uint64) bool {
		v, err := s.bucket.Versions(ctx, SegmentKey(r.kit.Instance(), e.generation, e.number, n))
		return err == nil && len(v) > 0
	}
	low := max(r.at.Number, 1)
	step := uint64(1)
	for there(low + step) {
		low, step = low+step, step*2
	}
	for step /= 2; step > 0; step /= 2 {
		if there(low + step) {
			low += step
		}
	}
	r.total = low
}

// finish judges the end of the epoch's log.
func (w *walk) finish(ctx context.Context) (more bool, err error) {
	r := w.r
	hole := !w.parking.empty() || w.lost() > r.at.Last
	if w.unread.err != nil && (hole || w.unread.number > w.useful) && (w.e.end == nil || w.e.end.Last > r.at.Last) {
		return false, fmt.Errorf("the log of epoch %d could not be followed; run the same command again, it goes on behind #%d: %w", w.e.number, r.at.Last, w.unread.err)
	}
	if hole {
		w.reportHole()
		return false, nil
	}
	if w.closed != nil && r.mirrors.roots[w.closed.Root].Epoch == w.e.number {
		next := w.e
		next.generation++
		return r.walk(ctx, next)
	}
	if w.e.end == nil {
		return true, nil
	}
	return w.checkEnd(ctx)
}

// lost returns the last entry of any spoiled segment.
func (w *walk) lost() (last storage.Seq) {
	for _, s := range w.spoiled {
		last = max(last, s.last)
	}
	return last
}

// reportHole says which entries are missing where the journal could not be followed.
func (w *walk) reportHole() {
	next := w.r.at.Last + 1
	if !w.parking.empty() {
		p := w.parking.nearest()
		w.r.report.missing("entries #%d to #%d: no mirror has a good copy of the segment that carried them, yet %s holds segment %s, which begins with #%d",
			next, p.first-1, p.src.name, w.place(p.number), p.first)
		return
	}
	for _, s := range w.spoiled {
		if s.last >= next {
			w.r.report.missing("entries #%d to #%d: segment %s carried them, and no mirror has a good copy of it", next, s.last, w.place(s.number))
			return
		}
	}
}

// checkEnd compares the end of an epoch's log with what the next epoch's root record says of it.
func (w *walk) checkEnd(ctx context.Context) (more bool, err error) {
	r, end := w.r, w.e.end
	if r.at.Last < end.Last {
		r.report.missing("entries #%d to #%d: root version %d says that epoch %d went on to #%d, and no mirror that was read has segments that far",
			r.at.Last+1, end.Last, w.e.endVersion, w.e.number, end.Last)
		return false, nil
	}
	hash, _, err := r.hashAt(end.Last)
	if err != nil {
		return false, err
	}
	if hash != end.Head {
		return false, fmt.Errorf("root version %d says that epoch %d ended with entry %s as #%d, the journal has %s there: it follows another branch",
			w.e.endVersion, w.e.number, end.Head, end.Last, hash)
	}
	return true, w.lookBehind(ctx)
}

// lookBehind warns of segments behind the end of a closed epoch: pushes that the takeover left out on purpose, or an
// old host that went on writing.
func (w *walk) lookBehind(ctx context.Context) error {
	var names []string
	n := w.e.end.Number + 1
	for ; n <= w.e.end.Number+Window; n++ {
		f, err := w.r.mirrors.survey(ctx, w.e, n)
		if err != nil {
			return err
		}
		if len(f.found) == 0 {
			break
		}
		names = append(names, f.found[0].src.name)
	}
	if len(names) > 0 {
		w.r.report.warn("mirror %s holds %s of epoch %d behind its end: the takeover left them out, or the old host wrote them after it. They were not restored",
			names[0], count(int64(len(names)), "segment", "segments"), w.e.number)
	}
	return nil
}
