package worm

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func FuzzKeyPath(f *testing.F) {
	for _, key := range []string{
		"a", "/", "//", "..", "../../etc/passwd", "a/../b", "a/./b", ".", "...", "A", "a=", "a~", "%", "%2e", "a\x00b",
		"v1/i/1/log/00000000000000000001/00000000000000000042", strings.Repeat("x", 1024), "é/ü", "\xff", "con", "a%",
	} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if checkKey(key) != nil {
			return
		}
		p := keyPath(key)
		if !filepath.IsLocal(p) || filepath.Clean(p) != p {
			t.Fatalf("%q maps to %q", key, p)
		}
		if len(p) > 3500 {
			t.Errorf("%q maps to a path of %d bytes", key, len(p))
		}
		if got := pathKey(t, p); got != key {
			t.Errorf("%q maps to %q, which is the path of %q", key, p, got)
		}
	})
}

// pathKey reverses keyPath by the rules of its documentation.
func pathKey(t *testing.T, p string) string {
	var key strings.Builder
	for name := range strings.SplitSeq(p, "/") {
		if len(name) > 3*chunkBytes+1 {
			t.Errorf("%q has a long name", p)
		}
		base, file := strings.CutSuffix(name, fileMark)
		base, more := strings.CutSuffix(base, moreMark)
		chunk, ok := unescape(base)
		if !ok {
			t.Errorf("%q: name %q", p, name)
		}
		key.WriteString(chunk)
		if !file && !more {
			key.WriteByte('/')
		}
	}
	return key.String()
}

// TestWalk compares the walk of random trees with sorting.
func TestWalk(t *testing.T) {
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 0))
		letters := []string{"a", "-", "/", "0", "é", "Z", ".", strings.Repeat("c", chunkBytes)}
		keys := map[string]bool{}
		dir := t.TempDir()
		for range 150 {
			var key string
			for range 1 + rng.IntN(7) {
				key += letters[rng.IntN(len(letters))]
			}
			keys[key] = true
			p := filepath.Join(dir, keyPath(key))
			if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(p, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for range 40 {
			s := span{prefix: pick(rng, keys), after: pick(rng, keys)}
			var want, got []string
			for key := range keys {
				if strings.HasPrefix(key, s.prefix) && key > s.after {
					want = append(want, key)
				}
			}
			slices.Sort(want)
			walk(dir, "", s, func(o object, err error) bool {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, o.key)
				return true
			})
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d, %+v:\ngot  %q\nwant %q", seed, s, got, want)
			}
		}
	}
}

// pick returns a prefix of one of the keys.
func pick(rng *rand.Rand, keys map[string]bool) string {
	var all []string
	for key := range keys {
		all = append(all, key)
	}
	slices.Sort(all)
	key := all[rng.IntN(len(all))]
	return key[:rng.IntN(len(key)+1)]
}

// TestWalkStrangers: what is not ours is passed over.
func TestWalkStrangers(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"README", "lost+found/x", "a=/b", "A=", "%2=", "%zz=", "=", "ok=", "%61="} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	walk(dir, "", span{}, func(o object, err error) bool {
		got = append(got, o.key)
		return err == nil
	})
	if !slices.Equal(got, []string{"ok"}) {
		t.Errorf("got %q", got)
	}
}
