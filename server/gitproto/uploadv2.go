package gitproto

import (
	"io"
	"strings"

	"holdfast/storage/object"
)

// v2Command serves one command: it reads the arguments up to the flush packet, then answers.
type v2Command func(u *uploadPack) error

// v2Commands are the commands by name. Those that the Fetcher cannot serve are left out by offered.
var v2Commands = map[string]v2Command{
	"ls-refs":     (*uploadPack).lsRefs,
	"fetch":       (*uploadPack).fetch,
	"object-info": (*uploadPack).objectInfo,
	"bundle-uri":  (*uploadPack).bundleURI,
}

func (u *uploadPack) offered(name string) (v2Command, bool) {
	cmd, ok := v2Commands[name]
	switch name {
	case "object-info":
		_, ok = u.f.(Sizer)
	case "bundle-uri":
		ok = len(u.bundles()) > 0
	}
	return cmd, ok
}

// serveV2 holds a conversation of version 2: the capabilities, then one command after another until the client goes.
func (u *uploadPack) serveV2() error {
	if u.o.Advertise || !u.o.Stateless {
		if err := u.advertiseV2(); err != nil || u.o.Advertise {
			return err
		}
	}
	for {
		u.budget, u.w.band = u.o.MaxRequestBytes, 0
		cmd, err := u.readCommand()
		if err != nil || cmd == nil {
			return err
		}
		if err := cmd(u); err != nil || u.o.Stateless {
			return err
		}
	}
}

func (u *uploadPack) advertiseV2() error {
	u.w.Linef("version 2\n")
	u.w.Linef("agent=%s\n", u.o.Agent)
	u.w.Linef("%s\n", withValues("ls-refs", u.o.offer("unborn")))
	features := []string{"wait-for-done", "ref-in-want", sidebandAll}
	if u.partial != nil {
		features = []string{"shallow", "wait-for-done", "filter", "ref-in-want", sidebandAll}
	}
	u.w.Linef("%s\n", withValues("fetch", u.o.offer(features...)))
	u.w.Linef("server-option\n")
	u.w.Linef("object-format=%s\n", u.format)
	if _, ok := u.offered("object-info"); ok {
		u.w.Linef("object-info\n")
	}
	if _, ok := u.offered("bundle-uri"); ok {
		u.w.Linef("bundle-uri\n")
	}
	u.w.Special(Flush)
	return u.flush()
}

// sidebandAll is the feature of fetch that puts bands into all of its response.
const sidebandAll = "sideband-all"

// withValues is the line of a command of which the values, each behind a space, are offered.
func withValues(command, values string) string {
	if values == "" {
		return command
	}
	return command + "=" + values[1:]
}

// readCommand reads a request up to its arguments, or to its end if it has none: then it sets noArgs. No command and no
// error means that the client is done.
func (u *uploadPack) readCommand() (v2Command, error) {
	req := &v2Request{format: object.SHA1.String()}
	for {
		kind, line, err := u.next()
		switch {
		case err == io.EOF, err == ErrHungUp && req.lines == 0 && !u.o.Stateless:
			return nil, nil
		case err != nil:
			return nil, err
		case kind == Data:
			if err := u.capability(req, string(line)); err != nil {
				return nil, err
			}
			continue
		case kind == Flush && req.lines == 0:
			return nil, nil
		case kind == ResponseEnd:
			return nil, violation("unexpected %s", kind)
		}
		u.noArgs = kind == Flush
		return req.check(u.format)
	}
}

// v2Request is a request of version 2 without the arguments.
type v2Request struct {
	name   string
	cmd    v2Command
	format string
	lines  int
}

func (r *v2Request) check(f object.Format) (v2Command, error) {
	if r.cmd == nil {
		return nil, violation("no command requested")
	}
	if r.format != f.String() {
		return nil, violation("mismatched object format: server %s; client %.20q", f, r.format)
	}
	return r.cmd, nil
}

// capability parses one line before the arguments. Clients name only what was offered.
func (u *uploadPack) capability(req *v2Request, line string) error {
	if req.lines++; req.lines > u.o.MaxCapabilities {
		return overLimit("more than %d capabilities in one request", u.o.MaxCapabilities)
	}
	key, value, _ := strings.Cut(line, "=")
	switch key {
	case "command":
		cmd, ok := u.offered(value)
		if !ok {
			return violation("invalid command %.100q", value)
		}
		if req.cmd != nil {
			return violation("command %q requested after already requesting command %q", value, req.name)
		}
		req.name, req.cmd = value, cmd
	case "object-format":
		req.format = value
	case "agent", "server-option":
	default:
		return violation("unknown capability %.100q", line)
	}
	return nil
}

