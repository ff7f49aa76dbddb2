package gitproto

import (
	"bytes"
	"strings"

	"holdfast/storage/object"
)

// Certificate is a push certificate: ref updates that a client signed. Whether the signature is good, and who made it,
// is not looked at here. Source: "Push Certificate" in gitprotocol-pack.
type Certificate struct {
	Raw      []byte    // as the client sent it, signature included
	Pusher   string    // who says to have signed: a key's fingerprint, or a name and address
	Pushee   string    // the URL that the client pushed to; "" if it did not say
	Nonce    string    // Options.CertNonce of this conversation, or of another one; "" if there is none
	Options  []string  // the push options
	Commands []Command // at least one. Refs may be named twice, and their names be of any length

	signed int // how much of Raw is signed
}

// Message returns the part of the certificate that is signed.
func (c *Certificate) Message() []byte { return c.Raw[:c.signed] }

// Signature returns the detached signature of Message, armored.
func (c *Certificate) Signature() []byte { return c.Raw[c.signed:] }

const (
	certVersion  = "certificate version 0.1"
	certEnd      = "push-cert-end\n"
	armorBegin   = "-----BEGIN "
	armorEnd     = "-----END "
	armorDashes  = "-----"
	maxCertLines = 1 << 10 // of the header, push options included
)

// ParseCertificate reads a push certificate for a repository of format f. It keeps raw. An error wraps ErrProtocol, or
// ErrLimit.
func ParseCertificate(raw []byte, f object.Format) (*Certificate, error) {
	c := &Certificate{Raw: raw}
	p := &certParser{rest: raw}
	if version, ok := p.line(); !ok || version != certVersion {
		return nil, violation("expected %q, got %.100q", certVersion, version)
	}
	if err := c.header(p); err != nil {
		return nil, err
	}
	for {
		if bytes.HasPrefix(p.rest, []byte(armorBegin)) {
			break
		}
		line, ok := p.line()
		if !ok {
			return nil, violation("the push certificate has no signature")
		}
		cmd, err := parseCommand(line, f)
		if err != nil {
			return nil, err
		}
		c.Commands = append(c.Commands, cmd)
	}
	if len(c.Commands) == 0 {
		return nil, violation("the push certificate has no ref updates")
	}
	c.signed = len(raw) - len(p.rest)
	return c, checkArmor(p.rest)
}

// certParser takes a certificate apart line by line.
type certParser struct{ rest []byte }

// line returns the next line without its line feed, which must be there.
func (p *certParser) line() (string, bool) {
	line, rest, ok := bytes.Cut(p.rest, []byte("\n"))
	if ok {
		p.rest = rest
	}
	return string(line), ok
}

// header reads the lines up to the empty one. Those of unknown names are left alone, for later versions of git.
func (c *Certificate) header(p *certParser) error {
	seen := map[string]bool{}
	for range maxCertLines {
		line, ok := p.line()
		if !ok {
			return violation("the push certificate ends within its header")
		}
		if line == "" {
			if !seen["pusher"] {
				return violation("the push certificate names no pusher")
			}
			return nil
		}
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return violation("control characters in the push certificate's header: %.200q", line)
		}
		name, value, _ := strings.Cut(line, " ")
		if name == "push-option" {
			c.Options = append(c.Options, value)
			continue
		}
		if seen[name] {
			return violation("the push certificate has two lines %.100q", name)
		}
		seen[name] = true
		if err := c.field(name, value); err != nil {
			return err
		}
	}
	return overLimit("the push certificate's header has more than %d lines", maxCertLines)
}

func (c *Certificate) field(name, value string) error {
	switch name {
	case "pushee":
		c.Pushee = value
	case "nonce":
		c.Nonce = value
	case "pusher":
		// IDENT SECONDS ZONE, as in a commit. The time is the client's word; the nonce is what counts.
		words := strings.Split(value, " ")
		n := len(words) - 2
		if n < 1 || words[n] == "" || strings.Trim(words[n], "0123456789") != "" || len(words[n+1]) != len("+0000") {
			return violation("the push certificate's pusher has no time: %.200q", value)
		}
		c.Pusher = strings.TrimSpace(strings.Join(words[:n], " ")) // git puts two spaces behind a fingerprint
	}
	return nil
}

// checkArmor wants one armored block, first byte to last.
func checkArmor(sig []byte) error {
	last := bytes.LastIndexByte(bytes.TrimSuffix(sig, []byte("\n")), '\n') + 1
	if !bytes.HasSuffix(sig, []byte(armorDashes+"\n")) || !bytes.HasPrefix(sig[last:], []byte(armorEnd)) ||
		bytes.Count(sig, []byte(armorBegin)) != 1 || bytes.Count(sig, []byte(armorEnd)) != 1 {
		return violation("the push certificate's signature is not one armored block")
	}
	return nil
}

// certificateLine takes one line of a certificate that has begun, line feed included.
func (c *receivePack) certificateLine(req *pushRequest, line []byte) error {
	if string(line) == certEnd {
		return c.endCertificate(req)
	}
	if len(req.certBytes)+len(line) > c.o.MaxCertBytes {
		req.certBytes = nil
		return overLimit("the push certificate has more than %d bytes: push in parts", c.o.MaxCertBytes)
	}
	if !bytes.HasSuffix(line, []byte("\n")) {
		return violation("a line of the push certificate has no line feed: %.100q", line)
	}
	req.certBytes = append(req.certBytes, line...)
	return nil
}

// endCertificate makes the updates in the certificate those of the push.
func (c *receivePack) endCertificate(req *pushRequest) error {
	req.inCert = false
	cert, err := ParseCertificate(req.certBytes, c.format)
	if err != nil {
		return err
	}
	for _, cmd := range cert.Commands {
		if err := c.addCommand(req, cmd); err != nil {
			return err
		}
	}
	req.cert = cert
	return nil
}
