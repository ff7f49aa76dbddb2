package archive

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// glob is a pattern of git's. It is translated into a regular expression, which matches in linear time whatever the
// pattern.
type glob struct {
	literal string // matches itself, if re is nil
	re      *regexp.Regexp
	states  int // of re, about
}

// The ways to read a pattern.
type globMode uint8

const (
	crossing globMode = iota // * and ? match slashes
	byPath                   // they do not; **/, /** and /**/ match any number of directories
)

var errGlob = errors.New("the pattern matches nothing: a bracket or a backslash is without its end")

// parseGlob reads a pattern: *, ?, [...] with ranges, classes, ! or ^, and backslashes. Bytes are matched, not
// characters: to the regular expression each is the character of that number.
func parseGlob(pattern string, mode globMode) (glob, error) {
	if len(pattern) > maxGlobBytes {
		return glob{}, fmt.Errorf("the pattern %.40q... has more than %d bytes", pattern, maxGlobBytes)
	}
	if !strings.ContainsAny(pattern, `*?[\`) {
		return glob{literal: pattern}, nil
	}
	one, many := `[\x00-\xff]`, `[\x00-\xff]*`
	if mode == byPath {
		one, many = `[^/]`, `[^/]*`
	}
	var b strings.Builder
	b.WriteString(`^(?s:`)
	for i := 0; i < len(pattern); {
		switch c := pattern[i]; c {
		case '*':
			n := len(pattern[i:]) - len(strings.TrimLeft(pattern[i:], "*"))
			expr, used := stars(pattern, i, n, mode)
			if expr == "" {
				expr, used = many, n
			}
			b.WriteString(expr)
			i += used
		case '?':
			b.WriteString(one)
			i++
		case '[':
			set, n := parseBracket(pattern[i:])
			if n == 0 {
				return glob{}, errGlob
			}
			set['/'] = set['/'] && mode == crossing
			b.WriteString(set.expr())
			i += n
		case '\\':
			if i++; i == len(pattern) {
				return glob{}, errGlob
			}
			fallthrough
		default:
			fmt.Fprintf(&b, `\x{%x}`, pattern[i])
			i++
		}
	}
	b.WriteString(`)$`)
	re, err := regexp.Compile(b.String())
	return glob{re: re, states: len(pattern)}, err
}

// stars translates a run of n stars at i if it is one of the forms that match directories: "" if not. used is how much
// of the pattern that takes.
func stars(pattern string, i, n int, mode globMode) (expr string, used int) {
	if mode == crossing || n < 2 || i > 0 && pattern[i-1] != '/' {
		return "", 0
	}
	switch rest := pattern[i+n:]; {
	case rest == "":
		return `[\x00-\xff]*`, n
	case rest[0] == '/':
		return `(?:[\x00-\xff]*/)?`, n + 1
	}
	return "", 0
}

func (g glob) match(name string) bool {
	if g.re == nil {
		return g.literal == name
	}
	return g.re.MatchString(latin1(name))
}

// cost bounds the steps that match takes.
func (g glob) cost(name string) int64 { return 1 + int64(g.states)*int64(len(name)) }

// latin1 turns each byte into the character of that number.
func latin1(s string) string {
	for i := range len(s) {
		if s[i] >= 0x80 {
			runes := make([]rune, len(s))
			for i := range len(s) {
				runes[i] = rune(s[i])
			}
			return string(runes)
		}
	}
	return s
}

// byteSet is what a bracket matches.
type byteSet [256]bool

func (s *byteSet) expr() string {
	var b strings.Builder
	for c := 0; c < len(s); c++ {
		first := c
		for c < len(s) && s[c] {
			c++
		}
		if c > first {
			fmt.Fprintf(&b, `\x{%x}-\x{%x}`, first, c-1)
		}
	}
	if b.Len() == 0 {
		return `[^\x00-\x{10ffff}]`
	}
	return "[" + b.String() + "]"
}

// parseBracket reads a bracket and returns its length, 0 if it has no end.
func parseBracket(p string) (set byteSet, n int) {
	i, negated := 1, false
	if i < len(p) && (p[i] == '!' || p[i] == '^') {
		i, negated = i+1, true
	}
	for first := true; i < len(p); first = false {
		c := p[i]
		switch {
		case c == ']' && !first:
			for c := range set {
				set[c] = set[c] != negated
			}
			return set, i + 1
		case strings.HasPrefix(p[i:], "[:"):
			name, _, ok := strings.Cut(p[i+2:], ":]")
			in := classes[name]
			if !ok || in == nil {
				return set, 0
			}
			for c := range 128 {
				set[c] = set[c] || in(byte(c))
			}
			i += len(name) + 4
			continue
		case c == '\\':
			if i++; i == len(p) {
				return set, 0
			}
			c = p[i]
		}
		i++
		last := c
		if i+1 < len(p) && p[i] == '-' && p[i+1] != ']' {
			if i++; p[i] == '\\' {
				i++
			}
			if i == len(p) {
				return set, 0
			}
			last = p[i]
			i++
		}
		for x := int(c); x <= int(last); x++ {
			set[x] = true
		}
	}
	return set, 0
}

func between(from, to byte) func(byte) bool { return func(c byte) bool { return from <= c && c <= to } }

func anyOf(in ...func(byte) bool) func(byte) bool {
	return func(c byte) bool {
		for _, f := range in {
			if f(c) {
				return true
			}
		}
		return false
	}
}

// classes are POSIX's, of ASCII.
var classes = func() map[string]func(byte) bool {
	upper, lower, digit := between('A', 'Z'), between('a', 'z'), between('0', '9')
	alpha, graph := anyOf(upper, lower), between('!', '~')
	alnum := anyOf(alpha, digit)
	return map[string]func(byte) bool{
		"upper": upper, "lower": lower, "digit": digit, "alpha": alpha, "alnum": alnum, "graph": graph,
		"print": between(' ', '~'), "cntrl": anyOf(between(0, 31), between(127, 127)),
		"blank":  anyOf(between(' ', ' '), between('\t', '\t')),
		"space":  anyOf(between(' ', ' '), between('\t', '\r')),
		"punct":  func(c byte) bool { return graph(c) && !alnum(c) },
		"xdigit": anyOf(digit, between('a', 'f'), between('A', 'F')),
	}
}()
