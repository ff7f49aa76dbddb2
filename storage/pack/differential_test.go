package pack_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/storage/object"
	"holdfast/storage/pack"
)

var (
	differentialCases = flag.Int("differential", 150, "how many cases TestDifferential shows to git")
	differentialSeed  = flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of TestDifferential")
)

// TestDifferential damages real packs in every way that comes to mind, and has git judge the same bytes. Both must accept
// or refuse them, and find the same objects, or the difference must be among those that are explained.
func TestDifferential(t *testing.T) {
	t.Logf("run again with -seed %d -differential %d", *differentialSeed, *differentialCases)
	j := newJudge(t)
	accepted, explained := 0, map[string]int{}
	for n := range *differentialCases {
		m := j.mutant(rand.New(rand.NewPCG(*differentialSeed, uint64(n))))
		ours := j.ours(t, m)
		theirs := j.gits(t, m, ours.size)
		if ours.err == nil && theirs.err == nil {
			accepted++
			if diff := cmp.Diff(theirs.found, ours.found); diff != "" {
				t.Errorf("case %d, %s: the objects differ (-git +ours):\n%s", n, m, diff)
			}
			continue
		}
		if (ours.err == nil) == (theirs.err == nil) {
			continue
		}
		if why := explain(ours.err, theirs.err); why != "" {
			explained[why]++
			continue
		}
		t.Errorf("case %d, %s:\ngit says %v\nwe say %v\n%s", n, m, theirs.err, ours.err, short(m.bytes))
	}
	t.Logf("%d packs: %d accepted by both, %d refused by both", *differentialCases, accepted,
		*differentialCases-accepted-total(explained))
	for why, count := range explained {
		t.Logf("%4d times: %s", count, why)
	}
	if *differentialCases >= 100 && (accepted < *differentialCases/10 || accepted > *differentialCases*9/10) {
		t.Errorf("%d packs of %d were accepted: that is no test", accepted, *differentialCases)
	}
}

// differences are where Receive is meant to differ from git. A difference has some words of each side's error, "" if it
// accepts the pack.
var differences = []struct{ ours, git, why string }{
	{"", "appears twice", "git, if asked to be strict, refuses an object that is there twice; it hurts nobody"},
	{"linked to as a", "", "git, unless asked to be strict, does not look at the types of what is linked"},
}

func explain(ours, git error) string {
	for _, d := range differences {
		if says(ours, d.ours) && says(git, d.git) {
			return d.why
		}
	}
	return ""
}

func says(err error, words string) bool {
	return (err == nil) == (words == "") && (err == nil || strings.Contains(err.Error(), words))
}

func total(m map[string]int) (sum int) {
	for n := range maps.Values(m) {
		sum += n
	}
	return sum
}

func short(data []byte) string {
	if len(data) > 3000 {
		return fmt.Sprintf("%d bytes", len(data))
	}
	return base64.StdEncoding.EncodeToString(data)
}

// verdict is what one side makes of a pack.
type verdict struct {
	err   error
	size  int64    // of the pack, where something stands behind it
	found []string // "offset id crc" of the objects that were sent
}

// judge has what packs are shown to.
type judge struct {
	sources []source
	dir     string
	made    int
}

// source is a good pack, and the repository that it would be sent to.
type source struct {
	name    string
	format  object.Format
	data    []byte
	repo    *gitRepo                  // what is there before
	objects map[object.ID]object.Type // in repo
	read    func(object.ID) (object.Type, []byte, error)
}

