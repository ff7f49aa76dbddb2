package svnrules

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// MaxPatternBytes bounds a pattern.
const MaxPatternBytes = 1000

// Glob is a pattern of paths; see the package comment.
type Glob struct {
	text string
	re   *regexp.Regexp
}

// ParseGlob reads one.
func ParseGlob(text string) (Glob, error) {
	trimmed := strings.Trim(text, "/")
	switch {
	case trimmed == "":
		return Glob{}, errors.New("a pattern of paths cannot be empty")
	case len(text) > MaxPatternBytes:
		return Glob{}, fmt.Errorf("a pattern of paths has at most %d bytes", MaxPatternBytes)
	}
	var b strings.Builder
	b.WriteString(`(?is)^/`)
	if !strings.Contains(strings.TrimSuffix(text, "/"), "/") {
		b.WriteString(`(?:.*/)?`)
	}
	for _, segment := range strings.Split(trimmed, "/") {
		switch {
		case segment == "" || segment == "." || segment == "..":
			return Glob{}, fmt.Errorf("%q is no pattern of paths: it has a segment %q", text, segment)
		case segment == "**":
			b.WriteString(`(?:[^/]+/)*`)
			continue
		}
		writeSegment(&b, segment)
		b.WriteByte('/')
	}
	b.WriteString(`(?:.*)$`)
	re, err := regexp.Compile(b.String())
	if err != nil {
		return Glob{}, fmt.Errorf("%q is no pattern of paths: %w", text, err)
	}
	return Glob{text, re}, nil
}

func writeSegment(b *strings.Builder, segment string) {
	for _, r := range segment {
		switch r {
		case '*':
			b.WriteString(`[^/]*`)
		case '?':
			b.WriteString(`[^/]`)
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
}

// Match reports whether an absolute path, or a directory that it is in, matches.
func (g Glob) Match(path string) bool { return g.re != nil && g.re.MatchString(path+"/") }

// String returns the pattern as it was written.
func (g Glob) String() string { return g.text }
