package svn

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
)

// Props are properties by name. Values are any bytes.
type Props map[string]string

// Names returns the names, sorted.
func (p Props) Names() []string { return slices.Sorted(maps.Keys(p)) }

// Clone returns a copy that may be changed; it is never nil.
func (p Props) Clone() Props {
	c := make(Props, len(p)+1)
	maps.Copy(c, p)
	return c
}

// Set sets a property, or removes it if value is nil.
func (p Props) Set(name string, value *string) {
	if value == nil {
		delete(p, name)
		return
	}
	p[name] = *value
}

// PropChange is one property that differs; a nil Value means that it is gone.
type PropChange struct {
	Name  string
	Value *string
}

// PropDiff returns what makes from into to, sorted by name.
func PropDiff(from, to Props) []PropChange {
	var d []PropChange
	for _, name := range to.Names() {
		value := to[name]
		if old, ok := from[name]; !ok || old != value {
			d = append(d, PropChange{name, &value})
		}
	}
	for _, name := range from.Names() {
		if _, ok := to[name]; !ok {
			d = append(d, PropChange{name, nil})
		}
	}
	slices.SortFunc(d, func(a, b PropChange) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return d
}

// endProps ends the encoded form.
const endProps = "PROPS-END\n"

// EncodeProps returns the properties as dump files have them: "K <length>", name, "V <length>", value, sorted by name, then PROPS-END.
func EncodeProps(p Props) []byte {
	var b []byte
	for _, name := range p.Names() {
		b = appendCounted(b, 'K', name)
		b = appendCounted(b, 'V', p[name])
	}
	return append(b, endProps...)
}

func appendCounted(b []byte, letter byte, s string) []byte {
	b = append(b, letter, ' ')
	b = strconv.AppendInt(b, int64(len(s)), 10)
	b = append(b, '\n')
	b = append(b, s...)
	return append(b, '\n')
}

// DecodeProps reads what EncodeProps wrote, and nothing else: not unsorted, no name twice.
func DecodeProps(b []byte) (Props, error) {
	p, last := Props{}, ""
	for !bytes.Equal(b, []byte(endProps)) {
		name, rest, ok := cutCounted(b, 'K')
		value, rest, ok2 := cutCounted(rest, 'V')
		if !ok || !ok2 || len(p) > 0 && name <= last {
			return nil, Errorf(ErrMalformedFile, "malformed properties")
		}
		p[name], last, b = value, name, rest
	}
	return p, nil
}

func cutCounted(b []byte, letter byte) (s string, rest []byte, ok bool) {
	line, rest, ok := bytes.Cut(b, []byte{'\n'})
	if !ok || len(line) < 3 || line[0] != letter || line[1] != ' ' {
		return "", nil, false
	}
	n, err := strconv.ParseUint(string(line[2:]), 10, 31)
	if padded := line[2] == '0' && len(line) > 3; err != nil || padded || int(n) >= len(rest) || rest[n] != '\n' {
		return "", nil, false
	}
	return string(rest[:n]), rest[n+1:], true
}

// Names of properties that the server knows.
const (
	PropLog       = "svn:log"
	PropAuthor    = "svn:author"
	PropDate      = "svn:date"
	PropMergeinfo = "svn:mergeinfo"
)
