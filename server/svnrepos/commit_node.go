package svnrepos

import (
	"bytes"
	"encoding/hex"

	"holdfast/storage/svn"
)

// commitDir is an open directory of a commit.
type commitDir struct {
	e      *CommitEditor
	path   string // absolute
	base   svn.Revnum
	copied bool // it, or one it is in, was added as a copy
	writes bool // the right to change it has been checked
}

// commitFile is an open file of a commit.
type commitFile struct {
	e      *CommitEditor
	path   string // absolute
	writes bool   // the right to change it has been checked
}

func (d *commitDir) DeleteEntry(path string, rev svn.Revnum) error {
	full, err := d.e.absolute(path)
	if err != nil {
		return err
	}
	kind, err := d.e.root.Kind(full)
	if err != nil {
		return err
	}
	op := Write
	if kind == svn.Dir {
		op = WriteTree
	}
	if err := d.e.allowedInDir(full, op); err != nil {
		return err
	}
	if kind == svn.None {
		return outOfDate(full, kind)
	}
	if err := d.e.upToDate(full, kind, rev); err != nil {
		return err
	}
	return d.e.txn.Delete(full)
}

func (d *commitDir) AddDirectory(path string, from *svn.CopyFrom) (svn.DirEditor, error) {
	full, err := d.add(path, svn.Dir, from)
	if err != nil {
		return nil, err
	}
	return &commitDir{e: d.e, path: full, base: svn.InvalidRevnum, copied: from != nil, writes: true}, nil
}

func (d *commitDir) AddFile(path string, from *svn.CopyFrom) (svn.FileEditor, error) {
	full, err := d.add(path, svn.File, from)
	if err != nil {
		return nil, err
	}
	return &commitFile{e: d.e, path: full, writes: true}, nil
}

// add makes a node, empty or as a copy.
func (d *commitDir) add(path string, kind svn.Kind, from *svn.CopyFrom) (full string, err error) {
	if full, err = d.e.absolute(path); err != nil {
		return "", err
	}
	if from != nil {
		return full, d.copy(full, kind, *from)
	}
	if err := d.e.allowedInDir(full, Write); err != nil {
		return "", err
	}
	if kind == svn.Dir {
		return full, d.e.txn.MakeDir(full)
	}
	return full, d.e.txn.MakeFile(full)
}

// copy adds a node as a copy. Where the directory is a copy itself, it takes the place of what came with that.
func (d *commitDir) copy(full string, kind svn.Kind, from svn.CopyFrom) error {
	if !from.Rev.Valid() {
		return svn.Errorf(svn.ErrFSGeneral, "Got source path but no source revision for '%s'", full)
	}
	read, write := Read, Write
	if kind == svn.Dir {
		read, write = ReadTree, WriteTree
	}
	if err := d.e.allowedInDir(full, write); err != nil {
		return err
	}
	now, err := d.e.root.Kind(full)
	if err != nil {
		return err
	}
	if now != svn.None && !d.copied {
		return outOfDate(full, now)
	}
	source, err := d.e.r.FS.Root(from.Rev)
	if err != nil {
		return err
	}
	if err := d.e.allowed(from.Path, read); err != nil {
		return err
	}
	if kind == svn.File {
		// What a client calls a file may be a directory, with more in it than the right to read a file shows.
		if actual, err := source.Kind(from.Path); err == nil && actual == svn.Dir {
			if err := d.e.allowed(from.Path, ReadTree); err != nil {
				return err
			}
			if err := d.e.allowed(full, WriteTree); err != nil {
				return err
			}
		}
	}
	return d.e.txn.Copy(source, from.Path, full)
}

func (d *commitDir) OpenDirectory(path string, base svn.Revnum) (svn.DirEditor, error) {
	full, err := d.e.absolute(path)
	if err != nil {
		return nil, err
	}
	kind, err := d.e.root.Kind(full)
	if err != nil {
		return nil, err
	}
	// Who may not read the path may pass through it to one that they may write. They are not told that there is none.
	if kind == svn.None && d.e.r.readable(full) {
		return nil, svn.Errorf(svn.ErrFSNotDirectory, "Path '%s' not present", path)
	}
	return &commitDir{e: d.e, path: full, base: base, copied: d.copied}, nil
}

func (d *commitDir) OpenFile(path string, base svn.Revnum) (svn.FileEditor, error) {
	full, err := d.e.absolute(path)
	if err != nil {
		return nil, err
	}
	if err := d.e.allowed(full, Read); err != nil {
		return nil, err
	}
	if _, err := d.e.root.Node(full); err != nil {
		return nil, err
	}
	if err := d.e.upToDate(full, svn.File, base); err != nil {
		return nil, err
	}
	return &commitFile{e: d.e, path: full}, nil
}

// AbsentDirectory and AbsentFile mean nothing to a commit.
func (d *commitDir) AbsentDirectory(string) error { return nil }
func (d *commitDir) AbsentFile(string) error      { return nil }

func (d *commitDir) ChangeProp(name string, value *string) error {
	if !d.writes {
		if err := d.e.allowed(d.path, Write); err != nil {
			return err
		}
		// A directory's properties may be changed by those alone who have it as it is now.
		if err := d.e.upToDate(d.path, svn.Dir, d.base); err != nil {
			return err
		}
		d.writes = true
	}
	return d.e.changeProp(d.path, name, value)
}

func (d *commitDir) Close() error { return nil }

func (f *commitFile) allowWrite() error {
	if f.writes {
		return nil
	}
	if err := f.e.allowed(f.path, Write); err != nil {
		return err
	}
	f.writes = true
	return nil
}

func (f *commitFile) ApplyTextDelta(baseMD5 string) (svn.WindowHandler, error) {
	if err := f.allowWrite(); err != nil {
		return nil, err
	}
	return f.e.txn.ApplyTextDelta(f.path, baseMD5)
}

func (f *commitFile) ChangeProp(name string, value *string) error {
	if err := f.allowWrite(); err != nil {
		return err
	}
	return f.e.changeProp(f.path, name, value)
}

func (f *commitFile) Close(textMD5 string) error {
	if textMD5 == "" {
		return nil
	}
	node, err := f.e.root.Node(f.path)
	if err != nil {
		return err
	}
	actual := node.MD5()
	expected, err := hex.DecodeString(textMD5)
	if err != nil || len(expected) != len(actual) {
		return svn.Errorf(svn.ErrBadChecksumParse, "Invalid checksum '%s'", textMD5)
	}
	unknown := make([]byte, len(actual)) // matches any, as in Subversion
	if bytes.Equal(expected, actual[:]) || bytes.Equal(expected, unknown) {
		return nil
	}
	return svn.Errorf(svn.ErrChecksumMismatch, "Checksum mismatch for resulting fulltext\n(%s):\n   expected:  %x\n     actual:  %x\n",
		f.path, expected, actual)
}

// changeProp sets a property of a node, or removes it.
func (e *CommitEditor) changeProp(path, name string, value *string) error {
	if err := validateNodeProp(path, name, value); err != nil {
		return err
	}
	return e.txn.SetNodeProp(path, name, value)
}
