package svnrepos

import (
	"context"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"holdfast/storage"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// LockRequest asks for locks of files.
type LockRequest struct {
	Targets []svnfs.LockTarget
	Comment *string // nil for none
	Steal   bool    // take locks over from others

	User      string // empty for an anonymous client, which gets none
	Committer svnfs.Committer
	Meta      storage.Meta
}

// UnlockRequest gives locks back, or breaks those of others.
type UnlockRequest struct {
	Targets []UnlockTarget
	Break   bool // whatever the token and whoever the owner is

	User      string // empty for an anonymous client
	Committer svnfs.Committer
	Meta      storage.Meta
}

// UnlockTarget is a lock to remove.
type UnlockTarget struct {
	Path  string // absolute
	Token string
}

// errUnescapable is the number of SVN_ERR_XML_UNESCAPABLE_DATA.
const errUnescapable svn.Code = 130004

// Lock locks files, those that it can, in one entry of the journal, zero if there is none. The results are in the order of the
// targets; a path that is named twice is locked once, as it is named last. An error means that nothing was locked.
func (r *Repository) Lock(ctx context.Context, req LockRequest) ([]svnfs.LockResult, storage.Entry, error) {
	if len(req.Targets) == 0 {
		return nil, storage.Entry{}, nil
	}
	if req.User == "" {
		return nil, storage.Entry{}, svn.Errorf(svn.ErrFSNoUser, "Cannot lock path, no authenticated username available.")
	}
	if req.Comment != nil && !safeComment(*req.Comment) {
		return nil, storage.Entry{}, svn.Errorf(errUnescapable, "Lock comment contains illegal characters")
	}
	paths, last := make([]string, len(req.Targets)), map[string]svnfs.LockTarget{}
	for i, t := range req.Targets {
		paths[i], last[t.Path] = t.Path, t
	}
	refused := append(refusePaths(r, last), refuseTokens(last)...)
	results, entry, err := r.FS.SetLocks(ctx, req.Committer, req.Meta, req.User, req.Comment, req.Steal,
		slices.Collect(maps.Values(last)))
	if err != nil {
		return nil, storage.Entry{}, err
	}
	return inOrder(paths, append(results, refused...)), entry, nil
}

// Unlock removes locks, those that it can; what it returns is like Lock's.
func (r *Repository) Unlock(ctx context.Context, req UnlockRequest) ([]svnfs.LockResult, storage.Entry, error) {
	if len(req.Targets) == 0 {
		return nil, storage.Entry{}, nil
	}
	if req.User == "" {
		return nil, storage.Entry{}, svn.Errorf(svn.ErrFSNoUser, "Cannot unlock, no authenticated username available")
	}
	paths, tokens := make([]string, len(req.Targets)), map[string]string{}
	for i, t := range req.Targets {
		paths[i], tokens[t.Path] = t.Path, t.Token
	}
	refused := refusePaths(r, tokens)
	results, entry, err := r.FS.Unlocks(ctx, req.Committer, req.Meta, req.User, req.Break, tokens)
	if err != nil {
		return nil, storage.Entry{}, err
	}
	return inOrder(paths, append(results, refused...)), entry, nil
}

// refusePaths takes the paths out that the client may not write, and returns the results for them.
func refusePaths[T any](r *Repository, byPath map[string]T) (refused []svnfs.LockResult) {
	for path := range byPath {
		if !r.allows(path, Write) {
			delete(byPath, path)
			refused = append(refused, svnfs.LockResult{Path: path, Err: notAuthorized()})
		}
	}
	return refused
}

// refuseTokens takes the targets out whose tokens no lock can have, and returns the results for them.
func refuseTokens(byPath map[string]svnfs.LockTarget) (refused []svnfs.LockResult) {
	for path, t := range byPath {
		if err := checkToken(t.Token); t.Token != "" && err != nil {
			delete(byPath, path)
			refused = append(refused, svnfs.LockResult{Path: path, Err: err})
		}
	}
	return refused
}

const tokenScheme = "opaquelocktoken"

// checkToken checks one that is not made here. It must be fit to be a part of XML.
func checkToken(token string) error {
	if !strings.HasPrefix(token, tokenScheme+":") {
		return svn.Errorf(svn.ErrFSBadLockToken, "Lock token URI '%s' has bad scheme; expected '%s'", token, tokenScheme)
	}
	for i := range len(token) {
		if c := token[i]; c < ' ' || c >= 0x7f {
			return svn.Errorf(svn.ErrFSBadLockToken, "Lock token '%s' is not ASCII or is a control character at byte %d", token, i)
		}
	}
	return nil
}

// inOrder returns the result of each path.
func inOrder(paths []string, results []svnfs.LockResult) []svnfs.LockResult {
	byPath := make(map[string]svnfs.LockResult, len(results))
	for _, res := range results {
		byPath[res.Path] = res
	}
	ordered := make([]svnfs.LockResult, len(paths))
	for i, path := range paths {
		ordered[i] = byPath[path]
	}
	return ordered
}

// safeComment reports whether a lock's comment can be part of XML, as it is where locks travel by HTTP.
func safeComment(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' && c != '\n' && c != '\r' {
			return false
		}
	}
	return utf8.ValidString(s)
}

// GetLock returns the lock of a path, nil if there is none.
func (r *Repository) GetLock(path string) (*svn.Lock, error) {
	if !r.readable(path) {
		return nil, notAuthorized()
	}
	return r.FS.Lock(path)
}

// GetLocks returns the locks of a path and, to a depth, of what is below it, those that the client may read.
func (r *Repository) GetLocks(path string, depth svn.Depth) ([]svn.Lock, error) {
	if depth < svn.DepthEmpty {
		return nil, svn.Errorf(svn.ErrIncorrectParams, "Invalid 'depth' specified in get-locks request")
	}
	locks, err := r.FS.Locks(path, depth)
	if err != nil {
		return nil, err
	}
	readable := locks[:0:0]
	for _, l := range locks {
		if r.readable(l.Path) {
			readable = append(readable, l)
		}
	}
	return readable, nil
}
