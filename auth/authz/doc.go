// Package authz reads Subversion's authz files and answers who may read or write which path of which repository.
//
// A file has sections. [groups] and [aliases] name sets of users and single users. Every other section is a rule: a path,
// of one repository ([repo:/path]) or of all ([/path]), with what users may do there and below. In a [:glob:repo:/path]
// the segments of the path may have wildcards: "*" is one segment or a part of one, "**" any number of segments.
//
//	[groups]
//	devs = harry, @leads
//	[:glob:/**/secret]
//	~@devs =
//	* = r
//
// The rule that decides about a path and a user is, of those that match the path or its nearest ancestor and speak of the
// user, the last of the file. A rule of the repository hides one of all repositories with the same path, if it speaks
// of the user. Where there is no rule, nobody may do anything.
//
// For each pair of a repository and a user, a View holds a tree of the rules that concern them, a node for each
// segment. A question walks down the tree with the set of nodes that match so far. A node also knows the least and the most that
// is granted anywhere below it, which answers questions about whole trees, and ends most walks early.
//
// Questions about trees look at rules alone, not at what a repository holds: a rule that no path matches counts.
// Where rules with wildcards are in play, the answer may be "no" although every path is allowed, never the other way around.
//
// Subversion 1.14 takes the root to have a segment with an empty name, so that "*" matches the root, and a question about the whole
// tree of the root sees no rule below it. That lets users read and write what they may not; here, neither is so.
//
// Sources: the behaviour of Subversion 1.14, libsvn_repos/authz.c and authz_parse.c; the syntax of libsvn_subr/config_file.c.
package authz

import "fmt"

// The bounds of a file.
const (
	MaxBytes    = 4 << 20 // of a file
	MaxRules    = 50_000  // sections of a file
	MaxSegments = 1000    // of one rule's path
	MaxMembers  = 1 << 20 // of all groups together, with the members of groups in them
)

// Op is what a user wants to do with a path.
type Op uint8

// The operations. Those of trees also need the right for all that may lie below the path. To write is to read as well.
const (
	Read Op = iota
	ReadTree
	Write
	WriteTree
)

func (o Op) needs() access {
	if o >= Write {
		return accessWrite
	}
	return accessRead
}

func (o Op) recursive() bool { return o == ReadTree || o == WriteTree }

// access is a set of rights.
type access uint8

const (
	accessNone  access = 0
	accessRead  access = 1
	accessWrite access = 3 // with accessRead
	flagWrite   access = 2
)

func (a access) has(b access) bool { return a&b == b }

// Error is what is wrong with a file.
type Error struct {
	Line int // from 1; 0 if it is about the file as a whole
	Msg  string
}

// Error returns the message, with the line.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Msg
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Msg)
}

func errorf(line int, format string, args ...any) error {
	return &Error{line, fmt.Sprintf(format, args...)}
}
