package gitproto

import (
	"strconv"
	"strings"

	"holdfast/storage/object"
)

// deepens reports whether the client asks for a boundary of its own.
func (r *fetchRequest) deepens() bool {
	return r.deepen.Depth > 0 || r.deepen.Since > 0 || len(r.deepenNot) > 0
}

// partialLine parses a line about shallow and partial clones, in all versions. It reports false if line is none.
func (u *uploadPack) partialLine(req *fetchRequest, line string) (known bool, err error) {
	word, value, _ := strings.Cut(line, " ")
	parse := map[string]func(*fetchRequest, string) error{
		"shallow": u.shallow, "deepen": u.depth, "deepen-since": u.since, "deepen-not": u.not, "filter": u.filter,
	}[word]
	if parse == nil || u.partial == nil {
		return false, refuseUnoffered(line)
	}
	return true, parse(req, value)
}

// shallow takes a commit that the client has without its parents. Those unknown here bound nothing.
func (u *uploadPack) shallow(req *fetchRequest, hex string) error {
	id, err := u.id(hex)
	if err != nil {
		return err
	}
	if len(req.Shallow) == u.o.MaxShallows {
		return overLimit("more than %d shallow commits in one fetch", u.o.MaxShallows)
	}
	ok, err := u.f.Has(id)
	if ok {
		req.Shallow = append(req.Shallow, id)
	}
	return err
}

func (u *uploadPack) depth(req *fetchRequest, value string) error {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n <= 0 {
		return violation("invalid deepen: %.100q", value)
	}
	req.deepen.Depth = int(min(n, Infinite))
	return nil
}

func (u *uploadPack) since(req *fetchRequest, value string) error {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n <= 0 {
		return violation("invalid deepen-since: %.100q", value)
	}
	req.deepen.Since = n
	return nil
}

func (u *uploadPack) not(req *fetchRequest, name string) error {
	if len(req.deepenNot) == u.o.MaxDeepenNots {
		return overLimit("more than %d deepen-not lines in one fetch", u.o.MaxDeepenNots)
	}
	if name == "" || len(name) > u.o.MaxRefName {
		return violation("invalid deepen-not: %.100q", name)
	}
	req.deepenNot = append(req.deepenNot, name)
	return nil
}

func (u *uploadPack) filter(req *fetchRequest, spec string) error {
	switch {
	case !req.mayFilter:
		return violation("filtering capability not negotiated")
	case req.haveFilter:
		return violation("multiple filter-specs cannot be combined")
	}
	filter, err := object.ParseFilter(spec)
	if err != nil {
		return &caused{ErrProtocol, err.Error()}
	}
	req.Filter, req.haveFilter = filter, true
	return nil
}

// findBoundary computes where the client's history is to end.
func (n *negotiation) findBoundary() error {
	r := n.req.deepen
	if r.Depth > 0 && (r.Since > 0 || len(n.req.deepenNot) > 0) {
		return violation("deepen and deepen-since (or deepen-not) cannot be used together")
	}
	var err error
	if r.Not, err = n.resolveNot(n.req.deepenNot); err != nil {
		return err
	}
	r.Wants, r.Shallow = n.req.Wants, n.req.Shallow
	b, err := n.partial.Deepen(n.ctx, r)
	n.req.Boundary, n.req.Unshallow = b.Shallow, b.Unshallow
	return err
}

// writeBoundary tells the client what findBoundary has found. These lines have no line feed, as the protocol documents
// have it.
func (n *negotiation) writeBoundary() {
	n.told = true
	for _, id := range n.req.Boundary {
		n.w.Linef("shallow %s", id)
	}
	for _, id := range n.req.Unshallow {
		n.w.Linef("unshallow %s", id)
	}
}

// tellBoundary writes the section of versions 0 and 1, once. If Stateless, that is not before the request has been read.
func (n *negotiation) tellBoundary() {
	if n.told || !n.req.deepens() {
		return
	}
	n.writeBoundary()
	n.w.Special(Flush)
}

// shallowInfo writes the section of version 2.
func (n *negotiation) shallowInfo() error {
	if n.req.deepens() {
		if err := n.wait(n.findBoundary); err != nil {
			return err
		}
	}
	n.w.Linef("shallow-info\n")
	n.writeBoundary()
	n.w.Special(Delim)
	return nil
}

// refRules are where git looks for a ref by a short name.
var refRules = [...]string{"", "refs/", "refs/tags/", "refs/heads/", "refs/remotes/"}

// resolveNot returns the values of refs, each of which must be the only one of that name, full or short.
func (u *uploadPack) resolveNot(names []string) ([]object.ID, error) {
	if len(names) == 0 {
		return nil, nil
	}
	var candidates []string
	byName := map[string][]int{}
	for i, name := range names {
		for _, prefix := range refRules {
			candidates = append(candidates, prefix+name)
			byName[prefix+name] = append(byName[prefix+name], i)
		}
	}
	ids, found := make([]object.ID, len(names)), make([]int, len(names))
	for ref, err := range u.f.Refs(minimalPrefixes(candidates)) {
		if err != nil {
			return nil, err
		}
		if ref.ID.IsZero() {
			continue
		}
		for _, i := range byName[ref.Name] {
			ids[i] = ref.ID
			found[i]++
		}
	}
	for i, n := range found {
		if n != 1 {
			return nil, violation("ambiguous deepen-not: %.100q", names[i])
		}
	}
	return ids, nil
}
