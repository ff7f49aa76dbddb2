package svnproto

import (
	"context"

	"holdfast/server/svnrepos"
	"holdfast/storage"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// Host finds repositories. Sessions call it from many goroutines.
//
// Errors of a Host, a Target and a View reach the client with code and text where they are or wrap an *svn.Error; of any other
// error it learns only that there was one. Serve returns them whole.
type Host interface {
	// Open finds the repository that a client's URL leads to. Its error ends the session: svn.ErrRASvnReposNotFound with
	// "No repository found in '<url>'" if there is none.
	Open(ctx context.Context, c Client) (*Target, error)
}

// Client is what a client says of itself at the start.
type Client struct {
	URL          string   // canonical and percent-encoded: svn://host/path or svn+ssh://user@host/path
	Agent        string   // the library, such as "SVN/1.14.2 (x86_64-pc-linux-gnu)"; may be empty
	Program      string   // what uses the library; most often empty
	Capabilities []string // the words as sent
}

// Has reports whether the client has a capability.
func (c Client) Has(word string) bool {
	for _, w := range c.Capabilities {
		if w == word {
			return true
		}
	}
	return false
}

// Level is what may be done with a repository at most. Single paths are for the Access of a View's Repository to grant.
type Level uint8

// The levels, each with those before it.
const (
	NoAccess Level = iota
	ReadAccess
	WriteAccess
)

// Target is the repository of one session and the way into it.
type Target struct {
	RootURL string // the repository's own URL: Client.URL without Base
	Base    string // where the session starts: absolute, canonical and decoded; "/" for the root
	Realm   string // what clients keep passwords under; svnserve takes the repository's UUID unless it is told another

	Anonymous     Level // without a name
	Authenticated Level // with one

	// Secret returns the password of a user for CRAM-MD5, and whether there is one. With a nil Secret, CRAM-MD5 is not offered.
	Secret func(ctx context.Context, user string) (password string, ok bool)

	// View opens the repository for a user, "" for an anonymous one. It is called at most once for each of both, not before
	// the client has authenticated as that user, and not for an anonymous one without Anonymous access.
	// Its error refuses the user: svn.ErrRANotAuthorized.
	View func(ctx context.Context, user string) (*View, error)
}

// View is the repository as one user has it.
type View struct {
	Repo *svnrepos.Repository // carries the paths that the user may read and write

	// Committer and Meta make a change durable and say who made it. They may be nil if the user's Level is below WriteAccess.
	Committer svnfs.Committer
	Meta      func() storage.Meta // called once for each change

	Hooks     Hooks     // nil for none; then nobody may change revision properties, as in Subversion
	LockHooks LockHooks // nil for none; then locks that a commit ends go in the same step as it

	// Ready, if set, is called before locks are made or given back, once for all of a command; its error refuses them all.
	Ready func(ctx context.Context) error
	// Settled, if set, is called after each commit, and after locks were made or given back, before the client is told of it. What it
	// returns, if not empty, is shown to the client as a warning: that mirrors lag, for instance. The change stands whatever it says.
	Settled func(ctx context.Context) (warning string)
}

// Somewhere is what the Access of a Repository may have besides: whether there may be a path at all with which the client may do op.
// Without it the Level alone decides whether a client is asked for its name before a commit or a change of a revision property.
type Somewhere interface {
	AllowsSomewhere(op svnrepos.Op) bool
}

// Hooks are asked before a change and told after it. An error of one that is asked refuses the change; it should be an
// svn.ErrReposHookFailure. An error of one that is told is a warning: the change stands. Embed NoHooks for those that are not needed.
//
// Source: the hook scripts of a Subversion repository, which these are the occasions of.
type Hooks interface {
	// StartCommit comes before anything of a commit's tree has been received; props are the revision properties to be. txn is
	// the transaction's name.
	StartCommit(ctx context.Context, c Client, user, txn string, props svn.Props) error
	// PreCommit comes when the transaction is complete. The tokens are those of locks that the client has, by path, relative to the
	// session's.
	PreCommit(ctx context.Context, txn *svnfs.Txn, tokens map[string]string) error
	// PostCommit comes when the revision is there.
	PostCommit(ctx context.Context, rev svn.Revnum, txn string) error
	// PreRevPropChange and PostRevPropChange surround a change of a revision property; nil is one that is not there.
	PreRevPropChange(ctx context.Context, rev svn.Revnum, user, name string, old, value *string) error
	PostRevPropChange(ctx context.Context, rev svn.Revnum, user, name string, old, value *string) error
}

// LockHooks are asked before locks are made or given back, and told after it, in the manner of Hooks. They are asked about locks that a
// commit ends when it has been done: what they refuse stays locked.
type LockHooks interface {
	// PreLock may return the token that the lock is to have, or "".
	PreLock(ctx context.Context, path, user, comment string, steal bool) (token string, err error)
	PostLock(ctx context.Context, paths []string, user string) error
	PreUnlock(ctx context.Context, path, user, token string, breakLock bool) error
	PostUnlock(ctx context.Context, paths []string, user string) error
}

// NoHooks allows everything and does nothing.
type NoHooks struct{}

// StartCommit and the others satisfy Hooks.
func (NoHooks) StartCommit(context.Context, Client, string, string, svn.Props) error { return nil }

// PreCommit allows it.
func (NoHooks) PreCommit(context.Context, *svnfs.Txn, map[string]string) error { return nil }

// PostCommit does nothing.
func (NoHooks) PostCommit(context.Context, svn.Revnum, string) error { return nil }

// PreRevPropChange allows it.
func (NoHooks) PreRevPropChange(context.Context, svn.Revnum, string, string, *string, *string) error {
	return nil
}

// PostRevPropChange does nothing.
func (NoHooks) PostRevPropChange(context.Context, svn.Revnum, string, string, *string, *string) error {
	return nil
}

// Options shape a session. The zero value serves svn:// with the default limits. A limit of zero means its default; none can be
// switched off.
type Options struct {
	// TunnelUser is who the transport has authenticated, as ssh does: EXTERNAL is offered, which takes that name. "" for none.
	TunnelUser string
	// Hidden, if set, is called with each error of a command that the client does not learn all of, as some of it has no code.
	Hidden func(err error)

	MaxRequestBytes int64 // one command, or one command of an edit or a report; default 16 MiB
	MaxItems        int   // items of one command; default 1 << 18
	MaxCommitBytes  int64 // names, properties and tokens of one commit, which are kept in memory, with 512 for each; default 1 GiB
	MaxTextBytes    int64 // one text of a commit; all may be that and 1024 times what was sent of them; default 4 GiB
	MaxAuthTries    int   // answers to one authentication request; default 8
}
