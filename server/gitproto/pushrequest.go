package gitproto

import (
	"cmp"
	"io"
	"slices"
	"strings"

	"holdfast/storage/object"
)

// pushRequest is the part of a push before its pack.
type pushRequest struct {
	caps     capabilities
	commands []Command
	seen     map[string]struct{} // their refs
	options  []string
	shallow  []object.ID
	cert     *Certificate // nil if the push is not signed

	inCert    bool   // the certificate has begun, and not ended
	certBytes []byte // of it, so far
}

// hasPack reports whether a pack follows: not if all commands delete.
func (r *pushRequest) hasPack() bool {
	for _, cmd := range r.commands {
		if !cmd.New.IsZero() {
			return true
		}
	}
	return false
}

// reports reports whether the client reads a report. Version 2 of it differs by lines that are never sent here.
func (r *pushRequest) reports() bool {
	return r.caps.has("report-status") || r.caps.has("report-status-v2")
}

// readPush reads the commands and push options. It reads on after an error, and returns the first, since how to tell
// the client is among the capabilities and those may be yet to come.
func (c *receivePack) readPush() (*pushRequest, error) {
	req := &pushRequest{seen: map[string]struct{}{}}
	var refused error
	for {
		kind, line, err := c.nextRaw()
		switch {
		case err == io.EOF && c.o.Stateless:
			return req, ErrHungUp // an empty request
		case err == io.EOF:
			return req, refused
		case err != nil:
			return req, err
		case kind == Flush:
			return req, cmp.Or(refused, c.checkOffered(req.caps), c.readOptions(req), req.checkCertificate())
		case kind != Data:
			return req, violation("unexpected %s among the commands", kind)
		}
		if req.inCert {
			refused = cmp.Or(refused, c.certificateLine(req, line))
		} else {
			refused = cmp.Or(refused, c.commandLine(req, string(chomp(line))))
		}
	}
}

// checkCertificate compares the push options that were signed with those that were sent beside.
func (r *pushRequest) checkCertificate() error {
	switch {
	case r.inCert:
		return violation("the push certificate has no end")
	case r.cert != nil && !slices.Equal(r.cert.Options, r.options):
		return violation("inconsistent push options: those in the push certificate are not those of the push")
	}
	return nil
}

// commandLine parses "old new name", on the first line with the capabilities behind a NUL.
func (c *receivePack) commandLine(req *pushRequest, line string) error {
	line, list, hasCaps := strings.Cut(line, "\x00")
	if hasCaps && req.caps == nil {
		req.caps = parseCapabilities(list)
	}
	if c.founds {
		c.chooseFormat(req.caps, line)
	}
	if hex, ok := strings.CutPrefix(line, "shallow "); ok {
		return c.shallowLine(req, hex)
	}
	if line == "push-cert" {
		return c.beginCertificate(req)
	}
	if req.certBytes != nil {
		return violation("commands beside a push certificate")
	}
	cmd, err := parseCommand(line, c.format)
	if err != nil {
		return err
	}
	return c.addCommand(req, cmd)
}

// checkOffered refuses what Options.Withheld withholds of the capabilities that change what a push means.
func (c *receivePack) checkOffered(caps capabilities) error {
	for _, word := range []string{"atomic", "push-options"} {
		if caps.has(word) && !c.o.offers(word) {
			return violation("%s was not offered", word)
		}
	}
	return nil
}

// beginCertificate has the lines that follow taken for a certificate, even if there must be none.
func (c *receivePack) beginCertificate(req *pushRequest) error {
	again := req.certBytes != nil
	req.inCert, req.certBytes = true, []byte{}
	switch {
	case c.o.CertNonce == "":
		return violation("signed pushes were not offered")
	case again || len(req.commands) > 0:
		return violation("a push certificate must be the only one, and without commands beside it")
	}
	return nil
}

// addCommand takes up an update, if it is one more within the limits.
func (c *receivePack) addCommand(req *pushRequest, cmd Command) error {
	if len(req.commands) == c.o.MaxCommands {
		return overLimit("more than %d ref updates in one push: push in parts", c.o.MaxCommands)
	}
	if len(cmd.Ref) > c.o.MaxRefName {
		return overLimit("ref name of %d bytes, more than %d: %.60q...", len(cmd.Ref), c.o.MaxRefName, cmd.Ref)
	}
	if _, twice := req.seen[cmd.Ref]; twice {
		return violation("multiple updates for ref '%s' not allowed", cmd.Ref)
	}
	req.seen[cmd.Ref] = struct{}{}
	req.commands = append(req.commands, cmd)
	if len(req.commands) > 1 {
		return nil
	}
	return c.checkFormat(req.caps)
}

func (c *receivePack) shallowLine(req *pushRequest, hex string) error {
	if len(req.shallow) == c.o.MaxShallows {
		return overLimit("more than %d shallow commits in one push", c.o.MaxShallows)
	}
	id, err := c.id(hex)
	if err == nil {
		req.shallow = append(req.shallow, id)
	}
	return err
}

// chooseFormat takes the client's format for the repository's: the one that it names, or else that of its first id.
func (c *receivePack) chooseFormat(caps capabilities, line string) {
	c.founds = false
	name, ok := caps.value("object-format")
	if f, err := object.ParseFormat(name); ok && err == nil {
		c.format = f
		return
	}
	hex, _, _ := strings.Cut(strings.TrimPrefix(line, "shallow "), " ")
	if len(hex) == 2*object.SHA256.Size() {
		c.format = object.SHA256
	}
}

// checkFormat refuses a client of another object format. One that names none means SHA-1.
func (c *receivePack) checkFormat(caps capabilities) error {
	name, ok := caps.value("object-format")
	if !ok {
		name = object.SHA1.String()
	}
	if name != c.format.String() {
		return violation("mismatched object format: server %s; client %.20q", c.format, name)
	}
	return nil
}

// parseCommand parses "old new name".
func parseCommand(line string, f object.Format) (Command, error) {
	var cmd Command
	old, rest, _ := strings.Cut(line, " ")
	next, name, ok := strings.Cut(rest, " ")
	if !ok || name == "" {
		return cmd, violation("expected old/new/ref, got %.200q", line)
	}
	var err error
	if cmd.Old, err = parseID(old, f); err != nil {
		return cmd, err
	}
	if cmd.New, err = parseID(next, f); err != nil {
		return cmd, err
	}
	if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return cmd, violation("ref name %.200q has spaces or control characters", name)
	}
	cmd.Ref = name
	return cmd, nil
}

// readOptions reads the push options, if the client announced some.
func (c *receivePack) readOptions(req *pushRequest) error {
	if !req.caps.has("push-options") || len(req.commands) == 0 {
		return nil
	}
	return c.lines("push options", func(line string) error {
		switch {
		case len(req.options) == c.o.MaxPushOptions:
			return overLimit("more than %d push options", c.o.MaxPushOptions)
		case len(line) > c.o.MaxPushOptionBytes:
			return overLimit("push option of %d bytes, more than %d", len(line), c.o.MaxPushOptionBytes)
		case strings.ContainsAny(line, "\x00\n"):
			return violation("push option %.100q has a line feed or NUL", line)
		}
		req.options = append(req.options, line)
		return nil
	})
}
