//go:build judge

package main

import (
	"context"
	"fmt"
	"io"

	"holdfast/storage/svn"
)

func (c *call) lookYoungest(context.Context) error {
	_, err := fmt.Fprintln(c.stdout, c.fs.Youngest())
	return err
}

func (c *call) lookUUID(context.Context) error {
	_, err := fmt.Fprintln(c.stdout, c.fs.UUID())
	return err
}

// lookProp returns what prints a revision property.
func (c *call) lookProp(name string) func(context.Context) error {
	return func(context.Context) error {
		rev, err := c.revision()
		if err != nil {
			return err
		}
		props, err := c.fs.RevProps(rev)
		if err == nil {
			_, err = fmt.Fprintln(c.stdout, props[name])
		}
		return err
	}
}

func (c *call) lookCat(context.Context) error {
	rev, err := c.revision()
	if err != nil {
		return err
	}
	path, err := svn.Canonical(c.operand(0))
	if err != nil {
		return err
	}
	root, err := c.fs.Root(rev)
	if err != nil {
		return err
	}
	node, err := root.Node(path)
	if err != nil {
		return err
	}
	text, err := node.Open()
	if err != nil {
		return err
	}
	defer text.Close()
	_, err = io.Copy(c.stdout, text)
	return err
}

// lookChanged prints the paths that a revision changed. A replaced one is a deleted and an added one.
func (c *call) lookChanged(context.Context) error {
	rev, err := c.revision()
	if err != nil {
		return err
	}
	changes, err := c.fs.Changes(rev)
	if err != nil {
		return err
	}
	for _, change := range changes {
		slash := ""
		if change.Kind == svn.Dir {
			slash = "/"
		}
		mark := []byte("_  ")
		switch change.Action {
		case svn.Modified:
			if change.TextMod {
				mark[0] = 'U'
			}
			if change.PropMod {
				mark[1] = 'U'
			}
		case svn.Deleted:
			mark[0] = 'D'
		case svn.Replaced:
			fmt.Fprintf(c.stdout, "D   %s%s\n", change.Path[1:], slash)
			mark[0] = 'A'
		default:
			mark[0] = 'A'
		}
		from := change.CopyFrom
		if from != nil && c.flags["copy-info"] != "" {
			mark[2] = '+'
		} else {
			from = nil
		}
		fmt.Fprintf(c.stdout, "%s %s%s\n", mark, change.Path[1:], slash)
		if from != nil {
			fmt.Fprintf(c.stdout, "    (from %s%s:r%d)\n", from.Path[1:], slash, from.Rev)
		}
	}
	return nil
}
