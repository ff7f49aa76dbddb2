package storage

import (
	"errors"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// shrinkTxBytes bounds one write of a new index.db.
const shrinkTxBytes = 4 << 20

// shrinkIndex makes index.db anew, without its free pages, if it consists mostly of them: bbolt never gives back what a merge took for a
// while. Who reads the old file ends with it.
func (st *repoState) shrinkIndex() error {
	if !st.hasIndex() {
		return nil
	}
	st.indexMu.Lock()
	defer st.indexMu.Unlock()
	h, err := st.s.indexes.acquire(st)
	if err != nil {
		return err
	}
	defer st.s.indexes.release(h)
	if mostly, err := mostlyFree(h.value, st.s.opts.IndexFree); err != nil || !mostly {
		return err
	}
	path := st.indexDBPath()
	tmp, err := compactIndex(h.value, st.s.quarantineDir())
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	if err := st.s.step(StepShrink); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	if err := st.s.indexes.forget(st); err != nil {
		return err
	}
	// The old file must not come back once the new one has changed.
	if !st.s.opts.NoSync {
		if err := syncDir(filepath.Dir(path)); err != nil {
			return err
		}
	}
	return st.s.step(StepShrunk)
}

func mostlyFree(db *bbolt.DB, least int64) (mostly bool, err error) {
	err = db.View(func(tx *bbolt.Tx) error {
		free := int64(db.Stats().FreePageN) * int64(db.Info().PageSize)
		mostly = free >= least && free > tx.Size()/2
		return nil
	})
	return mostly, err
}

// compactIndex copies an index.db to a new file in dir, which is durable.
func compactIndex(from *bbolt.DB, dir string) (path string, err error) {
	f, err := os.CreateTemp(dir, "index")
	if err != nil {
		return "", err
	}
	path = f.Name()
	defer func() {
		if err != nil {
			os.Remove(path)
		}
	}()
	f.Close()
	to, err := bbolt.Open(path, 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType, NoSync: true})
	if err != nil {
		return "", err
	}
	if err = bbolt.Compact(to, from, shrinkTxBytes); err == nil {
		err = to.Sync()
	}
	return path, errors.Join(err, to.Close())
}
