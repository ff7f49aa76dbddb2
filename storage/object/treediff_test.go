package object_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"holdfast/storage/object"
)

// TestNewTreeEntries writes trees as words: a name, with a slash for a directory, and a content.
func TestNewTreeEntries(t *testing.T) {
	id := func(content string) object.ID { return object.HashObject(object.SHA1, object.Blob, []byte(content)) }
	tree := func(words ...string) (b []byte) {
		for i := 0; i < len(words); i += 2 {
			mode, name := "100644", words[i]
			if name[len(name)-1] == '/' {
				mode, name = "40000", name[:len(name)-1]
			}
			b = id(words[i+1]).Append(fmt.Appendf(b, "%s %s\x00", mode, name))
		}
		return b
	}
	for _, test := range []struct {
		name string
		tree []byte
		olds [][]byte
		want []string
	}{
		{"no old one", tree("a", "1", "b/", "2"), nil, []string{"a", "b"}},
		{"the same", tree("a", "1", "b/", "2"), [][]byte{tree("a", "1", "b/", "2")}, nil},
		{"changed", tree("a", "1", "b/", "3", "c", "4"), [][]byte{tree("a", "0", "b/", "2", "c", "4")}, []string{"a<0", "b<2"}},
		{"in any of two", tree("a", "1", "b", "2"), [][]byte{tree("a", "1", "b", "0"), tree("a", "0", "b", "2")}, nil},
		{"in none of two", tree("b", "2"), [][]byte{tree("a", "1"), tree("b", "0")}, []string{"b-<0"}},
		{"removed", tree("a", "1", "c", "3"), [][]byte{tree("a", "1", "b", "2", "c", "3")}, nil},
		{"a directory sorts by its slash", tree("a/", "1"), [][]byte{tree("a.b", "2", "a/", "1")}, nil},
		{"a file became a directory", tree("a/", "1"), [][]byte{tree("a", "1")}, []string{"a-"}},
		{"the old one is malformed", tree("a", "1"), [][]byte{[]byte("junk")}, []string{"a-"}},
	} {
		var got []string
		err := object.NewTreeEntries(object.SHA1, test.tree, test.olds, func(e object.TreeEntry, before []object.ID) error {
			s := string(e.Name)
			for _, b := range before {
				switch {
				case b.IsZero():
					s += "-"
				default:
					for n := range 10 {
						if b == id(fmt.Sprint(n)) {
							s += fmt.Sprint("<", n)
						}
					}
				}
			}
			got = append(got, s)
			return nil
		})
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, %v, want %q", test.name, got, err, test.want)
		}
	}
	if err := object.NewTreeEntries(object.SHA1, []byte("junk"), nil, nil); err == nil {
		t.Error("a malformed tree passes")
	}
}

// FuzzNewTreeEntries makes sure that no entry of a tree is passed over that the older version does not have.
func FuzzNewTreeEntries(f *testing.F) {
	id := object.HashObject(object.SHA1, object.Blob, nil)
	entry := func(mode, name string) []byte { return id.Append([]byte(mode + " " + name + "\x00")) }
	a, b, c := entry("100644", "a"), entry("40000", "b"), entry("100644", "b.c")
	f.Add(slices.Concat(a, b, c), slices.Concat(a, c))
	f.Add(slices.Concat(c, b), slices.Concat(b, c))
	f.Add([]byte("junk"), a)
	f.Add(append(entry("", ""), c...), entry("", ""))
	type key struct {
		mode uint32
		name string
		id   object.ID
	}
	keyOf := func(e object.TreeEntry) key { return key{e.Mode, string(e.Name), e.ID} }
	f.Fuzz(func(t *testing.T, tree, old []byte) {
		known := map[key]bool{}
		for e, err := range object.TreeEntries(object.SHA1, old) {
			if err == nil {
				known[keyOf(e)] = true
			}
		}
		told := map[key]bool{}
		err := object.NewTreeEntries(object.SHA1, tree, [][]byte{old}, func(e object.TreeEntry, _ []object.ID) error {
			told[keyOf(e)] = true
			return nil
		})
		rest := tree
		for e, parseErr := range object.TreeEntries(object.SHA1, tree) {
			raw := rest[:min(bytes.IndexByte(rest, 0)+1+id.Format().Size(), len(rest))]
			rest = rest[len(raw):]
			switch {
			case parseErr != nil:
				if err == nil && !bytes.Contains(old, raw) {
					t.Fatal("a malformed entry is passed over that the older version does not have")
				}
			case !known[keyOf(e)] && !told[keyOf(e)]:
				t.Fatalf("entry %q is passed over", e.Name)
			}
		}
	})
}
