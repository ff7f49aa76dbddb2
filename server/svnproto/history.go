package svnproto

import (
	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
	"holdfast/storage/svn/svndiff"
)

// paths reads a list of paths that are relative to the session's.
func (s *session) paths(a *args, otherwise string) (paths []string) {
	for _, it := range a.list() {
		if it.Kind != String {
			a.err = malformed(otherwise)
			return nil
		}
		path, err := s.full(string(it.Bytes))
		if err != nil {
			a.err = err
			return nil
		}
		paths = append(paths, path)
	}
	return paths
}

func (s *session) log(a *args) error {
	q := svnrepos.LogRequest{Paths: s.paths(a, "Log path entry not a string")}
	q.Start, q.End = a.optRev(), a.optRev()
	q.ChangedPaths, q.StrictNode = a.boolean(), a.boolean()
	q.RevProps = []string{svn.PropAuthor, svn.PropDate, svn.PropLog}
	if a.more() {
		if n := a.number(); n <= 1<<31-1 {
			q.Limit = int(n)
		}
	}
	if a.more() {
		q.IncludeMerged = a.boolean()
		word, names := a.word(), a.list()
		if a.err == nil {
			q.AllRevProps, q.RevProps, a.err = revPropNames(word, names)
		}
	}
	if a.err != nil {
		return a.err
	}
	s.noAuth()
	nested := 0
	return s.finish(s.view.Repo.Log(s.ctx, q, func(e *svnrepos.LogEntry) error {
		if !e.Rev.Valid() && nested == 0 {
			return nil
		}
		if !e.Rev.Valid() {
			nested--
		}
		if e.HasChildren {
			nested++
		}
		s.logEntry(e)
		return s.w.err
	}))
}

func revPropNames(word string, list []Item) (all bool, names []string, err error) {
	names = []string{}
	switch word {
	case "all-revprops":
		return true, nil, nil
	case "revprops":
		for _, it := range list {
			if it.Kind != String {
				return false, nil, malformed("Log revprop entry not a string")
			}
			names = append(names, string(it.Bytes))
		}
		return false, names, nil
	}
	return false, nil, &fatal{svn.Errorf(svn.ErrRASvnMalformedData, "Unknown revprop word '%s' in log command", word)}
}

// logEntry writes an entry. One without a revision ends the entries that were merged into the one before them.
func (s *session) logEntry(e *svnrepos.LogEntry) {
	w, rev := s.w, e.Rev
	w.Raw("( ( ")
	for i := range e.Changes {
		s.change(&e.Changes[i])
	}
	w.Close()
	w.Rev(max(rev, 0))
	rest := 0
	for name := range e.Props {
		if name != svn.PropAuthor && name != svn.PropDate && name != svn.PropLog {
			rest++
		}
	}
	for _, name := range [...]string{svn.PropAuthor, svn.PropDate, svn.PropLog} {
		if value, ok := e.Props[name]; ok {
			w.OptStr(&value)
		} else {
			w.OptStr(nil)
		}
	}
	w.Bool(e.HasChildren)
	w.Bool(!rev.Valid())
	w.Number(uint64(rest))
	w.Open()
	if rest > 0 {
		others := e.Props.Clone()
		for _, name := range [...]string{svn.PropAuthor, svn.PropDate, svn.PropLog} {
			delete(others, name)
		}
		w.Props(others)
	}
	w.Close()
	w.Bool(e.SubtractiveMerge)
	w.Close()
}

func (s *session) change(c *svn.Change) {
	w := s.w
	w.Open()
	w.Str(c.Path)
	w.Word(string(c.Action))
	w.Open()
	if c.CopyFrom != nil {
		w.Str(c.CopyFrom.Path)
		w.Rev(c.CopyFrom.Rev)
	}
	w.Raw(") ( ")
	w.Str(c.Kind.String())
	w.Bool(c.TextMod)
	w.Bool(c.PropMod)
	w.Raw(") ) ")
}

func (s *session) getLocations(a *args) error {
	name, peg := a.str(), a.rev()
	var revs []svn.Revnum
	for _, it := range a.list() {
		if it.Kind != Number {
			return malformed("Get-locations location revisions entry not a revision number")
		}
		revs = append(revs, svn.Revnum(it.Num))
	}
	if a.err != nil {
		return a.err
	}
	path, err := s.full(name)
	if err != nil {
		return err
	}
	s.noAuth()
	found, err := s.view.Repo.Locations(s.ctx, path, peg, revs)
	for _, rev := range revs {
		if at, ok := found[rev]; ok {
			s.w.Open()
			s.w.Rev(rev)
			s.w.Str(at)
			s.w.Close()
			delete(found, rev)
		}
	}
	return s.finish(err)
}

