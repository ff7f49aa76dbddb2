package svndiff

import (
	"hash"
	"io"
	"sync"

	"holdfast/storage/svn"
)

// DeltaOptions are the options of Delta.
type DeltaOptions struct {
	Sum hash.Hash // takes the target too, if it is not nil
}

// Delta reads two texts, without a copy those that have the method Next of a bytes.Buffer, and gives h the windows that make target from
// source, which is nil for an empty one; then it closes h. The n-th window makes the n-th svn.MaxWindow bytes of one from those of the
// other.
func Delta(source, target io.Reader, h svn.WindowHandler, o DeltaOptions) error {
	d := deltas.Get().(*delta)
	defer deltas.Put(d)
	var offset int64
	for {
		to, err := readWindow(target, &d.target)
		if err != nil {
			return err
		}
		if len(to) == 0 {
			return h.Close()
		}
		if o.Sum != nil {
			o.Sum.Write(to)
		}
		var from []byte
		if source != nil {
			if from, err = readWindow(source, &d.source); err != nil {
				return err
			}
			if len(from) < svn.MaxWindow {
				source = nil
			}
		}
		d.window = svn.Window{SourceOffset: offset, SourceLen: len(from), TargetLen: len(to)}
		d.compute(from, to)
		if err := h.Window(&d.window); err != nil {
			return err
		}
		if len(to) < svn.MaxWindow {
			return h.Close()
		}
		offset += int64(len(from))
	}
}

// delta is the memory that Delta needs.
type delta struct {
	source, target [svn.MaxWindow]byte
	window         svn.Window
	build          builder
	blocks         blocks
}

var deltas = sync.Pool{New: func() any { return new(delta) }}

// compute sets the instructions and the new data of the window.
func (d *delta) compute(from, to []byte) {
	d.build.reset()
	if len(from) == 0 {
		d.build.ops = append(d.build.ops, svn.Op{Action: svn.FromNew, Len: len(to)})
		d.window.Ops, d.window.NewData = d.build.ops, to
		return
	}
	xdelta(&d.build, &d.blocks, from, to)
	d.window.Ops, d.window.NewData = d.build.ops, d.build.data
}

// readWindow reads a window of a text, into b unless the text is in memory already.
func readWindow(r io.Reader, b *[svn.MaxWindow]byte) ([]byte, error) {
	if m, ok := r.(interface{ Next(n int) []byte }); ok {
		return m.Next(len(b)), nil
	}
	n, err := io.ReadFull(r, b[:])
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, err
	}
	return b[:n], nil
}
