package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"holdfast/replication"
)

func demoCommand(a *app) *cobra.Command {
	var keep string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Replay the attack that ended Code Spaces, and recover from it",
		Long: `Replay the attack that ended Code Spaces in 2014, and recover from it.

It builds a host with three mirrors, each a process of its own with its own credentials, and has two
users push with git over ssh. Then an attacker who holds every credential of the host tries to delete,
overwrite, list and read on all three mirrors, and at last destroys the host and two of the mirrors'
disks. The third one and the recovery kit must bring back every ref, object and user, and the host
must take pushes again. It needs git and ssh, takes some seconds, and leaves nothing behind.

It exits 0 only if every claim held.`,
		Example: "  holdfast demo\n  holdfast demo --json | jq '.claims[] | select(.held | not)'",
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := newDemo(a, keep)
			if err != nil {
				return err
			}
			return errors.Join(d.play(cmd.Context()), d.clean())
		},
	}
	cmd.Flags().StringVar(&keep, "keep", "", "play in this new `directory` and leave it there, to look at")
	return cmd
}

// demo is the demonstration under way.
type demo struct {
	a    *app
	w    *world
	keep bool

	mirrors    []*demoMirror
	server     *daemon
	alice, bob person
	before     snapshot
	shipped    int64 // bytes on the mirror that will survive

	report demoReport
}

// demoReport is what the demonstration found out.
type demoReport struct {
	OK       bool      `json:"ok"`
	Stages   []stage   `json:"stages"`
	Claims   []claim   `json:"claims"`
	Attempts []verdict `json:"attempts"`
	Seconds  float64   `json:"seconds"`
}

// stage is one act: what was done, in how long, with how many bytes.
type stage struct {
	Name    string  `json:"name"`
	Detail  string  `json:"detail"`
	Seconds float64 `json:"seconds"`
	Bytes   int64   `json:"bytes,omitempty"`
}

// claim is one thing that has to be true.
type claim struct {
	Claim string `json:"claim"`
	Held  bool   `json:"held"`
	Found string `json:"found"`
}

func newDemo(a *app, keep string) (*demo, error) {
	bin, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir := keep
	if keep == "" {
		dir, err = os.MkdirTemp("", "holdfast-demo-")
	} else if err = os.Mkdir(keep, 0o700); errors.Is(err, os.ErrExist) {
		err = fmt.Errorf("%s exists: name a new directory", keep)
	}
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	return &demo{a: a, w: &world{dir: dir, bin: bin}, keep: keep != ""}, nil
}

func (d *demo) clean() error {
	if d.keep {
		d.a.notef("left for you to look at: %s\n", d.w.dir)
		return nil
	}
	return os.RemoveAll(d.w.dir)
}

// play runs all acts and prints the report. It fails if an act could not be played or a claim did not hold.
func (d *demo) play(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer d.endAll()
	defer stop()
	d.a.printf("The attack that ended Code Spaces, replayed.\n\n")
	began := time.Now()
	for _, act := range []struct {
		name string
		play func(context.Context) (string, int64, error)
	}{
		{"build", d.build}, {"work", d.work}, {"attack", d.attack}, {"destroy", d.destroy},
		{"restore", d.restore}, {"compare", d.compare}, {"takeover", d.takeover}, {"work again", d.workAgain},
	} {
		start := time.Now()
		detail, bytes, err := act.play(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", act.name, err)
		}
		s := stage{act.name, detail, time.Since(start).Seconds(), bytes}
		d.report.Stages = append(d.report.Stages, s)
		d.a.printf("%-11s %s\n", s.Name, s.Detail)
	}
	d.report.Seconds = time.Since(began).Seconds()
	return d.conclude()
}

// endAll waits for the processes that are still there; their context has ended.
func (d *demo) endAll() {
	if d.server != nil {
		d.server.kill()
	}
	for _, m := range d.mirrors {
		if m.daemon != nil {
			m.kill()
		}
	}
}

