package svnrepos

import (
	"slices"

	"holdfast/storage/svn"
	"holdfast/storage/svn/dumpfile"
)

// dumpEditor writes what an edit does as records of nodes. Texts and properties it takes from the filesystem: what the edit says of them is
// only that they changed.
type dumpEditor struct{ d *dumper }

func (e dumpEditor) SetTargetRevision(svn.Revnum) error { return nil }
func (e dumpEditor) Close() error                       { return nil }
func (e dumpEditor) Abort() error                       { return nil }

func (e dumpEditor) OpenRoot(svn.Revnum) (svn.DirEditor, error) {
	return &dumpDir{d: e.d}, nil
}

// dumpDir is a directory of the edit.
type dumpDir struct {
	d       *dumper
	path    string        // relative to the root
	source  *svn.CopyFrom // what it is compared with; nil for the same path in the revision before
	gone    []string      // paths of entries that are deleted, until it is known that one is replaced
	written bool
}

func (p *dumpDir) DeleteEntry(path string, _ svn.Revnum) error {
	p.gone = append(p.gone, path)
	return nil
}

// takeGone reports whether an entry was deleted, to be replaced now.
func (p *dumpDir) takeGone(path string) bool {
	i := slices.Index(p.gone, path)
	if i < 0 {
		return false
	}
	p.gone = slices.Delete(p.gone, i, i+1)
	return true
}

func (p *dumpDir) add(path string, kind svn.Kind, from *svn.CopyFrom) error {
	action := dumpfile.Add
	if p.takeGone(path) {
		action = dumpfile.Replace
	}
	return p.d.node(path, kind, action, from)
}

func (p *dumpDir) AddDirectory(path string, from *svn.CopyFrom) (svn.DirEditor, error) {
	return &dumpDir{d: p.d, path: path, source: from, written: true}, p.add(path, svn.Dir, from)
}

func (p *dumpDir) AddFile(path string, from *svn.CopyFrom) (svn.FileEditor, error) {
	return dumpFile{}, p.add(path, svn.File, from)
}

func (p *dumpDir) OpenDirectory(path string, _ svn.Revnum) (svn.DirEditor, error) {
	return &dumpDir{d: p.d, path: path, source: p.sourceOf(path)}, nil
}

func (p *dumpDir) OpenFile(path string, _ svn.Revnum) (svn.FileEditor, error) {
	return dumpFile{}, p.d.node(path, svn.File, dumpfile.Change, p.sourceOf(path))
}

// sourceOf returns what an entry is compared with.
func (p *dumpDir) sourceOf(path string) *svn.CopyFrom {
	if p.source == nil {
		return nil
	}
	_, name := svn.Split(path)
	return &svn.CopyFrom{Path: svn.Join(p.source.Path, name), Rev: p.source.Rev}
}

func (p *dumpDir) ChangeProp(string, *string) error {
	if p.written {
		return nil
	}
	p.written = true
	return p.d.node(p.path, svn.Dir, dumpfile.Change, p.source)
}

// Close writes the deletions that are no replacements.
func (p *dumpDir) Close() error {
	slices.Sort(p.gone)
	for _, path := range p.gone {
		if err := p.d.w.Node(&dumpfile.Node{Path: path, Action: dumpfile.Delete}, nil, nil, dumpfile.NoText); err != nil {
			return err
		}
	}
	return nil
}

func (p *dumpDir) AbsentDirectory(string) error { return nil }
func (p *dumpDir) AbsentFile(string) error      { return nil }

// dumpFile is a file of the edit, whose record is written.
type dumpFile struct{}

func (dumpFile) ApplyTextDelta(string) (svn.WindowHandler, error) { return nil, nil }
func (dumpFile) ChangeProp(string, *string) error                 { return nil }
func (dumpFile) Close(string) error                               { return nil }
