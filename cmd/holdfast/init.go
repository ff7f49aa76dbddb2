package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/auth"
	"holdfast/replication"
	"holdfast/server"
	"holdfast/storage"
)

func initCommand(a *app) *cobra.Command {
	var o initOptions
	var admin, recipient string
	var noReaders bool
	cmd := &cobra.Command{
		Use:   "init --kit KITDIR --admin NAME=KEY.pub [--config FILE]",
		Short: "Make a new host and its recovery kit",
		Long: `Make a new host and its recovery kit.

The configuration is the one that --config names, else DATA/holdfast.yaml. If there is neither, a
commented one is written there for you to fill in, and nothing else is made: run init again then.
The variables that it names for the mirrors' credentials must be set. A mirror that cannot be reached
is warned of.

The root secret goes to KITDIR only: move that directory off the machine. It also gets the reader
credentials, from HOLDFAST_<NAME>_READER_KEY and HOLDFAST_<NAME>_READER_SECRET with the mirror's name
in capitals (and _ for -), unless --no-readers.`,
		Example: `  holdfast init --data /srv/holdfast
  holdfast init --data /srv/holdfast --kit /media/usb/holdfast-kit --admin alice=alice.pub
  holdfast init --data d --kit k --admin alice=alice.pub --config holdfast.yaml --no-readers`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o.data = a.dataDir()
			if o.configFile == "" {
				o.configFile = filepath.Join(o.data, configName)
				if _, err := os.Stat(o.configFile); errors.Is(err, os.ErrNotExist) {
					return a.writeTemplate(o.data)
				}
			}
			if err := require(cmd, "kit", "admin"); err != nil {
				return err
			}
			if o.admin, o.adminKey, err = a.parseAdmin(admin); err != nil {
				return err
			}
			if o.recipient, err = parseRecipient(recipient); err != nil {
				return err
			}
			if !noReaders {
				o.readers = a.envReaders
			}
			made, err := a.initHost(cmd.Context(), o)
			if err != nil {
				return err
			}
			return a.printMade(made)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.kit, "kit", "", "new `directory` for the recovery kit")
	f.StringVar(&admin, "admin", "", "the first admin and their SSH public key, as `NAME=FILE`")
	f.StringVar(&o.configFile, "config", "", "the configuration `file`, which is copied to DATA")
	f.BoolVar(&noReaders, "no-readers", false, "do not put reader credentials into the kit")
	f.StringVar(&recipient, "recipient-type", string(replication.Hybrid),
		"`hybrid` (post-quantum; reading by hand takes age 1.3) or x25519 (any age)")
	return cmd
}

// initOptions says what initHost makes.
type initOptions struct {
	data, kit       string
	configFile      string
	admin, adminKey string
	recipient       replication.RecipientType
	instance        string // "" for a new one
	// readers finds the reader credentials that go into the kit; nil for none.
	readers func(cfg *config) (map[string]replication.Credential, error)
	// beside names what may be in the data directory already, besides a configuration.
	beside []string
}

// made is what initHost made.
type made struct {
	Instance string   `json:"instance"`
	Data     string   `json:"data"`
	Kit      string   `json:"kit"`
	Admin    string   `json:"admin"`
	Warnings []string `json:"warnings"`
}

func (a *app) writeTemplate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(dir, configName)
	if err := writeNew(path, []byte(configTemplate)); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(struct {
			Template string `json:"template"`
		}{path})
	}
	a.printf("wrote %s, and nothing else yet.\nFill in name and mirrors there, then run:\n"+
		"  holdfast init --data %s --kit KITDIR --admin NAME=KEY.pub\n", path, dir)
	return nil
}

// writeNew creates a file that must not exist, for its owner only.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// parseAdmin reads NAME=FILE and the key in FILE.
func (a *app) parseAdmin(text string) (name, key string, err error) {
	name, file, ok := strings.Cut(text, "=")
	if !ok || file == "" {
		return "", "", usagef("--admin wants NAME=FILE, such as alice=alice.pub, not %q", text)
	}
	if err := auth.ValidUser(name); err != nil {
		return "", "", usagef("--admin: %w", err)
	}
	data, err := a.ReadFile(file)
	if err != nil {
		return "", "", fmt.Errorf("--admin: %w", err)
	}
	key = strings.TrimSpace(string(data))
	if _, err := auth.ParseKey(key); err != nil {
		return "", "", fmt.Errorf("--admin: %s: %w", file, err)
	}
	return name, key, nil
}

func parseRecipient(text string) (replication.RecipientType, error) {
	switch t := replication.RecipientType(text); t {
	case replication.Hybrid, replication.X25519:
		return t, nil
	}
	return "", usagef("--recipient-type is %s or %s, not %q", replication.Hybrid, replication.X25519, text)
}

