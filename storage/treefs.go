package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"holdfast/storage/object"
)

// TreeFS returns the tree of a commit as a file system. Objects come from read, such as Repo.ReadObject or
// Txn.ReadObject, when they are needed. Symbolic links and submodules are listed, but cannot be opened. The files'
// time is the commit's. It is safe for concurrent use if read is.
func TreeFS(read func(object.ID) (object.Type, []byte, error), commit object.ID) (fs.FS, error) {
	data, err := readTyped(read, commit, object.Commit)
	if err != nil {
		return nil, err
	}
	info, err := object.ParseCommit(commit.Format(), data)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", commit, err)
	}
	root := treeFile{name: ".", mode: fs.ModeDir | 0o555, id: info.Tree, time: time.Unix(info.Time, 0).UTC()}
	return &treeFS{read: read, root: root}, nil
}

func readTyped(read func(object.ID) (object.Type, []byte, error), id object.ID, want object.Type) ([]byte, error) {
	typ, data, err := read(id)
	if err == nil && typ != want {
		err = fmt.Errorf("%w: %s is a %s, not a %s", ErrWrongType, id, typ, want)
	}
	return data, err
}

type treeFS struct {
	read func(object.ID) (object.Type, []byte, error)
	root treeFile
}

// treeFile is the fs.FileInfo and fs.DirEntry of a file.
type treeFile struct {
	fsys *treeFS // set in entries of a directory, for Info
	name string
	mode fs.FileMode
	id   object.ID
	size int64
	time time.Time
}

// Open opens a file or directory by its path from the root, as fs.FS has it.
func (t *treeFS) Open(name string) (fs.File, error) {
	file, err := t.find(name)
	if err == nil {
		var f fs.File
		if f, err = t.open(file); err == nil {
			return f, nil
		}
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: err}
}

func (t *treeFS) find(name string) (treeFile, error) {
	if !fs.ValidPath(name) {
		return treeFile{}, fs.ErrInvalid
	}
	at := t.root
	if name == "." {
		return at, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		if !at.mode.IsDir() {
			return treeFile{}, fs.ErrNotExist
		}
		entries, err := t.list(at)
		if err != nil {
			return treeFile{}, err
		}
		i := slices.IndexFunc(entries, func(e treeFile) bool { return e.name == part })
		if i < 0 {
			return treeFile{}, fs.ErrNotExist
		}
		at = entries[i]
	}
	return at, nil
}

// list returns a directory's entries, sorted by name.
func (t *treeFS) list(dir treeFile) ([]treeFile, error) {
	data, err := readTyped(t.read, dir.id, object.Tree)
	if err != nil {
		return nil, err
	}
	var entries []treeFile
	for e, err := range object.TreeEntries(dir.id.Format(), data) {
		if err != nil {
			return nil, fmt.Errorf("tree %s: %w", dir.id, err)
		}
		entries = append(entries, treeFile{fsys: t, name: string(e.Name), mode: fileMode(e.Mode), id: e.ID, time: dir.time})
	}
	slices.SortFunc(entries, func(a, b treeFile) int { return strings.Compare(a.name, b.name) })
	return entries, nil
}

func fileMode(mode uint32) fs.FileMode {
	switch {
	case mode&object.ModeKind == object.ModeTree:
		return fs.ModeDir | 0o555
	case mode&object.ModeKind == object.ModeSymlink:
		return fs.ModeSymlink | 0o777
	case mode&object.ModeKind == 0o100000:
		return fs.FileMode(mode&0o111 | 0o444)
	}
	return fs.ModeIrregular
}

func (t *treeFS) open(file treeFile) (fs.File, error) {
	switch {
	case file.mode.IsDir():
		entries, err := t.list(file)
		return &openDir{info: file, entries: entries}, err
	case !file.mode.IsRegular():
		return nil, errors.New("a symbolic link or submodule, which is not followed")
	}
	data, err := readTyped(t.read, file.id, object.Blob)
	if err != nil {
		return nil, err
	}
	file.size = int64(len(data))
	return &openFile{Reader: bytes.NewReader(data), info: file}, nil
}

// Name returns the last element of the path.
func (f treeFile) Name() string { return path.Base(f.name) }

// Mode returns the file's kind and permissions; nothing is writable.
func (f treeFile) Mode() fs.FileMode { return f.mode }

// Type returns the file's kind.
func (f treeFile) Type() fs.FileMode { return f.mode.Type() }

// IsDir reports whether it is a directory.
func (f treeFile) IsDir() bool { return f.mode.IsDir() }

// ModTime returns the commit's time.
func (f treeFile) ModTime() time.Time { return f.time }

// Size returns the length of a file that was opened, or whose Info was asked for.
func (f treeFile) Size() int64 { return f.size }

// Sys returns the object.ID of the blob or tree.
func (f treeFile) Sys() any { return f.id }

// Info reads the file, since a tree does not know its size.
func (f treeFile) Info() (fs.FileInfo, error) {
	if f.mode.IsRegular() && f.fsys != nil {
		_, data, err := f.fsys.read(f.id)
		if err != nil {
			return nil, err
		}
		f.size = int64(len(data))
	}
	return f, nil
}

type openFile struct {
	*bytes.Reader
	info treeFile
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error               { return nil }

type openDir struct {
	info    treeFile
	entries []treeFile
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *openDir) Close() error               { return nil }

func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.info.name, Err: errors.New("is a directory")}
}

// ReadDir implements fs.ReadDirFile.
func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(d.entries) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(d.entries) {
		n = len(d.entries)
	}
	list := make([]fs.DirEntry, n)
	for i, e := range d.entries[:n] {
		list[i] = e
	}
	d.entries = d.entries[n:]
	return list, nil
}
