package svnproto

import (
	"cmp"
	"encoding/hex"
	"io"
	"math"
	"strconv"

	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// The properties that a file or directory has besides its own when its properties are asked for.
const (
	propCommittedRev  = "svn:entry:committed-rev"
	propCommittedDate = "svn:entry:committed-date"
	propLastAuthor    = "svn:entry:last-author"
	propUUID          = "svn:entry:uuid"
)

var fieldWords = map[string]svnrepos.DirentFields{
	"kind": svnrepos.DirentKind, "size": svnrepos.DirentSize, "has-props": svnrepos.DirentHasProps,
	"created-rev": svnrepos.DirentCreatedRev, "time": svnrepos.DirentTime, "last-author": svnrepos.DirentAuthor,
}

// parseFields reads a list of words; those that it does not know it ignores.
func parseFields(a *args) (f svnrepos.DirentFields) {
	for _, it := range a.list() {
		if it.Kind != Word {
			a.err = malformed("Dirent field not a word")
			return 0
		}
		f |= fieldWords[string(it.Bytes)]
	}
	return f
}

// nodeRequest is what get-file and get-dir ask for.
type nodeRequest struct {
	path                       string
	rev                        svn.Revnum
	props, contents, inherited bool
	fields                     svnrepos.DirentFields
}

func (s *session) nodeRequest(a *args, dir bool) (q nodeRequest, err error) {
	name, rev := a.str(), a.optRev()
	q = nodeRequest{rev: rev, props: a.boolean(), contents: a.boolean(), fields: svnrepos.DirentAll}
	if dir && a.more() {
		q.fields = parseFields(a)
	}
	q.inherited = a.more() && a.boolean()
	if a.err != nil {
		return q, a.err
	}
	q.path, err = s.full(name)
	return q, err
}

// nodeAnswer is what of it is the same for both.
type nodeAnswer struct {
	props     svn.Props
	inherited []svnrepos.InheritedProps
}

func (s *session) nodeAnswer(q nodeRequest, n *svnfs.Node) (r nodeAnswer, err error) {
	if q.props {
		if r.props, err = s.entryProps(n); err != nil {
			return r, err
		}
	}
	if q.inherited {
		r.inherited, err = s.view.Repo.InheritedProps(s.ctx, q.path, q.rev, "")
	}
	return r, err
}

// entryProps returns a node's properties and those that tell of its last change.
func (s *session) entryProps(n *svnfs.Node) (svn.Props, error) {
	own, err := n.Props()
	if err != nil {
		return nil, err
	}
	fs := s.view.Repo.FS
	of, err := fs.RevProps(n.CreatedRev())
	if err != nil {
		return nil, err
	}
	p := own.Clone()
	p[propCommittedRev] = strconv.FormatInt(int64(n.CreatedRev()), 10)
	p[propUUID] = fs.UUID()
	for name, from := range map[string]string{propCommittedDate: svn.PropDate, propLastAuthor: svn.PropAuthor} {
		if value, ok := of[from]; ok {
			p[name] = value
		}
	}
	return p, nil
}

func (s *session) getFile(a *args) error {
	q, err := s.nodeRequest(a, false)
	if err != nil {
		return err
	}
	if err := s.must(svnrepos.Read, q.path, false); err != nil {
		return err
	}
	q.rev = s.youngest(q.rev)
	n, err := s.nodeOf(q, svn.File)
	if err != nil {
		return err
	}
	r, err := s.nodeAnswer(q, n)
	if err != nil {
		return err
	}
	var text io.ReadCloser
	if q.contents {
		if text, err = n.Open(); err != nil {
			return err
		}
		defer text.Close()
	}
	sum := n.MD5()
	s.w.open("success")
	s.w.OptText(hex.EncodeToString(sum[:]))
	s.w.Rev(q.rev)
	s.w.Open()
	s.w.Props(r.props)
	s.w.Close()
	if q.inherited {
		s.inherited(r.inherited)
	}
	s.w.shut()
	if !q.contents {
		return nil
	}
	err = s.sendText(text)
	s.w.Str("")
	if err != nil {
		return err
	}
	s.w.Success()
	return nil
}

// sendText sends a text as strings of a size that clients take in one piece.
func (s *session) sendText(text io.Reader) error {
	b := make([]byte, 32<<10)
	for {
		n, err := io.ReadFull(text, b)
		if n > 0 {
			s.w.Bytes(b[:n])
		}
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return nil
		case err != nil:
			return err
		case s.w.err != nil:
			return s.w.err
		case s.ctx.Err() != nil:
			return s.ctx.Err()
		}
	}
}

