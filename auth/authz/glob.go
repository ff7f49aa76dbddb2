package authz

import (
	"slices"
	"strings"
)

// kind says how a segment of a rule matches one of a path.
type kind uint8

const (
	literal    kind = iota
	prefix          // "text*"
	suffix          // "*text"
	anySegment      // "*"
	anyPath         // "**": any number of segments, none included
	pattern         // what needs matchPattern
)

// segment is one of a rule's path; text is without escapes, but for a pattern's.
type segment struct {
	kind kind
	text string
}

// parsePath reads the path of a rule in the given line; section is the name of the section.
func parsePath(line int, path, section string, glob bool) ([]segment, error) {
	var out []segment
	for i, text := range strings.Split(path[1:], "/") {
		switch {
		case text == "" && i == 0:
			return nil, nil // the root; as in Subversion, whatever follows
		case text == "" || text == "." || text == "..":
			return nil, errorf(line, "Non-canonical path '%s' in authz rule [%s]", path, section)
		case i >= MaxSegments:
			return nil, errorf(line, "The path of authz rule [%s] has more than %d segments", section, MaxSegments)
		case glob:
			out = appendGlob(out, text)
		default:
			out = append(out, segment{literal, text})
		}
	}
	return out, nil
}

// appendGlob appends a segment that may have wildcards. Rules that mean the same become the same: "**/*" is "*/**",
// "**/**" is "**".
func appendGlob(out []segment, text string) []segment {
	last := len(out) - 1
	afterAnyPath := last >= 0 && out[last].kind == anyPath
	switch {
	case text == "*" && afterAnyPath:
		out[last].kind = anySegment
		return append(out, segment{kind: anyPath})
	case text == "*":
		return append(out, segment{kind: anySegment})
	case text == "**" && afterAnyPath:
		return out
	case text == "**":
		return append(out, segment{kind: anyPath})
	}
	return append(out, parseGlob(text))
}

func parseGlob(text string) segment {
	switch {
	case !hasWildcard(text):
		return segment{literal, unescape(text)}
	case text[0] == '*' && !hasWildcard(text[1:]):
		return segment{suffix, unescape(text[1:])}
	}
	if head, ok := strings.CutSuffix(text, "*"); ok && !strings.HasSuffix(head, `\`) && !hasWildcard(head) {
		return segment{prefix, unescape(head)}
	}
	return segment{pattern, text}
}

// hasWildcard reports whether text has a wildcard that no backslash escapes. Bracket expressions cannot occur: a section's name ends
// at the first "]".
func hasWildcard(text string) bool {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '*', '?':
			return true
		case '\\':
			i++
		}
	}
	return false
}

func unescape(text string) string {
	if !strings.Contains(text, `\`) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			i++
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// matchPattern reports whether name matches a pattern of "*" (any bytes), "?" (one byte) and escapes. It takes at most
// len(p)*len(name) steps.
func matchPattern(p, name string) bool {
	star, from := -1, 0 // where to go on when what follows the last "*" does not match
	i, j := 0, 0
	for j < len(name) {
		switch {
		case i < len(p) && p[i] == '*':
			star, from = i, j
			i++
			continue
		case i < len(p) && p[i] == '?':
			i, j = i+1, j+1
			continue
		case i < len(p):
			k := i
			if p[k] == '\\' && k+1 < len(p) {
				k++
			}
			if p[k] == name[j] {
				i, j = k+1, j+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		from++
		i, j = star+1, from
	}
	return strings.Trim(p[min(i, len(p)):], "*") == ""
}

// pathKey is equal for two paths of rules that match the same.
func pathKey(path []segment) string {
	var b strings.Builder
	for _, s := range path {
		b.WriteByte('0' + byte(s.kind))
		b.WriteString(s.text)
		b.WriteByte('/')
	}
	return b.String()
}

// affixes finds those of a set of texts that a name begins or ends with.
type affixes struct {
	nodes   map[string]*node
	lengths []int // of the texts, ascending
}

func (a *affixes) child(text string) *node {
	if a.nodes == nil {
		a.nodes = map[string]*node{}
	}
	n := a.nodes[text]
	if n == nil {
		n = newNode()
		a.nodes[text] = n
		if i, found := slices.BinarySearch(a.lengths, len(text)); !found {
			a.lengths = slices.Insert(a.lengths, i, len(text))
		}
	}
	return n
}
