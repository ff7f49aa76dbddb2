package object

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Filter says which objects a partial clone does without. The zero Filter leaves nothing out. An object has to pass all
// of a filter's parts.
type Filter struct {
	// Omit are the types that are left out altogether.
	Omit []Type
	// BlobLimit leaves out blobs of so many bytes and more; 0 is no limit.
	BlobLimit int64
	// TreeDepth leaves out trees and blobs at so many steps from the root tree and more, unless they are found nearer
	// elsewhere; 0 is no limit.
	TreeDepth int64
	// Sparse leaves out blobs that are at no path that all of these patterns match.
	Sparse []SparseBlob
}

// SparseBlob is a blob with the patterns of a sparse checkout.
type SparseBlob struct {
	// Name is what the client calls it: an id, a ref, or one of those with a path behind a colon.
	Name string
	// ID is what the name stands for, or what stands before the colon. ParseFilter leaves it to those who know the refs.
	ID ID
}

// Cut returns what stands before the first colon of the name, and the path behind it if there is a colon.
func (b SparseBlob) Cut() (rev, path string, inTree bool) { return strings.Cut(b.Name, ":") }

// ErrFilter is the kind of ParseFilter's errors.
var ErrFilter = errors.New("invalid filter")

// maxFilters bounds the parts of a filter that combines others, nested ones included.
const maxFilters = 64

// ParseFilter parses a filter as git writes it: blob:none, blob:limit=N with an optional k, m or g, tree:DEPTH,
// object:type=TYPE, sparse:oid=BLOB, and combine:FILTER+FILTER..., each with its special characters in percent
// encoding. See git's rev-list documentation.
func ParseFilter(spec string) (Filter, error) {
	var f Filter
	left := maxFilters
	if err := f.parse(spec, &left); err != nil {
		return Filter{}, fmt.Errorf("%w %.100q: %w", ErrFilter, spec, err)
	}
	slices.Sort(f.Omit)
	f.Omit = slices.Compact(f.Omit)
	return f, nil
}

// IsZero reports whether the filter leaves nothing out.
func (f Filter) IsZero() bool {
	return len(f.Omit) == 0 && f.BlobLimit == 0 && f.TreeDepth == 0 && len(f.Sparse) == 0
}

// Omits reports whether no object of the type passes.
func (f Filter) Omits(t Type) bool { return slices.Contains(f.Omit, t) }

// Passes reports whether an object of that type and length passes, its paths aside.
func (f Filter) Passes(t Type, size int64) bool {
	return !f.Omits(t) && (t != Blob || f.BlobLimit == 0 || size < f.BlobLimit)
}

func (f *Filter) parse(spec string, left *int) error {
	if *left--; *left < 0 {
		return fmt.Errorf("more than %d filters are combined", maxFilters)
	}
	kind, value, _ := strings.Cut(spec, ":")
	switch kind {
	case "blob":
		return f.parseBlob(value)
	case "tree":
		return f.parseTree(value)
	case "object":
		return f.parseType(value)
	case "combine":
		return f.parseCombined(value, left)
	case "sparse":
		return f.parseSparse(value)
	}
	return errors.New("known are blob:none, blob:limit=N, tree:DEPTH, object:type=TYPE, sparse:oid=BLOB and combine:FILTER+FILTER")
}

func (f *Filter) parseBlob(value string) error {
	if value == "none" {
		f.Omit = append(f.Omit, Blob)
		return nil
	}
	number, ok := strings.CutPrefix(value, "limit=")
	if !ok {
		return errors.New("expected blob:none or blob:limit=N")
	}
	n, err := parseScaled(number)
	switch {
	case err != nil:
		return err
	case n == 0:
		f.Omit = append(f.Omit, Blob)
	case f.BlobLimit == 0 || n < f.BlobLimit:
		f.BlobLimit = n
	}
	return nil
}

func (f *Filter) parseTree(value string) error {
	n, err := parseScaled(value)
	switch {
	case err != nil:
		return err
	case n == 0:
		f.Omit = append(f.Omit, Tree, Blob)
	case f.TreeDepth == 0 || n < f.TreeDepth:
		f.TreeDepth = n
	}
	return nil
}

func (f *Filter) parseType(value string) error {
	name, ok := strings.CutPrefix(value, "type=")
	if !ok {
		return errors.New("expected object:type=TYPE")
	}
	known := false
	for _, t := range []Type{Commit, Tree, Blob, Tag} {
		if t.String() == name {
			known = true
		} else {
			f.Omit = append(f.Omit, t)
		}
	}
	if !known {
		return fmt.Errorf("%q is no type of object", name)
	}
	return nil
}

func (f *Filter) parseSparse(value string) error {
	name, ok := strings.CutPrefix(value, "oid=")
	switch {
	case strings.HasPrefix(value, "path="):
		return errors.New("sparse:path filters support has been dropped")
	case !ok || name == "":
		return errors.New("expected sparse:oid=BLOB")
	}
	f.Sparse = append(f.Sparse, SparseBlob{Name: name})
	return nil
}

// reserved are the characters that must be encoded in a combined filter.
const reserved = "~`!@#$^&*()[]{}\\;'\",<>?"

func (f *Filter) parseCombined(value string, left *int) error {
	for part := range strings.SplitSeq(value, "+") {
		if i := strings.IndexFunc(part, func(r rune) bool { return r <= ' ' || strings.ContainsRune(reserved, r) }); i >= 0 {
			return fmt.Errorf("%q must be encoded in a combined filter", part[i:i+1])
		}
		decoded, err := url.PathUnescape(part)
		if err != nil {
			return err
		}
		if err := f.parse(decoded, left); err != nil {
			return err
		}
	}
	return nil
}

// parseScaled parses a number with an optional suffix of k, m or g, for powers of 1024.
func parseScaled(s string) (int64, error) {
	digits, scale := s, int64(1)
	if s != "" {
		switch s[len(s)-1] | 0x20 {
		case 'k':
			scale = 1 << 10
		case 'm':
			scale = 1 << 20
		case 'g':
			scale = 1 << 30
		}
	}
	if scale > 1 {
		digits = s[:len(s)-1]
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n > (1<<63-1)/uint64(scale) {
		return 0, fmt.Errorf("%.40q is no number, with or without k, m or g", s)
	}
	return int64(n) * scale, nil
}
