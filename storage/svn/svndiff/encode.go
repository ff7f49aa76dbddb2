package svndiff

import (
	"fmt"
	"io"

	"holdfast/storage/svn"
)

// encoder writes windows as svndiff.
type encoder struct {
	w       io.Writer
	pack    packer
	started bool
	// Used again by each window: head is what goes before the new data, ops the plain instructions, the others packed sections.
	head, ops, packedOps, packedData []byte
}

// NewEncoder returns what writes the windows that it is given to w as svndiff of a version: 0 is plain, 1 has zlib at a level from 0
// (none) to 9, 2 has LZ4, which has no levels. A window takes one or two writes. Close does not close w. It panics if there is no
// such version or level.
func NewEncoder(w io.Writer, version, level int) svn.WindowHandler {
	if version < 0 || version > 2 || level < 0 || level > 9 {
		panic(fmt.Sprintf("svndiff: no version %d at level %d", version, level))
	}
	return &encoder{w: w, pack: packer{version: version, level: level}}
}

// Window writes a window.
func (e *encoder) Window(w *svn.Window) error {
	e.ops = e.ops[:0]
	for _, op := range w.Ops {
		e.ops = appendOp(e.ops, op)
	}
	ops, data := e.ops, w.NewData
	if e.pack.version > 0 {
		e.packedOps = e.pack.append(e.packedOps[:0], ops)
		e.packedData = e.pack.append(e.packedData[:0], data)
		ops, data = e.packedOps, e.packedData
	}
	b := e.start(e.head[:0])
	b = appendNumber(b, uint64(w.SourceOffset))
	b = appendNumber(b, uint64(w.SourceLen))
	b = appendNumber(b, uint64(w.TargetLen))
	b = appendNumber(b, uint64(len(ops)))
	b = appendNumber(b, uint64(len(data)))
	e.head = append(b, ops...)
	if _, err := e.w.Write(e.head); err != nil || len(data) == 0 {
		return err
	}
	_, err := e.w.Write(data)
	return err
}

// Close writes the header if there were no windows.
func (e *encoder) Close() error {
	if e.started {
		return nil
	}
	_, err := e.w.Write(e.start(nil))
	return err
}

func (e *encoder) start(b []byte) []byte {
	if !e.started {
		e.started = true
		b = append(b, 'S', 'V', 'N', byte(e.pack.version))
	}
	return b
}

// appendOp appends an instruction: the action in the two high bits, and the length in the other six if it fits and is not 0.
func appendOp(b []byte, op svn.Op) []byte {
	first := byte(op.Action) << 6
	if op.Len>>6 == 0 {
		b = append(b, first|byte(op.Len))
	} else {
		b = appendNumber(append(b, first), uint64(op.Len))
	}
	if op.Action != svn.FromNew {
		b = appendNumber(b, uint64(op.Offset))
	}
	return b
}
