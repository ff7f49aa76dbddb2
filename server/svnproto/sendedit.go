package svnproto

import (
	"errors"

	"holdfast/storage/svn"
	"holdfast/storage/svn/svndiff"
)

// sender is an svn.Editor that has the client edit: it writes a command for each call. While it does it listens for the client giving
// up, which may be at any time.
type sender struct {
	s        *session
	replay   bool   // the edit ends in finish-replay, to which there is no response
	version  int    // of svndiff
	deflated []byte // used again by each text that is sent as it is stored
	next     uint64
	ended    bool // the client has answered, or need not

}

func (s *session) sender() *sender { return &sender{s: s, version: s.svndiffVersion()} }

// svndiffVersion returns the best version that the client can read.
func (s *session) svndiffVersion() int {
	switch {
	case s.client.Has("accepts-svndiff2"):
		return 2
	case s.client.Has("svndiff1"):
		return 1
	}
	return 0
}

// node is a directory or a file that the client has open under a token: a letter and a number.
type node struct {
	e  *sender
	id uint64
}

func (e *sender) node() node {
	e.next++
	return node{e, e.next - 1}
}

func (n node) token(kind byte) { n.e.s.w.token(kind, n.id) }

// sentDir and sentFile are open directories and files.
type (
	sentDir  struct{ node }
	sentFile struct{ node }
)

func (d sentDir) token()  { d.node.token('d') }
func (f sentFile) token() { f.node.token('c') }

func (n node) changeProp(command string, kind byte, name string, value *string) error {
	if err := n.e.begin(command); err != nil {
		return err
	}
	n.token(kind)
	n.e.s.w.Str(name)
	n.e.s.w.OptStr(value)
	return n.e.end()
}

// begin begins a command, unless the client has given up, of which it returns the reason.
func (e *sender) begin(command string) error {
	w := e.s.w
	switch {
	case w.err != nil:
		return w.err
	case e.s.r.Arrived():
		return e.givenUp()
	}
	w.Raw(command)
	return nil
}

// end ends a command.
func (e *sender) end() error {
	e.s.w.shut()
	return e.s.w.err
}

// givenUp hears what the client has said in the midst of the edit.
func (e *sender) givenUp() error {
	if e.ended {
		return svn.Errorf(svn.ErrRASvnEditAborted, "The edit has ended")
	}
	e.ended = true
	e.s.w.Raw("( abort-edit ( ) ) ")
	if err := e.s.response(); err != nil {
		return err
	}
	return malformed("Successful edit status returned too soon")
}

// response reads one of the client's; what it says has failed is the error.
func (s *session) response() error {
	word, params, err := s.r.command()
	if err != nil {
		return err
	}
	switch string(word) {
	case "success":
		return nil
	case "failure":
		return parseFailure(params)
	}
	return &fatal{svn.Errorf(svn.ErrRASvnMalformedData, "Unknown status '%s' in command response", word)}
}

// parseFailure returns the chain of errors that a client has sent.
func parseFailure(list []Item) error {
	var chain error
	for i := len(list) - 1; i >= 0; i-- {
		a := args{items: list[i].List}
		code, text := a.number(), a.str()
		if list[i].Kind != List || a.err != nil {
			return malformed("Malformed error list")
		}
		if svn.Code(code) != svn.ErrRASvnCmdErr {
			chain = &svn.Error{Code: svn.Code(code), Message: text, Cause: chain}
		}
	}
	if chain == nil {
		return malformed("Empty error list")
	}
	return chain
}

func (e *sender) SetTargetRevision(rev svn.Revnum) error {
	if err := e.begin("( target-rev ( "); err != nil {
		return err
	}
	e.s.w.Rev(rev)
	return e.end()
}

func (e *sender) OpenRoot(base svn.Revnum) (svn.DirEditor, error) {
	if err := e.begin("( open-root ( "); err != nil {
		return nil, err
	}
	d := sentDir{e.node()}
	e.s.w.OptRev(base)
	d.token()
	return d, e.end()
}

func (e *sender) Close() error {
	switch {
	case e.ended:
		return nil
	case e.replay:
		e.ended = true
		e.s.w.Raw("( finish-replay ( ) ) ")
		return e.s.w.err
	}
	if err := e.begin("( close-edit ( "); err != nil {
		return err
	}
	e.ended = true
	if err := e.end(); err != nil {
		return err
	}
	err := e.s.response()
	if err != nil && !isFatal(err) {
		e.s.w.Raw("( abort-edit ( ) ) ")
	}
	return err
}

func (e *sender) Abort() error {
	if e.ended || e.s.w.err != nil {
		return nil
	}
	e.ended = true
	e.s.w.Raw("( abort-edit ( ) ) ")
	return e.s.response()
}

func isFatal(err error) bool {
	var f *fatal
	return errors.As(err, &f)
}

