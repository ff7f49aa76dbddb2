package svnproto_test

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"holdfast/server/svnproto"
	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
)

const greeting = "( success ( 2 2 ( ) ( edit-pipeline svndiff1 accepts-svndiff2 absent-entries commit-revprops depth log-revprops " +
	"atomic-revprops partial-replay inherited-props ephemeral-txnprops file-revs-reverse list ) ) )"

const denied = "( failure ( ( 170001 20:Authorization failed 0: 0 ) ) )"

func str(s string) string { return fmt.Sprintf("%d:%s ", len(s), s) }

// failure is the response that tells of one error.
func failure(code svn.Code, text string) string {
	return fmt.Sprintf("( failure ( ( %d %s0: 0 ) ) )", code, str(text))
}

func TestHandshake(t *testing.T) {
	for name, test := range map[string]struct{ say, want string }{
		"version":    {strings.Replace(hello, "2", "1", 1), failure(svn.ErrRASvnBadVersion, "Unsupported ra_svn protocol version 1 (supported versions: [2])")},
		"pipeline":   {strings.Replace(hello, "edit-pipeline ", "", 1), failure(svn.ErrRASvnBadVersion, "Missing edit-pipeline capability")},
		"elsewhere":  {"( 2 ( edit-pipeline ) " + str("svn://host/none") + ") ", failure(svn.ErrRASvnReposNotFound, "No repository found in 'svn://host/none'")},
		"http":       {"( 2 ( edit-pipeline ) " + str("http://host/repo") + ") ", failure(svn.ErrBadURL, "Non-svn URL passed to svn server: 'http://host/repo'")},
		"not a list": {"word ", failure(svn.ErrRASvnMalformedData, "Malformed network data")},
		"short":      {"( 2 ) ", failure(svn.ErrRASvnMalformedData, "Malformed network data")},
		"many caps":  {"( 2 ( edit-pipeline" + strings.Repeat(" x", 2000) + " ) 1:x ) ", failure(svn.ErrRASvnRequestSize, "The client request size exceeds the configured limit")},
		"caps":       {"( 2 ( 1:a ) 1:x ) ", failure(svn.ErrRASvnMalformedData, "Capability entry is not a word")},
		"escape":     {"( 2 ( edit-pipeline ) " + str("svn://host/repo%zz") + ") ", failure(svn.ErrBadURL, "URL 'host/repo%zz' is malformed or is not canonical")},
	} {
		t.Run(name, func(t *testing.T) {
			k := newHost(t).talk(t)
			if got := k.read(); got != greeting {
				t.Fatal(got)
			}
			k.expect(test.say, test.want)
			if err := <-k.done; err == nil {
				t.Error("no error")
			}
		})
	}
}

// cramAnswer answers a challenge.
func cramAnswer(k *talk, user, password string) string {
	k.t.Helper()
	var challenge string
	line := k.read()
	if _, err := fmt.Sscanf(line, "( step ( %s ) )", &challenge); err != nil {
		k.t.Fatal(line, err)
	}
	mac := hmac.New(md5.New, []byte(password))
	_, text, _ := strings.Cut(challenge, ":")
	mac.Write([]byte(text))
	return str(user + " " + hex.EncodeToString(mac.Sum(nil)))
}

func TestAuthenticate(t *testing.T) {
	h := newHost(t)
	h.anonymous = svnproto.NoAccess
	k := h.talk(t)
	k.read()
	k.expect(hello, "( success ( ( CRAM-MD5 ) 4:test ) )")
	k.expect("( ANONYMOUS ( ) ) ", "( failure ( 39:Must authenticate with listed mechanism ) )")
	for _, test := range []struct{ user, password, want string }{
		{"alice", "wrong", "( failure ( 18:Password incorrect ) )"},
		{"bob", "secret", "( failure ( 18:Username not found ) )"},
	} {
		k.send("( CRAM-MD5 ( ) ) ")
		k.expect(cramAnswer(k, test.user, test.password), test.want)
	}
	k.send("( CRAM-MD5 ( ) ) ")
	k.read()
	k.expect("5:alice ", "( failure ( 43:Malformed client response in authentication ) )")
	k.send("( CRAM-MD5 ( ) ) ")
	k.expect(cramAnswer(k, "alice", "secret"), success, "( success ( 36:"+testUUID+" 20:svn://localhost/repo ( mergeinfo ) ) )")
	k.expect("( get-latest-rev ( ) ) ", noAuth, "( success ( 0 ) )")
	k.conn.Close()
	if err := <-k.done; err != nil {
		t.Error(err)
	}
}

