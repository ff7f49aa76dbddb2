package server

import (
	"fmt"
	"net/url"
	"strings"
)

// svnURLs returns the URLs of a Subversion repository.
func (s *Server) svnURLs(name string) (ssh, plain string) {
	if s.c.SSHAddr != "" {
		ssh = fmt.Sprintf("svn+ssh://git@%s/%s", s.c.SSHAddr, name)
	}
	if s.c.SvnAddr != "" {
		plain = fmt.Sprintf("svn://%s/%s", s.c.SvnAddr, name)
	}
	return ssh, plain
}

// SvnCheckout returns the command that checks out a URL. Subversion's own client takes no port out of one of svn+ssh://: it has to be
// told by SVN_SSH.
func SvnCheckout(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "svn+ssh" || u.Port() == "" || u.Port() == "22" {
		return "svn checkout " + address
	}
	port := u.Port()
	u.Host = strings.TrimSuffix(u.Host, ":"+port)
	return fmt.Sprintf(`SVN_SSH="ssh -p %s" svn checkout %s`, port, u)
}
