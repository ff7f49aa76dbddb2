package svnfs

import (
	"bytes"
	"fmt"
	"strings"

	"holdfast/storage/object"
	"holdfast/storage/svn"
)

// revision is a decoded revision object. It is shared and never changed.
type revision struct {
	number  svn.Revnum
	root    ID
	props   svn.Props // as committed; later edits are facts
	changes []svn.Change
}

const revisionMagic = "svn-revision 1\n"

// revisionName is what a revision's tree calls the revision object.
const revisionName = "revision"

// encode returns the blob's content. doc/formats/svn.md specifies it.
func (r *revision) encode() []byte {
	props := svn.EncodeProps(r.props)
	b := fmt.Appendf(nil, "%snumber %d\nroot %s\nprops %d\n%s", revisionMagic, r.number, r.root, len(props), props)
	for _, c := range r.changes {
		b = fmt.Appendf(b, "%c %s %s %s\n", c.Action, c.Kind, modWord(c), c.Path)
		if c.CopyFrom != nil {
			b = fmt.Appendf(b, "from %d %s\n", c.CopyFrom.Rev, c.CopyFrom.Path)
		}
	}
	return b
}

// modWord says what of a node was changed: its text, its properties, its mergeinfo.
func modWord(c svn.Change) string {
	w := []byte("---")
	for i, set := range [...]bool{c.TextMod, c.PropMod, c.MergeinfoMod} {
		if set {
			w[i] = "tpm"[i]
		}
	}
	return string(w)
}

// decodeRevision is the inverse of encode.
func decodeRevision(id ID, data []byte) (*revision, error) {
	if !bytes.HasPrefix(data, []byte(revisionMagic)) {
		return nil, svn.Errorf(svn.ErrFSCorrupt, "object %s is no revision", id)
	}
	p := &nodeParser{rest: string(data[len(revisionMagic):])}
	r := &revision{number: p.rev(p.need("number", 1)[0]), root: p.id(p.need("root", 1)[0])}
	n := p.number(p.need("props", 1)[0])
	if p.err == nil && (n < 0 || n > int64(len(p.rest))) {
		p.fail("props")
	}
	if p.err == nil {
		if r.props, p.err = svn.DecodeProps([]byte(p.rest[:n])); p.err == nil {
			p.rest = p.rest[n:]
		}
	}
	for p.rest != "" && p.err == nil {
		r.changes = append(r.changes, p.change())
	}
	if p.err != nil {
		return nil, fmt.Errorf("object %s: %w", id, p.err)
	}
	return r, nil
}

func (p *nodeParser) change() (c svn.Change) {
	line, rest, ok := strings.Cut(p.rest, "\n")
	f := strings.SplitN(line, " ", 4)
	if !ok || len(f) != 4 || len(f[0]) != 1 || !strings.Contains("MADR", f[0]) || len(f[2]) != 3 {
		p.fail("change")
		return c
	}
	c.Action, c.Kind, c.Path = svn.ChangeAction(f[0][0]), p.kind(f[1]), f[3]
	if c.TextMod, c.PropMod, c.MergeinfoMod = f[2][0] == 't', f[2][1] == 'p', f[2][2] == 'm'; modWord(c) != f[2] {
		p.fail("what a change modified")
	}
	p.rest = rest
	if from := p.line("from", 2); from != nil {
		c.CopyFrom = &svn.CopyFrom{Rev: p.rev(from[0]), Path: from[1]}
	}
	return c
}

// commitObject returns the git commit of a revision.
func commitObject(tree, parent ID, props svn.Props, uuid string) []byte {
	seconds := int64(0)
	if t, err := svn.ParseTime(props[svn.PropDate]); err == nil && t.Unix() > 0 {
		seconds = t.Unix()
	}
	name := gitName(props[svn.PropAuthor])
	var b bytes.Buffer
	fmt.Fprintf(&b, "tree %s\n", tree)
	if !parent.IsZero() {
		fmt.Fprintf(&b, "parent %s\n", parent)
	}
	for _, who := range [...]string{"author", "committer"} {
		fmt.Fprintf(&b, "%s %s <%s@%s> %d +0000\n", who, name, strings.ReplaceAll(name, " ", "_"), uuid, seconds)
	}
	b.WriteByte('\n')
	b.WriteString(strings.ReplaceAll(props[svn.PropLog], "\x00", ""))
	return b.Bytes()
}

// gitName makes what git takes for a name of an author.
func gitName(author string) string {
	name := strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == '<' || r == '>' || r == 0x7f {
			return '_'
		}
		return r
	}, author))
	if name == "" {
		return "(no author)"
	}
	return name
}

// maxFan is how many entries a tree of a revision has at most, below its root.
const maxFan = 256

// revisionTrees returns the trees that hold a revision's new objects: the root last. The revision object lies beside a
// directory "objects", in which the others are numbered, in hexadecimal, with subdirectories where they are many.
func revisionTrees(f object.Format, rev ID, blobs []ID) (trees []packObject, root ID) {
	entries := make([]treeEntry, len(blobs))
	for i, id := range blobs {
		entries[i] = treeEntry{object.ModeFile, id}
	}
	add := func(data []byte) ID {
		id := hashObject(f, object.Tree, data)
		trees = append(trees, packObject{typ: object.Tree, id: id, data: data})
		return id
	}
	for len(entries) > maxFan {
		var up []treeEntry
		for len(entries) > 0 {
			n := min(maxFan, len(entries))
			up = append(up, treeEntry{object.ModeTree, add(encodeTree(entries[:n]))})
			entries = entries[n:]
		}
		entries = up
	}
	var b []byte
	if len(entries) > 0 {
		b = appendTreeEntry(b, object.ModeTree, "objects", add(encodeTree(entries)))
	}
	b = appendTreeEntry(b, object.ModeFile, revisionName, rev)
	return trees, add(b)
}

type treeEntry struct {
	mode uint32
	id   ID
}

func encodeTree(entries []treeEntry) (b []byte) {
	for i, e := range entries {
		b = appendTreeEntry(b, e.mode, fmt.Sprintf("%02x", i), e.id)
	}
	return b
}

func appendTreeEntry(b []byte, mode uint32, name string, id ID) []byte {
	b = fmt.Appendf(b, "%o %s\x00", mode, name)
	return id.Append(b)
}
