package object_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/storage/object"
)

func TestParseFilter(t *testing.T) {
	for spec, want := range map[string]object.Filter{
		"blob:none":           {Omit: []object.Type{object.Blob}},
		"blob:limit=0":        {Omit: []object.Type{object.Blob}},
		"blob:limit=17":       {BlobLimit: 17},
		"blob:limit=2k":       {BlobLimit: 2048},
		"blob:limit=3M":       {BlobLimit: 3 << 20},
		"blob:limit=4g":       {BlobLimit: 4 << 30},
		"tree:0":              {Omit: []object.Type{object.Tree, object.Blob}},
		"tree:3":              {TreeDepth: 3},
		"object:type=commit":  {Omit: []object.Type{object.Tree, object.Blob, object.Tag}},
		"combine:blob:none":   {Omit: []object.Type{object.Blob}},
		"combine:blob%3Anone": {Omit: []object.Type{object.Blob}},
		"combine:tree:2+blob:limit=9+tree:1+blob:limit=10":     {BlobLimit: 9, TreeDepth: 1},
		"combine:blob:none+combine:tree%3a3%2bblob%3alimit=1k": {Omit: []object.Type{object.Blob}, TreeDepth: 3, BlobLimit: 1024},
		"sparse:oid=main:a/b":                                  {Sparse: []object.SparseBlob{{Name: "main:a/b"}}},
		"combine:sparse:oid=main:p%2bq+tree:2+sparse:oid=12": {
			TreeDepth: 2, Sparse: []object.SparseBlob{{Name: "main:p+q"}, {Name: "12"}}},
		"combine:object:type=blob+object:type=tree": {
			Omit: []object.Type{object.Commit, object.Tree, object.Blob, object.Tag}},
	} {
		got, err := object.ParseFilter(spec)
		if diff := cmp.Diff(want, got, sameID); err != nil || diff != "" {
			t.Errorf("%s: %v, %s", spec, err, diff)
		}
	}
	for _, spec := range []string{
		"", "blob", "blob:", "blob:limit=", "blob:limit=x", "blob:limit=-1", "blob:limit=k", "blob:limit=9223372036854775808",
		"blob:limit=9999999999g", "tree:", "tree:-1", "object:type=file", "object:size=1", "sparse:oid=", "sparse:path=x", "sparse:x", "combine:",
		"combine:blob:none+", "combine:blob:none +tree:1", "combine:tree:1%zz", "combine:tree~1", "foo",
		"combine:" + strings.Repeat("tree:1+", 100) + "tree:1", strings.Repeat("combine:", 100) + "tree:1",
	} {
		if _, err := object.ParseFilter(spec); !errors.Is(err, object.ErrFilter) {
			t.Errorf("%.60q: %v", spec, err)
		}
	}
}

func FuzzParseFilter(f *testing.F) {
	for _, spec := range []string{"blob:none", "blob:limit=1k", "tree:0", "object:type=tag", "combine:tree:1+blob%3Anone",
		"combine:combine%253a", "sparse:oid=x"} {
		f.Add(spec)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		got, err := object.ParseFilter(spec)
		if err != nil != errors.Is(err, object.ErrFilter) {
			t.Errorf("%q: %v", spec, err)
		}
		if got.BlobLimit < 0 || got.TreeDepth < 0 || len(got.Omit) > 4 || err == nil && got.IsZero() {
			t.Errorf("%q: %+v", spec, got)
		}
	})
}
