package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"holdfast/auth"
	"holdfast/server"
	"holdfast/storage"
	"holdfast/storage/svnfs"
)

func checkCommand(a *app) *cobra.Command {
	rebuild := false
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Verify the local store: every pack, object, link, ref and journal entry",
		Long: `Verify the local store: every pack and index, every object's hash and links, every ref, the journal's
chain, every revision of a Subversion repository. It reads everything and changes nothing. It exits 1 if it
finds anything. With --rebuild, which needs the host to be stopped, the indexes of Subversion repositories are first
made anew from the journal and the objects.`,
		Example: "  holdfast check --data /srv/holdfast\n  holdfast check --json | jq .problems",
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := a.dataDir()
			if a.remote == nil {
				if conn, err := dialAdmin(dir); err == nil {
					defer conn.Close()
					if rebuild {
						return errors.New("--rebuild needs the host to be stopped: nothing was changed")
					}
					return a.forward(cmd.Context(), conn)
				}
				return a.checkStore(cmd.Context(), dir, rebuild)
			}
			return a.onHost(cmd, func(ctx context.Context, srv *server.Server, who auth.Identity) error {
				report, err := srv.Check(ctx, who)
				return a.printCheck(report, err)
			})
		},
	}
	cmd.Flags().BoolVar(&rebuild, "rebuild", false, "first make the indexes of Subversion repositories anew")
	return cmd
}

// checkStore checks a store that no server has open. It needs no mirror and no credential.
func (a *app) checkStore(ctx context.Context, dir string, rebuild bool) (err error) {
	if _, err := a.loadConfig(dir); err != nil {
		a.notef("warning: %v\n", err)
	}
	if err := requireStore(dir); err != nil {
		return err
	}
	st, err := storage.Open(dir, storage.Options{Log: a.logger(slog.LevelWarn)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if rebuild {
		if err := svnfs.Rebuild(ctx, st); err != nil {
			return err
		}
	}
	report, err := st.Check(ctx, nil)
	if err == nil {
		repos := svnfs.NewRegistry(0)
		defer func() { err = errors.Join(err, repos.Close()) }()
		err = svnfs.Check(ctx, st, repos.Open, &report)
	}
	return a.printCheck(report, err)
}

func (a *app) printCheck(r storage.CheckReport, err error) error {
	if err != nil {
		return err
	}
	facts := checkFacts{r.Entries, r.Repos, r.Refs, r.Packs, r.Objects, []string{}, r.Omitted}
	for _, p := range r.Problems {
		facts.Problems = append(facts.Problems, p.String())
	}
	if a.json {
		if err := a.printJSON(facts); err != nil {
			return err
		}
	}
	for _, p := range facts.Problems {
		a.printf("problem: %s\n", p)
	}
	if facts.Omitted > 0 {
		a.printf("and %d more problems\n", facts.Omitted)
	}
	a.printf("checked %d entries, %d repositories, %d refs, %d packs, %d objects: %s\n", r.Entries, r.Repos, r.Refs, r.Packs, r.Objects,
		verdictOf(len(facts.Problems)))
	if len(facts.Problems) > 0 {
		return errSilent
	}
	return nil
}

func verdictOf(problems int) string {
	if problems == 0 {
		return "all whole"
	}
	return "NOT whole; restore from the mirrors into a new directory"
}

// checkFacts is what `check --json` says.
type checkFacts struct {
	Entries  int64    `json:"entries"`
	Repos    int64    `json:"repositories"`
	Refs     int64    `json:"refs"`
	Packs    int64    `json:"packs"`
	Objects  int64    `json:"objects"`
	Problems []string `json:"problems"`
	Omitted  int64    `json:"problems_omitted,omitempty"`
}

// requireStore refuses a directory without a store, which opening would make.
func requireStore(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "host.db")); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("no host in %s: name its data directory with --data", dir)
	} else if err != nil {
		return err
	}
	return nil
}
