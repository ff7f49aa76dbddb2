package object_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/storage/object"
)

// FuzzParse makes sure that the parsers of commits, tags and trees agree with Links, and that what they read is what is
// written there. An object that fsck accepts can be parsed.
func FuzzParse(f *testing.F) {
	for _, c := range fsckCases() {
		f.Add([]byte(c.data), false)
	}
	f.Add([]byte("tree "+hexA+hexA[:24]+"\nparent "+hexB+hexB[:24]+"\n"), true)
	f.Fuzz(func(t *testing.T, data []byte, sha256 bool) {
		format := object.SHA1
		if sha256 {
			format = object.SHA256
		}
		links := func(typ object.Type) (links []object.Link, err error) {
			err = object.Links(format, typ, data, func(l object.Link) { links = append(links, l) })
			return links, err
		}
		accepted := func(typ object.Type) bool { return object.Fsck(format, typ, data, object.FsckOptions{}) == nil }

		info, err := object.ParseCommit(format, data)
		got, linksErr := links(object.Commit)
		if err == nil && linksErr == nil {
			want := []object.Link{{ID: info.Tree, Type: object.Tree}}
			for _, p := range info.Parents {
				want = append(want, object.Link{ID: p, Type: object.Commit})
			}
			if diff := cmp.Diff(want, got, sameID); diff != "" {
				t.Errorf("a commit's links (-parsed +links):\n%s", diff)
			}
		}
		if (err != nil || linksErr != nil) && accepted(object.Commit) {
			t.Errorf("fsck accepts a commit that cannot be parsed: %v, %v", err, linksErr)
		}

		target, err := object.PeelTag(format, data)
		got, linksErr = links(object.Tag)
		if err == nil && linksErr == nil && (len(got) != 1 || got[0] != target) {
			t.Errorf("a tag's target is %v, its links are %v", target, got)
		}
		if (err != nil || linksErr != nil) && accepted(object.Tag) {
			t.Errorf("fsck accepts a tag that cannot be parsed: %v, %v", err, linksErr)
		}

		var want []object.Link
		length := 0
		err = nil
		for e, entryErr := range object.TreeEntries(format, data) {
			if err = entryErr; err != nil {
				break
			}
			at := bytes.IndexByte(data[length:], ' ') + 1
			length += at + len(e.Name) + 1 + format.Size()
			if e.ID != object.NewID(format, data[length-format.Size():length]) || !bytes.Contains(data[:length], e.Name) {
				t.Errorf("entry %+v is not what ends at %d", e, length)
			}
			if l, ok := e.Link(); ok {
				want = append(want, l)
			}
		}
		if err == nil && length != len(data) {
			t.Errorf("a tree of %d bytes is read up to %d", len(data), length)
		}
		got, linksErr = links(object.Tree)
		if err == nil && (linksErr != nil || !cmp.Equal(want, got, sameID)) {
			t.Errorf("a tree's links are %v, %v, its entries' %v", got, linksErr, want)
		}
		if err != nil && accepted(object.Tree) {
			t.Errorf("fsck accepts a tree that cannot be parsed: %v", err)
		}
	})
}
