package svnfs

import (
	"bufio"
	"context"
	"io"
	"sync"

	"holdfast/storage"
	"holdfast/storage/object"
	"holdfast/storage/pack"
)

// packObject is an object for a revision's pack: data, or a text.
type packObject struct {
	typ  object.Type
	id   ID
	data []byte
	text *spool
	base ID // what a delta may build on; zero for none
}

const (
	maxDeltaText = 8 << 20 // a text above this is stored whole
	minDelta     = 64      // as is what is smaller than this
)

// send writes the pack of the revision's objects to the transaction.
func (b *builder) send(ctx context.Context, txn *storage.Txn) error {
	r, w := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		out := packWriters.Get().(*bufio.Writer)
		defer packWriters.Put(out)
		out.Reset(w)
		err := b.write(out)
		if err == nil {
			err = out.Flush()
		}
		w.CloseWithError(err)
	}()
	err := txn.ReadPack(ctx, r)
	r.CloseWithError(io.ErrClosedPipe) // ends the writer, if the reader failed
	<-ended                            // it reads texts
	return err
}

var packWriters = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 64<<10) }}

func (b *builder) write(out io.Writer) error {
	w := pack.NewWriter(out, b.f.format, uint32(len(b.objects)))
	for i := range b.objects {
		if err := b.writeObject(w, &b.objects[i]); err != nil {
			return err
		}
	}
	return w.Close()
}

func (b *builder) writeObject(w *pack.Writer, o *packObject) error {
	size := int64(len(o.data))
	if o.text != nil {
		size = o.text.size
	}
	if o.text != nil && (o.base.IsZero() || size > maxDeltaText) {
		return w.WriteStream(o.typ, size, o.text.open())
	}
	data := o.data
	if o.text != nil {
		var err error
		if data, err = o.text.bytes(); err != nil {
			return err
		}
	}
	if o.base.IsZero() || size < minDelta {
		return w.WriteObject(o.typ, data)
	}
	_, base, err := b.f.repo.ReadObject(o.base)
	if err != nil {
		return err
	}
	if delta, ok := pack.NewDeltaIndex(base).Delta(nil, data, len(data)/2); ok {
		return w.WriteDelta(pack.Base{ID: o.base}, delta)
	}
	return w.WriteObject(o.typ, data)
}
