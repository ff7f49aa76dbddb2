package svnfs

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"fmt"
	"io"

	"holdfast/storage/object"
	"holdfast/storage/svn"
)

// Verify reads revisions from to to, as `svnadmin verify` does, and returns the first thing that is not as it should be: an object that is
// missing or malformed, a node-revision that the revision did not make, a text without its checksums, an index that is astray.
// progress, if not nil, is told of each revision.
func (f *FS) Verify(ctx context.Context, from, to svn.Revnum, progress func(svn.Revnum)) error {
	for rev := from; rev <= to; rev++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.verifyRevision(rev); err != nil {
			return svn.Wrap(err, svn.ErrFSCorrupt, "Error verifying repository metadata of revision %d", rev)
		}
		if progress != nil {
			progress(rev)
		}
	}
	return nil
}

func (f *FS) verifyRevision(rev svn.Revnum) error {
	place, err := f.index.place(rev)
	if err != nil {
		return err
	}
	number, there, parent, err := f.readCommit(place.commit)
	if err != nil {
		return err
	}
	if number != rev || there != place {
		return svn.Errorf(svn.ErrFSCorrupt, "svn.db names the commit of revision %d", number)
	}
	if rev > 0 {
		before, err := f.index.place(rev - 1)
		if err != nil {
			return err
		}
		if before.commit != parent {
			return svn.Errorf(svn.ErrFSCorrupt, "the commit's parent is not that of the revision before")
		}
	}
	r, err := f.readRevision(place.revision)
	if err != nil {
		return err
	}
	_, err = f.verifyNode(r.root, rev)
	return err
}

// verifyNode checks a node-revision with all below that the revision made, and returns its record.
func (f *FS) verifyNode(id ID, rev svn.Revnum) (*record, error) {
	r, err := f.node(id)
	if err != nil {
		return nil, err
	}
	switch {
	case r.created > rev:
		return nil, svn.Errorf(svn.ErrFSCorrupt, "node-revision %s is of revision %d", id, r.created)
	case r.created < rev:
		return r, nil // it was checked then
	}
	if _, err := f.nodeProps(r.props); err != nil {
		return nil, err
	}
	if err := f.verifyAncestry(r, rev); err != nil {
		return nil, err
	}
	if r.kind == svn.File {
		return r, f.verifyText(r)
	}
	entries, err := f.entries(r)
	if err != nil {
		return nil, err
	}
	mergeinfo := int64(0)
	if r.selfMergeinfo {
		mergeinfo++
	}
	for _, e := range entries {
		child, err := f.verifyNode(e.ID, rev)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name, err)
		}
		if child.kind != e.Kind {
			return nil, svn.Errorf(svn.ErrFSCorrupt, "entry '%s' is a %s", e.Name, child.kind)
		}
		mergeinfo += child.mergeinfo
	}
	if len(entries) != r.dir.count || mergeinfo != r.mergeinfo {
		return nil, svn.Errorf(svn.ErrFSCorrupt, "directory %s counts its entries or mergeinfo wrong", r.path)
	}
	return r, nil
}

func (f *FS) verifyAncestry(r *record, rev svn.Revnum) error {
	if r.pred.IsZero() {
		return nil
	}
	pred, err := f.node(r.pred)
	if err != nil {
		return err
	}
	if pred.created >= rev || pred.node != r.node || pred.kind != r.kind || pred.preds+1 != r.preds {
		return svn.Errorf(svn.ErrFSCorrupt, "the predecessor of '%s' is none", r.path)
	}
	return nil
}

func (f *FS) verifyText(r *record) error {
	typ, size, in, err := f.repo.OpenObject(r.text.blob)
	if err != nil {
		return err
	}
	defer in.Close()
	m, s := md5.New(), sha1.New()
	if _, err := io.Copy(io.MultiWriter(m, s), in); err != nil {
		return err
	}
	if typ != object.Blob || size != r.text.size || [16]byte(m.Sum(nil)) != r.text.md5 || [20]byte(s.Sum(nil)) != r.text.sha1 {
		return svn.Errorf(svn.ErrFSCorrupt, "the text of '%s' is not what its checksums say", r.path)
	}
	return nil
}