// args calls fn with each argument of the command.
func (u *uploadPack) args(command string, fn func(arg string) error) error {
	if u.noArgs {
		return nil
	}
	return u.lines(command+" arguments", fn)
}

// fetch negotiates and sends a pack. All state comes with the request.
func (u *uploadPack) fetch() error {
	req := &fetchRequest{frameSize: maxPacket, mayFilter: u.o.offers("filter")}
	n := newNegotiation(u, req)
	if err := u.args("fetch", func(arg string) error { return n.fetchArg(arg) }); err != nil {
		return err
	}
	if err := u.resolveWantRefs(req); err != nil {
		return err
	}
	req.Wants = sortIDs(req.Wants)
	if len(req.Wants) == 0 && !req.waitForDone {
		return u.flush() // git answers nothing at all here
	}
	if err := u.wait(func() error { return u.checkWants(req.Wants) }); err != nil {
		return err
	}
	if req.haves > 0 && !req.done {
		if ready, err := n.acknowledge(); err != nil || !ready {
			return err
		}
	}
	if len(req.Wants) == 0 {
		return violation("done without a want")
	}
	req.Haves = n.common
	if err := u.wait(func() error { return u.resolveSparse(&req.Filter) }); err != nil {
		return err
	}
	if req.deepens() || len(req.Shallow) > 0 {
		if err := n.shallowInfo(); err != nil {
			return err
		}
	}
	u.tellWantedRefs(req)
	u.w.Linef("packfile\n")
	return u.sendPack(req.PackRequest, req.frameSize, req.quiet)
}

// wait does what may take long. If all of the response is in bands, the client hears from us meanwhile.
func (u *uploadPack) wait(do func() error) error {
	if u.w.band == 0 {
		return do()
	}
	if err := u.flush(); err != nil {
		return err
	}
	m := newMux(u.ctx, u.out, smallFrame, u.o.KeepAlive)
	m.idle = bandProgress // an empty line of data would be one of the response
	stop := m.start()
	defer stop()
	return do()
}

func (n *negotiation) fetchArg(arg string) error {
	if hex, ok := strings.CutPrefix(arg, "want "); ok {
		return n.addWant(n.req, hex)
	}
	if name, ok := strings.CutPrefix(arg, "want-ref "); ok {
		return n.wantRef(n.req, name)
	}
	if hex, ok := strings.CutPrefix(arg, "have "); ok {
		_, _, _, err := n.have(hex)
		return err
	}
	switch arg {
	case "done":
		n.req.done = true
	case "thin-pack":
		n.req.ThinPack = true
	case "ofs-delta":
		n.req.OfsDelta = true
	case "include-tag":
		n.req.IncludeTag = true
	case "no-progress":
		n.req.quiet = true
	case sidebandAll:
		if !n.o.offers(sidebandAll) {
			return violation("%s was not offered", arg)
		}
		n.w.band = bandData
	case "wait-for-done":
		n.req.waitForDone = true
	case "deepen-relative":
		if n.partial == nil {
			return refuseUnoffered(arg)
		}
		n.req.deepen.Relative = true
	default:
		if known, err := n.partialLine(n.req, arg); known || err != nil {
			return err
		}
		if word, _, _ := strings.Cut(arg, " "); word == "packfile-uris" {
			return violation("%s was not offered", word)
		}
		return violation("unexpected argument of fetch: %.100q", arg)
	}
	return nil
}

// acknowledge writes the acknowledgments section and reports whether the pack follows.
func (n *negotiation) acknowledge() (ready bool, err error) {
	if !n.req.waitForDone {
		err = n.wait(func() error {
			ready, err = n.enough()
			return err
		})
		if err != nil {
			return false, err
		}
	}
	n.w.Linef("acknowledgments\n")
	if len(n.common) == 0 {
		n.w.Linef("NAK\n")
	}
	for _, id := range n.common {
		n.w.Linef("ACK %s\n", id)
	}
	if ready {
		n.w.Linef("ready\n")
		n.w.Special(Delim)
		return true, nil
	}
	n.w.Special(Flush)
	return false, n.flush()
}
