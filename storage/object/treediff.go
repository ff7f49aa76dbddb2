package object

import "bytes"

// NewTreeEntries calls fn with each entry of a tree that none of the older versions of it has, and with what each older
// version names there: its entry of that name, if both are directories or neither is, else the zero ID. All are walked side
// by side; where their order is not what it should be, fn is called more often. What fn gets is valid during the call. Errors
// are fn's, or that the tree is malformed.
func NewTreeEntries(f Format, tree []byte, olds [][]byte, fn func(e TreeEntry, before []ID) error) error {
	cursors := make([]treeCursor, len(olds))
	for i, old := range olds {
		cursors[i] = treeCursor{format: f, rest: old}
		cursors[i].next()
	}
	before := make([]ID, len(olds))
	for e, err := range TreeEntries(f, tree) {
		if err != nil {
			return err
		}
		known := false
		clear(before)
		for i := range cursors {
			c := &cursors[i]
			for c.ok && compareEntries(c.entry, e) < 0 {
				c.next()
			}
			if c.ok && compareEntries(c.entry, e) == 0 {
				known = known || c.entry.ID == e.ID && c.entry.Mode == e.Mode
				before[i] = c.entry.ID
			}
		}
		if known {
			continue
		}
		if err := fn(e, before); err != nil {
			return err
		}
	}
	return nil
}

// treeCursor is at an entry of a tree. A malformed rest ends it.
type treeCursor struct {
	format Format
	rest   []byte
	entry  TreeEntry
	ok     bool
}

func (c *treeCursor) next() {
	c.ok = false
	if len(c.rest) == 0 {
		return
	}
	mode, name, sum, rest, ok := nextEntry(c.rest, c.format.Size())
	if !ok {
		c.rest = nil
		return
	}
	c.entry, c.rest, c.ok = TreeEntry{Mode: mode, Name: name, ID: NewID(c.format, sum)}, rest, true
}

// compareEntries compares the places of two entries in a tree: a directory sorts as if its name ended in a slash.
func compareEntries(a, b TreeEntry) int {
	n := min(len(a.Name), len(b.Name))
	if c := bytes.Compare(a.Name[:n], b.Name[:n]); c != 0 {
		return c
	}
	return int(afterName(a, n)) - int(afterName(b, n))
}

func afterName(e TreeEntry, n int) byte {
	switch {
	case len(e.Name) > n:
		return e.Name[n]
	case e.Mode&ModeKind == ModeTree:
		return '/'
	}
	return 0
}
