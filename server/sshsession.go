package server

import (
	"context"
	"fmt"
	"strings"

	"github.com/gliderlabs/ssh"
	gossh "golang.org/x/crypto/ssh"

	"holdfast/auth"
)

// maxProtocolBytes bounds GIT_PROTOCOL and its likes.
const maxProtocolBytes = 256

// channel serves one channel of type "session": at most one command. The library calls it in a goroutine of its own.
func (s *sshServer) channel(_ *ssh.Server, sc *gossh.ServerConn, nc gossh.NewChannel, ctx ssh.Context) {
	defer s.recovered("channel", func() { sc.Close() })
	conn, isOurs := ctx.Value(connKey{}).(*loginConn)
	who, known := identityOf(sc)
	if !isOurs || !known {
		nc.Reject(gossh.Prohibited, "not logged in")
		return
	}
	end, refusal := s.begin(conn)
	if end == nil {
		nc.Reject(gossh.ResourceShortage, refusal)
		return
	}
	defer end()
	ch, requests, err := nc.Accept()
	if err != nil {
		return
	}
	// Somebody must take the requests for as long as the channel exists, or the connection blocks beyond the reach of
	// any deadline.
	defer gossh.DiscardRequests(requests)
	defer ch.Close()
	s.session(ctx, Session{Who: who, Stdin: ch, Stdout: ch, Stderr: ch.Stderr(), Remote: sc.RemoteAddr()}, ch, requests)
}

func identityOf(sc *gossh.ServerConn) (auth.Identity, bool) {
	if sc.Permissions == nil {
		return auth.Identity{}, false
	}
	who, ok := sc.Permissions.ExtraData[identityKey{}].(auth.Identity)
	return who, ok
}

// session answers the requests on a channel until the client closes it. The channel counts as a session until then, so
// a client cannot run more by leaving old ones half closed.
func (s *sshServer) session(ctx context.Context, sess Session, ch gossh.Channel, requests <-chan *gossh.Request) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	running := false
	defer func() {
		cancel()
		if running {
			<-done
		}
	}()
	for req := range requests {
		ok := false
		switch {
		case running:
		case req.Type == "env":
			ok = sess.setEnv(req.Payload)
		case req.Type == "shell", req.Type == "exec":
			ok = req.Type == "shell" || s.command(&sess, req.Payload)
			running = ok
		}
		// Terminals, subsystems, signals and every sort of forwarding are refused.
		req.Reply(ok, nil)
		if ok && running {
			go func() {
				defer close(done)
				exit(ch, s.runCommand(ctx, sess))
			}()
		}
	}
}

// setEnv takes GIT_PROTOCOL from the client, and nothing else.
func (sess *Session) setEnv(payload []byte) bool {
	var env struct{ Name, Value string }
	if gossh.Unmarshal(payload, &env) != nil || env.Name != "GIT_PROTOCOL" || !validProtocol(env.Value) {
		return false
	}
	sess.Protocol = env.Value
	return true
}

func validProtocol(value string) bool {
	return len(value) <= maxProtocolBytes && !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' })
}

func (s *sshServer) command(sess *Session, payload []byte) bool {
	var cmd struct{ Line string }
	if gossh.Unmarshal(payload, &cmd) != nil || len(cmd.Line) > s.c.MaxCommandBytes {
		return false
	}
	sess.Raw = cmd.Line
	return true
}

// runCommand runs the command of a session and returns its exit status.
func (s *sshServer) runCommand(ctx context.Context, sess Session) (status int) {
	defer s.recovered("session", func() {
		fmt.Fprintln(sess.Stderr, "holdfast: internal error, see the server's log")
		status = 1
	})
	argv, err := splitCommand(sess.Raw)
	if err != nil {
		fmt.Fprintf(sess.Stderr, "holdfast: %v\n", err)
		return 2
	}
	if len(argv) == 0 {
		fmt.Fprintf(sess.Stderr, "Hi %s, your key works, but holdfast does not give a shell.\n"+
			"Put a command after the host's name, such as \"repo list\", or use git clone.\n", sess.Who.Name)
		return 1
	}
	sess.Command = argv
	return s.c.Exec(ctx, sess)
}

// exit tells the client the exit status and closes the channel.
func exit(ch gossh.Channel, status int) {
	ch.CloseWrite()
	ch.SendRequest("exit-status", false, gossh.Marshal(struct{ Status uint32 }{uint32(status)}))
	ch.Close()
}
