package svnrepos

import (
	"context"
	"errors"

	"holdfast/storage"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// CommitRequest is what a client says before it describes a commit, and what the server adds.
type CommitRequest struct {
	Base       string            // absolute path of the editor's root
	RevProps   svn.Props         // of the new revision; svn:author and svn:date are set here
	LockTokens map[string]string // token by absolute path
	KeepLocks  bool              // do not unlock the paths of LockTokens
	User       string            // empty for an anonymous client

	Committer svnfs.Committer
	Meta      func() storage.Meta // called once, for the commit; its time is the revision's date

	// PreCommit looks at the finished transaction and may refuse it; nil looks at nothing. It should return an error of
	// svn.ErrReposHookFailure.
	PreCommit func(*svnfs.Txn) error
	// PostCommit runs after the commit, which stands whatever it returns; clients show its error as a warning. It may be nil.
	PostCommit func(svn.Revnum) error
}

// CommitInfo tells a client what became of its commit.
type CommitInfo struct {
	Rev           svn.Revnum
	Entry         storage.Entry // of the journal
	Date          string        // empty if the revision has none
	Author        *string       // nil if it has none
	PostCommitErr string        // empty if all went well
}

// internalProps are names that Subversion's filesystem keeps for itself.
var internalProps = [...]string{"svn:check-ood", "svn:check-locks", "svn:client-date"}

// CommitEditor makes a revision of what it is told. An error leaves the transaction open until Abort, as Subversion does.
//
// Source: the behaviour of libsvn_repos/commit.c and fs-wrap.c.
type CommitEditor struct {
	r    *Repository
	ctx  context.Context
	req  CommitRequest
	txn  *svnfs.Txn // nil before OpenRoot, and after Close and Abort
	root *svnfs.Root
	info CommitInfo
}

var _ svn.Editor = (*CommitEditor)(nil)

// CommitEditor returns an editor whose Close commits. It refuses lock tokens of paths that the client may not write.
func (r *Repository) CommitEditor(ctx context.Context, req CommitRequest) (*CommitEditor, error) {
	if anywhere, ok := r.Access.(interface{ AllowsSomewhere(Op) bool }); ok && !anywhere.AllowsSomewhere(Write) {
		return nil, svn.Errorf(svn.ErrAuthzUnwritable, "Not authorized to open a commit editor.")
	}
	for path := range req.LockTokens {
		if !r.allows(path, Write) {
			return nil, notAuthorized()
		}
	}
	req.RevProps = req.RevProps.Clone()
	for _, name := range internalProps {
		delete(req.RevProps, name)
	}
	delete(req.RevProps, svn.PropAuthor)
	if req.User != "" {
		req.RevProps[svn.PropAuthor] = req.User
	}
	return &CommitEditor{r: r, ctx: ctx, req: req, info: CommitInfo{Rev: svn.InvalidRevnum}}, nil
}

func notAuthorized() error { return svn.Errorf(svn.ErrRANotAuthorized, "Authorization failed") }

// Info tells what was committed, after Close.
func (e *CommitEditor) Info() CommitInfo { return e.info }

// SetTargetRevision means nothing to a commit.
func (e *CommitEditor) SetTargetRevision(svn.Revnum) error { return nil }

// OpenRoot begins the transaction, on the youngest revision whatever base is.
func (e *CommitEditor) OpenRoot(base svn.Revnum) (svn.DirEditor, error) {
	if e.txn != nil {
		return nil, svn.Errorf(svn.ErrFSIncorrectEditorCompletion, "The root of a commit is open already")
	}
	youngest := e.r.FS.Youngest()
	if base > youngest {
		return nil, svn.Errorf(svn.ErrFSNoSuchRevision, "No such revision %d (HEAD is %d)", base, youngest)
	}
	for _, name := range e.req.RevProps.Names() {
		value := e.req.RevProps[name]
		if err := validateProp(name, &value); err != nil {
			return nil, err
		}
	}
	o := svnfs.TxnOptions{Props: e.req.RevProps, CheckLocks: true, User: e.req.User}
	for _, token := range e.req.LockTokens {
		o.LockTokens = append(o.LockTokens, token)
	}
	txn, err := e.r.FS.Begin(youngest, o)
	if err != nil {
		return nil, err
	}
	e.txn, e.root = txn, txn.Root()
	return &commitDir{e: e, path: e.req.Base, base: base}, nil
}

// Close commits. After an error the transaction is gone.
func (e *CommitEditor) Close() error {
	if e.txn == nil {
		return svn.Errorf(svn.ErrReposBadArgs, "No valid transaction supplied to close_edit")
	}
	txn := e.txn
	defer e.Abort()
	if e.req.PreCommit != nil {
		if err := e.req.PreCommit(txn); err != nil {
			return err
		}
	}
	if !e.req.KeepLocks {
		for path := range e.req.LockTokens {
			txn.UnlockOnCommit(path)
		}
	}
	rev, entry, err := txn.Commit(e.ctx, e.req.Committer, e.req.Meta())
	if err != nil {
		return err
	}
	e.info.Entry = entry
	return e.committed(rev)
}

// committed gathers what the client is told.
func (e *CommitEditor) committed(rev svn.Revnum) error {
	e.info.Rev = rev
	if e.req.PostCommit != nil {
		if err := e.req.PostCommit(rev); err != nil {
			e.info.PostCommitErr = postCommitText(err)
		}
	}
	props, err := e.r.FS.RevProps(rev)
	if err != nil {
		return err
	}
	e.info.Date = props[svn.PropDate]
	if author, ok := props[svn.PropAuthor]; ok {
		e.info.Author = &author
	}
	return nil
}

func postCommitText(err error) string {
	var e *svn.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}

// Abort gives the transaction up, if there is one.
func (e *CommitEditor) Abort() error {
	if e.txn != nil {
		e.txn.Abort()
	}
	e.txn, e.root = nil, nil
	return nil
}

// allowed checks a right of the client.
func (e *CommitEditor) allowed(path string, op Op) error {
	switch {
	case e.r.allows(path, op):
		return nil
	case op == Write || op == WriteTree:
		return svn.Errorf(svn.ErrAuthzUnwritable, "Access denied")
	}
	return svn.Errorf(svn.ErrAuthzUnreadable, "Access denied")
}

// allowedInDir checks the right to write a path and the directory it is in, which need not be the one that the client
// has opened.
func (e *CommitEditor) allowedInDir(path string, op Op) error {
	if err := e.allowed(path, op); err != nil {
		return err
	}
	dir, _ := svn.Split(path)
	return e.allowed(dir, Write)
}

func outOfDate(path string, kind svn.Kind) error {
	switch kind {
	case svn.Dir:
		return svn.Errorf(svn.ErrFSTxnOutOfDate, "Directory '%s' is out of date", path)
	case svn.File:
		return svn.Errorf(svn.ErrFSTxnOutOfDate, "File '%s' is out of date", path)
	}
	return svn.Errorf(svn.ErrFSTxnOutOfDate, "'%s' is out of date", path)
}

// upToDate checks that what the client has at revision base is what there is now.
func (e *CommitEditor) upToDate(path string, kind svn.Kind, base svn.Revnum) error {
	if !base.Valid() {
		return nil
	}
	node, err := e.root.Node(path)
	if err != nil {
		return err
	}
	created := node.CreatedRev()
	switch {
	case base < created:
		return outOfDate(path, kind)
	case base > created && base > e.txn.Base():
		return svn.Errorf(svn.ErrFSNoSuchRevision, "No such revision %d", base)
	}
	return nil
}

// absolute returns the path in the repository of one relative to the root of the edit.
func (e *CommitEditor) absolute(path string) (string, error) {
	clean, err := svn.Canonical(path)
	if err != nil {
		return "", err
	}
	return svn.Join(e.req.Base, clean[1:]), nil
}
