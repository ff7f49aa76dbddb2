package svnfs

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"holdfast/storage/object"
	"holdfast/storage/svn"
)

// ID names a node-revision: it is the id of the blob that describes it. Equal IDs are the same node-revision.
type ID = object.ID

// part is a node id or a copy id: the revision that it was made in, and a number within that revision. In a transaction, those
// that it makes have svn.InvalidRevnum until the commit.
type part struct {
	rev svn.Revnum
	n   uint32
}

func (p part) String() string { return fmt.Sprintf("%d-%d", p.rev, p.n) }

// settled returns the part with the revision that a transaction came to be.
func (p part) settled(rev svn.Revnum) part {
	if !p.rev.Valid() {
		p.rev = rev
	}
	return p
}

// record is a decoded node-revision. Those that were read are shared and never changed.
type record struct {
	id       ID // zero in a transaction
	kind     svn.Kind
	node     part
	copy     part
	created  svn.Revnum // svn.InvalidRevnum in a transaction
	path     string     // at which it was created
	pred     ID         // zero if it has none
	preds    int64      // how many there are before it
	copyFrom *svn.CopyFrom
	copyRoot svn.CopyFrom // the root of the last copy that this node was part of, or the node's origin
	props    ID           // the blob of its properties; zero if it has none

	mergeinfo     int64 // nodes at or below that have svn:mergeinfo
	selfMergeinfo bool

	text textRef // of a file
	dir  dirRef  // of a directory
}

// textRef names a file's text.
type textRef struct {
	blob ID
	size int64
	md5  [16]byte
	sha1 [20]byte
}

// Encoded node-revisions are lines of words, the last of which may have spaces. The order is fixed and what is not there is left
// out, so that a node-revision has one encoding.
const nodeMagic = "svn-node 1\n"

// encode returns the blob's content. doc/formats/svn.md specifies it.
func (r *record) encode() []byte {
	b := make([]byte, 0, 512+48*len(r.dir.inline))
	b = append(b, nodeMagic...)
	b = fmt.Appendf(b, "kind %s\nid %s %s\ncreated %d %s\n", r.kind, r.node, r.copy, r.created, r.path)
	if !r.pred.IsZero() {
		b = fmt.Appendf(b, "pred %s %d\n", r.pred, r.preds)
	}
	if r.copyFrom != nil {
		b = fmt.Appendf(b, "copyfrom %d %s\n", r.copyFrom.Rev, r.copyFrom.Path)
	}
	b = fmt.Appendf(b, "copyroot %d %s\n", r.copyRoot.Rev, r.copyRoot.Path)
	if !r.props.IsZero() {
		b = fmt.Appendf(b, "props %s\n", r.props)
	}
	if r.mergeinfo > 0 {
		b = fmt.Appendf(b, "mergeinfo %d %t\n", r.mergeinfo, r.selfMergeinfo)
	}
	if r.kind == svn.File {
		return fmt.Appendf(b, "text %s %d %x %x\n", r.text.blob, r.text.size, r.text.md5, r.text.sha1)
	}
	return r.dir.encode(b)
}

// nodeParser takes lines off an encoded node-revision.
type nodeParser struct {
	rest string
	err  error
}

func (p *nodeParser) fail(what string) {
	if p.err == nil {
		p.err = svn.Errorf(svn.ErrFSCorrupt, "malformed node-revision: %s", what)
	}
}

// line returns the words of the next line if it begins with a key; the last word takes the rest of the line.
func (p *nodeParser) line(key string, words int) []string {
	rest, ok := strings.CutPrefix(p.rest, key+" ")
	if !ok || p.err != nil {
		return nil
	}
	line, rest, ok := strings.Cut(rest, "\n")
	fields := strings.SplitN(line, " ", words)
	if !ok || len(fields) != words {
		p.fail(key)
		return nil
	}
	p.rest = rest
	return fields
}

// need is line for what must be there.
func (p *nodeParser) need(key string, words int) []string {
	f := p.line(key, words)
	if f == nil {
		p.fail(key)
		f = make([]string, words)
	}
	return f
}

func (p *nodeParser) number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != s {
		p.fail("number")
	}
	return n
}

func (p *nodeParser) rev(s string) svn.Revnum { return svn.Revnum(p.number(s)) }

