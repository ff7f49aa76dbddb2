package svnrepos

import (
	"io"

	"holdfast/storage/svn"
	"holdfast/storage/svn/dumpfile"
	"holdfast/storage/svn/svndiff"
	"holdfast/storage/svnfs"
)

// node applies a node's record.
func (l *loader) node(n *dumpfile.Node) error {
	switch {
	case !l.begun:
		return svn.Errorf(svn.ErrStreamMalformedData, "Malformed dumpstream: a node record before any revision")
	case l.rev == 0 && !l.skipped:
		return svn.Errorf(svn.ErrStreamMalformedData, "Malformed dumpstream: Revision 0 must not contain node records")
	case l.skipped:
		return nil
	}
	path, err := l.place(n.Path)
	if err != nil {
		return err
	}
	if n.Action == dumpfile.NoAction {
		return svn.Errorf(svn.ErrStreamUnrecognizedData, "Unrecognized node-action on node '%s'", path[1:])
	}
	l.tell(LoadEvent{Kind: LoadNodeStarted, Path: path[1:], Rev: l.rev})
	if err := l.act(n, path); err != nil {
		return err
	}
	if err := l.props(n, path); err != nil {
		return err
	}
	if err := l.text(n, path); err != nil {
		return err
	}
	l.tell(LoadEvent{Kind: LoadNodeDone})
	return nil
}

// place returns the absolute path of one of the dump.
func (l *loader) place(path string) (string, error) {
	path, err := svn.Canonical(path)
	if err != nil {
		return "", err
	}
	return svn.Join(l.parent, path[1:]), nil
}

func (l *loader) act(n *dumpfile.Node, path string) error {
	if n.Action == dumpfile.Delete || n.Action == dumpfile.Replace {
		if err := l.txn.Delete(path); err != nil {
			return err
		}
	}
	switch {
	case n.Action != dumpfile.Add && n.Action != dumpfile.Replace:
		return nil
	case n.CopyFrom != nil:
		return l.copy(n, path)
	case n.Kind == svn.File:
		return l.txn.MakeFile(path)
	case n.Kind == svn.Dir:
		return l.txn.MakeDir(path)
	}
	return nil
}

// copy adds a node as a copy.
func (l *loader) copy(n *dumpfile.Node, path string) error {
	from, err := l.place(n.CopyFrom.Path)
	if err != nil {
		return err
	}
	rev, ok := l.revs.get(n.CopyFrom.Rev)
	if !ok {
		rev = n.CopyFrom.Rev - l.offset
	}
	if !rev.Valid() {
		return svn.Errorf(svn.ErrFSNoSuchRevision, "Relative source revision %d is not available in current repository", rev)
	}
	root, err := l.fs.Root(rev)
	if err != nil {
		return err
	}
	if n.CopySourceMD5 != "" {
		source, err := root.Node(from)
		if err != nil {
			return err
		}
		if source.Kind() != svn.File {
			return svn.Errorf(svn.ErrFSNotFile, "Attempted to get checksum of a *non*-file node")
		}
		if have := hexMD5(source); have != n.CopySourceMD5 {
			return svnfs.ChecksumMismatch(svn.Errorf(0, "Copy source checksum mismatch on copy from '%s'@%d\nto '%s' in rev based on r%d",
				from[1:], rev, path[1:], l.rev).Message, n.CopySourceMD5, have)
		}
	}
	if err := l.txn.Copy(root, from, path); err != nil {
		return err
	}
	l.tell(LoadEvent{Kind: LoadNodeCopied})
	return nil
}

// props sets a node's properties: all of them, or those that are in a delta.
func (l *loader) props(n *dumpfile.Node, path string) error {
	changes, ok, err := l.in.Props()
	if err != nil || !ok {
		return err
	}
	var old svn.Props
	if !n.PropDelta {
		node, err := l.root.Node(path)
		if err != nil {
			return err
		}
		if old, err = node.Props(); err != nil {
			return err
		}
	}
	set := map[string]bool{}
	for _, c := range changes {
		set[c.Name] = true
		if err := l.setProp(path, c); err != nil {
			return err
		}
	}
	for _, name := range old.Names() {
		if !set[name] {
			if err := l.txn.SetNodeProp(path, name, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *loader) setProp(path string, c svn.PropChange) error {
	if c.Name == svn.PropMergeinfo && c.Value != nil && !l.o.SameRevs {
		value, err := l.mergeinfo(*c.Value)
		switch {
		case err == nil:
			c.Value = &value
		case !l.o.BypassPropValidation:
			return svn.Wrap(err, svn.CodeOf(err), "Invalid svn:mergeinfo value")
		default:
			l.tell(LoadEvent{Kind: LoadWarning, Warning: Warning{WarnInvalidMergeinfo, "Invalid svn:mergeinfo value; leaving unchanged"}})
		}
	}
	c.Value = l.normalized(c.Name, c.Value)
	if !l.o.BypassPropValidation {
		if err := validateNodeProp(path, c.Name, c.Value); err != nil {
			return err
		}
	}
	return l.txn.SetNodeProp(path, c.Name, c.Value)
}

// text sets a file's text, if there is one in the record.
func (l *loader) text(n *dumpfile.Node, path string) error {
	text, err := l.in.Text()
	if err != nil || text == nil {
		return err
	}
	to, err := l.textWriter(n, path)
	if err != nil {
		return err
	}
	if _, err := io.CopyBuffer(to, text, l.buf[:]); err != nil {
		return err
	}
	if err := to.Close(); err != nil {
		return err
	}
	if n.TextMD5 == "" {
		return nil
	}
	node, err := l.root.Node(path)
	if err != nil {
		return err
	}
	if have := hexMD5(node); have != n.TextMD5 {
		return svnfs.ChecksumMismatch("Checksum mismatch for '"+path+"'", n.TextMD5, have)
	}
	return nil
}

// textWriter returns what takes the text of a record.
func (l *loader) textWriter(n *dumpfile.Node, path string) (io.WriteCloser, error) {
	if !n.TextDelta {
		return l.txn.ApplyText(path)
	}
	h, err := l.txn.ApplyTextDelta(path, n.BaseMD5)
	if err != nil {
		return nil, err
	}
	return svndiff.NewDecoder(h), nil
}