func TestTooManyTries(t *testing.T) {
	h := newHost(t)
	h.anonymous = svnproto.NoAccess
	k := h.talk(t)
	k.read()
	k.expect(hello, "( success ( ( CRAM-MD5 ) 4:test ) )")
	for range 8 {
		k.expect("( X ( ) ) ", "( failure ( 39:Must authenticate with listed mechanism ) )")
	}
	if got := k.read(); !strings.Contains(got, "170001") {
		t.Error(got)
	}
	if err := <-k.done; !errors.Is(err, svn.ErrRANotAuthorized) {
		t.Error(err)
	}
}

func TestTunnel(t *testing.T) {
	h := newHost(t)
	h.anonymous, h.passwords, h.tunnel = svnproto.NoAccess, nil, "carol"
	k := h.talk(t)
	k.read()
	k.expect(hello, "( success ( ( EXTERNAL ) 4:test ) )")
	k.expect("( EXTERNAL ( 3:bob ) ) ", "( failure ( 33:Requested username does not match ) )")
	k.expect("( EXTERNAL ( 0: ) ) ", success)
	if k.read(); len(h.opens) != 1 || h.opens[0] != "carol" {
		t.Error(h.opens)
	}
}

// An anonymous client is asked who it is when it wants what anonymous ones may not have.
func TestAskLater(t *testing.T) {
	h := newHost(t)
	h.hidden = map[string]string{"/private": "alice", "/nobody's": "nobody"}
	k := h.talk(t)
	k.start()
	k.expect("( check-path ( 4:open ( ) ) ) ", noAuth, "( success ( none ) )")
	k.expect("( check-path ( 7:private ( ) ) ) ", "( success ( ( CRAM-MD5 ) 4:test ) )")
	k.send("( CRAM-MD5 ( ) ) ")
	k.expect(cramAnswer(k, "alice", "secret"), success, "( success ( none ) )")
	k.expect("( check-path ( 7:private ( ) ) ) ", noAuth, "( success ( none ) )")
	k.expect("( check-path ( 8:nobody's ( ) ) ) ", denied)
	if fmt.Sprint(h.opens) != "[ alice]" {
		t.Errorf("%q", h.opens)
	}
}

func TestNoWayIn(t *testing.T) {
	h := newHost(t)
	h.anonymous, h.passwords = svnproto.NoAccess, nil
	k := h.talk(t)
	k.read()
	k.expect(hello, failure(svn.ErrRANotAuthorized, "No access allowed to this repository"))

	h = newHost(t)
	h.passwords = nil
	k = h.talk(t)
	k.read()
	k.expect(hello, "( success ( ( ANONYMOUS ) 4:test ) )")
	k.expect("( ANONYMOUS ( ) ) ", success)
	k.read()
	k.expect("( lock ( 1:a ( ) false ( ) ) ) ", denied)
	k.expect("( commit ( 1:a ) ) ", denied)
	k.expect("( get-latest-rev ( ) ) ", noAuth, "( success ( 0 ) )")
}

