package svnproto

import (
	"cmp"
	"errors"
	"strings"

	"holdfast/storage/svn"
	"holdfast/storage/svn/svndiff"
)

// maxDeltas bounds the texts that a client may have under way at once: each takes memory. Clients send one after the other.
const maxDeltas = 64

// open is a directory or a file that a client has open under a token.
type open struct {
	dir   svn.DirEditor
	file  svn.FileEditor
	delta *svndiff.Decoder // of a file whose text is under way
}

// driver drives an editor with the commands that a client sends.
type driver struct {
	s      *session
	ed     svn.Editor
	tokens map[string]*open
	held   int64 // bytes that the commit takes, by keep's reckoning
	deltas int
	sent   int64 // bytes of svndiff
	made   int64 // bytes of texts that come of them, without what is copied from texts that were there
	done   bool
	args   args // of the command
}

// drive takes an edit from the client. It reports whether the client has ended it well, which has been answered. Any other end has been
// answered too; err is that of the session.
//
// Once the editor has failed, the client is told so and all that it sends is thrown away until it has noticed.
func (s *session) drive(ed svn.Editor) (closed bool, err error) {
	d := &driver{s: s, ed: ed, tokens: map[string]*open{}}
	for !d.done && err == nil {
		var word []byte
		var params []Item
		if word, params, err = s.r.command(); err != nil {
			break
		}
		d.args = args{items: params}
		if closed, err = d.command(word, &d.args); err != nil && !isFatal(err) && !d.done {
			return false, s.refuse(errors.Join(err, ed.Abort()))
		}
	}
	switch {
	case err == nil:
		s.w.Success()
		return closed, s.w.err
	case !isFatal(err): // the client has ended the edit itself
		s.fail(err)
		return false, s.w.err
	}
	return false, errors.Join(err, ed.Abort())
}

// refuse tells the client that its edit has failed, and reads on until it has heard. Both at once: it may not read before it has
// written what it has.
func (s *session) refuse(reason error) error {
	written := make(chan error, 1)
	idle := s.r.Idle
	s.r.Idle = s.ctx.Err
	defer func() { s.r.Idle = idle }()
	s.fail(reason)
	go func() { written <- s.w.Flush() }()
	err := s.discard()
	return errors.Join(err, <-written)
}

// discard reads until the end of the edit. A client that has finished before it heard of the failure sends no abort-edit, but the
// response to something else.
func (s *session) discard() error {
	for {
		word, _, err := s.r.command()
		if err != nil || string(word) == "abort-edit" || string(word) == "success" {
			return err
		}
	}
}

// command carries out one command of an edit.
func (d *driver) command(word []byte, a *args) (closed bool, err error) {
	switch string(word) {
	case "textdelta-chunk":
		err = d.chunk(a)
	case "apply-textdelta":
		err = d.applyTextDelta(a)
	case "textdelta-end":
		err = d.endDelta(a)
	case "add-file", "add-dir", "open-file", "open-dir":
		err = d.enter(string(word), a)
	case "change-file-prop":
		err = d.changeProp(a, false)
	case "change-dir-prop":
		err = d.changeProp(a, true)
	case "close-file":
		err = d.closeFile(a)
	case "close-dir":
		err = d.closeDir(a)
	case "delete-entry":
		err = d.deleteEntry(a)
	case "absent-file":
		err = d.absent(a, svn.DirEditor.AbsentFile)
	case "absent-dir":
		err = d.absent(a, svn.DirEditor.AbsentDirectory)
	case "target-rev":
		if rev := a.rev(); a.err == nil {
			err = d.ed.SetTargetRevision(rev)
		}
	case "open-root":
		err = d.openRoot(a)
	case "close-edit":
		err = d.ed.Close()
		closed = err == nil
		d.done = closed
	case "abort-edit":
		d.done = true
		err = d.ed.Abort()
	case "finish-replay":
		err = svn.Errorf(svn.ErrRASvnUnknownCmd, "Command 'finish-replay' invalid outside of replays")
		return false, &fatal{err}
	default:
		err = svn.Errorf(svn.ErrRASvnUnknownCmd, "Unknown editor command '%s'", word)
	}
	if a.err != nil {
		return false, a.err
	}
	return closed, err
}