// envReaders takes the reader credentials from the environment. Both variables of a mirror are wanted, or neither.
func (a *app) envReaders(cfg *config) (map[string]replication.Credential, error) {
	readers := map[string]replication.Credential{}
	for _, m := range cfg.Mirrors {
		key, secret := replication.ReaderEnv(m.Name)
		c := a.envReader(m.Name)
		switch {
		case c.AccessKey != "" && c.SecretKey != "":
			readers[m.Name] = c
		case c.AccessKey != "":
			return nil, fmt.Errorf("mirror %s: %s is set and %s is not", m.Name, key, secret)
		case c.SecretKey != "":
			return nil, fmt.Errorf("mirror %s: %s is set and %s is not", m.Name, secret, key)
		}
	}
	return readers, nil
}

// initHost makes a host and its kit, or nothing at all: what it made is removed if it fails.
func (a *app) initHost(ctx context.Context, o initOptions) (_ made, failed error) {
	data, err := os.ReadFile(o.configFile)
	if err != nil {
		return made{}, err
	}
	cfg, err := parseConfig(o.configFile, data)
	if err != nil {
		return made{}, err
	}
	if err := a.checkWriters(cfg); err != nil {
		return made{}, err
	}
	var readers map[string]replication.Credential
	if o.readers != nil {
		if readers, err = o.readers(cfg); err != nil {
			return made{}, err
		}
	}
	if err := checkPlaces(o); err != nil {
		return made{}, err
	}
	// What is made from here on is taken back if it does not come to its end.
	for _, dir := range []string{o.data, o.kit} {
		before, err := notePlace(dir)
		if err != nil {
			return made{}, err
		}
		defer func() {
			if failed != nil {
				failed = errors.Join(failed, before.undo())
			}
		}()
	}
	return a.initStore(ctx, o, cfg, data, readers)
}

// checkWriters finds the writer credentials that the environment should hold and does not. Files are not looked for: their
// place may be the data directory, which is still to be made.
func (a *app) checkWriters(cfg *config) (err error) {
	for _, m := range cfg.Mirrors {
		for _, s := range []struct {
			what string
			ref  secretRef
		}{{"access key", m.AccessKey}, {"secret key", m.SecretKey}} {
			if s.ref.Env != "" && a.Getenv(s.ref.Env) == "" {
				err = errors.Join(err, fmt.Errorf("mirror %s: %s: the environment variable %s is not set", m.Name, s.what, s.ref.Env))
			}
		}
	}
	return err
}

// initStore fills the data directory and the kit: configuration, keys, and the journal's first entries.
func (a *app) initStore(ctx context.Context, o initOptions, cfg *config, config []byte, readers map[string]replication.Credential,
) (m made, err error) {
	now := time.Now()
	if err := os.MkdirAll(o.data, 0o700); err != nil {
		return m, err
	}
	target := filepath.Join(o.data, configName)
	if err := writeNew(target, config); err != nil && !(errors.Is(err, fs.ErrExist) && sameFile(target, o.configFile)) {
		return m, err
	}
	st, err := openStore(o.data, cfg, a.logger(slog.LevelWarn))
	if err != nil {
		return m, err
	}
	defer func() {
		if err = errors.Join(err, st.Close()); err == nil {
			err = rootGone(o.data, o.kit)
		}
	}()
	kit, err := replication.InitRoot(o.kit, st, replication.KitOptions{
		Name: cfg.Name, Instance: o.instance, Recipient: o.recipient, Mirrors: cfg.kitMirrors(), Readers: readers, Created: now,
	})
	if err != nil {
		return m, err
	}
	m = made{Instance: kit.Instance(), Data: o.data, Kit: o.kit, Admin: o.admin, Warnings: []string{}}
	if o.readers != nil {
		m.Warnings = append(m.Warnings, missingReaders(cfg, readers)...)
	}
	for _, dir := range []string{o.data, o.kit} {
		if w := exposed(dir); w != "" {
			m.Warnings = append(m.Warnings, w)
		}
	}
	known := probes{Instance: kit.Instance()}
	m.Warnings = append(m.Warnings, a.probeMirrors(ctx, o.data, cfg.Mirrors, &known).warnings()...)
	if err := known.save(o.data); err != nil {
		return m, err
	}
	if err := server.Bootstrap(st, o.admin, o.adminKey, cfg.Name, now); err != nil {
		return m, err
	}
	return m, recordConfig(st, config, now)
}

// exposed warns of a directory of secrets in which others may put files of their own; "" if they may not.
func exposed(dir string) string {
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm()&0o022 == 0 {
		return ""
	}
	return fmt.Sprintf("%s may be written to by other users of this machine (%s), who could replace what is in it: chmod go-w %s",
		dir, info.Mode().Perm(), dir)
}

