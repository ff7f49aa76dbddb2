package svnpull

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"holdfast/server/svnproto"
	"holdfast/storage/svn"
	"holdfast/storage/svn/dumpfile"
)

const defaultMaxBytes = 16 << 30

// The bounds of what a server has its client keep in memory.
const (
	maxTokens     = 1 << 14          // directories that are open at once: a replay opens one in another
	maxName       = svn.MaxPathBytes // bytes of a path, or of a token
	maxPropsBytes = 64 << 20         // of the changes of one node's properties
)

// Dump writes revisions to w as a dump file of deltas; w should be buffered. With from above 1, the dump is for a repository that has
// those before. scratch makes files for texts, one at a time.
func (s *Source) Dump(ctx context.Context, w io.Writer, from, to svn.Revnum, scratch func() (*os.File, error)) error {
	d := &dumper{s: s, w: dumpfile.NewWriter(w), scratch: scratch}
	defer d.closeFile()
	if err := d.w.Format(dumpfile.FormatDeltas); err != nil {
		return err
	}
	if err := d.w.UUID(s.uuid); err != nil {
		return err
	}
	if from == 0 {
		props, err := s.RevProps(0)
		if err != nil {
			return err
		}
		if err := d.w.Revision(0, props); err != nil {
			return err
		}
		from = 1
	}
	if from > to {
		return nil
	}
	s.w.Raw(fmt.Sprintf("( replay-range ( %d %d 0 true ) ) ", from, to))
	if err := s.w.Flush(); err != nil {
		return err
	}
	if err := s.authenticate(); err != nil {
		return err
	}
	for rev := from; rev <= to; rev++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.revision(rev); err != nil {
			return fmt.Errorf("r%d: %w", rev, err)
		}
	}
	_, err := s.response()
	return err
}

// dumper turns the commands of a replay into records.
type dumper struct {
	s       *Source
	w       *dumpfile.Writer
	scratch func() (*os.File, error)

	dirs  map[string]*node // open, by token
	dir   *node            // whose record is not written yet: its properties may still come; nil if there is none
	file  *node            // that is open; nil if none is
	token string           // of file
	text  *os.File         // of file
	size  int64            // of text
	left  int64            // bytes that the texts of the revision may still have
}

// node is a directory or a file of a revision.
type node struct {
	dumpfile.Node
	set, gone svn.Props // properties that were changed and removed
	propBytes int       // of both
	hasText   bool
}

func (d *dumper) revision(rev svn.Revnum) error {
	t, err := d.s.tuple()
	if err != nil {
		return err
	}
	switch word := t.word(); {
	case word == "failure":
		return failure(t.list())
	case word != "revprops" || t.err != nil:
		return errMalformed
	}
	props := t.props()
	if t.err != nil {
		return t.err
	}
	if err := d.w.Revision(rev, props); err != nil {
		return err
	}
	d.dirs, d.dir, d.left = map[string]*node{}, nil, cmp.Or(d.s.o.MaxBytes, defaultMaxBytes)
	for {
		t, err := d.s.tuple()
		if err != nil {
			return err
		}
		word, params := t.word(), tuple{items: t.list()}
		switch {
		case t.err != nil:
			return t.err
		case word == "failure":
			return failure(params.items)
		case word == "finish-replay":
			return d.flush()
		}
		if err := d.command(word, &params); err != nil {
			return err
		}
		if params.err != nil {
			return params.err
		}
	}
}

func (d *dumper) command(word string, p *tuple) error {
	if word == "change-dir-prop" {
		return d.change(d.dirs[p.text()], p)
	}
	if err := d.flush(); err != nil {
		return err
	}
	switch word {
	case "open-root":
		p.list()
		return d.open(p.text(), &node{})
	case "delete-entry":
		return d.w.Node(&dumpfile.Node{Path: named(p.text()), Action: dumpfile.Delete}, nil, nil, dumpfile.NoText)
	case "add-dir", "open-dir", "add-file", "open-file":
		return d.node(word, p)
	case "close-dir":
		delete(d.dirs, p.text())
	case "change-file-prop":
		return d.change(d.of(p), p)
	case "apply-textdelta":
		return d.beginText(p)
	case "textdelta-chunk":
		return d.chunk(p)
	case "close-file":
		return d.endFile(p)
	case "absent-dir", "absent-file":
		return fmt.Errorf("the server does not show %q: a part of a repository cannot be imported", named(p.text()))
	case "target-rev", "textdelta-end", "close-edit":
	default:
		return fmt.Errorf("the server ended the replay with %q", word)
	}
	return nil
}

