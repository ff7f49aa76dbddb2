package svnrepos_test

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

func lockRequest(user string, targets ...svnfs.LockTarget) svnrepos.LockRequest {
	return svnrepos.LockRequest{Targets: targets, User: user, Comment: new("mine"), Committer: svnfs.Direct, Meta: testMeta()}
}

func lockTarget(path string) svnfs.LockTarget {
	return svnfs.LockTarget{Path: path, Base: svn.InvalidRevnum}
}

// lockFile locks a file for joe and returns the token.
func lockFile(t *testing.T, fs *svnfs.FS, path string) string {
	t.Helper()
	got, entry, err := (&svnrepos.Repository{FS: fs}).Lock(t.Context(), lockRequest("joe", lockTarget(path)))
	if err != nil || got[0].Err != nil || entry.Seq == 0 {
		t.Fatalf("%+v %v", got, err)
	}
	return got[0].Lock.Token
}

func TestLock(t *testing.T) {
	fs := twoRevisions(t)
	r := &svnrepos.Repository{FS: fs, Access: rights{unwritable: []string{"/other"}}}
	got, _, err := r.Lock(t.Context(), lockRequest("joe", lockTarget("/trunk/f"), lockTarget("/trunk"), lockTarget("/other/g"), lockTarget("/none"),
		svnfs.LockTarget{Path: "/trunk/f", Base: 2}))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []svn.Code{0, svn.ErrFSNotFile, svn.ErrRANotAuthorized, svn.ErrFSNotFound, 0} {
		if svn.CodeOf(got[i].Err) != want || (want == 0) != (got[i].Lock != nil) {
			t.Errorf("%d: %+v, not %d", i, got[i], want)
		}
	}
	if l := got[0].Lock; l.Owner != "joe" || *l.Comment != "mine" || !reflect.DeepEqual(l, got[4].Lock) {
		t.Errorf("%+v", l)
	}
	again, _, err := r.Lock(t.Context(), lockRequest("ann", lockTarget("/trunk/f")))
	if err != nil || svn.CodeOf(again[0].Err) != svn.ErrFSPathAlreadyLocked {
		t.Errorf("%+v %v", again, err)
	}
	steal := lockRequest("ann", lockTarget("/trunk/f"))
	steal.Steal = true
	if again, _, err = r.Lock(t.Context(), steal); err != nil || again[0].Err != nil || again[0].Lock.Owner != "ann" {
		t.Errorf("%+v %v", again, err)
	}
	if l, err := r.GetLock("/trunk/f"); err != nil || l.Owner != "ann" {
		t.Errorf("%+v %v", l, err)
	}
}

func TestLockRefuses(t *testing.T) {
	r := &svnrepos.Repository{FS: twoRevisions(t)}
	if _, _, err := r.Lock(t.Context(), lockRequest("", lockTarget("/trunk/f"))); fmt.Sprint(err) != "E160034: Cannot lock path, no authenticated username available." {
		t.Error(err)
	}
	req := lockRequest("joe", lockTarget("/trunk/f"))
	req.Comment = new("bell \a")
	if _, _, err := r.Lock(t.Context(), req); fmt.Sprint(err) != "E130004: Lock comment contains illegal characters" {
		t.Error(err)
	}
	un := svnrepos.UnlockRequest{Targets: []svnrepos.UnlockTarget{{Path: "/trunk/f"}}, Committer: svnfs.Direct, Meta: testMeta()}
	if _, _, err := r.Unlock(t.Context(), un); fmt.Sprint(err) != "E160034: Cannot unlock, no authenticated username available" {
		t.Error(err)
	}
}

