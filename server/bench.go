//go:build bench

package server

import (
	"context"
	"io"

	"holdfast/server/gitproto"
)

// ServePipe holds one conversation with a git client in the way of an SSH session, over a pipe and without SSH, with the
// rights of Local. It is for measurements of the engine alone.
func (s *Server) ServePipe(ctx context.Context, service Service, repo, protocol string, in io.Reader, out io.Writer) error {
	return s.serveGit(ctx, Local, service, repo, in, out, gitproto.Options{Version: gitproto.ParseVersion(protocol)})
}
