package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"holdfast/auth"
	"holdfast/server/gitproto"
	"holdfast/server/svnrepos"
	"holdfast/storage"
	"holdfast/storage/object"
)

// Service is what a git client asks for.
type Service string

// The services.
const (
	UploadPack    Service = "git-upload-pack"
	ReceivePack   Service = "git-receive-pack"
	UploadArchive Service = "git-upload-archive" // over SSH only
)

// refused is an answer that a client gets in place of a repository.
type refused struct {
	text string
	err  error // what callers look for with errors.Is
}

func (r *refused) Error() string { return r.text }
func (r *refused) Unwrap() error { return r.err }

// serveGit holds one git conversation. What goes wrong before it begins is returned as *refused and nothing was
// written; later errors were told to the client where it still listened.
func (s *Server) serveGit(ctx context.Context, who auth.Identity, service Service, path string, in io.Reader, out io.Writer, o gitproto.Options) error {
	o.Agent, o.KeepAlive, o.MaxCommands = agent, s.c.KeepAlive, s.c.MaxTxnRefs
	o.MaxRefName, o.MaxPushOptions = s.c.MaxRefName, s.c.MaxPushOptions
	o.MaxPushOptionBytes, o.MaxCertBytes = s.c.MaxPushOptionBytes, s.c.MaxCertBytes
	name := repoName(path)
	if service != ReceivePack {
		repo, err := s.gitRepo(who, name, auth.Read)
		switch {
		case err != nil:
			return refuse(who, name, service, err)
		case service == UploadArchive:
			return gitproto.UploadArchive(ctx, in, out, archiver{fetcher{s, repo}}, o)
		}
		described, _ := s.policy.Load().policy.Repo(name)
		return gitproto.UploadPack(ctx, in, out, cloner{fetcher{s, repo}, described.Bundles}, o)
	}
	p, err := s.pusherFor(ctx, who, name)
	if err != nil {
		return refuse(who, name, service, err)
	}
	if s.signedPush(name) != auth.SignedOff {
		o.CertNonce = s.nonces.issue(name, s.c.Now())
	}
	return gitproto.ReceivePack(ctx, in, out, p, o)
}

// errNotGit is the cause of the refusal of what git cannot do with a Subversion repository.
var errNotGit = errors.New("not a git repository")

// gitRepo finds a repository for a git client. What a Subversion repository has for one is read-only, and whole: it is for who may
// read every path.
func (s *Server) gitRepo(who auth.Identity, name string, op auth.Op) (*storage.Repo, error) {
	repo, err := s.repo(who, name, op)
	if err != nil || repo.SCM() != storage.Svn {
		return repo, err
	}
	text := "%q is a Subversion repository, which git can only read: %s"
	if op == auth.Read {
		u := &svnUser{s: s, who: who, name: name, repo: repo}
		if u.Allows("/", svnrepos.ReadTree) {
			return repo, nil
		}
		text = "%q is a Subversion repository, and has paths that you may not read: %s"
	}
	ssh, plain := s.svnURLs(name)
	return nil, &refused{fmt.Sprintf(text, name, SvnCheckout(cmp.Or(ssh, plain))), errNotGit}
}

// pusherFor opens a repository for a push, or prepares its creation where who may create it. It returns once the last
// push to it is on enough mirrors.
func (s *Server) pusherFor(ctx context.Context, who auth.Identity, name string) (pusher, error) {
	p := pusher{s: s, who: who, name: name, format: object.SHA1}
	repo, err := s.gitRepo(who, name, auth.Write)
	switch {
	case err == nil:
		p.repo, p.format = repo, repo.Format()
	case errors.Is(err, auth.ErrNotFound):
		if cannot := s.mayCreate(who, name); errors.Is(cannot, auth.ErrDenied) {
			return p, err
		} else if cannot != nil {
			return p, cannot
		}
	default:
		return p, err
	}
	if _, err := s.pushTarget(who, &push{repo: name, create: p.minted()}); err != nil {
		return p, err
	}
	if repo == nil {
		return p, nil
	}
	if err := s.settled(ctx, repo); err != nil {
		return p, fmt.Errorf("the last push to %s is %s: %w", name, notAcked, err)
	}
	return p, nil
}

// minted returns a repository to try for, nil if it exists.
func (p pusher) minted() *newRepo {
	if p.repo != nil {
		return nil
	}
	return mintRepo(p.name, storage.Git, nil)
}

// mayCreate says whether who may create a repository of this name now. One that exists but that who may not see is
// answered like a name that is taken: creating must not become a way to probe for names.
func (s *Server) mayCreate(who auth.Identity, name string) error {
	if err := auth.ValidName(name); err != nil {
		return err
	}
	if err := s.allow(who, name, auth.Create); err != nil {
		return err
	}
	if name == auth.AdminRepo {
		return auth.ErrNotFound
	}
	// The name must also fit beside the others, or a whole pack would arrive before the policy refuses it.
	err := mintRepo(name, storage.Git, nil).edit(who)(s.policy.Load().policy.Edit())
	if errors.Is(err, auth.ErrExists) {
		return auth.ErrNotFound
	}
	return err
}

// refuse words the answer for the client.
func refuse(who auth.Identity, name string, service Service, err error) error {
	verb := "read from"
	if service == ReceivePack {
		verb = "push to"
	}
	user := who.Name
	if user == "" {
		user = "anonymous"
	}
	switch {
	case isNotFound(err):
		if invalid := auth.ValidName(name); invalid != nil {
			return &refused{invalid.Error(), err}
		}
		return &refused{fmt.Sprintf("repository %q does not exist, or %s may not see it", name, user), err}
	case errors.Is(err, auth.ErrDenied):
		return &refused{fmt.Sprintf("%s may not %s %q: ask an admin of the repository for a grant", user, verb, name), err}
	}
	return &refused{err.Error(), err}
}

// exec runs what a client asked for over SSH and returns the exit status.
func (s *Server) exec(ctx context.Context, sess Session) int {
	argv := sess.Command
	if len(argv) > 1 && argv[0] == "git" {
		argv = append([]string{"git-" + argv[1]}, argv[2:]...)
	}
	switch {
	case len(argv) == 0:
	case Service(argv[0]).known() || argv[0] == string(UploadArchive):
		return s.execGit(ctx, sess, Service(argv[0]), argv[1:])
	case argv[0] == "svnserve":
		return s.execSvn(ctx, sess, argv[1:])
	case strings.HasPrefix(argv[0], "git-"), argv[0] == "scp", argv[0] == "rsync":
		fmt.Fprintf(sess.Stderr, "holdfast: %s is not offered here\n", argv[0])
		return 1
	}
	return s.c.Commands(ctx, sess.Who, argv, sess.Stdin, sess.Stdout, sess.Stderr)
}

func (s *Server) execGit(ctx context.Context, sess Session, service Service, args []string) int {
	if len(args) > 0 && args[0] == "--strict" {
		args = args[1:]
	}
	if len(args) != 1 {
		fmt.Fprintf(sess.Stderr, "holdfast: %s takes the path of one repository\n", service)
		return 2
	}
	o := gitproto.Options{Version: gitproto.ParseVersion(sess.Protocol)}
	err := s.serveGit(ctx, sess.Who, service, args[0], sess.Stdin, sess.Stdout, o)
	if err == nil {
		return 0
	}
	var no *refused
	if errors.As(err, &no) {
		gitproto.Refuse(sess.Stdout, "holdfast: "+no.text)
	}
	s.c.Log.Info("git session failed", "service", string(service), "repo", repoName(args[0]), "actor", sess.Who.Name, "err", err)
	return 1
}
