package object

import "bytes"

// NewTreeEntries calls fn with each entry of a tree that none of the older versions of it has, and with what each older
// version names there: its entry of that name, if both are directories or neither is, else the zero ID. All are walked side
// by side; where their order is not what it should be, fn is called more often. What fn gets is valid during the call. Errors
// are fn's, or that an entry for fn is malformed.
//
// Entries that are the same, nearly all of most trees, are compared as bytes and not parsed.
func NewTreeEntries(f Format, tree []byte, olds [][]byte, fn func(e TreeEntry, before []ID) error) error {
	rests := make([][]byte, len(olds))
	copy(rests, olds)
	before := make([]ID, len(olds))
	for len(tree) > 0 {
		raw := tree[:entryLength(tree, f.Size())]
		if !cutSame(rests, raw, f.Size()) {
			mode, name, sum, _, ok := nextEntry(tree, f.Size())
			if !ok {
				return malformed(Tree, "entry %d bytes before its end", len(tree))
			}
			e := TreeEntry{Mode: mode, Name: name, ID: NewID(f, sum)}
			known := false
			for i := range rests {
				before[i] = ID{}
				var same bool
				rests[i], before[i], same = seekEntry(f, rests[i], raw, e)
				known = known || same
			}
			if !known {
				if err := fn(e, before); err != nil {
					return err
				}
			}
		}
		tree = tree[len(raw):]
	}
	return nil
}

// cutSame reports whether any of rests begins with an entry, and cuts it off all that do.
func cutSame(rests [][]byte, raw []byte, idSize int) (same bool) {
	for i, rest := range rests {
		if bytes.HasPrefix(rest, raw) && entryLength(rest, idSize) == len(raw) {
			rests[i], same = rest[len(raw):], true
		}
	}
	return same
}

// seekEntry goes to where entry e, which is raw, belongs in an older tree. It returns what follows, what the older tree names
// there, and whether it has the very entry. A malformed rest has no entries.
func seekEntry(f Format, old, raw []byte, e TreeEntry) (rest []byte, before ID, same bool) {
	for len(old) > 0 {
		mode, name, sum, next, ok := nextEntry(old, f.Size())
		if !ok {
			return nil, ID{}, false
		}
		o := TreeEntry{Mode: mode, Name: name}
		switch c := compareEntries(o, e); {
		case c > 0:
			return old, ID{}, false
		case c == 0:
			return next, NewID(f, sum), bytes.Equal(old[:len(old)-len(next)], raw)
		}
		old = next
	}
	return nil, ID{}, false
}

// entryLength returns the length of a tree's first entry: mode, space, name, NUL, id. A malformed rest is one entry.
func entryLength(tree []byte, idSize int) int {
	return min(bytes.IndexByte(tree, 0)+1+idSize, len(tree))
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
