package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/auth"
	"holdfast/server"
	"holdfast/server/svnpull"
	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
)

func svnCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "svn", Short: "Dump and load Subversion repositories"}
	cmd.AddCommand(svnLoad(a), svnDump(a))
	return cmd
}

func svnDump(a *app) *cobra.Command {
	o := svnrepos.DumpOptions{From: svn.InvalidRevnum, To: svn.InvalidRevnum}
	var revisions string
	var quiet bool
	cmd := &cobra.Command{
		Use:     "dump NAME > DUMP",
		Short:   "Write a repository as a dump file, which \"svnadmin load\" reads",
		Example: "  holdfast svn dump team/app > app.dump\n  ssh -p 2222 git@host svn dump team/app -r 100:200 --incremental > part.dump",
		Args:    exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.From, o.To, err = parseRevisions(revisions); err != nil {
				return err
			}
			return a.onHost(cmd, func(ctx context.Context, srv *server.Server, who auth.Identity) error {
				out := bufio.NewWriterSize(a.Stdout, 256<<10)
				o.Warn = func(w svnrepos.Warning) { a.notef("%s\n", w) }
				progress := func(rev svn.Revnum) { a.notef("* Dumped revision %d.\n", rev) }
				if quiet {
					progress = nil
				}
				return errors.Join(srv.SvnDump(ctx, who, args[0], out, o, progress), out.Flush())
			})
		},
	}
	f := cmd.Flags()
	f.StringVarP(&revisions, "revision", "r", "", "only `revisions` FROM:TO, or one; HEAD is the youngest")
	f.BoolVar(&o.Incremental, "incremental", false, "begin with what the first revision changed, not with its whole tree")
	f.BoolVar(&o.Deltas, "deltas", false, "write texts as deltas: smaller, and slower to read")
	f.BoolVarP(&quiet, "quiet", "q", false, "no line for each revision on standard error")
	return cmd
}

func svnLoad(a *app) *cobra.Command {
	var o svnrepos.LoadOptions
	var revisions string
	var ignoreUUID, forceUUID, quiet bool
	cmd := &cobra.Command{
		Use:   "load NAME < DUMP",
		Short: "Add the revisions of a dump file, which \"svnadmin dump\" writes, to a repository",
		Long: "Add the revisions of a dump file, which \"svnadmin dump\" writes, to a repository, with their authors and dates. Each is\n" +
			"a commit: if the load ends early, those before stay, and \"-r N:HEAD\" goes on behind them.",
		Example: "  svnadmin dump /srv/svn/app | holdfast svn load team/app\n  ssh -p 2222 git@host svn load team/app < app.dump",
		Args:    exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.First, o.Last, err = parseLoadRevisions(revisions); err != nil {
				return err
			}
			switch {
			case ignoreUUID && forceUUID:
				return usagef("--ignore-uuid and --force-uuid exclude each other")
			case ignoreUUID:
				o.UUID = svnrepos.IgnoreUUID
			case forceUUID:
				o.UUID = svnrepos.ForceUUID
			}
			return a.onHost(cmd, func(ctx context.Context, srv *server.Server, who auth.Identity) error {
				p := a.loadProgress(quiet)
				return p.end(srv.SvnLoad(ctx, who, args[0], bufio.NewReaderSize(a.Stdin, 256<<10), o, p.event, p))
			})
		},
	}
	f := cmd.Flags()
	f.StringVarP(&revisions, "revision", "r", "", "only these `revisions` of the dump, FROM:TO, or one; TO may be HEAD")
	f.BoolVar(&ignoreUUID, "ignore-uuid", false, "keep the repository's uuid; an empty repository takes the dump's otherwise")
	f.BoolVar(&forceUUID, "force-uuid", false, "take the dump's uuid, even if the repository has revisions")
	f.StringVar(&o.ParentDir, "parent-dir", "", "put everything below this `directory`, which must exist")
	f.BoolVar(&o.IgnoreDates, "ignore-dates", false, "give the revisions the time of the load")
	f.BoolVar(&o.BypassPropValidation, "bypass-prop-validation", false, "take properties that no client could set")
	f.BoolVar(&o.NormalizeProps, "normalize-props", false, "mend line ends in svn: properties instead of refusing them")
	f.BoolVarP(&quiet, "quiet", "q", false, "no progress on standard error")
	return cmd
}

// loadProgress tells of a load: there is a line for each node, so it goes out a revision at a time.
type loadProgress struct {
	out    *bufio.Writer
	quiet  bool
	midway bool // in a line
}

func (a *app) loadProgress(quiet bool) *loadProgress {
	return &loadProgress{out: bufio.NewWriterSize(a.Stderr, 32<<10), quiet: quiet}
}

// event tells of a step.
func (p *loadProgress) event(e svnrepos.LoadEvent) {
	if !p.quiet || e.Kind == svnrepos.LoadWarning {
		text := e.String()
		p.midway = !strings.HasSuffix(text, "\n")
		p.out.WriteString(text)
	}
	if e.Kind == svnrepos.LoadCommitted {
		p.out.Flush()
	}
}

