package archive

import "holdfast/storage/object"

// Match matches a pattern as in .gitattributes, or as in a request's paths.
func Match(pattern, name string, ofPath bool) (bool, error) {
	mode := byPath
	if ofPath {
		mode = crossing
	}
	g, err := parseGlob(pattern, mode)
	return err == nil && g.match(name), err
}

// Rules returns how many rules a .gitattributes file has, and whether they set export-ignore for a path.
func Rules(text, path string) (rules int, ignored bool) {
	a := &Archive{}
	attrs := &attributes{}
	a.parseAttributes(attrs, text)
	a.stack = append(a.stack, attrs)
	return len(attrs.rules), a.attribute(path, false, exportIgnore)
}

// Expand expands $Format:...$ with a commit's content.
func Expand(text, commit []byte) ([]byte, error) {
	id := object.HashObject(object.SHA1, object.Commit, commit)
	s, err := newSubstituter(oneObject(commit), id, func() ([]string, error) { return []string{"HEAD -> main"}, nil })
	if err != nil {
		return nil, err
	}
	return s.expand(text)
}

// oneObject is a Source of one commit.
type oneObject []byte

func (o oneObject) ReadObject(object.ID) (object.Type, []byte, error) { return object.Commit, o, nil }
