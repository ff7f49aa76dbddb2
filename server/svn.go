package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"

	"holdfast/auth"
	"holdfast/auth/authz"
	"holdfast/auth/svnrules"
	"holdfast/replication"
	"holdfast/server/svnproto"
	"holdfast/server/svnrepos"
	"holdfast/storage"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// ServeSvn serves Subversion over svn:// on ln; see the function ServeSvn.
func (s *Server) ServeSvn(ctx context.Context, ln net.Listener) error {
	return ServeSvn(ctx, ln, SvnConfig{
		Serve: func(ctx context.Context, conn net.Conn, loggedIn func() bool) error {
			h := &svnHost{s: s, loggedIn: loggedIn}
			return s.serveSvn(ctx, h, conn, conn, svnproto.Options{})
		},
		LoginConfig: s.loginConfig(),
	})
}

// execSvn answers `svnserve -t`, what Subversion's clients run over SSH. Whose key it is says who commits, whatever name the
// client asks for: SVNKit does with --tunnel-user.
func (s *Server) execSvn(ctx context.Context, sess Session, args []string) int {
	if !isTunnel(args) {
		err := svn.Errorf(svn.ErrRANotAuthorized, "holdfast: svnserve takes -t here and nothing else, not %.200q", strings.Join(args, " "))
		w := svnproto.NewWriter(sess.Stdout)
		w.Failure(err)
		_ = w.Flush() // the exit status says it too
		return 2
	}
	h := &svnHost{s: s, tunnel: sess.Who, loggedIn: func() bool { return true }}
	if s.serveSvn(ctx, h, sess.Stdin, sess.Stdout, svnproto.Options{TunnelUser: sess.Who.Name}) != nil {
		return 1
	}
	return 0
}

// isTunnel reports whether the arguments of svnserve ask for a tunnel and nothing else that counts.
func isTunnel(args []string) bool {
	if len(args) == 0 || args[0] != "-t" && args[0] != "--tunnel" {
		return false
	}
	rest := args[1:]
	switch len(rest) {
	case 0:
		return true
	case 1:
		return strings.HasPrefix(rest[0], "--tunnel-user=")
	}
	return len(rest) == 2 && rest[0] == "--tunnel-user"
}

// serveSvn holds one Subversion session.
func (s *Server) serveSvn(ctx context.Context, h *svnHost, in io.Reader, out io.Writer, o svnproto.Options) error {
	defer h.close()
	o.MaxTextBytes = s.c.MaxObjectBytes
	o.Hidden = func(err error) {
		s.c.Log.Error("svn command failed", "repo", h.at.name, "actor", h.tunnel.Name, "err", err)
	}
	err := svnproto.Serve(ctx, in, out, h, o)
	if err != nil {
		s.c.Log.Info("svn session failed", "repo", h.at.name, "actor", h.tunnel.Name, "err", err)
	}
	return err
}

// svnHost finds the repository of one Subversion session. Its methods are called by one goroutine.
type svnHost struct {
	s        *Server
	tunnel   auth.Identity // who the SSH key says it is; anonymous over svn://
	loggedIn func() bool

	url     string
	at      svnPlace
	noPath  error // why the URL's path is none, which only those may hear who may see the repository
	release []func()
}

func (h *svnHost) close() {
	for _, release := range h.release {
		release()
	}
}

// Open implements svnproto.Host. Over svn:// a repository that the client may not see, or that is none, asks for a name like any
// other that is not public.
func (h *svnHost) Open(_ context.Context, c svnproto.Client) (*svnproto.Target, error) {
	h.url = c.URL
	at, found := placeOf(h.s.policy.Load().policy, c.URL)
	h.at = at
	t := &svnproto.Target{RootURL: at.root, Realm: "holdfast " + h.s.c.Name, View: h.view}
	t.Base, h.noPath = svn.Canonical(at.path)
	if h.tunnel.Name != "" {
		if !found || h.s.allow(h.tunnel, at.name, auth.Read) != nil {
			return nil, h.notFound()
		}
		t.Authenticated = h.level(h.tunnel)
		return t, cmp.Or(h.noPath, h.rightKind(h.tunnel))
	}
	t.Anonymous = h.level(auth.Identity{})
	var err error
	if t.Anonymous != svnproto.NoAccess {
		err = cmp.Or(h.noPath, h.rightKind(auth.Identity{}))
	}
	t.Authenticated, t.Secret = svnproto.WriteAccess, h.secret
	return t, err
}

