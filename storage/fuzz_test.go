package storage

import (
	"bytes"
	"testing"

	"holdfast/storage/object"
)

var fuzzID = object.HashObject(object.SHA1, object.Blob, []byte("x"))

func FuzzIndexRecords(f *testing.F) {
	loc := location{offset: 12, length: 300, size: 1 << 40, typ: object.Blob, crc: 7}
	f.Add(appendRecord(appendRecord(nil, fuzzID, loc), fuzzID, loc))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, group []byte) {
		raw := fuzzID.Bytes()
		findInGroup(group, raw)
		for len(group) > 0 {
			_, _, tail, err := cutRecord(group, len(raw))
			if err != nil {
				return
			}
			if len(tail) >= len(group) {
				t.Fatal("no progress")
			}
			group = tail
		}
	})
}

func FuzzRefValue(f *testing.F) {
	f.Add(encodeRef(Ref{ID: fuzzID}))
	f.Add(encodeRef(Ref{ID: fuzzID, Peeled: object.HashObject(object.SHA256, object.Blob, nil)}))
	f.Add(encodeRef(Ref{Target: "refs/heads/main"}))
	f.Add([]byte{1, 1, 2})
	f.Fuzz(func(t *testing.T, value []byte) {
		r, err := decodeRef("x", value)
		if err != nil || r.ID.IsZero() || (value[0] == refPeeled && r.Peeled.IsZero()) {
			return
		}
		if again := encodeRef(r); !bytes.Equal(again, value) {
			t.Errorf("%x encodes to %x", value, again)
		}
	})
}

// FuzzNewEntries makes sure that no entry of a tree is passed over that the older version does not have.
func FuzzNewEntries(f *testing.F) {
	entry := func(mode, name string) []byte { return fuzzID.Append([]byte(mode + " " + name + "\x00")) }
	a, b, c := entry("100644", "a"), entry("40000", "b"), entry("100644", "b.c")
	f.Add(bytes.Join([][]byte{a, b, c}, nil), bytes.Join([][]byte{a, c}, nil))
	f.Add(bytes.Join([][]byte{c, b}, nil), bytes.Join([][]byte{b, c}, nil))
	f.Add([]byte("junk"), a)
	f.Fuzz(func(t *testing.T, tree, old []byte) {
		known := map[string]bool{}
		for rest := old; len(rest) > 0; {
			n := entryLength(rest, 20)
			known[string(rest[:n])] = true
			rest = rest[n:]
		}
		told := map[string]bool{}
		newEntries(tree, old, 20, func(raw []byte) error {
			told[string(raw)] = true
			return nil
		})
		for rest := tree; len(rest) > 0; {
			n := entryLength(rest, 20)
			if raw := string(rest[:n]); !known[raw] && !told[raw] {
				t.Fatalf("entry %q is passed over", raw)
			}
			rest = rest[n:]
		}
	})
}
