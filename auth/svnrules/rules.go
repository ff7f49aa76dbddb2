package svnrules

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Rules are those of a repository. The zero value, and nil, refuse no commit. They must not change while in use; then they
// are safe for concurrent use.
type Rules struct {
	Log            LogRule
	Issue          *regexp.Regexp // must match in log messages; nil needs nothing
	NoCaseClashes  bool
	ForbiddenPaths []Glob
	ForbiddenTypes []string // of svn:mime-type: "type/subtype", or "type/*"
	MaxFileBytes   int64    // 0 for no limit
	RequiredProps  []RequiredProp
	RevProps       map[string][]string // who may change a property, by name; names may end in "*"
}

// LogRule is about log messages.
type LogRule struct {
	Required  bool
	MinLength int            // in characters, without space around
	Pattern   *regexp.Regexp // must match somewhere; nil needs nothing
	Hint      string         // shown when something is wrong
}

// RequiredProp is a property that files must have.
type RequiredProp struct {
	Paths  []Glob
	Name   string
	Values []string // one of these; empty for any
}

// Refusal is the error of what rules refuse: the reasons, each a sentence.
type Refusal []string

// maxReasons bounds what a client is shown.
const maxReasons = 20

// Error returns a line for each reason.
func (r Refusal) Error() string {
	var b strings.Builder
	b.WriteString("The rules of this repository do not allow this:")
	for i, reason := range r {
		if i == maxReasons {
			fmt.Fprintf(&b, "\n- and %d more", len(r)-i)
			break
		}
		b.WriteString("\n- " + reason)
	}
	return b.String()
}

func (r Refusal) orNil() error {
	if len(r) == 0 {
		return nil
	}
	return r
}

// Commit is what rules see of one.
type Commit struct {
	Log     string
	Changes []Change
	// Node returns a file as the commit leaves it.
	Node func(path string) (Node, error)
	// Names calls fn for each name in a directory as the commit leaves it.
	Names func(dir string, fn func(name string)) error
}

// Change is a path that a commit changes.
type Change struct {
	Path    string // absolute
	Dir     bool
	Added   bool // or replaced, or copied
	Deleted bool
	TextMod bool
	PropMod bool
}

// Node is a file.
type Node struct {
	Size  int64
	Props map[string]string
}

// CheckCommit returns nil, a Refusal, or an error of the commit's functions.
func (r *Rules) CheckCommit(c Commit) error {
	if r == nil {
		return nil
	}
	reasons := Refusal(r.checkLog(c.Log))
	for _, change := range c.Changes {
		if change.Deleted {
			continue
		}
		reasons = append(reasons, r.checkPath(change)...)
		if change.Dir || !r.looksAt(change) {
			continue
		}
		node, err := c.Node(change.Path)
		if err != nil {
			return err
		}
		reasons = append(reasons, r.checkFile(change, node)...)
	}
	clashes, err := r.clashes(c)
	if err != nil {
		return err
	}
	return append(reasons, clashes...).orNil()
}

func (r *Rules) checkLog(log string) (reasons []string) {
	text := strings.TrimSpace(log)
	switch length := utf8.RuneCountInString(text); {
	case text == "" && r.Log.Required:
		reasons = append(reasons, "The log message is empty.")
	case length < r.Log.MinLength:
		reasons = append(reasons, fmt.Sprintf("The log message has %d characters; it should have at least %d.", length, r.Log.MinLength))
	case r.Log.Pattern != nil && !r.Log.Pattern.MatchString(log):
		reasons = append(reasons, fmt.Sprintf("The log message does not match %q.", r.Log.Pattern))
	}
	if r.Issue != nil && !r.Issue.MatchString(log) {
		reasons = append(reasons, fmt.Sprintf("The log message refers to no issue: nothing in it matches %q.", r.Issue))
	}
	if len(reasons) > 0 && r.Log.Hint != "" {
		reasons = append(reasons, r.Log.Hint)
	}
	return reasons
}

func (r *Rules) checkPath(c Change) (reasons []string) {
	if !c.Added {
		return nil
	}
	for _, g := range r.ForbiddenPaths {
		if g.Match(c.Path) {
			return []string{fmt.Sprintf("'%s' may not be added: %q is forbidden.", c.Path, g)}
		}
	}
	return nil
}

