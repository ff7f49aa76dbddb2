package gitproto

import (
	"encoding/hex"
	"iter"
	"strings"

	"holdfast/storage/object"
)

// advertisement writes the refs of versions 0 and 1, one line each, with the capabilities behind the first.
type advertisement struct {
	w       *Writer
	format  object.Format
	caps    string
	started bool
	line    []byte
}

func (a *advertisement) ref(id object.ID, name, suffix string) {
	a.line = appendHex(a.line[:0], id, a.format)
	a.line = append(a.line, ' ')
	a.line = append(a.line, name...)
	a.line = append(a.line, suffix...)
	if !a.started {
		a.started = true
		a.line = append(a.line, 0)
		a.line = append(a.line, a.caps...)
	}
	a.line = append(a.line, '\n')
	a.w.Packet(a.line)
}

// finish ends the list; capabilities need a line of their own if there are no refs.
func (a *advertisement) finish() {
	if !a.started {
		a.ref(object.ID{}, "capabilities^{}", "")
	}
	a.w.Special(Flush)
}

// appendHex appends id in hexadecimal without allocating.
func appendHex(dst []byte, id object.ID, f object.Format) []byte {
	if id.IsZero() {
		return append(dst, id.Hex(f)...)
	}
	var sum [32]byte
	return hex.AppendEncode(dst, id.Append(sum[:0]))
}

// preamble writes what precedes an advertisement: the service line of smart HTTP and the version line of version 1.
func (c *conn) preamble() {
	if c.o.Advertise {
		c.w.Linef("# service=git-%s\n", c.op)
		c.w.Special(Flush)
	}
	if c.o.Version == 1 {
		c.w.Linef("version 1\n")
	}
}

// The capabilities of a WantChecker in versions 0 and 1.
const (
	allowTips      = "allow-tip-sha1-in-want"
	allowReachable = "allow-reachable-sha1-in-want"
)

// advertiseV0 sends the advertisement of upload-pack. The symref of HEAD is among the capabilities, which is why HEAD
// comes first.
func (u *uploadPack) advertiseV0() error {
	u.preamble()
	words := []string{"multi_ack", "thin-pack", "side-band", "side-band-64k", "ofs-delta", "no-progress", "include-tag",
		"multi_ack_detailed"}
	if _, ok := u.f.(WantChecker); ok {
		words = append(words, allowTips, allowReachable)
	}
	if u.partial != nil {
		words = append(words, "shallow", "deepen-since", "deepen-not", "deepen-relative", "filter")
	}
	if u.o.Advertise {
		words = append(words, "no-done") // saves a round where each is a request of its own
	}
	caps := strings.TrimPrefix(u.o.offer(words...), " ")
	last := " object-format=" + u.format.String() + " agent=" + u.o.Agent
	a := &advertisement{w: u.w, format: u.format, caps: caps + last}
	for ref, err := range u.f.Refs(nil) {
		if err != nil {
			return err
		}
		if ref.ID.IsZero() {
			continue
		}
		if ref.Name == "HEAD" && ref.Target != "" {
			a.caps = caps + " symref=HEAD:" + ref.Target + last
		}
		if !u.o.Advertise {
			u.tips.add(ref.ID)
			u.tips.add(ref.Peeled)
		}
		a.ref(ref.ID, ref.Name, "")
		if !ref.Peeled.IsZero() {
			a.ref(ref.Peeled, ref.Name, "^{}")
		}
		if err := u.stopped(); err != nil {
			return err
		}
	}
	a.finish()
	return u.flush()
}

// advertiseReceive sends the advertisement of receive-pack, which has neither HEAD nor peeled tags. Where the client
// chooses the format of ids, all are offered, that of the advertisement first.
func (c *receivePack) advertiseReceive(refs iter.Seq2[Ref, error]) error {
	c.preamble()
	caps := strings.TrimPrefix(c.o.offer("report-status", "report-status-v2", "delete-refs", "side-band-64k", "quiet",
		"atomic", "ofs-delta", "push-options"), " ")
	if c.o.CertNonce != "" {
		caps += " push-cert=" + c.o.CertNonce
	}
	caps += " object-format=" + c.format.String()
	for _, f := range []object.Format{object.SHA1, object.SHA256} {
		if c.founds && f != c.format {
			caps += " object-format=" + f.String()
		}
	}
	a := &advertisement{w: c.w, format: c.format, caps: caps + " agent=" + c.o.Agent}
	for ref, err := range refs {
		if err != nil {
			return err
		}
		if ref.ID.IsZero() || ref.Name == "HEAD" {
			continue
		}
		a.ref(ref.ID, ref.Name, "")
		if err := c.stopped(); err != nil {
			return err
		}
	}
	a.finish()
	return c.flush()
}
