package object

import (
	"bytes"
	"encoding/hex"
	"iter"
	"strconv"
)

// The modes of tree entries that git writes. Only the kind (Mode & ModeKind) decides what an entry links to.
const (
	ModeKind       = 0o170000
	ModeTree       = 0o040000
	ModeFile       = 0o100644
	ModeExecutable = 0o100755
	ModeSymlink    = 0o120000
	ModeGitlink    = 0o160000 // a submodule: it names a commit of another repository
)

// TreeEntry is one entry of a tree.
type TreeEntry struct {
	Mode uint32 // as written, cut to 16 bits as git does
	Name []byte // shares the tree's memory
	ID   ID
}

// Link returns what the entry links to, and false for a submodule, which links to nothing in this repository.
func (e TreeEntry) Link() (Link, bool) {
	t, ok := linkType(e.Mode)
	return Link{ID: e.ID, Type: t}, ok
}

// linkType returns the type of object that a tree entry of this mode names. As in git, every mode that is neither
// file, symlink nor directory counts as a submodule.
func linkType(mode uint32) (Type, bool) {
	switch mode & ModeKind {
	case ModeTree:
		return Tree, true
	case 0o100000, ModeSymlink:
		return Blob, true
	}
	return 0, false
}

// TreeEntries yields a tree's entries in the order in which they stand. A malformed tree ends with an error.
func TreeEntries(f Format, data []byte) iter.Seq2[TreeEntry, error] {
	return func(yield func(TreeEntry, error) bool) {
		for len(data) > 0 {
			mode, name, sum, rest, ok := nextEntry(data, f.Size())
			if !ok {
				yield(TreeEntry{}, malformed(Tree, "entry %d bytes before its end", len(data)))
				return
			}
			if !yield(TreeEntry{Mode: mode, Name: name, ID: NewID(f, sum)}, nil) {
				return
			}
			data = rest
		}
	}
}

// nextEntry splits the first entry off a tree.
func nextEntry(data []byte, idSize int) (mode uint32, name, sum, rest []byte, ok bool) {
	i := 0
	for ; i < len(data) && data[i] != ' '; i++ {
		c := data[i] - '0'
		if c > 7 {
			return 0, nil, nil, nil, false
		}
		mode = mode<<3 | uint32(c)
	}
	if i == 0 || i == len(data) {
		return 0, nil, nil, nil, false
	}
	data = data[i+1:]
	n := bytes.IndexByte(data, 0)
	if n <= 0 || len(data) < n+1+idSize {
		return 0, nil, nil, nil, false
	}
	end := n + 1 + idSize
	return mode & 0xffff, data[:n], data[n+1 : end], data[end:], true
}

// CommitInfo is what a commit says about history.
type CommitInfo struct {
	Tree    ID
	Parents []ID
	Time    int64 // of the committer, in seconds since 1970; 0 if it cannot be read, as in git
}

// ParseCommit reads a commit's tree, parents and time.
func ParseCommit(f Format, data []byte) (CommitInfo, error) {
	var c CommitInfo
	rest, ok := idLine(f, data, "tree ", &c.Tree)
	if !ok {
		return CommitInfo{}, malformed(Commit, "no valid tree line")
	}
	for bytes.HasPrefix(rest, []byte("parent ")) {
		var parent ID
		if rest, ok = idLine(f, rest, "parent ", &parent); !ok {
			return CommitInfo{}, malformed(Commit, "parent %d is no object id", len(c.Parents)+1)
		}
		c.Parents = append(c.Parents, parent)
	}
	for len(rest) > 0 && rest[0] != '\n' {
		line, after, _ := bytes.Cut(rest, []byte("\n"))
		if ident, ok := bytes.CutPrefix(line, []byte("committer ")); ok {
			c.Time = identTime(ident)
			break
		}
		rest = after
	}
	return c, nil
}

// idLine reads a header line that consists of a keyword and an id.
func idLine(f Format, data []byte, keyword string, id *ID) (rest []byte, ok bool) {
	digits := 2 * f.Size()
	if len(data) < len(keyword)+digits+1 || string(data[:len(keyword)]) != keyword {
		return nil, false
	}
	data = data[len(keyword):]
	var sum [32]byte
	if _, err := hex.Decode(sum[:], data[:digits]); err != nil || data[digits] != '\n' {
		return nil, false
	}
	*id = NewID(f, sum[:f.Size()])
	return data[digits+1:], true
}

// identTime reads the time in "Name <email> 1234567890 +0100".
func identTime(ident []byte) int64 {
	_, after, _ := lastCut(ident, '>')
	fields := bytes.Fields(after)
	if len(fields) == 0 {
		return 0
	}
	t, err := strconv.ParseInt(string(fields[0]), 10, 64)
	if err != nil || t < 0 {
		return 0
	}
	return t
}

func lastCut(b []byte, sep byte) (before, after []byte, found bool) {
	i := bytes.LastIndexByte(b, sep)
	if i < 0 {
		return b, nil, false
	}
	return b[:i], b[i+1:], true
}

// PeelTag returns what an annotated tag points at, one step: that can be another tag.
func PeelTag(f Format, data []byte) (Link, error) {
	var l Link
	rest, ok := idLine(f, data, "object ", &l.ID)
	if !ok {
		return Link{}, malformed(Tag, "no valid object line")
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	name, ok := bytes.CutPrefix(line, []byte("type "))
	if !ok {
		return Link{}, malformed(Tag, "no type line")
	}
	t, err := ParseType(string(name))
	if err != nil {
		return Link{}, malformed(Tag, "%v", err)
	}
	l.Type = t
	return l, nil
}

// Links calls fn for each object that an object links to, in the order in which they stand, repetitions included.
// Submodules are no links. A link to the id of all zeros has the zero ID.
func Links(f Format, t Type, data []byte, fn func(Link)) error {
	switch t {
	case Blob:
		return nil
	case Tree:
		for e, err := range TreeEntries(f, data) {
			if err != nil {
				return err
			}
			if l, ok := e.Link(); ok {
				fn(l)
			}
		}
		return nil
	case Commit:
		c, err := ParseCommit(f, data)
		if err != nil {
			return err
		}
		fn(Link{ID: c.Tree, Type: Tree})
		for _, p := range c.Parents {
			fn(Link{ID: p, Type: Commit})
		}
		return nil
	case Tag:
		l, err := PeelTag(f, data)
		if err != nil {
			return err
		}
		fn(l)
		return nil
	}
	return malformed(t, "no such type of object")
}
