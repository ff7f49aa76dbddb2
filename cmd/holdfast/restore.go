package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"holdfast/auth"
	"holdfast/replication"
	"holdfast/replication/s3"
	"holdfast/storage"
	"holdfast/storage/svnfs"
)

func restoreCommand(a *app) *cobra.Command {
	var o restoreFlags
	cmd := &cobra.Command{
		Use:   "restore --kit KITDIR --data NEWDIR",
		Short: "Bring a host back from its mirrors",
		Long: `Bring a host back from its mirrors, with nothing but the recovery kit and reader credentials. Those come
from the environment, HOLDFAST_<NAME>_READER_KEY and HOLDFAST_<NAME>_READER_SECRET, else from the kit.

Run it again if it was stopped: it goes on where it was. What comes out is detached: it serves clones and
takes no pushes, until "holdfast takeover" makes it the writer. It exits 1 if anything is known to be
missing; what could be restored is there all the same.`,
		Example: `  holdfast restore --kit /media/usb/holdfast-kit --data /srv/restored --dry-run
  holdfast restore --kit /media/usb/holdfast-kit --data /srv/restored
  holdfast restore --kit kit --data past --at 2026-01-31T12:00:00Z
  holdfast restore --kit kit --data part --repo team/app --mirror nas`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := require(cmd, "kit"); err != nil {
				return err
			}
			o.data = a.dataDir()
			return a.restore(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.kit, "kit", "", "the recovery kit's `directory`")
	f.StringSliceVar(&o.mirrors, "mirror", nil, "read only the mirror of this `name`; may be repeated (default: all)")
	f.StringVar(&o.at, "at", "", "restore up to a `point`: a time such as 2026-01-31T12:00:00Z, the number of an entry, or with one Subversion --repo a revision such as r123")
	f.StringSliceVar(&o.repos, "repo", nil, "restore only the repository of this `name` or id; may be repeated (default: all)")
	f.StringVar(&o.head, "head", "", "where the journal has branches, take the one that holds the entry with this `hash`")
	f.StringVar(&o.config, "config", "", "the configuration `file` for NEWDIR, in place of the one that the journal recorded")
	f.BoolVar(&o.dryRun, "dry-run", false, "read and check everything but the content of packs, and write nothing")
	return cmd
}

type restoreFlags struct {
	kit, data, at, head, config string
	mirrors, repos              []string
	dryRun                      bool
}

// restore reads the flags, restores, and writes the configuration.
func (a *app) restore(ctx context.Context, f restoreFlags) error {
	kit, err := replication.OpenKit(f.kit)
	if err != nil {
		return err
	}
	o, err := f.options()
	if err != nil {
		return err
	}
	config, err := a.givenConfig(f.config)
	if err != nil {
		return err
	}
	sources, unread, err := sources(kit, f.mirrors)
	if err != nil {
		return err
	}
	for _, w := range unread {
		a.notef("warning: %s\n", w)
	}
	if err := checkRestoreTarget(f); err != nil {
		return err
	}
	if o.Repos, err = a.repoIDs(ctx, sources, kit, o, f.repos); err != nil {
		return err
	}
	if o.AtMove != nil {
		o.AtMove.Repo = o.Repos[0]
	}
	report, err := a.runRestore(ctx, sources, kit, f, o)
	if err == nil {
		err = asAsked(&report, o)
	}
	if config == nil {
		config = report.Config
	}
	if !f.dryRun && report.Last > 0 {
		err = errors.Join(err, a.writeConfig(f.data, config, f.config != ""))
	}
	if err != nil && !errors.Is(err, replication.ErrIncomplete) {
		report.Ended = err.Error()
	}
	if report.Instance == "" && !a.json {
		return err // it did not get as far as the mirrors
	}
	return errors.Join(a.printRestored(f, report), err)
}

// asAsked returns an error, and notes in the report what is missing, if a restore came to its end and did not reach the
// entry that was asked for, or brought back nothing.
func asAsked(r *replication.Report, o replication.RestoreOptions) error {
	switch {
	case o.AtMove != nil && r.Moves < o.AtMove.Count:
		r.Missing = append(r.Missing, fmt.Sprintf("revision r%d: it was asked for, and the journal on these mirrors ends before it", o.AtMove.Count-1))
		return replication.ErrIncomplete
	case o.AtSeq > r.Last:
		r.Missing = append(r.Missing, fmt.Sprintf("entry #%d: it was asked for, and the journal on these mirrors ends at #%d", o.AtSeq, r.Last))
		return replication.ErrIncomplete
	case r.Last == 0:
		return errors.New("nothing was restored: the mirrors hold no entry up to that point")
	}
	return nil
}

// options turns the flags into those of the package.
func (f restoreFlags) options() (o replication.RestoreOptions, err error) {
	o.DryRun = f.dryRun
	if f.at != "" {
		if seq, err := strconv.ParseUint(strings.TrimPrefix(f.at, "#"), 10, 63); err == nil && seq > 0 {
			o.AtSeq = storage.Seq(seq)
		} else if rev, err := strconv.ParseUint(strings.TrimPrefix(f.at, "r"), 10, 62); err == nil && f.at[0] == 'r' {
			if len(f.repos) != 1 {
				return o, usagef("--at %s is a revision: of which repository? Name one with --repo", f.at)
			}
			o.AtMove = &replication.RefMove{Ref: svnfs.RevsRef, Count: int64(rev) + 1}
		} else if o.At, err = time.Parse(time.RFC3339, f.at); err != nil {
			return o, usagef("--at wants a time such as 2026-01-31T12:00:00Z the number of an entry, or a revision such as r123, not %q", f.at)
		}
	}
	if f.head != "" {
		if err := o.Head.UnmarshalText([]byte(f.head)); err != nil {
			return o, usagef("--head: %w", err)
		}
	}
	return o, nil
}

// givenConfig reads and checks the configuration that replaces the recorded one; nil if none is given.
func (a *app) givenConfig(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	data, err := a.ReadFile(file)
	if err != nil {
		return nil, err
	}
	_, err = parseConfig(file, data)
	return data, err
}

// checkRestoreTarget refuses a directory that neither is new nor came from a restore. The package checks the store itself.
func checkRestoreTarget(f restoreFlags) error {
	kit, err := filepath.Abs(f.kit)
	if err != nil {
		return err
	}
	data, err := filepath.Abs(f.data)
	if err != nil {
		return err
	}
	if inside(data, kit) {
		return usagef("--data %s lies in the recovery kit: name another directory", f.data)
	}
	entries, err := os.ReadDir(f.data)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && len(entries) > 0 && !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == "host.db" }) {
		return fmt.Errorf("%s is not empty (it holds %s) and no restored host: name a new directory", f.data, entries[0].Name())
	}
	return err
}

