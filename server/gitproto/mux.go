package gitproto

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// The side bands.
const (
	bandData     = 1
	bandProgress = 2
	bandError    = 3
)

const (
	frameHeader = lengthDigits + 1
	smallFrame  = 1000 // of the old side-band; side-band-64k has maxPacket
	maxHeld     = 64 << 10
)

// mux sends one stream of data and one of progress to the client, in frames of a side band. Without side bands the
// data goes out as it is and progress is dropped. Data is collected into full frames; finish sends the rest. All
// methods are safe for concurrent use.
type mux struct {
	ctx       context.Context // ends Write, but not what the client is told about it
	out       io.Writer
	keepAlive time.Duration

	mu    sync.Mutex // guards what follows, and writes to out
	bands bool
	idle  byte   // the band of the empty frames that break a silence
	frame []byte // a frame under construction: frameHeader bytes kept free, then data
	data  int    // bytes of data in frame
	hold  bool   // nothing but held progress until release
	held  []byte
	ended bool      // by finish: what comes late is dropped, as it would corrupt the stream
	last  time.Time // of the last write
	err   error     // the first failure of out
}

var errEnded = errors.New("write after the end of the response")

// newMux returns a mux with frames of frameSize bytes, 0 for no side bands.
func newMux(ctx context.Context, out io.Writer, frameSize int, keepAlive time.Duration) *mux {
	m := &mux{ctx: ctx, out: out, keepAlive: keepAlive, bands: frameSize > 0, idle: bandData, last: time.Now()}
	if frameSize == 0 {
		frameSize = maxPacket
	}
	m.frame = make([]byte, frameSize)
	return m
}

// Write adds to the data stream.
func (m *mux) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := context.Cause(m.ctx); err != nil {
		return 0, err
	}
	if m.ended {
		return 0, errEnded
	}
	written := 0
	for len(p) > 0 {
		n := copy(m.frame[frameHeader+m.data:], p)
		m.data += n
		p = p[n:]
		if frameHeader+m.data == len(m.frame) {
			if err := m.sendData(); err != nil {
				return written, err
			}
		}
		written += n
	}
	return written, m.err
}

// progressWriter is the io.Writer of a mux's band 2. It reports no errors and drops text that cannot be sent: a failing
// transport shows in the data.
type progressWriter struct{ m *mux }

func (w progressWriter) Write(p []byte) (int, error) {
	w.m.text(bandProgress, p)
	return len(p), nil
}

// text sends p in frames of band and flushes, or keeps it until release.
func (m *mux) text(band byte, p []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.bands || m.ended || len(p) == 0 {
		return
	}
	if m.hold {
		if len(m.held)+len(p) <= maxHeld {
			m.held = append(m.held, p...)
		}
		return
	}
	m.sendText(band, p)
	m.flush()
}

func (m *mux) sendText(band byte, p []byte) {
	for len(p) > 0 && m.err == nil {
		n := min(len(p), len(m.frame)-frameHeader)
		frame := make([]byte, frameHeader, frameHeader+n)
		m.send(band, append(frame, p[:n]...))
		p = p[n:]
	}
}

// sendData sends the frame under construction.
func (m *mux) sendData() error {
	if m.data == 0 {
		return m.err
	}
	frame := m.frame[:frameHeader+m.data]
	m.data = 0
	if m.bands {
		m.send(bandData, frame)
	} else {
		m.write(frame[frameHeader:])
	}
	return m.err
}

// send fills in the header of frame and writes it.
func (m *mux) send(band byte, frame []byte) {
	putLength(frame, len(frame))
	frame[lengthDigits] = band
	m.write(frame)
}

func (m *mux) write(p []byte) {
	if m.err == nil {
		if _, err := m.out.Write(p); err != nil {
			m.err = &settledError{err}
		}
	}
	m.last = time.Now()
}

func (m *mux) flush() {
	if m.err == nil {
		if err := flushWriter(m.out); err != nil {
			m.err = &settledError{err}
		}
	}
}

// release ends holding back and sends the progress that was held.
func (m *mux) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.hold {
		return
	}
	m.hold = false
	if len(m.held) > 0 {
		m.sendText(bandProgress, m.held)
		m.held = nil
		m.flush()
	}
}

// finish sends the rest of the data and, with side bands, a flush packet.
func (m *mux) finish() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sendData()
	if m.bands {
		m.write([]byte("0000"))
	}
	m.flush()
	m.ended = true
	return m.err
}

// start keeps the client company until the returned function is called, which waits for the last frame.
func (m *mux) start() (stop func()) {
	if !m.bands || m.keepAlive < 0 {
		return func() {}
	}
	quit, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		timer := time.NewTimer(m.keepAlive)
		defer timer.Stop()
		for {
			select {
			case <-quit:
				return
			case <-timer.C:
				timer.Reset(m.beat())
			}
		}
	}()
	return func() {
		close(quit)
		<-gone
	}
}

// beat breaks a silence of keepAlive, with pending data if there is some, and returns when to look again.
func (m *mux) beat() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if silence := time.Since(m.last); silence < m.keepAlive {
		return m.keepAlive - silence
	}
	if m.hold || m.ended || m.err != nil {
		return m.keepAlive
	}
	if m.data > 0 {
		m.sendData()
	} else {
		m.send(m.idle, make([]byte, frameHeader))
	}
	m.flush()
	return m.keepAlive
}

// failure returns the first failure of the transport.
func (m *mux) failure() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}
