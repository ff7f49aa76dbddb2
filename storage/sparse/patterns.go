package sparse

import (
	"encoding/binary"
	"slices"
)

// Patterns are those of one or more files. A path has to match all of the files. It is not safe for concurrent use.
type Patterns struct {
	all  []pattern // file after file
	full uint64    // a bit for each file

	dirs  []dir
	byKey map[string]Dir
	bytes int // of byKey's keys

	known   map[Dir]*answers
	answers int
	steps   int

	root, alone Dir
}

// MaxFiles is how many files of patterns there can be.
const MaxFiles = 64

// Dir stands for all directories of which the same is to be said. It belongs to one Patterns.
type Dir uint32

// All is a directory below which everything matches.
const All Dir = 0

// dir is what matters about a directory.
type dir struct {
	matched uint64 // the files that take what none of their patterns matches
	live    []live // by their numbers
}

// live is a pattern that the directory's path, and the slash behind it, can be the beginning of.
type live struct {
	pattern uint32
	places  places
}

// answers are known ones, by name.
type answers struct {
	dirs  map[string]Dir
	files map[string]bool
}

const (
	// maxSteps bounds the work, in tokens looked at: some seconds.
	maxSteps = 1 << 28
	// maxDirs and maxKeyBytes bound the directories that are told apart.
	maxDirs     = 1 << 16
	maxKeyBytes = 32 << 20
	// maxAnswers bounds the answers that are remembered.
	maxAnswers = 1 << 17
)

// Parse returns the patterns of some files, MaxFiles at most. There is no malformed file: a malformed pattern matches nothing.
func Parse(files ...[]byte) *Patterns {
	p := &Patterns{byKey: map[string]Dir{}, known: map[Dir]*answers{}, dirs: make([]dir, 1)}
	for i, data := range files {
		p.all = parseList(p.all, uint32(i), data)
		p.full |= 1 << i
	}
	matched := p.decide(0, func(n uint32) bool { return !p.all[n].anchored && p.matchName(n, "") })
	p.root = p.intern(dir{matched, p.start()})
	p.alone = p.intern(dir{0, p.start()})
	return p
}

// Root is the root directory.
func (p *Patterns) Root() Dir { return p.root }

// Alone is the root directory of a tree that is wanted by itself. Git does not match the path of such a one.
func (p *Patterns) Alone() Dir { return p.alone }

// Enter is the directory of a name in another.
func (p *Patterns) Enter(in Dir, name []byte) Dir {
	if in == All || p.steps > maxSteps {
		return All
	}
	known := p.answersOf(in)
	d, ok := known.dirs[string(name)]
	if !ok {
		d = p.enter(in, string(name))
		known.dirs[string(name)] = d
	}
	return d
}

// Has reports whether a file of that name in a directory matches.
func (p *Patterns) Has(in Dir, name []byte) bool {
	if in == All || p.steps > maxSteps {
		return true
	}
	known := p.answersOf(in)
	has, ok := known.files[string(name)]
	if !ok {
		has = p.matchFile(in, string(name))
		known.files[string(name)] = has
	}
	return has
}

// answersOf returns what is known of a directory, to be looked at and added to.
func (p *Patterns) answersOf(in Dir) *answers {
	if p.answers++; p.answers > maxAnswers {
		clear(p.known)
		p.answers = 0
	}
	known := p.known[in]
	if known == nil {
		known = &answers{map[string]Dir{}, map[string]bool{}}
		p.known[in] = known
	}
	return known
}

// start is what the patterns can lead on to from the root.
func (p *Patterns) start() (all []live) {
	for n := range p.all {
		if q := &p.all[n]; q.anchored {
			all = append(all, live{uint32(n), q.start()})
		}
	}
	return all
}

func (p *Patterns) enter(in Dir, name string) Dir {
	at := p.dirs[in]
	var whole []uint32 // ascending
	next := dir{}
	for _, l := range at.live {
		q := &p.all[l.pattern]
		places := p.follow(q, l.places, name)
		if q.ends(places) {
			whole = append(whole, l.pattern)
		}
		if places = p.follow(q, places, "/"); len(places) > 0 {
			next.live = append(next.live, live{l.pattern, places})
		}
	}
	next.matched = p.decide(at.matched, func(n uint32) bool {
		for len(whole) > 0 && whole[len(whole)-1] > n {
			whole = whole[:len(whole)-1]
		}
		if len(whole) > 0 && whole[len(whole)-1] == n {
			return true
		}
		return !p.all[n].anchored && p.matchName(n, name)
	})
	return p.intern(next)
}

func (p *Patterns) matchFile(in Dir, name string) bool {
	at := p.dirs[in]
	rest := at.live
	return p.full == p.decide(at.matched, func(n uint32) bool {
		q := &p.all[n]
		switch {
		case q.dirOnly:
			return false
		case !q.anchored:
			return p.matchName(n, name)
		}
		for len(rest) > 0 && rest[len(rest)-1].pattern > n {
			rest = rest[:len(rest)-1]
		}
		if len(rest) == 0 || rest[len(rest)-1].pattern < n {
			return false
		}
		return q.ends(p.follow(q, rest[len(rest)-1].places, name))
	})
}

func (p *Patterns) matchName(n uint32, name string) bool {
	ok, steps := p.all[n].matches(name)
	p.steps += steps
	return ok
}

func (p *Patterns) follow(q *pattern, from places, text string) places {
	to, steps := q.follow(from, text)
	p.steps += steps
	return to
}

// decide asks matches about the patterns, the last first, until each file has one that matches. It returns the files that take
// the path; those without such a pattern fare as in inherited.
func (p *Patterns) decide(inherited uint64, matches func(n uint32) bool) (matched uint64) {
	undecided := p.full
	for n := uint32(len(p.all)); n > 0 && undecided != 0; {
		n--
		bit := uint64(1) << p.all[n].list
		if undecided&bit == 0 || !matches(n) {
			continue
		}
		undecided &^= bit
		if !p.all[n].negative {
			matched |= bit
		}
	}
	return matched | inherited&undecided
}

// intern returns the Dir of what matters about a directory.
func (p *Patterns) intern(d dir) Dir {
	key := binary.LittleEndian.AppendUint64(nil, d.matched)
	for _, l := range d.live {
		key = binary.LittleEndian.AppendUint32(key, l.pattern)
		for _, word := range l.places {
			key = binary.LittleEndian.AppendUint64(key, word)
		}
	}
	if known, ok := p.byKey[string(key)]; ok {
		return known
	}
	if len(p.dirs) >= maxDirs || p.bytes > maxKeyBytes {
		return All
	}
	if d.matched == p.full && len(d.live) == 0 && !slices.ContainsFunc(p.all, func(q pattern) bool { return !q.anchored }) {
		return All
	}
	p.dirs = append(p.dirs, d)
	p.bytes += len(key)
	p.byKey[string(key)] = Dir(len(p.dirs) - 1)
	return Dir(len(p.dirs) - 1)
}
