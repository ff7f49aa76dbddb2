package authz

import (
	"io"
	"strings"
)

// spaces are what Subversion's svn_ctype_isspace takes for space.
const spaces = " \t\n\v\f\r"

// handler takes what an INI file says, in order.
type handler interface {
	section(line int, name string) error
	option(line int, name, value string) error
}

func readBounded(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err != nil {
		return "", err
	}
	if len(b) > MaxBytes {
		return "", errorf(0, "The file has more than %d bytes", MaxBytes)
	}
	return string(b), nil
}

// parseINI reads sections with options, whose values may go on in indented lines.
func parseINI(text string, h handler) error {
	p := iniParser{lines: strings.Split(strings.TrimPrefix(text, "\uFEFF"), "\n"), h: h}
	for p.next < len(p.lines) {
		if err := p.item(); err != nil {
			return err
		}
	}
	return nil
}

type iniParser struct {
	lines     []string
	next      int // index of the line to read
	h         handler
	inSection bool
}

// peek returns the next line without the space before it, and whether there was any.
func (p *iniParser) peek() (rest string, indented bool) {
	line := strings.TrimLeft(p.lines[p.next], "\r")
	rest = strings.TrimLeft(line, spaces)
	return rest, len(rest) < len(line)
}

func (p *iniParser) item() error {
	rest, indented := p.peek()
	p.next++
	n := p.next // from 1
	switch {
	case rest == "":
		return nil
	case strings.IndexByte(rest, 0) >= 0:
		return errorf(n, "The line has a NUL character")
	case rest[0] == '[' && indented:
		return errorf(n, "Section header must start in the first column")
	case rest[0] == '[':
		name, _, ok := strings.Cut(rest[1:], "]")
		if !ok {
			return errorf(n, "Section header must end with ']'")
		}
		p.inSection = true
		return p.h.section(n, name)
	case rest[0] == '#' && indented:
		return errorf(n, "Comment must start in the first column")
	case rest[0] == '#':
		return nil
	case !p.inSection:
		return errorf(n, "Section header expected")
	case indented:
		return errorf(n, "Option expected")
	}
	return p.option(n, rest)
}

// option reads one that begins with the text of line n.
func (p *iniParser) option(n int, text string) error {
	at := strings.IndexAny(text, ":=")
	if at < 0 {
		return errorf(n, "Option must end with ':' or '='")
	}
	name := strings.TrimRight(text[:at], spaces)
	if name == "" {
		return errorf(n, "Option has no name")
	}
	value := []string{strings.Trim(text[at+1:], spaces)}
	for p.next < len(p.lines) {
		more, indented := p.peek()
		if more == "" || !indented {
			break
		}
		p.next++
		if strings.IndexByte(more, 0) >= 0 {
			return errorf(p.next, "The line has a NUL character")
		}
		value = append(value, strings.TrimRight(more, spaces))
	}
	return p.h.option(n, name, strings.Join(value, " "))
}