// rightKind refuses a git repository before the login, after which clients show no texts.
func (h *svnHost) rightKind(who auth.Identity) error {
	_, _, release, err := h.s.openSvn(who, h.at.name, auth.Read)
	if err != nil {
		return err
	}
	release()
	return nil
}

func (h *svnHost) notFound() error {
	return svn.Errorf(svn.ErrRASvnReposNotFound, "No repository found in '%s'", h.url)
}

// level is what the grants give to who.
func (h *svnHost) level(who auth.Identity) svnproto.Level {
	switch {
	case h.s.allow(who, h.at.name, auth.Write) == nil:
		return svnproto.WriteAccess
	case h.s.allow(who, h.at.name, auth.Read) == nil:
		return svnproto.ReadAccess
	}
	return svnproto.NoAccess
}

func (h *svnHost) secret(_ context.Context, user string) (string, bool) {
	if _, ok := h.s.policy.Load().policy.User(user); ok {
		if secret, ok := h.s.svnSecret(user); ok {
			return secret, true
		}
	}
	return rand.Text(), true // who has no secret looks like who gave a wrong one
}

// view implements svnproto.Target.View.
func (h *svnHost) view(_ context.Context, user string) (*svnproto.View, error) {
	if !h.loggedIn() {
		return nil, svn.Errorf(svn.ErrRANotAuthorized, "holdfast: too many sessions, try again in a moment")
	}
	who := h.tunnel
	if who.Name == "" && user != "" {
		secret, _ := h.s.svnSecret(user)
		who = svnIdentity(user, secret)
	}
	u, repo, release, err := h.s.openSvn(who, h.at.name, auth.Read)
	switch {
	case isNotFound(err):
		return nil, h.notFound()
	case err != nil:
		return nil, err
	}
	h.release = append(h.release, release)
	if h.noPath != nil {
		return nil, h.noPath
	}
	return &svnproto.View{
		Repo:      repo,
		Committer: u,
		Meta:      func() storage.Meta { return h.s.meta(who, push{}) },
		Hooks:     u,
		Ready:     u.ready,
		Settled:   u.unsettled,
	}, nil
}

// svnUser is what one user may do, and does, with a repository in one session. It is svnproto's Hooks, svnrepos's Access and
// svnfs's Committer.
type svnUser struct {
	svnproto.NoHooks
	s    *Server
	who  auth.Identity
	name string // of the repository
	repo *storage.Repo
	fs   *svnfs.FS

	last storage.Seq // the entry of the last change of this session; 0 if there was none
}

// rules returns the authz file in force and the name to ask it about, or false if the grants already say no. The policy is that of
// this moment: who lost their key since the session began is nobody now.
func (u *svnUser) rules(op svnrepos.Op) (rules *authz.Rules, user string, ok bool) {
	p, who := u.s.policy.Load().policy, u.s.vouched(u.who)
	need := auth.Read
	if op == svnrepos.Write || op == svnrepos.WriteTree {
		need = auth.Write
	}
	if r, ok := p.Repo(u.name); !ok || r.ID != string(u.repo.ID()) || p.Allow(who, u.name, need) != nil {
		return nil, "", false
	}
	if p.Known(who) {
		user = who.Name
	}
	return p.Authz(u.name), user, true
}

var authzOps = map[svnrepos.Op]authz.Op{
	svnrepos.Read: authz.Read, svnrepos.ReadTree: authz.ReadTree, svnrepos.Write: authz.Write, svnrepos.WriteTree: authz.WriteTree,
}

// Allows implements svnrepos.Access: both the grants and the authz file must allow.
func (u *svnUser) Allows(path string, op svnrepos.Op) bool {
	if u.who == Local {
		return true
	}
	rules, user, ok := u.rules(op)
	return ok && (rules == nil || rules.Allows(u.name, user, path, authzOps[op]))
}

// AllowsSomewhere implements svnproto.Somewhere.
func (u *svnUser) AllowsSomewhere(op svnrepos.Op) bool {
	rules, user, ok := u.rules(op)
	return ok && (rules == nil || rules.View(u.name, user).AllowsSomewhere(authzOps[op]))
}

// Commit implements svnfs.Committer.
func (u *svnUser) Commit(ctx context.Context, repo *storage.Repo, m storage.Meta, fill func(*storage.Txn) error) (storage.Entry, error) {
	p := push{repo: u.name, atomic: true}
	entries, err := u.s.change(ctx, u.who, repo, m, &p, fill)
	if err != nil {
		return storage.Entry{}, u.refusal(err)
	}
	last := entries[len(entries)-1]
	u.last = last.Seq
	return last, nil
}

