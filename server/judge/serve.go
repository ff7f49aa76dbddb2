//go:build judge

package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"time"

	"holdfast/server"
	"holdfast/server/gitproto"
	"holdfast/storage"
	"holdfast/storage/object"
)

// service is how a service was asked for.
type service struct{ stateless, advertise bool }

// serve opens the store and holds one conversation.
func (s service) serve(dir string, out io.Writer, talk func(*repo, io.Writer, gitproto.Options) error) error {
	r, err := open(dir)
	if err == nil {
		defer r.store.Close()
		if r.Shallow {
			err = errors.New("a host does not serve shallow clones")
			gitproto.Refuse(out, err.Error())
		}
	}
	if err != nil {
		return err
	}
	o := gitproto.Options{
		Version: gitproto.ParseVersion(os.Getenv("GIT_PROTOCOL")), Agent: "holdfast/1",
		Stateless: s.stateless, Advertise: s.advertise, Withheld: r.Config.withheld(),
	}
	if seed, ok := r.Config.last("receive.certnonceseed"); ok && seed.Value != "" {
		o.CertNonce = "1-" + hex.EncodeToString([]byte(seed.Value))
	}
	if !s.advertise {
		return talk(r, out, o)
	}
	var answer bytes.Buffer
	err = talk(r, &answer, o)
	text := answer.Bytes()
	if bytes.Contains(text[:min(len(text), 16)], []byte("# service=")) {
		_, text, _ = bytes.Cut(text, []byte("0000")) // git-http-backend writes that line
	}
	_, failed := out.Write(text)
	return errors.Join(err, failed)
}

func (s service) uploadPack(ctx context.Context, dir string, in io.Reader, out io.Writer) error {
	return s.serve(dir, out, func(r *repo, out io.Writer, o gitproto.Options) error {
		return gitproto.UploadPack(ctx, in, out, fetcher{r.fetcher, r}, o)
	})
}

func (s service) receivePack(ctx context.Context, dir string, in io.Reader, out io.Writer) error {
	return s.serve(dir, out, func(r *repo, out io.Writer, o gitproto.Options) error {
		return gitproto.ReceivePack(ctx, in, out, pusher{r.pusher, r}, o)
	})
}

// listed yields the refs that one side's hideRefs leave.
func (r *repo) listed(section string, prefixes []string) iter.Seq2[gitproto.Ref, error] {
	return func(yield func(gitproto.Ref, error) bool) {
		refs, err := r.refs()
		if err != nil {
			yield(gitproto.Ref{}, err)
			return
		}
		for _, ref := range refs {
			if r.Config.hides(section, ref.Name) || len(prefixes) > 0 && !anyPrefix(prefixes, ref.Name) {
				continue
			}
			if !yield(ref, nil) {
				return
			}
		}
	}
}

func anyPrefix(prefixes []string, name string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// fetcher is the host's, with the refs that git would show.
type fetcher struct {
	server.JudgedFetcher
	repo *repo
}

func (f fetcher) Refs(prefixes []string) iter.Seq2[gitproto.Ref, error] {
	return f.repo.listed("uploadpack", prefixes)
}

// CheckWants is the host's, within what git's configuration allows. Git has none for version 2, nor has the host.
func (f fetcher) CheckWants(ctx context.Context, wants []object.ID) ([]object.ID, error) {
	c := f.repo.Config
	refused, err := f.JudgedFetcher.CheckWants(ctx, wants)
	if err != nil || gitproto.ParseVersion(os.Getenv("GIT_PROTOCOL")) == 2 || c.anyWant() ||
		c.flag("uploadpack.allowreachablesha1inwant", false) {
		return refused, err
	}
	tips := map[object.ID]bool{}
	refs, err := f.repo.refs()
	for _, ref := range refs {
		tips[ref.ID] = true
	}
	return slices.DeleteFunc(slices.Clone(wants), func(id object.ID) bool { return tips[id] }), err
}

// pusher is the host's, with what git's configuration forbids taken out first.
type pusher struct {
	server.JudgedPusher
	repo *repo
}

func (p pusher) Refs() iter.Seq2[gitproto.Ref, error] {
	return func(yield func(gitproto.Ref, error) bool) {
		for ref, err := range p.repo.listed("receive", []string{"refs/"}) {
			if !yield(ref, err) {
				return
			}
		}
	}
}

func (p pusher) Push(ctx context.Context, req *gitproto.Push) gitproto.Report {
	var refused []gitproto.RefStatus
	var kept []gitproto.Command
	for _, c := range req.Commands {
		if err := p.refuse(c); err != nil {
			refused = append(refused, gitproto.RefStatus{Ref: c.Ref, Err: err})
		} else {
			kept = append(kept, c)
		}
	}
	if len(refused) > 0 && req.Atomic {
		for _, c := range kept {
			refused = append(refused, gitproto.RefStatus{Ref: c.Ref, Err: errors.New("atomic push failure")})
		}
		kept = nil
	}
	if len(kept) == 0 {
		return gitproto.Report{Unpack: p.drop(ctx, req), Refs: refused}
	}
	req.Commands = kept
	req.Cert = nil // git leaves the judgement of a certificate to hooks; a host knows whose key it is, or refuses it
	rep := p.JudgedPusher.Push(ctx, req)
	rep.Refs = append(rep.Refs, refused...)
	return rep
}

// refuse says what git's configuration has against a command.
func (p pusher) refuse(c gitproto.Command) error {
	switch {
	case p.repo.Config.hides("receive", c.Ref):
		if c.New.IsZero() {
			return errors.New("deny deleting a hidden ref")
		}
		return errors.New("deny updating a hidden ref")
	case p.repo.Odd[c.Ref] != "":
		return errors.New("a host holds no such ref")
	case c.New.IsZero() && "@"+c.Ref == p.repo.HeadValue && p.repo.Config.flag("receive.denydeletecurrent", true):
		return errors.New("deletion of the current branch prohibited")
	case c.New.IsZero() && p.repo.Config.flag("receive.denydeletes", false):
		return errors.New("deletion prohibited")
	}
	return nil
}

// drop reads the pack of a push of which nothing is left.
func (p pusher) drop(ctx context.Context, req *gitproto.Push) error {
	if req.Pack == nil {
		return nil
	}
	txn, err := p.repo.Begin(storage.Meta{Actor: "root", Time: time.Now()})
	if err != nil {
		return err
	}
	defer txn.Discard()
	defer req.Received()
	return txn.ReadPack(ctx, req.Pack)
}