func newJudge(t *testing.T) *judge {
	j := &judge{dir: t.TempDir()}
	for _, format := range []object.Format{object.SHA1, object.SHA256} {
		arg := "--object-format=" + format.String()
		repo := newGitRepo(t, arg)
		repo.run(tinyHistory(rand.New(rand.NewPCG(1, 1))), "fast-import", "--quiet")
		empty, half := newGitRepo(t, arg), newGitRepo(t, arg)
		old := repo.run([]byte("main~5\n"), "pack-objects", "--revs", "--stdout", "-q")
		half.run([]byte(old), "index-pack", "--stdin")
		add := func(name string, to *gitRepo, in string, args ...string) {
			data := repo.run([]byte(in), append([]string{"-c", "pack.threads=1", "pack-objects", "--revs", "--stdout", "-q"}, args...)...)
			s := source{name: format.String() + " " + name, format: format, data: []byte(data), repo: to, objects: map[object.ID]object.Type{}}
			contents := map[object.ID][]byte{}
			for line := range strings.Lines(to.run(nil, "cat-file", "--batch-all-objects", "--batch-check")) {
				var id, typ string
				fmt.Sscan(line, &id, &typ)
				s.objects[mustID(t, id)] = mustType(t, typ)
				contents[mustID(t, id)] = []byte(to.run(nil, "cat-file", typ, id))
			}
			s.read = func(id object.ID) (object.Type, []byte, error) {
				if contents[id] == nil {
					return 0, nil, os.ErrNotExist
				}
				return s.objects[id], contents[id], nil
			}
			j.sources = append(j.sources, s)
		}
		add("by offset", empty, "main\nv1\nv2\n", "--delta-base-offset")
		add("by reference", empty, "main\nv1\nv2\n")
		add("thin", half, "main\nv2\n^main~5\n", "--delta-base-offset", "--thin")
		if format == object.SHA1 {
			add("whole", empty, "main~8\n", "--depth=0")
			add("thin by reference", half, "main\n^main~5\n", "--thin")
			add("one commit", half, "main~4\n^main~5\n")
		}
	}
	return j
}

func mustID(t *testing.T, hex string) object.ID {
	t.Helper()
	id, err := object.ParseID(hex)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func mustType(t *testing.T, name string) object.Type {
	t.Helper()
	typ, err := object.ParseType(name)
	if err != nil {
		t.Fatal(err)
	}
	return typ
}

// tinyHistory is a stream of ten commits of a few small files in directories, with a merge and tags.
func tinyHistory(r *rand.Rand) []byte {
	var in bytes.Buffer
	lines := make([]string, 30)
	for i := range lines {
		lines[i] = fmt.Sprintf("line %d of the file, %x", i, r.Uint64())
	}
	for c := 1; c <= 10; c++ {
		fmt.Fprintf(&in, "commit refs/heads/main\nmark :%d\ncommitter A <a@example.org> %d +0200\ndata 2\nc\n", c, 1_700_000_000+c*60)
		if c > 1 {
			fmt.Fprintf(&in, "from :%d\n", c-1)
		}
		if c == 7 {
			fmt.Fprintf(&in, "merge :%d\n", 4)
		}
		lines[r.IntN(len(lines))] = fmt.Sprintf("changed in %d", c)
		content := strings.Join(lines, "\n")
		for _, path := range []string{"a/b/file", fmt.Sprintf("c/%d", c)} {
			fmt.Fprintf(&in, "M 100644 inline %s\ndata %d\n%s\n", path, len(content), content)
		}
	}
	for i, c := range []int{3, 10} {
		fmt.Fprintf(&in, "tag v%d\nfrom :%d\ntagger A <a@example.org> 1700001000 +0000\ndata 2\nt\n", i+1, c)
	}
	return in.Bytes()
}

// part is an entry of a pack, taken apart.
type part struct {
	kind    byte
	base    int       // of an offset delta: the number of the base's entry
	id      object.ID // of a reference delta
	data    []byte    // inflated
	sizeOff int64     // added to the size in the header
	distOff int64     // added to the distance
	z       []byte    // stands for the deflated data if not nil
}

// takeApart reads a good pack.
func takeApart(f object.Format, data []byte) []part {
	var parts []part
	at := map[int]int{}
	in := bytes.NewReader(data[12 : len(data)-f.Size()])
	for in.Len() > 0 {
		off := len(data) - f.Size() - in.Len()
		at[off] = len(parts)
		c, _ := in.ReadByte()
		p := part{kind: c >> 4 & 7}
		for c&0x80 != 0 {
			c, _ = in.ReadByte()
		}
		switch p.kind {
		case 6:
			c, _ := in.ReadByte()
			dist := int(c & 0x7f)
			for c&0x80 != 0 {
				c, _ = in.ReadByte()
				dist = (dist+1)<<7 | int(c&0x7f)
			}
			p.base = at[off-dist]
		case 7:
			sum := make([]byte, f.Size())
			io.ReadFull(in, sum)
			p.id = object.NewID(f, sum)
		}
		z, err := zlib.NewReader(in)
		if err == nil {
			p.data, err = io.ReadAll(z)
		}
		if err != nil {
			panic(err)
		}
		parts = append(parts, p)
	}
	return parts
}

// mutant is a pack that has been tampered with.
type mutant struct {
	source  source
	parts   []part
	version uint32
	count   int                   // added to the number in the header
	body    func(b []byte) []byte // changes what is before the trailer
	sent    func(b []byte) []byte // changes all of it
	strict  bool                  // links must lead somewhere
	names   []string              // of what was done
	bytes   []byte
}

func (m *mutant) String() string {
	return fmt.Sprintf("%s (strict %t): %s", m.source.name, m.strict, strings.Join(m.names, ", "))
}

// mutant makes a pack with up to three changes.
func (j *judge) mutant(r *rand.Rand) *mutant {
	s := j.sources[r.IntN(len(j.sources))]
	keep := func(b []byte) []byte { return b }
	m := &mutant{source: s, parts: takeApart(s.format, s.data), version: 2, body: keep, sent: keep, strict: r.IntN(2) == 0}
	for range []int{0, 1, 1, 1, 1, 1, 1, 2, 2, 3}[r.IntN(10)] {
		name := mutations[r.IntN(len(mutations))]
		m.names = append(m.names, name.name)
		name.do(r, m)
	}
	m.bytes = m.encode()
	return m
}

func newSum(f object.Format) hash.Hash {
	if f == object.SHA256 {
		return sha256.New()
	}
	return sha1.New()
}

// encode puts the parts together again.
func (m *mutant) encode() []byte {
	b := binary.BigEndian.AppendUint32([]byte("PACK"), m.version)
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.parts)+m.count))
	at := make([]int64, len(m.parts))
	for i, p := range m.parts {
		at[i] = int64(len(b))
		var e builder
		e.header(p.kind, max(0, int64(len(p.data))+p.sizeOff))
		switch p.kind {
		case 6:
			dist := max(0, at[i]-at[p.base]+p.distOff)
			enc := []byte{byte(dist & 0x7f)}
			for dist >>= 7; dist > 0; dist >>= 7 {
				dist--
				enc = append([]byte{0x80 | byte(dist&0x7f)}, enc...)
			}
			e.buf.Write(enc)
		case 7:
			e.buf.Write(p.id.Bytes())
		}
		z := p.z
		if z == nil {
			z = deflate(p.data)
		}
		e.buf.Write(z)
		b = append(b, e.buf.Bytes()...)
	}
	b = m.body(b)
	h := newSum(m.source.format)
	h.Write(b)
	return m.sent(h.Sum(b))
}