// nodeOf returns the node that get-file or get-dir is about, which has to be of their kind.
func (s *session) nodeOf(q nodeRequest, kind svn.Kind) (*svnfs.Node, error) {
	root, err := s.view.Repo.FS.Root(q.rev)
	if err != nil {
		return nil, err
	}
	n, err := root.Node(q.path)
	switch {
	case err != nil:
		return nil, err
	case kind == svn.File && n.Kind() != svn.File:
		return nil, svn.Errorf(svn.ErrFSNotFile, "Attempted to get checksum of a *non*-file node")
	case kind == svn.Dir && q.contents && n.Kind() != svn.Dir:
		return nil, svn.Errorf(svn.ErrFSNotDirectory, "Can't get entries of non-directory")
	}
	return n, nil
}

// inherited writes a list of paths with their properties.
func (s *session) inherited(all []svnrepos.InheritedProps) {
	s.w.Open()
	for _, p := range all {
		s.w.Open()
		s.w.Str(p.Path)
		s.w.Open()
		s.w.Props(p.Props)
		s.w.Close()
		s.w.Close()
	}
	s.w.Close()
}

// noDate stands for the date of an entry whose revision has none: clients do not take an empty list.
const noDate = "1970-01-01T00:00:00.000000Z"

func (s *session) getDir(a *args) error {
	q, err := s.nodeRequest(a, true)
	if err != nil {
		return err
	}
	if err := s.must(svnrepos.Read, q.path, false); err != nil {
		return err
	}
	q.rev = s.youngest(q.rev)
	n, err := s.nodeOf(q, svn.Dir)
	if err != nil {
		return err
	}
	r, err := s.nodeAnswer(q, n)
	if err != nil {
		return err
	}
	var entries []svn.Dirent
	if q.contents {
		if entries, err = s.view.Repo.DirEntries(q.path, q.rev, q.fields); err != nil {
			return err
		}
	}
	s.w.open("success")
	s.w.Rev(q.rev)
	s.w.Open()
	s.w.Props(r.props)
	s.w.Close()
	s.w.Open()
	for i := range entries {
		s.entry(&entries[i], q.fields)
	}
	s.w.Close()
	if q.inherited {
		s.inherited(r.inherited)
	}
	s.w.shut()
	return nil
}

// entry writes what a directory has under a name.
func (s *session) entry(e *svn.Dirent, want svnrepos.DirentFields) {
	kind, size, rev, date := svn.None, int64(0), svn.Revnum(0), noDate
	if want&svnrepos.DirentKind != 0 {
		kind = e.Kind
	}
	if want&svnrepos.DirentSize != 0 {
		size = e.Size
	}
	known := want&(svnrepos.DirentCreatedRev|svnrepos.DirentTime|svnrepos.DirentAuthor) != 0
	if known {
		rev = e.CreatedRev
		if e.Date != "" {
			date = e.Date
		}
	}
	s.w.Open()
	s.w.Str(e.Name)
	s.w.Word(kind.String())
	s.w.Number(uint64(size))
	s.w.Bool(want&svnrepos.DirentHasProps != 0 && e.HasProps)
	s.w.Rev(rev)
	s.w.OptText(date)
	s.author(e, known)
	s.w.Close()
}

// sizeOf returns the size that stat and list tell: that of a directory is the one that stands for none.
func sizeOf(e *svn.Dirent) uint64 {
	if e.Kind == svn.Dir {
		return math.MaxUint64
	}
	return uint64(e.Size)
}

// author writes the list of an author, if there is one.
func (s *session) author(e *svn.Dirent, wanted bool) {
	if wanted && e.HasAuthor {
		s.w.OptStr(&e.Author)
		return
	}
	s.w.OptStr(nil)
}

