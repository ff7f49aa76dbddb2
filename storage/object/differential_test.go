package object_test

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/storage/object"
)

var (
	differentialCases = flag.Int("differential", 2000, "how many objects TestDifferential shows to git")
	differentialSeed  = flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of TestDifferential")
)

// TestDifferential damages commits, trees and tags, and has git's fsck look at the same objects. What git calls an error
// must be refused, what it only warns of in strict mode, and the fault must be one that git names.
func TestDifferential(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	t.Logf("run again with -seed %d -differential %d", *differentialSeed, *differentialCases)
	type thing struct {
		typ  object.Type
		data []byte
	}
	objects := map[string]thing{}
	var ids []string
	r := rand.New(rand.NewPCG(*differentialSeed, 1))
	add := func(typ object.Type, data []byte) {
		id := object.HashObject(object.SHA1, typ, data).String()
		if _, known := objects[id]; !known {
			objects[id] = thing{typ, data}
			ids = append(ids, id)
		}
	}
	for typ, data := range linked {
		add(typ, []byte(data))
	}
	others := len(ids)
	for len(ids) < *differentialCases {
		add(damaged(r))
	}
	var entries [][]byte
	for _, id := range ids {
		one := onePack(objects[id].typ, objects[id].data)
		entries = append(entries, one[12:len(one)-20])
	}
	theirs := gitFsck(t, entries)
	good := 0
	for _, id := range ids[others:] {
		o, said := objects[id], theirs[id]
		if said.unreadable && object.Fsck(object.SHA1, o.typ, o.data, object.FsckOptions{}) == nil { // perhaps because others take what it links to for something else
			said = gitFsck(t, append(slices.Clone(entries[:others]), entries[slices.Index(ids, id)]))[id]
		}
		if len(said.faults) == 0 && !said.unreadable {
			good++
		}
		for _, strict := range []bool{false, true} {
			ours := msgID(object.Fsck(object.SHA1, o.typ, o.data, object.FsckOptions{Strict: strict}))
			if ours == "gitmodulesBlob" || ours == "gitattributesBlob" {
				continue // git says so of what the tree links to
			}
			if spaces.Match(o.data) {
				continue // old versions of git read the date otherwise
			}
			if want := said.refuses(strict); want != (ours != "") || want && !said.says(ours) {
				t.Errorf("%s %s, strict %t: we say %q, git %+v\n%q", o.typ, id, strict, ours, said, o.data)
			}
		}
	}
	t.Logf("%d objects, of which %d are good", len(ids), good)
	if *differentialCases > 100 && (good < len(ids)/20 || good > len(ids)*19/20) {
		t.Errorf("%d objects of %d are good: that is no test", good, len(ids))
	}
}

// linked are good objects, which the others link to.
var linked = map[object.Type]string{
	object.Blob:   "",
	object.Tree:   "",
	object.Commit: "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor " + ident + "committer " + ident + "\nm\n",
	object.Tag:    "object e69de29bb2d1d6434b8b29ae775ad8c2e48c5391\ntype blob\ntag t\ntagger " + ident + "\nm\n",
}

// to is the id of a good object.
func to(typ object.Type) object.ID { return object.HashObject(object.SHA1, typ, []byte(linked[typ])) }

// said is what git's fsck says of one object.
type said struct {
	faults     []string // "error badTree"
	unreadable bool     // git cannot even parse it
}

// says reports whether the fault is among those that git names. What is wrong with a date has several names, and a tree that
// cannot be parsed may have had another fault before.
func (s said) says(fault string) bool {
	family := func(name string) string {
		if strings.Contains(name, "Date") || name == "badTimezone" {
			return "date"
		}
		return name
	}
	return s.unreadable || slices.ContainsFunc(s.faults, func(f string) bool {
		_, name, _ := strings.Cut(f, " ")
		return family(name) == family(fault) || name == "badTree"
	})
}

// spaces is more than one space before a date, or a line that ends there.
var spaces = regexp.MustCompile(`>[ \t]*( \t|\t|  | \n)`)

// infos are what git's fsck prints as warnings, but an index-pack accepts even if it is strict.
var infos = []string{"badFilemode", "badTagName", "missingTaggerEntry", "gitignoreSymlink", "gitattributesSymlink", "mailmapSymlink"}

// serious are git's warnings that are always refused here. See FsckOptions.
var serious = []string{"emptyName", "fullPathname", "hasDot", "hasDotdot", "hasDotgit", "nullSha1"}

func (s said) refuses(strict bool) bool {
	return s.unreadable || slices.ContainsFunc(s.faults, func(fault string) bool {
		severity, name, _ := strings.Cut(fault, " ")
		return !slices.Contains(infos, name) && (strict || severity == "error" || slices.Contains(serious, name))
	})
}

// gitFsck shows entries of a pack to git, and returns what it says, by id.
func gitFsck(t *testing.T, entries [][]byte) map[string]said {
	t.Helper()
	dir := t.TempDir()
	git := func(stdin []byte, args ...string) string {
		cmd := exec.Command("git", args...)
		cmd.Dir, cmd.Stdin = dir, bytes.NewReader(stdin)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C")
		out, err := cmd.CombinedOutput()
		if err != nil && args[0] != "fsck" { // which fails if it finds anything
			t.Fatalf("git %s: %v\n%s", args[0], err, out)
		}
		return string(out)
	}
	git(nil, "init", "-q", "--bare")
	data := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(entries)))
	data = append(data, bytes.Join(entries, nil)...)
	sum := sha1.Sum(data)
	git(append(data, sum[:]...), "index-pack", "--stdin")
	found := map[string]said{}
	for line := range strings.Lines(git(nil, "fsck", "--no-dangling")) {
		var severity, typ, id, name string
		if n, _ := fmt.Sscanf(line, "%s in %s %s %s", &severity, &typ, &id, &name); n == 4 && name != "broken" { // links, that is
			id = strings.TrimSuffix(id, ":")
			s := found[id]
			s.faults = append(s.faults, severity+" "+strings.TrimSuffix(name, ":"))
			found[id] = s
		} else if rest, ok := strings.CutPrefix(line, "error: "); ok && strings.HasSuffix(line, ": object corrupt or missing\n") {
			id, _, _ = strings.Cut(rest, ":")
			s := found[id]
			s.unreadable = true
			found[id] = s
		}
	}
	return found
}

