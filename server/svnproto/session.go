package svnproto

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/url"
	"strings"

	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
)

const (
	loginItems          = 1 << 10 // of a tuple of a client that is not logged in: an item takes far more memory than its bytes
	defaultRequestBytes = 16 << 20
	defaultItems        = 1 << 18
	defaultCommitBytes  = 1 << 30
	defaultTextBytes    = 4 << 30
	defaultAuthTries    = 8
)

func (o Options) withDefaults() Options {
	o.MaxRequestBytes = cmp.Or(o.MaxRequestBytes, defaultRequestBytes)
	o.MaxItems = cmp.Or(o.MaxItems, defaultItems)
	o.MaxCommitBytes = cmp.Or(o.MaxCommitBytes, defaultCommitBytes)
	o.MaxTextBytes = cmp.Or(o.MaxTextBytes, defaultTextBytes)
	o.MaxAuthTries = cmp.Or(o.MaxAuthTries, defaultAuthTries)
	return o
}

// greeting begins every session: the versions of the protocol and what the server can do, in the order of svnserve.
const greeting = "( success ( 2 2 ( ) ( edit-pipeline svndiff1 accepts-svndiff2 absent-entries commit-revprops depth log-revprops " +
	"atomic-revprops partial-replay inherited-props ephemeral-txnprops file-revs-reverse list ) ) ) "

// session is a conversation with one client.
type session struct {
	ctx    context.Context
	o      Options
	r      *Reader
	w      *Writer
	client Client
	t      *Target
	root   string // the path of the root's URL with what is before it, decoded
	base   string // the directory that paths of commands are relative to; absolute

	user string // "" until the client has authenticated
	view *View  // of user; nil while there is none
}

// Serve holds the conversation with one client. It returns nil when the client ends it between two commands; else why it ended, of
// which the client has been told if it was still there.
//
// After an error, one Read of in may still be blocked; closing the transport ends it.
func Serve(ctx context.Context, in io.Reader, out io.Writer, h Host, o Options) error {
	o = o.withDefaults()
	s := &session{ctx: ctx, o: o, r: NewReader(in), w: NewWriter(out)}
	s.r.MaxBytes, s.r.MaxItems = o.MaxRequestBytes, min(o.MaxItems, loginItems)
	s.r.Idle = s.idle
	err := s.begin(h)
	s.r.MaxItems = o.MaxItems
	for err == nil {
		var word []byte
		var params []Item
		if word, params, err = s.r.command(); err == nil {
			err = s.run(word, params)
		} else if svn.CodeOf(err) == svn.ErrRASvnConnectionClosed {
			return nil
		}
	}
	if s.w.err == nil {
		s.w.Failure(err)
		s.w.Flush()
	}
	return err
}

// idle runs before the session waits for the client, which has to have all there is by then.
func (s *session) idle() error {
	if err := s.ctx.Err(); err != nil {
		return &fatal{err}
	}
	return s.w.Flush()
}

// begin greets the client, and ends when it may send commands.
func (s *session) begin(h Host) error {
	s.w.Raw(greeting)
	if err := s.hello(); err != nil {
		return err
	}
	t, err := h.Open(s.ctx, s.client)
	if err != nil {
		return err
	}
	s.t, s.base = t, t.Base
	if s.root, err = decoded(t.RootURL); err != nil {
		return err
	}
	if t.Anonymous == NoAccess && (t.Authenticated == NoAccess || !s.canAuthenticate()) {
		return svn.Errorf(svn.ErrRANotAuthorized, "No access allowed to this repository")
	}
	if err := s.authenticate(ReadAccess, false); err != nil {
		return err
	}
	if s.level() == NoAccess {
		return svn.Errorf(svn.ErrRANotAuthorized, "Not authorized for access")
	}
	s.w.open("success")
	s.w.Str(s.view.Repo.FS.UUID())
	s.w.Str(t.RootURL)
	s.w.Raw("( mergeinfo ) ")
	s.w.shut()
	return s.w.Flush()
}

// hello reads what the client answers to the greeting.
func (s *session) hello() error {
	items, err := s.r.ReadTuple()
	if err != nil {
		return err
	}
	a := args{items: items}
	version, caps, address := a.number(), a.list(), a.str()
	if a.more() {
		s.client.Agent = a.str()
		if a.more() {
			program := a.optStr()
			if program != nil {
				s.client.Program = *program
			}
		}
	}
	if a.err != nil {
		return a.err
	}
	if version != 2 {
		return svn.Errorf(svn.ErrRASvnBadVersion, "Unsupported ra_svn protocol version %d (supported versions: [2])", version)
	}
	for _, it := range caps {
		if it.Kind != Word {
			return malformed("Capability entry is not a word")
		}
		s.client.Capabilities = append(s.client.Capabilities, string(it.Bytes))
	}
	if !s.client.Has("edit-pipeline") {
		return svn.Errorf(svn.ErrRASvnBadVersion, "Missing edit-pipeline capability")
	}
	s.client.URL, err = canonicalURL(address)
	return err
}

