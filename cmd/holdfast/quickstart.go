package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"holdfast/auth"
	"holdfast/replication"
	"holdfast/replication/worm"
	"holdfast/server"
)

// Names below a quickstart's data directory.
const (
	quickstartDir  = "quickstart" // keys and facts of the quickstart itself
	quickstartFile = "quickstart.json"
	embeddedDir    = "mirrors"
)

func quickstartCommand(a *app) *cobra.Command {
	q := quickstart{a: a}
	cmd := &cobra.Command{
		Use:   "quickstart",
		Short: "Run a working host with three embedded mirrors, to try things out",
		Long: `Run a working host with three embedded mirrors, to try things out, until Ctrl-C.

The first run makes everything: three mirrors with a directory and keys each, the host, its recovery
kit, an admin and a repository, "demo". Later runs go on with what is there. The admin's key is
~/.ssh/id_ed25519.pub if there is one, else a new one below DATA.

All of it lies on one disk, so it protects nothing. For a real host see "holdfast init --help".`,
		Example: "  holdfast quickstart\n  holdfast quickstart --data /tmp/try/data --ssh 127.0.0.1:0 --http 127.0.0.1:0",
		RunE: func(cmd *cobra.Command, args []string) error {
			q.dir = a.dataDir()
			for flag, addr := range map[string]string{"--ssh": q.ssh, "--http": q.http} {
				if err := checkListen(addr); err != nil {
					return usagef("%s: %w", flag, err)
				}
			}
			return q.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&q.kit, "kit", "", "`directory` for the recovery kit (default holdfast-kit beside DATA)")
	cmd.Flags().StringVar(&q.ssh, "ssh", "127.0.0.1:2222", "`address` for SSH on the first run; another port is taken if it is in use")
	cmd.Flags().StringVar(&q.http, "http", "127.0.0.1:8080", "`address` for HTTP on the first run; another port is taken if it is in use")
	return cmd
}

// quickstart is one run of the command.
type quickstart struct {
	a         *app
	dir, kit  string
	ssh, http string
	facts     quickstartFacts
	fresh     bool // this run makes the host
}

// quickstartFacts is what later runs need to know. The mirrors' keys lie in files beside each mirror's directory.
type quickstartFacts struct {
	Admin   string           `json:"admin"`
	Key     string           `json:"key"` // the admin's private key if this program made it; else empty
	Kit     string           `json:"kit"`
	Mirrors []embeddedMirror `json:"mirrors"`
	// Instance is of the host that was begun last, so that its kit can be told from another.
	Instance string `json:"instance"`
	Done     bool   `json:"done"` // host and repository were made
}

// embeddedMirror is a mirror in this process.
type embeddedMirror struct {
	Name    string    `json:"name"`
	Address string    `json:"address"`
	Writer  [2]string `json:"writer"` // access key, secret key
	Reader  [2]string `json:"reader"`
}

const embeddedBucket = "holdfast"

func (q *quickstart) run(ctx context.Context) error {
	if err := q.load(); err != nil {
		return err
	}
	// The mirrors outlive the host's last push.
	mirrors, stopMirrors := context.WithCancel(context.WithoutCancel(ctx))
	defer stopMirrors()
	var g errgroup.Group
	if err := q.startMirrors(mirrors, &g); err != nil {
		stopMirrors()
		return errors.Join(err, g.Wait())
	}
	err := q.serve(ctx)
	stopMirrors()
	return errors.Join(err, g.Wait())
}

// serve makes the host if there is none and serves it.
func (q *quickstart) serve(ctx context.Context) error {
	if q.fresh {
		if err := q.make(ctx); err != nil {
			return err
		}
	}
	cfg, err := q.a.loadConfig(q.dir)
	if err != nil {
		return err
	}
	return q.a.serve(ctx, q.dir, cfg, q.a.logger(slog.LevelWarn), func(h *host) error { return q.ready(ctx, h) })
}

// load reads the facts of an earlier run, or makes new ones.
func (q *quickstart) load() error {
	path := filepath.Join(q.dir, quickstartDir, quickstartFile)
	data, err := os.ReadFile(path)
	if err == nil {
		if err := json.Unmarshal(data, &q.facts); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		q.fresh = !q.facts.Done && !isMade(q.dir)
		return nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if _, err := os.Stat(filepath.Join(q.dir, configName)); err == nil {
		return fmt.Errorf("%s holds a host that quickstart did not make: run \"holdfast serve\", or name another directory with --data", q.dir)
	}
	q.fresh = true
	q.facts = quickstartFacts{Kit: filepath.Join(filepath.Dir(filepath.Clean(q.dir)), "holdfast-kit"), Admin: adminName()}
	for i := range 3 {
		q.facts.Mirrors = append(q.facts.Mirrors, embeddedMirror{
			Name: fmt.Sprintf("local%d", i+1), Writer: newKeyPair(), Reader: newKeyPair(),
		})
	}
	return nil
}

// adminName is the name of whoever runs this if a user may be called so.
func adminName() string {
	if u, err := user.Current(); err == nil && auth.ValidUser(u.Username) == nil {
		return u.Username
	}
	return "admin"
}

// startMirrors opens the embedded mirrors. Their addresses stand in the configuration and in the kit, so they stay the
// same from the first run on.
func (q *quickstart) startMirrors(ctx context.Context, g *errgroup.Group) error {
	for i := range q.facts.Mirrors {
		m := &q.facts.Mirrors[i]
		ln, err := listenAgain(m.Address)
		if err != nil {
			return fmt.Errorf("mirror %s: %w (it needs the address of its first run; is another quickstart running?)", m.Name, err)
		}
		m.Address = ln.Addr().String()
		endpoint, err := worm.New(worm.Config{
			Dir: filepath.Join(q.dir, embeddedDir, m.Name), Bucket: embeddedBucket,
			Log:    q.a.logger(slog.LevelError), // what it refuses is the host's own probe
			Writer: worm.KeyPair{AccessKey: m.Writer[0], SecretKey: m.Writer[1]},
			Reader: worm.KeyPair{AccessKey: m.Reader[0], SecretKey: m.Reader[1]},
		})
		if err != nil {
			return errors.Join(err, ln.Close())
		}
		g.Go(func() error {
			return errors.Join(serveHTTP(ctx, ln, endpoint, func() error { return nil }), endpoint.Close())
		})
	}
	return nil
}

// make makes the host: keys, configuration, kit. What a run that was killed half-way left is made anew.
func (q *quickstart) make(ctx context.Context) error {
	own := filepath.Join(q.dir, quickstartDir)
	if err := os.MkdirAll(own, 0o700); err != nil {
		return err
	}
	if err := q.clear(); err != nil {
		return err
	}
	public, err := q.adminKey(own)
	if err != nil {
		return err
	}
	q.facts.Kit, q.facts.Instance = cmp.Or(q.kit, q.facts.Kit), replication.NewInstance()
	if err := q.saveFacts(); err != nil {
		return err
	}
	for _, m := range q.facts.Mirrors {
		if err := os.WriteFile(filepath.Join(own, m.Name+".key"), []byte(m.Writer[0]+"\n"), 0o600); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(own, m.Name+".secret"), []byte(m.Writer[1]+"\n"), 0o600); err != nil {
			return err
		}
	}
	config := filepath.Join(own, configName)
	if err := os.WriteFile(config, []byte(q.config()), 0o600); err != nil {
		return err
	}
	_, err = q.a.initHost(ctx, initOptions{
		data: q.dir, kit: q.facts.Kit, configFile: config, admin: q.facts.Admin, adminKey: public, instance: q.facts.Instance,
		recipient: replication.Hybrid, readers: q.readers, beside: []string{quickstartDir, embeddedDir},
	})
	return err
}

func (q *quickstart) saveFacts() error {
	data, err := json.MarshalIndent(q.facts, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(q.dir, quickstartDir, quickstartFile)
	if err := os.WriteFile(path+".tmp", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// adminKey returns the public key that the admin logs in with: the user's own if there is one that ssh offers by itself.
func (q *quickstart) adminKey(own string) (string, error) {
	if home := q.a.Getenv("HOME"); home != "" && q.facts.Key == "" {
		if data, err := q.a.ReadFile(filepath.Join(home, ".ssh", "id_ed25519.pub")); err == nil {
			if key := strings.TrimSpace(string(data)); validKey(key) {
				return key, nil
			}
		}
	}
	path, err := filepath.Abs(filepath.Join(own, "id_ed25519"))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path + ".pub"); errors.Is(err, os.ErrNotExist) {
		if err := newSSHKey(path, q.facts.Admin+"@quickstart"); err != nil {
			return "", err
		}
	}
	q.facts.Key = path
	data, err := os.ReadFile(path + ".pub")
	return strings.TrimSpace(string(data)), err
}

func validKey(line string) bool {
	_, err := auth.ParseKey(line)
	return err == nil
}

func (q *quickstart) readers(*config) (map[string]replication.Credential, error) {
	all := map[string]replication.Credential{}
	for _, m := range q.facts.Mirrors {
		all[m.Name] = replication.Credential{AccessKey: m.Reader[0], SecretKey: m.Reader[1]}
	}
	return all, nil
}

// config is the configuration of a quickstart's host.
func (q *quickstart) config() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Made by "holdfast quickstart". All of it is on one disk: it protects nothing.
# The mirrors run inside "holdfast quickstart" only.
name: localhost
ssh:  {listen: %q}
http: {listen: %q}
replication: {acks: 2}
mirrors:
`, freeAddress(q.ssh), freeAddress(q.http))
	for _, m := range q.facts.Mirrors {
		fmt.Fprintf(&b, "  - {name: %s, endpoint: \"http://%s\", bucket: %s,\n     access_key_file: %s, secret_key_file: %s}\n",
			m.Name, m.Address, embeddedBucket, filepath.Join(quickstartDir, m.Name+".key"), filepath.Join(quickstartDir, m.Name+".secret"))
	}
	return b.String()
}

// listenAgain listens where an earlier run did. The first one, without an address, takes a port that the system does not
// hand out to others by itself, so that later runs find it free.
func listenAgain(addr string) (ln net.Listener, err error) {
	if addr != "" {
		return net.Listen("tcp", addr)
	}
	for range 100 {
		port := 20_000 + rand.IntN(12_000)
		if ln, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return ln, nil
		}
	}
	return nil, err
}

// freeAddress returns addr, or one with another port if a program has that one. Later runs keep what the first one took.
func freeAddress(addr string) string {
	ln, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		if ln, err = listenAgain(""); err == nil {
			addr = ln.Addr().String()
		}
	}
	if err == nil {
		ln.Close()
	}
	return addr // serving will say what is wrong with it, if anything
}

// demoRepo is the repository that a quickstart has from the start, demoSvnRepo one that its user may make.
const (
	demoRepo    = "demo"
	demoSvnRepo = "tool"
)

// ready makes the repository, unless an earlier run did, and says what to type next.
func (q *quickstart) ready(ctx context.Context, h *host) error {
	info, err := h.srv.Repo(server.Local, demoRepo)
	if errors.Is(err, auth.ErrNotFound) && !q.facts.Done {
		if err := h.srv.CreateRepo(ctx, server.Local, server.NewRepo{Name: demoRepo}, io.Discard); err != nil {
			return err
		}
		info, err = h.srv.Repo(server.Local, demoRepo)
	}
	if !q.facts.Done {
		q.facts.Done = true
		if err := q.saveFacts(); err != nil {
			return err
		}
	}
	if err != nil && !errors.Is(err, auth.ErrNotFound) {
		return err
	}
	if q.a.json {
		return q.a.printJSONLine(struct {
			Ready bool   `json:"ready"`
			Admin string `json:"admin"`
			Kit   string `json:"kit"`
			Key   string `json:"key,omitempty"`
			Clone string `json:"clone"`
		}{true, q.facts.Admin, q.facts.Kit, q.facts.Key, info.SSH})
	}
	key, err := h.srv.HostKey()
	if err != nil {
		return err
	}
	q.a.printf("%s", q.advice(info.SSH, ssh.FingerprintSHA256(key.PublicKey())))
	return nil
}

// advice is what a person types next, ready to paste: each line can be pasted where the one before was.
func (q *quickstart) advice(clone, hostKey string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nA host with three mirrors runs here. Its admin is %q; its recovery kit is in %s.\n", q.facts.Admin, q.facts.Kit)
	b.WriteString("Same disk, protects nothing: this is for trying things out. Ctrl-C ends it; quickstart goes on with it.\n\n" +
		"In another terminal:\n\n")
	if q.facts.Key != "" {
		fmt.Fprintf(&b, "  export GIT_SSH_COMMAND='ssh -i %s -o IdentitiesOnly=yes'\n", q.facts.Key)
	}
	fmt.Fprintf(&b, "  # ssh will ask: the host's key is %s\n", hostKey)
	data := ""
	if q.dir != "holdfast-data" {
		data = " --data " + q.dir
	}
	if clone != "" { // else it was deleted since
		fmt.Fprintf(&b, "  git clone %s\n", clone)
		fmt.Fprintf(&b, "  (cd %s && echo hello > README && git add README && git%s commit -m hello && git push -u origin HEAD:main)\n\n",
			demoRepo, q.gitIdentity())
		fmt.Fprintf(&b, "  %s repo create %s --svn%s\n  %s\n\n", programName(), demoSvnRepo, data, q.checkout(clone))
	}
	for _, command := range []string{"mirror status" + data, "log" + data, "restore --kit " + q.facts.Kit + " --data restored --dry-run"} {
		fmt.Fprintf(&b, "  %s %s\n", programName(), command)
	}
	return b.String()
}

// checkout returns the command that checks out demoSvnRepo, which lies beside the git repository of a URL.
func (q *quickstart) checkout(clone string) string {
	command := server.SvnCheckout("svn+" + strings.TrimSuffix(clone, demoRepo+".git") + demoSvnRepo)
	if q.facts.Key == "" {
		return command
	}
	return strings.Replace(command, `"ssh `, `"$GIT_SSH_COMMAND `, 1)
}

// gitIdentity is what git needs to be told to make a commit where it does not know who commits.
func (q *quickstart) gitIdentity() string {
	if exec.Command("git", "config", "user.email").Run() == nil {
		return ""
	}
	return fmt.Sprintf(" -c user.name=%[1]s -c user.email=%[1]s@localhost", q.facts.Admin)
}

// programName is how this program was called, for commands to paste.
func programName() string {
	if strings.Contains(os.Args[0], "go-build") { // where the go tool keeps what "go run" made
		return "go run ./cmd/holdfast"
	}
	return os.Args[0]
}
