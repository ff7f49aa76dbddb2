package storage

import (
	"fmt"

	"holdfast/storage/object"
)

// checkUpdates refuses the updates that are wrong whatever the refs are now.
func (t *Txn) checkUpdates() RefErrors {
	var refused RefErrors
	seen := make(map[string]bool, len(t.updates))
	for _, u := range t.updates {
		err := checkUpdate(u)
		if err == nil && seen[u.Name] {
			err = fmt.Errorf("%w: the push names it twice", ErrRefConflict)
		}
		if err == nil && t.repo == nil {
			err = fmt.Errorf("%w: the host has no refs", ErrRefName)
		}
		if err == nil {
			for _, id := range []object.ID{u.Old, u.New} {
				if !id.IsZero() && id.Format() != t.st.format {
					err = fmt.Errorf("%w: the repository's objects have %s ids", ErrWrongType, t.st.format)
				}
			}
		}
		if err != nil {
			refused = append(refused, t.refError(u.Name, err))
		}
		seen[u.Name] = true
	}
	return refused
}

func checkUpdate(u RefUpdate) error {
	switch {
	case u.Target != "":
		if u.Name != HeadRef || !u.Old.IsZero() || !u.New.IsZero() {
			return fmt.Errorf("%w: HEAD alone is symbolic, and has no ids", ErrRefName)
		}
		return validHead(u.Target)
	case u.Name == HeadRef:
		return fmt.Errorf("%w: HEAD can only be pointed at a branch", ErrRefName)
	}
	if err := ValidRefName(u.Name); err != nil {
		return err
	}
	if u.Old.IsZero() && u.New.IsZero() {
		return fmt.Errorf("%w: nothing to delete", ErrNotFound)
	}
	return nil
}

// connect checks that nothing which the packs' objects link to is missing. What the repository has is complete, since
// each pack was held to this; so it is enough to look at the links that lead out of the packs.
func (t *Txn) connect() error {
	for _, p := range t.packs {
		if p.connected {
			continue
		}
		p.links = sortLinks(p.links)
		if err := t.connectPack(p); err != nil {
			return err
		}
		p.connected, p.links = true, nil
	}
	return nil
}

func (t *Txn) connectPack(p *txnPack) error {
	ids := make([]object.ID, len(p.links))
	for i, l := range p.links {
		ids[i] = l.ID
	}
	total := int64(len(ids))
	return t.st.lookupMany(ids, func(i int, loc location, ok bool) error {
		typ := loc.typ
		if !ok {
			var err error
			if typ, err = t.typeOf(ids[i]); err != nil {
				return err
			}
		}
		if t.Progress != nil && (i+1)%lookupPage == 0 {
			t.Progress("checking connectivity", int64(i+1), total)
		}
		return checkLink(p.links[i], typ)
	})
}

// checkLink reports that a link leads nowhere (typ 0), or to an object of another type than it says.
func checkLink(l object.Link, typ object.Type) error {
	switch {
	case typ == 0:
		return fmt.Errorf("%w: %s %s", ErrMissing, l.Type, l.ID)
	case typ != l.Type:
		return fmt.Errorf("%w: %s is a %s, and not the %s that a link to it says", ErrWrongType, l.ID, typ, l.Type)
	}
	return nil
}

// maxTagDepth bounds a chain of tags of tags.
const maxTagDepth = 1000

// resolveUpdates checks the updates' new values and peels tags.
func (t *Txn) resolveUpdates() error {
	var refused RefErrors
	for _, u := range t.updates {
		if u.New.IsZero() || t.values[u.Name].id == u.New {
			continue
		}
		v, err := t.resolve(u)
		if err != nil {
			refused = append(refused, t.refError(u.Name, err))
			continue
		}
		t.values[u.Name] = v
	}
	return refused.orNil()
}

func (t *Txn) resolve(u RefUpdate) (refValue, error) {
	v := refValue{id: u.New}
	typ, err := t.typeOf(u.New)
	switch {
	case err != nil:
		return v, err
	case typ == 0:
		return v, fmt.Errorf("%w: %s", ErrMissing, u.New)
	case typ != object.Commit && isBranch(u.Name):
		return v, fmt.Errorf("%w: %s is a %s", ErrNotCommit, u.New, typ)
	}
	next := object.Link{ID: u.New, Type: typ}
	for depth := 0; next.Type == object.Tag; depth++ {
		if depth == maxTagDepth {
			return v, fmt.Errorf("%w: a chain of more than %d tags", ErrTooLarge, maxTagDepth)
		}
		_, data, err := t.ReadObject(next.ID)
		if err != nil {
			return v, err
		}
		if next, err = object.PeelTag(t.st.format, data); err != nil {
			return v, err
		}
		v.peeled = next.ID
	}
	return v, nil
}