// sources opens the kit's mirrors for reading: the named ones, or all. Without names, mirrors without a credential are
// left out and unread says so.
func sources(kit *replication.Kit, names []string) (all []replication.Source, unread []string, err error) {
	known := map[string]replication.KitMirror{}
	var order []string
	for _, m := range kit.Mirrors() {
		known[m.Name] = m
		order = append(order, m.Name)
	}
	wanted := order
	if len(names) > 0 {
		wanted = names
	}
	for _, name := range wanted {
		m, ok := known[name]
		if !ok {
			return nil, nil, fmt.Errorf("the kit knows no mirror %q; it knows: %s", name, strings.Join(order, ", "))
		}
		c, ok := kit.Reader(name)
		if !ok {
			key, secret := replication.ReaderEnv(name)
			missing := fmt.Sprintf("mirror %s: no reader credential: set %s and %s", name, key, secret)
			if len(names) > 0 {
				return nil, nil, errors.New(missing)
			}
			unread = append(unread, missing+"; going on without it")
			continue
		}
		bucket, err := s3.New(readerConfig(m, c))
		if err != nil {
			return nil, nil, fmt.Errorf("mirror %s: %w", name, err)
		}
		all = append(all, replication.Source{Name: name, Bucket: bucket})
	}
	if len(all) == 0 {
		return nil, nil, fmt.Errorf("no mirror can be read: set reader credentials in %s", strings.Join(kit.Env(), ", "))
	}
	return all, unread, nil
}

// runRestore restores into the data directory, with a bar where a person watches.
func (a *app) runRestore(ctx context.Context, from []replication.Source, kit *replication.Kit, f restoreFlags,
	o replication.RestoreOptions) (report replication.Report, err error) {
	o.Log = a.logger(slog.LevelWarn)
	bar := a.restoreBar()
	o.Progress = bar.set
	defer bar.stop()
	_, missing := os.Stat(f.data)
	var st *storage.Store
	if !f.dryRun {
		if st, err = storage.Open(f.data, storage.Options{Log: o.Log}); err != nil {
			return report, err
		}
		o.TempDir = f.data
	}
	report, err = replication.Restore(ctx, from, kit, st, o)
	if st != nil {
		err = errors.Join(err, st.Close())
	}
	if err != nil && report.Last == 0 && !f.dryRun && errors.Is(missing, os.ErrNotExist) {
		// Nothing to go on with: leave no empty store behind.
		err = errors.Join(err, os.RemoveAll(f.data))
	}
	return report, err
}

