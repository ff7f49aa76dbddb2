package svndiff

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"holdfast/storage/svn"
)

// Encoder is an svn.WindowHandler that writes windows as svndiff.
type Encoder struct {
	w       io.Writer
	pack    packer
	started bool
	memory  *encoderMemory // from the first window to Close

	limit     int // of the recording; 0 for none
	recorded  func([]byte)
	recording []byte // number and bytes of each write; of encoderMemory
}

// encoderMemory is used again by each window, and then by another encoder: head is what goes before the new data, ops the plain
// instructions, the others packed sections.
type encoderMemory struct {
	head, ops, packedOps, packedData, recording []byte
	table                                       lz4Table
}

var encoderMemories = sync.Pool{New: func() any { return new(encoderMemory) }}

// NewEncoder returns what writes the windows that it is given to w as svndiff of a version: 0 is plain, 1 has zlib at a level from 0
// (none) to 9, 2 has LZ4, which has no levels. A window takes one or two writes. Close does not close w. It panics if there is no
// such version or level.
func NewEncoder(w io.Writer, version, level int) *Encoder {
	if version < 0 || version > 2 || level < 0 || level > 9 {
		panic(fmt.Sprintf("svndiff: no version %d at level %d", version, level))
	}
	return &Encoder{w: w, pack: packer{version: version, level: level}}
}

// Window writes a window.
func (e *Encoder) Window(w *svn.Window) error {
	m := e.memory
	if m == nil {
		m = encoderMemories.Get().(*encoderMemory)
		e.memory, e.recording = m, m.recording[:0]
	}
	m.ops = m.ops[:0]
	for _, op := range w.Ops {
		m.ops = appendOp(m.ops, op)
	}
	ops, data := m.ops, w.NewData
	if e.pack.version > 0 {
		m.packedOps = e.pack.append(m.packedOps[:0], ops, &m.table)
		m.packedData = e.pack.append(m.packedData[:0], data, &m.table)
		ops, data = m.packedOps, m.packedData
	}
	b := e.start(m.head[:0])
	b = appendNumber(b, uint64(w.SourceOffset))
	b = appendNumber(b, uint64(w.SourceLen))
	b = appendNumber(b, uint64(w.TargetLen))
	b = appendNumber(b, uint64(len(ops)))
	b = appendNumber(b, uint64(len(data)))
	m.head = append(b, ops...)
	if err := e.write(m.head); err != nil || len(data) == 0 {
		return err
	}
	return e.write(data)
}

// Close writes the header if there were no windows.
func (e *Encoder) Close() error {
	if m := e.memory; m != nil {
		if e.limit > 0 {
			e.recorded(bytes.Clone(e.recording))
		}
		m.recording = e.recording
		e.memory = nil
		encoderMemories.Put(m)
	}
	if e.started {
		return nil
	}
	return e.write(e.start(nil))
}

func (e *Encoder) start(b []byte) []byte {
	if !e.started {
		e.started = true
		b = append(b, 'S', 'V', 'N', byte(e.pack.version))
	}
	return b
}

func (e *Encoder) write(p []byte) error {
	if len(e.recording)+maxNumber+len(p) > e.limit {
		e.limit = 0
	} else {
		e.recording = append(appendNumber(e.recording, uint64(len(p))), p...)
	}
	_, err := e.w.Write(p)
	return err
}

// Format tells encoders apart that write the same windows in another way.
func (e *Encoder) Format() uint8 { return uint8(e.pack.version<<4 | e.pack.level) }

// Record has Close call done with a recording of all windows, unless that takes more than limit bytes or there were none.
func (e *Encoder) Record(limit int, done func(recording []byte)) { e.limit, e.recorded = limit, done }

// Replay writes, in place of any windows, what an encoder of the same format wrote when the recording was made. Close comes after it
// as always.
func (e *Encoder) Replay(recording []byte) error {
	e.started = true
	for len(recording) > 0 {
		n, size := cutNumber(recording)
		end := size + int(n)
		if _, err := e.w.Write(recording[size:end]); err != nil {
			return err
		}
		recording = recording[end:]
	}
	return nil
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