// pick returns a random entry, one for which ok holds if there is any.
func (m *mutant) pick(r *rand.Rand, ok func(p *part) bool) *part {
	if len(m.parts) == 0 {
		m.parts = []part{{kind: 3}}
	}
	from := r.IntN(len(m.parts))
	for i := range m.parts {
		if p := &m.parts[(from+i)%len(m.parts)]; ok(p) {
			return p
		}
	}
	return &m.parts[from]
}

func anyPart(*part) bool   { return true }
func isDelta(p *part) bool { return p.kind >= 6 }
func isWhole(p *part) bool { return p.kind < 6 }
func isOfs(p *part) bool   { return p.kind == 6 }

// remove takes an entry out; deltas on it are left to point elsewhere.
func (m *mutant) remove(i int) {
	m.parts = slices.Delete(m.parts, i, i+1)
	for n := range m.parts {
		if m.parts[n].base >= i {
			m.parts[n].base = max(0, m.parts[n].base-1)
		}
	}
}

// insert puts an entry at i.
func (m *mutant) insert(i int, p part) {
	for n := range m.parts {
		if m.parts[n].base >= i {
			m.parts[n].base++
		}
	}
	m.parts = slices.Insert(m.parts, i, p)
}

func flip(r *rand.Rand, b []byte) []byte {
	if len(b) == 0 {
		return b
	}
	b = bytes.Clone(b)
	b[r.IntN(len(b))] ^= 1 << r.IntN(8)
	return b
}

