package svnpull

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"holdfast/server/svnproto"
	"holdfast/storage/svn"
)

// Options say how to come to a server. The zero value works.
type Options struct {
	User, Password string        // for CRAM-MD5; anonymous if there is no user
	IdleTimeout    time.Duration // silence after which the server is given up; 10 min if zero
	MaxBytes       int64         // of the deltas of all texts of one revision; 16 GiB if zero
}

// Source is a session with another server. It is for one goroutine.
type Source struct {
	o    Options
	conn net.Conn
	r    *svnproto.Reader
	w    *svnproto.Writer
	stop func() bool

	uuid, root string
}

// idleConn is a connection that ends when it is silent.
type idleConn struct {
	net.Conn
	timeout time.Duration
}

func (c idleConn) Read(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Open begins a session with the repository at a URL, which must be that of its root. It ends with ctx, and with Close.
func Open(ctx context.Context, address string, o Options) (*Source, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "svn" || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("%q is no URL of the form svn://HOST/PATH", address)
	}
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), "3690")
	}
	conn, err := (&net.Dialer{Timeout: 30 * time.Second}).DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the server of %s: %w", address, err)
	}
	idle := idleConn{conn, cmp.Or(o.IdleTimeout, 10*time.Minute)}
	s := &Source{o: o, conn: conn, r: svnproto.NewReader(idle), w: svnproto.NewWriter(idle)}
	s.stop = context.AfterFunc(ctx, func() { conn.Close() })
	if err := s.begin(strings.TrimSuffix(address, "/")); err != nil {
		s.Close()
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return s, nil
}

// Close ends the session.
func (s *Source) Close() error {
	s.stop()
	return s.conn.Close()
}

// UUID returns the repository's uuid.
func (s *Source) UUID() string { return s.uuid }

func (s *Source) begin(address string) error {
	greeting, err := s.response()
	if err != nil {
		return err
	}
	low, high := greeting.number(), greeting.number()
	if greeting.err == nil && (low > 2 || high < 2) {
		return fmt.Errorf("the server speaks versions %d to %d of the protocol, not 2", low, high)
	}
	s.w.Raw("( 2 ( edit-pipeline svndiff1 absent-entries depth mergeinfo log-revprops ) ")
	s.w.Str(address)
	s.w.Str("holdfast")
	s.w.Raw("( ) ) ")
	if err := errors.Join(greeting.err, s.w.Flush(), s.authenticate()); err != nil {
		return err
	}
	info, err := s.response()
	if err != nil {
		return err
	}
	if s.uuid, s.root = info.text(), info.text(); info.err != nil {
		return info.err
	}
	if pathOf(s.root) != pathOf(address) {
		return fmt.Errorf("this lies within a repository: import that as a whole, from %s", s.root)
	}
	return nil
}

// pathOf returns the path of a URL. Servers tell it in their own spelling, and with it that of the host.
func pathOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return path.Clean("/" + u.Path)
}

// authenticate answers an authentication request; most often there is nothing to answer.
func (s *Source) authenticate() error {
	request, err := s.response()
	if err != nil {
		return err
	}
	var words []string
	for _, it := range request.list() {
		words = append(words, string(it.Bytes))
	}
	switch {
	case request.err != nil || len(words) == 0:
		return request.err
	case s.o.User != "" && slices.Contains(words, "CRAM-MD5"):
		return s.cram()
	case s.o.User == "" && slices.Contains(words, "ANONYMOUS"):
		s.w.Raw("( ANONYMOUS ( 0: ) ) ")
		if err := s.w.Flush(); err != nil {
			return err
		}
		_, err := s.response()
		return err
	case s.o.User == "":
		return errors.New("the server wants to know a name: give one, and its password")
	}
	return fmt.Errorf("the server offers no way to log in that is known here, but %s", strings.Join(words, ", "))
}

func (s *Source) cram() error {
	s.w.Raw("( CRAM-MD5 ( ) ) ")
	if err := s.w.Flush(); err != nil {
		return err
	}
	step, err := s.tuple()
	if err != nil {
		return err
	}
	word, params := step.word(), tuple{items: step.list()}
	challenge := params.text()
	if word != "step" || params.err != nil {
		return errMalformed
	}
	mac := hmac.New(md5.New, []byte(s.o.Password))
	mac.Write([]byte(challenge))
	s.w.Str(s.o.User + " " + hex.EncodeToString(mac.Sum(nil)))
	if err := s.w.Flush(); err != nil {
		return err
	}
	_, err = s.response()
	return err
}

