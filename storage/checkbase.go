package storage

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"holdfast/storage/graph"
)

// checkBase makes the graph of a repository's base pack again and compares it with the graph file.
func (c *checker) checkBase(st *repoState) error {
	base := st.useBase()
	if base == nil {
		return nil
	}
	defer st.dropBase(base)
	path := st.graphPath(base.id)
	f, err := os.Open(path)
	if err == nil {
		defer f.Close()
		err = c.compareGraph(st, base, &comparer{r: bufio.NewReaderSize(f, 64<<10)})
	}
	if c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	if err != nil {
		c.problem(st.id, "graph file of pack %s: %v: remove %s and start again, and it is made again", base.id, err, path)
	}
	return nil
}

func (c *checker) compareGraph(st *repoState, base *basePack, to *comparer) error {
	rec, _, err := st.packRecord(base.id)
	if err != nil {
		return err
	}
	if rec == nil {
		return fmt.Errorf("%w: host.db does not know the pack", ErrCorrupt)
	}
	objects, err := st.graphObjects(base.number, c.ctx.Err)
	if err != nil {
		return err
	}
	err = graph.Write(c.ctx, to, st.format, rec.Stored, objects, st.contentAt(base.number, objects, c.ctx.Err))
	if err != nil {
		return err
	}
	if _, err := to.r.ReadByte(); err != io.EOF {
		return errGraphDiffers
	}
	return nil
}

var errGraphDiffers = errors.New("it is not what the pack makes")

// comparer is an io.Writer that fails where what is written is not what r yields.
type comparer struct {
	r   *bufio.Reader
	buf []byte
}

// Write compares p.
func (c *comparer) Write(p []byte) (int, error) {
	if len(c.buf) < len(p) {
		c.buf = make([]byte, len(p))
	}
	if _, err := io.ReadFull(c.r, c.buf[:len(p)]); err != nil || !bytes.Equal(p, c.buf[:len(p)]) {
		return 0, errGraphDiffers
	}
	return len(p), nil
}
