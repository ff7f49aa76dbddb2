package svnfs

import (
	"context"
	"crypto/md5"
	"crypto/sha1"

	"holdfast/storage"
	"holdfast/storage/object"
	"holdfast/storage/svn"
)

// PrepareCreate returns the transaction that makes revision 0 of a new repository, prepared: Store.Commit makes it stand, alone or
// with others. repo comes from Store.Create.
func PrepareCreate(repo *storage.Repo, m storage.Meta, uuid string) (*storage.Txn, error) {
	txn, err := repo.Begin(m)
	if err != nil {
		return nil, err
	}
	b := newBuilder(&FS{repo: repo, format: repo.Format()}, 0)
	b.empty = true
	root := &mutable{rec: record{kind: svn.Dir, path: "/", copyRoot: svn.CopyFrom{Path: "/"}}}
	r := &revision{props: svn.Props{svn.PropDate: svn.FormatTime(m.Time)}}
	if r.root, err = b.root(root); err == nil {
		place := b.revision(r, ID{}, uuid)
		err = b.fill(context.Background(), txn, []fact{{UUID: uuid}, {View: viewRules}}, storage.RefUpdate{Name: RevsRef, New: place.commit})
	}
	if err == nil {
		err = txn.Prepare()
	}
	if err != nil {
		txn.Discard()
		return nil, err
	}
	return txn, nil
}

// emptyText is the text of a file that nobody wrote to.
func emptyText(f object.Format) textRef {
	return textRef{blob: hashObject(f, object.Blob, nil), md5: md5.Sum(nil), sha1: sha1.Sum(nil)}
}
