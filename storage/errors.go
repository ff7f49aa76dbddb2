package storage

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// IsSystem reports whether an error is the operating system's, which has too many files open, say: it is not about what is in a file.
func IsSystem(err error) bool {
	var system syscall.Errno
	return errors.As(err, &system)
}

// Causes, to be found with errors.Is in what this package returns.
var (
	// ErrNotFound: there is no repository, ref, object, pack or secret of that name.
	ErrNotFound = errors.New("not found")
	// ErrExists: the repository exists already.
	ErrExists = errors.New("exists already")
	// ErrInUse: another process holds the directory.
	ErrInUse = errors.New("another holdfast process uses it: stop it first, or run the command beside it as the same user")
	// ErrClosed: the store was closed, or a failed write of host.db stopped it.
	ErrClosed = errors.New("the store is closed")
	// ErrDetached: a detached store takes replayed entries only, any other store takes none.
	ErrDetached = errors.New("the store is detached: it serves reads until `holdfast takeover`")
	// ErrAttached: replayed entries are taken by a detached store only.
	ErrAttached = errors.New("the store is not detached: it takes no replayed entries")
	// ErrTooLarge: a limit of Options is exceeded.
	ErrTooLarge = errors.New("too large")
	// ErrStale: the ref is not where the pusher believed it to be.
	ErrStale = errors.New("the ref has moved meanwhile: fetch first")
	// ErrRefName: the name is no ref name that git would take.
	ErrRefName = errors.New("not a valid ref name")
	// ErrRefConflict: one ref's name would be a directory of another's, or a push names a ref twice.
	ErrRefConflict = errors.New("the ref name conflicts with another ref")
	// ErrMissing: an object that a pushed object or ref needs is in neither the push nor the repository.
	ErrMissing = errors.New("missing object")
	// ErrWrongType: an object is not of the type that the link or ref to it demands.
	ErrWrongType = errors.New("object of the wrong type")
	// ErrNotCommit: a ref below refs/heads/ must name a commit.
	ErrNotCommit = errors.New("a branch must name a commit")
	// ErrCorrupt: what is on disk contradicts itself; run `holdfast check`.
	ErrCorrupt = errors.New("the store is corrupt")
	// ErrMerged: the pack's objects were merged into another pack; its bytes as they were received are on the mirrors only.
	ErrMerged = errors.New("merged into another pack: its bytes as received are on the mirrors only")
	// ErrEmpty: the transaction changes nothing.
	ErrEmpty = errors.New("nothing to commit")
)

// Error names the operation that failed and its place. Err is the cause.
type Error struct {
	Op   string // such as "commit"
	Repo RepoID // empty where no repository is concerned
	Err  error
}

// Error returns the operation, the place and the cause.
func (e *Error) Error() string {
	if e.Repo == "" {
		return fmt.Sprintf("%s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("%s: repository %s: %v", e.Op, e.Repo, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// RefError says why one ref update of a transaction was refused. Take the update out with Txn.Drop to commit the others.
type RefError struct {
	Repo RepoID
	Ref  string
	Err  error
}

// Error returns the ref and the cause.
func (e *RefError) Error() string { return fmt.Sprintf("%s: %v", e.Ref, e.Err) }

// Unwrap returns the cause.
func (e *RefError) Unwrap() error { return e.Err }

// RefErrors are all the ref updates of a transaction that were refused at once; never empty.
type RefErrors []*RefError

// Error returns the first few refs with their causes.
func (e RefErrors) Error() string {
	const shown = 3
	var b strings.Builder
	for i, r := range e {
		if i == shown {
			fmt.Fprintf(&b, "; and %d more", len(e)-shown)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(r.Error())
	}
	return b.String()
}

// Unwrap returns the refs' errors.
func (e RefErrors) Unwrap() []error {
	all := make([]error, len(e))
	for i, r := range e {
		all[i] = r
	}
	return all
}

// orNil returns e as an error, nil if nothing was refused.
func (e RefErrors) orNil() error {
	if len(e) == 0 {
		return nil
	}
	return e
}
