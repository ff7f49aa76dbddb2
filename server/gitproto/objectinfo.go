package gitproto

import (
	"strconv"
	"strings"

	"holdfast/storage/object"
)

// objectInfo tells the sizes of objects. Nothing that a client could not learn by a have is revealed.
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
	if size && len(ids) > 0 {
		u.w.Linef("size\n")
	}
	for _, id := range ids {
		text, err := u.infoOf(id, size)
		if err != nil {
			return err
		}
		u.w.Linef("%s%s\n", id.Hex(u.format), text)
	}
	u.w.Special(Flush)
	return u.flush()
}

// infoOf returns what follows an id in the answer of object-info: a space alone if the object is not known.
func (u *uploadPack) infoOf(id object.ID, size bool) (string, error) {
	n, ok, err := u.f.(Sizer).Size(id)
	switch {
	case err != nil:
		return "", err
	case !ok:
		return " ", nil
	case !size:
		return "", nil
	}
	return " " + strconv.FormatInt(n, 10), nil
}
