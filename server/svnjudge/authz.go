//go:build judge

package main

import (
	"io"
	"os"

	pathrules "holdfast/auth/authz"
)

// rights are bits of what one may do with a path.
type rights uint8

const (
	mayRead rights = 1 << iota
	mayWrite
)

// authz is a file of path rules.
type authz struct{ rules *pathrules.Rules }

// readAuthz reads path rules, and groups from a file of their own if groupsPath is not empty.
func readAuthz(path, groupsPath string) (*authz, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var groups io.Reader
	if groupsPath != "" {
		g, err := os.Open(groupsPath)
		if err != nil {
			return nil, err
		}
		defer g.Close()
		groups = g
	}
	rules, err := pathrules.ParseWithGroups(f, groups)
	if err != nil {
		return nil, err
	}
	return &authz{rules}, nil
}

// allows reports whether a user may do something with a path and, if deep, with all that may be below it.
func (a *authz) allows(repos, user, path string, want rights, deep bool) bool {
	op := pathrules.Read
	switch {
	case want == mayWrite && deep:
		op = pathrules.WriteTree
	case want == mayWrite:
		op = pathrules.Write
	case deep:
		op = pathrules.ReadTree
	}
	return a.rules.Allows(repos, user, path, op)
}

// allowsSomewhere reports whether any rule lets a user do something.
func (a *authz) allowsSomewhere(repos, user string, want rights) bool {
	op := pathrules.Read
	if want == mayWrite {
		op = pathrules.Write
	}
	return a.rules.View(repos, user).AllowsSomewhere(op)
}
