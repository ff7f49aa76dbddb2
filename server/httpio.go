package server

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// response writes the answer to one request. Headers go out with the first byte, so that until then the answer can
// still become an error; each write has its own deadline, so that a client may be slow but not stuck.
type response struct {
	http.ResponseWriter
	r           *http.Request
	control     *http.ResponseController
	idle        time.Duration
	contentType string // of a success
	written     bool
}

func newResponse(w http.ResponseWriter, r *http.Request, idle time.Duration) *response {
	out := &response{ResponseWriter: w, r: r, control: http.NewResponseController(w), idle: idle}
	if r.Body != http.NoBody {
		// For the server, which reads what the handler leaves over.
		out.control.SetReadDeadline(time.Now().Add(idle))
	}
	return out
}

func (w *response) Write(p []byte) (int, error) {
	w.ok()
	w.touch()
	return w.ResponseWriter.Write(p)
}

// Flush sends what is buffered, for a client that waits for it.
func (w *response) Flush() {
	if w.written {
		w.touch()
		w.control.Flush()
	}
}

// touch gives the next write its deadline.
func (w *response) touch() { w.control.SetWriteDeadline(time.Now().Add(w.idle)) }

// ok begins a success, unless the response has begun.
func (w *response) ok() {
	if w.written {
		return
	}
	w.written = true
	w.Header().Set("Content-Type", w.contentType)
	w.touch()
	w.WriteHeader(http.StatusOK)
}

func (w *response) fail(status int, text string) { w.text(status, "holdfast: "+text) }

// text answers with a line of plain text, which git shows to its user.
func (w *response) text(status int, text string) {
	w.written = true
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.touch()
	w.WriteHeader(status)
	if w.r.Method != http.MethodHead {
		io.WriteString(w.ResponseWriter, text+"\n")
	}
}

// allow answers requests of other methods than those listed.
func (w *response) allow(methods string) bool {
	for method := range strings.SplitSeq(methods, ", ") {
		if w.r.Method == method {
			return true
		}
	}
	w.Header().Set("Allow", methods)
	w.fail(http.StatusMethodNotAllowed, "the method is not allowed here")
	return false
}

// requestBody reads the body of one request, decompressed, within its limits.
type requestBody struct {
	wire    *wireReader
	buf     *bufio.Reader // of wire
	inflate bool
	zr      *gzip.Reader // of buf, from the first read on, if inflate
	size    int64        // read so far, after decompression
	limit   int64        // for size
	ratio   int64
	err     error // sticky
	status  int   // the HTTP status that says what err means
}

// freeInflate is what a compressed body may grow to whatever its size.
const freeInflate = 1 << 20

// body prepares the body of a request, or answers that it cannot be read.
func (h *httpHandler) body(out *response, r *http.Request, route gitRoute) (*requestBody, bool) {
	if route.advertise {
		return &requestBody{err: io.EOF}, true
	}
	if want := "application/x-" + string(route.service) + "-request"; r.Header.Get("Content-Type") != want {
		out.fail(http.StatusUnsupportedMediaType, "the content type should be "+want)
		return nil, false
	}
	limit := h.c.MaxFetchBytes
	if route.service == ReceivePack {
		limit = h.c.MaxPushBytes
	}
	if r.ContentLength > limit {
		out.fail(http.StatusRequestEntityTooLarge, tooLarge(limit).Error())
		return nil, false
	}
	wire := &wireReader{body: r.Body, control: out.control, idle: h.c.IdleTimeout, limit: limit}
	b := &requestBody{wire: wire, buf: bufio.NewReaderSize(wire, 32<<10), limit: limit, ratio: h.c.MaxInflateRatio}
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
	case "gzip", "x-gzip":
		b.inflate = true
	default:
		out.fail(http.StatusUnsupportedMediaType, fmt.Sprintf("content encoding %q is not offered, only gzip", encoding))
		return nil, false
	}
	return b, true
}

func tooLarge(limit int64) error { return fmt.Errorf("the request is larger than %d bytes", limit) }

// Read returns io.EOF only where the body really ends.
func (b *requestBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.read(p)
	if b.size += int64(n); err == nil {
		err = b.check()
	}
	if err != nil {
		b.err = err
		if err != io.EOF && b.status == 0 {
			b.status = statusOf(err)
		}
	}
	return n, err
}

func (b *requestBody) read(p []byte) (int, error) {
	if !b.inflate {
		return b.buf.Read(p)
	}
	if b.zr == nil {
		// Made at the first read, since it reads a header: before that a client may be waiting for "100 Continue".
		zr, err := gzip.NewReader(b.buf)
		if err != nil {
			return 0, badGzip(err)
		}
		zr.Multistream(false)
		b.zr = zr
	}
	n, err := b.zr.Read(p)
	if err == io.EOF {
		// The server watches for the client going away only once the body has been read to its end.
		if _, err := b.buf.ReadByte(); err != io.EOF {
			return n, badGzip(cmp.Or(err, errors.New("something follows its end")))
		}
	} else if err != nil {
		err = badGzip(err)
	}
	return n, err
}

// check looks at the size after decompression.
func (b *requestBody) check() error {
	if b.size > b.limit {
		return &bodyError{http.StatusRequestEntityTooLarge, tooLarge(b.limit)}
	}
	if b.inflate && b.size > max(freeInflate, b.wire.size*b.ratio) {
		return &bodyError{http.StatusRequestEntityTooLarge, errors.New("the compressed body grows too much")}
	}
	return nil
}

// bodyError is an error with the status that tells the client.
type bodyError struct {
	status int
	err    error
}

func (e *bodyError) Error() string { return e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

// badGzip tells errors of the compression from those of what lies below.
func badGzip(err error) error {
	var below *bodyError
	if errors.As(err, &below) {
		return err
	}
	return &bodyError{http.StatusBadRequest, fmt.Errorf("the compressed body is damaged: %w", err)}
}

func statusOf(err error) int {
	var be *bodyError
	if errors.As(err, &be) {
		return be.status
	}
	return http.StatusBadRequest
}

// wireReader reads a body as it comes over the wire: each read has its own deadline, and the sum has a limit.
type wireReader struct {
	body    io.Reader
	control *http.ResponseController
	idle    time.Duration
	size    int64 // read so far
	limit   int64
	ended   bool
}

func (w *wireReader) Read(p []byte) (int, error) {
	if w.ended {
		// From its end on, the server watches for the client going away; with a deadline, it would take a client that
		// waits for a long answer for one that has gone.
		return 0, io.EOF
	}
	w.control.SetReadDeadline(time.Now().Add(w.idle))
	n, err := w.body.Read(p)
	w.ended = err == io.EOF
	if w.size += int64(n); w.size > w.limit {
		return n, &bodyError{http.StatusRequestEntityTooLarge, tooLarge(w.limit)}
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = &bodyError{http.StatusRequestTimeout, errors.New("nothing came for too long")}
	case err != nil && err != io.EOF:
		err = &bodyError{http.StatusBadRequest, fmt.Errorf("the request broke off: %w", err)}
	}
	return n, err
}