func (p *nodeParser) kind(s string) svn.Kind {
	switch s {
	case "file":
		return svn.File
	case "dir":
		return svn.Dir
	}
	p.fail("kind")
	return svn.None
}

func (p *nodeParser) part(s string) part {
	rev, n, _ := strings.Cut(s, "-")
	v := p.number(n)
	if v < 0 || v > 1<<32-1 {
		p.fail("id")
	}
	return part{p.rev(rev), uint32(v)}
}

// id reads the id of an object: not the zero ID, which names none.
func (p *nodeParser) id(s string) ID {
	id, err := object.ParseID(s)
	if err != nil || id.IsZero() || upperHex(s) {
		p.fail("object id")
	}
	return id
}

// upperHex reports whether a hexadecimal number is not the way that we write it.
func upperHex(s string) bool { return strings.ContainsAny(s, "ABCDEF") }

func (p *nodeParser) digest(s string, to []byte) {
	if len(s) != 2*len(to) || upperHex(s) {
		p.fail("checksum")
	} else if _, err := hex.Decode(to, []byte(s)); err != nil {
		p.fail("checksum")
	}
}

// decodeNode is the inverse of encode.
func decodeNode(id ID, data []byte) (*record, error) {
	if !bytes.HasPrefix(data, []byte(nodeMagic)) {
		return nil, svn.Errorf(svn.ErrFSCorrupt, "object %s is no node-revision", id)
	}
	p := &nodeParser{rest: string(data[len(nodeMagic):])}
	r := &record{id: id}
	p.head(r)
	if r.kind == svn.File {
		f := p.need("text", 4)
		r.text.blob, r.text.size = p.id(f[0]), p.number(f[1])
		p.digest(f[2], r.text.md5[:])
		p.digest(f[3], r.text.sha1[:])
	} else {
		r.dir = p.dir()
	}
	if p.rest != "" {
		p.fail("more at its end")
	}
	if p.err != nil {
		return nil, fmt.Errorf("object %s: %w", id, p.err)
	}
	return r, nil
}

func (p *nodeParser) head(r *record) {
	r.kind = p.kind(p.need("kind", 1)[0])
	f := p.need("id", 2)
	r.node, r.copy = p.part(f[0]), p.part(f[1])
	f = p.need("created", 2)
	r.created, r.path = p.rev(f[0]), f[1]
	if f = p.line("pred", 2); f != nil {
		r.pred, r.preds = p.id(f[0]), p.number(f[1])
	}
	if f = p.line("copyfrom", 2); f != nil {
		r.copyFrom = &svn.CopyFrom{Rev: p.rev(f[0]), Path: f[1]}
	}
	f = p.need("copyroot", 2)
	r.copyRoot = svn.CopyFrom{Rev: p.rev(f[0]), Path: f[1]}
	if f = p.line("props", 1); f != nil {
		r.props = p.id(f[0])
	}
	if f = p.line("mergeinfo", 2); f != nil {
		r.mergeinfo, r.selfMergeinfo = p.number(f[0]), f[1] == "true"
		if r.mergeinfo <= 0 || !r.selfMergeinfo && f[1] != "false" {
			p.fail("mergeinfo")
		}
	}
}

// Entry is an entry of a directory.
type Entry struct {
	Name string
	Kind svn.Kind
	ID   ID // zero for a node that a transaction has changed
}

// dirRef is a directory's content: its entries, or where there are many, buckets of them.
type dirRef struct {
	inline  []Entry // sorted by name
	buckets []ID    // by bucketOf; zero for an empty one
	count   int     // of all entries
}

const (
	maxInline      = 1000 // entries that a node-revision holds itself
	entriesABucket = 128  // on average, at most
)

// bucketsFor returns how many buckets a directory of so many entries has, 0 for none. It depends on the number alone, so that
// a directory has one encoding.
func bucketsFor(count int) int {
	if count <= maxInline {
		return 0
	}
	n := 1
	for n*entriesABucket < count {
		n *= 2
	}
	return n
}

