package object

import (
	"bytes"
	"encoding/hex"
	"iter"
	"strings"
)

// configVar is one variable of a file in git's configuration syntax.
type configVar struct {
	section  string // lower case
	sub      string
	hasSub   bool
	key      string // lower case
	value    string
	hasValue bool
}

// configVars yields the variables of a configuration file in git's syntax, up to the first fault.
func configVars(data []byte) iter.Seq[configVar] {
	return func(yield func(configVar) bool) {
		p := configParser{data: bytes.ReplaceAll(bytes.TrimPrefix(data, []byte("\ufeff")), []byte("\r\n"), []byte("\n"))}
		for {
			v, ok := p.next()
			if !ok || !yield(v) {
				return
			}
		}
	}
}

type configParser struct {
	data    []byte
	section configVar // section and sub of the heading read last
}

// char takes the next character. The end of the file reads as the end of a line.
func (p *configParser) char() byte {
	if len(p.data) == 0 {
		return '\n'
	}
	c := p.data[0]
	p.data = p.data[1:]
	return c
}

func (p *configParser) next() (v configVar, ok bool) {
	for len(p.data) > 0 {
		switch c := p.char(); {
		case isSpace(c):
		case c == '#', c == ';':
			p.skipLine()
		case c == '[':
			if !p.heading() {
				return v, false
			}
		case isAlpha(c):
			return p.variable(c)
		default:
			return v, false
		}
	}
	return v, false
}

func (p *configParser) skipLine() {
	for p.char() != '\n' {
	}
}

// heading reads [section], [section.sub] or [section "sub"].
func (p *configParser) heading() bool {
	var name strings.Builder
	for {
		if len(p.data) == 0 {
			return false
		}
		switch c := p.char(); {
		case c == ']':
			p.section = configVar{}
			p.section.section, p.section.sub, p.section.hasSub = strings.Cut(name.String(), ".")
			return name.Len() > 0
		case isSpace(c):
			p.section = configVar{section: name.String(), hasSub: true}
			return p.subsection(c)
		case isAlpha(c), isDigit(c), c == '-', c == '.':
			name.WriteByte(lower(c))
		default:
			return false
		}
	}
}

func (p *configParser) subsection(c byte) bool {
	for isSpace(c) {
		if c == '\n' {
			return false
		}
		c = p.char()
	}
	if c != '"' {
		return false
	}
	var sub strings.Builder
	for {
		c := p.char()
		if c == '"' {
			break
		}
		if c == '\\' {
			c = p.char()
		}
		if c == '\n' {
			return false
		}
		sub.WriteByte(c)
	}
	p.section.sub = sub.String()
	// As in git, where "[a.b "c"]" is the subsection "b.c".
	if section, more, ok := strings.Cut(p.section.section, "."); ok {
		p.section.section, p.section.sub = section, more+"."+p.section.sub
	}
	return p.char() == ']'
}

func (p *configParser) variable(c byte) (v configVar, ok bool) {
	v = p.section
	var key strings.Builder
	for isAlpha(c) || isDigit(c) || c == '-' {
		key.WriteByte(lower(c))
		c = p.char()
	}
	v.key = key.String()
	for c == ' ' || c == '\t' {
		c = p.char()
	}
	if c == '\n' {
		return v, true
	}
	if c != '=' {
		return v, false
	}
	v.value, ok = p.value()
	v.hasValue = true
	return v, ok
}

func (p *configParser) value() (string, bool) {
	var (
		value  []byte
		keep   int // length of value without the spaces at its end
		quoted bool
	)
	for {
		c := p.char()
		switch {
		case c == '\n':
			return string(value[:keep]), !quoted
		case isSpace(c) && !quoted:
			if len(value) > 0 {
				value = append(value, c)
			}
			continue
		case (c == ';' || c == '#') && !quoted:
			p.skipLine()
			return string(value[:keep]), true
		case c == '"':
			quoted = !quoted
			keep = len(value)
			continue
		case c == '\\':
			var ok bool
			if c, ok = escape(p.char()); !ok {
				return "", false
			}
			if c == '\n' {
				keep = len(value)
				continue
			}
			if c == escapedNewline {
				c = '\n'
			}
		}
		value = append(value, c)
		keep = len(value)
	}
}

// escapedNewline stands for \n in escape's result, where '\n' itself is a line continued.
const escapedNewline = 0

func escape(c byte) (byte, bool) {
	switch c {
	case '\n', '\\', '"':
		return c, true
	case 't':
		return '\t', true
	case 'b':
		return '\b', true
	case 'n':
		return escapedNewline, true
	}
	return 0, false
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isAlpha(c byte) bool { return 'a' <= lower(c) && lower(c) <= 'z' }

// percentDecode undoes %XX; what is no valid escape stays as it is.
func percentDecode(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
				b.WriteByte(c[0])
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// badEscape reports a percent sign that no two hexadecimal digits follow.
func badEscape(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			continue
		}
		if i+3 > len(s) {
			return true
		}
		if _, err := hex.DecodeString(s[i+1 : i+3]); err != nil {
			return true
		}
	}
	return false
}
