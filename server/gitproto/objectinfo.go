package gitproto

import (
	"slices"
	"strconv"
	"strings"

	"holdfast/storage/object"
)

// objectInfo tells the sizes of objects: of those that could be wanted. The others count as unknown.
func (u *uploadPack) objectInfo() error {
	var size bool
	var ids []object.ID
	err := u.args("object-info", func(arg string) error {
		hex, isID := strings.CutPrefix(arg, "oid ")
		switch {
		case arg == "size":
			size = true
			return nil
		case !isID:
			return violation("unexpected argument of object-info: %.100q", arg)
		case len(ids) == u.o.MaxObjectInfos:
			return overLimit("more than %d objects in one object-info request", u.o.MaxObjectInfos)
		}
		id, err := u.id(hex)
		ids = append(ids, id)
		return err
	})
	if err != nil {
		return err
	}
	refused, err := u.refusedSet(ids)
	if err != nil {
		return err
	}
	if size && len(ids) > 0 {
		u.w.Linef("size\n")
	}
	for _, id := range ids {
		text := unknownInfo
		if _, hidden := refused[id]; !hidden {
			if text, err = u.infoOf(id, size); err != nil {
				return err
			}
		}
		u.w.Linef("%s%s\n", id.Hex(u.format), text)
	}
	u.w.Special(Flush)
	return u.flush()
}

// unknownInfo is what follows the id of an unknown object in the answer of object-info.
const unknownInfo = " "

// refusedSet returns what refused does, as a set.
func (u *uploadPack) refusedSet(ids []object.ID) (map[object.ID]struct{}, error) {
	refused, err := u.refused(sortIDs(slices.Clone(ids)))
	set := make(map[object.ID]struct{}, len(refused))
	for _, id := range refused {
		set[id] = struct{}{}
	}
	return set, err
}

// infoOf returns what follows an id in the answer of object-info.
func (u *uploadPack) infoOf(id object.ID, size bool) (string, error) {
	n, ok, err := u.f.(Sizer).Size(id)
	switch {
	case err != nil:
		return "", err
	case !ok:
		return unknownInfo, nil
	case !size:
		return "", nil
	}
	return " " + strconv.FormatInt(n, 10), nil
}
