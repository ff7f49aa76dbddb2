package server

import (
	"context"
	"errors"
	"fmt"
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
		return notSvn(name, err)
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
		return notSvn(name, err)
	}
	defer release()
	if err := u.ready(ctx); err != nil {
		return err
	}
	had, sees := r.FS.Youngest(), &loadWatch{progress: progress}
	loaded, acked := u.load(ctx, r, in, o, sees.event, tell)
	if sees.revs > 0 && !sees.loaded && loaded == nil {
		fmt.Fprintf(tell, "holdfast: no revision was loaded: the dump has revisions %d to %d\n", sees.first, sees.rev)
	}
	return errors.Join(sees.stopped(name, had, loaded), acked)
}

// notSvn words an error of openSvn for who gave a command.
func notSvn(name string, err error) error {
	switch {
	case isNotFound(err):
		return fmt.Errorf("%s: %w; \"repo create %s --svn\" makes one", name, err, name)
	case svn.CodeOf(err) == svn.ErrRASvnReposNotFound:
		return fmt.Errorf("'%s' is a git repository, not one of Subversion; \"repo create NAME --svn\" makes one", name)
	}
	return err
}

// loadWatch sees how far a load comes.
type loadWatch struct {
	progress func(svnrepos.LoadEvent) // may be nil

	revs       int        // of the dump, that were begun or skipped
	first, rev svn.Revnum // the first and the last of them
	open       bool       // rev is being loaded
	loaded     bool       // there is one that was
}

func (w *loadWatch) event(e svnrepos.LoadEvent) {
	switch e.Kind {
	case svnrepos.LoadTxnStarted, svnrepos.LoadSkipped:
		if w.revs++; w.revs == 1 {
			w.first = e.Rev
		}
		w.rev, w.open = e.Rev, e.Kind == svnrepos.LoadTxnStarted
	case svnrepos.LoadCommitted:
		w.open, w.loaded = false, true
	}
	if w.progress != nil {
		w.progress(e)
	}
}

// stopped adds to the error of a load where it is, and how the load goes on. The repository had revisions up to had.
func (w *loadWatch) stopped(name string, had svn.Revnum, err error) error {
	switch code := svn.CodeOf(err); {
	case w.revs == 0 && (code == svn.ErrIncompleteData || code == svn.ErrStreamMalformedData):
		return fmt.Errorf("the input has to be a dump file as \"svnadmin dump\" writes it, not compressed: %w", err)
	case err == nil || !w.open:
		return err
	case w.loaded:
		return fmt.Errorf("revision %d of the dump (those before it stand; \"-r %d:HEAD\" goes on): %w", w.rev, w.rev, err)
	case had > 0 && code == svn.ErrFSAlreadyExists:
		return fmt.Errorf("revision %d of the dump (%s has revisions up to r%d: \"-r N:HEAD\" takes those that it lacks, "+
			"\"--parent-dir\" puts all below a directory): %w", w.rev, name, had, err)
	}
	return fmt.Errorf("revision %d of the dump: %w", w.rev, err)
}

// load loads a dump and waits for its acks; the errors are those of both.
func (u *svnUser) load(ctx context.Context, r *svnrepos.Repository, in io.Reader, o svnrepos.LoadOptions,
	progress func(svnrepos.LoadEvent), tell io.Writer,
) (loaded, acked error) {
	r.Access = nil
	o.Committer, o.Meta = u, func() storage.Meta { return u.s.meta(u.who, push{}) }
	loaded = r.Load(ctx, in, o, progress)
	if u.last != 0 {
		_, acked = u.s.wait(ctx, storage.Entry{Seq: u.last}, tell)
	}
	return loaded, acked
}
