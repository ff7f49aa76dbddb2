package svnrepos

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// globs are patterns as apr_fnmatch has them, of which a name must match one: a star is any bytes, a question mark any byte,
// brackets one byte of a set, and a backslash takes the next byte as it is. The name is compared without case and accents; who
// sends patterns has made them so.
type globs struct {
	all      bool
	patterns []string
}

func compileGlobs(patterns []string) globs { return globs{all: patterns == nil, patterns: patterns} }

func (g globs) match(name string) bool {
	if g.all {
		return true
	}
	if !utf8.ValidString(name) {
		return false
	}
	name = fold(name)
	for _, p := range g.patterns {
		if globMatch(p, name) {
			return true
		}
	}
	return false
}

// fold takes case and accents off a name.
func fold(name string) string {
	ascii := true
	for i := 0; i < len(name) && ascii; i++ {
		ascii = name[i] < utf8.RuneSelf
	}
	if ascii {
		return strings.ToLower(name)
	}
	name = norm.NFD.String(cases.Fold().String(name))
	name = strings.Map(func(c rune) rune {
		if unicode.Is(unicode.M, c) {
			return -1
		}
		return c
	}, name)
	return norm.NFC.String(name)
}

// globMatch takes time in proportion to the product of the lengths at most: of the stars seen, only the last need take more.
func globMatch(pattern, name string) bool {
	star, from := -1, 0 // the pattern after the last star, and what of the name that star has not taken
	p, n := 0, 0
	for {
		if p < len(pattern) && pattern[p] == '*' {
			p++
			star, from = p, n
			continue
		}
		if p == len(pattern) && n == len(name) {
			return true
		}
		if p < len(pattern) && n < len(name) {
			if size, ok := globByte(pattern[p:], name[n]); ok {
				p += size
				n++
				continue
			}
		}
		if star < 0 || from >= len(name) {
			return false
		}
		from++
		p, n = star, from
	}
}

// globByte matches one byte against the head of a pattern, which is size bytes long.
func globByte(pattern string, c byte) (size int, ok bool) {
	switch pattern[0] {
	case '?':
		return 1, true
	case '[':
		if size, ok := globSet(pattern, c); size > 0 {
			return size, ok
		}
	case '\\':
		if len(pattern) > 1 {
			return 2, pattern[1] == c
		}
	}
	return 1, pattern[0] == c
}

// globSet matches a byte against a set in brackets; size is 0 if they do not close, which makes the bracket a plain one.
func globSet(pattern string, c byte) (size int, ok bool) {
	i := 1
	negate := i < len(pattern) && (pattern[i] == '!' || pattern[i] == '^')
	if negate {
		i++
	}
	for first := true; i < len(pattern); first = false {
		if pattern[i] == ']' && !first {
			return i + 1, ok != negate
		}
		if pattern[i] == '\\' {
			if i++; i == len(pattern) {
				return 0, false
			}
		}
		low, high := pattern[i], pattern[i]
		if i+2 < len(pattern) && pattern[i+1] == '-' && pattern[i+2] != ']' {
			i += 2
			if pattern[i] == '\\' {
				if i++; i == len(pattern) {
					return 0, false
				}
			}
			high = pattern[i]
		}
		if int8(low) <= int8(c) && int8(c) <= int8(high) {
			ok = true
		}
		i++
	}
	return 0, false
}
