//go:build judge

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"holdfast/storage"
	"holdfast/storage/object"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// call is one call of "admin".
type call struct {
	host           *host
	verb, name     string
	args           []string
	stdin          *bufio.Reader
	stdout, stderr io.Writer

	fs       *svnfs.FS // of the repository; not for create
	flags    map[string]string
	operands []string
}

// The options that take a value, with the name that flags has them under.
var valued = map[string]string{
	"-r": "revision", "--revision": "revision", "--parent-dir": "parent-dir", "-M": "", "--memory-cache-size": "", "--config-dir": "",
	"--fs-type": "", "--compatible-version": "", "-F": "file", "--file": "file", "--exclude": "exclude", "--include": "include",
	"-t": "transaction", "--transaction": "transaction",
}

func (c *call) parse() {
	c.flags = map[string]string{}
	for i := 0; i < len(c.args); i++ {
		arg := c.args[i]
		name, value, ok := strings.Cut(arg, "=")
		key, takes := valued[name]
		switch {
		case takes && !ok && i+1 < len(c.args):
			i++
			c.flags[key] = c.args[i]
		case takes:
			c.flags[key] = value
		case len(arg) > 1 && arg[0] == '-':
			c.flags[strings.TrimLeft(arg, "-")] = "yes"
		default:
			c.operands = append(c.operands, arg)
		}
	}
	if c.flags["q"] != "" {
		c.flags["quiet"] = "yes"
	}
}

// operand returns an operand, or "".
func (c *call) operand(i int) string {
	if i < len(c.operands) {
		return c.operands[i]
	}
	return ""
}

func (c *call) do(ctx context.Context) error {
	c.parse()
	if c.verb == "create" {
		return c.host.create(c.name, c.operand(0))
	}
	r := c.host.repository(c.name)
	if r == nil {
		return svn.Errorf(svn.ErrReposBadArgs, "Unable to open repository '%s'", c.name)
	}
	fs, release, err := c.host.open.Open(r.repo)
	if err != nil {
		return err
	}
	defer release()
	c.fs = fs
	verb := map[string]func(context.Context) error{
		"load": c.load, "dump": c.dump, "setuuid": c.setUUID, "lstxns": c.listTxns, "setlog": c.setLog, "setrevprop": c.setRevProp,
		"delrevprop": c.delRevProp, "lslocks": c.listLocks, "rmlocks": c.removeLocks, "lock": c.lock, "unlock": c.unlock,
		"verify": c.verify, "info": c.info, "lock-helper": c.lockHelper,
		"svnlook-youngest": c.lookYoungest, "svnlook-uuid": c.lookUUID, "svnlook-changed": c.lookChanged, "svnlook-log": c.lookProp(svn.PropLog),
		"svnlook-author": c.lookProp(svn.PropAuthor), "svnlook-date": c.lookProp(svn.PropDate), "svnlook-cat": c.lookCat,
	}[c.verb]
	if verb == nil {
		return svn.Errorf(svn.ErrUnsupportedFeature, "verb '%s' not supported", c.verb)
	}
	return verb(ctx)
}

// create makes a repository, in the place of one of the same name.
func (h *host) create(name, skeleton string) error {
	repo, err := h.store.Create(storage.NewRepoID(), storage.RepoInit{SCM: storage.Svn, Format: object.SHA1, Head: "refs/heads/trunk"})
	if err != nil {
		return err
	}
	txn, err := svnfs.PrepareCreate(repo, meta("svnadmin"), svnfs.NewUUID())
	if err != nil {
		return err
	}
	defer txn.Discard()
	if _, err := h.store.Commit(txn); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.named[name] = &repository{name: name, skeleton: skeleton, repo: repo}
	return nil
}

func (c *call) setUUID(ctx context.Context) error {
	uuid := c.operand(0)
	if uuid == "" {
		uuid = svnfs.NewUUID()
	}
	_, err := c.fs.SetUUID(ctx, svnfs.Direct, meta("svnadmin"), uuid)
	return err
}

func (c *call) listTxns(context.Context) error {
	for _, name := range c.fs.Txns() {
		fmt.Fprintln(c.stdout, name)
	}
	return nil
}

// revision is that of -r, or the youngest.
func (c *call) revision() (svn.Revnum, error) {
	word, ok := c.flags["revision"]
	if !ok || word == "HEAD" {
		return c.fs.Youngest(), nil
	}
	n, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		return 0, svn.Errorf(svn.ErrRevnumParseFailure, "Invalid revision number found parsing '%s'", word)
	}
	return svn.Revnum(n), nil
}

