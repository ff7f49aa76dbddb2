package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"holdfast/storage/object"
)

// Source is where objects come from.
type Source interface {
	ReadObject(id object.ID) (object.Type, []byte, error)
	// OpenObject returns an object's type, its size and a reader of its content.
	OpenObject(id object.ID) (object.Type, int64, io.ReadCloser, error)
}

// Format is a kind of archive, by git's name for it.
type Format string

// The formats. TarGz and Tgz are the same.
const (
	Tar   Format = "tar"
	Tgz   Format = "tgz"
	TarGz Format = "tar.gz"
	Zip   Format = "zip"
)

// Formats are all formats, in the order in which git lists them.
var Formats = []Format{Tar, Tgz, TarGz, Zip}

// MaxSubstBytes bounds the files with export-subst that are expanded: longer ones go in as they are.
const MaxSubstBytes = 8 << 20

const (
	maxDepth      = 1000    // directories inside each other
	maxLinkBytes  = 1 << 20 // a symbolic link's target
	maxAttrBytes  = 1 << 20 // a .gitattributes file
	maxRules      = 1000    // rules about export in all .gitattributes files on the way to a file
	maxWork       = 1 << 30 // steps that matching patterns may take
	maxAttrLine   = 2048    // bytes of a line of .gitattributes, as in git
	maxPaths      = 1024    // paths of one request
	maxGlobBytes  = 4096    // of a path or pattern
	copyBytes     = 32 << 10
	attributeFile = ".gitattributes"
)

// Options say what goes into an archive and how it looks. The zero value is a tar of everything.
type Options struct {
	Format Format // Tar if empty
	Prefix string // before every name
	Level  int    // of compression, 1 to 9 for less to more, NoCompression; 0 is the default. Not for Tar
	// Paths are files, directories and patterns, at least one of which each file must match; all files if none.
	Paths []string
	// Names gets the name of each entry, a line each, unless it is nil.
	Names io.Writer
	// Decorate returns what %D is about: the names of the commit's refs, as git log shows them. Nil is none.
	Decorate func() ([]string, error)
}

// NoCompression is the Options.Level of a zip or gzip file that only stores.
const NoCompression = -1

// Root is what is to be archived: a commit's files, or those of a tree alone.
type Root struct {
	Tree   object.ID
	Commit object.ID // zero if there is none
	Time   int64     // of all entries, in seconds since 1970: the commit's, or the present
}

// Archive is an archive to be written.
type Archive struct {
	src  Source
	root Root
	o    Options

	paths  *pathSet
	subst  *substituter // nil if there is no commit
	stack  []*attributes
	open   []entry // directories that are to be written before the next file
	macros map[string][]attribute
	rules  int   // in stack
	work   int64 // that patterns took
}

// entry is what an archive has of a file, link, directory or submodule.
type entry struct {
	id   object.ID
	mode uint32
	path string // with Prefix; that of a directory or submodule ends in a slash
}

func (e entry) kind() uint32 { return e.mode & object.ModeKind }

// isDir reports whether it is a directory. A submodule is an empty one.
func (e entry) isDir() bool { return e.kind() == object.ModeTree || e.kind() == object.ModeGitlink }

// sink writes entries in a format.
type sink interface {
	// add writes an entry of size bytes. content is nil for directories.
	add(e entry, size int64, content io.Reader) error
	close() error
}

// New finds what is to be archived. Its errors say what is wrong with the request, or that the tree cannot be read.
func New(ctx context.Context, src Source, root Root, o Options) (*Archive, error) {
	if o.Format == "" {
		o.Format = Tar
	}
	switch {
	case !slices.Contains(Formats, o.Format):
		return nil, fmt.Errorf("unknown archive format %.40q: known are tar, tgz, tar.gz and zip", string(o.Format))
	case o.Format == Tar && o.Level != 0:
		return nil, errors.New("a tar is not compressed: leave the level out, or ask for tar.gz")
	case o.Level < NoCompression || o.Level > 9:
		return nil, fmt.Errorf("no compression level %d: known are 0 to 9", o.Level)
	case strings.ContainsRune(o.Prefix, 0) || len(o.Prefix) > maxGlobBytes:
		return nil, errors.New("the prefix is no path")
	}
	root.Time = max(root.Time, 0)
	a := &Archive{src: src, root: root, o: o}
	var err error
	if a.paths, err = newPathSet(o.Paths); err != nil {
		return nil, err
	}
	if !root.Commit.IsZero() {
		if a.subst, err = newSubstituter(src, root.Commit, o.Decorate); err != nil {
			return nil, err
		}
	}
	if len(o.Paths) > 0 {
		if err := a.findPaths(ctx, root.Tree, "", 0); err != nil {
			return nil, err
		}
		return a, a.paths.check()
	}
	_, err = a.tree(root.Tree)
	return a, err
}