// repoIDs finds the ids of the repositories that the flags name. Names stand in the policy, which is in the journal: so
// the policy alone is restored first, to a directory that is thrown away.
func (a *app) repoIDs(ctx context.Context, from []replication.Source, kit *replication.Kit, o replication.RestoreOptions, names []string,
) (ids []storage.RepoID, err error) {
	var policy *auth.Policy
	for _, name := range names {
		if storage.RepoID(name).Valid() {
			ids = append(ids, storage.RepoID(name))
			continue
		}
		if policy == nil {
			if policy, err = restorePolicy(ctx, from, kit, o); err != nil {
				return nil, fmt.Errorf("look up the repository %s: %w", name, err)
			}
		}
		repo, ok := policy.Repo(name)
		if !ok {
			return nil, fmt.Errorf("no repository is named %q at that point: choose another --at, or give the repository's id", name)
		}
		ids = append(ids, storage.RepoID(repo.ID))
	}
	return ids, nil
}

// restorePolicy restores holdfast-admin alone and reads it.
func restorePolicy(ctx context.Context, from []replication.Source, kit *replication.Kit, o replication.RestoreOptions,
) (policy *auth.Policy, err error) {
	dir, err := os.MkdirTemp("", "holdfast-policy-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	st, err := storage.Open(dir, storage.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	o.DryRun, o.TempDir = false, dir
	o.Repos = []storage.RepoID{storage.NewRepoID()} // one that does not exist: the first repository always comes along
	// A gap at the end is for the restore that follows to report.
	if report, err := replication.Restore(ctx, from, kit, st, o); err != nil && report.Last == 0 {
		return nil, err
	}
	return readPolicy(st)
}

// readPolicy reads the policy of a store without a server: the newest commit of the journal's first repository.
func readPolicy(st *storage.Store) (*auth.Policy, error) {
	first, err := st.Entries(0, 1)
	if err != nil {
		return nil, err
	}
	if len(first) == 0 {
		return nil, errors.New("the journal is empty")
	}
	admin, err := st.Repo(first[0].Repo)
	if err != nil {
		return nil, err
	}
	head, err := admin.Head()
	if err != nil {
		return nil, err
	}
	ref, err := admin.Ref(head)
	if err != nil {
		return nil, err
	}
	tree, err := storage.TreeFS(admin.ReadObject, ref.ID)
	if err != nil {
		return nil, err
	}
	return auth.Load(tree)
}

// writeConfig writes the restored host's configuration. One that is there stays, unless the operator gave another.
func (a *app) writeConfig(dir string, data []byte, given bool) error {
	path := filepath.Join(dir, configName)
	if data == nil {
		a.notef("warning: the journal recorded no configuration: write %s before \"holdfast serve\"\n", path)
		return nil
	}
	if given {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := writeNew(path, data); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

func (a *app) printRestored(f restoreFlags, r replication.Report) error {
	if a.json {
		return a.printJSON(r)
	}
	a.printf("%s\n", strings.TrimSpace(r.String()))
	if !f.dryRun && r.Last > 0 {
		a.printf(`
Next:
  holdfast check --data %[1]s
  holdfast serve --data %[1]s                    clones and fetches only: it is detached
  holdfast takeover --kit %[2]s --data %[1]s     makes it the writer; give %[1]s/%[3]s new writer credentials first
`, f.data, f.kit, configName)
	}
	return nil
}

// bar shows a restore's progress on a terminal, and nothing elsewhere.
type bar struct {
	all      *mpb.Progress
	segments *mpb.Bar
	last     atomic.Pointer[replication.RestoreProgress] // the bar is drawn by a goroutine of its own
}

func (a *app) restoreBar() *bar {
	if a.json || !onTerminal(a.Stderr) {
		return &bar{}
	}
	b := &bar{all: mpb.New(mpb.WithOutput(a.Stderr), mpb.WithWidth(48))}
	b.last.Store(&replication.RestoreProgress{})
	b.segments = b.all.AddBar(0, mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name("segments "), decor.CountersNoUnit("%d of about %d")),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
			p := b.last.Load()
			return fmt.Sprintf("entry %d, %s", p.Seq, formatSize(p.Bytes))
		}), decor.OnComplete(decor.Elapsed(decor.ET_STYLE_GO, decor.WC{W: 8}), "")))
	return b
}

// set is called by one goroutine at a time.
func (b *bar) set(p replication.RestoreProgress) {
	if b.segments == nil {
		return
	}
	b.last.Store(&p)
	b.segments.SetTotal(int64(max(p.Segments, p.Segment)), false)
	b.segments.SetCurrent(int64(p.Segment))
}

func (b *bar) stop() {
	if b.all == nil {
		return
	}
	b.segments.Abort(true)
	b.all.Wait()
}
