package gitproto

import (
	"bufio"
	"context"
	"errors"
	"io"
	"iter"
	"sync/atomic"

	"holdfast/storage/object"
)

// Pusher is a repository that one client may push to. The texts of its errors reach the client.
type Pusher interface {
	Format() object.Format
	// Refs yields the refs to advertise, sorted by name. Targets and peeled ids are not used. An error ends the
	// sequence and the conversation: a repository that takes no pushes right now says so here.
	Refs() iter.Seq2[Ref, error]
	// Push carries out a push and reports what became of it. It is called once at most. It should stop when ctx ends.
	Push(ctx context.Context, p *Push) Report
}

// Founder is a Pusher of a repository that the push is to create, if Founds says so. Then the client's object format
// becomes the repository's, be it that of Format or another one: see Push.Format.
type Founder interface {
	Founds() bool
}

// Push is what a client asks for.
type Push struct {
	// Format is the object format of all ids: the Pusher's, but for a Founder.
	Format object.Format
	// Commands are the updates, at least one, each of a different ref. Names are bounded in length and free of spaces
	// and control characters, but not checked otherwise.
	Commands []Command
	// Atomic asks for all of the updates or none.
	Atomic bool
	// Quiet asks for no progress. Warnings and results may be printed all the same.
	Quiet bool
	// Options are the push options, in order.
	Options []string
	// Cert is the certificate of a signed push, nil of another one. Its updates and options are those above; nothing
	// else in it has been verified.
	Cert *Certificate
	// Shallow are the commits that the client has without their parents: what the pack leads to may lie beyond.
	Shallow []object.ID
	// Pack is the stream that holds the pack, nil if all commands delete. The pack ends where its trailer does: the
	// client need not close its side before it has read the report, so a Read beyond the trailer may block.
	Pack *bufio.Reader
	// Progress prints on the client's terminal, line by line behind "remote: ". Writes never fail; without a side band
	// they vanish. Safe for concurrent use.
	Progress io.Writer

	received func()
}

// Received says that the pack's last byte has been read. The Pusher calls it then, whether the pack was good or not:
// until then a push over HTTP is silent, and a failed push waits for the rest of the pack.
func (p *Push) Received() {
	if p.received != nil {
		p.received()
	}
}

// Command is one update of a ref: a creation if Old is the zero ID, a deletion if New is.
type Command struct {
	Ref      string
	Old, New object.ID
}

// Report says what became of a push.
type Report struct {
	// Unpack is why the pack was not accepted; then no ref has been updated.
	Unpack error
	// Refs has one status for each command, in any order. Commands without one are reported as failed.
	Refs []RefStatus
}

// RefStatus says what became of one command: Err is nil if the ref was updated.
type RefStatus struct {
	Ref string
	Err error
}

// failed reports whether any of the push was refused.
func (r Report) failed() bool {
	for _, s := range r.Refs {
		if s.Err != nil {
			return true
		}
	}
	return r.Unpack != nil
}

// receivePack is the state of a conversation of receive-pack.
type receivePack struct {
	*conn
	p      Pusher
	req    *pushRequest
	founds bool // the client chooses the format, and has not done so yet
	m      *mux

	complete atomic.Bool // the client's pack has been read to its end
}

// ReceivePack serves a push: git-receive-pack. A push that the Pusher refuses, in whole or in part, is no error: the
// client has its report. It returns an *Error if the request was refused before it reached the Pusher, if the Pusher's
// refs could not be listed, or if the transport failed.
func ReceivePack(ctx context.Context, in io.Reader, out io.Writer, p Pusher, o Options) error {
	if o.Version == 2 {
		o.Version = 0
	}
	c := &receivePack{conn: newConn(ctx, "receive-pack", in, out, p.Format(), o), p: p}
	if founder, ok := p.(Founder); ok {
		c.founds = founder.Founds()
	}
	return c.end(c.converse())
}

func (c *receivePack) converse() error {
	if c.o.Advertise || !c.o.Stateless {
		if err := c.advertiseReceive(c.p.Refs()); err != nil || c.o.Advertise {
			return err
		}
	}
	req, err := c.readPush()
	if settled(err) || err == nil && len(req.commands) == 0 {
		return err
	}
	c.req = req
	// The client is told how its push went even if the context has ended meanwhile.
	c.m = newMux(context.WithoutCancel(c.ctx), c.out, req.caps.frameSize(), c.o.KeepAlive)
	c.m.hold = c.o.Stateless
	stop := c.m.start()
	defer stop()
	if err != nil {
		return c.refuse(err)
	}
	if !req.hasPack() {
		c.received()
	}
	report := c.p.Push(c.ctx, c.push())
	if report.failed() {
		c.drain()
	}
	return c.report(report)
}

// refuse answers a request that does not reach the Pusher: by a report if the client reads one, else on band 3, else
// by the ERR line of end.
func (c *receivePack) refuse(err error) error {
	c.skip()
	c.drain()
	switch {
	case c.req.reports() && len(c.req.commands) > 0:
		if broken := c.report(Report{Unpack: err}); broken != nil {
			return broken
		}
	case c.req.caps.frameSize() > 0:
		c.m.release()
		c.m.text(bandError, []byte(oneLine((&Error{c.op, err}).Error())+"\n"))
	default:
		return err
	}
	return &settledError{err}
}

// report sends the report and ends the response.
func (c *receivePack) report(r Report) error {
	c.m.release()
	if c.req.reports() {
		c.writeReport(r)
	}
	return c.m.finish()
}

func (c *receivePack) push() *Push {
	p := &Push{
		Format:   c.format,
		Commands: c.req.commands,
		Atomic:   c.req.caps.has("atomic"),
		Quiet:    c.req.caps.has("quiet"),
		Options:  c.req.options,
		Cert:     c.req.cert,
		Shallow:  c.req.shallow,
		Progress: progressWriter{c.m},
		received: c.received,
	}
	if c.req.hasPack() {
		p.Pack = c.r.Rest()
	}
	return p
}

// received notes that no more of the request is to come.
func (c *receivePack) received() {
	c.complete.Store(true)
	c.m.release()
}

// writeReport writes one line for the pack and one for each command, as a message within the data stream.
func (c *receivePack) writeReport(r Report) {
	status := make(map[string]error, len(r.Refs))
	for _, s := range r.Refs {
		status[s.Ref] = s.Err
	}
	w := NewWriter(reportWriter{c.m})
	if r.Unpack != nil {
		w.Linef("unpack %s\n", oneLine(r.Unpack.Error()))
	} else {
		w.Linef("unpack ok\n")
	}
	for _, cmd := range c.req.commands {
		err, known := status[cmd.Ref]
		switch {
		case r.Unpack != nil && err == nil:
			err = errUnpacker
		case !known:
			err = errNoStatus
		}
		if err != nil {
			w.Linef("ng %s %s\n", cmd.Ref, oneLine(err.Error()))
		} else {
			w.Linef("ok %s\n", cmd.Ref)
		}
	}
	w.Special(Flush)
	w.Flush()
}

var (
	errUnpacker = errors.New("unpacker error")
	errNoStatus = errors.New("the server did not say what became of this ref")
)

// reportWriter hides the mux's other methods from Writer. The report is the mux's data.
type reportWriter struct{ m *mux }

func (w reportWriter) Write(p []byte) (int, error) { return w.m.Write(p) }
