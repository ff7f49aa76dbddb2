package server

import (
	"context"
	"errors"
	"io"

	"holdfast/auth"
	"holdfast/server/svnrepos"
	"holdfast/storage"
	"holdfast/storage/svn"
)

// openSvn opens a Subversion repository for who, and returns what must be called when it is used no more.
func (s *Server) openSvn(who auth.Identity, name string, op auth.Op) (u *svnUser, r *svnrepos.Repository, release func(), err error) {
	repo, err := s.repo(who, name, op)
	if err != nil {
		return nil, nil, nil, err
	}
	if repo.SCM() != storage.Svn {
		return nil, nil, nil, svn.Errorf(svn.ErrRASvnReposNotFound, "holdfast: '%s' is a git repository: use git clone", name)
	}
	fs, release, err := s.svn.Open(repo)
	if err != nil {
		return nil, nil, nil, err
	}
	u = &svnUser{s: s, who: who, name: name, repo: repo, fs: fs}
	return u, &svnrepos.Repository{FS: fs, Access: u}, release, nil
}

// SvnDump writes revisions of a Subversion repository to w as a dump file, without the paths that who may not read. progress is
// called after each revision; it may be nil.
func (s *Server) SvnDump(ctx context.Context, who auth.Identity, name string, w io.Writer, o svnrepos.DumpOptions, progress func(svn.Revnum)) error {
	_, r, release, err := s.openSvn(who, name, auth.Read)
	if err != nil {
		return err
	}
	defer release()
	if who == Local {
		r.Access = nil
	}
	return r.Dump(ctx, w, o, progress)
}

// SvnLoad adds the revisions of a dump file to a Subversion repository, with the dates and authors that they have there, which takes
// an admin of it. It returns once enough mirrors hold the last one, and tells which on tell. progress may be nil. After an error
// the revisions before it stay.
func (s *Server) SvnLoad(ctx context.Context, who auth.Identity, name string, in io.Reader, o svnrepos.LoadOptions,
	progress func(svnrepos.LoadEvent), tell io.Writer,
) error {
	u, r, release, err := s.openSvn(who, name, auth.Admin)
	if err != nil {
		return err
	}
	defer release()
	if err := u.ready(ctx); err != nil {
		return err
	}
	return u.load(ctx, r, in, o, progress, tell)
}

// load loads a dump and waits for its acks.
func (u *svnUser) load(ctx context.Context, r *svnrepos.Repository, in io.Reader, o svnrepos.LoadOptions,
	progress func(svnrepos.LoadEvent), tell io.Writer,
) error {
	r.Access = nil
	o.Committer, o.Meta = u, func() storage.Meta { return u.s.meta(u.who, push{}) }
	loaded := r.Load(ctx, in, o, progress)
	if u.last == 0 {
		return loaded
	}
	_, err := u.s.wait(ctx, storage.Entry{Seq: u.last}, tell)
	return errors.Join(loaded, err)
}
