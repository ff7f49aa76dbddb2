package storage

import (
	"os"

	"holdfast/storage/object"
	"holdfast/storage/pack"
)

// checkPacks checks all packs of a repository, and that index.db knows no others.
func (c *checker) checkPacks(st *repoState) error {
	v := st.views.hold() // keeps packs that are merged meanwhile
	defer st.views.release(v)
	repo, err := st.s.repoRecord(st.id)
	if err != nil {
		return err
	}
	recs, gone, err := st.packs()
	if err != nil {
		return err
	}
	counts := make(map[uint32]int64, len(recs))
	for _, rec := range gone {
		counts[rec.Number] = anyCount
		if rec.Into >= repo.Packs {
			c.problem(st.id, "host.db: pack %s was merged into pack %d, which there is not", rec.Info.ID, rec.Into)
		}
	}
	for i, rec := range recs {
		c.progress("checking packs of "+string(st.id), int64(i), int64(len(recs)))
		n, err := c.checkPack(st, rec)
		if err != nil {
			return err
		}
		counts[rec.Number] = n
		c.report.Packs++
		c.report.Objects += n
	}
	return c.checkIndexCounts(st, counts, repo.Packs)
}

// anyCount stands for a pack that was merged into another: its records leave index.db at any time.
const anyCount = -1

// checkPack reads a pack from end to end and returns the number of its objects.
func (c *checker) checkPack(st *repoState, rec *packRecord) (objects int64, err error) {
	c.checkReceived(st, rec)
	f, err := os.Open(st.packPath(rec.Info.ID))
	if err != nil {
		if rec.Merged { // else checkReceived has said so
			c.problem(st.id, "%v", err)
		}
		return 0, nil
	}
	defer f.Close()
	got, err := pack.Scan(c.ctx, f, st.scanOptions(rec.Stored))
	if err != nil {
		if c.ctx.Err() != nil {
			return 0, c.ctx.Err()
		}
		c.problem(st.id, "pack %s: %v", rec.Info.ID, err)
		return 0, nil
	}
	if rec.Merged && mergedID(got.SHA256) != rec.Info.ID {
		c.problem(st.id, "merged pack %s does not hash to its id", rec.Info.ID)
	}
	if got.StoredSize != rec.Stored {
		c.problem(st.id, "pack %s has %d bytes, host.db says %d", rec.Info.ID, got.StoredSize, rec.Stored)
	}
	if objects, err = c.checkRecords(st, rec, got.Records); err != nil {
		return 0, err
	}
	return objects, c.checkLinks(st, rec, got.External)
}

// checkRecords compares a pack's records with the repository's index.
func (c *checker) checkRecords(st *repoState, rec *packRecord, recs []pack.Record) (objects int64, err error) {
	b := boundsOf(rec.Info, rec.Stored, st.format)
	all := records{bounds: b, list: recs}
	ends := all.offsets()
	var last object.ID
	for i, want := range recs {
		if i%lookupPage == 0 && c.ctx.Err() != nil {
			return 0, c.ctx.Err()
		}
		if want.ID == last {
			continue
		}
		last = want.ID
		if want.Offset >= b.added {
			if off, ok := st.locate(want.ID, rec.Number); !ok || off != want.Offset {
				c.problem(st.id, "pack %s: the index does not know the added base %s", rec.Info.ID, want.ID)
			}
			continue
		}
		objects++
		loc, ok, err := st.lookupIn(want.ID, rec.Number)
		if err != nil {
			return 0, err
		}
		if !ok || loc.offset != want.Offset || loc.size != want.Size || loc.typ != want.Type || loc.crc != want.CRC ||
			loc.length != lengthAt(ends, want.Offset) {
			c.problem(st.id, "pack %s: the index has object %s wrong: remove %s, and it is made again",
				rec.Info.ID, want.ID, st.indexDBPath())
		}
	}
	return objects, nil
}

// checkLinks checks that what a pack's objects link to exists.
func (c *checker) checkLinks(st *repoState, rec *packRecord, links []object.Link) error {
	links = sortLinks(links)
	ids := make([]object.ID, len(links))
	for i, l := range links {
		ids[i] = l.ID
	}
	return st.lookupMany(ids, func(i int, loc location, ok bool) error {
		if err := checkLink(links[i], loc.typ); err != nil {
			c.problem(st.id, "pack %s: %v", rec.Info.ID, err)
		}
		return c.ctx.Err()
	})
}

// checkIndexCounts checks that index.db has no more records than the packs. Those with numbers from next on came later.
func (c *checker) checkIndexCounts(st *repoState, want map[uint32]int64, next uint32) error {
	if !st.hasIndex() {
		return nil
	}
	got := map[uint32]int64{}
	filled := st.fresh.indexed() // what comes after may be there in part
	every := func(uint32) bool { return true }
	err := st.eachRecord(every, c.ctx.Err, func(number uint32, _ object.ID, _ location) { got[number]++ })
	if err != nil {
		return err
	}
	for number, n := range got {
		have, ok := want[number]
		switch {
		case number >= filled:
		case !ok && number < next:
			c.problem(st.id, "index.db has %d objects for pack %d, which there is not", n, number)
		case ok && have != n && have != anyCount:
			c.problem(st.id, "index.db has %d objects for pack %d, which has %d", n, number, have)
		}
	}
	return nil
}
