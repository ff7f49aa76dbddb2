package svndiff

import (
	"math"

	"holdfast/storage/svn"
)

// maxInstructions bounds the instructions of a window, in bytes.
const maxInstructions = svn.MaxWindow * maxInstruction

// Decoder reads svndiff, of any version, that is written to it in pieces of any size, and passes its windows on. It is an
// io.WriteCloser for one goroutine.
type Decoder struct {
	h   svn.WindowHandler
	err error // the first one; all calls after it return it

	header  int    // how many bytes of the header are read
	version int    // once the header is read
	buf     []byte // what is not yet a whole window
	view    int64  // the last source view
	viewEnd int64

	window    svn.Window
	ops, data []byte // of a window, unpacked
	unpacker  unpacker
}

// NewDecoder returns a Decoder that passes windows to h, or reads over everything if h is nil.
func NewDecoder(h svn.WindowHandler) *Decoder { return &Decoder{h: h} }

// Write takes a piece. Errors have the codes ErrSvndiff..., or are those of the handler.
func (d *Decoder) Write(p []byte) (int, error) {
	if d.h == nil {
		return len(p), nil
	}
	if d.err == nil {
		d.err = d.write(p)
	}
	if d.err != nil {
		return 0, d.err
	}
	return len(p), nil
}

// Close tells the handler that there are no more windows, if the last one is whole; else it is ErrSvndiffUnexpectedEnd.
func (d *Decoder) Close() error {
	switch {
	case d.h == nil:
		return nil
	case d.err != nil:
		return d.err
	case d.header < headerSize || len(d.buf) > 0:
		d.err = svn.Errorf(svn.ErrSvndiffUnexpectedEnd, "Unexpected end of svndiff input")
		return d.err
	}
	return d.h.Close()
}

func (d *Decoder) write(p []byte) error {
	for ; d.header < headerSize && len(p) > 0; p = p[1:] {
		if d.header == headerSize-1 {
			d.version = int(p[0])
		} else if p[0] != "SVN"[d.header] {
			d.version = math.MaxInt
		}
		if d.version > 2 {
			return svn.Errorf(svn.ErrSvndiffInvalidHeader, "Svndiff has invalid header")
		}
		d.header++
	}
	data := p
	if len(d.buf) > 0 {
		d.buf = append(d.buf, p...)
		data = d.buf
	}
	all := len(data)
	for len(data) > 0 {
		n, err := d.next(data)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		data = data[n:]
	}
	if len(data) < all || len(d.buf) == 0 { // else it is all there: small pieces must not take quadratic time
		d.buf = append(d.buf[:0], data...)
	}
	return nil
}

// next passes on the window at the front of b and returns its size: 0 if there is not yet all of it.
func (d *Decoder) next(b []byte) (int, error) {
	var n [5]uint64
	at := 0
	for i := range n {
		v, size := cutNumber(b[at:])
		if size == 0 {
			if len(b)-at >= maxNumber {
				return 0, svn.Errorf(svn.ErrSvndiffCorruptWindow, "Svndiff contains a too-large window header")
			}
			return 0, nil
		}
		n[i], at = v, at+size
	}
	offset, ops, data := n[0], n[3], n[4]
	if err := d.checkHeader(offset, n[1], n[2], ops, data); err != nil {
		return 0, err
	}
	if uint64(len(b)-at) < ops+data {
		return 0, nil
	}
	end := at + int(ops)
	w := &d.window
	w.SourceOffset, w.SourceLen, w.TargetLen = int64(offset), int(n[1]), int(n[2])
	if err := d.fill(b[at:end], b[end:end+int(data)]); err != nil {
		return 0, err
	}
	if err := d.h.Window(w); err != nil {
		return 0, err
	}
	d.view, d.viewEnd = w.SourceOffset, w.SourceOffset+int64(w.SourceLen)
	return end + int(data), nil
}