func (c *call) changeRevProp(ctx context.Context, name string, value *string) error {
	rev, err := c.revision()
	if err != nil {
		return err
	}
	_, err = c.fs.ChangeRevProp(ctx, svnfs.Direct, meta("svnadmin"), rev, name, nil, value)
	return err
}

// changeRevPropTo takes the value from a file.
func (c *call) changeRevPropTo(ctx context.Context, name, file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	value := string(b)
	return c.changeRevProp(ctx, name, &value)
}

func (c *call) setLog(ctx context.Context) error {
	return c.changeRevPropTo(ctx, svn.PropLog, c.operand(0))
}

func (c *call) setRevProp(ctx context.Context) error {
	return c.changeRevPropTo(ctx, c.operand(0), c.operand(1))
}

func (c *call) delRevProp(ctx context.Context) error { return c.changeRevProp(ctx, c.operand(0), nil) }

func (c *call) listLocks(context.Context) error {
	path := c.operand(0)
	if path == "" {
		path = "/"
	}
	locks, err := c.fs.Locks(path, svn.DepthInfinity)
	if err != nil {
		return err
	}
	for _, l := range locks {
		fmt.Fprintf(c.stdout, "Path: %s\nUUID Token: %s\nOwner: %s\nCreated: %s\nExpires: %s\nComment (%d lines):\n%s\n\n",
			l.Path, l.Token, l.Owner, svn.FormatTime(l.Created), expiry(l), strings.Count(deref(l.Comment), "\n")+1, deref(l.Comment))
	}
	return nil
}

func expiry(l svn.Lock) string {
	if l.Expires.IsZero() {
		return ""
	}
	return svn.FormatTime(l.Expires)
}

func (c *call) removeLocks(ctx context.Context) error {
	for _, path := range c.operands {
		l, err := c.fs.Lock(path)
		if err != nil {
			return err
		}
		if l == nil {
			fmt.Fprintf(c.stdout, "Path '%s' isn't locked.\n", path)
			continue
		}
		if err := c.takeOff(ctx, "svnadmin", path, l.Token, true); err != nil {
			return err
		}
		fmt.Fprintf(c.stdout, "Removed lock on '%s'.\n", path)
	}
	return nil
}

// lock takes PATH USER COMMENT-FILE [TOKEN].
func (c *call) lock(ctx context.Context) error {
	comment, err := os.ReadFile(c.operand(2))
	if err != nil {
		return err
	}
	path, owner := c.operand(0), c.operand(1)
	if err := c.putOn(ctx, owner, string(comment), svnfs.LockTarget{Path: path, Token: c.operand(3)}); err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "'%s' locked by user '%s'.\n", path, owner)
	return nil
}

// unlock takes PATH USER TOKEN.
func (c *call) unlock(ctx context.Context) error {
	if err := c.takeOff(ctx, c.operand(1), c.operand(0), c.operand(2), false); err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "'%s' unlocked by user '%s'.\n", c.operand(0), c.operand(1))
	return nil
}

// lockHelper takes PATH USER SECONDS, and makes a lock that ends.
func (c *call) lockHelper(ctx context.Context) error {
	seconds, err := strconv.Atoi(c.operand(2))
	if err != nil {
		return err
	}
	path, err := svn.Canonical(c.operand(0))
	if err != nil {
		return err
	}
	ends := time.Now().Add(time.Duration(seconds) * time.Second)
	return c.putOn(ctx, c.operand(1), "created by lock-helper", svnfs.LockTarget{Path: path, Expires: ends})
}

func (c *call) putOn(ctx context.Context, owner, comment string, t svnfs.LockTarget) error {
	t.Base = svn.InvalidRevnum
	results, _, err := c.fs.SetLocks(ctx, svnfs.Direct, meta(owner), owner, &comment, false, []svnfs.LockTarget{t})
	if err == nil {
		err = results[0].Err
	}
	return err
}

func (c *call) takeOff(ctx context.Context, user, path, token string, breakLock bool) error {
	results, _, err := c.fs.Unlocks(ctx, svnfs.Direct, meta(user), user, breakLock, map[string]string{path: token})
	if err == nil {
		err = results[0].Err
	}
	return err
}

// verify reads every revision.
func (c *call) verify(context.Context) error {
	for rev := svn.Revnum(0); rev <= c.fs.Youngest(); rev++ {
		if _, err := c.fs.Changes(rev); err != nil {
			return err
		}
		if c.flags["quiet"] == "" {
			fmt.Fprintf(c.stderr, "* Verified revision %d.\n", rev)
		}
	}
	return nil
}

func (c *call) info(context.Context) error {
	fmt.Fprintf(c.stdout, "Path: %s\nUUID: %s\nRevisions: %d\n", c.name, c.fs.UUID(), c.fs.Youngest())
	return nil
}
