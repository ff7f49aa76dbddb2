package storage_test

import (
	"errors"
	"strings"
	"testing"

	"holdfast/storage"
)

var refNames = []struct {
	name string
	ok   bool
}{
	{"refs/heads/main", true},
	{"refs/heads/a/b/c", true},
	{"refs/tags/v1.0", true},
	{"refs/heads/Ünïcode", true},
	{"refs/heads/@", true},
	{"refs/heads/a@b", true},
	{"refs/heads/-", true},
	{"refs/x/y", true},
	{"HEAD", false},
	{"refs/heads", false},
	{"refs/stash", false},
	{"heads/main", false},
	{"refs/heads/", false},
	{"refs//main", false},
	{"/refs/heads/main", false},
	{"refs/heads/.main", false},
	{"refs/heads/a/.b/c", false},
	{"refs/.x/y", false},
	{"refs/heads/main.lock", false},
	{"refs/heads/a.lock/b", false},
	{"refs/heads/main.", false},
	{"refs/heads/a..b", false},
	{"refs/heads/../../x", false},
	{"refs/heads/a b", false},
	{"refs/heads/a~1", false},
	{"refs/heads/a^", false},
	{"refs/heads/a:b", false},
	{"refs/heads/a?", false},
	{"refs/heads/a*", false},
	{"refs/heads/a[", false},
	{"refs/heads/a\\b", false},
	{"refs/heads/a@{1}", false},
	{"refs/heads/a\x7fb", false},
	{"refs/heads/a\nb", false},
	{"refs/heads/a\tb", false},
	{"", false},
}

func TestValidRefName(t *testing.T) {
	g := newGit(t)
	for _, test := range refNames {
		if err := storage.ValidRefName(test.name); (err == nil) != test.ok || (err != nil && !errors.Is(err, storage.ErrRefName)) {
			t.Errorf("%q: %v", test.name, err)
		}
		// receive-pack judges what follows refs/.
		rest, cut := strings.CutPrefix(test.name, "refs/")
		if _, err := g.try(nil, "check-ref-format", rest); (err == nil && cut) != test.ok {
			t.Errorf("%q: git says %v", test.name, err)
		}
	}
	for name, bad := range map[string]string{
		"not UTF-8": "refs/heads/\xff",
		"too long":  "refs/heads/" + strings.Repeat("x", storage.MaxRefNameBytes),
	} {
		if err := storage.ValidRefName(bad); !errors.Is(err, storage.ErrRefName) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzValidRefName looks for names that could do harm where refs become paths or lines.
func FuzzValidRefName(f *testing.F) {
	for _, test := range refNames {
		f.Add(test.name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if storage.ValidRefName(name) != nil {
			return
		}
		if !strings.HasPrefix(name, "refs/") || strings.Contains(name, "..") || strings.Contains(name, "//") ||
			strings.ContainsAny(name, " \n\r\t\x00\\~^:?*[") || strings.HasSuffix(name, "/") {
			t.Errorf("%q is accepted", name)
		}
	})
}

// FuzzDecodeEntry makes sure that an entry that is read encodes to the same bytes.
func FuzzDecodeEntry(f *testing.F) {
	e := storage.Entry{Seq: 7, Epoch: 1, Time: testTime.Truncate(1000), Actor: "alice", Repo: crashRepo, Kind: storage.KindRefs,
		Init:  &storage.RepoInit{SCM: storage.Git, Format: 1, Head: "refs/heads/main"},
		Refs:  []storage.RefUpdate{{Name: "refs/heads/<&>", New: blobObj("x").id()}, {Name: "HEAD", Target: "refs/heads/x"}},
		Packs: []storage.PackInfo{{Size: 1, Objects: 2}}, Data: []byte{1}, Options: []string{"o"}}
	line, err := e.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Add([]byte(`{"seq":1}`))
	f.Add([]byte(`{"seq":1,"seq":2}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := storage.DecodeEntry(line)
		if err != nil {
			return
		}
		if again, err := e.Encode(); err != nil || string(again) != string(line) {
			t.Errorf("%s\nencodes to\n%s (%v)", line, again, err)
		}
	})
}
