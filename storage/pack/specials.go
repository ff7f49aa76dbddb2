package pack

import (
	"errors"

	"holdfast/storage/object"
)

// checkSpecial looks into a blob that a tree names .gitmodules or .gitattributes.
func (w *worker) checkSpecial(id uint32, s object.Special, data []byte) error {
	err := object.CheckSpecial(s, data)
	w.ids.mu.Lock()
	defer w.ids.mu.Unlock()
	w.ids.infos.at(id).flags |= checked
	return w.placeFault(id, err)
}

// placeFault puts the id into a fault. The caller holds ids.mu.
func (r *receiver) placeFault(id uint32, err error) error {
	var fault *object.FsckError
	if errors.As(err, &fault) {
		fault.ID = r.ids.id(r.o.Format, id)
	}
	return err
}

// checkSpecials looks into the special files that were not known to be special when they were read, or that the pack does not
// hold: a tree can make one of any blob that was pushed before.
func (r *receiver) checkSpecials() error {
	var w *worker
	for n := range uint32(r.ids.infos.len()) {
		info := r.ids.infos.at(n)
		if info.special == 0 || info.flags&checked != 0 {
			continue
		}
		if w == nil {
			w = r.newWorker()
			defer w.done()
			defer w.release()
		}
		if err := r.ctx.Err(); err != nil {
			return err
		}
		data, err := w.specialFile(n, info)
		if err != nil {
			return r.placeFault(n, err)
		}
		if err := w.checkSpecial(n, info.special, data); err != nil {
			return err
		}
		if info.entry != none {
			w.pool.put(data) // what Base returned is not ours
		}
	}
	return nil
}

// specialFile reads a special file, from the pack or the repository.
func (w *worker) specialFile(n uint32, info *idInfo) ([]byte, error) {
	if info.entry == none {
		if w.o.Base == nil {
			return nil, nil
		}
		t, data, err := w.o.Base(w.ids.id(w.o.Format, n))
		if err != nil || t != object.Blob {
			return nil, object.MissingSpecial(info.special)
		}
		return data, nil
	}
	if w.entries.at(info.entry).size > min(object.MaxSpecial, w.o.MaxMemoryBytes) {
		return nil, object.TooLargeSpecial(info.special)
	}
	return w.restore(info.entry)
}
