package server

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"holdfast/auth"
	"holdfast/server/svnpull"
	"holdfast/server/svnrepos"
	"holdfast/storage"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// SvnImport brings the revisions of a repository at another server, at a URL of svn://, into one of that name here, which is
// created if there is none. Where the import ended before, or new revisions have come since, it goes on. It is for admins of the host,
// as the host connects to wherever they say.
func (s *Server) SvnImport(ctx context.Context, who auth.Identity, name, url string, o svnpull.Options,
	progress func(svnrepos.LoadEvent), tell io.Writer,
) error {
	if err := s.allow(who, auth.AdminRepo, auth.HostAdmin); err != nil {
		return err
	}
	if !strings.HasPrefix(url, "svn://") {
		return fmt.Errorf("%q is no URL of the form svn://HOST/PATH. From any other, `svnrdump dump URL | holdfast svn load %s` brings in "+
			"a Subversion repository, and `git push --mirror` one of git", url, name)
	}
	if _, busy := s.imports.LoadOrStore(name, true); busy {
		return fmt.Errorf("an import into %s is under way", name)
	}
	defer s.imports.Delete(name)
	o.MaxBytes = cmp.Or(o.MaxBytes, s.c.MaxPackBytes)
	src, err := svnpull.Open(ctx, url, o)
	if err != nil {
		return err
	}
	defer src.Close()
	last, err := src.Youngest()
	if err != nil {
		return err
	}
	if _, err := s.repo(who, name, auth.Admin); isNotFound(err) {
		if err := s.CreateRepo(ctx, who, NewRepo{Name: name, SCM: storage.Svn}, tell); err != nil {
			return err
		}
	}
	u, r, release, err := s.openSvn(who, name, auth.Admin)
	if err != nil {
		return notSvn(name, err)
	}
	defer release()
	first, err := nextOf(r.FS, src, last)
	if err != nil {
		return fmt.Errorf("%s is no copy of %s: %w: import into another repository", name, url, err)
	}
	if err := u.ready(ctx); err != nil {
		return err
	}
	in, out := io.Pipe()
	done := make(chan struct{})
	defer func() {
		in.Close()
		src.Close()
		<-done
	}()
	go func() {
		defer close(done)
		w := bufio.NewWriterSize(out, 256<<10)
		err := src.Dump(ctx, w, first, last, s.store.Scratch)
		out.CloseWithError(errors.Join(err, w.Flush()))
	}()
	o2 := svnrepos.LoadOptions{SameRevs: true, BypassPropValidation: true} // what the other server took in its day
	return errors.Join(u.load(ctx, r, in, o2, progress, tell))
}

// nextOf returns the first revision that a copy lacks; 0 if it has none but that. Its last one has to be the other's: they are told
// apart by their dates.
func nextOf(fs *svnfs.FS, src *svnpull.Source, last svn.Revnum) (svn.Revnum, error) {
	have := fs.Youngest()
	switch {
	case have == 0:
		return 0, nil
	case fs.UUID() != src.UUID():
		return 0, fmt.Errorf("its uuid is %s, not %s", fs.UUID(), src.UUID())
	case have > last:
		return 0, fmt.Errorf("it has r%d, where there are %d revisions", have, last)
	}
	ours, err := fs.RevProps(have)
	if err != nil {
		return 0, err
	}
	theirs, err := src.RevProps(have)
	if err != nil {
		return 0, err
	}
	if a, b := ours[svn.PropDate], theirs[svn.PropDate]; a != b {
		return 0, fmt.Errorf("its r%d is of %s, not of %s", have, a, b)
	}
	return have + 1, nil
}
