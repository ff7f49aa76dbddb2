package auth

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"holdfast/auth/svnrules"
)

// maxSVNRules bounds each list in the rules for commits to a Subversion repository.
const maxSVNRules = 100

// svnRules reads the rules for commits to a Subversion repository.
func (r *reader) svnRules(n *yaml.Node) *svnrules.Rules {
	rules := &svnrules.Rules{}
	r.mapping(n, map[string]field{
		"log":             func(n *yaml.Node) { r.logRule(n, &rules.Log) },
		"issue":           func(n *yaml.Node) { rules.Issue = r.expression(n) },
		"no_case_clashes": func(n *yaml.Node) { rules.NoCaseClashes = r.boolean(n) },
		"forbidden_paths": func(n *yaml.Node) { rules.ForbiddenPaths = r.globs(n) },
		"forbidden_types": func(n *yaml.Node) { rules.ForbiddenTypes = r.mimeTypes(n) },
		"max_file_bytes":  func(n *yaml.Node) { rules.MaxFileBytes = r.positive(n) },
		"required_props": func(n *yaml.Node) {
			r.list(n, maxSVNRules, func(item *yaml.Node) { rules.RequiredProps = append(rules.RequiredProps, r.requiredProp(item)) })
		},
		"revprops": func(n *yaml.Node) { rules.RevProps = r.revProps(n) },
	})
	return rules
}

func (r *reader) logRule(n *yaml.Node, rule *svnrules.LogRule) {
	r.mapping(n, map[string]field{
		"required":   func(n *yaml.Node) { rule.Required = r.boolean(n) },
		"min_length": func(n *yaml.Node) { rule.MinLength = int(min(r.positive(n), 10_000)) },
		"pattern":    func(n *yaml.Node) { rule.Pattern = r.expression(n) },
		"hint":       func(n *yaml.Node) { rule.Hint, _ = r.text(n) },
	})
}

func (r *reader) requiredProp(n *yaml.Node) (p svnrules.RequiredProp) {
	before := len(r.problems)
	r.mapping(n, map[string]field{
		"paths":  func(n *yaml.Node) { p.Paths = r.globs(n) },
		"name":   func(n *yaml.Node) { p.Name, _ = r.text(n) },
		"values": func(n *yaml.Node) { p.Values = r.texts(n) },
	})
	if len(r.problems) == before && (len(p.Paths) == 0 || p.Name == "") {
		r.problem(n.Line, "a required property needs paths and a name")
	}
	return p
}

func (r *reader) revProps(n *yaml.Node) map[string][]string {
	all := map[string][]string{}
	r.pairs(n, maxSVNRules, func(name, who *yaml.Node) {
		r.list(who, maxSVNRules, func(item *yaml.Node) {
			text, ok := r.text(item)
			if !ok {
				return
			}
			if err := validGrantee(text); err != nil && text != "$author" {
				r.problem(item.Line, "%v", err)
				return
			}
			all[name.Value] = append(all[name.Value], text)
		})
	})
	return all
}

// expression reads a regular expression.
func (r *reader) expression(n *yaml.Node) *regexp.Regexp {
	text, ok := r.text(n)
	if !ok {
		return nil
	}
	if text == "" || len(text) > svnrules.MaxPatternBytes {
		r.problem(n.Line, "a regular expression has 1 to %d bytes", svnrules.MaxPatternBytes)
		return nil
	}
	re, err := regexp.Compile(text)
	if err != nil {
		r.problem(n.Line, "not a regular expression: %v", err)
		return nil
	}
	return re
}

func (r *reader) globs(n *yaml.Node) (all []svnrules.Glob) {
	r.list(n, maxSVNRules, func(item *yaml.Node) {
		text, ok := r.text(item)
		if !ok {
			return
		}
		g, err := svnrules.ParseGlob(text)
		if err != nil {
			r.problem(item.Line, "%v", err)
			return
		}
		all = append(all, g)
	})
	return all
}

func (r *reader) mimeTypes(n *yaml.Node) (all []string) {
	r.list(n, maxSVNRules, func(item *yaml.Node) {
		text, ok := r.text(item)
		if ok && strings.Count(text, "/") != 1 {
			r.problem(item.Line, "%q is no media type, like image/png or \"video/*\"", text)
			return
		}
		all = append(all, text)
	})
	return all
}

func (r *reader) texts(n *yaml.Node) (all []string) {
	r.list(n, maxSVNRules, func(item *yaml.Node) {
		if text, ok := r.text(item); ok {
			all = append(all, text)
		}
	})
	return all
}

func (r *reader) positive(n *yaml.Node) int64 {
	text, ok := r.text(n)
	if !ok {
		return 0
	}
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil || value < 1 {
		r.problem(n.Line, "%q should be a positive number", text)
		return 0
	}
	return value
}

// InGroup reports whether a user is a member of a group, which is named without the @.
func (p *Policy) InGroup(user, group string) bool {
	return slices.Contains(p.memberOf[user], "@"+group)
}
