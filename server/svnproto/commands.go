package svnproto

import (
	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
)

// commands are those of the main set. What one returns is told to the client as the failure of the command, unless it is fatal.
// Each answers with an authentication request, and then with its response.
var commands map[string]func(*session, *args) error

func init() {
	commands = map[string]func(*session, *args) error{
		"reparent":              (*session).reparent,
		"get-latest-rev":        (*session).getLatestRev,
		"get-dated-rev":         (*session).getDatedRev,
		"change-rev-prop":       (*session).changeRevProp,
		"change-rev-prop2":      (*session).changeRevProp2,
		"rev-proplist":          (*session).revPropList,
		"rev-prop":              (*session).revProp,
		"commit":                (*session).commit,
		"get-file":              (*session).getFile,
		"get-dir":               (*session).getDir,
		"update":                (*session).update,
		"switch":                (*session).switchTo,
		"status":                (*session).status,
		"diff":                  (*session).diff,
		"get-mergeinfo":         (*session).getMergeinfo,
		"log":                   (*session).log,
		"check-path":            (*session).checkPath,
		"stat":                  (*session).stat,
		"get-locations":         (*session).getLocations,
		"get-location-segments": (*session).getLocationSegments,
		"get-file-revs":         (*session).getFileRevs,
		"lock":                  (*session).lock,
		"lock-many":             (*session).lockMany,
		"unlock":                (*session).unlock,
		"unlock-many":           (*session).unlockMany,
		"get-lock":              (*session).getLock,
		"get-locks":             (*session).getLocks,
		"replay":                (*session).replay,
		"replay-range":          (*session).replayRange,
		"get-deleted-rev":       (*session).getDeletedRev,
		"get-iprops":            (*session).getInheritedProps,
		"list":                  (*session).list,
	}
}

func (s *session) reparent(a *args) error {
	address := a.str()
	if a.err != nil {
		return a.err
	}
	s.noAuth()
	path, err := s.pathOf(address)
	if err != nil {
		return err
	}
	s.base = path
	s.w.Success()
	return nil
}

// youngest returns rev, or the youngest revision if it names none.
func (s *session) youngest(rev svn.Revnum) svn.Revnum {
	if rev.Valid() {
		return rev
	}
	return s.view.Repo.FS.Youngest()
}

func (s *session) getLatestRev(*args) error {
	s.noAuth()
	s.answerRev(s.view.Repo.FS.Youngest())
	return nil
}

func (s *session) answerRev(rev svn.Revnum) {
	s.w.open("success")
	s.w.Rev(rev)
	s.w.shut()
}

func (s *session) getDatedRev(a *args) error {
	date := a.str()
	if a.err != nil {
		return a.err
	}
	s.noAuth()
	t, err := svn.ParseTime(date)
	if err != nil {
		return svn.Errorf(svn.ErrBadDate, "Bogus date")
	}
	rev, err := s.view.Repo.FS.DatedRev(t)
	if err != nil {
		return err
	}
	s.answerRev(rev)
	return nil
}

func (s *session) revPropList(a *args) error {
	rev := a.rev()
	if a.err != nil {
		return a.err
	}
	s.noAuth()
	props, err := s.view.Repo.RevProps(rev)
	if err != nil {
		return err
	}
	s.w.open("success")
	s.w.Open()
	s.w.Props(props)
	s.w.Close()
	s.w.shut()
	return nil
}

func (s *session) revProp(a *args) error {
	rev, name := a.rev(), a.str()
	if a.err != nil {
		return a.err
	}
	s.noAuth()
	props, err := s.view.Repo.RevProps(rev)
	if err != nil {
		return err
	}
	s.w.open("success")
	if value, ok := props[name]; ok {
		s.w.OptStr(&value)
	} else {
		s.w.OptStr(nil)
	}
	s.w.shut()
	return nil
}

// pathAndRev reads a path relative to the session's, and perhaps a revision.
func (s *session) pathAndRev(a *args) (path string, rev svn.Revnum, err error) {
	name, rev := a.str(), a.optRev()
	if a.err != nil {
		return "", rev, a.err
	}
	path, err = s.full(name)
	return path, rev, err
}

func (s *session) checkPath(a *args) error {
	path, rev, err := s.pathAndRev(a)
	if err != nil {
		return err
	}
	if err := s.must(svnrepos.Read, path, false); err != nil {
		return err
	}
	root, err := s.view.Repo.FS.Root(s.youngest(rev))
	if err != nil {
		return err
	}
	kind, err := root.Kind(path)
	if err != nil {
		return err
	}
	s.w.open("success")
	s.w.Word(kind.String())
	s.w.shut()
	return nil
}
