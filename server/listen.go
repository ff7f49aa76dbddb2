package server

import (
	"context"
	"io"
	"net"

	gossh "golang.org/x/crypto/ssh"

	"holdfast/auth"
	"holdfast/server/gitproto"
)

// ServeSSH serves git and admin verbs over SSH on ln; see the function ServeSSH.
func (s *Server) ServeSSH(ctx context.Context, ln net.Listener) error {
	key, err := s.HostKey()
	if err != nil {
		ln.Close()
		return err
	}
	return ServeSSH(ctx, ln, SSHConfig{
		HostKey: key,
		Authenticate: func(key gossh.PublicKey) (auth.Identity, bool) {
			return s.policy.Load().policy.ByKey(key)
		},
		Exec:        s.exec,
		LoginConfig: s.loginConfig(),
	})
}

func (s *Server) loginConfig() LoginConfig {
	return LoginConfig{IdleTimeout: s.c.IdleTimeout, DrainTime: s.c.DrainTime, Log: s.c.Log}
}

// maxPushLines is what a push over HTTP may have beside its pack: gitproto.Options.MaxRequestBytes.
const maxPushLines = 64 << 20

// ServeHTTP serves git over smart HTTP on ln; see the function ServeHTTP.
func (s *Server) ServeHTTP(ctx context.Context, ln net.Listener) error {
	return ServeHTTP(ctx, ln, HTTPConfig{
		Authenticate: func(token string) (auth.Identity, bool) {
			return s.policy.Load().policy.ByToken(s.c.Now(), token)
		},
		Git: func(ctx context.Context, r GitRequest, in io.Reader, out io.Writer) error {
			o := gitproto.Options{Version: gitproto.ParseVersion(r.Protocol), Advertise: r.Advertise, Stateless: !r.Advertise}
			return s.serveGit(ctx, r.Who, r.Service, r.Repo, in, out, o)
		},
		MaxPushBytes: s.c.MaxPackBytes + maxPushLines,
		IdleTimeout:  s.c.IdleTimeout,
		DrainTime:    s.c.DrainTime,
		Log:          s.c.Log,
	})
}
