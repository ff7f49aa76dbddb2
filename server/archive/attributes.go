package archive

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"holdfast/storage/object"
)

// The attributes that count.
const (
	exportIgnore = "export-ignore"
	exportSubst  = "export-subst"
)

// attributes is what one .gitattributes file says about export.
type attributes struct {
	dir   string // its directory, empty or with a slash at its end
	rules []rule
}

// rule is one line: what it says of what matches.
type rule struct {
	glob    glob
	isDir   bool // for directories only
	base    bool // the pattern is matched with the last component of the path
	effects []attribute
}

// attribute is a word in a rule: set, or anything else, which for us is one.
type attribute struct {
	name string
	set  bool
}

// enter takes up the attributes of a directory, and leave lets go of them.
func (a *Archive) enter(dir string, entries []object.TreeEntry) error {
	attrs := &attributes{dir: dir}
	a.stack = append(a.stack, attrs)
	for _, e := range entries {
		if string(e.Name) != attributeFile || e.Mode&object.ModeKind != object.ModeFile&object.ModeKind {
			continue
		}
		_, size, content, err := a.src.OpenObject(e.ID)
		if err != nil {
			return err
		}
		defer content.Close()
		if size > maxAttrBytes {
			return nil // as if it were not there, as git does beyond a limit of its own
		}
		data, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		a.parseAttributes(attrs, string(data))
	}
	if a.rules += len(attrs.rules); a.rules > maxRules {
		return fmt.Errorf("the %s files have more than %d rules about export", attributeFile, maxRules)
	}
	return nil
}

// patient returns an error once patterns have taken too much work.
func (a *Archive) patient() error {
	if a.work > maxWork {
		return errors.New("to match the patterns takes too much work: use fewer and simpler ones")
	}
	return nil
}

func (a *Archive) leave() {
	last := len(a.stack) - 1
	a.rules -= len(a.stack[last].rules)
	a.stack = a.stack[:last]
}

// attribute reports whether an attribute is set for a path. The last rule that has a say decides, the innermost file
// first.
func (a *Archive) attribute(path string, isDir bool, name string) bool {
	base := path[strings.LastIndexByte(path, '/')+1:]
	for i := len(a.stack) - 1; i >= 0; i-- {
		f := a.stack[i]
		for j := len(f.rules) - 1; j >= 0; j-- {
			r := &f.rules[j]
			set, says := r.says(name)
			if !says || r.isDir && !isDir {
				continue
			}
			of := base
			if !r.base {
				of = path[len(f.dir):]
			}
			a.work += r.glob.cost(of)
			if r.glob.match(of) {
				return set
			}
		}
	}
	return false
}

// says returns what a rule makes of an attribute.
func (r *rule) says(name string) (set, says bool) {
	for _, e := range r.effects {
		if e.name == name {
			return e.set, true
		}
	}
	return false, false
}

// parseAttributes reads a file. Lines that cannot be read are as if they were not there, as in git.
func (a *Archive) parseAttributes(to *attributes, text string) {
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.Trim(line, " \t\r")
		if line == "" || line[0] == '#' || len(line) > maxAttrLine {
			continue
		}
		pattern, rest, ok := cutPattern(line)
		if !ok {
			continue
		}
		if macro, ok := strings.CutPrefix(pattern, "[attr]"); ok {
			if to.dir == "" {
				a.define(macro, rest)
			}
			continue
		}
		effects := a.effects(rest)
		if len(effects) == 0 || pattern[0] == '!' {
			continue
		}
		if r, err := newRule(pattern, effects); err == nil {
			to.rules = append(to.rules, r)
		}
	}
}

// cutPattern splits the pattern off a line; it may be in quotes, as in C.
func cutPattern(line string) (pattern, rest string, ok bool) {
	if line[0] == '"' {
		if quoted, err := strconv.QuotedPrefix(line); err == nil {
			pattern, err = strconv.Unquote(quoted)
			return pattern, line[len(quoted):], err == nil && pattern != ""
		}
	}
	i := strings.IndexAny(line, " \t\r")
	if i < 0 {
		return line, "", true
	}
	return line[:i], line[i:], true
}

func newRule(pattern string, effects []attribute) (rule, error) {
	r := rule{effects: effects}
	pattern, r.isDir = strings.CutSuffix(pattern, "/")
	r.base = !strings.Contains(pattern, "/")
	var err error
	r.glob, err = parseGlob(strings.TrimPrefix(pattern, "/"), byPath)
	return r, err
}

// define makes a macro: an attribute that stands for others when it is set.
func (a *Archive) define(name, words string) {
	if a.macros == nil {
		a.macros = map[string][]attribute{}
	}
	if len(a.macros) < maxRules {
		a.macros[name] = a.effects(words)
	}
}

// effects reads the words of a line and returns those about export, macros expanded.
func (a *Archive) effects(words string) (effects []attribute) {
	for word := range strings.FieldsSeq(words) {
		name := strings.TrimLeft(word, "-!")
		set := name == word && !strings.Contains(word, "=")
		name, _, _ = strings.Cut(name, "=")
		switch {
		case name == exportIgnore || name == exportSubst:
			effects = override(effects, attribute{name, set})
		case set:
			for _, e := range a.macros[name] {
				effects = override(effects, e)
			}
		}
	}
	return effects
}

// override adds an attribute, in place of what was said of it before.
func override(effects []attribute, e attribute) []attribute {
	for i := range effects {
		if effects[i].name == e.name {
			effects[i] = e
			return effects
		}
	}
	return append(effects, e)
}
