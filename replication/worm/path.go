package worm

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// A key becomes a path under DIR/objects. Each of its components, the parts between slashes, is cut into chunks of
// chunkBytes, and each chunk becomes one name:
//
//	chunk + "="  a file: the key ends here
//	chunk        a directory: a slash follows
//	chunk + "~"  a directory: the component goes on
//
// So a key may be a prefix of another, names stay short whatever the key's length, and a directory of numbers of 20
// digits holds at most 10,000 files. In a chunk, bytes other than a-z, 0-9, '.', '_' and '-' are written as %xx, dots
// too where there is nothing else, and an empty chunk is "%". So names are unambiguous on file systems that fold case
// or normalise Unicode, and no name is "." or "..".
const (
	chunkBytes  = 16
	maxKeyBytes = 1024
	fileMark    = "="
	moreMark    = "~"
)

// checkKey reports why key cannot be stored. What it lets through can be told in XML and in a log.
func checkKey(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("the key is empty")
	case len(key) > maxKeyBytes:
		return fmt.Errorf("the key has %d bytes; at most %d are allowed", len(key), maxKeyBytes)
	case !utf8.ValidString(key):
		return fmt.Errorf("the key is not valid UTF-8")
	case strings.ContainsFunc(key, unprintable):
		return fmt.Errorf("the key has a control character")
	}
	return nil
}

func unprintable(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0xfffe || r == 0xffff }

// keyPath maps a key to its file's path, relative to the objects directory. Different keys have different paths, and
// no path leaves the directory.
func keyPath(key string) string {
	var names []string
	components := strings.Split(key, "/")
	for i, c := range components {
		for len(c) > chunkBytes {
			names = append(names, escape(c[:chunkBytes])+moreMark)
			c = c[chunkBytes:]
		}
		if i == len(components)-1 {
			names = append(names, escape(c)+fileMark)
		} else {
			names = append(names, escape(c))
		}
	}
	return filepath.Join(names...)
}

func escape(chunk string) string {
	if chunk == "" {
		return "%"
	}
	onlyDots := strings.Trim(chunk, ".") == ""
	var b strings.Builder
	for i := range len(chunk) {
		switch c := chunk[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '_', c == '-', c == '.' && !onlyDots:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

// unescape reverses escape. It is false for text that escape does not produce.
func unescape(name string) (chunk string, ok bool) {
	if name == "%" {
		return "", true
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] != '%' {
			b.WriteByte(name[i])
			continue
		}
		var c byte
		if i+2 >= len(name) {
			return "", false
		}
		if _, err := fmt.Sscanf(name[i+1:i+3], "%02x", &c); err != nil {
			return "", false
		}
		b.WriteByte(c)
		i += 2
	}
	chunk = b.String()
	return chunk, name != "" && len(chunk) <= chunkBytes && escape(chunk) == name
}

// object is a stored file, as the walk finds it.
type object struct {
	key  string
	info fs.FileInfo
}

// span is a range of keys: those with the prefix, above `after`, and below `below` unless that is empty.
type span struct{ prefix, after, below string }

// holds reports whether a key that starts with p can be in the span; exact says that p is the whole key.
func (s span) holds(p string, exact bool) bool {
	if exact {
		return strings.HasPrefix(p, s.prefix) && p > s.after && (s.below == "" || p < s.below)
	}
	return (strings.HasPrefix(p, s.prefix) || strings.HasPrefix(s.prefix, p)) &&
		(p > s.after || strings.HasPrefix(s.after, p)) && (s.below == "" || p < s.below)
}

// step is one visit of a directory entry in the order of keys.
type step struct {
	order string // no key of this visit is smaller
	entry fs.DirEntry
	head  string // what all of its keys start with, or the key of a file
	file  bool
	span  span
}

// walk yields the objects below dir whose keys start with head and lie in s, in the order of keys. It reads one
// directory a level at a time. It stops when yield returns false, and then returns false.
func walk(dir, head string, s span, yield func(object, error) bool) bool {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return true
	}
	if err != nil {
		return yield(object{}, err)
	}
	for _, st := range steps(entries, head, s) {
		if !st.file {
			if !walk(filepath.Join(dir, st.entry.Name()), st.head, st.span, yield) {
				return false
			}
			continue
		}
		info, err := st.entry.Info()
		if err == nil && !info.Mode().IsRegular() {
			continue
		}
		if !yield(object{key: st.head, info: info}, err) {
			return false
		}
	}
	return true
}

// steps sorts the entries that s may need. A component that goes on is visited twice: its keys stand on both sides of
// those where a slash follows the same chunk.
func steps(entries []fs.DirEntry, head string, s span) []step {
	var out []step
	add := func(order string, e fs.DirEntry, head string, file bool, s span) {
		if s.holds(head, file) {
			out = append(out, step{order, e, head, file, s})
		}
	}
	for _, e := range entries {
		name := e.Name()
		base, file := strings.CutSuffix(name, fileMark)
		base, more := strings.CutSuffix(base, moreMark)
		chunk, ok := unescape(base)
		key := head + chunk
		switch {
		case !ok || file == e.IsDir():
			// Not ours: whoever looks after the machine may leave a file here.
		case file:
			add(key, e, key, true, s)
		case more:
			first, second := s, s
			if slash := key + "/"; first.below == "" || slash < first.below {
				first.below = slash
			}
			if slash := key + "/\U0010ffff"; second.after < slash {
				second.after = slash
			}
			add(key+"\x00", e, key, false, first)
			add(key+"0", e, key, false, second)
		default:
			add(key+"/", e, key+"/", false, s)
		}
	}
	slices.SortFunc(out, func(a, b step) int { return strings.Compare(a.order, b.order) })
	return out
}
