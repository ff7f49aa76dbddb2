package auth

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// What edits answer, wrapped in the name that it is about.
var (
	ErrExists  = errors.New("already exists")
	ErrMissing = errors.New("no such thing in the policy")
)

// Edit changes the files of a policy step by step. Each step either succeeds and leaves a valid policy, or returns an
// error and leaves everything as it was. Comments and the order of a file's lines are kept; the same steps on the same
// files give the same bytes. An Edit is not safe for concurrent use.
type Edit struct {
	base, policy *Policy
}

// Edit begins to change p, which itself stays as it is.
func (p *Policy) Edit() *Edit { return &Edit{base: p, policy: p} }

// Policy returns the policy as changed so far.
func (e *Edit) Policy() *Policy { return e.policy }

// Changes returns the files to write, by path; nil stands for a file to remove.
func (e *Edit) Changes() map[string][]byte {
	changes := map[string][]byte{}
	for name, f := range e.policy.files {
		if old := e.base.files[name]; old == nil || old.raw != f.raw {
			changes[name] = []byte(f.raw)
		}
	}
	for name := range e.base.files {
		if e.policy.files[name] == nil {
			changes[name] = nil
		}
	}
	return changes
}

// AddUser adds u. Of its keys only Line counts.
func (e *Edit) AddUser(u User) error {
	if _, ok := e.policy.users[u.Name]; ok {
		return fmt.Errorf("user %s: %w", u.Name, ErrExists)
	}
	doc := newMapping()
	if u.Admin {
		doc.set("admin", scalar("true"))
	}
	keys := newList()
	for _, k := range u.Keys {
		keys.add(text(k.Line))
	}
	doc.set("keys", keys)
	if len(u.Tokens) > 0 {
		tokens := newList()
		for _, t := range u.Tokens {
			tokens.add(tokenNode(t))
		}
		doc.set("tokens", tokens)
	}
	return e.create(kindUser, u.Name, doc)
}

// RemoveUser removes a user, and the name from groups, grants and settings, so that a later user of the same name
// starts with nothing.
func (e *Edit) RemoveUser(name string) error {
	if _, ok := e.policy.users[name]; !ok {
		return missing("user", name)
	}
	step := e.step()
	step.remove(filePath(kindUser, name))
	for path, f := range e.policy.files {
		switch {
		case f.group != nil && slices.Contains(f.group.Members, name):
			step.edit(path, func(doc node) error { doc.get("members").removeText(name); return nil })
		case f.repo != nil && f.repo.Grants[name] != 0:
			step.edit(path, func(doc node) error { doc.get("grants").unset(name); return nil })
		case f.settings != nil && slices.Contains(f.settings.create, name):
			step.edit(path, func(doc node) error { doc.get("create").removeText(name); return nil })
		}
	}
	return step.finish()
}

// AddKey gives a user one more key. Of the key only Line counts.
func (e *Edit) AddKey(user string, k Key) error {
	return e.editUser(user, func(doc node) error {
		doc.list("keys").add(text(k.Line))
		return nil
	})
}

// RemoveKey takes the key with the fingerprint (SHA256:...) from a user.
func (e *Edit) RemoveKey(user, fingerprint string) error {
	return e.editUser(user, func(doc node) error {
		i := slices.IndexFunc(e.policy.users[user].Keys, func(k Key) bool { return k.Fingerprint == fingerprint })
		if i < 0 {
			return missing("key", fingerprint)
		}
		doc.get("keys").removeItem(i)
		return nil
	})
}

// AddPGPKey gives a user one more OpenPGP key. Of the key only Armor counts.
func (e *Edit) AddPGPKey(user string, k PGPKey) error {
	return e.editUser(user, func(doc node) error {
		doc.list("pgp_keys").add(text(k.Armor))
		return nil
	})
}

// RemovePGPKey takes the OpenPGP key with the fingerprint (openpgp:...) from a user.
func (e *Edit) RemovePGPKey(user, fingerprint string) error {
	return e.editUser(user, func(doc node) error {
		i := slices.IndexFunc(e.policy.users[user].PGPKeys, func(k PGPKey) bool { return k.Fingerprint == fingerprint })
		if i < 0 {
			return missing("key", fingerprint)
		}
		doc.get("pgp_keys").removeItem(i)
		return nil
	})
}