// scramble deletes, doubles or changes some bytes.
func scramble(r *rand.Rand, b []byte) []byte {
	if len(b) == 0 {
		return []byte{byte(r.Uint32())}
	}
	i := r.IntN(len(b))
	n := min(len(b)-i, 1+r.IntN(4))
	switch r.IntN(4) {
	case 0:
		return slices.Delete(bytes.Clone(b), i, i+n)
	case 1:
		return slices.Insert(bytes.Clone(b), i, b[i:i+n]...)
	case 2:
		return slices.Insert(bytes.Clone(b), i, byte(r.Uint32()))
	}
	return flip(r, b)
}

// then adds a change to f.
func then(f, g func([]byte) []byte) func([]byte) []byte {
	return func(b []byte) []byte { return g(f(b)) }
}

// level deflates in another way than the one git chose.
func level(data []byte, n int) []byte {
	var buf bytes.Buffer
	z, err := zlib.NewWriterLevel(&buf, n)
	if err != nil {
		panic(err)
	}
	z.Write(data[:len(data)/2])
	z.Flush() // an empty block in between
	z.Write(data[len(data)/2:])
	z.Close()
	return buf.Bytes()
}

var mutations = []struct {
	name string
	do   func(r *rand.Rand, m *mutant)
}{
	{"bit flipped on the way", func(r *rand.Rand, m *mutant) { m.sent = then(m.sent, func(b []byte) []byte { return flip(r, b) }) }},
	{"bit flipped", func(r *rand.Rand, m *mutant) { m.body = then(m.body, func(b []byte) []byte { return flip(r, b) }) }},
	{"bytes scrambled", func(r *rand.Rand, m *mutant) { m.body = then(m.body, func(b []byte) []byte { return scramble(r, b) }) }},
	{"cut on the way", func(r *rand.Rand, m *mutant) {
		m.sent = then(m.sent, func(b []byte) []byte { return b[:r.IntN(len(b)+1)] })
	}},
	{"cut", func(r *rand.Rand, m *mutant) {
		m.body = then(m.body, func(b []byte) []byte { return b[:r.IntN(len(b)+1)] })
	}},
	{"something behind", func(r *rand.Rand, m *mutant) {
		m.sent = then(m.sent, func(b []byte) []byte { return append(b, "0000 something"[:1+r.IntN(14)]...) })
	}},
	{"something before the trailer", func(r *rand.Rand, m *mutant) {
		m.body = then(m.body, func(b []byte) []byte { return append(b, "0000 something"[:1+r.IntN(14)]...) })
	}},
	{"version", func(r *rand.Rand, m *mutant) { m.version = []uint32{0, 1, 3, 3, 3, 4, 1 << 31}[r.IntN(7)] }},
	{"count", func(r *rand.Rand, m *mutant) { m.count += []int{-1, 1, -2, 1 << 30}[r.IntN(4)] }},
	{"entries swapped", func(r *rand.Rand, m *mutant) {
		a, b := m.pick(r, anyPart), m.pick(r, anyPart)
		*a, *b = *b, *a
	}},
	{"entries shuffled", func(r *rand.Rand, m *mutant) {
		order := r.Perm(len(m.parts))
		parts := make([]part, len(m.parts))
		for from, to := range order {
			parts[to] = m.parts[from]
			parts[to].base = order[m.parts[from].base]
		}
		m.parts = parts
	}},
	{"references shuffled", func(r *rand.Rand, m *mutant) {
		// Every offset delta becomes a reference delta, and the order does not matter any more.
		ids := m.ids()
		for i := range m.parts {
			if p := &m.parts[i]; p.kind == 6 {
				p.kind, p.id, p.base = 7, ids[p.base], 0
			}
		}
		r.Shuffle(len(m.parts), func(a, b int) { m.parts[a], m.parts[b] = m.parts[b], m.parts[a] })
	}},
	{"a loop through the repository", func(r *rand.Rand, m *mutant) {
		if ids := slices.SortedFunc(maps.Keys(m.source.objects), object.ID.Compare); len(ids) > 0 {
			id := ids[r.IntN(len(ids))]
			typ, old, _ := m.source.read(id)
			content := append(bytes.Clone(old), 'x')
			m.insert(len(m.parts), part{kind: 7, id: id, data: delta(old, content)})
			m.insert(len(m.parts), part{kind: 7, id: object.HashObject(m.source.format, typ, content), data: delta(content, old)})
		}
	}},
	{"entry left out", func(r *rand.Rand, m *mutant) {
		if len(m.parts) > 0 {
			m.remove(r.IntN(len(m.parts)))
		}
	}},
	{"entry twice", func(r *rand.Rand, m *mutant) {
		p := *m.pick(r, anyPart)
		i := len(m.parts)
		if p.kind != 6 {
			i = r.IntN(i + 1)
		}
		m.insert(i, p)
	}},
	{"object twice, once as a delta", func(r *rand.Rand, m *mutant) {
		p := *m.pick(r, isWhole)
		if n := len(p.data); isWhole(&p) && n > 0 {
			m.insert(r.IntN(len(m.parts)+1), part{kind: 7, id: object.HashObject(m.source.format, object.Type(p.kind), p.data), data: delta(p.data, p.data)})
		}
	}},
	{"size", func(r *rand.Rand, m *mutant) {
		m.pick(r, anyPart).sizeOff += []int64{-1, 1, -10, 100, 1 << 20, 1 << 36}[r.IntN(6)]
	}},
	{"kind", func(r *rand.Rand, m *mutant) { m.pick(r, isWhole).kind = byte(r.IntN(6)) }},
	{"kind of a delta", func(r *rand.Rand, m *mutant) { m.pick(r, isDelta).kind = byte(r.IntN(8)) }},
	{"checksum of an entry", func(r *rand.Rand, m *mutant) {
		p := m.pick(r, anyPart)
		p.z = deflate(p.data)
		p.z[len(p.z)-1-r.IntN(4)] ^= 1 << r.IntN(8)
	}},
	{"deflated data", func(r *rand.Rand, m *mutant) { p := m.pick(r, anyPart); p.z = scramble(r, deflate(p.data)) }},
	{"deflate header", func(r *rand.Rand, m *mutant) {
		p := m.pick(r, anyPart)
		p.z = deflate(p.data)
		binary.BigEndian.PutUint16(p.z, []uint16{0x789c, 0x7801, 0x78da, 0x68de, 0x081d, 0x7820, 0x78bb, 0x889c, 0x0000, 0x1f8b}[r.IntN(10)])
	}},
	{"deflated otherwise", func(r *rand.Rand, m *mutant) {
		for range 3 {
			p := m.pick(r, anyPart)
			p.z = level(p.data, []int{0, 1, 9, -2}[r.IntN(4)])
		}
	}},
	{"not deflated", func(r *rand.Rand, m *mutant) { p := m.pick(r, anyPart); p.z = p.data }},
	{"distance", func(r *rand.Rand, m *mutant) {
		m.pick(r, isOfs).distOff += []int64{-1, 1, 7, 1 << 20, -1 << 20}[r.IntN(5)]
	}},
	{"another base", func(r *rand.Rand, m *mutant) {
		p := m.pick(r, isDelta)
		p.base = r.IntN(len(m.parts))
		if ids := m.ids(); p.kind == 7 {
			p.id = ids[r.IntN(len(ids))]
		}
	}},
	{"a base that nobody has", func(r *rand.Rand, m *mutant) {
		p := m.pick(r, isDelta)
		p.kind, p.id = 7, object.HashObject(m.source.format, object.Blob, []byte(fmt.Sprint(r.Uint64())))
	}},
	{"a loop", func(r *rand.Rand, m *mutant) {
		a, b := fmt.Sprint("a", r.Uint32()), fmt.Sprint("b", r.Uint32())
		id := func(s string) object.ID { return object.HashObject(m.source.format, object.Blob, []byte(s)) }
		m.insert(len(m.parts), part{kind: 7, id: id(a), data: delta([]byte(a), []byte(b))})
		m.insert(len(m.parts), part{kind: 7, id: id(b), data: delta([]byte(b), []byte(a))})
		if r.IntN(2) == 0 { // which is none if one of them is there
			m.insert(r.IntN(len(m.parts)+1), part{kind: 3, data: []byte(a)})
		}
	}},
	{"delta", func(r *rand.Rand, m *mutant) { p := m.pick(r, isDelta); p.data = scramble(r, p.data) }},
	{"sizes of a delta", func(r *rand.Rand, m *mutant) {
		p := m.pick(r, isDelta)
		if base, n := binary.Uvarint(p.data); n > 0 {
			result, k := binary.Uvarint(p.data[n:])
			base, result = base+[]uint64{0, 1, 1 << 20}[r.IntN(3)], result+[]uint64{0, 1, 1 << 20}[r.IntN(3)]
			p.data = slices.Concat(binary.AppendUvarint(nil, base), binary.AppendUvarint(nil, result), p.data[min(len(p.data), n+max(k, 0)):])
		}
	}},
	{"long form of a delta's size", func(r *rand.Rand, m *mutant) {
		p := m.pick(r, isDelta)
		if base, n := binary.Uvarint(p.data); n > 0 && base < 1<<14 {
			long := []byte{byte(base)&0x7f | 0x80, byte(base>>7)&0x7f | 0x80}
			for range r.IntN(6) { // git reads more bytes than nine, which nobody writes
				long = append(long, 0x80)
			}
			p.data = slices.Concat(long, []byte{0}, p.data[n:])
		}
	}},
	{"content of the newest", func(r *rand.Rand, m *mutant) {
		// The first entry is a commit or tag that few link to.
		if len(m.parts) > 0 && isWhole(&m.parts[0]) {
			m.parts[0].data = scramble(r, m.parts[0].data)
		}
	}},
	{"content", func(r *rand.Rand, m *mutant) { p := m.pick(r, isWhole); p.data = scramble(r, p.data) }},
	{"empty object", func(r *rand.Rand, m *mutant) { m.insert(0, part{kind: byte(1 + r.IntN(4))}) }},
	{"empty delta", func(r *rand.Rand, m *mutant) { p := m.pick(r, isDelta); p.data = nil }},
	{"everything left out", func(r *rand.Rand, m *mutant) { m.parts = nil }},
	{"a chain", func(r *rand.Rand, m *mutant) {
		content := []byte(fmt.Sprint("the beginning of a chain ", r.Uint64()))
		m.insert(len(m.parts), part{kind: 3, data: content})
		for i := range 2 + r.IntN(60) {
			next := append(bytes.Clone(content), fmt.Sprint(", ", i)...)
			p := part{kind: 6, base: len(m.parts) - 1, data: delta(content, next)}
			if r.IntN(3) == 0 {
				p = part{kind: 7, id: object.HashObject(m.source.format, object.Blob, content), data: p.data}
			}
			m.insert(len(m.parts), p)
			content = next
		}
	}},
	{"a tree of good entries", func(r *rand.Rand, m *mutant) {
		blob := []byte(fmt.Sprint("blob ", r.Uint64()))
		id := object.HashObject(m.source.format, object.Blob, blob)
		var b []byte
		b = id.Append(append(b, "100644 a\x00"...))
		mode := []string{"100755 b\x00", "120000 b\x00", "160000 b\x00", "40000 b\x00", "100664 b\x00", "0100644 b\x00", "755 b\x00"}[r.IntN(7)]
		b = id.Append(append(b, mode...))
		m.insert(r.IntN(len(m.parts)+1), part{kind: 2, data: b})
		m.insert(r.IntN(len(m.parts)+1), part{kind: 3, data: blob})
	}},
}

