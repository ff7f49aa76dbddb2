package object

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// The file systems of macOS and Windows take some names for .git and its like that are other bytes. git refuses them on
// every system, because a clone can happen on any.

// hfsIgnores reports the characters that HFS+ leaves out of a name.
func hfsIgnores(r rune) bool {
	return 0x200c <= r && r <= 0x200f || 0x202a <= r && r <= 0x202e || 0x206a <= r && r <= 0x206f || r == 0xfeff
}

// hfsDot reports whether HFS+ takes name for "." followed by word, which is lower-case ASCII.
func hfsDot(name []byte, word string) bool {
	next := func() (r rune) {
		for len(name) > 0 {
			r, n := utf8.DecodeRune(name)
			if r == utf8.RuneError && n == 1 {
				name = nil
				return 0 // invalid UTF-8: HFS+ writes an escape there
			}
			name = name[n:]
			if !hfsIgnores(r) {
				return r
			}
		}
		return 0
	}
	if next() != '.' {
		return false
	}
	for _, want := range []byte(word) {
		r := next()
		if r > 127 || lower(byte(r)) != want {
			return false
		}
	}
	r := next()
	return r == 0 || r == '/'
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// ntfsEnd reports whether NTFS drops all of rest: spaces and periods up to the end, a stream's colon or, with seps, a
// separator.
func ntfsEnd(rest []byte, seps string) bool {
	rest = bytes.TrimLeft(rest, " .")
	return len(rest) == 0 || rest[0] == ':' || strings.IndexByte(seps, rest[0]) >= 0
}

// ntfsDotgit reports whether NTFS takes name, or a path that begins with it, for .git.
func ntfsDotgit(name []byte) bool {
	for _, alias := range []string{".git", "git~1"} {
		if len(name) >= len(alias) && strings.EqualFold(string(name[:len(alias)]), alias) && ascii(name[:len(alias)]) &&
			ntfsEnd(name[len(alias):], `/\`) {
			return true
		}
	}
	return false
}

func ascii(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// ntfsDot reports whether NTFS takes name for "." followed by word. short is the beginning of the fall-back short name
// that NTFS makes up for it.
func ntfsDot(name []byte, word, short string) bool {
	fold := func(b []byte, s string) bool { return ascii(b) && strings.EqualFold(string(b), s) }
	if n := len(word) + 1; len(name) >= n && name[0] == '.' && fold(name[1:n], word) {
		return ntfsEnd(name[n:], "")
	}
	if len(name) < 8 {
		return false
	}
	if fold(name[:6], word[:6]) && name[6] == '~' && '1' <= name[7] && name[7] <= '4' {
		return ntfsEnd(name[8:], "")
	}
	return ntfsFallback(name[:8], short) && ntfsEnd(name[8:], "")
}

// ntfsFallback matches a short name of 8 characters: a beginning of short, a tilde, and digits of which the first is no zero.
func ntfsFallback(name []byte, short string) bool {
	tilde := bytes.IndexByte(name, '~')
	if tilde < 0 || tilde > 6 || tilde > len(name)-2 {
		return false
	}
	number := name[tilde+1:]
	if number[0] == '0' || digits(number) != len(number) {
		return false
	}
	return ascii(name[:tilde]) && strings.EqualFold(string(name[:tilde]), short[:tilde])
}
