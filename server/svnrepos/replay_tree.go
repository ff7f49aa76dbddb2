package svnrepos

import (
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// addTree tells of a copied directory as of an added one, with all that is in it, for a receiver that has not the source.
// It goes by the source's entries: what was added to the copy is a change of its own, which keeps its history. Changes of what
// it sends are done with. It leaves the directory open.
func (p *replay) addTree(parent svn.DirEditor, path string, from svn.CopyFrom) (svn.DirEditor, error) {
	if err := p.ctx.Err(); err != nil {
		return nil, err
	}
	dir, err := parent.AddDirectory(path, nil)
	if err != nil {
		return nil, err
	}
	node, err := p.root.Node("/" + path)
	if err != nil {
		return nil, err
	}
	if err := sendPropDiff(dir, nil, node); err != nil {
		return nil, err
	}
	root, err := p.roots.root(from.Rev)
	if err != nil {
		return nil, err
	}
	source, err := root.Node(from.Path)
	if err != nil {
		return nil, err
	}
	entries, err := source.Entries()
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		source := svn.CopyFrom{Path: svn.Join(from.Path, e.Name), Rev: from.Rev}
		if err := p.addEntry(dir, svn.Join(path, e.Name), source); err != nil {
			return nil, err
		}
	}
	return dir, nil
}

// addEntry sends one entry of a tree; from is where it was copied from.
func (p *replay) addEntry(parent svn.DirEditor, path string, from svn.CopyFrom) error {
	c, changed := p.changes[path]
	delete(p.changes, path)
	replaced := changed && c.Action == svn.Replaced
	if changed && c.Action == svn.Deleted || !p.repo.readable("/"+path) {
		return nil
	}
	node, err := nodeAt(p.root, "/"+path)
	if err != nil || node == nil {
		return err // deleted, by a change that is not to be told
	}
	if node.Kind() == svn.File {
		return p.addFile(parent, path, node)
	}
	var dir svn.DirEditor
	switch {
	case replaced && c.CopyFrom == nil:
		// Its entries are changes of their own.
		if dir, err = parent.AddDirectory(path, nil); err == nil {
			err = sendPropDiff(dir, nil, node)
		}
	case replaced:
		dir, err = p.addTree(parent, path, *c.CopyFrom)
	default:
		dir, err = p.addTree(parent, path, from)
	}
	if err != nil {
		return err
	}
	return dir.Close()
}

func (p *replay) addFile(parent svn.DirEditor, path string, node *svnfs.Node) error {
	file, err := parent.AddFile(path, nil)
	if err != nil {
		return err
	}
	if err := sendPropDiff(file, nil, node); err != nil {
		return err
	}
	if err := sendText(file, nil, node, true); err != nil {
		return err
	}
	return file.Close(hexMD5(node))
}
