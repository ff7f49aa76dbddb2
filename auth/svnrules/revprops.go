package svnrules

import (
	"fmt"
	"slices"
	"strings"
)

// RevPropChange is a change of a revision property.
type RevPropChange struct {
	Name   string
	Value  *string // nil to remove it
	Author string  // of the revision; empty if it has none

	User    string            // who wants it; empty for somebody who is not logged in
	Admin   bool              // who may administer the repository
	InGroup func(string) bool // whether User is in a group, which is named without the @
}

// always are the properties that admins may change.
var always = []string{"svn:log", "svn:author"}

// CheckRevProp returns nil, or a Refusal. Nil rules are those of a repository without any.
func (r *Rules) CheckRevProp(c RevPropChange) error {
	if !r.mayChange(c) {
		return Refusal{fmt.Sprintf("You may not change the revision property %s: ask an admin of the repository.", c.Name)}
	}
	switch {
	case r == nil || c.Name != "svn:log":
		return nil
	case c.Value == nil:
		return Refusal(r.checkLog("")).orNil()
	}
	return Refusal(r.checkLog(*c.Value)).orNil()
}

func (r *Rules) mayChange(c RevPropChange) bool {
	if c.User == "" {
		return false
	}
	if c.Admin && slices.Contains(always, c.Name) {
		return true
	}
	return slices.ContainsFunc(r.whoMay(c.Name), func(who string) bool {
		group, isGroup := strings.CutPrefix(who, "@")
		switch {
		case isGroup:
			return c.InGroup != nil && c.InGroup(group)
		case who == "$author":
			return c.User == c.Author
		}
		return who == "*" || who == c.User
	})
}

// whoMay returns who may change a property: what is said of its name, or of the longest prefix of it.
func (r *Rules) whoMay(name string) []string {
	if r == nil {
		return nil
	}
	if who, ok := r.RevProps[name]; ok {
		return who
	}
	for n := len(name); n >= 0; n-- {
		if who, ok := r.RevProps[name[:n]+"*"]; ok {
			return who
		}
	}
	return nil
}
