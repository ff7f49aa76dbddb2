package storage

import (
	"cmp"
	"slices"
)

// mergePlan says which packs to merge. Without packs there is nothing to do.
type mergePlan struct {
	packs []*packRecord
	full  bool
	cruft []*packRecord // cruft packs that are merged only if refs lead to something in them
}

// mergeMax bounds the packs in one merge. A repository that was restored push by push takes several.
const mergeMax = 1000

// planMerge chooses among live packs. Pushes are merged as git's geometric repacking does it: the newest packs into one,
// if there are many and they are not each half as heavy as the one before. An object is then copied about as often as the
// repository doubles. A repository that is large has a base pack: it is made again, in a full merge, once the packs after
// it have half of its weight.
//
// Packs that may have to be shipped again, those with an entry past settled, stay as they are, and all packs after them.
func planMerge(live []*packRecord, settled Seq, o Options) mergePlan {
	var packs, cruft []*packRecord
	for _, rec := range live {
		if rec.Cruft {
			cruft = append(cruft, rec)
		} else {
			packs = append(packs, rec)
		}
	}
	slices.SortFunc(packs, func(a, b *packRecord) int { return cmp.Compare(a.first(), b.first()) })
	if i := slices.IndexFunc(packs, func(rec *packRecord) bool { return rec.Seq > settled }); i >= 0 {
		packs = packs[:i]
	}
	if len(packs) < 2 {
		return mergePlan{}
	}
	tail := packs
	if int(packs[0].Info.Objects) >= o.GraphObjects {
		tail = packs[1:]
	}
	if len(tail) <= mergeMax && needsFull(packs, tail, o) {
		return planFull(packs, tail, cruft)
	}
	i := newest(tail)
	if len(tail)-i < o.MergePacks {
		return mergePlan{}
	}
	return mergePlan{packs: tail[i:min(len(tail), i+mergeMax)]}
}

// needsFull reports whether it is time for a new base pack.
func needsFull(packs, tail []*packRecord, o Options) bool {
	if len(tail) < len(packs) {
		return 2*weigh(tail...) >= weigh(packs[0])
	}
	objects := int64(0)
	for _, rec := range packs {
		objects += int64(rec.Info.Objects)
	}
	return objects >= int64(o.GraphObjects)
}

// planFull merges everything, and of the cruft what is not heavier than the new packs.
func planFull(packs, tail, cruft []*packRecord) mergePlan {
	plan := mergePlan{full: true, packs: slices.Clone(packs)}
	for _, rec := range cruft {
		if weigh(rec) <= weigh(tail...) {
			plan.packs = append(plan.packs, rec)
		} else {
			plan.cruft = append(plan.cruft, rec)
		}
	}
	return plan
}

// newest returns the index from which on packs should be one: the first that has not twice the weight of all after it.
func newest(packs []*packRecord) int {
	first, after := len(packs), int64(0)
	for i, rec := range slices.Backward(packs) {
		if w := weigh(rec); i < len(packs)-1 && w < 2*after {
			first = i
		}
		after += weigh(rec)
	}
	return first
}

// weigh says what it costs to copy packs: an object counts as much as a kilobyte.
func weigh(packs ...*packRecord) (w int64) {
	for _, rec := range packs {
		w += int64(rec.Info.Objects) + rec.Stored>>10
	}
	return w
}