// ids are the ids of the entries, as far as they can be known; a zero ID stands for the others.
func (m *mutant) ids() []object.ID {
	ids := make([]object.ID, len(m.parts))
	contents, types := make([][]byte, len(m.parts)), make([]byte, len(m.parts))
	for range 20 {
		byID := map[object.ID]int{}
		for i, id := range ids {
			byID[id] = i
		}
		for i, p := range m.parts {
			base := p.base
			switch {
			case !ids[i].IsZero():
				continue
			case p.kind == 0 || p.kind == 5:
				continue
			case p.kind < 5:
				contents[i], types[i] = p.data, p.kind
			case p.kind == 7:
				n, ok := byID[p.id]
				if !ok {
					typ, data, err := m.source.read(p.id)
					if err != nil {
						continue
					}
					contents[i], types[i] = applied(data, p.data), byte(typ)
					break
				}
				base = n
				fallthrough
			case p.kind == 6:
				if types[base] == 0 {
					continue
				}
				contents[i], types[i] = applied(contents[base], p.data), types[base]
			}
			ids[i] = object.HashObject(m.source.format, object.Type(types[i]), contents[i])
		}
	}
	for i := range ids {
		if ids[i].IsZero() {
			ids[i] = object.HashObject(m.source.format, object.Blob, nil)
		}
	}
	return ids
}

