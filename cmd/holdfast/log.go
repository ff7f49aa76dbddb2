package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/auth"
	"holdfast/server"
	"holdfast/storage"
	"holdfast/storage/svn"
)

func logCommand(a *app) *cobra.Command {
	var repo, since string
	cmd := &cobra.Command{
		Use:     "log",
		Short:   "Show the journal: who changed what, when, with which key",
		Example: "  holdfast log --repo team/app --since 24h\n  holdfast log show 10482",
		RunE: func(cmd *cobra.Command, args []string) error {
			from, err := parseSince(since, time.Now())
			if err != nil {
				return err
			}
			return a.onHost(cmd, func(ctx context.Context, srv *server.Server, who auth.Identity) (err error) {
				defer a.buffer(&err)()
				entries := []server.LogEntry{}
				err = srv.Log(who, 0, func(e server.LogEntry) error {
					if e.Time.Before(from) || repo != "" && e.RepoName != repo {
						return nil
					}
					if !a.json {
						a.printEntry(e)
						return nil
					}
					entries = append(entries, e)
					return nil
				})
				if err != nil || !a.json {
					return err
				}
				return a.printJSON(entries)
			})
		},
	}
	cmd.Flags().StringVar(&repo, "repo", "", "only entries of this `repository`")
	cmd.Flags().StringVar(&since, "since", "", "only entries since a `time`: 2006-01-02T15:04:05Z, 2006-01-02, or a duration such as 24h")
	cmd.AddCommand(&cobra.Command{
		Use: "show SEQ", Short: "Show one entry of the journal", Args: exactArgs("SEQ"),
		RunE: func(cmd *cobra.Command, args []string) error {
			seq, err := strconv.ParseUint(strings.TrimPrefix(args[0], "#"), 10, 63)
			if err != nil || seq == 0 {
				return usagef("SEQ is the number of an entry, such as 10482, not %q", args[0])
			}
			return a.onHost(cmd, func(ctx context.Context, srv *server.Server, who auth.Identity) error {
				return a.showEntry(srv, who, storage.Seq(seq))
			})
		},
	})
	return cmd
}

// buffer gathers what is written to stdout until the function that it returns is called. Over SSH and over the admin
// socket each write is a packet, and a push of many refs has a line for each.
func (a *app) buffer(err *error) func() {
	out, w := a.Stdout, bufio.NewWriterSize(a.Stdout, 32<<10)
	a.Stdout = w
	return func() {
		a.Stdout = out
		*err = errors.Join(*err, w.Flush())
	}
}

// parseSince reads a point in time, or how long ago it was.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("a time is 2006-01-02T15:04:05Z, 2006-01-02 or a duration such as 24h, not %q", s)
}

var errFound = errors.New("found")

func (a *app) showEntry(srv *server.Server, who auth.Identity, seq storage.Seq) error {
	err := srv.Log(who, seq-1, func(e server.LogEntry) error {
		if e.Seq != seq {
			return fmt.Errorf("no entry #%d that you may see", seq)
		}
		sig := srv.Signature(e)
		if a.json {
			return errors.Join(errFound, a.printJSON(struct {
				server.LogEntry
				Signature *server.Signature `json:"signature,omitempty"`
			}{e, sig}))
		}
		a.printEntry(e)
		a.printSignature(sig)
		a.printf("  hash      %s\n  previous  %s\n", e.Hash, e.Prev)
		for _, p := range e.Packs {
			a.printf("  pack      %s, %d objects, %d bytes\n", p.ID, p.Objects, p.Size)
		}
		return errFound
	})
	switch {
	case errors.Is(err, errFound):
		return nil
	case err == nil:
		return fmt.Errorf("no entry #%d that you may see", seq)
	}
	return err
}

// printSignature says what a push certificate proves. Its own words are quoted: the client chose them.
func (a *app) printSignature(sig *server.Signature) {
	switch {
	case sig == nil:
	case sig.Good:
		a.printf("  signed    good signature by %s, over these updates\n", sig.Key)
	default:
		a.printf("  signed    NOT VERIFIED: %s (pusher %.200q)\n", sig.Reason, sig.Pusher)
	}
}

func (a *app) printEntry(e server.LogEntry) {
	what := string(e.Kind)
	if e.Repo != "" {
		if what = e.RepoName; what == "" {
			what = string(e.Repo) + " (deleted)"
		}
	}
	signed := ""
	if len(e.Cert) > 0 {
		signed = " signed"
	}
	a.printf("#%d %s %s %s %s%s\n", e.Seq, e.Time.Format(time.RFC3339), e.Actor, what, e.Key, signed)
	if e.Init != nil {
		a.printf("  created, %s %s\n", e.Init.SCM, e.Init.Format)
	}
	if e.Kind == storage.KindSvn {
		a.printFacts(e.Data)
	}
	for _, u := range e.Refs {
		switch {
		case u.Target != "":
			a.printf("  %s -> %s\n", u.Name, u.Target)
		case u.Old.IsZero():
			a.printf("  %s created at %s\n", u.Name, u.New)
		case u.New.IsZero():
			a.printf("  %s deleted, was %s\n", u.Name, u.Old)
		default:
			a.printf("  %s %s..%s\n", u.Name, u.Old, u.New)
		}
	}
}

// svnFact is what is shown of a Subversion fact; doc/formats/svn.md has all of it.
type svnFact struct {
	UUID    string    `json:"uuid"`
	Lock    *svn.Lock `json:"lock"`
	Unlock  string    `json:"unlock"`
	RevProp *struct {
		Rev   svn.Revnum `json:"rev"`
		Name  string     `json:"name"`
		Value []byte     `json:"value"`
	} `json:"revprop"`
}

// printFacts shows the Subversion facts of an entry. Paths and names are quoted: clients chose them.
func (a *app) printFacts(data []byte) {
	var facts []svnFact
	if err := json.Unmarshal(data, &facts); err != nil {
		a.printf("  facts that this version does not know\n")
		return
	}
	for _, f := range facts {
		switch {
		case f.UUID != "":
			a.printf("  uuid %.100q\n", f.UUID)
		case f.Lock != nil:
			a.printf("  %.500q locked by %.100q\n", f.Lock.Path, f.Lock.Owner)
		case f.Unlock != "":
			a.printf("  %.500q unlocked\n", f.Unlock)
		case f.RevProp != nil && f.RevProp.Value == nil:
			a.printf("  r%d: %.100q removed\n", f.RevProp.Rev, f.RevProp.Name)
		case f.RevProp != nil:
			a.printf("  r%d: %.100q is %.200q\n", f.RevProp.Rev, f.RevProp.Name, f.RevProp.Value)
		}
	}
}
