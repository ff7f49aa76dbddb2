package gitproto

import (
	"cmp"
	"io"
	"strings"

	"holdfast/storage/object"
)

// pushRequest is the part of a push before its pack.
type pushRequest struct {
	caps     capabilities
	commands []Command
	options  []string
	shallow  []object.ID
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
	req := &pushRequest{}
	seen := map[string]struct{}{}
	var refused error
	for {
		kind, line, err := c.next()
		switch {
		case err == io.EOF:
			return req, refused
		case err != nil:
			return req, err
		case kind == Flush:
			return req, cmp.Or(refused, c.readOptions(req))
		case kind != Data:
			return req, violation("unexpected %s among the commands", kind)
		}
		refused = cmp.Or(refused, c.commandLine(req, seen, string(line)))
	}
}

// commandLine parses "old new name", on the first line with the capabilities behind a NUL.
func (c *receivePack) commandLine(req *pushRequest, seen map[string]struct{}, line string) error {
	line, list, hasCaps := strings.Cut(line, "\x00")
	if hasCaps && req.caps == nil {
		req.caps = parseCapabilities(list)
	}
	if hex, ok := strings.CutPrefix(line, "shallow "); ok {
		return c.shallowLine(req, hex)
	}
	if line == "push-cert" {
		return violation("signed pushes were not offered")
	}
	if len(req.commands) == c.o.MaxCommands {
		return overLimit("more than %d ref updates in one push: push in parts", c.o.MaxCommands)
	}
	cmd, err := c.parseCommand(line)
	if err != nil {
		return err
	}
	if _, twice := seen[cmd.Ref]; twice {
		return violation("multiple updates for ref '%s' not allowed", cmd.Ref)
	}
	seen[cmd.Ref] = struct{}{}
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

func (c *receivePack) parseCommand(line string) (Command, error) {
	var cmd Command
	old, rest, _ := strings.Cut(line, " ")
	next, name, ok := strings.Cut(rest, " ")
	if !ok || name == "" {
		return cmd, violation("expected old/new/ref, got %.200q", line)
	}
	var err error
	if cmd.Old, err = c.id(old); err != nil {
		return cmd, err
	}
	if cmd.New, err = c.id(next); err != nil {
		return cmd, err
	}
	if len(name) > c.o.MaxRefName {
		return cmd, overLimit("ref name of %d bytes, more than %d: %.60q...", len(name), c.o.MaxRefName, name)
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
	return c.lines(func(line string) error {
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
