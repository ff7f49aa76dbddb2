package mergeinfo

import (
	"strings"

	"holdfast/storage/svn"
)

// Parse reads the value of the property. It takes what Subversion takes: relative paths, lists in any order, with overlaps and spaces
// before them, a path twice. What follows a NUL is not read. The error is an ErrMergeinfoParseError.
func Parse(value string) (Mergeinfo, error) {
	value, _, _ = strings.Cut(value, "\x00")
	p := parser{Mergeinfo{}, map[string][]Rangelist{}}
	for rest := value; rest != ""; {
		var err error
		if rest, err = p.parseLine(rest); err == nil {
			continue
		}
		if svn.CodeOf(err) == svn.ErrMergeinfoParseError {
			return nil, err
		}
		return nil, svn.Wrap(err, svn.ErrMergeinfoParseError, "Could not parse mergeinfo string '%s'", value)
	}
	for path, lists := range p.again {
		p.m[path] = mergeAll(append(lists, p.m[path]))
	}
	return p.m, nil
}

type parser struct {
	m     Mergeinfo
	again map[string][]Rangelist // the further lists of a path: to merge each at once would take quadratic time
}

// mergeAll returns the union of lists, of which there is at least one.
func mergeAll(lists []Rangelist) Rangelist {
	if len(lists) == 1 {
		return lists[0]
	}
	half := len(lists) / 2
	return mergeAll(lists[:half]).Merge(mergeAll(lists[half:]))
}

// parseLine reads a line and returns what follows it.
func (p *parser) parseLine(s string) (rest string, err error) {
	line, _, _ := strings.Cut(s, "\n")
	colon := strings.LastIndexByte(line, ':')
	if colon < 0 {
		return "", svn.Errorf(svn.ErrMergeinfoParseError, "Pathname not terminated by ':'")
	}
	path := canonical(line[:colon])
	list, rest, err := parseList(s[colon+1:])
	if err != nil {
		return "", err
	}
	if len(list) == 0 {
		return "", svn.Errorf(svn.ErrMergeinfoParseError, "Mergeinfo for '%s' maps to an empty revision range", path)
	}
	if list, err = Canonicalize(list); err != nil {
		return "", err
	}
	if _, ok := p.m[path]; ok {
		p.again[path] = append(p.again[path], list)
	} else {
		p.m[path] = list
	}
	return strings.TrimPrefix(rest, "\n"), nil
}

// canonical makes a path absolute, without empty and "." segments.
func canonical(path string) string {
	var b strings.Builder
	for segment := range strings.SplitSeq(path, "/") {
		if segment != "" && segment != "." {
			b.WriteByte('/')
			b.WriteString(segment)
		}
	}
	if b.Len() == 0 {
		return "/"
	}
	return b.String()
}

// parseList reads ranges up to the end of the line; rest is the line's end and what follows. A comma may end a line, but not the value.
func parseList(s string) (list Rangelist, rest string, err error) {
	s = strings.TrimLeft(s, " \t\v\f\r")
	for s != "" && s[0] != '\n' {
		var r Range
		if r, s, err = parseRange(s); err != nil {
			return nil, "", err
		}
		list = append(list, r)
		switch {
		case s == "" || s[0] == '\n':
			return list, s, nil
		case s[0] != ',':
			return nil, "", svn.Errorf(svn.ErrMergeinfoParseError, "Invalid character '%s' found in range list", s[:1])
		}
		s = s[1:]
	}
	if s == "" && len(list) > 0 {
		return nil, "", svn.Errorf(svn.ErrMergeinfoParseError, "Range list parsing ended before hitting newline")
	}
	return list, s, nil
}

// parseRange reads "3", "3-5" or either with a star.
func parseRange(s string) (r Range, rest string, err error) {
	first, rest, err := parseRevnum(s)
	switch {
	case err != nil:
		return r, "", err
	case rest != "" && !strings.Contains("-,*\n", rest[:1]):
		return r, "", svn.Errorf(svn.ErrMergeinfoParseError, "Invalid character '%s' found in revision list", rest[:1])
	case first == 0:
		return r, "", svn.Errorf(svn.ErrMergeinfoParseError, "Invalid revision number '0' found in range list")
	}
	r = Range{first - 1, first, true}
	if strings.HasPrefix(rest, "-") {
		if r.End, rest, err = parseRevnum(rest[1:]); err != nil {
			return r, "", err
		}
		switch {
		case first > r.End:
			return r, "", svn.Errorf(svn.ErrMergeinfoParseError, "Unable to parse reversed revision range '%d-%d'", first, r.End)
		case first == r.End:
			return r, "", svn.Errorf(svn.ErrMergeinfoParseError,
				"Unable to parse revision range '%d-%d' with same start and end revisions", first, r.End)
		}
	}
	if strings.HasPrefix(rest, "*") {
		r.Inheritable, rest = false, rest[1:]
	}
	return r, rest, nil
}

// maxRevnum is the greatest revision that a client may name.
const maxRevnum = 1<<31 - 1

func parseRevnum(s string) (rev svn.Revnum, rest string, err error) {
	digits := 0
	for digits < len(s) && digits <= 10 && s[digits] >= '0' && s[digits] <= '9' {
		rev = rev*10 + svn.Revnum(s[digits]-'0')
		digits++
	}
	switch {
	case digits == 0 && strings.HasPrefix(s, "-"):
		return 0, "", svn.Errorf(svn.ErrRevnumParseFailure, "Negative revision number found parsing '%s'", s)
	case digits == 0:
		return 0, "", svn.Errorf(svn.ErrRevnumParseFailure, "Invalid revision number found parsing '%s'", s)
	case digits > 10:
		return 0, "", svn.Errorf(svn.ErrRevnumParseFailure, "Revision number longer than 10 digits '%s'", s)
	case rev > maxRevnum:
		return 0, "", svn.Errorf(svn.ErrRevnumParseFailure, "Revision number too large '%s'", s)
	}
	return rev, s[digits:], nil
}
