package svnrepos

import (
	"bytes"
	"encoding/hex"
	"io"
	"os"

	"holdfast/storage"
	"holdfast/storage/svn"
	"holdfast/storage/svn/dumpfile"
	"holdfast/storage/svn/mergeinfo"
	"holdfast/storage/svn/svndiff"
	"holdfast/storage/svnfs"
)

// nodeRecord is a node's record in the making.
type nodeRecord struct {
	dumpfile.Node
	node        *svnfs.Node
	source      *svnfs.Node // what it is compared with, nil for none
	text, props bool        // they are to be written
}

// node writes the record of a path, relative, that is there after the revision. source is what it was copied from, or for a change, what
// it is compared with: nil for the same path in the revision before.
func (d *dumper) node(path string, kind svn.Kind, action dumpfile.Action, source *svn.CopyFrom) error {
	node, err := d.root.Node("/" + path)
	if err != nil {
		return err
	}
	n := &nodeRecord{Node: dumpfile.Node{Path: path, Kind: kind, Action: action}, node: node}
	switch {
	case action == dumpfile.Change:
		if source == nil {
			source = &svn.CopyFrom{Path: "/" + path, Rev: d.rev - 1}
		}
		err = d.compare(n, source)
	case source == nil:
		n.text, n.props = kind == svn.File, true
	default:
		err = d.copied(n, source)
	}
	if err != nil {
		return err
	}
	return d.write(n)
}

// compare sets a record's source, and what differs from it.
func (d *dumper) compare(n *nodeRecord, source *svn.CopyFrom) error {
	root, err := d.roots.root(source.Rev)
	if err != nil {
		return err
	}
	if n.source, err = root.Node(source.Path); err != nil {
		return err
	}
	if c, ok := d.changes["/"+n.Path]; ok {
		// What was written anew is dumped, even if it is as it was.
		n.props, n.text = c.PropMod, n.Kind == svn.File && c.TextMod
		return nil
	}
	n.props = !svnfs.SameProps(n.source, n.node)
	n.text = n.Kind == svn.File && !svnfs.SameText(n.source, n.node)
	return nil
}

// copied begins the record of a copy. If something is replaced, that is a record of its own.
func (d *dumper) copied(n *nodeRecord, from *svn.CopyFrom) error {
	if n.Action == dumpfile.Replace {
		if err := d.w.Deleted(n.Path); err != nil {
			return err
		}
		n.Action = dumpfile.Add
	}
	if from.Rev < d.o.From {
		d.oldReference = true
		d.warn(WarnOldReference, "Referencing data in revision %d, which is older than the oldest dumped revision (r%d).  "+
			"Loading this dump into an empty repository will fail.", from.Rev, d.o.From)
	}
	n.CopyFrom = &svn.CopyFrom{Path: from.Path[1:], Rev: from.Rev}
	if err := d.compare(n, from); err != nil {
		return err
	}
	if n.Kind == svn.File {
		n.CopySourceMD5, n.CopySourceSHA1 = hexMD5(n.source), hexSHA1(n.source)
	}
	return nil
}

func hexSHA1(n *svnfs.Node) string {
	sum := n.SHA1()
	return hex.EncodeToString(sum[:])
}

// write writes a record with its properties and text.
func (d *dumper) write(n *nodeRecord) error {
	var props []byte
	if n.props {
		var err error
		if props, err = d.encodeProps(n); err != nil {
			return err
		}
	}
	if !n.text {
		return d.w.Node(&n.Node, props, nil, dumpfile.NoText)
	}
	n.TextMD5, n.TextSHA1 = hexMD5(n.node), hexSHA1(n.node)
	text, err := n.node.Open()
	if err != nil {
		return err
	}
	defer text.Close()
	if !d.deltas {
		return d.w.Node(&n.Node, props, text, n.node.Size())
	}
	if err := d.delta(n, text); err != nil {
		return err
	}
	delta, err := d.spool.reader()
	if err != nil {
		return err
	}
	return d.w.Node(&n.Node, props, delta, d.spool.size)
}

func (d *dumper) encodeProps(n *nodeRecord) ([]byte, error) {
	props, err := n.node.Props()
	if err != nil {
		return nil, err
	}
	if value, ok := props[svn.PropMergeinfo]; ok {
		d.checkMergeinfo(value)
	}
	if !d.deltas || n.source == nil {
		return svn.EncodeProps(props), nil
	}
	old, err := n.source.Props()
	if err != nil {
		return nil, err
	}
	n.PropDelta = true
	return dumpfile.EncodePropDelta(old, props), nil
}

// checkMergeinfo warns of merges of revisions before the first that is dumped.
func (d *dumper) checkMergeinfo(value string) {
	if d.o.From <= 1 {
		return
	}
	m, err := mergeinfo.Parse(value)
	if err != nil {
		return // it is dumped as it is
	}
	for _, list := range m {
		if len(list) > 0 && list[0].Start < d.o.From-1 {
			d.oldMergeinfo = true
			d.warn(WarnOldMergeinfo, "Mergeinfo referencing revision(s) prior to the oldest dumped revision (r%d). "+
				"Loading this dump may result in invalid mergeinfo.", d.o.From)
			return
		}
	}
}

// delta spools the difference between a file's text and its source's.
func (d *dumper) delta(n *nodeRecord, text io.Reader) error {
	n.TextDelta = true
	var base io.Reader
	if n.source != nil {
		n.BaseMD5, n.BaseSHA1 = hexMD5(n.source), hexSHA1(n.source)
		b, err := n.source.Open()
		if err != nil {
			return err
		}
		defer b.Close()
		base = b
	}
	if err := d.spool.reset(); err != nil {
		return err
	}
	return svndiff.Delta(base, text, svndiff.NewEncoder(&d.spool, 0, 0), svndiff.DeltaOptions{})
}

// deltaSpool holds a delta, whose length must be known before it is written: in memory, or from some size on in a file. It is used again
// for each.
type deltaSpool struct {
	store *storage.Store
	mem   bytes.Buffer
	file  *os.File
	size  int64
}

const maxMemDelta = 1 << 20

func (s *deltaSpool) Write(p []byte) (int, error) {
	s.size += int64(len(p))
	if s.size <= maxMemDelta {
		return s.mem.Write(p)
	}
	if s.file == nil {
		f, err := s.store.Scratch()
		if err != nil {
			return 0, err
		}
		s.file = f
	}
	if s.mem.Len() > 0 {
		if _, err := s.mem.WriteTo(s.file); err != nil {
			return 0, err
		}
	}
	return s.file.Write(p)
}

// reset forgets what was written.
func (s *deltaSpool) reset() error {
	s.mem.Reset()
	s.size = 0
	if s.file == nil {
		return nil
	}
	if err := s.file.Truncate(0); err != nil {
		return err
	}
	_, err := s.file.Seek(0, io.SeekStart)
	return err
}

// reader reads what was written.
func (s *deltaSpool) reader() (io.Reader, error) {
	if s.size <= maxMemDelta {
		return &s.mem, nil
	}
	_, err := s.file.Seek(0, io.SeekStart)
	return s.file, err
}

func (s *deltaSpool) close() {
	if s.file != nil {
		s.file.Close()
	}
}