// findPaths reads the trees that the paths lead into, until each path has met something.
func (a *Archive) findPaths(ctx context.Context, tree object.ID, dir string, depth int) error {
	entries, err := a.tree(tree)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := cmp.Or(context.Cause(ctx), a.patient()); err != nil || a.paths.allFound() {
			return err
		}
		name := dir + string(e.Name)
		a.paths.find(name)
		a.work += a.paths.cost(name)
		if e.Mode&object.ModeKind == object.ModeTree && a.paths.leadsInto(name) {
			if err := a.deeper(depth); err != nil {
				return err
			}
			if err := a.findPaths(ctx, e.ID, name+"/", depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *Archive) deeper(depth int) error {
	if depth == maxDepth {
		return fmt.Errorf("the tree has more than %d directories inside each other", maxDepth)
	}
	return nil
}

// tree returns a tree's entries in their order. They share the memory of one copy of the tree.
func (a *Archive) tree(id object.ID) ([]object.TreeEntry, error) {
	typ, data, err := a.src.ReadObject(id)
	if err != nil {
		return nil, err
	}
	if typ != object.Tree {
		return nil, fmt.Errorf("%s is a %s, not a tree", id, typ)
	}
	var entries []object.TreeEntry
	for e, err := range object.TreeEntries(id.Format(), data) {
		if err != nil {
			return nil, fmt.Errorf("tree %s: %w", id, err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// Write writes the archive to w. It is called once at most. Writes to w fail when ctx ends.
func (a *Archive) Write(ctx context.Context, w io.Writer) error {
	s, err := a.newSink(w)
	if err != nil {
		return err
	}
	if strings.HasSuffix(a.o.Prefix, "/") {
		top := entry{a.root.Tree, object.ModeTree, strings.TrimRight(a.o.Prefix, "/") + "/"}
		if err := a.add(s, top, 0, nil); err != nil {
			return err
		}
	}
	if err := a.walk(ctx, s, a.root.Tree, "", 0); err != nil {
		return err
	}
	return s.close()
}

func (a *Archive) newSink(w io.Writer) (sink, error) {
	switch a.o.Format {
	case Zip:
		return newZip(w, a.root, a.o.Level)
	case Tgz, TarGz:
		return newTarGz(w, a.root, a.o.Level)
	}
	return newTar(w, a.root)
}

// walk writes what is in a directory. dir is its path without Prefix, empty or with a slash at its end.
func (a *Archive) walk(ctx context.Context, s sink, tree object.ID, dir string, depth int) error {
	entries, err := a.tree(tree)
	if err != nil {
		return err
	}
	if err := a.enter(dir, entries); err != nil {
		return err
	}
	defer a.leave()
	for _, e := range entries {
		if err := cmp.Or(context.Cause(ctx), a.patient()); err != nil {
			return err
		}
		name := dir + string(e.Name)
		if e.Mode&object.ModeKind != object.ModeTree {
			if err := a.file(s, e, name); err != nil {
				return err
			}
			continue
		}
		if !a.paths.leadsInto(name) || a.attribute(name, true, exportIgnore) {
			continue
		}
		if err := a.deeper(depth); err != nil {
			return err
		}
		// A directory is written with the first thing in it.
		opened := len(a.open)
		a.open = append(a.open, entry{e.ID, e.Mode, a.o.Prefix + name + "/"})
		if err := a.walk(ctx, s, e.ID, name+"/", depth+1); err != nil {
			return err
		}
		a.open = a.open[:min(len(a.open), opened)]
	}
	return nil
}

// file writes a file, link or submodule, after the directories that lead there.
func (a *Archive) file(s sink, t object.TreeEntry, name string) error {
	a.work += a.paths.cost(name)
	if !a.paths.matches(name) {
		return nil
	}
	for _, d := range a.open {
		if err := a.add(s, d, 0, nil); err != nil {
			return err
		}
	}
	a.open = a.open[:0]
	e := entry{t.ID, t.Mode, a.o.Prefix + name}
	_, isFile := t.Link()
	if a.attribute(name, !isFile, exportIgnore) {
		return nil
	}
	if !isFile {
		e.mode, e.path = object.ModeGitlink, e.path+"/"
		return a.add(s, e, 0, nil)
	}
	typ, size, content, err := a.src.OpenObject(t.ID)
	if err != nil {
		return err
	}
	defer content.Close()
	if typ != object.Blob {
		return fmt.Errorf("%s: %s is a %s, not a blob", name, t.ID, typ)
	}
	if e.kind() == object.ModeSymlink {
		if size > maxLinkBytes {
			return fmt.Errorf("%s: a symbolic link of %d bytes, more than %d", name, size, maxLinkBytes)
		}
	} else if a.subst != nil && size <= MaxSubstBytes && a.attribute(name, false, exportSubst) {
		data, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		if data, err = a.subst.expand(data); err != nil {
			return err
		}
		return a.add(s, e, int64(len(data)), strings.NewReader(string(data)))
	}
	return a.add(s, e, size, content)
}

func (a *Archive) add(s sink, e entry, size int64, content io.Reader) error {
	if a.o.Names != nil {
		if _, err := io.WriteString(a.o.Names, e.path+"\n"); err != nil {
			return err
		}
	}
	return s.add(e, size, content)
}

// copyAll copies exactly size bytes.
func copyAll(w io.Writer, r io.Reader, size int64, buf []byte) error {
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{io.LimitReader(r, size)}, buf)
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	return err
}
