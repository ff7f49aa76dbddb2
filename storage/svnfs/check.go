package svnfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"holdfast/storage"
)

// Check verifies every Subversion repository of a store beyond what Store.Check does, and adds what it finds to a report: each
// revision as by Verify, and the index against one made anew from journal and objects. open opens a repository's filesystem;
// Registry.Open does.
func Check(ctx context.Context, st *storage.Store, open func(*storage.Repo) (*FS, func(), error), report *storage.CheckReport) error {
	return eachRepo(ctx, st, func(repo *storage.Repo) error {
		err := checkRepo(ctx, repo, open)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if len(report.Problems) < storage.MaxProblems {
			report.Problems = append(report.Problems, storage.Problem{Repo: repo.ID(), Text: err.Error()})
		} else {
			report.Omitted++
		}
		return nil
	})
}

// Rebuild makes the indexes of all Subversion repositories anew. Nobody else may have one open.
func Rebuild(ctx context.Context, st *storage.Store) error {
	return eachRepo(ctx, st, func(repo *storage.Repo) error {
		if err := os.Remove(repo.SidePath(indexFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		f, err := open(repo, newCaches())
		if err != nil {
			return fmt.Errorf("repository %s: %w", repo.ID(), err)
		}
		return f.close()
	})
}

// eachRepo calls fn with each Subversion repository that is there, not only in the journal.
func eachRepo(ctx context.Context, st *storage.Store, fn func(*storage.Repo) error) error {
	ids, err := st.Repos()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return err
		}
		repo, err := st.Repo(id)
		if err != nil {
			return err
		}
		if repo.SCM() != storage.Svn {
			continue
		}
		if _, err := repo.Ref(RevsRef); errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err := fn(repo); err != nil {
			return err
		}
	}
	return nil
}

func checkRepo(ctx context.Context, repo *storage.Repo, open func(*storage.Repo) (*FS, func(), error)) error {
	f, release, err := open(repo)
	if err != nil {
		return err
	}
	defer release()
	if err := f.Verify(ctx, 0, f.Youngest(), nil); err != nil {
		return err
	}
	return f.verifyIndex()
}

// verifyIndex compares the index with one that is made anew.
func (f *FS) verifyIndex() error {
	dir, err := os.MkdirTemp(filepath.Dir(f.repo.SidePath(indexFile)), "check")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	x, err := tryIndex(f.repo, filepath.Join(dir, indexFile))
	if err != nil {
		return err
	}
	anew := newFS(f.repo, x, newCaches())
	defer anew.close()
	if err := anew.catchUp(); err != nil { // while commits go on
		return err
	}
	f.commitMu.Lock()
	defer f.commitMu.Unlock()
	if err := errors.Join(f.catchUp(), anew.catchUp(), f.index.flush(1), x.flush(1)); err != nil {
		return err
	}
	for _, bucket := range [...][]byte{bucketRevs, bucketRevProps, bucketLocks, bucketView} {
		if err := sameBucket(f.index.db, x.db, bucket); err != nil {
			return err
		}
	}
	if f.state.uuid != anew.state.uuid || f.state.view != anew.state.view {
		return errors.New("svn.db has another uuid or git view than the journal")
	}
	return nil
}

// sameBucket compares a bucket of two indexes, a page at a time.
func sameBucket(a, b *bbolt.DB, bucket []byte) error {
	const page = 1000
	read := func(db *bbolt.DB, after []byte) (rows [][2][]byte, err error) {
		err = db.View(func(tx *bbolt.Tx) error {
			c := tx.Bucket(bucket).Cursor()
			for k, v := c.Seek(after); k != nil && len(rows) < page; k, v = c.Next() {
				rows = append(rows, [2][]byte{bytes.Clone(k), bytes.Clone(v)})
			}
			return nil
		})
		return rows, err
	}
	for after := []byte{}; ; {
		x, err := read(a, after)
		if err != nil {
			return err
		}
		y, err := read(b, after)
		if err != nil {
			return err
		}
		for i := range max(len(x), len(y)) {
			if i >= len(x) || i >= len(y) || !bytes.Equal(x[i][0], y[i][0]) || !bytes.Equal(x[i][1], y[i][1]) {
				return fmt.Errorf("svn.db does not say what the journal does in %q: stop the host and run `holdfast check --rebuild`", bucket)
			}
		}
		if len(x) < page {
			return nil
		}
		after = append(x[page-1][0], 0)
	}
}
