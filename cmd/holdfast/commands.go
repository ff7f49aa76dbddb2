package main

import "github.com/spf13/cobra"

// commands returns what a offers. Inside a server that is its verbs only: the rest belongs to whoever has a shell on
// the host.
func commands(a *app) []*cobra.Command {
	verbs := []*cobra.Command{userCommand(a), repoCommand(a), logCommand(a), mirrorCommand(a), svnCommand(a)}
	if a.remote != nil {
		return append(verbs, checkCommand(a))
	}
	return append(verbs, quickstartCommand(a), demoCommand(a), initCommand(a), serveCommand(a), restoreCommand(a),
		takeoverCommand(a), kitCommand(a), checkCommand(a))
}