// applied is what a delta makes of base, or nothing.
func applied(base, d []byte) []byte {
	out, err := pack.ApplyDelta(base, d, 1<<20)
	if err != nil {
		return nil
	}
	return out
}

// ours is what Receive makes of a pack. In strict mode every link must lead to an object of the pack or the repository.
func (j *judge) ours(t *testing.T, m *mutant) verdict {
	t.Helper()
	file, err := os.CreateTemp(j.dir, "ours")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(file.Name())
	defer file.Close()
	got, err := pack.Receive(context.Background(), bytes.NewReader(m.bytes), file, pack.Options{
		Format: m.source.format, Base: m.source.read, Fsck: object.FsckOptions{Strict: true}, MaxMemoryBytes: 64 << 20,
	})
	if err != nil {
		return verdict{err: err}
	}
	readAll(t, file, m, got)
	v := verdict{size: got.Size, found: []string{}}
	for _, r := range got.Records {
		if !got.Appended(r) {
			v.found = append(v.found, fmt.Sprintf("%d %s %08x", r.Offset, r.ID.Hex(m.source.format), r.CRC))
		}
	}
	slices.Sort(v.found)
	for _, l := range got.External {
		if typ, ok := m.source.objects[l.ID]; m.strict && (!ok || typ != l.Type) {
			return verdict{err: fmt.Errorf("no %s %s", l.Type, l.ID)}
		}
	}
	return v
}

