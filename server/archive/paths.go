package archive

import (
	"errors"
	"fmt"
	"strings"
)

// pathSet is what a request wants of the tree. Without paths it is everything.
type pathSet struct {
	paths []*wantedPath
	left  int // paths that have met nothing yet
}

// wantedPath is a path or pattern. A path stands for all that is below it, too.
type wantedPath struct {
	given string
	path  string // clean; empty for the whole tree
	fixed string // what comes before the first special character; all of it in a path
	glob  *glob  // nil for a path
	isDir bool   // it ended in a slash
	found bool
}

func newPathSet(given []string) (*pathSet, error) {
	if len(given) > maxPaths {
		return nil, fmt.Errorf("%d paths, more than %d", len(given), maxPaths)
	}
	s := &pathSet{left: len(given)}
	for _, g := range given {
		p, err := newWantedPath(g)
		if err != nil {
			return nil, fmt.Errorf("path %.200q: %w", g, err)
		}
		s.paths = append(s.paths, p)
	}
	return s, nil
}

func newWantedPath(given string) (*wantedPath, error) {
	switch {
	case given == "":
		return nil, errors.New("an empty path: leave it out, or write a dot for the whole tree")
	case given[0] == ':':
		return nil, errors.New("paths that begin with a colon are not served here")
	case given[0] == '/':
		return nil, errors.New("paths begin at the root of the tree, without a slash")
	}
	p := &wantedPath{given: given, isDir: strings.HasSuffix(given, "/")}
	var parts []string
	for part := range strings.SplitSeq(given, "/") {
		switch part {
		case "", ".":
		case "..":
			return nil, errors.New("it leads out of the tree")
		default:
			parts = append(parts, part)
		}
	}
	p.path = strings.Join(parts, "/")
	p.fixed = p.path
	if i := strings.IndexAny(p.path, `*?[\`); i >= 0 {
		g, err := parseGlob(p.path, crossing)
		if err != nil {
			return nil, err
		}
		p.fixed, p.glob = p.path[:i], &g
	}
	return p, nil
}

// matches reports whether a file, link or submodule is wanted.
func (s *pathSet) matches(name string) bool {
	for _, p := range s.paths {
		if below(name, p.path) && (name != p.path || !p.isDir) || p.glob != nil && p.glob.match(name) {
			return true
		}
	}
	return len(s.paths) == 0
}

// cost bounds the steps that matches and find take.
func (s *pathSet) cost(name string) (n int64) {
	for _, p := range s.paths {
		if n++; p.glob != nil {
			n += p.glob.cost(name)
		}
	}
	return n
}

// leadsInto reports whether something in a directory may be wanted.
func (s *pathSet) leadsInto(dir string) bool {
	for _, p := range s.paths {
		if below(dir, p.path) || strings.HasPrefix(p.fixed, dir+"/") || p.glob != nil && strings.HasPrefix(dir+"/", p.fixed) {
			return true
		}
	}
	return len(s.paths) == 0
}

// below reports whether name is path or lies in it.
func below(name, path string) bool {
	return path == "" || strings.HasPrefix(name, path) && (len(name) == len(path) || name[len(path)] == '/')
}

// find notes which paths meet a file or directory.
func (s *pathSet) find(name string) {
	for _, p := range s.paths {
		if !p.found && (p.path == "" || name == p.path || p.glob != nil && p.glob.match(name)) {
			p.found = true
			s.left--
		}
	}
}

func (s *pathSet) allFound() bool { return s.left == 0 }

// check returns an error that names a path that meets nothing.
func (s *pathSet) check() error {
	for _, p := range s.paths {
		if !p.found {
			return fmt.Errorf("path %.200q is not in the tree", p.given)
		}
	}
	return nil
}
