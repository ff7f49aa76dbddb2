package gitproto

import (
	"slices"

	"holdfast/storage/object"
)

// resolveSparse finds what the names of a filter's blobs with patterns stand for. The ID stays zero where that is nothing, or
// nothing that the client may have: patterns would tell, by what is sent, what they say.
func (u *uploadPack) resolveSparse(f *object.Filter) error {
	for i := range f.Sparse {
		rev, _, _ := f.Sparse[i].Cut()
		id, err := u.sparseID(rev)
		if err != nil {
			return err
		}
		f.Sparse[i].ID = id
	}
	return nil
}

// sparseID returns what an id or a ref's name stands for.
func (u *uploadPack) sparseID(rev string) (found object.ID, err error) {
	if id, err := u.id(rev); err == nil {
		refused, err := u.refused([]object.ID{id})
		if err != nil || len(refused) > 0 {
			return found, err
		}
		return id, nil
	}
	if rev == "@" {
		rev = "HEAD"
	}
	if rev == "" || len(rev) > u.o.MaxRefName {
		return found, nil
	}
	var candidates []string
	for _, prefix := range refRules {
		candidates = append(candidates, prefix+rev)
	}
	byName := map[string]object.ID{}
	for ref, err := range u.f.Refs(minimalPrefixes(slices.Clone(candidates))) {
		if err != nil {
			return found, err
		}
		if slices.Contains(candidates, ref.Name) {
			byName[ref.Name] = ref.ID
		}
	}
	for _, name := range candidates { // the first one counts, as git has it
		if id := byName[name]; !id.IsZero() {
			return id, nil
		}
	}
	return found, nil
}
