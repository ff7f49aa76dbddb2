package svndiff

import (
	"hash"
	"io"

	"holdfast/storage/svn"
)

// Applier makes a target text from a source text and the windows that it is given. It reads the source once, forwards, and keeps no
// more of it than a view. It is an svn.WindowHandler for one goroutine.
type Applier struct {
	source io.Reader
	target io.Writer
	sum    hash.Hash
	view   []byte // the last source view that was not empty
	start  int64  // where it begins
	out    []byte
}

// NewApplier returns an Applier that reads source, nil for an empty one, and writes to target. If sum is not nil, it takes the target too.
// Close closes neither.
func NewApplier(source io.Reader, target io.Writer, sum hash.Hash) *Applier {
	return &Applier{source: source, target: target, sum: sum}
}

// Window writes the part of the target that a window makes. It is ErrIncompleteData if the source is too short for its view, and
// ErrSvndiffBackwardView or ErrSvndiffInvalidOps for windows that a Decoder would not pass on.
func (a *Applier) Window(w *svn.Window) error {
	if err := a.slide(w); err != nil {
		return err
	}
	if w.TargetLen < 0 || w.TargetLen > svn.MaxWindow {
		return errOp
	}
	if cap(a.out) < w.TargetLen {
		a.out = make([]byte, 0, max(w.TargetLen, 2*cap(a.out)))
	}
	out := a.out[:w.TargetLen]
	source := a.view
	if w.SourceLen == 0 {
		source = nil
	}
	at := 0
	for _, op := range w.Ops {
		if !runOp(out, at, op, source, w.NewData) {
			return errOp
		}
		at += op.Len
	}
	if at != len(out) {
		return svn.Errorf(svn.ErrSvndiffInvalidOps, "Delta does not fill the target window")
	}
	if a.sum != nil {
		a.sum.Write(out)
	}
	_, err := a.target.Write(out)
	return err
}

// Close does nothing: the target is whole.
func (a *Applier) Close() error { return nil }

var errOp = svn.Errorf(svn.ErrSvndiffInvalidOps, "Invalid diff stream: an instruction leaves its view")

// runOp does one instruction at a place of out, and reports whether it stayed in bounds.
func runOp(out []byte, at int, op svn.Op, source, data []byte) bool {
	if op.Len < 0 || op.Offset < 0 || op.Len > len(out)-at {
		return false
	}
	switch op.Action {
	case svn.FromTarget:
		if op.Offset >= at {
			return op.Len == 0
		}
		repeat(out, at, op.Offset, op.Len)
		return true
	case svn.FromNew:
		source = data
	}
	if op.Offset > len(source) || op.Len > len(source)-op.Offset {
		return false
	}
	copy(out[at:], source[op.Offset:op.Offset+op.Len])
	return true
}

// slide moves the view to that of a window. An empty one moves nothing.
func (a *Applier) slide(w *svn.Window) error {
	if w.SourceLen == 0 {
		return nil
	}
	end := a.start + int64(len(a.view))
	if w.SourceOffset < a.start || w.SourceLen < 0 || w.SourceOffset+int64(w.SourceLen) < end {
		return svn.Errorf(svn.ErrSvndiffBackwardView, "Svndiff has backwards-sliding source views")
	}
	if w.SourceLen > svn.MaxWindow {
		return svn.Errorf(svn.ErrSvndiffCorruptWindow, "Svndiff contains a too-large window")
	}
	source := a.source
	if source == nil {
		return errShortSource
	}
	if gap := w.SourceOffset - end; gap > 0 {
		if _, err := io.CopyN(io.Discard, source, gap); err != nil {
			return sourceError(err)
		}
		a.view = a.view[:0]
	} else {
		a.view = append(a.view[:0], a.view[w.SourceOffset-a.start:]...)
	}
	a.start = w.SourceOffset
	have := len(a.view)
	if cap(a.view) < w.SourceLen {
		a.view = append(make([]byte, 0, max(w.SourceLen, 2*cap(a.view))), a.view...)
	}
	a.view = a.view[:w.SourceLen]
	if _, err := io.ReadFull(source, a.view[have:]); err != nil {
		return sourceError(err)
	}
	return nil
}

var errShortSource = svn.Errorf(svn.ErrIncompleteData, "Delta source ended unexpectedly")

func sourceError(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errShortSource
	}
	return err
}
