package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/gliderlabs/ssh"
	gossh "golang.org/x/crypto/ssh"

	"holdfast/auth"
)

// SSHConfig shapes an SSH listener. HostKey, Authenticate and Exec are needed; a limit of zero means its default.
type SSHConfig struct {
	// HostKey must be an ed25519 key.
	HostKey gossh.Signer
	// Authenticate says whose key it is. It is asked before the client has proved that it holds the key, and again
	// after: it must have no side effects.
	Authenticate func(key gossh.PublicKey) (auth.Identity, bool)
	// Exec runs one command and returns its exit status. The context ends when the client closes the channel or the
	// connection, or when the time to drain is over. A panic ends the session only.
	Exec func(ctx context.Context, s Session) int

	LoginConfig
	MaxSessions        int // commands running, or channels open for one; 512
	MaxSessionsPerAddr int // of those, from one address; 128
	MaxSessionsPerConn int // of those, over one connection; 10
	MaxKeyOffers       int // keys that a client may try before it must reconnect; 20
	MaxCommandBytes    int // length of a command line; 64 KiB
}

func (c SSHConfig) withDefaults() SSHConfig {
	c.setDefaults()
	c.MaxSessions = cmp.Or(c.MaxSessions, 512)
	c.MaxSessionsPerAddr = cmp.Or(c.MaxSessionsPerAddr, 128)
	c.MaxSessionsPerConn = cmp.Or(c.MaxSessionsPerConn, 10)
	c.MaxKeyOffers = cmp.Or(c.MaxKeyOffers, 20)
	c.MaxCommandBytes = cmp.Or(c.MaxCommandBytes, 64<<10)
	return c
}

// Session is one command that a client runs over SSH.
type Session struct {
	Who      auth.Identity // never anonymous
	Command  []string      // the command line, split as a shell would; not empty
	Raw      string        // the command line as it came
	Protocol string        // what the client set GIT_PROTOCOL to; at most 256 printable bytes
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer
	Remote   net.Addr
}

// sshServer is a listener for SSH and its connections.
//
// The SSH library's server is used connection by connection. What it would do by itself is replaced where it is known
// to be dangerous: its sessions accept any environment, agent forwarding and terminals; its idea of the client's key is
// the last one offered; it has no handshake timeout and clears deadlines that others set; a panic ends the process.
type sshServer struct {
	*loginListener
	c        SSHConfig
	srv      *ssh.Server
	sessions *addrLimit
}

// ServeSSH accepts connections from ln until ctx ends; then it accepts no more, lets running sessions go on for
// DrainTime, cuts off what is left and returns nil once all have ended. It closes ln.
func ServeSSH(ctx context.Context, ln net.Listener, c SSHConfig) error {
	c = c.withDefaults()
	if c.HostKey == nil || c.HostKey.PublicKey().Type() != gossh.KeyAlgoED25519 {
		ln.Close()
		return errors.New("ssh: the host key must be an ed25519 key")
	}
	s := &sshServer{c: c, sessions: newAddrLimit(c.MaxSessions, c.MaxSessionsPerAddr)}
	s.srv = s.library()
	s.loginListener = &loginListener{
		c:       c.LoginConfig,
		service: "ssh",
		refusal: "holdfast: too many logins at once, try again in a moment\r\n",
		serve:   func(_ context.Context, conn *loginConn) { s.srv.HandleConn(conn) },
		unused:  func(conn *loginConn) bool { return conn.sessions == 0 },
	}
	return s.run(ctx, ln)
}

