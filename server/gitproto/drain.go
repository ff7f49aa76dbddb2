package gitproto

import (
	"io"
	"time"
)

// drain reads the rest of a failed push's pack, so that the client comes to reading the report instead of failing in
// the middle of writing. There is no telling where the pack ends once it was found to be broken: over HTTP the body
// ends, over a stream the client may leave its side open and wait.
func (c *receivePack) drain() {
	if c.complete.Load() {
		return
	}
	rest := io.LimitReader(c.r.Rest(), c.o.DrainBytes)
	if !c.o.Stateless {
		c.drainStream(rest)
		return
	}
	for c.ctx.Err() == nil {
		if _, err := io.CopyN(io.Discard, rest, bufferSize); err != nil {
			return
		}
	}
}

// drainStream stops when nothing has come for DrainIdle. Its reader may stay behind, blocked, until the transport is
// closed.
func (c *receivePack) drainStream(rest io.Reader) {
	chunks := make(chan int)
	gone := make(chan struct{})
	defer close(gone)
	go func() {
		defer close(chunks)
		buf := make([]byte, 32<<10)
		for {
			n, err := rest.Read(buf)
			if err != nil {
				return
			}
			select {
			case chunks <- n:
			case <-gone:
				return
			}
		}
	}()
	idle := time.NewTimer(c.o.DrainIdle)
	defer idle.Stop()
	for {
		select {
		case _, more := <-chunks:
			if !more {
				return
			}
			idle.Reset(c.o.DrainIdle)
		case <-idle.C:
			return
		case <-c.ctx.Done():
			return
		}
	}
}
