package storage

import (
	"fmt"

	"holdfast/storage/object"
)

// maxDeflated bounds what ReadDeflated reads, in bytes.
const maxDeflated = 1 << 20

// ReadDeflated returns the zlib stream of an object's content just as it is stored, for a protocol that has such streams too: it
// spares to inflate and to deflate again. It returns false for an object that is stored as a delta, or large. The stream is in buf,
// which is enlarged as needed.
func (r *Repo) ReadDeflated(id object.ID, buf []byte) (stream []byte, ok bool, err error) {
	st, err := r.s.repoState(r.id, r.init.Format)
	if err != nil {
		return nil, false, r.fail("read object", err)
	}
	v := st.views.hold()
	defer st.views.release(v)
	loc, found, err := st.lookup(id)
	switch {
	case err != nil:
		return nil, false, r.fail("read object", err)
	case !found:
		return nil, false, r.fail("read object", fmt.Errorf("object %s: %w", id, ErrNotFound))
	case loc.length > maxDeflated:
		return nil, false, nil
	}
	h, err := st.s.packs.acquire(packHandleKey{st, loc.number})
	if err != nil {
		return nil, false, r.fail("read object", err)
	}
	defer st.s.packs.release(h)
	if stream, ok, err = h.value.Deflated(loc.offset, loc.length, loc.crc, buf); err != nil {
		err = r.fail("read object", err)
	}
	return stream, ok, err
}
