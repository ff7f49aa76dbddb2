package gitproto

import (
	"io"
	"strings"

	"holdfast/storage/object"
)

// negotiation finds out what client and repository have in common.
type negotiation struct {
	*uploadPack
	req    *fetchRequest
	common []object.ID
	seen   map[object.ID]struct{} // common as a set

	told   bool // the boundary, if there is one to tell
	judged int  // len(common) when enough was last computed, -1 before
	ready  bool

	judgments int // times that enough was computed
}

func newNegotiation(u *uploadPack, req *fetchRequest) *negotiation {
	return &negotiation{uploadPack: u, req: req, seen: map[object.ID]struct{}{}, judged: -1}
}

// have takes a client's have into account and reports whether the object is common. The second result is true the
// first time.
func (n *negotiation) have(hex string) (id object.ID, common, first bool, err error) {
	if id, err = n.id(hex); err != nil {
		return id, false, false, err
	}
	if n.req.haves++; n.req.haves > n.o.MaxHaves {
		return id, false, false, overLimit("more than %d haves in one fetch", n.o.MaxHaves)
	}
	if _, ok := n.seen[id]; ok {
		return id, true, false, nil
	}
	if len(n.common) == n.o.MaxCommon || id.IsZero() {
		return id, false, false, nil
	}
	if common, err = n.f.Has(id); err != nil || !common {
		return id, false, false, err
	}
	n.seen[id] = struct{}{}
	n.common = append(n.common, id)
	return id, true, true, nil
}

// maxJudgments bounds how often a negotiation asks whether there is enough: for one that takes longer, the client's "done"
// will do.
const maxJudgments = 100

// enough reports whether what is common suffices for a good pack.
func (n *negotiation) enough() (bool, error) {
	if n.ready || n.judged == len(n.common) || len(n.common) == 0 || n.judgments == maxJudgments {
		return n.ready, nil
	}
	n.judged = len(n.common)
	n.judgments++
	var err error
	if judge, ok := n.f.(Negotiator); ok {
		n.ready, err = judge.Enough(n.ctx, n.req.Wants, n.common)
		return n.ready, err
	}
	for _, id := range n.req.Wants {
		if _, ok := n.seen[id]; !ok {
			return false, nil
		}
	}
	n.ready = true
	return true, nil
}

// round is the answer to the haves up to a flush packet or "done". It is collected and sent as a whole: a client that
// sends many haves before it reads must not be blocked by answers.
type round struct {
	acks      []ack
	gotCommon bool
	gotOther  bool
	ready     bool
}

type ack struct {
	id     object.ID
	status string // " common", " continue", " ready" or ""
}

// rounds answers the haves of versions 0 and 1. It reports false if the client will come back with another request.
func (n *negotiation) rounds() (bool, error) {
	for first := true; ; first = false {
		r := &round{}
		done, err := n.readRound(r)
		if err == io.EOF && first {
			// It wanted no more than to see its wants accepted, or the boundary.
			n.tellBoundary()
			return false, n.flush()
		}
		if err == io.EOF {
			err = ErrHungUp
		}
		if err != nil {
			return false, err
		}
		finished, err := n.answer(r, done)
		if err != nil || finished {
			return finished, err
		}
		if err := n.flush(); err != nil || n.o.Stateless {
			return false, err
		}
	}
}

// readRound reads the lines of one round and reports whether "done" ended it.
func (n *negotiation) readRound(r *round) (done bool, err error) {
	for {
		kind, line, err := n.next()
		switch {
		case err != nil:
			return false, err
		case kind == Flush:
			n.budget = n.o.MaxRequestBytes
			return false, nil
		case kind != Data:
			return false, violation("unexpected %s among the haves", kind)
		case string(line) == "done":
			n.within = false
			return true, nil
		}
		hex, ok := strings.CutPrefix(string(line), "have ")
		if !ok {
			return false, violation("expected a have or done, got %.100q", line)
		}
		if err := n.readHave(r, hex); err != nil {
			return false, err
		}
	}
}

func (n *negotiation) readHave(r *round, hex string) error {
	id, common, first, err := n.have(hex)
	if err != nil {
		return err
	}
	if !common {
		return n.readOther(r, id)
	}
	r.gotCommon = true
	switch {
	case !first:
	case n.req.acks == detailedAck:
		r.acks = append(r.acks, ack{id, " common"})
	case n.req.acks == multiAck:
		r.acks = append(r.acks, ack{id, " continue"})
	case len(n.common) == 1:
		r.acks = append(r.acks, ack{id, ""})
	}
	return nil
}

// readOther answers a have that the repository lacks: once there is enough in common, acknowledging one anyway stops
// the client from digging deeper.
func (n *negotiation) readOther(r *round, id object.ID) error {
	r.gotOther = true
	if n.req.acks == singleAck || r.ready {
		return nil
	}
	enough, err := n.enough()
	if err != nil || !enough {
		return err
	}
	r.ready = true
	status := " continue"
	if n.req.acks == detailedAck {
		status = " ready"
	}
	r.acks = append(r.acks, ack{id, status})
	return nil
}

// answer writes the acknowledgements of a round and reports whether the pack comes next.
func (n *negotiation) answer(r *round, done bool) (finished bool, err error) {
	if !done && n.req.acks == detailedAck && r.gotCommon && !r.gotOther {
		enough, err := n.enough()
		if err != nil {
			return false, err
		}
		if enough {
			r.ready = true
			r.acks = append(r.acks, ack{n.last(), " ready"})
		}
	}
	n.tellBoundary()
	for _, a := range r.acks {
		n.w.Linef("ACK %s%s\n", a.id, a.status)
	}
	some, multi := len(n.common) > 0, n.req.acks != singleAck
	if done {
		if !some {
			n.w.Linef("NAK\n")
		} else if multi {
			n.w.Linef("ACK %s\n", n.last())
		}
		return true, nil
	}
	if !some || multi {
		n.w.Linef("NAK\n")
	}
	if n.req.noDone && n.req.acks == detailedAck && r.ready {
		n.w.Linef("ACK %s\n", n.last())
		return true, nil
	}
	return false, nil
}

// last returns the common object found last. There must be one.
func (n *negotiation) last() object.ID { return n.common[len(n.common)-1] }
