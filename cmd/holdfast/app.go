package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// app is the world that a command sees. Commands touch nothing else of the process, so that the same ones run at a
// shell, beside a server through its admin socket, and over SSH.
type app struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	ReadFile       func(string) ([]byte, error)

	args []string // the command line
	data string   // --data
	json bool     // --json

	// remote is set where the command runs inside a server on behalf of somebody else: nothing but the server's own
	// verbs is offered then.
	remote *remote
}

// osApp is the process itself.
func osApp() *app {
	return &app{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, ReadFile: os.ReadFile}
}

// dataDir returns the data directory: --data, else $HOLDFAST_DATA, else ./holdfast-data.
func (a *app) dataDir() string {
	if a.data != "" {
		return a.data
	}
	if dir := a.Getenv("HOLDFAST_DATA"); dir != "" {
		return dir
	}
	return "holdfast-data"
}

// printf writes facts for people; with --json it writes nothing.
func (a *app) printf(format string, args ...any) {
	if !a.json {
		fmt.Fprintf(a.Stdout, format, args...)
	}
}

// notef writes what is worth knowing beside the facts.
func (a *app) notef(format string, args ...any) { fmt.Fprintf(a.Stderr, format, args...) }

// printJSON writes v as the command's one JSON document.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.Stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printJSONLine writes v as one line, for commands that print as they go.
func (a *app) printJSONLine(v any) error {
	enc := json.NewEncoder(a.Stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// onTerminal reports whether w is a person's screen.
func onTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// usageError is a mistake in how a command was called: exit code 2.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// failure marks an error that a command itself returned, apart from those of reading its command line.
type failure struct{ err error }

func (e *failure) Error() string { return e.err.Error() }
func (e *failure) Unwrap() error { return e.err }

// errSilent fails a command that has already said why on stdout: a check that found something.
var errSilent = errors.New("found wanting")

// run executes one command line and returns its exit code: 0 done, 1 failed or found wanting, 2 bad usage.
func (a *app) run(ctx context.Context, args []string) int {
	root := newRoot(a)
	a.args = args
	root.SetArgs(args)
	root.SetIn(a.Stdin)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	var failed *failure
	var usage *usageError
	var there forwarded
	switch {
	case errors.As(err, &there):
		return int(there)
	case !errors.As(err, &failed) || errors.As(err, &usage):
		a.notef("holdfast: %v\nSee \"%s --help\".\n", err, cmd.CommandPath())
		return 2
	case !errors.Is(err, errSilent):
		a.notef("holdfast: %s\n", indent(err.Error()))
	}
	return 1
}

// indent sets the further lines of an error apart from the first.
func indent(s string) string { return strings.ReplaceAll(s, "\n", "\n  ") }

// prepare readies a command tree: no usage text after every error, and errors told apart by where they came from.
func prepare(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		prepare(sub)
	}
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	if cmd.RunE == nil {
		cmd.Args, cmd.RunE = cobra.ArbitraryArgs, unknownCommand
		cmd.DisableFlagsInUseLine = true
		return
	}
	if cmd.Args == nil {
		cmd.Args = cobra.NoArgs
	}
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := run(cmd, args); err != nil {
			return &failure{err}
		}
		return nil
	}
}

// unknownCommand runs where a word names no command of a group.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		if err := cmd.Help(); err != nil {
			return err
		}
		return usagef("%q needs a command", cmd.CommandPath())
	}
	var names []string
	for _, sub := range cmd.Commands() {
		names = append(names, sub.Name())
	}
	return usagef("unknown command %q for %q%s", args[0], cmd.CommandPath(), suggestion(args[0], names))
}

// exactArgs wants the arguments that the names describe.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return fmt.Errorf("%s needs %s", cmd.CommandPath(), strings.Join(names[len(args):], " "))
		case len(args) > len(names):
			return fmt.Errorf("%s: unexpected argument %q", cmd.CommandPath(), args[len(names)])
		}
		return nil
	}
}

// require reports the flags among names that were not given.
func require(cmd *cobra.Command, names ...string) error {
	var missing []string
	for _, name := range names {
		if !cmd.Flags().Changed(name) {
			missing = append(missing, "--"+name)
		}
	}
	if len(missing) > 0 {
		return usagef("%s needs %s", cmd.CommandPath(), strings.Join(missing, " and "))
	}
	return nil
}

// loadConfig reads a data directory's configuration.
func (a *app) loadConfig(dir string) (*config, error) {
	path := filepath.Join(dir, configName)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("no host in %s: %s is missing (see \"holdfast init --help\", or name the directory with --data)", dir, configName)
	}
	if err != nil {
		return nil, err
	}
	return parseConfig(path, data)
}
