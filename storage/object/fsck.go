package object

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
)

// FsckError is a fault for which an object is refused.
type FsckError struct {
	MsgID  string // git's name for the fault, from its fsck-msgids document
	Type   Type
	ID     ID // zero where the one who checked did not know it
	Detail string
}

// Error reads like git's own message: "tree 4b825dc...: duplicateEntries: contains duplicate file entries".
func (e *FsckError) Error() string {
	name := e.Type.String()
	if !e.ID.IsZero() {
		name += " " + e.ID.String()
	}
	return fmt.Sprintf("%s: %s: %s", name, e.MsgID, e.Detail)
}

// FsckOptions says how strict a check is. The zero value refuses
//   - what git's fsck calls an error or fatal, and
//   - those of its warnings that let a path leave the work tree, or name nothing: emptyName, fullPathname, hasDot, hasDotdot,
//     hasDotgit, nullSha1.
//
// What git calls info (badFilemode, missingTaggerEntry and the like) is always accepted: old histories are full of it.
type FsckOptions struct {
	// Strict also refuses git's other warnings (largePathname, nulInCommit, zeroPaddedFilemode), as git does on a push
	// with receive.fsckObjects set.
	Strict bool
}

// Fsck checks one object. Faults are *FsckError without ID. Blobs have none by themselves: see Checker.Special.
func Fsck(f Format, t Type, data []byte, o FsckOptions) error {
	c := Checker{Format: f, Options: o}
	return c.Check(t, data)
}

// Checker checks many objects and reports their links in the same pass. It is not safe for concurrent use.
type Checker struct {
	Format  Format
	Options FsckOptions

	// Link, if set, gets the bytes of each id that the object links to; they are valid during the call only. It may
	// have been called for an object that Check then refuses.
	Link func(t Type, id []byte)
	// Special, if set, gets the blobs that a tree names as files with a meaning for git: their content needs a look
	// too (CheckSpecial). It is valid during the call only.
	Special func(s Special, id []byte)

	// files is checkTree's scratch space.
	files [][]byte
}

// Check checks an object of type t, as Fsck does.
func (c *Checker) Check(t Type, data []byte) error {
	switch t {
	case Blob:
		return nil
	case Tree:
		return c.checkTree(data)
	case Commit:
		return c.checkCommit(data)
	case Tag:
		return c.checkTag(data)
	}
	return &FsckError{MsgID: "unknownType", Type: t, Detail: "no such type of object"}
}

func (c *Checker) link(t Type, id ID) {
	if c.Link != nil {
		c.Link(t, id.sum[:c.Format.Size()])
	}
}

// header walks the lines of a commit's or tag's header. Every line read from it ends in a newline: checkHeader sees to that.
type header struct {
	typ  Type
	rest []byte
}

func (h *header) fault(id, format string, args ...any) error {
	return &FsckError{MsgID: id, Type: h.typ, Detail: fmt.Sprintf(format, args...)}
}

// checkHeader demands that a header ends in an empty line, or at least that the object ends in a newline.
func checkHeader(t Type, data []byte) (*header, error) {
	h := &header{typ: t, rest: data}
	end := bytes.Index(data, []byte("\n\n"))
	head := data
	if end >= 0 {
		head = data[:end]
	}
	if i := bytes.IndexByte(head, 0); i >= 0 {
		return nil, h.fault("nulInHeader", "unterminated header: NUL at offset %d", i)
	}
	if end < 0 && (len(data) == 0 || data[len(data)-1] != '\n') {
		return nil, h.fault("unterminatedHeader", "unterminated header")
	}
	return h, nil
}

// keyword takes a keyword off the next line.
func (h *header) keyword(word string) bool {
	rest, ok := bytes.CutPrefix(h.rest, []byte(word))
	if ok {
		h.rest = rest
	}
	return ok
}

// line takes what is left of the line.
func (h *header) line() (line []byte, ok bool) {
	line, rest, ok := bytes.Cut(h.rest, []byte("\n"))
	h.rest = rest
	return line, ok
}

func (h *header) id(f Format, msgID string) (ID, error) {
	var id ID
	rest, ok := idLine(f, h.rest, "", &id)
	if !ok {
		return ID{}, h.fault(msgID, "a header line does not hold a valid object id")
	}
	h.rest = rest
	return id, nil
}