func (d *demo) claim(held bool, what, found string, args ...any) {
	d.report.Claims = append(d.report.Claims, claim{what, held, fmt.Sprintf(found, args...)})
}

// build sets up mirrors, host and users the way an operator does.
func (d *demo) build(ctx context.Context) (string, int64, error) {
	for _, name := range []string{"east", "west", "north"} {
		m, err := d.w.newMirror(ctx, name, "mirror-"+name)
		if err != nil {
			return "", 0, err
		}
		d.mirrors = append(d.mirrors, m)
	}
	config := d.w.path("holdfast.yaml")
	if err := d.w.setMirrors(config, d.mirrors); err != nil {
		return "", 0, err
	}
	var err error
	if d.alice, err = d.w.newPerson("alice"); err != nil {
		return "", 0, err
	}
	if d.bob, err = d.w.newPerson("bob"); err != nil {
		return "", 0, err
	}
	if _, err := d.w.holdfast(ctx, "init", "--data", d.w.path("host"), "--kit", d.w.path("kit"), "--config", config,
		"--admin", "alice="+d.alice.key()+".pub"); err != nil {
		return "", 0, err
	}
	if err := d.serve(ctx, "host"); err != nil {
		return "", 0, err
	}
	return "a host and three mirrors, four processes; no mirror knows another's keys; the kit is set aside", 0, nil
}

func (d *demo) serve(ctx context.Context, dir string) (err error) {
	if d.server, err = d.w.start(ctx, d.w.secrets, "serve", "--data", d.w.path(dir)); err != nil {
		return err
	}
	d.w.repoHost = d.server.addr
	return nil
}

// bigFile is past the size from which a pack is streamed to the mirrors by itself.
const bigFile = 9 << 20

// work has two users push three repositories: branches, tags, a rewritten branch, a deleted one, a large file.
func (d *demo) work(ctx context.Context) (string, int64, error) {
	key, err := os.ReadFile(d.bob.key() + ".pub")
	if err != nil {
		return "", 0, err
	}
	if _, err := d.alice.verb(ctx, bytes.NewReader(key), "user", "add", "bob", "--key", "-"); err != nil {
		return "", 0, err
	}
	for _, args := range [][]string{
		{"repo", "create", "site"}, {"repo", "create", "team/assets"}, {"repo", "create", "docs", "--public"},
		{"repo", "grant", "site", "bob", "write"}, {"repo", "grant", "team/assets", "bob", "write"},
	} {
		if _, err := d.alice.verb(ctx, nil, args...); err != nil {
			return "", 0, err
		}
	}
	pushes := 0
	push := func(p person, work, repo string, refs ...string) error {
		pushes++
		_, err := p.git(ctx, append([]string{"-C", work, "push", "-q", d.w.url(repo)}, refs...)...)
		return err
	}
	if err := d.pushSite(ctx, push); err != nil {
		return "", 0, err
	}
	if err := d.pushRest(ctx, push); err != nil {
		return "", 0, err
	}
	if d.before, err = d.snapshot(ctx, "before"); err != nil {
		return "", 0, err
	}
	if d.shipped, err = dirSize(d.mirrors[2].dir); err != nil {
		return "", 0, err
	}
	refs, objects := d.before.count()
	return fmt.Sprintf("2 users, 3 repositories, %d git pushes over ssh, each held by three mirrors: %d refs, %d objects",
		pushes, refs, objects), d.shipped, nil
}

type pushFunc func(p person, work, repo string, refs ...string) error

