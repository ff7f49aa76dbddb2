package replication

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/storage"
)

// Receipt says which mirrors hold an entry, with all before it and their packs.
type Receipt struct {
	Seq    storage.Seq `json:"seq"`
	Acks   []Ack       `json:"acks"`             // the fastest first
	Behind []Lag       `json:"behind,omitempty"` // the mirrors that do not hold it yet
}

// Ack is one mirror's word that it holds an entry.
type Ack struct {
	Mirror string        `json:"mirror"`
	Took   time.Duration `json:"took"` // since the wait began
}

// Lag says by how many entries a mirror is behind the one that was waited for.
type Lag struct {
	Mirror  string `json:"mirror"`
	Entries uint64 `json:"entries"`
	State   State  `json:"state"`
}

// String is the receipt as a client reads it: `#10482 aws 84 ms, b2 120 ms; wasabi behind by 3`.
func (r Receipt) String() string {
	text := fmt.Sprintf("#%d", r.Seq)
	if s := r.text(); s != "" {
		text += " " + s
	}
	return text
}

// text is the receipt without its number.
func (r Receipt) text() string {
	var acks, lags []string
	for _, a := range r.Acks {
		acks = append(acks, fmt.Sprintf("%s %d ms", a.Mirror, a.Took.Milliseconds()))
	}
	for _, l := range r.Behind {
		s := fmt.Sprintf("%s behind by %d", l.Mirror, l.Entries)
		if l.State != StateOK && l.State != StateLagging {
			s += " (" + string(l.State) + ")"
		}
		lags = append(lags, s)
	}
	return strings.Join(slices.DeleteFunc([]string{strings.Join(acks, ", "), strings.Join(lags, ", ")},
		func(s string) bool { return s == "" }), "; ")
}

// NotAckedError says who holds an entry that lacks acks. It wraps ErrNotAcked, and the cause where there is one.
type NotAckedError struct {
	Receipt Receipt
	Need    int           // acks that were needed
	After   time.Duration // how long was waited
	Cause   error         // why it cannot be sent at present; nil if it only takes long
}

// Error says what is the matter, for a client.
func (e *NotAckedError) Error() string {
	text := fmt.Sprintf("#%d is stored on the host, but %d of the %d mirrors needed have it after %s",
		e.Receipt.Seq, len(e.Receipt.Acks), e.Need, e.After.Round(time.Millisecond))
	if s := e.Receipt.text(); s != "" {
		text += " (" + s + ")"
	}
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text + "; the host keeps trying"
}

// Unwrap returns ErrNotAcked and the cause.
func (e *NotAckedError) Unwrap() []error {
	if e.Cause == nil {
		return []error{ErrNotAcked}
	}
	return []error{ErrNotAcked, e.Cause}
}

// Wait returns once enough mirrors hold the entry seq. It gives up after Options.AckTimeout, with ctx, or as soon as it is
// clear that the host cannot send, with a *NotAckedError; the Receipt then says who holds it.
func (r *Replicator) Wait(ctx context.Context, seq storage.Seq) (Receipt, error) {
	start := r.o.Now()
	timeout := time.NewTimer(r.o.AckTimeout)
	defer timeout.Stop()
	took := map[*Mirror]time.Duration{}
	for {
		receipt, changed, cause := r.look(seq, start, took)
		if len(receipt.Acks) >= r.o.Acks {
			return receipt, nil
		}
		if cause == nil {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				cause = context.Cause(ctx)
			case <-timeout.C:
			}
		}
		return receipt, &NotAckedError{Receipt: receipt, Need: r.o.Acks, After: r.o.Now().Sub(start), Cause: cause}
	}
}

// look makes the receipt of seq as things are. took remembers when each mirror was first seen to hold it. cause is why
// waiting longer is of no use.
func (r *Replicator) look(seq storage.Seq, start time.Time, took map[*Mirror]time.Duration) (_ Receipt, changed <-chan struct{}, cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	receipt := Receipt{Seq: seq}
	for _, m := range r.mirrors {
		have := m.cur.Have.through()
		if have < seq {
			receipt.Behind = append(receipt.Behind, Lag{Mirror: m.name, Entries: uint64(seq - have), State: m.state()})
			continue
		}
		if _, seen := took[m]; !seen {
			took[m] = r.o.Now().Sub(start)
		}
		receipt.Acks = append(receipt.Acks, Ack{Mirror: m.name, Took: took[m]})
	}
	slices.SortStableFunc(receipt.Acks, func(a, b Ack) int { return cmp.Compare(a.Took, b.Took) })
	if seq > r.sealed {
		cause = r.sealErr
	}
	return receipt, r.changed, errors.Join(cause, r.expired())
}