func (c *config) kitMirrors() []replication.KitMirror {
	var all []replication.KitMirror
	for _, m := range c.Mirrors {
		all = append(all, replication.KitMirror{Name: m.Name, Endpoint: m.Endpoint, Bucket: m.Bucket, Region: m.Region})
	}
	return all
}

// missingReaders warns of mirrors that the kit cannot read by itself.
func missingReaders(cfg *config, readers map[string]replication.Credential) (warnings []string) {
	for _, m := range cfg.Mirrors {
		if _, ok := readers[m.Name]; !ok {
			key, secret := replication.ReaderEnv(m.Name)
			warnings = append(warnings, fmt.Sprintf("the kit has no reader credential for mirror %s: a restore will need %s and %s",
				m.Name, key, secret))
		}
	}
	return warnings
}

// checkPlaces refuses to overwrite anything, and to keep the kit beside what it is to protect.
func checkPlaces(o initOptions) error {
	data, err := filepath.Abs(o.data)
	if err != nil {
		return err
	}
	kit, err := filepath.Abs(o.kit)
	if err != nil {
		return err
	}
	if inside(kit, data) || inside(data, kit) {
		return usagef("--kit %s and --data %s: one must not lie in the other; the kit is to leave this machine", o.kit, o.data)
	}
	entries, err := os.ReadDir(o.data)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if e.Name() != configName && !slices.Contains(o.beside, e.Name()) {
			if unfinished(o.data) {
				return notSetUp(o.data)
			}
			return fmt.Errorf("%s is not empty (it holds %s): init makes a new host and overwrites nothing; name another directory with --data",
				o.data, e.Name())
		}
	}
	if _, err := os.Stat(filepath.Join(o.data, configName)); err == nil && !sameFile(filepath.Join(o.data, configName), o.configFile) {
		return fmt.Errorf("%s is there already: leave out --config to use it, or remove it", filepath.Join(o.data, configName))
	}
	return nil
}

// unfinished reports whether a data directory holds a store without a journal: what an init leaves that was killed.
func unfinished(dir string) bool {
	if requireStore(dir) != nil {
		return false
	}
	st, err := storage.Open(dir, storage.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return false
	}
	head, _, err := st.Head()
	return errors.Join(err, st.Close()) == nil && head == 0
}

// notSetUp says what to do about an unfinished directory.
func notSetUp(dir string) error {
	if isQuickstart(dir) {
		return fmt.Errorf("%s is of a quickstart that was ended before it had made its host: run \"holdfast quickstart\" again", dir)
	}
	return fmt.Errorf("%s was not set up to its end, and nothing was ever stored in it: remove it, and the recovery kit that was "+
		"begun with it if there is one, and run \"holdfast init\" again; if it was a restore that ended early, run that again", dir)
}

// inside reports whether path is dir or below it.
func inside(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

func sameFile(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// place is a directory as it was before init, so that a failed one can take back what it made, and only that.
type place struct {
	dir    string
	had    map[string]bool // its entries
	hadDir bool
}

func notePlace(dir string) (place, error) {
	p := place{dir: dir, had: map[string]bool{}}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return p, nil
	}
	p.hadDir = true
	for _, e := range entries {
		p.had[e.Name()] = true
	}
	return p, err
}

func (p place) undo() error {
	if !p.hadDir {
		return os.RemoveAll(p.dir)
	}
	entries, err := os.ReadDir(p.dir)
	for _, e := range entries {
		if !p.had[e.Name()] {
			err = errors.Join(err, os.RemoveAll(filepath.Join(p.dir, e.Name())))
		}
	}
	return err
}

// rootGone makes sure that no secret of the kit is anywhere below the data directory.
func rootGone(data, kit string) error {
	var secrets [][]byte
	for _, name := range []string{"root.key", "recovery.agekey"} {
		content, err := os.ReadFile(filepath.Join(kit, name))
		if err != nil {
			return err
		}
		for line := range bytes.Lines(content) {
			if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
				secrets = append(secrets, line)
			}
		}
	}
	return filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, s := range secrets {
			if bytes.Contains(content, s) {
				return fmt.Errorf("a secret of the kit is in %s: this is a defect of holdfast, please report it", path)
			}
		}
		return nil
	})
}

func (a *app) printMade(m made) error {
	for _, w := range m.Warnings {
		a.notef("warning: %s\n", w)
	}
	if a.json {
		return a.printJSON(m)
	}
	a.printf(`made host %s with admin %s in %s
the root secret is in %s and nowhere else

Next:
  1. Move %s off this machine, in two copies. Check each: holdfast kit verify DIR
  2. See what the mirrors really enforce:  holdfast mirror probe --data %s
  3. Serve:                                holdfast serve --data %s
`, m.Instance, m.Admin, m.Data, m.Kit, m.Kit, m.Data, m.Data)
	return nil
}
