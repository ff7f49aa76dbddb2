package server

import "fmt"

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