// Ready reports whether a push can be acknowledged at all: an error that wraps ErrTooFewMirrors or ErrSpool means that
// nothing should be stored. A mirror counts until it has failed for Options.Unreachable, so that all do at start.
func (r *Replicator) Ready() error {
	cramped := r.cramped() // asked without mu, since a file system may take its time
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.expired(); err != nil {
		return fmt.Errorf("%w: %w", ErrTooFewMirrors, err)
	}
	if r.sealErr != nil {
		return fmt.Errorf("%w at present: %w", ErrSpool, r.sealErr)
	}
	if err := cmp.Or(r.full(), cramped); err != nil {
		return err
	}
	ready := 0
	var not []string
	for _, m := range r.mirrors {
		if m.available() {
			ready++
		} else {
			not = append(not, m.name+" "+string(m.state()))
		}
	}
	if ready < r.o.Acks {
		return fmt.Errorf("%w: a push needs %d, and %d can be reached (%s)", ErrTooFewMirrors, r.o.Acks, ready, strings.Join(not, ", "))
	}
	return nil
}

// available reports whether the mirror can be expected to acknowledge; r.mu is held.
func (m *Mirror) available() bool {
	if m.stop != nil || m.cur.Heal != "" {
		return false
	}
	return m.fails == 0 || m.r.o.Now().Sub(m.since) < m.r.o.Unreachable
}

// State is what a mirror is in.
type State string

// The states of a mirror.
const (
	StateOK          State = "ok"
	StateLagging     State = "lagging"     // it has entries still to come
	StateUnreachable State = "unreachable" // the last attempt failed
	StateStopped     State = "stopped"     // somebody else wrote to it as this host, or the host must not ship at all
	StateNeedsHeal   State = "needs heal"  // it lacks segments that the spool does not hold any more
)

// healRemedy is what to do about a mirror that needs heal. A takeover copies to it what it lacks.
const healRemedy = "it gets nothing more until it was brought what it lacks from the others: once those are ok, stop this host for good, then " +
	"\"holdfast restore --kit KITDIR --data NEWDIR\", \"holdfast takeover --kit KITDIR --data NEWDIR\" and serve NEWDIR; " +
	"pushes go on meanwhile as long as enough other mirrors acknowledge"

// MirrorStatus says how a mirror is.
type MirrorStatus struct {
	Name      string      `json:"name"`
	State     State       `json:"state"`
	Acked     storage.Seq `json:"acked"`                // the last entry that it holds with all before it
	Segment   uint64      `json:"segment"`              // the last number that was put there
	Behind    uint64      `json:"behind"`               // entries
	Reason    string      `json:"reason,omitempty"`     // why it is stopped or needs heal
	Remedy    string      `json:"remedy,omitempty"`     // what an operator can do about it, where it does not pass by itself
	LastError string      `json:"last_error,omitempty"` // of the last attempt; empty after a success
	LastAck   time.Time   `json:"last_ack,omitzero"`
}

// Status returns the state of every mirror, in the order of New.
func (r *Replicator) Status() []MirrorStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []MirrorStatus
	for _, m := range r.mirrors {
		s := MirrorStatus{
			Name: m.name, State: m.state(), Acked: m.cur.Have.through(), Segment: m.cur.Number, LastAck: m.cur.LastAck, Reason: m.cur.Heal,
		}
		s.Behind = uint64(max(r.head, s.Acked) - s.Acked)
		if m.err != nil {
			s.LastError = m.err.Error()
		}
		if err := r.expired(); err != nil {
			s.Reason = err.Error()
		}
		if m.stop != nil {
			s.Reason = m.stop.Reason
		}
		if s.State == StateNeedsHeal {
			s.Remedy = healRemedy
		}
		out = append(out, s)
	}
	return out
}

// state is the mirror's State; r.mu is held.
func (m *Mirror) state() State {
	switch {
	case m.stop != nil || m.r.expired() != nil:
		return StateStopped
	case m.cur.Heal != "":
		return StateNeedsHeal
	case m.fails > 0:
		return StateUnreachable
	case m.cur.Have.through() < m.r.head:
		return StateLagging
	}
	return StateOK
}
