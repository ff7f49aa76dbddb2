package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
	"time"

	"holdfast/auth"
	"holdfast/replication"
	"holdfast/server/gitproto"
	"holdfast/storage"
	"holdfast/storage/object"
)

// agent is what clients are told of us.
const agent = "holdfast/1"

// repoName is the repository that a client means by a path: NAME, /NAME.git, NAME.git/.
func repoName(path string) string {
	return strings.TrimSuffix(strings.Trim(path, "/"), ".git")
}

func (s *Server) cloneURLs(name string) (ssh, http string) {
	if s.c.SSHAddr != "" {
		ssh = fmt.Sprintf("ssh://git@%s/%s.git", s.c.SSHAddr, name)
	}
	if s.c.HTTPAddr != "" {
		http = fmt.Sprintf("http://%s/%s.git", s.c.HTTPAddr, name)
	}
	return ssh, http
}

// fetcher answers upload-pack for one repository and one client.
type fetcher struct {
	s    *Server
	repo *storage.Repo
}

func (f fetcher) Format() object.Format { return f.repo.Format() }

func (f fetcher) Has(id object.ID) (bool, error) { return f.repo.Has(id) }

// cloner is a fetcher that knows what the policy says a clone can begin with.
type cloner struct {
	fetcher
	bundles []auth.Bundle
}

// Bundles returns them.
func (f cloner) Bundles() (bundles []gitproto.Bundle) {
	for _, b := range f.bundles {
		bundles = append(bundles, gitproto.Bundle{ID: b.ID, URI: b.URI, CreationToken: b.CreationToken})
	}
	return bundles
}

// refPage is how many refs are copied out of the store at a time: no transaction is open while a client reads.
const refPage = 1000

// Refs yields HEAD and then the refs with one of the prefixes, all of them where there is none.
func (f fetcher) Refs(prefixes []string) iter.Seq2[gitproto.Ref, error] {
	return advertise(f.repo, prefixes)
}

func advertise(repo *storage.Repo, prefixes []string) iter.Seq2[gitproto.Ref, error] {
	return func(yield func(gitproto.Ref, error) bool) {
		if len(prefixes) == 0 {
			prefixes = []string{""}
		}
		if anyPrefix(prefixes, "HEAD") {
			head, err := headRef(repo)
			if !yield(head, err) || err != nil {
				return
			}
		}
		for _, p := range prefixes {
			for after := ""; ; {
				page, err := repo.Refs(p, after, refPage)
				if err != nil {
					yield(gitproto.Ref{}, err)
					return
				}
				for _, r := range page {
					if after = r.Name; hidden(r.Name) {
						continue
					}
					if !yield(gitproto.Ref{Name: r.Name, ID: r.ID, Peeled: r.Peeled, Target: r.Target}, nil) {
						return
					}
				}
				if len(page) < refPage {
					break
				}
			}
		}
	}
}

// hidden reports whether git clients neither see a ref nor may change it: what it leads to is not served, unless a visible ref
// leads there too.
func hidden(name string) bool { return strings.HasPrefix(name, "refs/svn/") }

// errHidden is git's wording.
var errHidden = errors.New("deny updating a hidden ref")

// headRef resolves HEAD; its ID is zero while its branch is not born.
func headRef(repo *storage.Repo) (gitproto.Ref, error) {
	target, err := repo.Head()
	if err != nil {
		return gitproto.Ref{}, err
	}
	head := gitproto.Ref{Name: "HEAD", Target: target}
	switch r, err := repo.Ref(target); {
	case err == nil:
		head.ID, head.Peeled = r.ID, r.Peeled
	case !errors.Is(err, storage.ErrNotFound):
		return head, err
	}
	return head, nil
}

