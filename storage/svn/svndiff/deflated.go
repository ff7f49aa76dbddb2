package svndiff

import "holdfast/storage/svn"

// DeflatedHandler is a handler that may take a whole text as it is stored.
type DeflatedHandler interface {
	svn.WindowHandler
	// Deflated takes a zlib stream of a text of size bytes, which is made from nothing, in place of all windows. It reports
	// false, and has done nothing, if it cannot.
	Deflated(size int, stream []byte) (bool, error)
}

// AppendDeflated appends the svndiff, of version 1, of a text that is made from nothing, given a zlib stream of it: what an encoder
// makes of the text, without the work. It reports false if svndiff cannot have that: for a text that is empty or larger than a
// window, or a stream that is not shorter than the text.
func AppendDeflated(b []byte, size int, stream []byte) ([]byte, bool) {
	if size > svn.MaxWindow || len(stream) >= size {
		return b, false
	}
	op := appendOp(nil, svn.Op{Action: svn.FromNew, Len: size})
	ops := append(appendNumber(nil, uint64(len(op))), op...)
	length := appendNumber(nil, uint64(size))
	b = append(b, 'S', 'V', 'N', 1, 0, 0) // no source
	b = appendNumber(b, uint64(size))
	b = appendNumber(b, uint64(len(ops)))
	b = appendNumber(b, uint64(len(length)+len(stream)))
	b = append(b, ops...)
	b = append(b, length...)
	return append(b, stream...), true
}