// add writes what adds a node; it has a source if from is given.
func (d sentDir) add(command, path string, kind byte, from *svn.CopyFrom) (node, error) {
	e, w := d.e, d.e.s.w
	if err := e.begin(command); err != nil {
		return node{}, err
	}
	n := e.node()
	w.Str(path)
	d.token()
	n.token(kind)
	w.Open()
	if from != nil {
		w.Str(from.Path)
		w.Rev(from.Rev)
	}
	w.Close()
	return n, e.end()
}

// open writes what opens a node.
func (d sentDir) open(command, path string, kind byte, base svn.Revnum) (node, error) {
	e, w := d.e, d.e.s.w
	if err := e.begin(command); err != nil {
		return node{}, err
	}
	n := e.node()
	w.Str(path)
	d.token()
	n.token(kind)
	w.OptRev(base)
	return n, e.end()
}

func (d sentDir) AddDirectory(path string, from *svn.CopyFrom) (svn.DirEditor, error) {
	n, err := d.add("( add-dir ( ", path, 'd', from)
	return sentDir{n}, err
}

func (d sentDir) OpenDirectory(path string, base svn.Revnum) (svn.DirEditor, error) {
	n, err := d.open("( open-dir ( ", path, 'd', base)
	return sentDir{n}, err
}

func (d sentDir) AddFile(path string, from *svn.CopyFrom) (svn.FileEditor, error) {
	n, err := d.add("( add-file ( ", path, 'c', from)
	return sentFile{n}, err
}

func (d sentDir) OpenFile(path string, base svn.Revnum) (svn.FileEditor, error) {
	n, err := d.open("( open-file ( ", path, 'c', base)
	return sentFile{n}, err
}

func (d sentDir) DeleteEntry(path string, rev svn.Revnum) error {
	if err := d.e.begin("( delete-entry ( "); err != nil {
		return err
	}
	d.e.s.w.Str(path)
	d.e.s.w.OptRev(rev)
	d.token()
	return d.e.end()
}

func (d sentDir) AbsentDirectory(path string) error { return d.absent("( absent-dir ( ", path) }
func (d sentDir) AbsentFile(path string) error      { return d.absent("( absent-file ( ", path) }

func (d sentDir) absent(command, path string) error {
	if !d.e.s.client.Has("absent-entries") {
		return nil
	}
	if err := d.e.begin(command); err != nil {
		return err
	}
	d.e.s.w.Str(path)
	d.token()
	return d.e.end()
}

func (d sentDir) ChangeProp(name string, value *string) error {
	return d.changeProp("( change-dir-prop ( ", 'd', name, value)
}

func (d sentDir) Close() error {
	if err := d.e.begin("( close-dir ( "); err != nil {
		return err
	}
	d.token()
	return d.e.end()
}

func (f sentFile) ChangeProp(name string, value *string) error {
	return f.changeProp("( change-file-prop ( ", 'c', name, value)
}

func (f sentFile) Close(textMD5 string) error {
	if err := f.e.begin("( close-file ( "); err != nil {
		return err
	}
	f.token()
	f.e.s.w.OptText(textMD5)
	return f.e.end()
}

func (f sentFile) ApplyTextDelta(baseMD5 string) (svn.WindowHandler, error) {
	if err := f.e.begin("( apply-textdelta ( "); err != nil {
		return nil, err
	}
	f.token()
	f.e.s.w.OptText(baseMD5)
	if err := f.e.end(); err != nil {
		return nil, err
	}
	t := &textSender{f: f}
	t.Encoder = svndiff.NewEncoder(t, f.e.version, svndiff.DefaultLevel)
	return t, nil
}

// textSender sends the svndiff of one file.
type textSender struct {
	*svndiff.Encoder
	f     sentFile
	whole bool // all of it was sent by Deflated
}

// Deflated sends a stored text as it is to a client that reads zlib, though it may like LZ4 better: a text says its own version, and
// this costs neither side of the connection more bytes.
func (t *textSender) Deflated(size int, stream []byte) (bool, error) {
	if !t.f.e.s.client.Has("svndiff1") {
		return false, nil
	}
	diff, ok := svndiff.AppendDeflated(t.f.e.deflated[:0], size, stream)
	t.f.e.deflated = diff
	if !ok {
		return false, nil
	}
	t.whole = true
	_, err := t.Write(diff)
	return true, err
}

// Write sends a piece.
func (t *textSender) Write(p []byte) (int, error) {
	if err := t.f.e.begin("( textdelta-chunk ( "); err != nil {
		return 0, err
	}
	t.f.token()
	t.f.e.s.w.Bytes(p)
	return len(p), t.f.e.end()
}

// Close ends the text.
func (t *textSender) Close() error {
	if !t.whole {
		if err := t.Encoder.Close(); err != nil {
			return err
		}
	}
	if err := t.f.e.begin("( textdelta-end ( "); err != nil {
		return err
	}
	t.f.token()
	return t.f.e.end()
}
