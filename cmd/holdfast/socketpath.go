package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
)

// maxSocketPath is the longest path that every Unix lets a socket have.
const maxSocketPath = 103

// socketPath returns a path of the admin socket that is short enough for the system, however long the data directory's
// is: one through the directory's open file, where need be. release, which gives that up, makes the path invalid.
func socketPath(dir string) (path string, release func(), err error) {
	if path = adminSocket(dir); len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), filepath.Base(path)), func() { d.Close() }, nil
}

// dialAdmin connects to the server that runs on dir, if one does.
func dialAdmin(dir string) (net.Conn, error) {
	path, release, err := socketPath(dir)
	if err != nil {
		return nil, err
	}
	defer release()
	return net.Dial("unix", path)
}

// socketListener keeps the path of its socket valid until it has removed that.
type socketListener struct {
	net.Listener
	release func()
	once    sync.Once
}

func (l *socketListener) Close() error {
	err := l.Listener.Close()
	l.once.Do(l.release)
	return err
}