// Youngest returns the number of the youngest revision.
func (s *Source) Youngest() (svn.Revnum, error) {
	answer, err := s.call("( get-latest-rev ( ) ) ")
	if err != nil {
		return 0, err
	}
	rev := answer.rev()
	return rev, answer.err
}

// RevProps returns a revision's properties.
func (s *Source) RevProps(rev svn.Revnum) (svn.Props, error) {
	answer, err := s.call(fmt.Sprintf("( rev-proplist ( %d ) ) ", rev))
	if err != nil {
		return nil, err
	}
	props := answer.props()
	return props, answer.err
}

// call sends a command and returns the response.
func (s *Source) call(command string) (*tuple, error) {
	s.w.Raw(command)
	if err := errors.Join(s.w.Flush(), s.authenticate()); err != nil {
		return nil, err
	}
	return s.response()
}

// response reads what a command's success has, or the error of its failure. A failure of a login has a text alone.
func (s *Source) response() (*tuple, error) {
	t, err := s.tuple()
	if err != nil {
		return nil, err
	}
	word, params := t.word(), t.list()
	switch {
	case t.err != nil:
		return nil, t.err
	case word == "success":
		return &tuple{items: params}, nil
	case word == "failure":
		return nil, failure(params)
	}
	return nil, errMalformed
}

// failure makes an error of a server's: its first, which is the outermost.
func failure(params []svnproto.Item) error {
	if len(params) == 0 {
		return errMalformed
	}
	if params[0].Kind == svnproto.String {
		return svn.Errorf(svn.ErrRANotAuthorized, "the server says: %.500q", params[0].Bytes)
	}
	e := tuple{items: params[0].List}
	code, text := e.number(), e.text()
	if e.err != nil {
		return e.err
	}
	return svn.Errorf(svn.Code(min(code, 1<<31-1)), "the server says: %.500q", text)
}

func (s *Source) tuple() (*tuple, error) {
	items, err := s.r.ReadTuple()
	return &tuple{items: items}, unread(err)
}

// unread words an error of reading, which svnproto does for a server. An early end is no io.EOF, for which readers of the dump would
// take it to be complete.
func unread(err error) error {
	var e *svn.Error
	switch {
	case err == nil || !errors.As(err, &e):
		return err
	case e.Code == svn.ErrRASvnConnectionClosed:
		return svn.Errorf(e.Code, "the server ended the connection")
	case e.Code == svn.ErrRASvnRequestSize:
		return svn.Errorf(svn.ErrRASvnResponseSize, "the server says more at once than fits into memory")
	case e.Code == svn.ErrRASvnIoError:
		return fmt.Errorf("cannot read from the server: %w", e.Cause)
	}
	return err
}

var errMalformed = svn.Errorf(svn.ErrRASvnMalformedData, "Malformed network data")

// tuple takes items one after the other. The first that is missing or wrong makes all later answers zero.
type tuple struct {
	items []svnproto.Item
	err   error
}

func (t *tuple) next(k svnproto.Kind) (it svnproto.Item) {
	if t.err != nil {
		return it
	}
	if len(t.items) == 0 || t.items[0].Kind != k {
		t.err = errMalformed
		return it
	}
	it, t.items = t.items[0], t.items[1:]
	return it
}

func (t *tuple) word() string          { return string(t.next(svnproto.Word).Bytes) }
func (t *tuple) text() string          { return string(t.next(svnproto.String).Bytes) }
func (t *tuple) number() uint64        { return t.next(svnproto.Number).Num }
func (t *tuple) list() []svnproto.Item { return t.next(svnproto.List).List }

func (t *tuple) rev() svn.Revnum {
	n := t.number()
	if n > 1<<62 {
		t.err = errMalformed
		return 0
	}
	return svn.Revnum(n)
}

// optional returns the text in a list that may be empty.
func (t *tuple) optional() (text string, ok bool) {
	in := tuple{items: t.list()}
	if t.err != nil || len(in.items) == 0 {
		return "", false
	}
	text = in.text()
	t.err = in.err
	return text, t.err == nil
}

func (t *tuple) props() svn.Props {
	props := svn.Props{}
	for _, it := range t.list() {
		p := tuple{items: it.List}
		name, value := p.text(), p.text()
		if p.err != nil {
			t.err = p.err
			return props
		}
		props[name] = value
	}
	return props
}
