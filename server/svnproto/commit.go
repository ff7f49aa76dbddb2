package svnproto

import (
	"errors"
	"strings"

	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// commitRequest reads what comes before a commit's edit. The older the client, the less it is.
func (s *session) commitRequest(a *args) (q svnrepos.CommitRequest, err error) {
	q = svnrepos.CommitRequest{KeepLocks: true}
	message := a.str()
	q.RevProps = svn.Props{svn.PropLog: message}
	if a.more() {
		locks := a.list()
		q.KeepLocks = a.boolean()
		if q.LockTokens, err = s.lockTokens(locks); err != nil {
			return q, err
		}
	}
	if a.more() {
		list := a.list()
		if a.err == nil {
			q.RevProps, err = parseProps(list)
		}
	}
	if a.err != nil {
		return q, a.err
	}
	return q, err
}

// lockTokens reads pairs of a path, relative to the session's, and a token.
func (s *session) lockTokens(list []Item) (map[string]string, error) {
	tokens := make(map[string]string, len(list))
	for _, it := range list {
		if it.Kind != List {
			return nil, malformed("Lock tokens aren't a list of lists")
		}
		t := args{items: it.List}
		name, token := t.str(), t.str()
		if t.err != nil {
			return nil, t.err
		}
		path, err := s.full(name)
		if err != nil {
			return nil, err
		}
		tokens[path] = token
	}
	return tokens, nil
}

func (s *session) commit(a *args) error {
	q, err := s.commitRequest(a)
	if err != nil {
		return err
	}
	if err := s.must(svnrepos.Write, "", len(q.LockTokens) > 0); err != nil {
		return err
	}
	v, c := s.view, &committer{s: s, props: q.RevProps, tokens: q.LockTokens}
	q.Base, q.User, q.Committer, q.Meta = s.base, s.user, v.Committer, v.Meta
	q.PreCommit, q.PostCommit = c.before, c.after
	if v.LockHooks != nil && !q.KeepLocks {
		q.KeepLocks = true
		c.ends = q.LockTokens
	}
	if c.CommitEditor, err = v.Repo.CommitEditor(s.ctx, q); err != nil {
		return err
	}
	defer c.Abort() // which does nothing, unless something has panicked
	s.w.Success()
	closed, err := s.drive(c)
	if !closed || err != nil {
		return err
	}
	info := c.Info()
	s.noAuth()
	c.giveLocks()
	s.w.Open()
	s.w.Rev(info.Rev)
	s.w.OptText(info.Date)
	s.w.OptStr(info.Author)
	s.w.OptText(info.PostCommitErr)
	s.w.Close()
	return nil
}

// committer is a commit's editor with the hooks around it.
type committer struct {
	*svnrepos.CommitEditor
	s      *session
	props  svn.Props
	txn    string
	tokens map[string]string // of the client's locks, by absolute path
	ends   map[string]string // of those, the ones that are given back after the commit, since hooks are asked
}

// OpenRoot begins the transaction, and asks whether it may go on.
func (c *committer) OpenRoot(base svn.Revnum) (svn.DirEditor, error) {
	root, err := c.CommitEditor.OpenRoot(base)
	h := c.s.view.Hooks
	if err != nil || h == nil {
		return root, err
	}
	return root, h.StartCommit(c.s.ctx, c.s.client, c.s.user, c.TxnName(), c.props)
}

func (c *committer) before(txn *svnfs.Txn) error {
	c.txn = txn.Name()
	if h := c.s.view.Hooks; h != nil {
		return h.PreCommit(c.s.ctx, txn, c.relativeTokens())
	}
	return nil
}

func (c *committer) relativeTokens() map[string]string {
	all := make(map[string]string, len(c.tokens))
	for path, token := range c.tokens {
		all[strings.TrimPrefix(strings.TrimPrefix(path, c.s.base), "/")] = token
	}
	return all
}

// giveLocks gives the locks back that the commit ends. The client hears nothing of what fails: the commit stands, and may itself have
// removed what was locked.
func (c *committer) giveLocks() {
	var targets []svnrepos.UnlockTarget
	for path, token := range c.ends {
		targets = append(targets, svnrepos.UnlockTarget{Path: path, Token: token})
	}
	if _, err := c.s.giveLocks(targets, false); err != nil && c.s.o.Hidden != nil {
		c.s.o.Hidden(err)
	}
}

// after gathers what the committer is to be warned of.
func (c *committer) after(rev svn.Revnum) (err error) {
	v := c.s.view
	if v.Hooks != nil {
		err = v.Hooks.PostCommit(c.s.ctx, rev, c.txn)
	}
	if v.Settled == nil {
		return err
	}
	if text := v.Settled(c.s.ctx); text != "" {
		if err == nil {
			return svn.Errorf(svn.ErrReposPostCommitHookFailed, "%s", text)
		}
		var e *svn.Error
		if errors.As(err, &e) {
			return svn.Errorf(e.Code, "%s\n%s", e.Message, text)
		}
	}
	return err
}

func (s *session) changeRevProp(a *args) error {
	q := svnrepos.RevPropRequest{Rev: a.rev(), Name: a.str()}
	if a.more() {
		value := a.str()
		q.Value = &value
	}
	if a.err != nil {
		return a.err
	}
	return s.setRevProp(q)
}

func (s *session) changeRevProp2(a *args) error {
	q := svnrepos.RevPropRequest{Rev: a.rev(), Name: a.str(), Value: a.optStr()}
	t := a.tuple()
	anything, old := t.boolean(), (*string)(nil)
	if t.more() {
		value := t.str()
		old = &value
	}
	if a.done(t); a.err != nil {
		return a.err
	}
	switch {
	case anything && old != nil:
		return svn.Errorf(svn.ErrIncorrectParams, "'previous-value' and 'dont-care' cannot both be set in 'change-rev-prop2' request")
	case !anything:
		q.Old = &svnfs.Expect{Value: old}
	}
	return s.setRevProp(q)
}

func (s *session) setRevProp(q svnrepos.RevPropRequest) error {
	if err := s.must(svnrepos.Write, "", false); err != nil {
		return err
	}
	v := s.view
	q.User, q.Committer, q.Meta = s.user, v.Committer, v.Meta()
	if v.Hooks != nil {
		q.Hooks = revPropHooks{s}
	}
	if _, err := v.Repo.ChangeRevProp(s.ctx, q); err != nil {
		return err
	}
	s.w.Success()
	return nil
}

// revPropHooks are a session's Hooks as svnrepos calls them.
type revPropHooks struct{ s *session }

func (h revPropHooks) BeforeRevProp(c svnrepos.RevPropChange) error {
	return h.s.view.Hooks.PreRevPropChange(h.s.ctx, c.Rev, c.User, c.Name, c.Old, c.New)
}

func (h revPropHooks) AfterRevProp(c svnrepos.RevPropChange) error {
	return h.s.view.Hooks.PostRevPropChange(h.s.ctx, c.Rev, c.User, c.Name, c.Old, c.New)
}
