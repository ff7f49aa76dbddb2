package svnproto

import (
	"errors"

	"holdfast/server/svnrepos"
	"holdfast/storage"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// writeLock writes the list that describes a lock.
func (s *session) writeLock(l *svn.Lock) {
	s.w.Open()
	s.w.Str(l.Path)
	s.w.Str(l.Token)
	s.w.Str(l.Owner)
	s.w.OptStr(l.Comment)
	s.w.Str(svn.FormatTime(l.Created))
	if l.Expires.IsZero() {
		s.w.OptText("")
	} else {
		s.w.OptText(svn.FormatTime(l.Expires))
	}
	s.w.Close()
}

// lockTarget reads a path and a revision.
func (s *session) lockTarget(a *args) (svnfs.LockTarget, string, error) {
	name, rev := a.str(), a.optRev()
	if a.err != nil {
		return svnfs.LockTarget{}, "", a.err
	}
	path, err := s.full(name)
	return svnfs.LockTarget{Path: path, Base: rev}, name, err
}

func (s *session) lock(a *args) error {
	name, comment, steal := a.str(), a.optStr(), a.boolean()
	base := a.optRev()
	if a.err != nil {
		return a.err
	}
	path, err := s.full(name)
	if err != nil {
		return err
	}
	if err := s.must(svnrepos.Write, path, true); err != nil {
		return err
	}
	results, err := s.takeLocks([]svnfs.LockTarget{{Path: path, Base: base}}, comment, steal)
	if len(results) > 0 && results[0].Err != nil {
		return results[0].Err
	}
	if err != nil {
		return err
	}
	s.w.open("success")
	s.writeLock(results[0].Lock)
	s.w.shut()
	return nil
}

// takeLocks locks what the hooks allow. An error that comes with results is a hook's that was told, or Settled's.
func (s *session) takeLocks(targets []svnfs.LockTarget, comment *string, steal bool) ([]svnfs.LockResult, error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	v, q := s.view, svnrepos.LockRequest{Comment: comment, Steal: steal, User: s.user, Committer: s.view.Committer, Meta: s.view.Meta()}
	said := ""
	if comment != nil {
		said = *comment
	}
	asked := map[string]hookAnswer{}
	for _, t := range targets {
		h := askOnce(s, asked, t.Path, func() (string, error) {
			return v.LockHooks.PreLock(s.ctx, t.Path, s.user, said, steal)
		})
		if t.Token = h.token; h.err == nil {
			q.Targets = append(q.Targets, t)
		}
	}
	done, entry, err := v.Repo.Lock(s.ctx, q)
	if err != nil {
		return nil, err
	}
	if v.LockHooks == nil {
		return done, s.settled(entry, svn.ErrReposPostLockHookFailed)
	}
	results, changed := merge(len(targets), func(i int) string { return targets[i].Path }, asked, done)
	if len(changed) > 0 {
		if err := v.LockHooks.PostLock(s.ctx, changed, s.user); err != nil {
			return results, svn.Wrap(err, svn.ErrReposPostLockHookFailed, "Locking succeeded, but post-lock hook failed")
		}
	}
	return results, s.settled(entry, svn.ErrReposPostLockHookFailed)
}

// ready asks before locks are made or given back.
func (s *session) ready() error {
	if s.view.Ready == nil {
		return nil
	}
	return s.view.Ready(s.ctx)
}

// settled returns what the client is to be warned of after locks were made or given back.
func (s *session) settled(e storage.Entry, code svn.Code) error {
	if s.view.Settled == nil || e.Seq == 0 {
		return nil
	}
	if text := s.view.Settled(s.ctx); text != "" {
		return svn.Errorf(code, "%s", text)
	}
	return nil
}

// hookAnswer is what a hook said about a path.
type hookAnswer struct {
	token string
	err   error
}

// askOnce asks about a path that was not asked about before, and that the client may write: others are refused without.
func askOnce(s *session, asked map[string]hookAnswer, path string, ask func() (string, error)) hookAnswer {
	h, ok := asked[path]
	if !ok && s.view.LockHooks != nil && allows(s.view.Repo.Access, svnrepos.Write, path) {
		h.token, h.err = ask()
		asked[path] = h
	}
	return h
}

// merge brings the results of what was done and the errors of what was refused into the order of the targets, and lists what was
// changed.
func merge(n int, path func(int) string, asked map[string]hookAnswer, done []svnfs.LockResult) (all []svnfs.LockResult, changed []string) {
	next := 0
	for i := range n {
		if err := asked[path(i)].err; err != nil {
			all = append(all, svnfs.LockResult{Path: path(i), Err: err})
			continue
		}
		all = append(all, done[next])
		if done[next].Err == nil {
			changed = append(changed, path(i))
		}
		next++
	}
	return all, changed
}

// targets reads a list of lists, each of which one reads.
func targets[T any](list []Item, otherwise string, one func(*args) (T, string, error)) (all []T, names []string, err error) {
	for _, it := range list {
		if it.Kind != List {
			return nil, nil, malformed(otherwise)
		}
		t, name, err := one(&args{items: it.List})
		if err != nil {
			return nil, nil, err
		}
		all, names = append(all, t), append(names, name)
	}
	return all, names, nil
}

func (s *session) lockMany(a *args) error {
	comment, steal, list := a.optStr(), a.boolean(), a.list()
	if a.err != nil {
		return a.err
	}
	all, _, err := targets(list, "Lock requests should be list of lists", s.lockTarget)
	if isFatal(err) {
		return err
	}
	if err := errors.Join(s.must(svnrepos.Write, "", true), err); err != nil {
		return err
	}
	results, err := s.takeLocks(all, comment, steal)
	for _, r := range results {
		if r.Err != nil {
			s.fail(r.Err)
			continue
		}
		s.w.Open()
		s.w.Word("success")
		s.writeLock(r.Lock)
		s.w.Close()
	}
	return s.finish(err)
}

// unlockTarget reads a path and a token.
func (s *session) unlockTarget(a *args) (svnrepos.UnlockTarget, string, error) {
	name, token := a.str(), a.optStr()
	if a.err != nil {
		return svnrepos.UnlockTarget{}, "", a.err
	}
	path, err := s.full(name)
	t := svnrepos.UnlockTarget{Path: path}
	if token != nil {
		t.Token = *token
	}
	return t, name, err
}

func (s *session) unlock(a *args) error {
	t, _, err := s.unlockTarget(a)
	breaking := a.boolean()
	if a.err != nil {
		return a.err
	}
	if err != nil {
		return err
	}
	if err := s.must(svnrepos.Write, t.Path, !breaking); err != nil {
		return err
	}
	results, err := s.giveLocks([]svnrepos.UnlockTarget{t}, breaking)
	if len(results) > 0 && results[0].Err != nil {
		return results[0].Err
	}
	if err != nil {
		return err
	}
	s.w.Success()
	return nil
}

// giveLocks is takeLocks the other way.
func (s *session) giveLocks(targets []svnrepos.UnlockTarget, breaking bool) ([]svnfs.LockResult, error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	v, q := s.view, svnrepos.UnlockRequest{Break: breaking, User: s.user, Committer: s.view.Committer, Meta: s.view.Meta()}
	asked := map[string]hookAnswer{}
	for _, t := range targets {
		h := askOnce(s, asked, t.Path, func() (string, error) {
			return "", v.LockHooks.PreUnlock(s.ctx, t.Path, s.user, t.Token, breaking)
		})
		if h.err == nil {
			q.Targets = append(q.Targets, t)
		}
	}
	done, entry, err := v.Repo.Unlock(s.ctx, q)
	if err != nil {
		return nil, err
	}
	if v.LockHooks == nil {
		return done, s.settled(entry, svn.ErrReposPostUnlockHookFailed)
	}
	results, changed := merge(len(targets), func(i int) string { return targets[i].Path }, asked, done)
	if len(changed) > 0 {
		if err := v.LockHooks.PostUnlock(s.ctx, changed, s.user); err != nil {
			return results, svn.Wrap(err, svn.ErrReposPostUnlockHookFailed, "Unlock succeeded, but post-unlock hook failed")
		}
	}
	return results, s.settled(entry, svn.ErrReposPostUnlockHookFailed)
}

func (s *session) unlockMany(a *args) error {
	breaking, list := a.boolean(), a.list()
	if a.err != nil {
		return a.err
	}
	all, names, err := targets(list, "Unlock request should be a list of lists", s.unlockTarget)
	if isFatal(err) {
		return err
	}
	if err := errors.Join(s.must(svnrepos.Write, "", !breaking), err); err != nil {
		return err
	}
	results, err := s.giveLocks(all, breaking)
	for i, r := range results {
		if r.Err != nil {
			s.fail(r.Err)
			continue
		}
		s.w.open("success")
		s.w.Str(names[i])
		s.w.shut()
	}
	return s.finish(err)
}

func (s *session) getLock(a *args) error {
	path, _, err := s.lockPath(a)
	if err != nil {
		return err
	}
	if err := s.must(svnrepos.Read, path, false); err != nil {
		return err
	}
	l, err := s.view.Repo.GetLock(path)
	if err != nil {
		return err
	}
	s.w.open("success")
	s.w.Open()
	if l != nil {
		s.writeLock(l)
	}
	s.w.Close()
	s.w.shut()
	return nil
}

// lockPath reads a path and perhaps a depth.
func (s *session) lockPath(a *args) (path string, d svn.Depth, err error) {
	name, d := a.str(), svn.DepthInfinity
	if a.more() {
		t := a.tuple()
		d = depth(&t, d)
		a.done(t)
	}
	if a.err != nil {
		return "", d, a.err
	}
	path, err = s.full(name)
	return path, d, err
}

func (s *session) getLocks(a *args) error {
	path, d, err := s.lockPath(a)
	if err != nil {
		return err
	}
	if d < svn.DepthEmpty {
		return svn.Errorf(svn.ErrIncorrectParams, "Invalid 'depth' specified in get-locks request")
	}
	s.noAuth()
	locks, err := s.view.Repo.GetLocks(path, d)
	if err != nil {
		return err
	}
	s.w.open("success")
	s.w.Open()
	for i := range locks {
		s.writeLock(&locks[i])
	}
	s.w.Close()
	s.w.shut()
	return nil
}
