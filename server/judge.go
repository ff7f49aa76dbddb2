//go:build judge

package server

import (
	"context"
	"io"

	"holdfast/auth"
	"holdfast/storage"
	"holdfast/storage/object"
)

// What follows lends the engine behind git's services to server/judge, where git's own tests judge it.

// JudgedFetcher answers upload-pack.
type JudgedFetcher = fetcher

// JudgedPusher answers receive-pack.
type JudgedPusher = pusher

// Judged returns what answers clients of the repository.
func (s *Server) Judged(name string) (*storage.Repo, JudgedFetcher, JudgedPusher, error) {
	repo, err := s.repo(Local, name, auth.Admin)
	if err != nil {
		return nil, fetcher{}, pusher{}, err
	}
	return repo, fetcher{s, repo}, pusher{s: s, who: Local, name: name, repo: repo, format: repo.Format()}, nil
}

// JudgedImport makes a repository of the object format that holds the pack, and those of the refs that a push could
// make. It returns the others, with the reasons.
func (s *Server) JudgedImport(ctx context.Context, name string, f object.Format, head string, refs []storage.RefUpdate,
	pack io.Reader) (map[string]error, error) {
	n := mintRepo(name, storage.Git, nil)
	n.init.Format, n.init.Head = f, head
	out, err := s.push(ctx, Local, push{repo: name, create: n, updates: refs, pack: pack, tell: io.Discard})
	return out.rejected, err
}