// checkHeader checks the numbers of a window against the bounds and the window before.
func (d *Decoder) checkHeader(offset, source, target, ops, data uint64) error {
	// Packed new data has its plain length in front.
	if target > svn.MaxWindow || source > svn.MaxWindow || data > svn.MaxWindow+maxNumber || ops > maxInstructions {
		return svn.Errorf(svn.ErrSvndiffCorruptWindow, "Svndiff contains a too-large window")
	}
	if offset > math.MaxInt64-source {
		return svn.Errorf(svn.ErrSvndiffCorruptWindow, "Svndiff contains corrupt window header")
	}
	if source > 0 && (int64(offset) < d.view || int64(offset+source) < d.viewEnd) {
		return svn.Errorf(svn.ErrSvndiffBackwardView, "Svndiff has backwards-sliding source views")
	}
	return nil
}

// fill unpacks the two sections into the window.
func (d *Decoder) fill(ops, data []byte) error {
	if d.version > 0 {
		var err error
		if d.data, err = d.unpacker.unpack(d.data[:0], data, d.version, svn.MaxWindow); err != nil {
			return err
		}
		if d.ops, err = d.unpacker.unpack(d.ops[:0], ops, d.version, maxInstructions); err != nil {
			return err
		}
		ops, data = d.ops, d.data
	}
	d.window.NewData = data
	return d.decodeOps(ops)
}

// decodeOps reads the instructions of a window. They must stay inside its views, and use up its new data and fill its target exactly.
func (d *Decoder) decodeOps(b []byte) error {
	w := &d.window
	w.Ops = w.Ops[:0]
	target, used := 0, 0
	for i := 0; len(b) > 0; i++ {
		op, n := cutOp(b)
		switch {
		case n == 0:
			return badOp("insn %d cannot be decoded", i)
		case op.Len == 0:
			return badOp("insn %d has length zero", i)
		case op.Len > w.TargetLen-target:
			return badOp("insn %d overflows the target view", i)
		}
		switch op.Action {
		case svn.FromSource:
			if op.Offset > w.SourceLen || op.Len > w.SourceLen-op.Offset {
				return badOp("[src] insn %d overflows the source view", i)
			}
		case svn.FromTarget:
			if op.Offset >= target {
				return badOp("[tgt] insn %d starts beyond the target view position", i)
			}
		case svn.FromNew:
			if op.Len > len(w.NewData)-used {
				return badOp("[new] insn %d overflows the new data section", i)
			}
			op.Offset = used
			used += op.Len
		}
		w.Ops = append(w.Ops, op)
		target += op.Len
		b = b[n:]
	}
	if target != w.TargetLen {
		return svn.Errorf(svn.ErrSvndiffInvalidOps, "Delta does not fill the target window")
	}
	if used != len(w.NewData) {
		return svn.Errorf(svn.ErrSvndiffInvalidOps, "Delta does not contain enough new data")
	}
	return nil
}

func badOp(format string, i int) error {
	return svn.Errorf(svn.ErrSvndiffInvalidOps, "Invalid diff stream: "+format, i)
}

// cutOp reads an instruction from the front of b, and returns how many bytes it took: 0 if it is malformed. Numbers that
// are too big for any view come out as the biggest int.
func cutOp(b []byte) (op svn.Op, n int) {
	op.Action, n = svn.OpAction(b[0]>>6), 1
	if op.Action > svn.FromNew {
		return op, 0
	}
	if op.Len = int(b[0] & 0x3f); op.Len == 0 {
		v, size := cutNumber(b[n:])
		if size == 0 {
			return op, 0
		}
		op.Len, n = clampInt(v), n+size
	}
	if op.Action != svn.FromNew {
		v, size := cutNumber(b[n:])
		if size == 0 {
			return op, 0
		}
		op.Offset, n = clampInt(v), n+size
	}
	return op, n
}

func clampInt(v uint64) int { return int(min(v, math.MaxInt32)) }