// pushSite is a normal project's life, with a rewritten branch and a deleted one.
func (d *demo) pushSite(ctx context.Context, push pushFunc) error {
	if _, err := d.alice.git(ctx, "init", "-q", "-b", "main", "site"); err != nil {
		return err
	}
	for i := range 5 {
		if err := d.commit(ctx, d.alice, "site", "page.txt", fmt.Appendf(nil, "page, revision %d\n", i)); err != nil {
			return err
		}
	}
	if _, err := d.alice.git(ctx, "-C", "site", "tag", "-a", "-m", "first release", "v1"); err != nil {
		return err
	}
	if err := push(d.alice, "site", "site", "main", "v1"); err != nil {
		return err
	}
	if _, err := d.bob.git(ctx, "clone", "-q", d.w.url("site"), "site-bob"); err != nil {
		return err
	}
	if err := d.commit(ctx, d.bob, "site-bob", "bob.txt", []byte("bob was here\n")); err != nil {
		return err
	}
	for _, refs := range [][]string{{"main"}, {"main:topic", "main:old"}, {"+main~1:topic"}, {":old"}} {
		if err := push(d.bob, "site-bob", "site", refs...); err != nil {
			return err
		}
	}
	return nil
}

// pushRest pushes a large file and an executable in a directory, to the other two repositories.
func (d *demo) pushRest(ctx context.Context, push pushFunc) error {
	for _, args := range [][]string{{"init", "-q", "-b", "main", "assets"}, {"init", "-q", "-b", "main", "docs"}} {
		if _, err := d.bob.git(ctx, args...); err != nil {
			return err
		}
	}
	if err := d.commit(ctx, d.bob, "assets", "film.bin", noise(bigFile)); err != nil {
		return err
	}
	if err := push(d.bob, "assets", "team/assets", "main"); err != nil {
		return err
	}
	if err := d.commit(ctx, d.alice, "docs", "guide.md", []byte("# Guide\n")); err != nil {
		return err
	}
	return push(d.alice, "docs", "docs", "main", "main:draft")
}

// noise returns bytes that do not compress, the same in every run.
func noise(n int) []byte {
	out := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range out {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		out[i] = byte(x)
	}
	return out
}

func (d *demo) commit(ctx context.Context, p person, work, file string, content []byte) error {
	if err := os.WriteFile(d.w.path(work, file), content, 0o644); err != nil {
		return err
	}
	if _, err := p.git(ctx, "-C", work, "add", file); err != nil {
		return err
	}
	_, err := p.git(ctx, "-C", work, "commit", "-q", "-m", "change "+file)
	return err
}