// named makes a path of a dump of one of the protocol.
func named(p string) string { return strings.Trim(p, "/") }

func (d *dumper) node(word string, p *tuple) error {
	action, kind, isDir := dumpfile.Change, svn.File, strings.HasSuffix(word, "dir")
	if isDir {
		kind = svn.Dir
	}
	n := &node{Node: dumpfile.Node{Path: named(p.text()), Kind: kind}}
	p.text() // the parent's token
	token := p.text()
	if strings.HasPrefix(word, "add") {
		action = dumpfile.Add
		if from := (tuple{items: p.list()}); len(from.items) > 0 {
			n.CopyFrom = &svn.CopyFrom{Path: named(from.text()), Rev: from.rev()}
			if from.err != nil {
				return from.err
			}
		}
	}
	if n.Action = action; p.err != nil {
		return p.err
	}
	if len(n.Path) > maxName || len(token) > maxName {
		return errMalformed
	}
	if isDir {
		return d.open(token, n)
	}
	if d.file != nil {
		return errMalformed
	}
	d.file, d.token, d.size = n, token, 0
	return nil
}

// open notes a directory. Its record is written once its properties are known, if it needs one.
func (d *dumper) open(token string, n *node) error {
	if len(d.dirs) >= maxTokens {
		return errMalformed
	}
	d.dirs[token], d.dir = n, n
	return nil
}

// flush writes the record of the directory that waits.
func (d *dumper) flush() error {
	n := d.dir
	d.dir = nil
	if n == nil || n.Action != dumpfile.Add && len(n.set)+len(n.gone) == 0 {
		return nil
	}
	if n.Action == dumpfile.NoAction { // the root
		n.Action, n.Kind = dumpfile.Change, svn.Dir
	}
	err := d.w.Node(n.record(), n.props(), nil, dumpfile.NoText)
	n.set, n.gone = nil, nil // the directory stays open
	return err
}

func (n *node) record() *dumpfile.Node {
	n.PropDelta = len(n.set)+len(n.gone) > 0
	return &n.Node
}

func (n *node) props() []byte {
	if len(n.set)+len(n.gone) == 0 {
		return nil
	}
	return dumpfile.EncodePropDelta(n.gone, n.set)
}

// change takes a change of a property.
func (d *dumper) change(n *node, p *tuple) error {
	name := p.text()
	value, ok := p.optional()
	if p.err != nil || n == nil || n != d.dir && n != d.file {
		return errMalformed
	}
	if n.propBytes += len(name) + len(value); n.propBytes > maxPropsBytes {
		return svn.Errorf(svn.ErrRASvnResponseSize, "the properties of %.200q are longer than %d bytes", n.Path, maxPropsBytes)
	}
	if n.set == nil {
		n.set, n.gone = svn.Props{}, svn.Props{}
	}
	if ok {
		n.set[name] = value
	} else {
		n.gone[name] = ""
	}
	return nil
}

// of returns the file that a token names.
func (d *dumper) of(p *tuple) *node {
	if token := p.text(); token != d.token {
		return nil
	}
	return d.file
}

func (d *dumper) beginText(p *tuple) (err error) {
	n := d.of(p)
	if n == nil || n.hasText {
		return errMalformed
	}
	n.BaseMD5, _ = p.optional()
	n.hasText, n.TextDelta = true, true
	d.text, err = d.scratch()
	return err
}

func (d *dumper) chunk(p *tuple) error {
	n := d.of(p)
	b := p.next(svnproto.String).Bytes
	if n == nil || d.text == nil {
		return errMalformed
	}
	d.size += int64(len(b))
	if d.left -= int64(len(b)); d.left < 0 {
		return svn.Errorf(svn.ErrRASvnResponseSize, "the texts of one revision are longer than %d bytes", cmp.Or(d.s.o.MaxBytes, defaultMaxBytes))
	}
	_, err := d.text.Write(b)
	return err
}

func (d *dumper) endFile(p *tuple) error {
	n := d.of(p)
	if n == nil {
		return errMalformed
	}
	n.TextMD5, _ = p.optional()
	defer d.closeFile()
	switch {
	case n.hasText:
		if _, err := d.text.Seek(0, io.SeekStart); err != nil {
			return err
		}
		return d.w.Node(n.record(), n.props(), d.text, d.size)
	case n.Action == dumpfile.Change && len(n.set)+len(n.gone) == 0:
		return nil
	}
	n.TextMD5 = ""
	return d.w.Node(n.record(), n.props(), nil, dumpfile.NoText)
}

func (d *dumper) closeFile() {
	if d.text != nil {
		d.text.Close()
	}
	d.file, d.token, d.text = nil, "", nil
}
