package server

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"syscall"

	"holdfast/storage"
)

// hostFault is a failure of the host itself, in words for a client: they name no path of the host, and say whom to ask.
type hostFault struct {
	text string
	err  error
}

func (f *hostFault) Error() string { return f.text }
func (f *hostFault) Unwrap() error { return f.err }

// forClient returns err as a client may read it. What the host's disk or store did wrong is the operator's: it goes to the
// log as a whole, and the client learns only what follows for him.
func (s *Server) forClient(op, repo string, err error) error {
	var path *fs.PathError
	var link *os.LinkError
	var call *os.SyscallError
	var network *net.OpError
	text := ""
	switch {
	case err == nil || errors.As(err, &network):
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		text = "the host's disk is full: nothing was changed; its operator has to make room"
	case errors.Is(err, storage.ErrCorrupt):
		text = "the host found its store damaged: its operator has to run `holdfast check`"
	case errors.As(err, &path), errors.As(err, &link), errors.As(err, &call):
		text = "the host could not read or write its disk: nothing was changed; its operator finds the reason in the log"
	default:
		if e, ok := err.(*storage.Error); ok {
			return e.Err // the rest is the step that failed and an id that the client does not know
		}
		return err
	}
	s.c.Log.Error("the host failed a client", "op", op, "repo", repo, "err", err)
	return &hostFault{text, err}
}