// gits is what git's index-pack makes of it. Objects behind size are those that it has added.
func (j *judge) gits(t *testing.T, m *mutant, size int64) verdict {
	t.Helper()
	j.made++
	path := filepath.Join(j.dir, fmt.Sprintf("git%d", j.made))
	defer os.Remove(path + ".pack")
	defer os.Remove(path + ".idx")
	check := "--fsck-objects"
	if m.strict {
		check = "--strict"
	}
	c := m.source.repo.cmd(m.bytes, "index-pack", "--stdin", "--fix-thin", check, "-o", path+".idx", path+".pack")
	var stderr strings.Builder
	c.Stderr = &stderr
	if err := c.Run(); err != nil {
		return verdict{err: errors.New(strings.TrimSpace(stderr.String()))}
	}
	idx, err := os.ReadFile(path + ".idx")
	if err != nil {
		t.Fatal(err)
	}
	v := verdict{found: []string{}}
	width := m.source.format.Size()
	n := int(binary.BigEndian.Uint32(idx[8+255*4:]))
	ids := idx[8+256*4:]
	crcs := ids[n*width:]
	offsets := crcs[n*4:]
	for i := range n {
		offset := binary.BigEndian.Uint32(offsets[i*4:])
		if int64(offset) < size-int64(width) {
			v.found = append(v.found, fmt.Sprintf("%d %s %08x", offset, hex.EncodeToString(ids[i*width:(i+1)*width]), binary.BigEndian.Uint32(crcs[i*4:])))
		}
	}
	slices.Sort(v.found)
	return v
}

// readAll reads all objects of an accepted pack by their ids.
func readAll(t *testing.T, file *os.File, m *mutant, got *pack.Received) {
	t.Helper()
	p, err := pack.Open(file.Name(), m.source.format)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	index, err := pack.DecodeIndex(pack.AppendIndex(nil, m.source.format, got.Records))
	if err != nil {
		t.Fatal(err)
	}
	o := pack.ReadOptions{Locate: func(id object.ID) (int64, bool) {
		r, ok, _ := index.Lookup(id)
		return r.Offset, ok
	}}
	for _, r := range got.Records {
		data, typ, err := p.ReadObject(r.Offset, o)
		if err != nil || typ != r.Type || int64(len(data)) != r.Size || object.HashObject(m.source.format, typ, data) != r.ID {
			t.Errorf("%s: the %s %s at %d reads as a %s of %d bytes: %v\n%s", m, r.Type, r.ID, r.Offset, typ, len(data), err, short(m.bytes))
		}
	}
}
