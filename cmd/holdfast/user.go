package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"holdfast/auth"
	"holdfast/server"
)

func userCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "user", Short: "Add, list and remove users, their keys, tokens and secrets"}
	cmd.AddCommand(userAdd(a), userList(a), userRemove(a), userKey(a), userToken(a), userSvnSecret(a))
	return cmd
}

func userAdd(a *app) *cobra.Command {
	var key string
	var admin bool
	cmd := &cobra.Command{
		Use:     "add NAME --key FILE",
		Short:   "Add a user",
		Example: "  holdfast user add alice --key alice.pub\n  ssh -p 2222 git@host user add alice --key - < alice.pub",
		Args:    exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := require(cmd, "key"); err != nil {
				return err
			}
			return a.onHost(cmd, func(ctx context.Context, srv *server.Server, who auth.Identity) error {
				line, err := a.ReadFile(key)
				if err != nil {
					return err
				}
				return a.done("added user "+args[0], srv.AddUser(ctx, who, args[0], string(line), admin, a.Stderr))
			})
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "`file` with the user's SSH public key, - for standard input")
	cmd.Flags().BoolVar(&admin, "admin", false, "make the user an admin of the host")
	return cmd
}

// done says that a verb was carried out, or returns why not.
func (a *app) done(what string, err error) error {
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(struct {
			Done string `json:"done"`
		}{what})
	}
	a.printf("%s\n", what)
	return nil
}

func userList(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the users",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onHost(cmd, func(ctx context.Context, srv *server.Server, who auth.Identity) error {
				return a.printUsers(srv.Users(who), srv.HasSvnSecret)
			})
		},
	}
}

// userFacts is what `user list --json` says of a user.
type userFacts struct {
	Name   string       `json:"name"`
	Admin  bool         `json:"admin"`
	Keys   []string     `json:"keys"` // fingerprints, those of OpenPGP keys last
	Tokens []tokenFacts `json:"tokens"`
	Secret bool         `json:"svn_secret,omitempty"` // for svn://
}

type tokenFacts struct {
	Name    string     `json:"name"`
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires,omitempty"`
}

func (a *app) printUsers(users []auth.User, hasSecret func(user string) bool) error {
	list := []userFacts{}
	for _, u := range users {
		f := userFacts{Name: u.Name, Admin: u.Admin, Keys: []string{}, Tokens: []tokenFacts{}, Secret: hasSecret(u.Name)}
		for _, k := range u.Keys {
			f.Keys = append(f.Keys, k.Fingerprint)
		}
		for _, k := range u.PGPKeys {
			f.Keys = append(f.Keys, k.Fingerprint)
		}
		for _, t := range u.Tokens {
			facts := tokenFacts{Name: t.Name, Created: t.Created}
			if !t.Expires.IsZero() {
				facts.Expires = &t.Expires
			}
			f.Tokens = append(f.Tokens, facts)
		}
		list = append(list, f)
	}
	if a.json {
		return a.printJSON(list)
	}
	w := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tROLE\tKEYS\tTOKENS\tSVN SECRET")
	for _, u := range list {
		role := "user"
		if u.Admin {
			role = "admin"
		}
		var tokens []string
		for _, t := range u.Tokens {
			tokens = append(tokens, t.Name)
		}
		secret := ""
		if u.Secret {
			secret = "yes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", u.Name, role, strings.Join(u.Keys, " "), strings.Join(tokens, " "), secret)
	}
	return w.Flush()
}

func userRemove(a *app) *cobra.Command {
	return a.verb("remove NAME", "Remove a user and their grants; what they pushed stays", []string{"NAME"},
		func(ctx context.Context, srv *server.Server, who auth.Identity, args []string) (string, error) {
			return "removed user " + args[0], srv.RemoveUser(ctx, who, args[0], a.Stderr)
		})
}

