package svnfs_test

import (
	"strings"
	"testing"

	"holdfast/storage/svnfs"
)

const (
	someID   = "0123456789abcdef0123456789abcdef01234567"
	someNode = "svn-node 1\nkind file\nid 5-1 0-0\ncreated 5 /a b\npred " + someID + " 3\ncopyfrom 4 /x\ncopyroot 0 /\nprops " + someID +
		"\nmergeinfo 1 true\ntext " + someID + " 12 000102030405060708090a0b0c0d0e0f 000102030405060708090a0b0c0d0e0f10111213\n"
	someDir      = "svn-node 1\nkind dir\nid 0-0 0-0\ncreated 0 /\ncopyroot 0 /\nentries 2\nd " + someID + " a\nf " + someID + " b c\n"
	someBucket   = "svn-bucket 1\nd " + someID + " a\nf " + someID + " b c\n"
	someRevision = "svn-revision 1\nnumber 3\nroot " + someID + "\nprops 29\nK 7\nsvn:log\nV 2\nhi\nPROPS-END\nA dir --- /a\nfrom 2 /b\nM file tpm /c d\n"
)

// recodes makes sure that what is decoded is encoded as it was: an object has one form.
func recodes(f *testing.F, recode func([]byte) ([]byte, error), seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if again, err := recode(b); err == nil && string(again) != string(b) {
			t.Fatalf("%q is encoded as %q", b, again)
		}
	})
}

func FuzzNode(f *testing.F)     { recodes(f, svnfs.RecodeNode, someNode, someDir) }
func FuzzBucket(f *testing.F)   { recodes(f, svnfs.RecodeBucket, someBucket) }
func FuzzRevision(f *testing.F) { recodes(f, svnfs.RecodeRevision, someRevision) }

func FuzzFacts(f *testing.F) {
	f.Add([]byte(`[{"revprop":{"rev":1,"name":"a","value":"YQ=="}},{"unlock":"/a"}]`))
	f.Fuzz(func(t *testing.T, b []byte) { svnfs.DecodeFacts(b) })
}

// TestOneForm refuses what would be encoded in another way than it was.
func TestOneForm(t *testing.T) {
	zero := strings.Repeat("0", 40)
	for _, test := range []struct {
		recode         func([]byte) ([]byte, error)
		seed, old, new string
	}{
		{svnfs.RecodeNode, someDir, someID + " a", zero + " a"},
		{svnfs.RecodeNode, someNode, "text " + someID, "text " + zero},
		{svnfs.RecodeNode, someNode, "props " + someID, "props " + zero},
		{svnfs.RecodeBucket, someBucket, someID + " a", zero + " a"},
		{svnfs.RecodeRevision, someRevision, "root " + someID, "root " + zero},
		{svnfs.RecodeRevision, someRevision, "props 29\nK 7", "props 30\nK 07"},
		{svnfs.RecodeRevision, someRevision, " tpm ", " tpx "},
	} {
		b := strings.Replace(test.seed, test.old, test.new, 1)
		if again, err := test.recode([]byte(b)); err == nil {
			t.Errorf("%q is taken, and encoded as %q", b, again)
		}
	}
}

// TestSeedsDecode makes sure that the fuzzers begin with what is valid.
func TestSeedsDecode(t *testing.T) {
	for name, test := range map[string]struct {
		recode func([]byte) ([]byte, error)
		seed   string
	}{
		"file": {svnfs.RecodeNode, someNode}, "dir": {svnfs.RecodeNode, someDir},
		"bucket": {svnfs.RecodeBucket, someBucket}, "revision": {svnfs.RecodeRevision, someRevision},
	} {
		if again, err := test.recode([]byte(test.seed)); err != nil || string(again) != test.seed {
			t.Errorf("%s: %q, %v", name, again, err)
		}
	}
}