func anyPrefix(prefixes []string, name string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// Pack computes and streams a pack; more than MaxFetches at once wait for their turn.
func (f fetcher) Pack(ctx context.Context, w io.Writer, r gitproto.PackRequest, progress func(string)) error {
	release, err := take(ctx, f.s.fetches)
	if err != nil {
		return err
	}
	defer release()
	sel := storage.Selection{
		Wants: r.Wants, Haves: r.Haves, IncludeTag: r.IncludeTag, ThinPack: r.ThinPack, NoOfsDelta: !r.OfsDelta,
		Shallow: r.Shallow, Unshallow: r.Unshallow, Boundary: r.Boundary, Filter: r.Filter,
	}
	n, err := f.repo.WritePack(ctx, w, sel, percent(progress))
	if err == nil && progress != nil {
		progress(fmt.Sprintf("Total %d objects\n", n))
	}
	return f.s.forClient("fetch", string(f.repo.ID()), err)
}

// percent turns counts into the lines that git shows, one a whole percent. What it returns may be called by several
// goroutines.
func percent(progress func(string)) func(stage string, done, total int64) {
	if progress == nil {
		return nil
	}
	var mu sync.Mutex
	last := ""
	return func(stage string, done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		stage = strings.ToUpper(stage[:1]) + stage[1:]
		line := fmt.Sprintf("%s: %d", stage, done)
		end := "\r"
		if total > 0 {
			line = fmt.Sprintf("%s: %3d%% (%d/%d)", stage, done*100/total, done, total)
			if key := fmt.Sprint(stage, done*100/total); key == last {
				return
			} else {
				last = key
			}
			if done == total {
				end = ", done.\n"
			}
		}
		progress(line + end)
	}
}

// checking is percent for a push: the client counts what it sends by itself, and short work needs no telling.
func checking(progress func(string)) func(stage string, done, total int64) {
	const delay = time.Second
	begin, show := time.Now(), percent(progress)
	return func(stage string, done, total int64) {
		if total > 0 && stage != "receiving objects" && time.Since(begin) > delay {
			show(stage, done, total)
		}
	}
}

// pusher answers receive-pack for one repository and one client.
type pusher struct {
	s      *Server
	who    auth.Identity
	name   string
	repo   *storage.Repo // nil until the push creates it
	format object.Format
}

func (p pusher) Format() object.Format { return p.format }

// Founds reports whether the push is to create the repository, in the client's object format.
func (p pusher) Founds() bool { return p.repo == nil }

func (p pusher) Refs() iter.Seq2[gitproto.Ref, error] {
	if p.repo == nil {
		return func(func(gitproto.Ref, error) bool) {}
	}
	return advertise(p.repo, []string{"refs/"})
}

// Push carries out what the client sent.
func (p pusher) Push(ctx context.Context, req *gitproto.Push) gitproto.Report {
	in := push{
		repo: p.name, atomic: req.Atomic, options: req.Options, cert: req.Cert, begun: p.s.c.Now(),
		tell: req.Progress, received: req.Received,
	}
	if req.Pack != nil {
		in.pack = req.Pack
	}
	if !req.Quiet {
		in.progress = checking(func(text string) { io.WriteString(req.Progress, text) })
	}
	var refused storage.RefErrors
	for _, c := range req.Commands {
		if hidden(c.Ref) {
			refused = append(refused, &storage.RefError{Ref: c.Ref, Err: errHidden})
			continue
		}
		in.updates = append(in.updates, storage.RefUpdate{Name: c.Ref, Old: c.Old, New: c.New})
	}
	if len(refused) > 0 && (req.Atomic || len(in.updates) == 0) {
		return report(req, outcome{}, refused)
	}
	if p.repo == nil {
		in.create = mintRepo(p.name, storage.Git, in.updates)
		in.create.init.Format = req.Format
	}
	out, err := p.s.push(ctx, p.who, in)
	for _, e := range refused {
		out.rejected[e.Ref] = e.Err
	}
	return report(req, out, p.s.forClient("push", p.name, err))
}

// report says in git's terms what became of a push.
func report(req *gitproto.Push, out outcome, err error) gitproto.Report {
	var rep gitproto.Report
	reason := func(ref string) error { return out.rejected[ref] }
	var refs storage.RefErrors
	switch {
	case err == nil:
	case len(req.Shallow) > 0 && errors.Is(err, storage.ErrMissing):
		// What the pack leads to lies beyond the client's boundary, and is not here either. The words are git's.
		reason = func(string) error { return errors.New("shallow update not allowed") }
	case errors.Is(err, storage.ErrMissing) && !errors.As(err, &refs):
		fmt.Fprintf(req.Progress, "holdfast: %v\n", err)
		reason = func(string) error { return errors.New("missing necessary objects") }
	case errors.Is(err, replication.ErrNotAcked):
		reason = func(ref string) error {
			if e := out.rejected[ref]; e != nil {
				return e
			}
			return errors.New(notAcked)
		}
	case errors.As(err, &refs):
		failed := map[string]error{}
		for _, e := range refs {
			failed[e.Ref] = e.Err
		}
		reason = func(ref string) error {
			if e := failed[ref]; e != nil {
				return e
			}
			return errors.New("atomic push failed")
		}
	default:
		rep.Unpack = err
	}
	for _, c := range req.Commands {
		rep.Refs = append(rep.Refs, gitproto.RefStatus{Ref: c.Ref, Err: reason(c.Ref)})
	}
	return rep
}
