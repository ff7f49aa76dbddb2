package pack

import (
	"errors"
	"fmt"

	"holdfast/storage/object"
)

// worker names and checks objects in one goroutine.
type worker struct {
	*receiver
	hasher  *object.Hasher
	checker object.Checker
	links   linkSet

	// For the second pass.
	*entryReader
	held  int64 // bytes of bases in frames
	isBig bool  // holds receiver.big
	stack []frame
}

// newWorker returns a worker, whose owner must call done.
func (r *receiver) newWorker() *worker {
	w := &worker{receiver: r, entryReader: newEntryReader(r.file), hasher: object.NewHasherWith(r.o.Format, newHash(r.o.Format))}
	w.links.small = r.count < 1024
	w.checker = object.Checker{
		Format: r.o.Format, Options: r.o.Fsck,
		Link:    func(t object.Type, id []byte) { w.links.add(toWanted(id, t, 0), false) },
		Special: func(s object.Special, id []byte) { w.links.add(toWanted(id, 0, s), true) },
	}
	return w
}

// newHash is replaced by tests.
var newHash = object.Format.New

func toWanted(id []byte, t object.Type, s object.Special) (w wanted) {
	copy(w.sum[:], id)
	w.t, w.special = t, s
	return w
}

// name computes an object's id, checks its content, and files both.
func (w *worker) name(n uint32, e *entry, data []byte, flags uint8) error {
	w.hasher.Begin(e.typ, int64(len(data)))
	w.hasher.Write(data)
	return w.named(n, e, data, flags)
}

// named files an object whose content went through w.hasher. data is nil for a blob that was not held.
func (w *worker) named(n uint32, e *entry, data []byte, flags uint8) error {
	id, err := w.hasher.Sum()
	if err != nil {
		return fmt.Errorf("entry at byte %d: %w", e.off, err)
	}
	if flags&appended == 0 {
		if err := w.checker.Check(e.typ, data); err != nil {
			var fault *object.FsckError
			if errors.As(err, &fault) {
				fault.ID = id
			}
			return err
		}
	}
	var sum [32]byte
	num, known, err := w.ids.object(id.Append(sum[:0]), e.typ, n, flags, &w.links)
	if err != nil {
		return err
	}
	e.id = num
	if known.special != 0 && known.flags&checked == 0 && e.typ == object.Blob && (data != nil || e.size == 0) {
		return w.checkSpecial(num, known.special, data)
	}
	return nil
}
