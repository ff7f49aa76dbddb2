package authz

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// group is one that the file defines.
type group struct {
	line     int
	members  []string // users, "@group", "&alias"
	resolved set      // all users; nil until they are known
	open     bool     // being resolved
}

func (p *parser) group(line int, name, value string) error {
	if strings.ContainsRune(reserved, rune(name[0])) {
		return errorf(line, "%s name '%s' may not begin with '%c'", p.groupWord("Group", "Global group"), name, name[0])
	}
	if p.groups["@"+name] != nil {
		return errorf(line, "Can't override definition of %s '@%s'", p.groupWord("group", "global group"), name)
	}
	g := &group{line: line}
	for member := range strings.SplitSeq(value, ",") {
		if member = strings.Trim(member, spaces); member != "" {
			g.members = append(g.members, member)
		}
	}
	p.groups["@"+name] = g
	return nil
}

func (p *parser) groupWord(own, global string) string {
	if p.onlyGroups {
		return global
	}
	return own
}

// resolve fills in the users of a group. Groups nest at most as deep as there are groups in the bounded file.
func (p *parser) resolve(name string, g *group) error {
	if g.open {
		return errorf(g.line, "Recursive definition of group '%s'", name)
	}
	if g.resolved != nil {
		return nil
	}
	g.open = true
	users := set{}
	for _, m := range g.members {
		if err := p.addMember(g, m, users); err != nil {
			return err
		}
	}
	if p.members += len(users); p.members > MaxMembers {
		return errorf(g.line, "The groups have more than %d members together", MaxMembers)
	}
	g.resolved, g.open = users, false
	return nil
}

func (p *parser) addMember(g *group, member string, users set) error {
	switch member[0] {
	case '&':
		user, ok := p.aliases[member]
		if !ok {
			return errorf(g.line, "Alias '%s' was never defined", member)
		}
		users[user] = struct{}{}
	case '@':
		inner := p.groups[member]
		if inner == nil {
			return errorf(g.line, "Undefined group '%s'", member)
		}
		if err := p.resolve(member, inner); err != nil {
			return err
		}
		maps.Copy(users, inner.resolved)
	default:
		users[member] = struct{}{}
	}
	return nil
}

// finish resolves groups and aliases.
func (p *parser) finish() (*Rules, error) {
	for _, name := range slices.Sorted(maps.Keys(p.groups)) {
		if err := p.resolve(name, p.groups[name]); err != nil {
			return nil, err
		}
	}
	for _, a := range p.acls {
		if err := p.resolveEntries(a); err != nil {
			return nil, err
		}
		if a.repo == "" && len(a.path) == 0 {
			// The root always says something to everybody: nothing is allowed unless it is.
			a.anon.set, a.authn.set = true, true
		}
	}
	return &Rules{acls: p.acls, warnings: p.warnings}, nil
}

func (p *parser) resolveEntries(a *acl) error {
	kept := a.aces[:0]
	for _, e := range a.aces {
		switch {
		case strings.HasPrefix(e.name, "&"):
			user, ok := p.aliases[e.name]
			if !ok {
				return errorf(e.line, "Alias '%s' was never defined", e.name)
			}
			e.name = user
		case strings.HasPrefix(e.name, "@"):
			g := p.groups[e.name]
			if g == nil {
				return errorf(e.line, "Access entry refers to undefined group '%s'", e.name)
			}
			if len(g.resolved) == 0 {
				p.warnings = append(p.warnings, fmt.Sprintf("line %d: Ignoring access entry for empty group '%s'", e.line, e.name))
				continue
			}
			e.members = g.resolved
		}
		kept = append(kept, e)
	}
	a.aces = kept
	return nil
}
