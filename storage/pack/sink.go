package pack

import (
	"crypto/sha1"
	"crypto/sha256"
	"hash"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"holdfast/storage/object"
)

const (
	sinkBlock  = 128 << 10
	firstBlock = 8 << 10 // most packs are small
)

var sinkBlocks = sync.Pool{New: func() any { return new([sinkBlock]byte) }}

// sink hashes a pack's bytes, writes them to the file and tees them, in a goroutine of its own, so that the decoder need not
// wait. Its methods but run are for one goroutine, which must call close.
type sink struct {
	blocks chan sinkItem
	block  []byte
	begun  bool
	failed atomic.Pointer[error]
	ended  chan struct{}

	// Owned by run until it ended.
	dst     *os.File // nil: not written
	tee     io.Writer
	off     int64
	trailer hash.Hash
	sha256  hash.Hash
}

// sinkItem is a block of bytes, and a request for the hash of all before the trailer.
type sinkItem struct {
	data []byte
	sum  chan<- []byte // if set: answer with the trailer's hash, and leave what follows out of it
}

// newTrailerHash returns the hash of a pack's trailer. It guards against accidents only, so SHA-1 needs no collision
// detection here: what names the objects has it.
func newTrailerHash(f object.Format) hash.Hash {
	if f == object.SHA256 {
		return sha256.New()
	}
	return sha1.New()
}

func newSink(f object.Format, dst *os.File, tee io.Writer) *sink {
	s := &sink{
		blocks: make(chan sinkItem, 2), ended: make(chan struct{}),
		dst: dst, tee: tee, trailer: newTrailerHash(f), sha256: sha256.New(),
	}
	go s.run()
	return s
}

// write takes a copy of p.
func (s *sink) write(p []byte) error {
	for len(p) > 0 {
		if s.block == nil {
			s.block = s.newBlock()
		}
		n := min(len(p), cap(s.block)-len(s.block))
		s.block = append(s.block, p[:n]...)
		p = p[n:]
		if len(s.block) == cap(s.block) {
			if err := s.flush(nil); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *sink) newBlock() []byte {
	if !s.begun {
		s.begun = true
		return make([]byte, 0, firstBlock)
	}
	return sinkBlocks.Get().(*[sinkBlock]byte)[:0]
}

func (s *sink) flush(sum chan<- []byte) error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	s.blocks <- sinkItem{data: s.block, sum: sum}
	s.block = nil
	return nil
}

// sum returns the hash of all that was written. The rest does not count.
func (s *sink) sum() ([]byte, error) {
	answer := make(chan []byte, 1)
	if err := s.flush(answer); err != nil {
		return nil, err
	}
	return <-answer, nil
}

// close ends the goroutine and returns its error. It may be called twice.
func (s *sink) close() error {
	select {
	case <-s.ended:
	default:
		s.flush(nil)
		close(s.blocks)
		<-s.ended
	}
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (s *sink) run() {
	defer close(s.ended)
	for item := range s.blocks {
		if s.failed.Load() == nil {
			if err := s.handle(item.data); err != nil {
				s.failed.Store(&err)
			}
		}
		if item.sum != nil {
			item.sum <- s.trailer.Sum(nil)
			s.trailer = nil
		}
		if cap(item.data) == sinkBlock {
			sinkBlocks.Put((*[sinkBlock]byte)(item.data[:sinkBlock]))
		}
	}
}

func (s *sink) handle(b []byte) error {
	if s.trailer != nil {
		s.trailer.Write(b)
	}
	s.sha256.Write(b)
	if s.dst != nil {
		if _, err := s.dst.WriteAt(b, s.off); err != nil {
			return err
		}
	}
	s.off += int64(len(b))
	if s.tee != nil {
		if _, err := s.tee.Write(b); err != nil {
			return err
		}
	}
	return nil
}