// AddToken gives a user one more token; see NewToken and HashToken.
func (e *Edit) AddToken(user string, t Token) error {
	return e.editUser(user, func(doc node) error {
		doc.list("tokens").add(tokenNode(t))
		return nil
	})
}

// RevokeToken takes the token of that name from a user.
func (e *Edit) RevokeToken(user, token string) error {
	return e.editUser(user, func(doc node) error {
		i := slices.IndexFunc(e.policy.users[user].Tokens, func(t Token) bool { return t.Name == token })
		if i < 0 {
			return missing("token", token)
		}
		doc.get("tokens").removeItem(i)
		return nil
	})
}

// CreateRepo adds r, which needs a name, an id and an SCM; Format is sha1 unless set.
func (e *Edit) CreateRepo(r Repo) error {
	if _, ok := e.policy.repos[r.Name]; ok {
		return fmt.Errorf("repository %s: %w", r.Name, ErrExists)
	}
	doc := newMapping()
	doc.set("id", text(r.ID))
	doc.set("kind", text(r.SCM))
	if r.Format != "" {
		doc.set("format", text(r.Format))
	}
	if r.Public {
		doc.set("public", scalar("true"))
	}
	if r.Signed != "" && r.Signed != SignedOptional {
		doc.set("signed_push", text(string(r.Signed)))
	}
	if len(r.Grants) > 0 {
		grants := newMapping()
		for _, who := range slices.Sorted(maps.Keys(r.Grants)) {
			grants.set(who, text(r.Grants[who].String()))
		}
		doc.set("grants", grants)
	}
	return e.create(kindRepo, r.Name, doc)
}

// DeleteRepo removes a repository from the policy. Its contents stay in the store, and its file in the policy's history:
// what UndeleteRepo takes.
func (e *Edit) DeleteRepo(name string) error {
	if _, ok := e.policy.repos[name]; !ok {
		return missing("repository", name)
	}
	step := e.step()
	step.remove(filePath(kindRepo, name))
	step.remove(filePath(kindAuthz, name))
	return step.finish()
}

// UndeleteRepo brings back a repository under name. contents is its file as it was, from the policy's history, and authz its
// authz file, nil if there was none; grants to users and groups that are gone since are left out.
func (e *Edit) UndeleteRepo(name string, contents, authz []byte) error {
	if _, ok := e.policy.repos[name]; ok {
		return fmt.Errorf("repository %s: %w", name, ErrExists)
	}
	root, err := parseYAML(string(contents))
	if err != nil {
		return fmt.Errorf("repository %s: %w", name, err)
	}
	doc := node{root}
	if grants := doc.get("grants"); grants.Node != nil {
		for _, who := range grants.keys() {
			if !e.knows(who) {
				grants.unset(who)
			}
		}
	}
	if authz == nil {
		return e.create(kindRepo, name, doc)
	}
	return e.createWith(kindRepo, name, doc, map[string]string{filePath(kindAuthz, name): string(authz)})
}

func (e *Edit) knows(who string) bool {
	if group, ok := strings.CutPrefix(who, "@"); ok {
		return e.policy.groups[group] != nil
	}
	return who == everybody || e.policy.users[who] != nil
}

// RenameRepo gives a repository another name; its file moves as it is.
func (e *Edit) RenameRepo(from, to string) error {
	if _, ok := e.policy.repos[from]; !ok {
		return missing("repository", from)
	}
	if _, ok := e.policy.repos[to]; ok {
		return fmt.Errorf("repository %s: %w", to, ErrExists)
	}
	if err := ValidName(to); err != nil {
		return err
	}
	path := filePath(kindRepo, from)
	step := e.step()
	step.remove(path)
	step.files[filePath(kindRepo, to)] = e.policy.files[path].raw
	if f := e.policy.files[filePath(kindAuthz, from)]; f != nil {
		step.remove(filePath(kindAuthz, from))
		step.files[filePath(kindAuthz, to)] = f.raw
	}
	return step.finish()
}

// Grant lets who (a user, "@group" or "*") do op (Read, Write or Admin) with a repository, in place of any earlier grant.
func (e *Edit) Grant(repo, who string, op Op) error {
	if op < Read || op > Admin {
		return fmt.Errorf("grant %s: %w", op, errors.New("a grant is read, write or admin"))
	}
	return e.editRepo(repo, func(doc node) error {
		doc.mapping("grants").set(who, text(op.String()))
		return nil
	})
}

