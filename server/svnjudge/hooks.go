//go:build judge

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"holdfast/server/svnproto"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// hooks runs the scripts of a skeleton, as Subversion does.
//
// Source: libsvn_repos/hooks.c.
type hooks struct {
	skeleton string
	env      string // the file that says what a script has in its environment; it need not exist
}

var (
	_ svnproto.Hooks     = hooks{}
	_ svnproto.LockHooks = hooks{}
)

// The words that a script is called with, where it may refuse something.
var actions = map[string]string{
	"start-commit": "Commit", "pre-commit": "Commit", "pre-revprop-change": "Revprop change",
	"pre-lock": "Lock", "pre-unlock": "Unlock",
}

// script returns the path of a script, or "" if there is none.
func (h hooks) script(name string) (string, error) {
	path := filepath.Join(h.skeleton, "hooks", name)
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		return path, nil
	}
	if _, err := os.Lstat(path); err == nil {
		return "", svn.Errorf(svn.ErrReposHookFailure, "Failed to run '%s' hook; broken symlink", path)
	}
	return "", nil
}

// run runs a script, if it is there, and returns its output.
func (h hooks) run(ctx context.Context, name string, stdin string, args ...string) (string, error) {
	path, err := h.script(name)
	if err != nil || path == "" {
		return "", err
	}
	environment, err := h.environment(name)
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, append([]string{h.skeleton}, args...)...)
	cmd.Dir, cmd.Env = "/", environment
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", failure(name, exit.ProcessState, stderr.String())
	}
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState == nil {
		return "", svn.Errorf(svn.ErrReposBadArgs, "Failed to start '%s' hook", path)
	}
	return stdout.String(), nil
}

// environment is empty, not the server's, unless hooks-env says something of the script or of all.
func (h hooks) environment(name string) ([]string, error) {
	sections, err := readConfig(h.env)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for _, wanted := range []string{name, "default"} {
		for _, s := range sections {
			if s.name != wanted {
				continue
			}
			env := []string{}
			for _, o := range s.options {
				env = append(env, o.name+"="+o.value)
			}
			return env, nil
		}
	}
	return []string{}, nil
}

func failure(name string, state *os.ProcessState, output string) error {
	var text string
	status, _ := state.Sys().(syscall.WaitStatus)
	switch action := actions[name]; {
	case status.Signaled():
		text = fmt.Sprintf("'%s' hook failed (did not exit cleanly: apr_exit_why_e was %d, exitcode was %d). ", name, 2, status.Signal())
	case action == "":
		text = fmt.Sprintf("%s hook failed (exit code %d)", name, state.ExitCode())
	default:
		text = fmt.Sprintf("%s blocked by %s hook (exit code %d)", action, name, state.ExitCode())
	}
	switch {
	case !utf8.ValidString(output):
		text += " with output:\n[Error output could not be translated from the native locale to UTF-8.]"
	case output != "":
		text += " with output:\n" + output
	default:
		text += " with no output."
	}
	return svn.Errorf(svn.ErrReposHookFailure, "%s", text)
}

// StartCommit runs start-commit.
func (h hooks) StartCommit(ctx context.Context, c svnproto.Client, user, txn string, _ svn.Props) error {
	known := "" // what a server of this version cares about
	if c.Has("mergeinfo") {
		known = "mergeinfo"
	}
	_, err := h.run(ctx, "start-commit", "", user, known, txn)
	return err
}

// PreCommit runs pre-commit, which reads the tokens of the client's locks.
func (h hooks) PreCommit(ctx context.Context, txn *svnfs.Txn, tokens map[string]string) error {
	stdin := ""
	if len(tokens) > 0 {
		stdin = "LOCK-TOKENS:\n"
		for _, path := range slices.Sorted(maps.Keys(tokens)) {
			stdin += escape(path) + "|" + tokens[path] + "\n"
		}
		stdin += "\n"
	}
	_, err := h.run(ctx, "pre-commit", stdin, txn.Name())
	return err
}

// escape makes a path fit to be part of a URL that may have any letters.
func escape(path string) string {
	var b strings.Builder
	for i := range len(path) {
		if strings.IndexByte(" \"<>\\^`{|}", path[i]) >= 0 {
			fmt.Fprintf(&b, "%%%02X", path[i])
		} else {
			b.WriteByte(path[i])
		}
	}
	return b.String()
}

// PostCommit runs post-commit.
func (h hooks) PostCommit(ctx context.Context, rev svn.Revnum, txn string) error {
	_, err := h.run(ctx, "post-commit", "", number(rev), txn)
	return err
}

// PreRevPropChange runs pre-revprop-change. Without one, revision properties stay as they are.
func (h hooks) PreRevPropChange(ctx context.Context, rev svn.Revnum, user, name string, old, value *string) error {
	if path, err := h.script("pre-revprop-change"); err != nil || path == "" {
		if err != nil {
			return err
		}
		return svn.Errorf(svn.ErrReposDisabledFeature, "Repository has not been enabled to accept revision propchanges;\n"+
			"ask the administrator to create a pre-revprop-change hook")
	}
	_, err := h.run(ctx, "pre-revprop-change", deref(value), number(rev), user, name, propAction(old, value))
	return err
}

// PostRevPropChange runs post-revprop-change.
func (h hooks) PostRevPropChange(ctx context.Context, rev svn.Revnum, user, name string, old, value *string) error {
	_, err := h.run(ctx, "post-revprop-change", deref(old), number(rev), user, name, propAction(old, value))
	return err
}

// PreLock runs pre-lock; what it prints is the token.
func (h hooks) PreLock(ctx context.Context, path, user, comment string, steal bool) (string, error) {
	return h.run(ctx, "pre-lock", "", path, user, comment, digit(steal))
}

// PostLock runs post-lock.
func (h hooks) PostLock(ctx context.Context, paths []string, user string) error {
	_, err := h.run(ctx, "post-lock", lines(paths), user)
	return err
}

// PreUnlock runs pre-unlock.
func (h hooks) PreUnlock(ctx context.Context, path, user, token string, breakLock bool) error {
	_, err := h.run(ctx, "pre-unlock", "", path, user, token, digit(breakLock))
	return err
}

// PostUnlock runs post-unlock.
func (h hooks) PostUnlock(ctx context.Context, paths []string, user string) error {
	_, err := h.run(ctx, "post-unlock", lines(paths), user)
	return err
}

func number(rev svn.Revnum) string { return strconv.FormatInt(int64(rev), 10) }

func lines(paths []string) string { return strings.Join(paths, "\n") + "\n" }

func propAction(old, value *string) string {
	switch {
	case value == nil:
		return "D"
	case old == nil:
		return "A"
	}
	return "M"
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func digit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}