func errToken() error { return malformed("Invalid file or dir token during edit") }

// find returns what is open under a token; it has to be a directory or a file.
func (d *driver) find(token []byte, dir bool) (*open, error) {
	o := d.tokens[string(token)]
	if o == nil || (o.dir != nil) != dir {
		return nil, errToken()
	}
	return o, nil
}

// keptNode is what a node or a property takes besides its name and value.
const keptNode = 512

// keep counts what a command brings that stays in memory: most of it until the end of the commit, whatever is closed or deleted.
func (d *driver) keep(bytes int) error {
	d.held += keptNode + int64(bytes)
	if most := d.s.o.MaxCommitBytes; d.held > most {
		return svn.Errorf(svn.ErrRASvnRequestSize, "The names and properties of this commit take more than %d bytes; commit in parts", most)
	}
	return nil
}

// relative makes a canonical path of one that is relative to the root of the edit.
func relative(path []byte) (string, error) {
	p, err := svn.Canonical(string(path))
	if err != nil {
		return "", err
	}
	return p[1:], nil
}

func (d *driver) openRoot(a *args) error {
	rev, token := a.optRev(), a.bytes()
	if a.err != nil {
		return a.err
	}
	dir, err := d.ed.OpenRoot(rev)
	if err != nil {
		return err
	}
	d.tokens[string(token)] = &open{dir: dir}
	return d.keep(len(token))
}

func (d *driver) deleteEntry(a *args) error {
	name, rev, token := a.bytes(), a.optRev(), a.bytes()
	if a.err != nil {
		return a.err
	}
	parent, err := d.find(token, true)
	if err != nil {
		return err
	}
	path, err := relative(name)
	if err := cmp.Or(err, d.keep(len(name))); err != nil {
		return err
	}
	return parent.dir.DeleteEntry(path, rev)
}

// child reads the beginning of a command that opens a node: its path, its parent, its token.
func (d *driver) child(a *args) (path string, parent *open, token []byte, err error) {
	name, parentToken, token := a.bytes(), a.bytes(), a.bytes()
	if a.err != nil {
		return "", nil, nil, a.err
	}
	if parent, err = d.find(parentToken, true); err == nil {
		path, err = relative(name)
	}
	return path, parent, token, cmp.Or(err, d.keep(len(name)+len(token)))
}

// enter carries out a command that opens a node in its parent: one that is there, or a new one, which may be a copy.
func (d *driver) enter(word string, a *args) error {
	path, parent, token, err := d.child(a)
	var source string
	var rev svn.Revnum // of the source, or of what is there
	copied := false
	if strings.HasPrefix(word, "add-") {
		source, rev, copied = a.copyFrom()
	} else {
		rev = a.optRev()
	}
	if err := cmp.Or(a.err, err); err != nil {
		return err
	}
	var from *svn.CopyFrom
	if copied {
		if from, err = d.s.copySource(source, rev); err != nil {
			return err
		}
	}
	o := &open{}
	switch word {
	case "add-dir":
		o.dir, err = parent.dir.AddDirectory(path, from)
	case "add-file":
		o.file, err = parent.dir.AddFile(path, from)
	case "open-dir":
		o.dir, err = parent.dir.OpenDirectory(path, rev)
	default:
		o.file, err = parent.dir.OpenFile(path, rev)
	}
	if err != nil {
		return err
	}
	d.tokens[string(token)] = o
	return nil
}

// copySource returns what a client names as the source of a copy: clients send a URL, and some the path within the repository.
func (s *session) copySource(source string, rev svn.Revnum) (*svn.CopyFrom, error) {
	var path string
	var err error
	if strings.Contains(source, "://") {
		if path, err = s.pathOf(source); errors.Is(err, svn.ErrRAIllegalURL) {
			err = svn.Errorf(svn.ErrFSGeneral, "Source url '%s' is from different repository", source)
		}
	} else {
		path, err = svn.Canonical(source)
	}
	if err != nil {
		return nil, err
	}
	return &svn.CopyFrom{Path: path, Rev: rev}, nil
}

