package archive

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"holdfast/storage/object"
)

// shortID is how many digits an abbreviated id has.
const shortID = 7

// reader is the part of a Source that is needed here.
type reader interface {
	ReadObject(id object.ID) (object.Type, []byte, error)
}

// substituter expands $Format:...$ with what a commit says.
type substituter struct {
	id       object.ID
	info     object.CommitInfo
	headers  map[string]string // the first of each name
	message  string
	decorate func() ([]string, error)

	decorated bool
	names     []string // once decorated
}

func newSubstituter(src reader, commit object.ID, decorate func() ([]string, error)) (*substituter, error) {
	typ, data, err := src.ReadObject(commit)
	if err != nil {
		return nil, err
	}
	if typ != object.Commit {
		return nil, fmt.Errorf("%s is a %s, not a commit", commit, typ)
	}
	s := &substituter{id: commit, headers: map[string]string{}, decorate: decorate}
	if s.info, err = object.ParseCommit(commit.Format(), data); err != nil {
		return nil, err
	}
	head, message, _ := strings.Cut(string(data), "\n\n")
	s.message = strings.TrimLeft(message, "\n")
	for line := range strings.SplitSeq(head, "\n") {
		name, value, _ := strings.Cut(line, " ")
		if _, twice := s.headers[name]; !twice {
			s.headers[name] = value
		}
	}
	return s, nil
}

// expand replaces each $Format:...$. What comes out is bounded by maxExpanded.
func (s *substituter) expand(data []byte) ([]byte, error) {
	const begin = "$Format:"
	if !bytes.Contains(data, []byte(begin)) {
		return data, nil
	}
	if s.decorate != nil && !s.decorated {
		var err error
		if s.names, err = s.decorate(); err != nil {
			return nil, err
		}
		s.decorated = true
	}
	var out []byte
	for {
		before, rest, ok := bytes.Cut(data, []byte(begin))
		format, after, closed := bytes.Cut(rest, []byte("$"))
		if !ok || !closed {
			return append(out, data...), nil
		}
		out = s.format(append(out, before...), string(format))
		if len(out) > maxExpanded {
			return nil, fmt.Errorf("a file with %s grows to more than %d bytes", exportSubst, maxExpanded)
		}
		data = after
	}
}

// maxExpanded bounds a file whose $Format:...$ were expanded: each may stand for the whole message of the commit.
const maxExpanded = 4 * MaxSubstBytes

// format appends the expansion of a format; placeholders that it does not know stay.
func (s *substituter) format(out []byte, format string) []byte {
	for format != "" && len(out) <= maxExpanded {
		literal, rest, ok := strings.Cut(format, "%")
		out = append(out, literal...)
		if !ok {
			break
		}
		text, used := s.placeholder(rest)
		if used == 0 {
			text = "%"
		}
		out = append(out, text...)
		format = rest[used:]
	}
	return out
}

// placeholder returns what a placeholder stands for, and the length of its name, 0 if it is not known.
func (s *substituter) placeholder(name string) (text string, used int) {
	if name == "" {
		return "", 0
	}
	short := func(id object.ID) string { return id.String()[:shortID] }
	parents := func(show func(object.ID) string) string {
		var list []string
		for _, p := range s.info.Parents {
			list = append(list, show(p))
		}
		return strings.Join(list, " ")
	}
	switch name[0] {
	case 'H':
		return s.id.String(), 1
	case 'h':
		return short(s.id), 1
	case 'T':
		return s.info.Tree.String(), 1
	case 't':
		return short(s.info.Tree), 1
	case 'P':
		return parents(object.ID.String), 1
	case 'p':
		return parents(short), 1
	case 'a', 'c':
		if len(name) > 1 {
			who := map[byte]string{'a': "author", 'c': "committer"}[name[0]]
			if text, ok := parseIdent(s.headers[who]).show(name[1]); ok {
				return text, 2
			}
		}
		return "", 0
	case 's':
		return subject(s.message), 1
	case 'f':
		first, _, _ := strings.Cut(s.message, "\n")
		return fileName(first), 1
	case 'b':
		return body(s.message), 1
	case 'B':
		return s.message, 1
	case 'e':
		return s.headers["encoding"], 1
	case 'd', 'D':
		text := strings.Join(s.names, ", ")
		if name[0] == 'd' && text != "" {
			text = " (" + text + ")"
		}
		return text, 1
	case 'n':
		return "\n", 1
	case '%':
		return "%", 1
	case 'x':
		if len(name) > 2 {
			if b, err := strconv.ParseUint(name[1:3], 16, 8); err == nil {
				return string([]byte{byte(b)}), 3
			}
		}
	}
	return "", 0
}