// attack tries everything that the host's credentials could be good for, on every mirror.
func (d *demo) attack(ctx context.Context) (string, int64, error) {
	kit, err := replication.OpenKit(d.w.path("kit"))
	if err != nil {
		return "", 0, err
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	refused := 0
	for _, m := range d.mirrors {
		intact, err := treeDigest(m.dir)
		if err != nil {
			return "", 0, err
		}
		at := attacker{
			endpoint: "http://" + m.addr, bucket: demoBucket, accessKey: m.writer[0], secretKey: m.writer[1],
			key: replication.SegmentKey(kit.Instance(), 1, 1, 1),
		}
		n, tried, err := d.attackOne(ctx, client, m.name, at)
		if err != nil {
			return "", 0, err
		}
		refused += n
		now, err := treeDigest(m.dir)
		if err != nil {
			return "", 0, err
		}
		d.claim(n == tried, "mirror "+m.name+" refuses all that the host's credential is not for", "%d of %d refused", n, tried)
		d.claim(intact.within(now), "mirror "+m.name+" holds the same bytes after the attack", "%d files before, %d after", len(intact), len(now))
	}
	return fmt.Sprintf("%d calls with the host's own credentials on all mirrors: %d refused", len(d.report.Attempts), refused), 0, nil
}

// attackOne also proves that the credential works: a put of a new key, which is all it is for, must succeed.
func (d *demo) attackOne(ctx context.Context, client *http.Client, name string, at attacker) (refused, tried int, err error) {
	junk, err := at.try(ctx, client, attempt{what: "put junk", method: "PUT", object: "v1/junk", body: "junk"})
	if err != nil {
		return 0, 0, err
	}
	d.claim(strings.HasPrefix(junk.Answer, "200"), "the attacker's credential for "+name+" is the real one", "a put was answered %s", junk.Answer)
	for _, t := range at.attempts() {
		v, err := at.try(ctx, client, t)
		if err != nil {
			return 0, 0, err
		}
		v.Mirror = name
		d.report.Attempts = append(d.report.Attempts, v)
		tried++
		if v.Refused {
			refused++
		}
	}
	return refused, tried, nil
}

// destroy is the end of Code Spaces: the host and everything at two providers.
func (d *demo) destroy(context.Context) (string, int64, error) {
	d.server.kill()
	d.server = nil
	lost, err := dirSize(d.w.path("host"))
	if err != nil {
		return "", 0, err
	}
	if err := os.RemoveAll(d.w.path("host")); err != nil {
		return "", 0, err
	}
	for _, m := range d.mirrors[:2] {
		size, err := dirSize(m.dir)
		if err != nil {
			return "", 0, err
		}
		lost += size
		m.kill()
		if err := os.RemoveAll(m.dir); err != nil {
			return "", 0, err
		}
	}
	return "the host's disk wiped, mirrors east and west with it; left: mirror north and the recovery kit", lost, nil
}

// restore is what the operator types, with the kit and the one mirror.
func (d *demo) restore(ctx context.Context) (string, int64, error) {
	start := time.Now()
	out, err := d.w.holdfast(ctx, "restore", "--kit", d.w.path("kit"), "--data", d.w.path("restored"), "--mirror", "north", "--json")
	if err != nil {
		return "", 0, err
	}
	took := time.Since(start)
	var report struct {
		Entries int64    `json:"entries"`
		Bytes   int64    `json:"bytes"`
		Missing []string `json:"missing"`
		Damage  []string `json:"damage"`
	}
	if err := json.Unmarshal(out, &report); err != nil {
		return "", 0, fmt.Errorf("report of the restore: %w", err)
	}
	d.claim(len(report.Missing) == 0 && len(report.Damage) == 0, "the restore misses nothing and met no damage",
		"missing %d, damaged %d", len(report.Missing), len(report.Damage))
	return fmt.Sprintf("one command: %d entries replayed from mirror north in %.1f s", report.Entries, took.Seconds()), report.Bytes, nil
}

// compare serves the restored host and looks at it the way users do.
func (d *demo) compare(ctx context.Context) (string, int64, error) {
	if _, err := d.w.holdfast(ctx, "check", "--data", d.w.path("restored")); err != nil {
		return "", 0, err
	}
	if err := d.serve(ctx, "restored"); err != nil {
		return "", 0, err
	}
	after, err := d.snapshot(ctx, "after")
	if err != nil {
		return "", 0, err
	}
	d.compareWith(after)
	refs, objects := after.count()
	return fmt.Sprintf("clones and the policy before and after: %d refs, %d objects, %d users, host key", refs, objects, len(after.users)), 0, nil
}

// takeover makes the restored host the writer, with new mirrors in place of the lost ones and new writer credentials
// everywhere.
func (d *demo) takeover(ctx context.Context) (string, int64, error) {
	if err := d.server.stop(); err != nil {
		return "", 0, err
	}
	d.server = nil
	north := d.mirrors[2]
	if err := north.stop(); err != nil {
		return "", 0, err
	}
	north.daemon, north.writer, north.addr = nil, newKeyPair(), anyPort
	if err := d.w.startMirror(ctx, north); err != nil {
		return "", 0, err
	}
	for i, name := range []string{"east", "west"} {
		m, err := d.w.newMirror(ctx, name, "mirror-"+name+"-2")
		if err != nil {
			return "", 0, err
		}
		d.mirrors[i] = m
	}
	if err := d.w.setMirrors(d.w.path("restored", configName), d.mirrors); err != nil {
		return "", 0, err
	}
	if _, err := d.w.holdfast(ctx, "takeover", "--kit", d.w.path("kit"), "--data", d.w.path("restored")); err != nil {
		return "", 0, err
	}
	copied, err := dirSize(d.mirrors[0].dir)
	if err != nil {
		return "", 0, err
	}
	d.claim(copied >= d.shipped, "a new mirror holds all history after the takeover", "%s, %s before the attack", formatSize(copied), formatSize(d.shipped))
	return "the restored host is the writer again: new credentials, new mirrors east and west filled from north", 2 * copied, nil
}

// workAgain shows that life goes on: a push that three mirrors hold, a clone that has it, and a clean store.
func (d *demo) workAgain(ctx context.Context) (string, int64, error) {
	if err := d.serve(ctx, "restored"); err != nil {
		return "", 0, err
	}
	if _, err := d.bob.git(ctx, "-C", "site-bob", "remote", "set-url", "origin", d.w.url("site")); err != nil {
		return "", 0, err
	}
	if err := d.commit(ctx, d.bob, "site-bob", "after.txt", []byte("we are back\n")); err != nil {
		return "", 0, err
	}
	if _, err := d.bob.git(ctx, "-C", "site-bob", "push", "-q", "origin", "main"); err != nil {
		return "", 0, err
	}
	pushed, err := d.bob.git(ctx, "-C", "site-bob", "rev-parse", "HEAD")
	if err != nil {
		return "", 0, err
	}
	seen, err := d.alice.git(ctx, "ls-remote", d.w.url("site"), "refs/heads/main")
	if err != nil {
		return "", 0, err
	}
	d.claim(bytes.HasPrefix(seen, bytes.TrimSpace(pushed)), "bob pushes and alice sees it", "main is at %.12s", seen)
	if err := d.server.stop(); err != nil {
		return "", 0, err
	}
	d.server = nil
	if _, err := d.w.holdfast(ctx, "check", "--data", d.w.path("restored")); err != nil {
		return "", 0, err
	}
	d.claim(true, "the store is whole", "holdfast check found nothing")
	return "bob pushed, three mirrors acknowledged, alice fetched it; the store was checked", 0, nil
}

// conclude prints the report.
func (d *demo) conclude() error {
	d.report.OK = true
	for _, c := range d.report.Claims {
		d.report.OK = d.report.OK && c.Held
	}
	var err error
	if d.a.json {
		err = d.a.printJSON(d.report)
	} else {
		err = d.printTable()
	}
	if err == nil && !d.report.OK {
		err = errSilent
	}
	return err
}

func (d *demo) printTable() error {
	w := tabwriter.NewWriter(d.a.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\nSTAGE\tSECONDS\tBYTES\t\n")
	for _, s := range d.report.Stages {
		size := ""
		if s.Bytes > 0 {
			size = formatSize(s.Bytes)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t\n", s.Name, strconv.FormatFloat(s.Seconds, 'f', 1, 64), size)
	}
	fmt.Fprintf(w, "all\t%s\t\t\n", strconv.FormatFloat(d.report.Seconds, 'f', 1, 64))
	if err := w.Flush(); err != nil {
		return err
	}
	w = tabwriter.NewWriter(d.a.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nCLAIM\tFOUND\tHELD\n")
	for _, c := range d.report.Claims {
		fmt.Fprintf(w, "%s\t%s\t%s\n", c.Claim, c.Found, yesNo(c.Held))
	}
	for _, v := range d.report.Attempts {
		if !v.Refused {
			fmt.Fprintf(w, "NOT REFUSED: %s: %s\t%s\tNO\n", v.Mirror, v.Attempt, v.Answer)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if d.report.OK {
		d.a.printf("\nEvery claim held: nothing was lost.\n")
	} else {
		d.a.printf("\nNOT every claim held.\n")
	}
	return nil
}

func yesNo(held bool) string {
	if held {
		return "yes"
	}
	return "NO"
}
