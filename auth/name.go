package auth

import (
	"fmt"
	"strings"
)

// AdminRepo is the name of the repository that holds the policy. It has no file in the policy: host admins, and nobody
// else, may read and write it.
const AdminRepo = "holdfast-admin"

// Limits of names, in bytes.
const (
	MaxRepoName = 255
	MaxUserName = 64
)

// reservedUsers are names with a meaning of their own: the user part of an SSH URL, the stand-ins for a user name in
// HTTP authentication, and the actors that the host itself writes into its journal.
var reservedUsers = map[string]bool{"git": true, "token": true, "anonymous": true, "holdfast": true}

// ValidName reports what is wrong with name as the name of a repository: segments [A-Za-z0-9_][A-Za-z0-9._-]* joined by
// slashes, at most MaxRepoName bytes in all, no segment ending in .git or .lock. A segment before a slash does not end
// in .yaml, or its folder would collide with the file of another repository. AdminRepo is a valid name here.
func ValidName(name string) error {
	if err := validLength(name, MaxRepoName); err != nil {
		return err
	}
	segments := strings.Split(name, "/")
	for i, s := range segments {
		if err := validSegment(s); err != nil {
			return fmt.Errorf("name %q: %w", name, err)
		}
		if i < len(segments)-1 && hasSuffixFold(s, ".yaml") {
			return fmt.Errorf("name %q: a folder may not end in .yaml", name)
		}
	}
	return nil
}

// ValidUser reports what is wrong with name as the name of a user, a group or a token: one segment of a repository's
// name, at most MaxUserName bytes, and none of the reserved names git, token, anonymous and holdfast.
func ValidUser(name string) error {
	if err := validLength(name, MaxUserName); err != nil {
		return err
	}
	if err := validSegment(name); err != nil {
		return fmt.Errorf("name %q: %w", name, err)
	}
	if reservedUsers[strings.ToLower(name)] {
		return fmt.Errorf("name %q is reserved", name)
	}
	return nil
}

func validLength(name string, limit int) error {
	if len(name) > limit {
		return fmt.Errorf("name %q... has %d bytes, more than %d", name[:32], len(name), limit)
	}
	return nil
}

func validSegment(s string) error {
	if s == "" {
		return fmt.Errorf("a part of it is empty")
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_':
		case (c == '.' || c == '-') && i > 0:
		case c == '.' || c == '-':
			return fmt.Errorf("%q begins with %q; begin with a letter, a digit or _", s, c)
		default:
			return fmt.Errorf("%q has a character that is not allowed; use A-Z a-z 0-9 . _ -", s)
		}
	}
	for _, suffix := range []string{".git", ".lock"} {
		if hasSuffixFold(s, suffix) {
			return fmt.Errorf("%q ends in %s", s, suffix)
		}
	}
	return nil
}

func hasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}