// Revoke takes back what was granted to who.
func (e *Edit) Revoke(repo, who string) error {
	return e.editRepo(repo, func(doc node) error {
		if !doc.get("grants").unset(who) {
			return missing("grant to", who)
		}
		return nil
	})
}

// SetAuthz replaces a Subversion repository's authz file; nil removes it.
func (e *Edit) SetAuthz(repo string, contents []byte) error {
	if _, ok := e.policy.repos[repo]; !ok {
		return missing("repository", repo)
	}
	step := e.step()
	if contents == nil {
		step.remove(filePath(kindAuthz, repo))
	} else {
		step.files[filePath(kindAuthz, repo)] = string(contents)
	}
	return step.finish()
}

// Publish lets anybody read a repository without logging in.
func (e *Edit) Publish(repo string) error {
	return e.editRepo(repo, func(doc node) error { doc.set("public", scalar("true")); return nil })
}

// Unpublish is the inverse of Publish.
func (e *Edit) Unpublish(repo string) error {
	return e.editRepo(repo, func(doc node) error { doc.unset("public"); return nil })
}

func missing(what, name string) error { return fmt.Errorf("%s %s: %w", what, name, ErrMissing) }

func (e *Edit) create(kind, name string, doc node) error { return e.createWith(kind, name, doc, nil) }

// createWith creates a file, and others with it.
func (e *Edit) createWith(kind, name string, doc node, others map[string]string) error {
	valid := ValidUser
	if kind == kindRepo {
		valid = ValidName
	}
	if err := valid(name); err != nil {
		return err
	}
	path := filePath(kind, name)
	raw, err := writeYAML(doc.Node)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	step := e.step()
	maps.Copy(step.files, others)
	step.files[path] = raw
	return step.finish()
}

func (e *Edit) editUser(name string, change func(doc node) error) error {
	if _, ok := e.policy.users[name]; !ok {
		return missing("user", name)
	}
	step := e.step()
	step.edit(filePath(kindUser, name), change)
	return step.finish()
}

func (e *Edit) editRepo(name string, change func(doc node) error) error {
	if _, ok := e.policy.repos[name]; !ok {
		return missing("repository", name)
	}
	step := e.step()
	step.edit(filePath(kindRepo, name), change)
	return step.finish()
}

// step gathers the files that one step changes.
type step struct {
	e       *Edit
	files   map[string]string
	removed []string
	err     error
}

func (e *Edit) step() *step { return &step{e: e, files: map[string]string{}} }

func (s *step) remove(path string) { s.removed = append(s.removed, path) }

func (s *step) edit(path string, change func(doc node) error) {
	root, err := parseYAML(s.e.policy.files[path].raw)
	if err == nil {
		err = change(node{root})
	}
	if err == nil {
		s.files[path], err = writeYAML(root)
	}
	s.err = errors.Join(s.err, err)
}

// finish builds the policy with the changed files, and takes it over unless something is wrong with it.
func (s *step) finish() error {
	if s.err != nil {
		return s.err
	}
	base := s.e.policy
	limits := base.limits.withDefaults()
	files := maps.Clone(base.files)
	if files == nil {
		files = map[string]*file{}
	}
	for _, path := range s.removed {
		delete(files, path)
	}
	for path, raw := range s.files {
		if _, _, err := classify(path); err != nil {
			return err
		}
		files[path] = parseFile(path, raw, limits)
	}
	if err := withinLimits(files, limits); err != nil {
		return err
	}
	next, err := build(base.limits, files, nil)
	if err != nil {
		return err
	}
	if base.hasAdmin() && !next.hasAdmin() {
		return ErrLastAdmin
	}
	s.e.policy = next
	return nil
}

func withinLimits(files map[string]*file, limits Limits) error {
	total := 0
	for path, f := range files {
		if total += len(f.raw); len(f.raw) > limits.FileBytes {
			return &PolicyError{File: path, Msg: fmt.Sprintf("the file has more than %d bytes", limits.FileBytes)}
		}
	}
	if len(files) > limits.Files || total > limits.TotalBytes {
		return &PolicyError{Msg: fmt.Sprintf("the policy has more than %d files or %d bytes", limits.Files, limits.TotalBytes)}
	}
	return nil
}
