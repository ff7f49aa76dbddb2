package gitproto

import (
	"hash/maphash"
	"slices"

	"holdfast/storage/object"
)

// tips remembers which objects a conversation has advertised, in eight bytes each: what was offered may be wanted even
// if the ref has moved since. The sums are seeded, so nobody can make an object that is mistaken for another.
type tips struct {
	seed maphash.Seed
	sums []uint64
	kept int // sums that compact left
}

func newTips() tips { return tips{seed: maphash.MakeSeed()} }

func (t *tips) add(id object.ID) {
	if !id.IsZero() {
		t.sums = append(t.sums, maphash.Comparable(t.seed, id))
	}
}

// trim is called between lists, so that a client that asks for many does not make the memory of them grow.
func (t *tips) trim() {
	if len(t.sums) > 2*t.kept {
		t.compact()
	}
}

func (t *tips) compact() {
	slices.Sort(t.sums)
	t.sums = slices.Compact(t.sums)
	t.kept = len(t.sums)
}

// missing returns those of ids that were not advertised.
func (t *tips) missing(ids []object.ID) []object.ID {
	t.compact()
	var missing []object.ID
	for _, id := range ids {
		if _, ok := slices.BinarySearch(t.sums, maphash.Comparable(t.seed, id)); !ok {
			missing = append(missing, id)
		}
	}
	return missing
}

// checkWants refuses wants that were never offered to this client.
func (u *uploadPack) checkWants(wants []object.ID) error {
	refused, err := u.refused(wants)
	if err == nil && len(refused) > 0 {
		err = &caused{ErrNotOurRef, "not our ref " + refused[0].String()}
	}
	return err
}

// refused returns those of ids that this client may not have.
func (u *uploadPack) refused(ids []object.ID) ([]object.ID, error) {
	missing := u.tips.missing(ids)
	if len(missing) > 0 {
		var err error
		if missing, err = u.notTips(missing); err != nil {
			return nil, err
		}
	}
	if checker, ok := u.f.(WantChecker); ok && len(missing) > 0 && u.checksWants() {
		return checker.CheckWants(u.ctx, missing)
	}
	return missing, nil
}

// checksWants reports whether more may be wanted than what refs stand for. Version 2 has no capability for it.
func (u *uploadPack) checksWants() bool {
	return u.o.Version == 2 || u.o.offers(allowTips) || u.o.offers(allowReachable)
}

// notTips returns those of ids that no ref stands for now.
func (u *uploadPack) notTips(ids []object.ID) ([]object.ID, error) {
	left := make(map[object.ID]struct{}, len(ids))
	for _, id := range ids {
		left[id] = struct{}{}
	}
	for ref, err := range u.f.Refs(nil) {
		if err != nil {
			return nil, err
		}
		delete(left, ref.ID)
		delete(left, ref.Peeled)
		if len(left) == 0 {
			return nil, nil
		}
	}
	return slices.DeleteFunc(slices.Clone(ids), func(id object.ID) bool {
		_, ok := left[id]
		return !ok
	}), nil
}
