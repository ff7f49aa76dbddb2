package auth

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bundle is a file of git's, kept elsewhere, with which a clone of a repository can begin. The host neither makes it nor
// looks at it; whoever may read the repository is told of it.
type Bundle struct {
	ID  string // letters, digits and dashes
	URI string // of http or https
	// CreationToken orders bundles by age: a client that has one takes those with higher tokens only. 0 is none.
	CreationToken uint64
}

const maxURIBytes = 2048

// bundle appends the bundle that n describes.
func (r *reader) bundle(n *yaml.Node, bundles []Bundle) []Bundle {
	before, b := len(r.problems), Bundle{}
	r.mapping(n, map[string]field{
		"id":  func(n *yaml.Node) { b.ID, _ = r.text(n) },
		"uri": func(n *yaml.Node) { b.URI, _ = r.text(n) },
		"creation_token": func(n *yaml.Node) {
			value, ok := r.text(n)
			var err error
			if b.CreationToken, err = strconv.ParseUint(value, 10, 63); ok && (err != nil || b.CreationToken == 0) {
				r.problem(n.Line, "a creation token is a positive number, not %.40q", value)
			}
		},
	})
	if len(r.problems) > before {
		return bundles
	}
	if err := b.check(); err != nil {
		r.problem(n.Line, "bundle: %v", err)
		return bundles
	}
	if slices.ContainsFunc(bundles, func(other Bundle) bool { return other.ID == b.ID }) {
		r.problem(n.Line, "there is another bundle of the id %s", b.ID)
		return bundles
	}
	return append(bundles, b)
}

func (b Bundle) check() error {
	if b.ID == "" || len(b.ID) > 100 || strings.ContainsFunc(b.ID, func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		return fmt.Errorf("an id has up to 100 letters, digits and dashes, not %.40q", b.ID)
	}
	u, err := url.Parse(b.URI)
	switch {
	case len(b.URI) > maxURIBytes:
		return fmt.Errorf("a uri has at most %d bytes", maxURIBytes)
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.ContainsFunc(b.URI, func(r rune) bool { return r <= ' ' || r > '~' }):
		return fmt.Errorf("%.100q is no uri that begins with https:// or http://", b.URI)
	case u.User != nil:
		return errors.New("a uri must not hold a password: everybody who may read the repository sees it")
	}
	return nil
}