// looksAt reports whether a rule needs to see the file.
func (r *Rules) looksAt(c Change) bool {
	return r.MaxFileBytes > 0 && (c.TextMod || c.Added) ||
		(len(r.ForbiddenTypes) > 0 || len(r.RequiredProps) > 0) && (c.PropMod || c.Added)
}

func (r *Rules) checkFile(c Change, n Node) (reasons []string) {
	if r.MaxFileBytes > 0 && n.Size > r.MaxFileBytes && (c.TextMod || c.Added) {
		reasons = append(reasons, fmt.Sprintf("'%s' has %d bytes, more than %d.", c.Path, n.Size, r.MaxFileBytes))
	}
	if !c.PropMod && !c.Added {
		return reasons
	}
	if t := mimeType(n.Props); t != "" && slices.ContainsFunc(r.ForbiddenTypes, func(f string) bool { return typeMatches(f, t) }) {
		reasons = append(reasons, fmt.Sprintf("'%s' has the type %s, which is forbidden.", c.Path, t))
	}
	for _, p := range r.RequiredProps {
		if slices.ContainsFunc(p.Paths, func(g Glob) bool { return g.Match(c.Path) }) {
			reasons = append(reasons, p.check(c.Path, n.Props)...)
		}
	}
	return reasons
}

func (p RequiredProp) check(path string, props map[string]string) []string {
	value, ok := props[p.Name]
	switch {
	case !ok && len(p.Values) > 0:
		return []string{fmt.Sprintf("'%s' needs the property %s, with the value %s.", path, p.Name, strings.Join(p.Values, " or "))}
	case !ok:
		return []string{fmt.Sprintf("'%s' needs the property %s.", path, p.Name)}
	case len(p.Values) > 0 && !slices.Contains(p.Values, value):
		return []string{fmt.Sprintf("'%s' has the property %s with the value %.60q; it should be %s.", path, p.Name, value,
			strings.Join(p.Values, " or "))}
	}
	return nil
}

// mimeType returns the type of a file, in lower case and without parameters.
func mimeType(props map[string]string) string {
	t, _, _ := strings.Cut(props["svn:mime-type"], ";")
	return strings.ToLower(strings.TrimSpace(t))
}

func typeMatches(forbidden, t string) bool {
	forbidden = strings.ToLower(forbidden)
	if major, ok := strings.CutSuffix(forbidden, "/*"); ok {
		have, _, _ := strings.Cut(t, "/")
		return have == major
	}
	return forbidden == t
}

// clashes finds names that differ only in case, where the commit added one of them.
func (r *Rules) clashes(c Commit) (reasons []string, err error) {
	if !r.NoCaseClashes {
		return nil, nil
	}
	added := map[string]map[string]string{} // by directory, then by folded name: a name that was added
	for _, change := range c.Changes {
		if !change.Added || change.Path == "/" {
			continue
		}
		i := strings.LastIndexByte(change.Path, '/')
		dir, name := cmp.Or(change.Path[:i], "/"), change.Path[i+1:]
		if added[dir] == nil {
			added[dir] = map[string]string{}
		}
		key := fold(name)
		if other, ok := added[dir][key]; ok && other != name {
			reasons = append(reasons, clash(dir, other, name))
			continue
		}
		added[dir][key] = name
	}
	for _, dir := range sortedKeys(added) {
		found, err := clashesIn(c, dir, added[dir])
		if err != nil {
			return nil, err
		}
		reasons = append(reasons, found...)
	}
	slices.Sort(reasons)
	return slices.Compact(reasons), nil
}

// clashesIn compares names that were added to a directory with all that it has.
func clashesIn(c Commit, dir string, added map[string]string) (reasons []string, err error) {
	err = c.Names(dir, func(name string) {
		if mine, ok := added[fold(name)]; ok && mine != name {
			reasons = append(reasons, clash(dir, mine, name))
		}
	})
	return reasons, err
}

func clash(dir, a, b string) string {
	return fmt.Sprintf("In '%s', the names '%s' and '%s' differ only in case.", dir, min(a, b), max(a, b))
}

// fold makes names equal that differ only in case.
func fold(name string) string { return strings.ToLower(strings.ToUpper(name)) }

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
