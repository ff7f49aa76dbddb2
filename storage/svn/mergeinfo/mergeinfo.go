package mergeinfo

import (
	"maps"
	"slices"
	"strings"
)

// Mergeinfo is what was merged, by the absolute path of the source. No list is empty. A nil map is no mergeinfo at all, which differs from
// an empty one: that one overrides what a parent has.
type Mergeinfo map[string]Rangelist

// String returns the value of the property.
func (m Mergeinfo) String() string {
	var b []byte
	for i, path := range m.Paths() {
		if i > 0 {
			b = append(b, '\n')
		}
		if !strings.HasPrefix(path, "/") {
			b = append(b, '/')
		}
		b = append(b, path...)
		b = append(b, ':')
		b = m[path].append(b)
	}
	return string(b)
}

// Paths returns the paths in the order that the property has.
func (m Mergeinfo) Paths() []string { return slices.SortedFunc(maps.Keys(m), ComparePaths) }

// ComparePaths orders paths so that what lies below a directory follows it at once: as if a slash came before all else.
func ComparePaths(a, b string) int {
	for i := 0; ; i++ {
		switch {
		case i == len(a) && i == len(b):
			return 0
		case i == len(a):
			return -1
		case i == len(b):
			return 1
		case a[i] == b[i]:
		case a[i] == '/':
			return -1
		case b[i] == '/':
			return 1
		case a[i] < b[i]:
			return -1
		default:
			return 1
		}
	}
}

// Clone returns a copy that may be changed; nil for nil.
func (m Mergeinfo) Clone() Mergeinfo { return maps.Clone(m) }

// Merge adds changes to m, which must not be nil.
func (m Mergeinfo) Merge(changes Mergeinfo) {
	for path, list := range changes {
		if old, ok := m[path]; ok {
			list = old.Merge(list)
		}
		m[path] = list
	}
}

// Compare returns what is gone and what has come from one to the other. Either may be nil; the results are not.
func Compare(from, to Mergeinfo, inheritance Inheritance) (deleted, added Mergeinfo) {
	return from.Remove(to, inheritance), to.Remove(from, inheritance)
}

// Remove returns what of m is not in eraser; either may be nil.
func (m Mergeinfo) Remove(eraser Mergeinfo, inheritance Inheritance) Mergeinfo {
	out := Mergeinfo{}
	for path, list := range m {
		if erased, ok := eraser[path]; ok {
			list = list.Remove(erased, inheritance)
		}
		if len(list) > 0 {
			out[path] = list
		}
	}
	return out
}

// Intersect returns what is in both.
func (m Mergeinfo) Intersect(n Mergeinfo, inheritance Inheritance) Mergeinfo {
	out := Mergeinfo{}
	for path, list := range m {
		if common := list.Intersect(n[path], inheritance); len(common) > 0 {
			out[path] = common
		}
	}
	return out
}

// Equal reports whether both say the same. Nil equals nil only.
func Equal(m, n Mergeinfo, inheritance Inheritance) bool {
	if (m == nil) != (n == nil) || len(m) != len(n) {
		return false
	}
	for path, list := range m {
		other, ok := n[path]
		if !ok {
			return false
		}
		if deleted, added := Diff(list, other, inheritance); len(deleted) > 0 || len(added) > 0 {
			return false
		}
	}
	return true
}

// Inheritable returns what nodes below get: without the ranges that are not inherited.
func (m Mergeinfo) Inheritable() Mergeinfo {
	out := make(Mergeinfo, len(m))
	for path, list := range m {
		if list = list.Inheritable(); len(list) > 0 {
			out[path] = list
		}
	}
	return out
}

// Below returns what m means for a node at a relative path below its own: each source is followed by that path.
func (m Mergeinfo) Below(rel string) Mergeinfo {
	if rel == "" {
		return m
	}
	out := make(Mergeinfo, len(m))
	for path, list := range m {
		out[strings.TrimSuffix(path, "/")+"/"+rel] = list
	}
	return out
}
