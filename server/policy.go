package server

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"holdfast/auth"
	"holdfast/storage"
	"holdfast/storage/object"
	"holdfast/storage/pack"
)

// policyRef is the branch of holdfast-admin that is in force.
const policyRef = "refs/heads/main"

// policyState is the policy in force and where it was read.
type policyState struct {
	policy *auth.Policy
	repo   storage.RepoID // of holdfast-admin
	tip    object.ID
}

// reloadPolicy reads the policy in force from holdfast-admin, whose first entry is the journal's first.
func (s *Server) reloadPolicy() error {
	first, err := s.store.Entries(0, 1)
	if err != nil {
		return err
	}
	if len(first) == 0 {
		return errors.New("this data directory has no journal yet: run `holdfast init` or `holdfast restore`")
	}
	admin, err := s.store.Repo(first[0].Repo)
	if err != nil {
		return fmt.Errorf("open %s: %w", auth.AdminRepo, err)
	}
	ref, err := admin.Ref(policyRef)
	if err != nil {
		return fmt.Errorf("read %s of %s: %w", policyRef, auth.AdminRepo, err)
	}
	fsys, err := storage.TreeFS(admin.ReadObject, ref.ID)
	if err != nil {
		return fmt.Errorf("read %s: %w", auth.AdminRepo, err)
	}
	load := auth.Load
	if now := s.policy.Load(); now != nil {
		load = now.policy.Reload // parses only what changed
	}
	p, err := load(fsys)
	if err != nil {
		return fmt.Errorf("%s at %s: %w", auth.AdminRepo, ref.ID, err)
	}
	s.policy.Store(&policyState{policy: p, repo: admin.ID(), tip: ref.ID})
	return nil
}

// checkPolicy reads what a transaction on holdfast-admin would put in force, nil if that is nothing, and refuses it if it is
// no valid policy or changes what may not be changed. Call it with policyMu held.
func (s *Server) checkPolicy(txn *storage.Txn, updates []storage.RefUpdate, minted ...string) (next *auth.Policy, err error) {
	for _, u := range updates {
		if u.Name != policyRef {
			continue // other branches are drafts: they put nothing in force
		}
		if u.New.IsZero() {
			return nil, fmt.Errorf("%s is the policy of this host: it cannot be deleted", policyRef)
		}
		fsys, err := storage.TreeFS(txn.ReadObject, u.New)
		if err != nil {
			return nil, err
		}
		if next, err = s.policy.Load().policy.Reload(fsys); err != nil {
			return nil, err
		}
		known := func(id string) bool {
			if slices.Contains(minted, id) {
				return true
			}
			_, err := s.store.Repo(storage.RepoID(id))
			return err == nil && id != string(s.policy.Load().repo)
		}
		if err := next.CheckChange(s.policy.Load().policy, known); err != nil {
			return nil, err
		}
	}
	return next, nil
}

// policyFiles returns the files of the policy in force.
func (s *Server) policyFiles() (map[string][]byte, error) {
	st := s.policy.Load()
	admin, err := s.store.Repo(st.repo)
	if err != nil {
		return nil, err
	}
	return treeFiles(admin.ReadObject, st.tip)
}

type readObject func(object.ID) (object.Type, []byte, error)

// treeFiles reads all files of a commit. It is for policies, which auth.Load has bounded.
func treeFiles(read readObject, commit object.ID) (map[string][]byte, error) {
	fsys, err := storage.TreeFS(read, commit)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	err = fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files[name], err = fs.ReadFile(fsys, name)
		return err
	})
	return files, err
}

// commitInfo is what a commit of ours says beside its tree.
type commitInfo struct {
	parent  object.ID // zero for the first
	author  string    // a user's name
	host    string    // the domain of the author's address
	time    time.Time
	message string
}

// packCommit returns the pack of a commit whose tree holds exactly the files, and the commit's id. The pack holds every
// object of it, those that the parent had too: a policy is small.
func packCommit(f object.Format, files map[string][]byte, c commitInfo) (object.ID, []byte, error) {
	var objs []builtObject
	tree := buildTree(f, files, &objs)
	who := fmt.Sprintf("%s <%s@%s> %d +0000", c.author, strings.Trim(c.author, "()"), c.host, c.time.Unix())
	var b bytes.Buffer
	fmt.Fprintf(&b, "tree %s\n", tree)
	if !c.parent.IsZero() {
		fmt.Fprintf(&b, "parent %s\n", c.parent)
	}
	fmt.Fprintf(&b, "author %s\ncommitter %s\n\n%s\n", who, who, c.message)
	id := addObject(f, object.Commit, b.Bytes(), &objs)

	slices.SortFunc(objs, func(a, b builtObject) int { return cmp.Or(int(a.typ)-int(b.typ), a.id.Compare(b.id)) })
	objs = slices.CompactFunc(objs, func(a, b builtObject) bool { return a.id == b.id })
	var out bytes.Buffer
	w := pack.NewWriter(&out, f, uint32(len(objs)))
	for _, o := range objs {
		if err := w.WriteObject(o.typ, o.data); err != nil {
			return id, nil, err
		}
	}
	if err := w.Close(); err != nil {
		return id, nil, err
	}
	return id, out.Bytes(), nil
}

type builtObject struct {
	id   object.ID
	typ  object.Type
	data []byte
}

func addObject(f object.Format, t object.Type, data []byte, objs *[]builtObject) object.ID {
	id := object.HashObject(f, t, data)
	*objs = append(*objs, builtObject{id, t, data})
	return id
}

// buildTree adds the blobs and trees that hold the files and returns the root tree's id.
func buildTree(f object.Format, files map[string][]byte, objs *[]builtObject) object.ID {
	type entry struct {
		mode, name string
		id         object.ID
	}
	var entries []entry
	dirs := map[string]map[string][]byte{}
	for name, data := range files {
		if dir, rest, nested := strings.Cut(path.Clean(name), "/"); nested {
			if dirs[dir] == nil {
				dirs[dir] = map[string][]byte{}
			}
			dirs[dir][rest] = data
		} else {
			entries = append(entries, entry{"100644", name, addObject(f, object.Blob, data, objs)})
		}
	}
	for dir, inside := range dirs {
		entries = append(entries, entry{"40000", dir, buildTree(f, inside, objs)})
	}
	// git sorts a directory as if its name ended in a slash.
	key := func(e entry) string {
		if e.mode == "40000" {
			return e.name + "/"
		}
		return e.name
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(key(a), key(b)) })
	var b []byte
	for _, e := range entries {
		b = append(b, e.mode+" "+e.name+"\x00"...)
		b = e.id.Append(b)
	}
	return addObject(f, object.Tree, b, objs)
}