// cutSubject splits a message where its first paragraph ends.
func cutSubject(message string) (lines []string, rest string) {
	for message != "" {
		line, after, _ := strings.Cut(message, "\n")
		if strings.TrimSpace(line) == "" {
			return lines, after
		}
		lines, message = append(lines, strings.TrimRight(line, " \t\r\v\f")), after
	}
	return lines, ""
}

func subject(message string) string {
	lines, _ := cutSubject(message)
	return strings.Join(lines, " ")
}

// body is what follows the subject and empty lines.
func body(message string) string {
	_, rest := cutSubject(message)
	for rest != "" {
		line, after, _ := strings.Cut(rest, "\n")
		if strings.TrimSpace(line) != "" {
			break
		}
		rest = after
	}
	return rest
}

// fileName turns a line into part of a file's name.
func fileName(line string) string {
	var b strings.Builder
	dash := false
	for i := range len(line) {
		c := line[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_',
			c == '.' && (i == 0 || line[i-1] != '.'):
			if dash && b.Len() > 0 {
				b.WriteByte('-')
			}
			dash = false
			b.WriteByte(c)
		case c != '.':
			dash = true
		}
	}
	return strings.TrimRight(b.String(), ".-")
}

// ident is an author or committer.
type ident struct {
	name, mail string
	when       time.Time
	dated      bool
}

func parseIdent(s string) (id ident) {
	name, rest, _ := strings.Cut(s, "<")
	mail, date, _ := strings.Cut(rest, ">")
	id.name, id.mail = strings.TrimSpace(name), mail
	fields := strings.Fields(date)
	if len(fields) == 0 {
		return id
	}
	seconds, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil || seconds < 0 || seconds > maxSeconds {
		return id
	}
	offset := 0
	if len(fields) > 1 {
		zone, err := strconv.Atoi(fields[1])
		if err == nil && -2400 < zone && zone < 2400 {
			offset = zone/100*3600 + zone%100*60
		}
	}
	id.when, id.dated = time.Unix(seconds, 0).In(time.FixedZone("", offset)), true
	return id
}

// maxSeconds is the end of the year 9999, beyond which dates have no common form.
const maxSeconds = 253402300799

// show returns the part of an ident that the second letter of a placeholder names.
func (id ident) show(letter byte) (string, bool) {
	switch letter {
	case 'n', 'N': // there is no mailmap in a repository without a working tree
		return id.name, true
	case 'e', 'E':
		return id.mail, true
	case 'l', 'L':
		local, _, _ := strings.Cut(id.mail, "@")
		return local, true
	}
	layout, isDate := map[byte]string{
		'd': "Mon Jan 2 15:04:05 2006 -0700", 'D': "Mon, 2 Jan 2006 15:04:05 -0700", 't': "",
		'i': "2006-01-02 15:04:05 -0700", 'I': "2006-01-02T15:04:05-07:00", 's': "2006-01-02",
	}[letter]
	switch {
	case !isDate:
		return "", false
	case !id.dated:
		return "", true
	case letter == 't':
		return strconv.FormatInt(id.when.Unix(), 10), true
	}
	return id.when.Format(layout), true
}
