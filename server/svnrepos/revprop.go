package svnrepos

import (
	"cmp"
	"context"
	"unicode/utf8"

	"holdfast/storage"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// RevPropHooks may refuse a change of a revision property, and hear of one.
type RevPropHooks interface {
	// BeforeRevProp is called before the change is made; its error refuses it, and should be of svn.ErrReposHookFailure.
	BeforeRevProp(c RevPropChange) error
	// AfterRevProp is called after it; its error is told to the client, and undoes nothing.
	AfterRevProp(c RevPropChange) error
}

// RevPropChange is a change of a revision property.
type RevPropChange struct {
	Rev    svn.Revnum
	User   string  // who wants it; empty for an anonymous client
	Author *string // of the revision, nil if it has none
	Name   string
	Old    *string // nil if there was none
	New    *string // nil to remove it
	Action svn.ChangeAction
}

// RevPropRequest is what a client wants to change.
type RevPropRequest struct {
	Rev   svn.Revnum
	Name  string
	Value *string       // nil removes the property
	Old   *svnfs.Expect // what the client believes the value to be; nil for whatever it is
	User  string        // empty for an anonymous client

	Committer svnfs.Committer
	Meta      storage.Meta
	// Hooks are asked. As in Subversion, without any nobody may change anything: earlier values are not kept for clients to see.
	Hooks RevPropHooks
}

// errPropertyName is the number of SVN_ERR_CLIENT_PROPERTY_NAME.
const errPropertyName svn.Code = 195011

// checkRevPropName refuses what is no text: as such, the journal would have another name.
func checkRevPropName(name string) error {
	if utf8.ValidString(name) {
		return nil
	}
	return svn.Errorf(errPropertyName, "%.200q is not a valid Subversion property name", name)
}

// ChangeRevProp changes a property of a revision and returns the journal's entry of that. It takes the right to read all that the
// revision changed. An error of AfterRevProp is returned although the change is made.
//
// Source: the behaviour of svn_repos_fs_change_rev_prop4.
func (r *Repository) ChangeRevProp(ctx context.Context, req RevPropRequest) (storage.Entry, error) {
	change, err := r.revPropChange(req)
	if err != nil {
		return storage.Entry{}, err
	}
	if req.Hooks == nil {
		return storage.Entry{}, svn.Errorf(svn.ErrReposDisabledFeature, "Repository has not been enabled to accept revision "+
			"propchanges;\nask the administrator to create a pre-revprop-change hook")
	}
	if err := req.Hooks.BeforeRevProp(change); err != nil {
		return storage.Entry{}, err
	}
	// Hooks decided about this change: if the value is another one by now, it is not this change any more.
	expect := &svnfs.Expect{Value: change.Old}
	entry, err := r.FS.ChangeRevProp(ctx, req.Committer, req.Meta, req.Rev, req.Name, expect, req.Value)
	if err != nil {
		return entry, err
	}
	return entry, req.Hooks.AfterRevProp(change)
}

// revPropChange checks what can be checked before the hooks.
func (r *Repository) revPropChange(req RevPropRequest) (c RevPropChange, err error) {
	access, err := r.RevisionAccess(req.Rev)
	if err != nil {
		return c, err
	}
	if access != FullAccess {
		return c, svn.Errorf(svn.ErrAuthzUnreadable, "Write denied:  not authorized to read all of revision %d", req.Rev)
	}
	if err := cmp.Or(checkRevPropName(req.Name), validateProp(req.Name, req.Value)); err != nil {
		return c, err
	}
	props, err := r.FS.RevProps(req.Rev)
	if err != nil {
		return c, err
	}
	c = RevPropChange{Rev: req.Rev, User: req.User, Name: req.Name, New: req.Value}
	if author, ok := props[svn.PropAuthor]; ok {
		c.Author = &author
	}
	if req.Old != nil {
		c.Old = req.Old.Value
	} else if old, ok := props[req.Name]; ok {
		c.Old = &old
	}
	switch {
	case c.New == nil:
		c.Action = svn.Deleted
	case c.Old == nil:
		c.Action = svn.Added
	default:
		c.Action = svn.Modified
	}
	return c, nil
}
