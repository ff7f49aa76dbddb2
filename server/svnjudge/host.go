//go:build judge

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"holdfast/server/svnproto"
	"holdfast/server/svnrepos"
	"holdfast/storage"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// host serves the repositories of one store under the names that create gave them.
type host struct {
	store *storage.Store
	open  *svnfs.Registry

	mu    sync.Mutex // guards named
	named map[string]*repository
}

var _ svnproto.Host = (*host)(nil)

// repository is one of them. What is beside it on the disk is read anew for each session.
type repository struct {
	name     string
	skeleton string
	repo     *storage.Repo
}

func newHost(dir string) (*host, error) {
	store, err := storage.Open(dir, storage.Options{NoSync: true})
	if err != nil {
		return nil, err
	}
	return &host{store: store, open: svnfs.NewRegistry(0), named: map[string]*repository{}}, nil
}

func (h *host) close() error { return errors.Join(h.open.Close(), h.store.Close()) }

// repository returns the one of a name, while its skeleton is there: tests remove repositories by removing that.
func (h *host) repository(name string) *repository {
	h.mu.Lock()
	r := h.named[name]
	h.mu.Unlock()
	if r == nil {
		return nil
	}
	if _, err := os.Stat(filepath.Join(r.skeleton, "format")); err != nil {
		return nil
	}
	return r
}

func meta(actor string) storage.Meta {
	if actor == "" {
		actor = "anonymous"
	}
	return storage.Meta{Actor: actor, Time: time.Now()}
}

// Open finds the repository that a URL leads to, for a session that lasts as long as ctx.
func (h *host) Open(ctx context.Context, c svnproto.Client) (*svnproto.Target, error) {
	_, rest, ok := strings.Cut(c.URL, "://")
	_, encoded, _ := strings.Cut(rest, "/")
	decoded, err := url.PathUnescape(encoded)
	if !ok || err != nil {
		return nil, svn.Errorf(svn.ErrBadURL, "Non-svn URL passed to svn server: '%s'", c.URL)
	}
	base, name := "", strings.Trim(decoded, "/")
	root := strings.TrimRight(c.URL, "/")
	r := h.repository(name)
	for r == nil && name != "" {
		dir, last := svn.Split(name)
		base, name = "/"+last+base, dir
		root = root[:strings.LastIndexByte(root, '/')]
		r = h.repository(name)
	}
	if r == nil {
		return nil, svn.Errorf(svn.ErrRASvnReposNotFound, "No repository found in '%s'", c.URL)
	}
	if base == "" {
		base = "/"
	}
	return h.target(ctx, r, root, base)
}

func (h *host) target(ctx context.Context, r *repository, root, base string) (*svnproto.Target, error) {
	conf, err := readSettings(r.skeleton)
	if err != nil {
		return nil, err
	}
	fs, release, err := h.open.Open(r.repo)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, release)
	return &svnproto.Target{
		RootURL: root, Base: base, Realm: cmp.Or(conf.realm, fs.UUID()),
		Anonymous: conf.anonymous, Authenticated: conf.authenticated,
		Secret: conf.secret,
		View: func(_ context.Context, user string) (*svnproto.View, error) {
			repo := &svnrepos.Repository{FS: fs}
			if conf.authz != nil {
				repo.Access = pathAccess{authz: conf.authz, repos: r.name, user: conf.fold(user)}
			}
			scripts := hooks{skeleton: r.skeleton, env: conf.hooksEnv}
			return &svnproto.View{
				Repo:      repo,
				Committer: svnfs.Direct,
				Meta:      func() storage.Meta { return meta(user) },
				Hooks:     scripts,
				LockHooks: scripts,
			}, nil
		},
	}, nil
}

// settings are those of svnserve.conf.
type settings struct {
	anonymous, authenticated svnproto.Level
	realm                    string
	secret                   func(ctx context.Context, user string) (string, bool)
	authz                    *authz // nil if every path may be read and written
	fold                     func(user string) string
	hooksEnv                 string
}

func readSettings(skeleton string) (*settings, error) {
	dir := filepath.Join(skeleton, "conf")
	file, err := readConfig(filepath.Join(dir, "svnserve.conf"))
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	get := func(name, otherwise string) string {
		if value, ok := lookup(file, "general", name); ok {
			return value
		}
		return otherwise
	}
	beside := func(path string) string {
		if path == "" || filepath.IsAbs(path) {
			return path
		}
		return filepath.Join(dir, path)
	}
	s := &settings{
		anonymous:     level(get("anon-access", "read")),
		authenticated: level(get("auth-access", "write")),
		realm:         get("realm", ""),
		hooksEnv:      beside(get("hooks-env", "hooks-env")),
		fold:          func(user string) string { return user },
	}
	if passwords := get("password-db", ""); passwords != "" {
		s.secret = passwordsOf(beside(passwords))
	}
	if rules := get("authz-db", ""); rules != "" {
		s.authz, err = readAuthz(beside(rules), beside(get("groups-db", "")))
		if err != nil {
			fmt.Fprintln(os.Stderr, err) // clients learn no more than that it is wrong
			return nil, &svn.Error{Code: svn.ErrAuthzInvalidConfig}
		}
	}
	switch get("force-username-case", "") {
	case "upper":
		s.fold = strings.ToUpper
	case "lower":
		s.fold = strings.ToLower
	}
	return s, nil
}

func level(word string) svnproto.Level {
	switch word {
	case "write":
		return svnproto.WriteAccess
	case "read":
		return svnproto.ReadAccess
	}
	return svnproto.NoAccess
}

// passwordsOf returns the lookup in a file of passwords, or nil if it cannot be read: there are no passwords then.
func passwordsOf(path string) func(ctx context.Context, user string) (string, bool) {
	file, err := readConfig(path)
	if err != nil {
		return nil
	}
	return func(_ context.Context, user string) (string, bool) { return lookup(file, "users", user) }
}

// pathAccess is what one user may do by the path rules.
type pathAccess struct {
	authz       *authz
	repos, user string
}

// Allows implements svnrepos.Access.
func (p pathAccess) Allows(path string, op svnrepos.Op) bool {
	want := mayRead
	if op == svnrepos.Write || op == svnrepos.WriteTree {
		want = mayWrite
	}
	return p.authz.allows(p.repos, p.user, path, want, op == svnrepos.ReadTree || op == svnrepos.WriteTree)
}

// AllowsSomewhere implements svnproto.Somewhere.
func (p pathAccess) AllowsSomewhere(op svnrepos.Op) bool {
	want := mayRead
	if op == svnrepos.Write || op == svnrepos.WriteTree {
		want = mayWrite
	}
	return p.authz.allowsSomewhere(p.repos, p.user, want)
}
