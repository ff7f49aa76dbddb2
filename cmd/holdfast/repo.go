package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"holdfast/auth"
	"holdfast/server"
	"holdfast/storage"
	"holdfast/storage/object"
)

func repoCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "repo", Short: "Create, import, list, rename, delete and undelete repositories, and grant rights on them"}
	cmd.AddCommand(repoCreate(a), repoList(a), repoShow(a), repoImport(a),
		a.verb("rename NAME NEWNAME", "Give a repository another name", []string{"NAME", "NEWNAME"},
			func(ctx context.Context, srv *server.Server, who auth.Identity, args []string) (string, error) {
				return "renamed " + args[0] + " to " + args[1], srv.RenameRepo(ctx, who, args[0], args[1], a.Stderr)
			}),
		a.verb("delete NAME", "Take a repository out of sight; its data stays, undelete brings it back", []string{"NAME"},
			func(ctx context.Context, srv *server.Server, who auth.Identity, args []string) (string, error) {
				return "deleted " + args[0] + "; `repo undelete " + args[0] + "` brings it back",
					srv.DeleteRepo(ctx, who, args[0], a.Stderr)
			}),
		a.verb("undelete NAME", "Bring back a deleted repository as it was", []string{"NAME"},
			func(ctx context.Context, srv *server.Server, who auth.Identity, args []string) (string, error) {
				return "undeleted " + args[0], srv.UndeleteRepo(ctx, who, args[0], a.Stderr)
			}),
		a.verb("grant NAME WHO read|write|admin|none", "Give a user, an @group or * (all users) rights on a repository",
			[]string{"NAME", "WHO", "read|write|admin|none"},
			func(ctx context.Context, srv *server.Server, who auth.Identity, args []string) (string, error) {
				return fmt.Sprintf("%s has %s on %s", args[1], args[2], args[0]),
					srv.Grant(ctx, who, args[0], args[1], args[2], a.Stderr)
			}),
	)
	return cmd
}

// verb is a command that takes arguments only, runs on the host and says what it did.
func (a *app) verb(use, short string, names []string,
	verb func(context.Context, *server.Server, auth.Identity, []string) (string, error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: exactArgs(names...),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onHost(cmd, func(ctx context.Context, srv *server.Server, who auth.Identity) error {
				what, err := verb(ctx, srv, who, args)
				return a.done(what, err)
			})
		},
	}
}

func repoCreate(a *app) *cobra.Command {
	var svn, public bool
	var format string
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create an empty repository", Args: exactArgs("NAME"),
		Long: "Create an empty repository.\n\nA push to a name that is free creates a repository as well, in the pusher's object format. To push SHA-256\n" +
			"commits with git before 2.46, create the repository first, with --object-format sha256.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onHost(cmd, func(ctx context.Context, srv *server.Server, who auth.Identity) error {
				r := server.NewRepo{Name: args[0], SCM: storage.Git, Public: public}
				if svn {
					r.SCM = storage.Svn
				}
				var err error
				if r.Format, err = object.ParseFormat(format); err != nil {
					return &usageError{err}
				}
				if err := srv.CreateRepo(ctx, who, r, a.Stderr); err != nil {
					return err
				}
				info, err := srv.Repo(who, args[0])
				if err != nil {
					return err
				}
				return a.printRepo(info)
			})
		},
	}
	cmd.Flags().BoolVar(&svn, "svn", false, "a Subversion repository")
	cmd.Flags().StringVar(&format, "object-format", "sha1", "the hash that names objects, as for git init: sha1 or sha256")
	cmd.Flags().BoolVar(&public, "public", false, "let anybody read it, without logging in")
	return cmd
}

func repoList(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the repositories that you may read",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onHost(cmd, func(ctx context.Context, srv *server.Server, who auth.Identity) error {
				repos, err := srv.Repos(who)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(repos)
				}
				w := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
				fmt.Fprintln(w, "NAME\tKIND\tACCESS\tLAST ENTRY")
				for _, r := range repos {
					fmt.Fprintf(w, "%s\t%s\t%s\t#%d\n", r.Name, r.Kind, access(r), r.Last)
				}
				return w.Flush()
			})
		},
	}
}

func access(r server.RepoInfo) string {
	if r.Public {
		return "public"
	}
	return "private"
}

func repoShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show one repository", Args: exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onHost(cmd, func(ctx context.Context, srv *server.Server, who auth.Identity) error {
				info, err := srv.Repo(who, args[0])
				if err != nil {
					return err
				}
				return a.printRepo(info)
			})
		},
	}
}

func (a *app) printRepo(r server.RepoInfo) error {
	if a.json {
		return a.printJSON(r)
	}
	a.printf("%s: %s repository, %s, %s, HEAD %s, last entry #%d\n", r.Name, r.Kind, r.Format, access(r), r.Head, r.Last)
	a.printf("  id %s\n", r.ID)
	if r.Signed != string(auth.SignedOptional) {
		a.printf("  signed pushes: %s\n", r.Signed)
	}
	for _, who := range slices.Sorted(maps.Keys(r.Grants)) {
		a.printf("  %s: %s\n", who, r.Grants[who])
	}
	for _, url := range []string{r.SSH, r.HTTP, r.Svn} {
		if url != "" {
			a.printf("  %s\n", url)
		}
	}
	if command := server.SvnCheckout(r.SSH); strings.HasPrefix(command, "SVN_SSH") {
		a.printf("  %s\n", command)
	}
	if r.Storage != nil {
		a.printStorage(*r.Storage)
	}
	if r.SvnIndex > 0 {
		a.printf("  svn.db: %d bytes\n", r.SvnIndex)
	}
	return nil
}

// printStorage tells what a repository takes on disk.
func (a *app) printStorage(s storage.Stats) {
	a.printf("  %d packs, %d objects, %d bytes", s.Packs, s.Objects, s.Bytes)
	if s.BaseObjects > 0 {
		a.printf("; base pack of %d objects", s.BaseObjects)
	}
	if s.CruftPacks > 0 {
		a.printf("; unreachable: %d packs, %d objects, %d bytes", s.CruftPacks, s.CruftObjects, s.CruftBytes)
	}
	a.printf("\n")
	if s.Leaving > 0 {
		a.printf("  %d packs were merged and go once nobody reads them\n", s.Leaving)
	}
	if s.Merging {
		a.printf("  packs are being merged\n")
	}
	if m := s.Last; m != nil {
		result := "done"
		if m.Error != "" {
			result = m.Error
		}
		a.printf("  last merge %s: %d packs, %d objects, %d bytes in %s: %s\n", m.Time.Format(time.RFC3339), m.Packs, m.Objects, m.Bytes,
			m.Duration.Round(time.Millisecond), result)
	}
}