func (s *session) getLocationSegments(a *args) error {
	name, peg, start, end := a.str(), a.optRev(), a.optRev(), a.optRev()
	if a.err != nil {
		return a.err
	}
	path, err := s.full(name)
	if err != nil {
		return err
	}
	s.noAuth()
	start, peg, end = s.youngest(start), s.youngest(peg), max(end, 0)
	switch {
	case end > start:
		return s.finish(svn.Errorf(svn.ErrFSNoSuchRevision, "Get-location-segments end revision must not be younger than start revision"))
	case start > peg:
		return s.finish(svn.Errorf(svn.ErrFSNoSuchRevision, "Get-location-segments start revision must not be younger than peg revision"))
	}
	return s.finish(s.view.Repo.LocationSegments(s.ctx, path, peg, start, end, func(l svnrepos.LocationSegment) error {
		s.w.Open()
		s.w.Rev(l.Start)
		s.w.Rev(l.End)
		s.w.Open()
		if l.HasPath {
			s.w.Str(l.Path)
		}
		s.w.Raw(") ) ")
		return s.w.err
	}))
}

func (s *session) getFileRevs(a *args) error {
	name, start, end := a.str(), a.optRev(), a.optRev()
	merged := a.more() && a.boolean()
	if a.err != nil {
		return a.err
	}
	path, err := s.full(name)
	if err != nil {
		return err
	}
	s.noAuth()
	return s.finish(s.view.Repo.FileRevs(s.ctx, path, start, end, merged, s.fileRev))
}

// fileRev writes one revision of a file, and returns what writes how its text came to be.
func (s *session) fileRev(r svnrepos.FileRev) (svn.WindowHandler, error) {
	w := s.w
	w.Open()
	w.Str(r.Path)
	w.Rev(r.Rev)
	w.Open()
	w.Props(r.RevProps)
	w.Raw(") ( ")
	for _, c := range r.PropDiffs {
		w.Open()
		w.Str(c.Name)
		w.OptStr(c.Value)
		w.Close()
	}
	w.Close()
	w.Bool(r.MergedRevision)
	w.Close()
	if !r.HasDelta {
		w.Str("")
		return nil, w.err
	}
	t := &revText{w: w}
	t.Encoder = svndiff.NewEncoder(t, s.svndiffVersion(), svndiff.DefaultLevel)
	return t, w.err
}

// revText writes svndiff as strings, of which an empty one is the last.
type revText struct {
	*svndiff.Encoder
	w *Writer
}

func (t *revText) Write(p []byte) (int, error) {
	t.w.Bytes(p)
	return len(p), t.w.err
}

func (t *revText) Close() error {
	if err := t.Encoder.Close(); err != nil {
		return err
	}
	t.w.Str("")
	return t.w.err
}

const errMissingRevision svn.Code = 150003 // SVN_ERR_ENTRY_MISSING_REVISION

func (s *session) getDeletedRev(a *args) error {
	name, peg, end := a.str(), a.rev(), a.rev()
	if a.err != nil {
		return a.err
	}
	path, err := s.full(name)
	if err != nil {
		return err
	}
	s.noAuth()
	rev, err := s.view.Repo.DeletedRev(s.ctx, path, peg, end)
	if err != nil {
		return err
	}
	if !rev.Valid() {
		return svn.Errorf(errMissingRevision, "svn protocol command 'get-deleted-rev': path '%s' was not deleted in r%d-%d; "+
			"NOTE: newer clients handle this case and do not report it as an error", path, peg, end)
	}
	s.answerRev(rev)
	return nil
}

func (s *session) getMergeinfo(a *args) error {
	paths, rev := s.paths(a, "Path is not a string"), a.optRev()
	inherit, below := a.word(), a.boolean()
	if a.err != nil {
		return a.err
	}
	s.noAuth()
	found, err := s.view.Repo.Mergeinfo(s.ctx, paths, rev, svnrepos.ParseInheritance(inherit), below)
	if err != nil {
		return err
	}
	s.w.open("success")
	s.w.Open()
	for _, path := range svn.Props(found).Names() {
		rel, ok := svn.Rel(s.base, path)
		if !ok {
			rel = path
		}
		s.w.Open()
		s.w.Str(rel)
		s.w.Str(found[path])
		s.w.Close()
	}
	s.w.Close()
	s.w.shut()
	return nil
}