// library configures the library's server. All maps are set, for it fills in its defaults where they are nil; so is the
// one handler of logins, for without any it lets everybody in.
func (s *sshServer) library() *ssh.Server {
	return &ssh.Server{
		Version:              "holdfast",
		HostSigners:          []ssh.Signer{s.c.HostKey},
		PublicKeyHandler:     s.offered,
		ServerConfigCallback: s.protocol,
		ConnCallback: func(ctx ssh.Context, conn net.Conn) net.Conn {
			ctx.SetValue(connKey{}, conn)
			return conn
		},
		ConnectionFailedCallback: func(conn net.Conn, err error) {
			s.c.Log.Debug("ssh login failed", "remote", conn.RemoteAddr().String(), "err", err)
		},
		ChannelHandlers:   map[string]ssh.ChannelHandler{"session": s.channel},
		RequestHandlers:   map[string]ssh.RequestHandler{},
		SubsystemHandlers: map[string]ssh.SubsystemHandler{},
	}
}

type (
	connKey     struct{} // in the context of a connection: its *loginConn
	identityKey struct{} // in the ExtraData of a connection's permissions: its auth.Identity
)

// protocol is the configuration of one connection: nothing that rests on SHA-1, on CBC or on small groups.
func (s *sshServer) protocol(ctx ssh.Context) *gossh.ServerConfig {
	return &gossh.ServerConfig{
		Config: gossh.Config{
			KeyExchanges: []string{
				gossh.KeyExchangeMLKEM768X25519, gossh.KeyExchangeCurve25519,
				gossh.KeyExchangeECDHP256, gossh.KeyExchangeECDHP384, gossh.KeyExchangeECDHP521,
			},
			Ciphers: []string{
				gossh.CipherAES128GCM, gossh.CipherChaCha20Poly1305, gossh.CipherAES256GCM,
				gossh.CipherAES128CTR, gossh.CipherAES192CTR, gossh.CipherAES256CTR,
			},
			MACs: []string{gossh.HMACSHA256ETM, gossh.HMACSHA512ETM, gossh.HMACSHA256, gossh.HMACSHA512},
		},
		PublicKeyAuthAlgorithms: gossh.SupportedAlgorithms().PublicKeyAuths,
		MaxAuthTries:            s.c.MaxKeyOffers,
		VerifiedPublicKeyCallback: func(_ gossh.ConnMetadata, key gossh.PublicKey, _ *gossh.Permissions, _ string) (*gossh.Permissions, error) {
			return s.verified(ctx, key)
		},
	}
}

// offered is asked about each key that a client offers, proof or no proof: the answer must not be remembered.
func (s *sshServer) offered(_ ssh.Context, key ssh.PublicKey) bool {
	_, ok := s.authenticate(key)
	return ok
}

// verified is called with the key that the client has proved to hold. Only here does a connection get its identity.
func (s *sshServer) verified(ctx ssh.Context, key gossh.PublicKey) (*gossh.Permissions, error) {
	who, ok := s.authenticate(key)
	if !ok {
		return nil, errors.New("permission denied")
	}
	conn, ok := ctx.Value(connKey{}).(*loginConn)
	if !ok || !conn.loggedIn() {
		return nil, errors.New("too many connections")
	}
	return &gossh.Permissions{ExtraData: map[any]any{identityKey{}: who}}, nil
}

func (s *sshServer) authenticate(key gossh.PublicKey) (who auth.Identity, ok bool) {
	defer s.recovered("login", func() { who, ok = auth.Identity{}, false })
	who, ok = s.c.Authenticate(key)
	return who, ok && who.Name != ""
}

// begin counts a session of conn in and returns what counts it out, or nil and the reason to refuse it.
func (s *sshServer) begin(conn *loginConn) (end func(), refusal string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return nil, "holdfast is shutting down"
	}
	if conn.sessions >= s.c.MaxSessionsPerConn {
		return nil, fmt.Sprintf("more than %d sessions over one connection", s.c.MaxSessionsPerConn)
	}
	release := s.sessions.take(conn.RemoteAddr())
	if release == nil {
		return nil, "too many sessions at once, try again in a moment"
	}
	conn.sessions++
	s.wg.Add(1)
	return func() {
		release()
		s.mu.Lock()
		defer s.mu.Unlock()
		if conn.sessions--; s.draining && conn.sessions == 0 {
			conn.Close()
		}
		s.wg.Done()
	}, ""
}
