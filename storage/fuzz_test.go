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
