package authz

import (
	"maps"
	"math"
	"slices"
	"sync"
)

// View is what the rules say to one user of one repository. It does not change, and is safe for concurrent use.
type View struct {
	root *node
	most access // granted by any rule
}

// viewCache keeps the views that were asked for, by repository and user.
type viewCache struct {
	mu    sync.Mutex
	views map[[2]string]*View // at most maxViews
}

const maxViews = 256

// View returns what the rules say to a user, "" for an anonymous one, of a repository.
func (r *Rules) View(repo, user string) *View {
	key := [2]string{repo, user}
	r.views.mu.Lock()
	v := r.views.views[key]
	r.views.mu.Unlock()
	if v != nil {
		return v
	}
	v = r.makeView(repo, user)
	r.views.mu.Lock()
	defer r.views.mu.Unlock()
	if r.views.views == nil || len(r.views.views) >= maxViews {
		r.views.views = map[[2]string]*View{}
	}
	r.views.views[key] = v
	return v
}

// Allows reports whether a user, "" for an anonymous one, may do something with a path of a repository. The path is absolute and
// canonical.
func (r *Rules) Allows(repo, user, path string, op Op) bool {
	return r.View(repo, user).Allows(path, op)
}

// noRule is a sequence below that of all rules. That of the default, nothing to nobody, is 0.
const noRule = math.MinInt

// node is a segment of the paths of rules.
type node struct {
	sequence    int // of the rule that ends here, or noRule
	access      access
	least, most access // granted here and below

	names    map[string]*node
	any      *node
	anyPath  *node
	prefixes affixes
	suffixes affixes
	patterns map[string]*node

	repeats bool // an anyPath itself
}

func newNode() *node { return &node{sequence: noRule} }

func (r *Rules) makeView(repo, user string) *View {
	v := &View{root: newNode()}
	own := map[string]bool{} // paths of rules that the repository's own hide
	for _, a := range r.acls {
		if a.repo == "" || a.repo != repo {
			continue
		}
		if got, ok := a.covers(user); ok {
			own[a.key] = true
			v.add(a, got)
		}
	}
	for _, a := range r.acls {
		if a.repo != "" {
			continue
		}
		got, ok := a.covers(user)
		v.most |= got
		if ok && !own[a.key] {
			v.add(a, got)
		}
	}
	if v.root.sequence == noRule {
		v.root.sequence = 0
	}
	v.root.trim(noRule)
	v.root.sum()
	return v
}

// add puts a rule into the tree.
func (v *View) add(a *acl, got access) {
	n := v.root
	for _, s := range a.path {
		n = n.child(s)
	}
	n.sequence, n.access = a.sequence, got
	v.most |= got
}

func (n *node) child(s segment) *node {
	switch s.kind {
	case anySegment:
		if n.any == nil {
			n.any = newNode()
		}
		return n.any
	case anyPath:
		if n.anyPath == nil {
			n.anyPath = newNode()
			n.anyPath.repeats = true
		}
		return n.anyPath
	case prefix:
		return n.prefixes.child(s.text)
	case suffix:
		return n.suffixes.child(s.text)
	case pattern:
		return mapChild(&n.patterns, s.text)
	}
	return mapChild(&n.names, s.text)
}

func mapChild(m *map[string]*node, text string) *node {
	if *m == nil {
		*m = map[string]*node{}
	}
	c := (*m)[text]
	if c == nil {
		c = newNode()
		(*m)[text] = c
	}
	return c
}

// children calls fn for each child and drops those for which it returns false.
func (n *node) children(fn func(*node) bool) {
	if n.any != nil && !fn(n.any) {
		n.any = nil
	}
	if n.anyPath != nil && !fn(n.anyPath) {
		n.anyPath = nil
	}
	for _, m := range []map[string]*node{n.names, n.prefixes.nodes, n.suffixes.nodes, n.patterns} {
		maps.DeleteFunc(m, func(_ string, c *node) bool { return !fn(c) })
	}
}

// trim drops the rules of the tree that an earlier-matching "**" of a later rule hides; latest is the sequence of that rule. It
// reports whether a rule is left.
func (n *node) trim(latest int) bool {
	if n.anyPath != nil {
		latest = max(latest, n.anyPath.sequence)
	}
	if n.sequence < latest {
		n.sequence = noRule
	}
	left := n.sequence != noRule
	n.children(func(c *node) bool {
		keep := c.trim(latest)
		left = left || keep
		return keep
	})
	return left
}

// sum sets what is granted at least and at most in the tree.
func (n *node) sum() {
	n.least, n.most = accessWrite, accessNone
	if n.sequence != noRule {
		n.least, n.most = n.access, n.access
	}
	n.children(func(c *node) bool {
		c.sum()
		n.least &= c.least
		n.most |= c.most
		return true
	})
}

// matches calls fn for each child that a segment of a path leads to, but for anyPath, which needs none.
func (n *node) matches(name string, fn func(*node)) {
	if c := n.names[name]; c != nil {
		fn(c)
	}
	if n.any != nil {
		fn(n.any)
	}
	for _, l := range n.prefixes.lengths {
		if l > len(name) {
			break
		}
		if c := n.prefixes.nodes[name[:l]]; c != nil {
			fn(c)
		}
	}
	for _, l := range n.suffixes.lengths {
		if l > len(name) {
			break
		}
		if c := n.suffixes.nodes[name[len(name)-l:]]; c != nil {
			fn(c)
		}
	}
	for p, c := range n.patterns {
		if matchPattern(p, name) {
			fn(c)
		}
	}
}

// AllowsSomewhere reports whether some rule grants what the operation needs.
func (v *View) AllowsSomewhere(op Op) bool { return v.most.has(op.needs()) }

// level is what is known of a path when the walk has come to it.
type level struct {
	nodes       []*node // that match the path
	sequence    int
	access      access
	least, most access // at the path and below
}

func (l *level) reset() {
	*l = level{nodes: l.nodes[:0], sequence: noRule, least: accessWrite}
}

// add takes up a node that matches, and the "**" below it, which matches as well.
func (l *level) add(n *node) {
	// Only a "**" can be reached in two ways: through itself, and through its parent.
	if n.repeats && slices.Contains(l.nodes, n) {
		return
	}
	l.nodes = append(l.nodes, n)
	if n.sequence > l.sequence {
		l.sequence, l.access = n.sequence, n.access
	}
	l.least &= n.least
	l.most |= n.most
	if n.anyPath != nil {
		l.add(n.anyPath)
	}
}

// inherit lets what the parent may do stand where no rule matches the path itself.
func (l *level) inherit(parent *level) {
	if l.sequence != noRule {
		return
	}
	l.sequence, l.access = parent.sequence, parent.access
	l.least &= parent.access
	l.most |= parent.access
}
