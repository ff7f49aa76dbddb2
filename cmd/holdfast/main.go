// Command holdfast is a self-hosted git host that no single compromise can erase.
//
// Each command has one file: it reads its flags, wires the packages by hand and prints what came of it. What a command
// knows of the process stands in app, so that tests and servers can run commands without one. All errors return to
// app.run, the only place that turns them into an exit code: 0 done, 1 failed or found wanting, 2 bad usage.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(osMain())
}

// osMain runs the process's command line. The first SIGINT or SIGTERM asks the command to finish; the second kills.
func osMain() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return osApp().run(ctx, os.Args[1:])
}

const rootLong = `Holdfast serves git repositories and streams every push to append-only mirrors at
independent providers, so that no single compromise can erase them.

Start here:
  holdfast quickstart                       a working host on this machine, to try things out
  holdfast demo                             an attack on such a host, and its recovery, replayed
  holdfast init --kit KITDIR --admin ...    a real host`

// newRoot returns the whole command tree, bound to a.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:               "holdfast",
		Short:             "A git host that no single compromise can erase",
		Long:              rootLong,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.PersistentFlags().StringVar(&a.data, "data", "", "the host's data `directory` (default $HOLDFAST_DATA, else ./holdfast-data)")
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print facts as JSON")
	root.AddCommand(commands(a)...)
	prepare(root)
	return root
}
