package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"holdfast/auth"
)

// snapshot is all that users can see of a host.
type snapshot struct {
	refs    map[string]map[string]string // by repository and name: object id
	objects map[string]map[string]string // by repository and object id: type and size
	users   map[string]string            // by name: what `user list` says
	repos   map[string]string            // by name: what `repo list` says, but for clone URLs
	hostKey string
}

// snapshot clones everything as alice, who is an admin.
func (d *demo) snapshot(ctx context.Context, label string) (snapshot, error) {
	s := snapshot{refs: map[string]map[string]string{}, objects: map[string]map[string]string{}}
	var err error
	if s.users, err = d.listing(ctx, "user"); err != nil {
		return s, err
	}
	if s.repos, err = d.listing(ctx, "repo"); err != nil {
		return s, err
	}
	for repo := range s.repos {
		if err := d.snapshotRepo(ctx, label, repo, s); err != nil {
			return s, err
		}
	}
	if err := d.snapshotRepo(ctx, label, auth.AdminRepo, s); err != nil {
		return s, err
	}
	// ssh refused a changed key on each of these connections; this is the key that it pinned on the very first.
	known, err := os.ReadFile(d.w.path("alice.known_hosts"))
	s.hostKey = string(known)
	return s, err
}

// listing returns what a list verb says, by name, without what may rightly change.
func (d *demo) listing(ctx context.Context, noun string) (map[string]string, error) {
	out, err := d.alice.verb(ctx, nil, noun, "list", "--json")
	if err != nil {
		return nil, err
	}
	var items []map[string]any
	if err := json.Unmarshal(out, &items); err != nil {
		return nil, err
	}
	byName := map[string]string{}
	for _, item := range items {
		name, _ := item["name"].(string)
		delete(item, "ssh")
		delete(item, "http")
		text, err := json.Marshal(item)
		if err != nil {
			return nil, err
		}
		byName[name] = string(text)
	}
	return byName, nil
}

func (d *demo) snapshotRepo(ctx context.Context, label, repo string, s snapshot) error {
	out, err := d.alice.git(ctx, "ls-remote", d.w.url(repo))
	if err != nil {
		return err
	}
	s.refs[repo] = map[string]string{}
	for line := range strings.Lines(string(out)) {
		id, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
		s.refs[repo][name] = id
	}
	clone := label + "-" + strings.ReplaceAll(repo, "/", "-") + ".git"
	if _, err := d.alice.git(ctx, "clone", "-q", "--mirror", d.w.url(repo), clone); err != nil {
		return err
	}
	if _, err := d.alice.git(ctx, "-C", clone, "fsck", "--strict", "--no-progress"); err != nil {
		return err
	}
	out, err = d.alice.git(ctx, "-C", clone, "cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype) %(objectsize)")
	if err != nil {
		return err
	}
	s.objects[repo] = map[string]string{}
	for line := range strings.Lines(string(out)) {
		id, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		s.objects[repo][id] = what
	}
	return nil
}

// count returns the numbers of refs and objects.
func (s snapshot) count() (refs, objects int) {
	for repo := range s.refs {
		refs += len(s.refs[repo])
		objects += len(s.objects[repo])
	}
	return refs, objects
}

// compareWith claims that nothing differs from before the attack.
func (d *demo) compareWith(after snapshot) {
	refs, objects := d.before.count()
	refsNow, objectsNow := after.count()
	equal := func(a, b map[string]map[string]string) bool {
		return maps.EqualFunc(a, b, func(x, y map[string]string) bool { return maps.Equal(x, y) })
	}
	d.claim(refs > 0 && equal(d.before.refs, after.refs), "every ref is where it was", "%d before, %d after", refs, refsNow)
	d.claim(objects > 0 && equal(d.before.objects, after.objects), "every object is there", "%d before, %d after", objects, objectsNow)
	d.claim(len(after.users) > 1 && maps.Equal(d.before.users, after.users), "every user has the same keys and tokens",
		"%d before, %d after", len(d.before.users), len(after.users))
	d.claim(len(after.repos) > 2 && maps.Equal(d.before.repos, after.repos), "every repository has the same settings and grants",
		"%d before, %d after", len(d.before.repos), len(after.repos))
	d.claim(after.hostKey != "" && d.before.hostKey == after.hostKey, "the host has the same ssh key", "%s", keyDigest(after.hostKey))
}

// keyDigest shortens a line of known_hosts.
func keyDigest(line string) string {
	sum := sha256.Sum256([]byte(line))
	return "known_hosts " + hex.EncodeToString(sum[:6])
}

// digests maps the files below a directory to hashes of their content.
type digests map[string]string

// within reports whether every file is also in other, unchanged.
func (t digests) within(other digests) bool {
	for name, sum := range t {
		if other[name] != sum {
			return false
		}
	}
	return true
}

func treeDigest(dir string) (digests, error) {
	t := digests{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		hash := sha256.New()
		if _, err := io.Copy(hash, f); err != nil {
			return err
		}
		t[path] = hex.EncodeToString(hash.Sum(nil))
		return nil
	})
	return t, err
}