// canonicalURL removes empty segments and slashes at the end.
func canonicalURL(address string) (string, error) {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok || scheme != "svn" && !strings.HasPrefix(scheme, "svn+") {
		return "", svn.Errorf(svn.ErrBadURL, "Non-svn URL passed to svn server: '%s'", address)
	}
	if _, err := decoded(rest); err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(scheme + "://")
	for i, segment := range strings.Split(rest, "/") {
		if i > 0 && (segment == "" || segment == ".") {
			continue
		}
		if i > 0 {
			b.WriteByte('/')
		}
		b.WriteString(segment)
	}
	return b.String(), nil
}

func decoded(address string) (string, error) {
	s, err := url.PathUnescape(address)
	if err != nil || len(address) > 3*svn.MaxPathBytes {
		return "", svn.Errorf(svn.ErrBadURL, "URL '%.200s' is malformed or is not canonical", address)
	}
	return s, nil
}

// pathOf returns the absolute path within the repository that a URL stands for.
func (s *session) pathOf(address string) (string, error) {
	canonical, err := canonicalURL(address)
	if err != nil {
		return "", err
	}
	full, err := decoded(canonical)
	if err != nil {
		return "", err
	}
	path, ok := strings.CutPrefix(full, s.root)
	if !ok || path != "" && path[0] != '/' {
		return "", svn.Errorf(svn.ErrRAIllegalURL, "'%s' is not the same repository as '%s'", full, s.root)
	}
	return svn.Canonical(path)
}

// full returns the absolute path of one that a command names, which is relative to the session's.
func (s *session) full(path string) (string, error) {
	rel, err := svn.Canonical(path)
	if err != nil {
		return "", err
	}
	return svn.Join(s.base, rel[1:]), nil
}

// level is what the client may do at most, as who it is by now.
func (s *session) level() Level {
	if s.user == "" {
		return s.t.Anonymous
	}
	return s.t.Authenticated
}

// open makes user the one that the session is for.
func (s *session) open(user string) error {
	v, err := s.t.View(s.ctx, user)
	if err != nil {
		return err
	}
	s.user, s.view = user, v
	return nil
}

// run carries out one command. Its error ends the session; others have been told to the client.
func (s *session) run(word []byte, params []Item) error {
	c, ok := commands[string(word)]
	if !ok {
		s.w.Failure(svn.Errorf(svn.ErrRASvnUnknownCmd, "Unknown editor command '%s'", word))
		return s.w.err
	}
	err := c(s, &args{items: params})
	var f *fatal
	switch {
	case s.w.err != nil:
		return s.w.err
	case errors.As(err, &f):
		return err
	case err != nil:
		s.fail(err)
	}
	return s.w.err
}

// fail tells the client of an error.
func (s *session) fail(err error) {
	if s.o.Hidden != nil && !shown(err) && s.ctx.Err() == nil {
		s.o.Hidden(err)
	}
	s.w.Failure(err)
}

// must makes sure that the client may do op with path, asking it for a name and a password if that may help, and answers for the first
// half of a response: the authentication request. An empty path stands for any.
func (s *session) must(op svnrepos.Op, path string, named bool) error {
	if s.may(op, path, named) {
		s.noAuth()
		return nil
	}
	need := ReadAccess
	if op >= svnrepos.Write {
		need = WriteAccess
	}
	if s.user == "" && s.t.Authenticated >= need && s.canAuthenticate() {
		if err := s.authenticate(need, true); err != nil {
			return err
		}
	}
	if !s.may(op, path, named) {
		return svn.Errorf(svn.ErrRANotAuthorized, "")
	}
	return nil
}

// may reports whether the client may do op with path as who it is by now; named asks for it to be somebody.
func (s *session) may(op svnrepos.Op, path string, named bool) bool {
	need := ReadAccess
	if op >= svnrepos.Write {
		need = WriteAccess
	}
	return s.level() >= need && (!named || s.user != "") && allows(s.view.Repo.Access, op, path)
}

// allows asks for one path, or, if it is empty, whether there may be one at all.
func allows(a svnrepos.Access, op svnrepos.Op, path string) bool {
	if a == nil {
		return true
	}
	if path != "" {
		return a.Allows(path, op)
	}
	if s, ok := a.(Somewhere); ok {
		return s.AllowsSomewhere(op)
	}
	return true
}

// noAuth answers that nothing more need be known of the client.
func (s *session) noAuth() { s.w.Raw("( success ( ( ) 0: ) ) ") }
