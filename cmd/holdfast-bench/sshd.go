//go:build bench

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
)

// sshd is OpenSSH's server, which lets the bench's key run svnserve as the user that the bench runs as.
type sshd struct {
	cmd  *exec.Cmd
	user string
	addr string
}

// startSSHD starts one over the repositories in root. It returns nil where there is no sshd.
func (b *bench) startSSHD(root string) (*sshd, error) {
	path, err := exec.LookPath("/usr/sbin/sshd")
	if err != nil {
		fmt.Fprintln(os.Stderr, "  nothing beside svn+ssh: there is no /usr/sbin/sshd")
		return nil, nil
	}
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	addrs, err := freeAddrs(1)
	if err != nil {
		return nil, err
	}
	if me.Uid == "0" { // where it separates privileges; Debian makes it when the service starts
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return nil, err
		}
	}
	dir := b.path("sshd")
	if err := b.configureSSHD(dir, root, addrs[0]); err != nil {
		return nil, err
	}
	s := &sshd{cmd: exec.CommandContext(b.ctx, path, "-D", "-e", "-f", filepath.Join(dir, "sshd_config")), user: me.Username, addr: addrs[0]}
	return s, s.cmd.Start()
}

func (b *bench) configureSSHD(dir, root, addr string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	hostKey := filepath.Join(dir, "host_key")
	if _, err := os.Stat(hostKey); errors.Is(err, os.ErrNotExist) {
		if _, err := b.run(".", nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", hostKey); err != nil {
			return err
		}
	}
	public, err := os.ReadFile(b.key + ".pub")
	if err != nil {
		return err
	}
	keys := filepath.Join(dir, "authorized_keys")
	line := fmt.Sprintf("restrict,command=\"svnserve -t -r %s --tunnel-user root\" %s", root, public)
	if err := os.WriteFile(keys, []byte(line), 0o600); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	config := strings.Join([]string{"ListenAddress " + host, "Port " + port, "HostKey " + hostKey, "PidFile none", "AuthorizedKeysFile " + keys,
		"StrictModes no", "PermitRootLogin prohibit-password", "PasswordAuthentication no", "UsePAM no", ""}, "\n")
	return os.WriteFile(filepath.Join(dir, "sshd_config"), []byte(config), 0o600)
}

func (s *sshd) stop() {
	s.cmd.Process.Signal(syscall.SIGTERM)
	s.cmd.Wait()
}