// refusal words an error for the client, in the terms of Subversion.
func (u *svnUser) refusal(err error) error {
	switch {
	case svn.CodeOf(err) != 0:
		return err
	case errors.Is(err, auth.ErrDenied), isNotFound(err):
		return svn.Wrap(err, svn.ErrRANotAuthorized, "holdfast: the rights on this repository have changed")
	}
	return svn.Errorf(svn.ErrReposHookFailure, "holdfast: %v", u.s.forClient("svn", u.name, err))
}

// ready says before a change whether one can be made, and returns once the last one is on enough mirrors.
func (u *svnUser) ready(ctx context.Context) error {
	if _, err := u.s.pushTarget(u.who, &push{repo: u.name}); err != nil {
		return u.refusal(err)
	}
	if err := u.s.settled(ctx, u.repo); err != nil {
		return svn.Errorf(svn.ErrReposHookFailure, "holdfast: the last change of %s is %s: %v", u.name, notAcked, err)
	}
	return nil
}

// unsettled waits until enough mirrors hold the last change, and says what if they do not.
func (u *svnUser) unsettled(ctx context.Context) (warning string) {
	if u.last == 0 {
		return ""
	}
	_, err := u.s.mirrors.Wait(ctx, u.last)
	switch {
	case err == nil:
		return ""
	case errors.Is(err, replication.ErrNotAcked):
		return fmt.Sprintf("holdfast: not yet on enough mirrors: %v", err)
	}
	return fmt.Sprintf("holdfast: stored on the host; the mirrors do not answer: %v", err)
}

// StartCommit implements svnproto.Hooks.
func (u *svnUser) StartCommit(ctx context.Context, _ svnproto.Client, _, _ string, _ svn.Props) error {
	return u.ready(ctx)
}

// PreCommit implements svnproto.Hooks: the rules that the policy has for the repository.
func (u *svnUser) PreCommit(_ context.Context, txn *svnfs.Txn, _ map[string]string) error {
	return svnrepos.CheckCommit(u.rulesNow(), txn)
}

// rulesNow returns the rules in force; nil for none.
func (u *svnUser) rulesNow() *svnrules.Rules {
	r, _ := u.s.policy.Load().policy.Repo(u.name)
	return r.SVN
}

// PreRevPropChange implements svnproto.Hooks.
func (u *svnUser) PreRevPropChange(ctx context.Context, rev svn.Revnum, _, name string, old, value *string) error {
	props, err := u.fs.RevProps(rev)
	if err != nil {
		return err
	}
	c := svnrepos.RevPropChange{Rev: rev, User: u.who.Name, Name: name, Old: old, New: value}
	if author, ok := props[svn.PropAuthor]; ok {
		c.Author = &author
	}
	rules := svnrepos.RevPropRules{
		Rules: u.rulesNow(), Admin: u.s.allow(u.who, u.name, auth.Admin) == nil,
		InGroup: func(group string) bool { return u.s.policy.Load().policy.InGroup(u.who.Name, group) },
	}
	if err := rules.BeforeRevProp(c); err != nil {
		return err
	}
	return u.ready(ctx)
}

// PostRevPropChange implements svnproto.Hooks.
func (u *svnUser) PostRevPropChange(ctx context.Context, _ svn.Revnum, _, _ string, _, _ *string) error {
	if text := u.unsettled(ctx); text != "" {
		return svn.Errorf(svn.ErrReposHookFailure, "%s", text)
	}
	return nil
}

// svnPlace is what a Subversion URL leads to.
type svnPlace struct {
	name string // of the repository
	root string // its URL
	path string // below it, decoded and absolute
}

// placeOf finds the repository in a URL: of the beginnings of its path, the one that is a repository's name. There is at most
// one, since no name is the parent of another. Without any, ok is false and name is a guess for the log.
func placeOf(p *auth.Policy, address string) (at svnPlace, ok bool) {
	scheme, rest, _ := strings.Cut(address, "://")
	host, rest, _ := strings.Cut(rest, "/")
	at = svnPlace{root: scheme + "://" + host, path: "/"}
	for rest != "" {
		var segment string
		segment, rest, _ = strings.Cut(rest, "/")
		name, err := url.PathUnescape(segment)
		if err != nil || len(at.name) > auth.MaxRepoName {
			return at, false
		}
		at.name, at.root = strings.TrimPrefix(at.name+"/"+name, "/"), at.root+"/"+segment
		if _, ok := p.Repo(at.name); ok || at.name == auth.AdminRepo {
			at.path, err = url.PathUnescape("/" + rest)
			return at, err == nil
		}
	}
	return at, false
}