// damaged returns an object that is often bad.
func damaged(r *rand.Rand) (object.Type, []byte) {
	pick := func(words ...string) string { return words[r.IntN(len(words))] }
	var typ object.Type
	var data []byte
	switch r.IntN(4) {
	case 0:
		typ, data = object.Commit, fmt.Appendf(nil, "tree %s\n%s", to(object.Tree), strings.Repeat("parent "+to(object.Commit).String()+"\n", r.IntN(3))+
			"author "+randomIdent(r)+"committer "+randomIdent(r)+pick("", "", "encoding latin1\n", "gpgsig x\n y\n")+pick("\n", "\n", "")+fmt.Sprint(r.Uint32())+"\n")
	case 1:
		target := object.Type(1 + r.IntN(4))
		typ, data = object.Tag, fmt.Appendf(nil, "object %s\ntype %s\ntag %s", to(target), pick(target.String(), target.String(), "file"), pick("v1", "v1", "a..b", "-x", "")+"\n"+
			pick("", "tagger "+randomIdent(r), "tagger "+randomIdent(r))+pick("", "gpgsig x\n y\n", "gpgsig x\nother\n")+"\n"+fmt.Sprint(r.Uint32())+"\n")
	default:
		typ, data = object.Tree, randomTree(r)
	}
	for range r.IntN(3) * r.IntN(2) {
		data = scrambled(r, data)
	}
	return typ, data
}

func randomIdent(r *rand.Rand) string {
	pick := func(words ...string) string { return words[r.IntN(len(words))] }
	if r.IntN(3) > 0 {
		return ident
	}
	return pick("A U Thor ", "A U Thor ", "", " ", "A<", "A> ", "A") + "<" + pick("a@b", "a@b", "", "a<b", "a>b") + pick(">", ">", ">>", "") + pick(" ", " ", "", "  ", "\t") +
		pick("1700000000", "0", "01", "00", "1x", "-1", "18446744073709551615", "9223372036854775807", "9223372036854775808", "99999999999999999999999") +
		pick(" ", " ", "", "  ") + pick("+0000", "-0730", "0000", "+00000", "+x000", "", "+-100") + pick("\n", "\n", "\n", " \n", "")
}

// randomTree has names that mean something, good and bad modes, and is mostly sorted.
func randomTree(r *rand.Rand) []byte {
	names := []string{"a", "b", "a.c", "a0", "foo", "foo.bar", "foo-bar", "foo.bar.baz", "foo0", ".git", ".GIT", "git~1", ".gitmodules", ".gitattributes",
		".gitignore", ".mailmap", ".", "..", "a/b", "a\\b", ".git\\x", ".gi\u200ct", "GITMOD~1", ".git ", ".git.", ".gi", "\xff", "...", "gi7eba~1", ".git::$DATA", "z"}
	type entry struct{ mode, name string }
	var entries []entry
	for range r.IntN(7) {
		mode := []string{"100644", "100755", "40000", "160000", "120000", "100664", "0100644", "040000", "100600", "10644", "777", ""}[r.IntN(12)>>(r.IntN(3)*2)]
		name := names[r.IntN(len(names))]
		if r.IntN(2) == 0 {
			name = fmt.Sprint("name", r.IntN(1000))
		}
		entries = append(entries, entry{mode, name})
	}
	if r.IntN(4) > 0 {
		key := func(e entry) string {
			if strings.HasSuffix(e.mode, "40000") {
				return e.name + "/"
			}
			return e.name
		}
		slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(key(a), key(b)) })
	}
	var b []byte
	for _, e := range entries {
		b = append(append(b, e.mode+" "+e.name...), 0)
		switch {
		case r.IntN(20) == 0:
			b = append(b, make([]byte, 20)...)
		case strings.HasSuffix(e.mode, "40000"):
			b = to(object.Tree).Append(b)
		case e.mode == "160000":
			b = to(object.Commit).Append(b)
		default:
			b = to(object.Blob).Append(b)
		}
	}
	return b
}

// scrambled deletes, doubles or changes some bytes, or a line.
func scrambled(r *rand.Rand, b []byte) []byte {
	if len(b) == 0 {
		return []byte{byte(r.Uint32())}
	}
	i := r.IntN(len(b))
	n := min(len(b)-i, 1+r.IntN(4))
	switch r.IntN(6) {
	case 0:
		return slices.Delete(slices.Clone(b), i, i+n)
	case 1:
		return slices.Insert(slices.Clone(b), i, b[i:i+n]...)
	case 2:
		return slices.Insert(slices.Clone(b), i, "\n\x00 <>0:~"[r.IntN(8)])
	case 3:
		lines := bytes.SplitAfter(b, []byte("\n"))
		k := r.IntN(len(lines))
		return bytes.Join(slices.Delete(lines, k, k+1), nil)
	case 4:
		lines := bytes.SplitAfter(b, []byte("\n"))
		k := r.IntN(len(lines))
		return bytes.Join(slices.Insert(lines, k, lines[r.IntN(len(lines))]), nil)
	}
	b = slices.Clone(b)
	b[i] ^= 1 << r.IntN(8)
	return b
}
