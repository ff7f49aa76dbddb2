package storage

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxRefNameBytes is the length that no ref name exceeds.
const MaxRefNameBytes = 1024

// HeadRef is the name of the one symbolic ref of a repository.
const HeadRef = "HEAD"

// ValidRefName reports, as an error that wraps ErrRefName, why git's receive-pack would refuse the ref: it wants
// refs/ and two more components by the rules of git-check-ref-format. Beyond git, a name must be UTF-8 and at most
// MaxRefNameBytes long. Names that differ in case or Unicode normalization only are different refs, as with git on
// Linux.
func ValidRefName(name string) error {
	bad := func(why string) error { return fmt.Errorf("%w: %s", ErrRefName, why) }
	rest, ok := strings.CutPrefix(name, "refs/")
	switch {
	case len(name) > MaxRefNameBytes:
		return bad(fmt.Sprintf("longer than %d bytes", MaxRefNameBytes))
	case !utf8.ValidString(name):
		return bad("not UTF-8")
	case !ok || !strings.Contains(rest, "/"):
		return bad("want refs/KIND/NAME, such as refs/heads/main")
	case strings.HasSuffix(name, "."):
		return bad("it ends with a dot")
	case strings.Contains(name, ".."):
		return bad("it contains ..")
	case strings.Contains(name, "@{"):
		return bad("it contains @{")
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c == 0x7f || strings.IndexByte("~^:?*[\\", c) >= 0 {
			return bad(fmt.Sprintf("it contains %q", c))
		}
	}
	for component := range strings.SplitSeq(rest, "/") {
		switch {
		case component == "":
			return bad("an empty component")
		case component[0] == '.':
			return bad("a component starts with a dot")
		case strings.HasSuffix(component, ".lock"):
			return bad("a component ends with .lock")
		}
	}
	return nil
}

// validHead reports why HEAD cannot point at target.
func validHead(target string) error {
	if err := ValidRefName(target); err != nil {
		return err
	}
	if !isBranch(target) {
		return fmt.Errorf("%w: HEAD must point at a branch, below refs/heads/", ErrRefName)
	}
	return nil
}

func isBranch(name string) bool { return strings.HasPrefix(name, "refs/heads/") }
