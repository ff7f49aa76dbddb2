package authz

import (
	"io"
	"slices"
	"strings"
)

// Rules are a parsed file. They do not change, and are safe for concurrent use.
type Rules struct {
	acls     []*acl
	warnings []string
	views    viewCache
}

// Warnings returns what in the file has no effect, a line each.
func (r *Rules) Warnings() []string { return slices.Clone(r.warnings) }

// acl is one rule: who may do what at a path.
type acl struct {
	sequence int // its place among the rules of the file, from 1
	repo     string
	path     []segment
	key      string // of path
	anon     grant
	authn    grant
	aces     []*ace
}

// grant is what a rule gives to all users of a kind, if it speaks of them.
type grant struct {
	set    bool
	access access
}

func (g *grant) add(a access) { g.set, g.access = true, g.access|a }

// ace is what a rule gives to a user or the members of a group, or to all others.
type ace struct {
	name     string // of a user; "@group" and "&alias" until they are resolved
	members  set    // of the group
	inverted bool
	access   access
	line     int
}

type set map[string]struct{}

// covers reports whether the rule says something about a user, "" for an anonymous one, and what.
func (a *acl) covers(user string) (access, bool) {
	if user == "" {
		return a.anon.access, a.anon.set
	}
	got, ok := a.authn.access, a.authn.set
	for _, e := range a.aces {
		match := e.name == user
		if e.members != nil {
			_, match = e.members[user]
		}
		if match != e.inverted {
			got, ok = got|e.access, true
		}
	}
	return got, ok
}

// Parse reads a file. Its error is an *Error, or the reader's.
func Parse(rules io.Reader) (*Rules, error) { return ParseWithGroups(rules, nil) }

// ParseWithGroups reads a file whose groups are in another one, which has nothing but the section [groups]. A nil groups
// is none.
func ParseWithGroups(rules, groups io.Reader) (*Rules, error) {
	p := &parser{
		sections: map[string]struct{}{}, keys: map[string]string{},
		groups: map[string]*group{}, aliases: map[string]string{},
	}
	text, err := readBounded(rules)
	if err != nil {
		return nil, err
	}
	if err := parseINI(text, p); err != nil {
		return nil, err
	}
	if groups != nil {
		if err := p.readGroups(groups); err != nil {
			return nil, err
		}
	}
	return p.finish()
}

// parser is the handler of both kinds of files.
type parser struct {
	onlyGroups bool
	sections   set
	keys       map[string]string // section by repository and path
	groups     map[string]*group // by "@name"
	aliases    map[string]string // user by "&name"
	acls       []*acl
	warnings   []string

	in      string // the section: groups, aliases, or a rule's
	current *acl   // nil in groups and aliases
	members int    // of resolved groups
}

const (
	groupsSection  = "groups"
	aliasesSection = "aliases"
	globToken      = "glob"
	anonymous      = "$anonymous"
	authenticated  = "$authenticated"
	reserved       = "@$&*~" // begin no name of a group or an alias
)

func (p *parser) readGroups(r io.Reader) error {
	if len(p.groups) > 0 {
		return errorf(0, "Authz file cannot contain any groups when global groups are being used.")
	}
	text, err := readBounded(r)
	if err != nil {
		return err
	}
	p.onlyGroups, p.sections = true, set{}
	return parseINI(text, p)
}

func (p *parser) section(line int, name string) error {
	if _, twice := p.sections[name]; twice {
		return errorf(line, "Section appears more than once in the %s file: [%s]", p.fileKind(), name)
	}
	if len(p.sections) >= MaxRules {
		return errorf(line, "The file has more than %d sections", MaxRules)
	}
	p.sections[name] = struct{}{}
	p.in, p.current = name, nil
	if name == groupsSection || name == aliasesSection && !p.onlyGroups {
		return nil
	}
	if p.onlyGroups {
		return errorf(line, "Section is not valid in the global group file: [%s]", name)
	}
	return p.rule(line, name)
}

func (p *parser) fileKind() string {
	if p.onlyGroups {
		return "global groups"
	}
	return "authz"
}

// rule begins the one that a section's name describes.
func (p *parser) rule(line int, section string) error {
	rest, glob := strings.CutPrefix(section, ":")
	if glob {
		token, after, ok := strings.Cut(rest, ":")
		switch {
		case !ok:
			return errorf(line, "Empty repository name in authz rule [%s]", section)
		case token != globToken:
			return errorf(line, "Invalid type token '%s' in authz rule [%s]", token, section)
		}
		rest = after
	}
	a := &acl{sequence: len(p.acls) + 1}
	if repo, after, ok := strings.Cut(rest, ":"); ok && rest[0] != '/' {
		if repo == "" {
			return errorf(line, "Empty repository name in authz rule [%s]", section)
		}
		a.repo, rest = repo, after
	}
	if !strings.HasPrefix(rest, "/") {
		return errorf(line, "Section is not valid in the authz file: [%s]", section)
	}
	var err error
	if a.path, err = parsePath(line, rest, section, glob); err != nil {
		return err
	}
	a.key = pathKey(a.path)
	unique := a.repo + "\n" + a.key
	if other, twice := p.keys[unique]; twice {
		return errorf(line, "Section [%s] describes the same rule as section [%s]", section, other)
	}
	p.keys[unique] = section
	p.acls, p.current = append(p.acls, a), a
	return nil
}

func (p *parser) option(line int, name, value string) error {
	switch {
	case p.current != nil:
		return p.accessEntry(line, name, value)
	case p.in == groupsSection:
		return p.group(line, name, value)
	}
	if strings.ContainsRune(reserved, rune(name[0])) {
		return errorf(line, "Alias name '%s' may not begin with '%c'", name, name[0])
	}
	if _, twice := p.aliases["&"+name]; twice {
		return errorf(line, "Can't override definition of alias '&%s'", name)
	}
	p.aliases["&"+name] = value
	return nil
}

func (p *parser) accessEntry(line int, option, value string) error {
	rights, err := p.rights(line, option, value)
	if err != nil {
		return err
	}
	name, inverted := strings.CutPrefix(option, "~")
	a := p.current
	switch {
	case strings.HasPrefix(name, "~"):
		return errorf(line, "Access entry '%s' has more than one inversion; double negatives are not permitted", option)
	case strings.HasPrefix(name, "*") && name != "*":
		return errorf(line, "Access entry '%s' is not valid; it must be a single '*'", option)
	case name == "*" && inverted:
		return errorf(line, "Access entry '~*' will never match")
	case name == "*":
		a.anon.add(rights)
		a.authn.add(rights)
	case name == anonymous && !inverted, name == authenticated && inverted:
		a.anon.add(rights)
	case name == anonymous, name == authenticated:
		a.authn.add(rights)
	case strings.HasPrefix(name, "$"):
		return errorf(line, "Access entry token '%s' is not valid; should be '%s' or '%s'", option, anonymous, authenticated)
	default:
		a.aces = append(a.aces, &ace{name: name, inverted: inverted, access: rights, line: line})
	}
	return nil
}

func (p *parser) rights(line int, option, value string) (access, error) {
	var a access
	for i := range len(value) {
		switch c := value[i]; {
		case c == 'r':
			a |= accessRead
		case c == 'w':
			a |= flagWrite
		case strings.IndexByte(spaces, c) < 0:
			return 0, errorf(line, "The access mode '%c' in access entry '%s' of rule [%s] is not valid", c, option, p.in)
		}
	}
	if a == flagWrite {
		return 0, errorf(line, "Write-only access entry '%s' of rule [%s] is not valid", option, p.in)
	}
	return a, nil
}