func (c *Checker) checkCommit(data []byte) error {
	h, err := checkHeader(Commit, data)
	if err != nil {
		return err
	}
	if !h.keyword("tree ") {
		return h.fault("missingTree", "invalid format - expected 'tree' line")
	}
	id, err := h.id(c.Format, "badTreeSha1")
	if err != nil {
		return err
	}
	c.link(Tree, id)
	for h.keyword("parent ") {
		if id, err = h.id(c.Format, "badParentSha1"); err != nil {
			return err
		}
		c.link(Commit, id)
	}
	authors := 0
	for ; h.keyword("author "); authors++ {
		if err := h.ident(); err != nil {
			return err
		}
	}
	switch {
	case authors < 1:
		return h.fault("missingAuthor", "invalid format - expected 'author' line")
	case authors > 1:
		return h.fault("multipleAuthors", "invalid format - multiple 'author' lines")
	case !h.keyword("committer "):
		return h.fault("missingCommitter", "invalid format - expected 'committer' line")
	}
	if err := h.ident(); err != nil {
		return err
	}
	if c.Options.Strict && bytes.IndexByte(data, 0) >= 0 {
		return h.fault("nulInCommit", "NUL byte in the commit object body")
	}
	return nil
}

func (c *Checker) checkTag(data []byte) error {
	h, err := checkHeader(Tag, data)
	if err != nil {
		return err
	}
	if !h.keyword("object ") {
		return h.fault("missingObject", "invalid format - expected 'object' line")
	}
	id, err := h.id(c.Format, "badObjectSha1")
	if err != nil {
		return err
	}
	if !h.keyword("type ") {
		return h.fault("missingTypeEntry", "invalid format - expected 'type' line")
	}
	line, ok := h.line()
	if !ok {
		return h.fault("missingType", "invalid format - unexpected end after 'type' line")
	}
	t, err := ParseType(string(line))
	if err != nil {
		return h.fault("badType", "invalid 'type' value")
	}
	c.link(t, id)
	if !h.keyword("tag ") {
		return h.fault("missingTagEntry", "invalid format - expected 'tag' line")
	}
	if _, ok := h.line(); !ok {
		return h.fault("missingTag", "invalid format - unexpected end after 'tag' line")
	}
	// Git cannot read a tag that is shorter than one with a name can be, whatever its fsck says.
	if len(data) < 2*c.Format.Size()+len("object \ntype tree\ntag x\n") {
		return h.fault("missingTag", "too short to be a tag")
	}
	// A missing tagger is git's info missingTaggerEntry, a bad name its info badTagName.
	if h.keyword("tagger ") {
		if err := h.ident(); err != nil {
			return err
		}
	}
	return h.signature()
}

// signature checks that a signature in a tag's header is ended.
func (h *header) signature() error {
	if !h.keyword("gpgsig ") && !h.keyword("gpgsig-sha256 ") {
		return nil
	}
	if _, ok := h.line(); !ok {
		return h.fault("badGpgsig", "invalid format - unexpected end after 'gpgsig' or 'gpgsig-sha256' line")
	}
	for h.keyword(" ") {
		if _, ok := h.line(); !ok {
			return h.fault("badHeaderContinuation", "invalid format - unexpected end in a continuation line")
		}
	}
	return nil
}

// ident checks "Name <email> 1234567890 +0100".
func (h *header) ident() error {
	line, _ := h.line()
	fault := func(id, what string) error { return h.fault(id, "invalid author/committer line - %s", what) }
	open := bytes.IndexAny(line, "<>")
	switch {
	case open < 0:
		return fault("missingEmail", "missing email")
	case line[open] == '>':
		return fault("badName", "bad name")
	case open == 0:
		return fault("missingNameBeforeEmail", "missing space before email")
	case line[open-1] != ' ':
		return fault("missingSpaceBeforeEmail", "missing space before email")
	}
	line = line[open+1:]
	end := bytes.IndexAny(line, "<>")
	if end < 0 || line[end] == '<' {
		return fault("badEmail", "bad email")
	}
	rest, ok := bytes.CutPrefix(line[end+1:], []byte(" "))
	if !ok {
		return fault("missingSpaceBeforeDate", "missing space before date")
	}
	return identDate(bytes.TrimLeft(rest, " \t"), fault)
}

func identDate(b []byte, fault func(id, what string) error) error {
	n := digits(b)
	switch {
	case n == 0:
		return fault("badDate", "bad date")
	case b[0] == '0' && (len(b) < 2 || b[1] != ' '):
		return fault("zeroPaddedDate", "zero-padded date")
	}
	if t, err := strconv.ParseUint(string(b[:n]), 10, 64); err != nil || t > math.MaxInt64 {
		return fault("badDateOverflow", "date causes integer overflow")
	}
	zone, ok := bytes.CutPrefix(b[n:], []byte(" "))
	if !ok {
		return fault("badDate", "bad date")
	}
	if len(zone) != 5 || zone[0] != '+' && zone[0] != '-' || digits(zone[1:]) != 4 {
		return fault("badTimezone", "bad time zone")
	}
	return nil
}

// digits counts the digits that b begins with.
func digits(b []byte) int {
	n := 0
	for n < len(b) && '0' <= b[n] && b[n] <= '9' {
		n++
	}
	return n
}