func (s *session) stat(a *args) error {
	path, rev, err := s.pathAndRev(a)
	if err != nil {
		return err
	}
	if err := s.must(svnrepos.Read, path, false); err != nil {
		return err
	}
	e, err := s.view.Repo.Stat(path, s.youngest(rev))
	if err != nil {
		return err
	}
	s.w.open("success")
	s.w.Open()
	if e != nil {
		s.w.Open()
		s.w.Word(e.Kind.String())
		s.w.Number(sizeOf(e))
		s.w.Bool(e.HasProps)
		s.w.Rev(e.CreatedRev)
		s.w.OptText(cmp.Or(e.Date, noDate))
		s.author(e, true)
		s.w.Close()
	}
	s.w.Close()
	s.w.shut()
	return nil
}

func (s *session) getInheritedProps(a *args) error {
	path, rev, err := s.pathAndRev(a)
	if err != nil {
		return err
	}
	if err := s.must(svnrepos.Read, path, false); err != nil {
		return err
	}
	rev = s.youngest(rev)
	root, err := s.view.Repo.FS.Root(rev)
	if err != nil {
		return err
	}
	if kind, err := root.Kind(path); err != nil || kind == svn.None {
		return cmp.Or(err, error(svn.Errorf(svn.ErrFSNotFound, "'%s' path not found", path)))
	}
	props, err := s.view.Repo.InheritedProps(s.ctx, path, rev, "")
	if err != nil {
		return err
	}
	s.w.open("success")
	s.inherited(props)
	s.w.shut()
	return nil
}

func (s *session) list(a *args) error {
	name, rev, q := a.str(), a.optRev(), svnrepos.ListRequest{}
	q.Depth = svn.ParseDepth(a.word())
	want := svnrepos.DirentAll
	if a.more() {
		want = parseFields(a)
	}
	if a.more() {
		q.Patterns = []string{}
		for _, it := range a.list() {
			if it.Kind != String {
				return malformed("Pattern field not a string")
			}
			q.Patterns = append(q.Patterns, string(it.Bytes))
		}
	}
	if a.err != nil {
		return a.err
	}
	var err error
	if q.Path, err = s.full(name); err != nil {
		return err
	}
	if err := s.must(svnrepos.Read, q.Path, false); err != nil {
		return err
	}
	q.Rev, q.Fields = s.youngest(rev), want
	if _, err := s.view.Repo.FS.Root(q.Rev); err != nil {
		return err
	}
	err = s.view.Repo.List(s.ctx, q, func(dir string, e *svn.Dirent) error {
		s.listed(dir, e, want)
		return s.w.err
	})
	return s.finish(err)
}

// finish ends a sequence of items: with the word done, whatever has become of them, and the response.
func (s *session) finish(err error) error {
	s.w.Word("done")
	if err != nil {
		return err
	}
	s.w.Success()
	return nil
}

// listed writes an entry that list has found.
func (s *session) listed(dir string, e *svn.Dirent, want svnrepos.DirentFields) {
	w, kind := s.w, svn.Unknown
	if want&svnrepos.DirentKind != 0 {
		kind = e.Kind
	}
	w.Open()
	w.Path(dir, e.Name)
	w.Word(kind.String())
	if want&^svnrepos.DirentKind != 0 {
		w.Open()
		if want&svnrepos.DirentSize != 0 {
			w.Number(sizeOf(e))
		}
		w.Raw(") ( ")
		if want&svnrepos.DirentHasProps != 0 {
			w.Bool(e.HasProps)
		}
		w.Raw(") ( ")
		if want&svnrepos.DirentCreatedRev != 0 {
			w.Rev(e.CreatedRev)
		}
		w.Raw(") ( ")
		if want&svnrepos.DirentTime != 0 {
			w.Str(cmp.Or(e.Date, noDate))
		}
		w.Raw(") ( ")
		if want&svnrepos.DirentAuthor != 0 && e.HasAuthor {
			w.Str(e.Author)
		}
		w.Close()
	}
	w.Close()
}
