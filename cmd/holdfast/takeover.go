package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"holdfast/replication"
	"holdfast/replication/s3"
	"holdfast/storage"
)

func takeoverCommand(a *app) *cobra.Command {
	var kit, config string
	cmd := &cobra.Command{
		Use:   "takeover --kit KITDIR --data DIR",
		Short: "Make a restored directory the writer again, and lock the old host out",
		Long: `Make a restored directory the writer again, and lock the old host out.

DATA/holdfast.yaml says which mirrors there are from now on, and where their new writer credentials are: the
old host must not have them. Reader credentials come from the environment, else from the kit, as for a restore.

It copies to each mirror what that mirror lacks, writes a root record for a new epoch, closes the old one where
the mirror enforces conditional writes, and updates the kit: take that to your other copies of it. If it was
stopped, run it again: it goes on.`,
		Example: "  holdfast takeover --kit /media/usb/holdfast-kit --data /srv/restored",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := require(cmd, "kit"); err != nil {
				return err
			}
			return a.takeover(cmd.Context(), kit, a.dataDir(), config)
		},
	}
	cmd.Flags().StringVar(&kit, "kit", "", "the recovery kit's `directory`")
	cmd.Flags().StringVar(&config, "config", "", "a configuration `file` that replaces DATA/holdfast.yaml")
	return cmd
}

func (a *app) takeover(ctx context.Context, kitDir, dir, configFile string) (err error) {
	kit, err := replication.OpenKit(kitDir)
	if err != nil {
		return err
	}
	if err := requireStore(dir); err != nil {
		return err
	}
	given, err := a.givenConfig(configFile)
	if err != nil {
		return err
	}
	if given != nil {
		if err := a.writeConfig(dir, given, true); err != nil {
			return err
		}
	}
	cfg, err := a.loadConfig(dir)
	if err != nil {
		return err
	}
	st, err := openStore(dir, cfg, a.logger(slog.LevelWarn))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	report, err := a.runTakeover(ctx, kit, dir, cfg, st)
	if err != nil && report.Epoch == 0 {
		return err
	}
	return errors.Join(a.printTakeover(report, dir, err), err)
}

// runTakeover probes the mirrors, since the fence depends on what they enforce, and takes over.
func (a *app) runTakeover(ctx context.Context, kit *replication.Kit, dir string, cfg *config, st *storage.Store,
) (r replication.TakeoverReport, err error) {
	known := probes{Instance: kit.Instance()}
	for _, w := range a.probeMirrors(ctx, dir, cfg.Mirrors, &known).warnings() {
		a.notef("warning: %s\n", w)
	}
	if err := known.save(dir); err != nil {
		return r, err
	}
	var targets []replication.Target
	var readers []replication.Source
	for i, m := range cfg.kitMirrors() {
		found := known.of(cfg.Mirrors[i])
		bucket, err := a.writer(dir, cfg.Mirrors[i], found)
		if err != nil {
			return r, err
		}
		targets = append(targets, replication.Target{Name: m.Name, Bucket: bucket, Conditional: found.Conditions.Put})
		c, ok := kit.Reader(m.Name)
		if !ok {
			key, secret := replication.ReaderEnv(m.Name)
			a.notef("warning: mirror %s: no reader credential: nothing is compared there or copied to it; set %s and %s\n", m.Name, key, secret)
			continue
		}
		reader, err := s3.New(readerConfig(m, c))
		if err != nil {
			return r, fmt.Errorf("mirror %s: %w", m.Name, err)
		}
		readers = append(readers, replication.Source{Name: m.Name, Bucket: reader})
	}
	return replication.Takeover(ctx, kit, st, targets, readers, replication.TakeoverOptions{
		Mirrors: cfg.kitMirrors(), Acks: cfg.Replication.Acks, Log: a.logger(slog.LevelWarn), TempDir: dir,
	})
}

func (a *app) printTakeover(r replication.TakeoverReport, dir string, failed error) error {
	if a.json {
		return a.printJSON(r)
	}
	a.printf("%s\n", r.String())
	if failed == nil {
		a.printf("\nNext:\n  holdfast serve --data %s\n  Copy the kit to where its other copies are: it has changed.\n", dir)
	}
	return nil
}
