package sparse

import (
	"bytes"
	"strings"
)

// pattern is one line of a file of patterns.
type pattern struct {
	list     uint32 // the file that it is from
	negative bool   // it takes back what it matches
	dirOnly  bool
	anchored bool // it is matched against the whole path, others against the last name alone
	skips    bool // some tokens match nothing at all
	tokens   []token
	classes  []class
}

// token matches a piece of a path.
type token struct {
	kind    uint8
	literal byte
	class   uint32 // index in pattern.classes
}

const (
	never    = iota // matches nothing: the pattern is malformed from here on
	literal         // one byte
	any             // one byte other than a slash
	inClass         // one byte of a class
	star            // bytes other than slashes
	starstar        // bytes
	starsDir        // nothing; what follows, stars and a slash, may be left out
)

// class is a set of bytes.
type class [4]uint64

func (c *class) add(b byte)      { c[b>>6] |= 1 << (b & 63) }
func (c *class) remove(b byte)   { c[b>>6] &^= 1 << (b & 63) }
func (c *class) has(b byte) bool { return c[b>>6]&(1<<(b&63)) != 0 }

// parseList appends the patterns of a file to all.
func parseList(all []pattern, list uint32, data []byte) []pattern {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	for line := range bytes.SplitSeq(bytes.TrimSuffix(data, []byte("\n")), []byte("\n")) {
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		line = bytes.TrimSuffix(line, []byte("\r"))
		if end := bytes.IndexByte(line, 0); end >= 0 {
			line = line[:end] // git's strings end there
		}
		p := parsePattern(trimSpaces(line))
		p.list = list
		all = append(all, p)
	}
	return all
}

// trimSpaces cuts spaces off the end of a line, unless a backslash stands before.
func trimSpaces(line []byte) []byte {
	end := 0
	for i := 0; i < len(line); i++ {
		if line[i] == '\\' {
			if i++; i == len(line) {
				return line
			}
		} else if line[i] == ' ' {
			continue
		}
		end = i + 1
	}
	return line[:end]
}

const special = `*?[\`

func parsePattern(line []byte) (p pattern) {
	text := string(line)
	text, p.negative = strings.CutPrefix(text, "!")
	text, p.dirOnly = strings.CutSuffix(text, "/")
	p.anchored = strings.Contains(text, "/")
	if !p.anchored {
		p.compile(text)
		return p
	}
	text = strings.TrimPrefix(text, "/")
	plain := strings.IndexAny(text, special)
	if plain < 0 {
		plain = len(text)
	}
	for i := range plain {
		p.literal(text[i])
	}
	// For git the pattern begins behind what is plain: "a**" is "a", then anything.
	p.compile(text[plain:])
	return p
}

func (p *pattern) literal(b byte) { p.tokens = append(p.tokens, token{kind: literal, literal: b}) }
func (p *pattern) append(k uint8) { p.tokens = append(p.tokens, token{kind: k}) }

// compile appends the tokens of a pattern with wildcards.
func (p *pattern) compile(text string) {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			if i++; i == len(text) {
				p.append(never)
				return
			}
			p.literal(text[i])
		case '?':
			p.append(any)
		case '*':
			i = p.compileStars(text, i)
		case '[':
			c, last := parseClass(text, i)
			if last < 0 {
				p.append(never)
				return
			}
			p.tokens = append(p.tokens, token{kind: inClass, class: uint32(len(p.classes))})
			p.classes = append(p.classes, c)
			i = last
		default:
			p.literal(text[i])
		}
	}
}

// compileStars appends what the stars at text[from:] stand for and returns where the last of them is.
func (p *pattern) compileStars(text string, from int) (last int) {
	p.skips = true
	rest := strings.TrimLeft(text[from:], "*")
	last = len(text) - len(rest) - 1
	switch {
	case last == from, from > 0 && text[from-1] != '/':
		p.append(star)
	case strings.HasPrefix(rest, "/"):
		p.append(starsDir)
		p.append(starstar)
	case rest == "", strings.HasPrefix(rest, `\/`):
		p.append(starstar)
	default:
		p.append(star)
	}
	return last
}
