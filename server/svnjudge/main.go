//go:build judge

// Command svnjudge is the host's Subversion without the host: Apache Subversion's own test suite runs against it. It is no
// part of the product and is built with the tag judge only.
//
// "serve" is one process with one storage.Store for all repositories that the tests make. It speaks svn:// with the
// product's packages, and adds what the tests set up beside a repository and the product has not: svnserve.conf with its
// passwords and path rules, read at each connection, and hooks. Both lie in a SKELETON, a local folder that "create" names.
//
// "admin" stands in for svnadmin and svnlook. It asks the serving process through a socket, as only one process can hold
// a store.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage: svnjudge serve STORE SOCKET              prints the port it listens on
       svnjudge admin SOCKET VERB NAME [ARGS]   stdin, stdout, stderr and status are the verb's
       svnjudge compare BASELINE SKIP LOGS TESTS FILES`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	status, err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "svnjudge:", err)
		status = 1
	}
	stop()
	os.Exit(status)
}

func run(ctx context.Context, args []string) (status int, err error) {
	switch {
	case len(args) == 3 && args[0] == "serve":
		return 0, serve(ctx, args[1], args[2], os.Stdout)
	case len(args) >= 4 && args[0] == "admin":
		return ask(args[1], args[2:], os.Stdin, os.Stdout, os.Stderr)
	case len(args) >= 5 && args[0] == "compare":
		return compare(os.Stdout, comparison{baseline: args[1], skip: args[2], logs: args[3], only: args[4], files: args[5:]})
	}
	return 0, errors.New(usage)
}