// TestCommands holds answers that svn seldom or never asks for.
func TestCommands(t *testing.T) {
	k := newHost(t).talk(t)
	k.start()
	for _, test := range []struct {
		say  string
		want []string
	}{
		{"( frobnicate ( ) ) ", []string{failure(svn.ErrRASvnUnknownCmd, "Unknown editor command 'frobnicate'")}},
		{"( set-path ( 0: 0 true ) ) ", []string{failure(svn.ErrRASvnUnknownCmd, "Unknown editor command 'set-path'")}},
		{"( reparent ( 28:svn://localhost/repository/x ) ) ", []string{noAuth, failure(svn.ErrRAIllegalURL, "'svn://localhost/repository/x' is not the same repository as 'svn://localhost/repo'")}},
		{"( reparent ( 24:svn://localhost/repo//a/ ) ) ", []string{noAuth, success}},
		{"( get-file ( 1:b ( 7 ) true true ) ) ", []string{noAuth, failure(svn.ErrFSNoSuchRevision, "No such revision 7")}},
		{"( get-file ( 1:b ( ) true true ) ) ", []string{noAuth, failure(svn.ErrFSNotFound, "File not found: revision 0, path '/a/b'")}},
		{"( get-file ( 5:../.. ( ) true true ) ) ", []string{failure(svn.ErrFSPathSyntax, "Path '../..' has a '..' in it")}},
		{"( reparent ( 20:svn://localhost/repo ) ) ", []string{noAuth, success}},
		{"( get-dir ( 0: ( ) false true ( kind size ) ) ) ", []string{noAuth, "( success ( 0 ( ) ( ) ) )"}},
		{"( get-dir ( 0: ( ) true false ( ) true ) ) ", nil},
		{"( stat ( 0: ( ) ) ) ", nil},
		{"( stat ( 3:abc ( ) ) ) ", []string{noAuth, "( success ( ( ) ) )"}},
		{"( rev-prop ( 0 3:abc ) ) ", []string{noAuth, "( success ( ( ) ) )"}},
		{"( get-dated-rev ( 3:abc ) ) ", []string{noAuth, failure(svn.ErrBadDate, "Bogus date")}},
		{"( get-dated-rev ( 27:2000-01-01T00:00:00.000000Z ) ) ", []string{noAuth, "( success ( 0 ) )"}},
		{"( get-deleted-rev ( 1:a 0 0 ) ) ", nil},
		{"( get-locations ( 0: 0 ( 0 ) ) ) ", []string{noAuth, "( 0 1:/ )", "done", success}},
		{"( get-location-segments ( 0: ( 0 ) ( 0 ) ( 1 ) ) ) ", []string{noAuth, "done", failure(svn.ErrFSNoSuchRevision, "Get-location-segments end revision must not be younger than start revision")}},
		{"( get-location-segments ( 0: ( 0 ) ( 1 ) ( 0 ) ) ) ", []string{noAuth, "done", failure(svn.ErrFSNoSuchRevision, "Get-location-segments start revision must not be younger than peg revision")}},
		{"( get-file-revs ( 1:x ( 0 ) ( 0 ) ) ) ", nil},
		{"( get-lock ( 1:x ) ) ", []string{noAuth, "( success ( ( ) ) )"}},
		{"( get-locks ( 0: ( exclude ) ) ) ", []string{failure(svn.ErrIncorrectParams, "Invalid 'depth' specified in get-locks request")}},
		{"( get-locks ( 0: ) ) ", []string{noAuth, "( success ( ( ) ) )"}},
		{"( get-mergeinfo ( ( 0: ) ( ) inherited false ) ) ", []string{noAuth, "( success ( ( ) ) )"}},
		{"( get-iprops ( 3:abc ( ) ) ) ", []string{noAuth, failure(svn.ErrFSNotFound, "'/abc' path not found")}},
		{"( list ( 0: ( ) empty ( kind ) ) ) ", []string{noAuth, "( 1:/ dir )", "done", success}},
		{"( list ( 0: ( ) empty ( size created-rev ) ) ) ", []string{noAuth, "( 1:/ unknown ( 18446744073709551615 ) ( ) ( 0 ) ( ) ( ) )", "done", success}},
		{"( list ( 1:x ( ) empty ( kind ) ( ) ) ) ", []string{noAuth, "done", failure(svn.ErrFSNotFound, "Path '/x' not found")}},
		{"( replay ( 9 0 true ) ) ", []string{noAuth, "( abort-edit ( ) )"}},
		{"( success ( ) ) ", []string{failure(svn.ErrFSNoSuchRevision, "No such revision 9")}},
		{"( replay-range ( 2 1 0 true ) ) ", []string{noAuth, success}},
		{"( change-rev-prop2 ( 0 1:a ( ) ( true 1:b ) ) ) ", []string{failure(svn.ErrIncorrectParams, "'previous-value' and 'dont-care' cannot both be set in 'change-rev-prop2' request")}},
	} {
		if test.want == nil { // only that it is answered
			k.expect(test.say, noAuth)
			k.read()
			if strings.HasPrefix(test.say, "( get-file-revs") {
				k.read()
			}
			continue
		}
		k.expect(test.say, test.want...)
	}
	k.expect("( log ( ( 0: ) ( 0 ) ( 0 ) true false 0 false revprops ( ) ) ) ", noAuth,
		"( ( ) 0 ( ) ( ) ( ) false false 0 ( ) false )", "done", success)
	k.expect("( check-path ( 3:abc ) ) ", failure(svn.ErrRASvnMalformedData, "Malformed network data"))
	if err := <-k.done; !errors.Is(err, svn.ErrRASvnMalformedData) {
		t.Error(err)
	}
}

