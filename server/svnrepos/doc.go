// Package svnrepos is the repository layer between the wire protocol and the filesystem: what a Subversion server does
// with a repository, as methods of Repository. It reports updates, replays revisions, follows history, commits edits, and
// hides from a client what it may not read.
//
// Sources: the behaviour of Subversion's svn_repos.h and libsvn_repos.
package svnrepos

import (
	"holdfast/storage/svnfs"
)

// Access says what the client of a session may do. Paths are absolute and canonical.
type Access interface {
	// Allows reports whether the client may read or write a path and, for the recursive ones, all that lies or may lie below it.
	Allows(path string, op Op) bool
}

// Op is what a client wants to do with a path.
type Op uint8

// The operations.
const (
	Read Op = iota
	ReadTree
	Write
	WriteTree
)

// Repository is one repository as one client sees it. It is cheap to make, and for one session.
type Repository struct {
	FS     *svnfs.FS
	Access Access // nil allows everything
}

func (r *Repository) allows(path string, op Op) bool {
	return r.Access == nil || r.Access.Allows(path, op)
}

// readable reports whether the client may read a path.
func (r *Repository) readable(path string) bool { return r.allows(path, Read) }
