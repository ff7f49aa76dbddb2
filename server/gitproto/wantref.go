package gitproto

import (
	"maps"
	"slices"
)

// wantRef takes a ref that the client wants by name: its value then is that of the moment of the fetch.
func (u *uploadPack) wantRef(req *fetchRequest, name string) error {
	switch {
	case !u.o.offers("ref-in-want"):
		return violation("ref-in-want was not offered")
	case len(req.Wants)+len(req.wantRefs) >= u.o.MaxWants:
		return overLimit("more than %d wants in one fetch", u.o.MaxWants)
	case name == "" || len(name) > u.o.MaxRefName:
		return unknownRef(name)
	}
	if _, twice := req.refIndex[name]; twice {
		return violation("duplicate want-ref %.100q", name)
	}
	if req.refIndex == nil {
		req.refIndex = map[string]int{}
	}
	req.refIndex[name] = len(req.wantRefs)
	req.wantRefs = append(req.wantRefs, Ref{Name: name})
	return nil
}

// unknownRef is the name of a ref that is not there. The client is told in git's words, and no more.
type unknownRef string

func (name unknownRef) Error() string { return "unknown ref " + string(name[:min(len(name), 200)]) }
func (unknownRef) Unwrap() error      { return ErrNotOurRef }

// resolveWantRefs turns the names into wants.
func (u *uploadPack) resolveWantRefs(req *fetchRequest) error {
	if len(req.wantRefs) == 0 {
		return nil
	}
	names := slices.Collect(maps.Keys(req.refIndex))
	for ref, err := range u.f.Refs(minimalPrefixes(names)) {
		if err != nil {
			return err
		}
		if i, ok := req.refIndex[ref.Name]; ok {
			req.wantRefs[i].ID = ref.ID
		}
	}
	for i, r := range req.wantRefs {
		if r.ID.IsZero() {
			// git fetch-pack names the objects it was told to fetch in the same way.
			id, err := u.id(r.Name)
			if err != nil || id.IsZero() {
				return unknownRef(r.Name)
			}
			req.wantRefs[i].ID = id
		} else {
			u.tips.add(r.ID)
		}
		req.Wants = append(req.Wants, req.wantRefs[i].ID)
	}
	return nil
}

// tellWantedRefs writes the section of what the names stood for.
func (u *uploadPack) tellWantedRefs(req *fetchRequest) {
	if len(req.wantRefs) == 0 {
		return
	}
	u.w.Linef("wanted-refs\n")
	for _, r := range req.wantRefs {
		u.w.Linef("%s %s\n", r.ID, r.Name)
	}
	u.w.Special(Delim)
}