func TestSessionEnds(t *testing.T) {
	k := newHost(t).talk(t)
	k.start()
	k.send("( get-latest-rev ( ) ")
	k.conn.Close()
	if err := <-k.done; err != nil {
		t.Error("a client that goes away is no error:", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	in, _ := io.Pipe()
	if err := svnproto.Serve(ctx, in, io.Discard, newHost(t), svnproto.Options{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// One who is known but may not come in hears why.
func TestRefusedUser(t *testing.T) {
	h := newHost(t)
	h.anonymous, h.refused = svnproto.NoAccess, svn.Errorf(svn.ErrRASvnReposNotFound, "No repository found in 'x'")
	k := h.talk(t)
	k.read()
	k.expect(hello, "( success ( ( CRAM-MD5 ) 4:test ) )")
	k.send("( CRAM-MD5 ( ) ) ")
	k.expect(cramAnswer(k, "alice", "secret"), success, failure(svn.ErrRASvnReposNotFound, "No repository found in 'x'"))
	if err := <-k.done; !errors.Is(err, svn.ErrRASvnReposNotFound) {
		t.Error(err)
	}

	h = newHost(t)
	h.refused = errors.New("open /var/lib/holdfast/secret: no such file")
	k = h.talk(t)
	k.start()
	k.expect("( lock ( 1:a ( ) false ( ) ) ) ", "( success ( ( CRAM-MD5 ) 4:test ) )")
	k.send("( CRAM-MD5 ( ) ) ")
	k.expect(cramAnswer(k, "alice", "secret"), success, failure(svn.ErrFSGeneral, "The server cannot answer; its log says why"))
	k.expect("( get-latest-rev ( ) ) ", noAuth, "( success ( 0 ) )")
	if len(h.unseen) != 1 || h.unseen[0] != h.refused {
		t.Error(h.unseen)
	}
}

// readOnly is an Access by which nothing may be written.
type readOnly struct{ access }

func (readOnly) AllowsSomewhere(op svnrepos.Op) bool { return op < svnrepos.Write }

// TestSingleLocks holds the commands that newer clients have others for.
func TestSingleLocks(t *testing.T) {
	h := newHost(t)
	h.anonymous, h.passwords, h.tunnel = svnproto.NoAccess, nil, "carol"
	k := h.talk(t)
	k.read()
	k.expect(hello, "( success ( ( EXTERNAL ) 4:test ) )")
	k.expect("( EXTERNAL ( 5:carol ) ) ", success)
	k.read()
	k.expect("( commit ( 3:log ) ) ", noAuth, success)
	k.expect(addFile("f", "text")+"( close-edit ( ) ) ", success, noAuth)
	k.read()
	k.expect("( lock ( 1:f ( 2:hi ) false ( 1 ) ) ) ", noAuth)
	lock := k.read()
	parts := strings.Fields(lock)
	if len(parts) < 6 || !strings.HasPrefix(lock, "( success ( ( 2:/f 52:opaquelocktoken:") || !strings.Contains(lock, " 5:carol ( 2:hi ) 27:") {
		t.Fatal(lock)
	}
	token := strings.Fields(lock)[5]
	k.expect("( lock ( 1:f ( ) false ( ) ) ) ", noAuth, failure(svn.ErrFSPathAlreadyLocked, "Path '/f' is already locked by user 'carol' in filesystem '"+testUUID+"'"))
	k.expect("( unlock ( 1:f ( "+str("opaquelocktoken:x")+") false ) ) ", noAuth)
	if got := k.read(); !strings.HasPrefix(got, "( failure ( ( 160040 ") {
		t.Error(got)
	}
	k.expect("( unlock ( 1:f ( "+token+" ) false ) ) ", noAuth, success)
	k.expect("( get-lock ( 1:f ) ) ", noAuth, "( success ( ( ) ) )")
	k.expect("( change-rev-prop ( 1 1:p 1:v ) ) ", noAuth, success)
	k.expect("( rev-prop ( 1 1:p ) ) ", noAuth, "( success ( ( 1:v ) ) )")
	k.expect("( change-rev-prop ( 1 1:p ) ) ", noAuth, success)
	k.expect("( rev-prop ( 1 1:p ) ) ", noAuth, "( success ( ( ) ) )")
}

// A client that may write nowhere hears so before its edit, whatever its level.
func TestWriteNowhere(t *testing.T) {
	h := newHost(t)
	h.nowhere = true
	k := begin(t, h)
	k.expect(commitBegin, "( success ( ( CRAM-MD5 ) 4:test ) )")
	k.send("( CRAM-MD5 ( ) ) ")
	k.expect(cramAnswer(k, "alice", "secret"), success, denied)
}