func (d *driver) changeProp(a *args, dir bool) error {
	token, name, value := a.bytes(), a.str(), a.optStr()
	if a.err != nil {
		return a.err
	}
	o, err := d.find(token, dir)
	if value != nil {
		err = cmp.Or(err, d.keep(len(name)+len(*value)))
	}
	if err != nil {
		return err
	}
	if dir {
		return o.dir.ChangeProp(name, value)
	}
	return o.file.ChangeProp(name, value)
}

func (d *driver) absent(a *args, tell func(svn.DirEditor, string) error) error {
	name, token := a.bytes(), a.bytes()
	if a.err != nil {
		return a.err
	}
	parent, err := d.find(token, true)
	if err != nil {
		return err
	}
	path, err := relative(name)
	if err != nil {
		return err
	}
	return tell(parent.dir, path)
}

func (d *driver) closeDir(a *args) error {
	token := a.bytes()
	if a.err != nil {
		return a.err
	}
	o, err := d.find(token, true)
	if err != nil {
		return err
	}
	delete(d.tokens, string(token))
	return o.dir.Close()
}

func (d *driver) closeFile(a *args) error {
	token, sum := a.bytes(), a.optStr()
	if a.err != nil {
		return a.err
	}
	o, err := d.find(token, false)
	if err != nil {
		return err
	}
	if o.delta != nil {
		d.deltas--
	}
	delete(d.tokens, string(token))
	if sum == nil {
		return o.file.Close("")
	}
	return o.file.Close(*sum)
}

func (d *driver) applyTextDelta(a *args) error {
	token, base := a.bytes(), a.optStr()
	if a.err != nil {
		return a.err
	}
	o, err := d.find(token, false)
	switch {
	case err != nil:
		return err
	case o.delta != nil:
		return malformed("Apply-textdelta already active")
	case d.deltas == maxDeltas:
		return svn.Errorf(svn.ErrRASvnRequestSize, "More than %d texts are under way at once", maxDeltas)
	}
	if base == nil {
		base = new(string)
	}
	h, err := o.file.ApplyTextDelta(*base)
	if err != nil {
		return err
	}
	o.delta = svndiff.NewDecoder(&boundedText{WindowHandler: h, d: d})
	d.deltas++
	return nil
}

// maxGrowth is how many times its svndiff a text may be: zlib comes to 1032, with what is around it to less.
const maxGrowth = 1024

// boundedText takes the windows of a text, unless they make too much of too little: ten bytes of svndiff make 100 KB, which are on the
// host's disk before the commit is.
type boundedText struct {
	svn.WindowHandler
	d    *driver
	size int64
}

func (b *boundedText) Window(w *svn.Window) error {
	most := b.d.s.o.MaxTextBytes
	if b.size += int64(w.TargetLen); b.size > most {
		return svn.Errorf(svn.ErrRASvnRequestSize, "A text takes more than %d bytes", most)
	}
	b.d.made += int64(w.TargetLen)
	for _, op := range w.Ops {
		if op.Action == svn.FromSource {
			b.d.made -= int64(op.Len)
		}
	}
	if b.d.made > most+maxGrowth*b.d.sent {
		return svn.Errorf(svn.ErrRASvnRequestSize, "The texts of this commit are more than %d times what was sent", maxGrowth)
	}
	return b.WindowHandler.Window(w)
}

// delta returns the file whose text is under way under a token.
func (d *driver) delta(token []byte) (*open, error) {
	o, err := d.find(token, false)
	if err == nil && o.delta == nil {
		err = malformed("Apply-textdelta not active")
	}
	return o, err
}

func (d *driver) chunk(a *args) error {
	token, piece := a.bytes(), a.bytes()
	if a.err != nil {
		return a.err
	}
	o, err := d.delta(token)
	if err != nil {
		return err
	}
	d.sent += int64(len(piece))
	_, err = o.delta.Write(piece)
	return err
}

func (d *driver) endDelta(a *args) error {
	token := a.bytes()
	if a.err != nil {
		return a.err
	}
	o, err := d.delta(token)
	if err != nil {
		return err
	}
	delta := o.delta
	o.delta = nil
	d.deltas--
	return delta.Close()
}
