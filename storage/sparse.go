package storage

import (
	"fmt"
	"strings"

	"holdfast/storage/object"
	"holdfast/storage/sparse"
)

// maxSparseBytes bounds a blob with patterns of a sparse checkout.
const maxSparseBytes = 1 << 20

// readSparse reads the patterns that the filter names.
func (w *walker) readSparse() error {
	var files [][]byte
	for _, b := range w.filter.Sparse {
		data, err := w.st.readSparse(b)
		if err != nil {
			return err
		}
		files = append(files, data)
	}
	if len(files) > 0 {
		w.sparse = sparse.Parse(files...)
	}
	return nil
}

// readSparse reads one blob of patterns. Errors are in git's words, which clients are shown.
func (st *repoState) readSparse(b object.SparseBlob) ([]byte, error) {
	noAccess := func(err error) error { return fmt.Errorf("unable to access sparse blob in '%.200s': %w", b.Name, err) }
	id := b.ID
	if _, path, inTree := b.Cut(); inTree {
		var err error
		if id, err = st.follow(id, path); err != nil {
			return nil, noAccess(err)
		}
	}
	loc, ok, err := st.lookup(id)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, noAccess(ErrNotFound)
	case loc.typ != object.Blob:
		return nil, fmt.Errorf("unable to parse sparse filter data in %s: %w: it is a %s", id, ErrWrongType, loc.typ)
	case loc.size > maxSparseBytes:
		return nil, fmt.Errorf("unable to parse sparse filter data in %s: %w: the limit is %d bytes", id, ErrTooLarge, maxSparseBytes)
	}
	_, data, err := st.readObject(id)
	return data, err
}

// follow returns the object at a path in the tree that an object leads to.
func (st *repoState) follow(id object.ID, path string) (object.ID, error) {
	at := object.Link{ID: id}
	for {
		typ, data, err := st.readObject(at.ID)
		if err != nil {
			return id, err
		}
		switch typ {
		case object.Tag:
			at, err = object.PeelTag(st.format, data)
		case object.Commit:
			var info object.CommitInfo
			info, err = object.ParseCommit(st.format, data)
			at.ID = info.Tree
		case object.Tree:
			var name string
			if name, path, _ = strings.Cut(path, "/"); name == "" {
				return at.ID, nil
			}
			at, err = findEntry(st.format, data, name)
		default:
			err = fmt.Errorf("%w: %s is a %s", ErrWrongType, at.ID, typ)
		}
		if err != nil {
			return id, err
		}
		if path == "" && at.Type == object.Blob {
			return at.ID, nil
		}
	}
}

func findEntry(f object.Format, tree []byte, name string) (object.Link, error) {
	for e, err := range object.TreeEntries(f, tree) {
		if err != nil {
			return object.Link{}, err
		}
		if link, ok := e.Link(); ok && string(e.Name) == name {
			return link, nil
		}
	}
	return object.Link{}, fmt.Errorf("%q: %w", name, ErrNotFound)
}

// treeVisit is a tree at paths that are all the same to walker.sparse.
type treeVisit struct {
	object uint32
	dir    sparse.Dir
}

// maxRevisits bounds how often trees are walked again since they are found at other paths, where patterns say something else
// of them.
const maxRevisits = 1 << 20

// visit notes that a tree is met, and reports whether it has not been met in this way before.
func (w *walker) visit(t *treeAt) (isNew bool) {
	if isNew = w.noteVisit(t); isNew && w.sparse != nil && *w.set.flag(t.object)&stacked != 0 {
		if w.revisits++; w.revisits > maxRevisits && t.dir != sparse.All {
			t.dir = sparse.All // more is sent, and no tree is walked a third time
			isNew = w.noteVisit(t)
		}
	}
	return isNew
}

func (w *walker) noteVisit(t *treeAt) (isNew bool) {
	v := treeVisit{t.object, t.dir}
	last, ok := w.visits[v]
	if isNew = !ok || w.filter.TreeDepth > 0 && t.depth < last; isNew {
		w.visits[v] = t.depth
	}
	return isNew
}
