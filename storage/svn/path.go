package svn

import (
	"strings"
	"unicode/utf8"
)

// MaxPathBytes bounds a path that a client sends.
const MaxPathBytes = 16 << 10

// Canonical makes an absolute canonical path of one that a client sent: it may lack the leading slash and may have empty
// or "." segments. It refuses "..", what is no UTF-8, and control characters, as Subversion does.
func Canonical(path string) (string, error) {
	if len(path) > MaxPathBytes {
		return "", Errorf(ErrFSPathSyntax, "Path is longer than %d bytes", MaxPathBytes)
	}
	if !utf8.ValidString(path) {
		return "", Errorf(ErrFSPathSyntax, "Path is not valid UTF-8")
	}
	for i := 0; i < len(path); i++ {
		if path[i] < 0x20 || path[i] == 0x7f {
			return "", Errorf(ErrFSPathSyntax, "Invalid control character '0x%02x' in path '%s'", path[i], printable(path))
		}
	}
	var b strings.Builder
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "", ".":
			continue
		case "..":
			return "", Errorf(ErrFSPathSyntax, "Path '%s' has a '..' in it", path)
		}
		b.WriteByte('/')
		b.WriteString(segment)
	}
	if b.Len() == 0 {
		return "/", nil
	}
	return b.String(), nil
}

func printable(path string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return '?'
		}
		return r
	}, path)
}

// Join appends a relative path to an absolute one, or to a relative one.
func Join(base, rel string) string {
	switch {
	case rel == "":
		return base
	case base == "":
		return rel
	case base == "/":
		return "/" + rel
	}
	return base + "/" + rel
}

// Split cuts the last segment off a path: "/a/b" is "/a" and "b", "a" is "" and "a", "/" is "/" and "".
func Split(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	switch {
	case i < 0:
		return "", path
	case i == 0:
		return "/", path[1:]
	}
	return path[:i], path[i+1:]
}

// Rel returns the relative path that leads from an absolute path to another one at or below it, and whether it is there.
func Rel(base, path string) (rel string, ok bool) {
	switch {
	case base == path:
		return "", true
	case base == "/":
		return path[1:], true
	case strings.HasPrefix(path, base) && path[len(base)] == '/':
		return path[len(base)+1:], true
	}
	return "", false
}
