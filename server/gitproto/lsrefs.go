package gitproto

import (
	"slices"
	"strings"

	"holdfast/storage/object"
)

// lsRefs lists refs, in the order in which they come.
func (u *uploadPack) lsRefs() error {
	req := &lsRefsRequest{}
	if err := u.args("ls-refs", func(arg string) error { return u.lsRefsArg(req, arg) }); err != nil {
		return err
	}
	switch {
	case req.all:
		return u.listRefs(req, nil)
	case req.limited && len(req.prefixes) == 0:
		u.w.Special(Flush)
		return u.flush()
	}
	return u.listRefs(req, minimalPrefixes(req.prefixes))
}

func (u *uploadPack) listRefs(req *lsRefsRequest, prefixes []string) error {
	u.tips.trim()
	var line []byte
	for ref, err := range u.f.Refs(prefixes) {
		if err != nil {
			return err
		}
		if !req.shows(ref) {
			continue
		}
		if !u.o.Stateless {
			u.tips.add(ref.ID)
			u.tips.add(ref.Peeled)
		}
		line = req.appendRef(line[:0], ref, u.format)
		u.w.Packet(line)
		if err := u.stopped(); err != nil {
			return err
		}
	}
	u.w.Special(Flush)
	return u.flush()
}

// lsRefsRequest holds the arguments of ls-refs.
type lsRefsRequest struct {
	peel, symrefs, unborn bool
	prefixes              []string
	limited               bool // a prefix was given, even if none is kept
	all                   bool // a prefix fits all, or there are too many: they are but a hint
}

func (u *uploadPack) lsRefsArg(req *lsRefsRequest, arg string) error {
	prefix, isPrefix := strings.CutPrefix(arg, "ref-prefix ")
	switch {
	case arg == "peel":
		req.peel = true
	case arg == "symrefs":
		req.symrefs = true
	case arg == "unborn" && u.o.offers("unborn"):
		req.unborn = true
	case !isPrefix:
		return violation("unexpected argument of ls-refs: %.100q", arg)
	case prefix == "" || len(req.prefixes) == u.o.MaxPrefixes:
		req.all = true
	default:
		req.limited = true
		if len(prefix) <= u.o.MaxRefName { // no ref begins with a longer one
			req.prefixes = append(req.prefixes, prefix)
		}
	}
	return nil
}

// minimalPrefixes sorts prefixes and leaves out those that begin with another, so that no ref matches two.
func minimalPrefixes(prefixes []string) []string {
	slices.Sort(prefixes)
	kept := prefixes[:0]
	for _, p := range prefixes {
		if len(kept) == 0 || !strings.HasPrefix(p, kept[len(kept)-1]) {
			kept = append(kept, p)
		}
	}
	return kept
}

// shows reports whether ref belongs in the answer. An unborn HEAD does if the client understands it.
func (r *lsRefsRequest) shows(ref Ref) bool {
	return !ref.ID.IsZero() || ref.Target != "" && r.unborn && r.symrefs
}

func (r *lsRefsRequest) appendRef(line []byte, ref Ref, f object.Format) []byte {
	if ref.ID.IsZero() {
		line = append(line, "unborn"...)
	} else {
		line = appendHex(line, ref.ID, f)
	}
	line = append(line, ' ')
	line = append(line, ref.Name...)
	if r.symrefs && ref.Target != "" {
		line = append(line, " symref-target:"...)
		line = append(line, ref.Target...)
	}
	if r.peel && !ref.Peeled.IsZero() {
		line = append(line, " peeled:"...)
		line = appendHex(line, ref.Peeled, f)
	}
	return append(line, '\n')
}
