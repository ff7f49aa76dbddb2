package authz

import "strings"

// Allows reports whether the user may do something with a path, which is absolute and canonical.
func (v *View) Allows(path string, op Op) bool {
	need := op.needs()
	var now, next level
	now.reset()
	now.add(v.root)
	rest := strings.TrimPrefix(path, "/")
	for rest != "" && len(now.nodes) > 0 {
		if !now.most.has(need) {
			return false
		}
		if now.least.has(need) {
			return true
		}
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		next.reset()
		for _, n := range now.nodes {
			n.matches(name, next.add)
			if n.repeats {
				next.add(n)
			}
		}
		next.inherit(&now)
		now, next = next, now
	}
	if op.recursive() {
		return now.least.has(need)
	}
	return now.access.has(need)
}
