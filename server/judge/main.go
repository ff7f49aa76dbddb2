//go:build judge

// Command judge is the host's git engine without the host: git's own test suite runs it in the place of its
// git-upload-pack and git-receive-pack. It is no part of the product and is built with the tag judge only.
//
// A STORE is a folder that import makes of a DUMP: refs, objects.pack, shallow and config, as the suite's adapter
// writes them. Git's configuration has effect where something like it can be said of a host; see config.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
)

const usage = `usage: judge import STORE DUMP
       judge export STORE DUMP
       judge upload-pack [--stateless-rpc] [--advertise-refs] STORE
       judge receive-pack [--stateless-rpc] [--advertise-refs] STORE`

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fatal:", err)
		os.Exit(128)
	}
}

func run(ctx context.Context, args []string) error {
	var verb string
	var paths []string
	var o service
	for _, arg := range args {
		switch {
		case arg == "--stateless-rpc":
			o.stateless = true
		case arg == "--advertise-refs":
			o.advertise = true
		case verb == "":
			verb = arg
		default:
			paths = append(paths, arg)
		}
	}
	switch {
	case verb == "import" && len(paths) == 2:
		return importDump(ctx, paths[0], paths[1])
	case verb == "export" && len(paths) == 2:
		return exportDump(ctx, paths[0], paths[1])
	case verb == "upload-pack" && len(paths) == 1:
		return o.uploadPack(ctx, paths[0], os.Stdin, os.Stdout)
	case verb == "receive-pack" && len(paths) == 1:
		return o.receivePack(ctx, paths[0], os.Stdin, os.Stdout)
	}
	return errors.New(usage)
}
