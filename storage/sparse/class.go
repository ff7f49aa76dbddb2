package sparse

import "strings"

// parseClass parses the class that begins at text[i], such as "[a-z]", "[!x]" or "[[:digit:]_]". It returns where its last
// byte is, -1 if it is malformed. No class has the slash.
func parseClass(text string, i int) (c class, last int) {
	p := classParser{text: text, at: i + 1}
	negated := p.byte() == '!' || p.byte() == '^'
	if negated {
		p.at++
	}
	for p.element() {
		p.at++
		if p.byte() == ']' {
			if negated {
				for i := range p.set {
					p.set[i] = ^p.set[i]
				}
			}
			p.set.remove('/')
			return p.set, p.at
		}
	}
	return c, -1
}

// classParser is at one byte of a class; the byte 0 stands for the end of the text.
type classParser struct {
	text string
	at   int
	set  class
	prev byte // what a range would begin with, 0 if none can begin
}

func (p *classParser) byte() byte { return p.ahead(0) }

func (p *classParser) ahead(n int) byte {
	if p.at+n < len(p.text) {
		return p.text[p.at+n]
	}
	return 0
}

// element adds what begins at the current byte, and goes to the last byte of it. It reports false if that is malformed.
func (p *classParser) element() bool {
	switch b := p.byte(); {
	case b == 0:
		return false
	case b == '-' && p.prev != 0 && p.ahead(1) != 0 && p.ahead(1) != ']':
		return p.span()
	case b == '[' && p.ahead(1) == ':':
		return p.named()
	default:
		return p.single()
	}
}

// next is the current byte, or the one behind it if it is a backslash; 0 if there is none.
func (p *classParser) next() byte {
	if p.byte() == '\\' {
		p.at++
	}
	return p.byte()
}

func (p *classParser) single() bool {
	p.prev = p.next()
	p.set.add(p.prev)
	return p.prev != 0
}

// span is "-" and the last byte of a range.
func (p *classParser) span() bool {
	p.at++
	last := p.next()
	for b := int(p.prev); b <= int(last); b++ {
		p.set.add(byte(b))
	}
	p.prev = 0
	return last != 0
}

// named is a class by name, such as "[:alpha:]". What is not closed by ":]" is a plain "[".
func (p *classParser) named() bool {
	end := strings.IndexByte(p.text[p.at+2:], ']')
	if end < 0 {
		return false
	}
	name, ok := strings.CutSuffix(p.text[p.at+2:p.at+2+end], ":")
	if !ok {
		return p.single()
	}
	is, ok := named[name]
	if !ok {
		return false
	}
	for b := range 256 {
		if is(byte(b)) {
			p.set.add(byte(b))
		}
	}
	p.at += 2 + end
	p.prev = 0
	return true
}

// named are the classes with a name. They hold ASCII only, and git's own idea of space.
var named = map[string]func(byte) bool{
	"alnum":  func(b byte) bool { return isAlpha(b) || isDigit(b) },
	"alpha":  isAlpha,
	"blank":  func(b byte) bool { return b == ' ' || b == '\t' },
	"cntrl":  func(b byte) bool { return b < ' ' || b == 0x7f },
	"digit":  isDigit,
	"graph":  isGraph,
	"lower":  isLower,
	"print":  func(b byte) bool { return isGraph(b) || b == ' ' },
	"punct":  func(b byte) bool { return isGraph(b) && !isAlpha(b) && !isDigit(b) },
	"space":  func(b byte) bool { return b == ' ' || b == '\t' || b == '\n' || b == '\r' },
	"upper":  isUpper,
	"xdigit": func(b byte) bool { return isDigit(b) || 'a' <= b|0x20 && b|0x20 <= 'f' },
}

func isGraph(b byte) bool { return ' ' < b && b < 0x7f }
func isDigit(b byte) bool { return '0' <= b && b <= '9' }
func isLower(b byte) bool { return 'a' <= b && b <= 'z' }
func isUpper(b byte) bool { return 'A' <= b && b <= 'Z' }
func isAlpha(b byte) bool { return isLower(b|0x20) && b < 0x80 }
