package replication

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"holdfast/storage"
)

// cursorsFact is the fact that says how far each mirror is.
const cursorsFact = "replication.cursors"

// cursors is what a restart knows besides the spool. It may be older than the truth, never newer.
type cursors struct {
	Instance   string            `json:"instance"`
	Generation uint64            `json:"generation"`
	Epoch      uint64            `json:"epoch"`
	Number     uint64            `json:"number"` // the highest number that was ever given to a segment
	Mirrors    map[string]cursor `json:"mirrors"`
}

// cursor is how far one mirror is.
type cursor struct {
	Number  uint64      `json:"number"` // the last segment that the mirror is done with; with its key, not always with its entries
	Clean   uint64      `json:"clean"`  // the last segment whose put was a clean success
	Have    spans       `json:"have"`   // the entries that it acknowledged
	Packs   []PackKeyID `json:"packs,omitempty"`
	LastAck time.Time   `json:"last_ack,omitzero"`
	Heal    string      `json:"heal,omitempty"` // why the mirror needs heal; empty if it does not
}

func (c cursor) clone() cursor {
	c.Have, c.Packs = slices.Clone(c.Have), slices.Clone(c.Packs)
	return c
}

// loadCursors reads the fact. A fact of an older epoch or generation tells nothing about this one.
func loadCursors(j Journal, root Root) (cursors, error) {
	fresh := cursors{Instance: root.Instance, Generation: root.Generation, Epoch: root.Epoch, Mirrors: map[string]cursor{}}
	raw, err := j.Fact(cursorsFact)
	if err != nil {
		return fresh, fmt.Errorf("read mirror cursors: %w", err)
	}
	if raw == nil {
		return fresh, nil
	}
	c, err := decodeCursors(raw)
	if err != nil {
		return fresh, fmt.Errorf("read mirror cursors: %w", err)
	}
	switch {
	case c.Instance != root.Instance:
		return fresh, fmt.Errorf("the mirror cursors are of instance %s, the root record of %s", c.Instance, root.Instance)
	case c.Epoch > root.Epoch || c.Epoch == root.Epoch && c.Generation > root.Generation:
		return fresh, fmt.Errorf("the mirror cursors are of epoch %d, generation %d, and the root record only of %d, %d: it is too old",
			c.Epoch, c.Generation, root.Epoch, root.Generation)
	case c.Epoch < root.Epoch || c.Generation < root.Generation:
		return fresh, nil
	}
	return c, nil
}

func decodeCursors(raw []byte) (c cursors, err error) {
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, err
	}
	if c.Number > maxNumber {
		return c, fmt.Errorf("number %d is out of range", c.Number)
	}
	for name, m := range c.Mirrors {
		if m.Number > c.Number || m.Clean > m.Number || !m.Have.valid() {
			return c, fmt.Errorf("those of mirror %s contradict themselves", name)
		}
	}
	if c.Mirrors == nil {
		c.Mirrors = map[string]cursor{}
	}
	return c, nil
}

func (c cursors) encode() []byte {
	raw, err := json.Marshal(c)
	if err != nil {
		panic(err) // numbers, texts and times
	}
	return raw
}

// StartEpoch writes the cursors with which the epoch of root begins, durably, over those of any epoch before: each of
// mirrors holds everything up to root.After, and those in lagging need heal. A takeover calls it after it wrote the root
// record to the mirrors. now counts as the last ack, so that a host which was restored after a long time can ship.
func StartEpoch(j Journal, root Root, mirrors, lagging []string, now time.Time) error {
	c := cursors{Instance: root.Instance, Generation: root.Generation, Epoch: root.Epoch, Mirrors: map[string]cursor{}}
	for _, name := range mirrors {
		c.Mirrors[name] = startCursor(root, now)
	}
	for _, name := range lagging {
		m := startCursor(root, time.Time{})
		m.Heal = "it lacked entries when epoch " + fmt.Sprint(root.Epoch) + " began"
		c.Mirrors[name] = m
	}
	if err := j.SetFact(cursorsFact, c.encode()); err != nil {
		return fmt.Errorf("start epoch %d: %w", root.Epoch, err)
	}
	return nil
}

// startCursor is the cursor of a mirror that holds all that came before root's epoch.
func startCursor(root Root, lastAck time.Time) cursor {
	c := cursor{LastAck: lastAck}
	if root.After != nil {
		c.Have = c.Have.add(1, root.After.Last)
	}
	return c
}

// after is the last entry that epochs before root's carried.
func (r Root) after() storage.Seq {
	if r.After == nil {
		return 0
	}
	return r.After.Last
}