func userKey(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "key", Short: "Add and remove a user's keys",
		Long: "Add and remove a user's keys: SSH keys, to log in and to sign pushes with, and OpenPGP keys, to sign\n" +
			"pushes with: what \"gpg --armor --export KEY\" prints.",
	}
	cmd.AddCommand(
		a.verb("add NAME FILE", "Give a user another key", []string{"NAME", "FILE"},
			func(ctx context.Context, srv *server.Server, who auth.Identity, args []string) (string, error) {
				line, err := a.ReadFile(args[1])
				if err != nil {
					return "", err
				}
				return "added a key of " + args[0], srv.AddKey(ctx, who, args[0], string(line), a.Stderr)
			}),
		a.verb("remove NAME FILE|FINGERPRINT", "Take a key from a user", []string{"NAME", "FILE"},
			func(ctx context.Context, srv *server.Server, who auth.Identity, args []string) (string, error) {
				print, err := a.fingerprint(args[1])
				if err != nil {
					return "", err
				}
				return "removed a key of " + args[0], srv.RemoveKey(ctx, who, args[0], print, a.Stderr)
			}),
	)
	return cmd
}

// fingerprint returns the fingerprint of a public key, which is given as a file or by its fingerprint.
func (a *app) fingerprint(key string) (string, error) {
	if strings.HasPrefix(key, "SHA256:") {
		return key, nil
	}
	if print, ok := auth.PGPFingerprint(key); ok {
		return print, nil
	}
	line, err := a.ReadFile(key)
	if err != nil {
		return "", err
	}
	if auth.IsPGPKey(string(line)) {
		k, err := auth.ParsePGPKey(string(line))
		if err != nil {
			return "", fmt.Errorf("%s: %w", key, err)
		}
		return k.Fingerprint, nil
	}
	k, err := auth.ParseKey(string(line))
	if err != nil {
		return "", fmt.Errorf("%s: %w", key, err)
	}
	return k.Fingerprint, nil
}

func userSvnSecret(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "svn-secret", Short: "Create and revoke a user's secret for svn://",
		Long: "Create and revoke a user's secret, the password for svn://. Its protocol, CRAM-MD5, needs the very secret on\n" +
			"the host: whoever reads the host's data directory has it. svn+ssh:// takes the user's SSH keys instead.",
	}
	create := &cobra.Command{
		Use: "create NAME", Short: "Create a secret in place of the last one, and print it, this once", Args: exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onHost(cmd, func(ctx context.Context, srv *server.Server, who auth.Identity) error {
				secret, err := srv.CreateSvnSecret(ctx, who, args[0], a.Stderr)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(struct {
						Secret string `json:"secret"`
					}{secret})
				}
				a.printf("%s\n", secret)
				return nil
			})
		},
	}
	cmd.AddCommand(create, a.verb("revoke NAME", "Revoke a user's secret", []string{"NAME"},
		func(ctx context.Context, srv *server.Server, who auth.Identity, args []string) (string, error) {
			return "revoked the svn secret of " + args[0], srv.RevokeSvnSecret(ctx, who, args[0], a.Stderr)
		}))
	return cmd
}

func userToken(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Create and revoke a user's tokens for HTTP"}
	cmd.AddCommand(tokenCreate(a), tokenRevoke(a))
	return cmd
}

func tokenCreate(a *app) *cobra.Command {
	var name string
	var days int
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a token and print it, this once",
		Long:  "Create a token, the password of a user for HTTP. It is printed once: only its hash is stored.",
		Args:  exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if days < 0 {
				return usagef("--days must be 0 (never expires) or more")
			}
			var expires time.Time
			if days > 0 {
				expires = time.Now().AddDate(0, 0, days)
			}
			return a.onHost(cmd, func(ctx context.Context, srv *server.Server, who auth.Identity) error {
				token, err := srv.CreateToken(ctx, who, args[0], name, expires, a.Stderr)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(struct {
						Name  string `json:"name"`
						Token string `json:"token"`
					}{name, token})
				}
				a.printf("%s\n", token)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&name, "token", "default", "the token's `name`, for revoking it")
	cmd.Flags().IntVar(&days, "days", 365, "`days` until it expires; 0 for never")
	return cmd
}

func tokenRevoke(a *app) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "revoke NAME", Short: "Revoke a user's token", Args: exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onHost(cmd, func(ctx context.Context, srv *server.Server, who auth.Identity) error {
				return a.done("revoked token "+name+" of "+args[0], srv.RevokeToken(ctx, who, args[0], name, a.Stderr))
			})
		},
	}
	cmd.Flags().StringVar(&name, "token", "default", "the token's `name`")
	return cmd
}