// bucketOf returns the bucket of a name: FNV-1a of it.
func bucketOf(name string, buckets int) int {
	h := uint32(2166136261)
	for i := 0; i < len(name); i++ {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return int(h % uint32(buckets))
}

// entry looks a name up, given what reads a bucket.
func (d *dirRef) entry(name string, bucket func(ID) ([]Entry, error)) (Entry, bool, error) {
	in := d.inline
	if d.buckets != nil {
		var err error
		if in, err = bucket(d.buckets[bucketOf(name, len(d.buckets))]); err != nil {
			return Entry{}, false, err
		}
	}
	e, ok := find(in, name)
	return e, ok, nil
}

// entries returns all entries, sorted by name; they may be shared.
func (d *dirRef) entries(bucket func(ID) ([]Entry, error)) ([]Entry, error) {
	if d.buckets == nil {
		return d.inline, nil
	}
	all := make([]Entry, 0, d.count)
	for _, id := range d.buckets {
		b, err := bucket(id)
		if err != nil {
			return nil, err
		}
		all = append(all, b...)
	}
	sortEntries(all)
	return all, nil
}

func (d *dirRef) encode(b []byte) []byte {
	if d.buckets == nil {
		b = fmt.Appendf(b, "entries %d\n", len(d.inline))
		return appendEntries(b, d.inline)
	}
	b = fmt.Appendf(b, "buckets %d %d\n", d.count, len(d.buckets))
	for _, id := range d.buckets {
		if id.IsZero() {
			b = append(b, "-\n"...)
			continue
		}
		b = append(append(b, id.String()...), '\n')
	}
	return b
}

const bucketMagic = "svn-bucket 1\n"

func encodeBucket(entries []Entry) []byte {
	return appendEntries([]byte(bucketMagic), entries)
}

func appendEntries(b []byte, entries []Entry) []byte {
	for i := range entries {
		e := &entries[i]
		letter := "f "
		if e.Kind == svn.Dir {
			letter = "d "
		}
		b = append(b, letter...)
		b = hex.AppendEncode(b, e.ID.Bytes())
		b = append(b, ' ')
		b = append(b, e.Name...)
		b = append(b, '\n')
	}
	return b
}

func decodeBucket(id ID, data []byte) ([]Entry, error) {
	rest, ok := strings.CutPrefix(string(data), bucketMagic)
	p := &nodeParser{rest: rest}
	entries := p.entries(strings.Count(rest, "\n"))
	if !ok || p.err != nil || p.rest != "" {
		return nil, svn.Errorf(svn.ErrFSCorrupt, "object %s is no directory's bucket", id)
	}
	return entries, nil
}

func (p *nodeParser) dir() (d dirRef) {
	if f := p.line("entries", 1); f != nil {
		n := p.number(f[0])
		if n < 0 || n > maxInline {
			p.fail("entries")
			return d
		}
		d.inline = p.entries(int(n))
		d.count = len(d.inline)
		return d
	}
	f := p.need("buckets", 2)
	count, n := p.number(f[0]), p.number(f[1])
	if p.err != nil || count > 1<<31 || count <= maxInline || int64(bucketsFor(int(count))) != n || n > int64(len(p.rest)) {
		p.fail("buckets")
		return d
	}
	d.count, d.buckets = int(count), make([]ID, n)
	for i := range d.buckets {
		line, rest, _ := strings.Cut(p.rest, "\n")
		if p.rest = rest; line != "-" {
			d.buckets[i] = p.id(line)
		}
	}
	return d
}

// entries reads n lines of entries.
func (p *nodeParser) entries(n int) []Entry {
	if n > len(p.rest) {
		p.fail("entries")
		return nil
	}
	entries := make([]Entry, n)
	for i := range entries {
		line, rest, ok := strings.Cut(p.rest, "\n")
		sum, name, ok2 := strings.Cut(line[min(2, len(line)):], " ")
		e := &entries[i]
		switch {
		case strings.HasPrefix(line, "f "):
			e.Kind = svn.File
		case strings.HasPrefix(line, "d "):
			e.Kind = svn.Dir
		default:
			ok = false
		}
		if !ok || !ok2 || name == "" || i > 0 && name <= entries[i-1].Name {
			p.fail("entry")
			return nil
		}
		e.ID, e.Name, p.rest = p.id(sum), name, rest
	}
	return entries
}

// find looks a name up in sorted entries.
func find(entries []Entry, name string) (Entry, bool) {
	i, ok := slices.BinarySearchFunc(entries, name, func(e Entry, name string) int { return strings.Compare(e.Name, name) })
	if !ok {
		return Entry{}, false
	}
	return entries[i], true
}