// Write tells of something else, on a line of its own.
func (p *loadProgress) Write(b []byte) (int, error) {
	if p.midway {
		p.midway = false
		p.out.WriteByte('\n')
	}
	return p.out.Write(b)
}

// end returns the error of the load, for which it makes room.
func (p *loadProgress) end(err error) error {
	_, written := p.Write(nil)
	return errors.Join(err, written, p.out.Flush())
}

func repoImport(a *app) *cobra.Command {
	var o svnpull.Options
	var passwordFile string
	var quiet bool
	cmd := &cobra.Command{
		Use:   "import NAME svn://HOST/PATH",
		Short: "Bring in a repository from another Subversion server, or what is new there",
		Long: "Bring in a repository from another Subversion server over svn://, with authors, dates and uuid; NAME is created if it does not\n" +
			"exist. Run again, it goes on where it ended, and takes what has come since. For other URLs there is a way around:\n\n" +
			"  svnrdump dump URL | holdfast svn load NAME",
		Example: "  holdfast repo import team/app svn://old.example.org/app\n" +
			"  holdfast repo import team/app svn://old.example.org/app --username harry --password-file FILE",
		Args: exactArgs("NAME", "URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.offerPassword(o.User, passwordFile); err != nil {
				return err
			}
			return a.onHost(cmd, func(ctx context.Context, srv *server.Server, who auth.Identity) (err error) {
				if o.Password, err = a.takePassword(o.User, passwordFile); err != nil {
					return err
				}
				ctx, done := whileThere(ctx, a.Stderr)
				defer done()
				p := a.loadProgress(quiet)
				return p.end(srv.SvnImport(ctx, who, args[0], args[1], o, p.event, p))
			})
		},
	}
	cmd.Flags().StringVar(&o.User, "username", "", "who to be at the other server; anonymous if left out")
	cmd.Flags().StringVar(&passwordFile, "password-file", "", "`file` with the password there, - for standard input; else it is "+passwordEnv)
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "no progress on standard error")
	return cmd
}

// whileThere returns a context that ends when w, which leads to who wants something, cannot be written to. A load ends with its input;
// what reads none would go on when nobody waits for it any more.
func whileThere(ctx context.Context, w io.Writer) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if _, err := w.Write(nil); err != nil {
				cancel(err)
			}
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-ended
	}
}

// passwordEnv has the password at another server.
const passwordEnv = "HOLDFAST_SVN_PASSWORD"

// offerPassword makes the environment's password what is read from standard input, where the verb may run in another process. Who
// comes over SSH has no environment.
func (a *app) offerPassword(user, file string) error {
	switch {
	case user == "" && file != "":
		return usagef("--password-file needs --username")
	case user == "" || file != "" || a.remote != nil:
		return nil
	}
	password := a.Getenv(passwordEnv)
	if password == "" {
		return usagef("--username needs --password-file, or the password in %s", passwordEnv)
	}
	a.Stdin = strings.NewReader(password)
	return nil
}

// maxPassword bounds a password, in bytes.
const maxPassword = 64 << 10

// takePassword reads the password, if there is to be one.
func (a *app) takePassword(user, file string) (string, error) {
	if user == "" {
		return "", nil
	}
	var password []byte
	var err error
	if file == "" || file == "-" {
		password, err = io.ReadAll(io.LimitReader(a.Stdin, maxPassword))
	} else {
		password, err = a.ReadFile(file)
	}
	return strings.TrimRight(string(password), "\r\n"), err
}

// parseLoadRevisions is parseRevisions in the terms of a load: 0 for all, and no end.
func parseLoadRevisions(text string) (first, last svn.Revnum, err error) {
	if text == "" {
		return 0, 0, nil
	}
	first, last, err = parseRevisions(text)
	if last == svn.InvalidRevnum {
		last = math.MaxInt64
	}
	return first, last, err
}

// parseRevisions reads FROM:TO, or one revision; svn.InvalidRevnum stands for one that is not given, and for HEAD.
func parseRevisions(text string) (from, to svn.Revnum, err error) {
	if text == "" {
		return svn.InvalidRevnum, svn.InvalidRevnum, nil
	}
	first, last, isRange := strings.Cut(text, ":")
	if !isRange {
		last = first
	}
	if from, err = parseRevision(first); err == nil {
		to, err = parseRevision(last)
	}
	if err == nil && from == svn.InvalidRevnum {
		err = usagef("--revision begins with a number, not with HEAD")
	}
	return from, to, err
}

func parseRevision(text string) (svn.Revnum, error) {
	if strings.EqualFold(text, "HEAD") {
		return svn.InvalidRevnum, nil
	}
	n, err := strconv.ParseInt(strings.TrimPrefix(text, "r"), 10, 64)
	if err != nil || n < 0 {
		return 0, usagef("--revision is FROM:TO such as 100:200 or 100:HEAD, or one number, not %q", text)
	}
	return svn.Revnum(n), nil
}