func TestLockToken(t *testing.T) {
	r := &svnrepos.Repository{FS: twoRevisions(t)}
	for token, want := range map[string]string{
		"x":                 "E160037: Lock token URI 'x' has bad scheme; expected 'opaquelocktoken'",
		"opaquelocktoken:é": "E160037: Lock token 'opaquelocktoken:é' is not ASCII or is a control character at byte 16",
		"opaquelocktoken:1": "<nil>",
	} {
		got, _, err := r.Lock(t.Context(), lockRequest("joe", svnfs.LockTarget{Path: "/trunk/f", Token: token, Base: svn.InvalidRevnum}))
		if err != nil || fmt.Sprint(got[0].Err) != want {
			t.Errorf("%s: %+v %v", token, got, err)
		}
	}
}

func TestUnlock(t *testing.T) {
	fs := twoRevisions(t)
	token := lockFile(t, fs, "/trunk/f")
	r := &svnrepos.Repository{FS: fs}
	for _, row := range []struct {
		name, user, token string
		force             bool
		want              svn.Code
	}{
		{"wrong token", "joe", "opaquelocktoken:x", false, svn.ErrFSNoSuchLock},
		{"somebody else", "ann", token, false, svn.ErrFSLockOwnerMismatch},
		{"break", "ann", "", true, 0},
		{"twice", "joe", token, false, svn.ErrFSNoSuchLock},
	} {
		got, _, err := r.Unlock(t.Context(), svnrepos.UnlockRequest{Targets: []svnrepos.UnlockTarget{{"/trunk/f", row.token}}, Break: row.force,
			User: row.user, Committer: svnfs.Direct, Meta: testMeta()})
		if err != nil || svn.CodeOf(got[0].Err) != row.want {
			t.Errorf("%s: %+v %v", row.name, got, err)
		}
	}
}

func TestGetLocks(t *testing.T) {
	fs := twoRevisions(t)
	lockFile(t, fs, "/trunk/f")
	lockFile(t, fs, "/other/g")
	r := &svnrepos.Repository{FS: fs, Access: rights{unreadable: []string{"/other"}}}
	locks, err := r.GetLocks("/", svn.DepthInfinity)
	if err != nil || len(locks) != 1 || locks[0].Path != "/trunk/f" {
		t.Errorf("%+v %v", locks, err)
	}
	if _, err := r.GetLock("/other/g"); svn.CodeOf(err) != svn.ErrRANotAuthorized {
		t.Error(err)
	}
	if _, err := r.GetLocks("/", svn.DepthUnknown); svn.CodeOf(err) != svn.ErrIncorrectParams {
		t.Error(err)
	}
}

// A commit needs the tokens of what it changes, and ends those locks unless it is to keep them.
func TestCommitLocks(t *testing.T) {
	fs := twoRevisions(t)
	token := lockFile(t, fs, "/trunk/f")
	r := &svnrepos.Repository{FS: fs}
	change := func(base svn.Revnum) func(svn.DirEditor) error {
		return theFile(base, func(f svn.FileEditor) error { return put(f, fmt.Sprint(base)) })
	}
	if _, err := commit(t.Context(), r, request(), 2, change(2)); svn.CodeOf(err) != svn.ErrFSBadLockToken {
		t.Errorf("no token: %v", err)
	}
	req := request()
	req.User, req.LockTokens = "ann", map[string]string{"/trunk/f": token}
	if _, err := commit(t.Context(), r, req, 2, change(2)); svn.CodeOf(err) != svn.ErrFSLockOwnerMismatch {
		t.Errorf("somebody else: %v", err)
	}
	req.User, req.KeepLocks = "joe", true
	_, err := commit(t.Context(), r, req, 2, change(2))
	kept, err2 := r.GetLock("/trunk/f")
	if errors.Join(err, err2) != nil || kept == nil {
		t.Fatalf("keep: %v %v, %+v", err, err2, kept)
	}
	req.KeepLocks = false
	_, err = commit(t.Context(), r, req, 3, change(3))
	gone, err2 := r.GetLock("/trunk/f")
	if errors.Join(err, err2) != nil || gone != nil {
		t.Errorf("unlock: %v %v, %+v", err, err2, gone)
	}
}
