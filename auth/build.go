package auth

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"holdfast/auth/authz"
)

// position is where in a policy something stands.
type position struct {
	file string
	line int
}

func (at position) String() string {
	if at.line == 0 {
		return at.file
	}
	return fmt.Sprintf("%s:%d", at.file, at.line)
}

// builder puts parsed files together and finds what is wrong between them.
type builder struct {
	*Policy
	problems []*PolicyError
}

// build makes the policy of the files, or the error that joins their problems and those given.
func build(limits Limits, files map[string]*file, problems []*PolicyError) (*Policy, error) {
	b := &builder{
		Policy: &Policy{
			limits: limits, files: files,
			users: map[string]*User{}, groups: map[string]*Group{}, repos: map[string]*Repo{}, create: map[string]bool{},
			authz: map[string]*authz.Rules{},
			keys:  map[string]credential{}, prints: map[string]credential{}, pgp: map[string]credential{},
			tokens:   map[string]credential{},
			memberOf: map[string][]string{},
		},
		problems: problems,
	}
	names := slices.Sorted(maps.Keys(files)) // so that of two files at odds, it is always the same one that is to blame
	for _, name := range names {
		b.collect(files[name])
	}
	b.twins(names)
	ids := map[string]string{}
	for _, name := range names {
		f := files[name]
		switch {
		case f.user != nil:
			b.credentials(name, f.user)
		case f.group != nil:
			b.members(name, f)
		case f.repo != nil:
			b.grantees(name, f, maps.Keys(f.repo.Grants))
			if other, twice := ids[f.repo.ID]; twice && f.repo.ID != "" {
				b.problem(position{name, f.lines[lineOfID]}, "the id is that of %s: every repository has its own", other)
			}
			ids[f.repo.ID] = name
		case f.authz != nil:
			b.authorised(name)
		case f.settings != nil:
			b.grantees(name, f, slices.Values(f.settings.create))
		}
	}
	if len(b.problems) > 0 {
		return nil, b.err()
	}
	return b.Policy, nil
}

func (b *builder) problem(at position, format string, args ...any) {
	b.problems = append(b.problems, &PolicyError{File: at.file, Line: at.line, Msg: fmt.Sprintf(format, args...)})
}

// err joins the problems, the first Limits.Problems of them.
func (b *builder) err() error { return joinProblems(b.problems, b.limits.withDefaults().Problems) }

func joinProblems(problems []*PolicyError, limit int) error {
	slices.SortStableFunc(problems, func(x, y *PolicyError) int {
		return cmp.Or(cmp.Compare(x.File, y.File), cmp.Compare(x.Line, y.Line))
	})
	errs := make([]error, 0, min(len(problems), limit+1))
	for i, p := range problems {
		if i == limit {
			errs = append(errs, &PolicyError{Msg: fmt.Sprintf("and %d more problems", len(problems)-limit)})
			break
		}
		errs = append(errs, p)
	}
	return errors.Join(errs...)
}

func (b *builder) collect(f *file) {
	b.problems = append(b.problems, f.problems...)
	switch {
	case f.user != nil:
		b.users[f.user.Name] = f.user
	case f.group != nil:
		b.groups[f.group.Name] = f.group
	case f.repo != nil:
		b.repos[f.repo.Name] = f.repo
	case f.settings != nil:
		for _, who := range f.settings.create {
			b.create[who] = true
		}
	}
}

// twins refuses names that differ only in case, folders included, and a repository inside another one. Each would be
// one thing to a person, or to a file system, and two to the policy.
func (b *builder) twins(names []string) {
	spelled := map[string]string{} // lower case to the first spelling, of files without .yaml or .authz, and of their folders
	repos := map[string]bool{}     // lower case
	for _, name := range names {
		stem := stem(name)
		for _, part := range append(parents(stem), stem) {
			lower := strings.ToLower(part)
			if first, ok := spelled[lower]; ok && first != part {
				b.problem(position{file: name}, "differs from %s only in case", first)
				break
			}
			spelled[lower] = part
		}
		if b.files[name].repo != nil {
			repos[strings.ToLower(stem)] = true
		}
	}
	for _, name := range names {
		stem := stem(name)
		for _, folder := range parents(stem) {
			if b.files[folder] != nil {
				b.problem(position{file: name}, "%s is a file, so there can be none below it", folder)
			}
			if repos[strings.ToLower(folder)] {
				b.problem(position{file: name}, "%s is a repository itself, so there can be none below it", folder)
			}
		}
	}
}

// parents returns the folders that a name is in, outermost first.
func parents(name string) []string {
	var all []string
	for i := range len(name) {
		if name[i] == '/' {
			all = append(all, name[:i])
		}
	}
	return all
}

// credentials indexes a user's keys and tokens, each of which has one owner.
func (b *builder) credentials(name string, u *User) {
	for _, k := range u.Keys {
		at := position{name, k.line}
		if other, twice := b.keys[k.blob]; twice {
			b.problem(at, "the key %s is also in %s: it must belong to one user, once", k.Fingerprint, other.at)
			continue
		}
		c := credential{user: u.Name, name: k.Fingerprint, at: at}
		b.keys[k.blob], b.prints[k.Fingerprint] = c, c
	}
	for _, k := range u.PGPKeys {
		at := position{name, k.line}
		if other, twice := b.pgp[k.Fingerprint]; twice {
			b.problem(at, "the key %s is also in %s: it must belong to one user, once", k.Fingerprint, other.at)
			continue
		}
		b.pgp[k.Fingerprint] = credential{user: u.Name, name: k.Fingerprint, at: at}
	}
	for _, t := range u.Tokens {
		at := position{name, t.line}
		if other, twice := b.tokens[t.SHA256]; twice {
			b.problem(at, "the token %s is also in %s: it must belong to one user, once", t.Name, other.at)
			continue
		}
		b.tokens[t.SHA256] = credential{user: u.Name, name: tokenKey + t.Name, expires: t.Expires, at: at}
	}
}

// authorised checks that an authz file has a repository that it is about.
func (b *builder) authorised(name string) {
	_, repo, _ := classify(name)
	b.authz[repo] = b.files[name].authz
	switch r := b.repos[repo]; {
	case r == nil:
		b.problem(position{file: name}, "there is no repository %s", repo)
	case r.SCM != "svn":
		b.problem(position{file: name}, "%s is a git repository: rights on single paths are for Subversion repositories", repo)
	}
}

func (b *builder) members(name string, f *file) {
	for _, member := range f.group.Members {
		if b.users[member] == nil {
			b.problem(position{name, f.lines[member]}, "there is no user %s", member)
			continue
		}
		b.memberOf[member] = append(b.memberOf[member], "@"+f.group.Name)
	}
}

// grantees checks that users and groups exist.
func (b *builder) grantees(name string, f *file, all func(func(string) bool)) {
	for who := range all {
		group, isGroup := strings.CutPrefix(who, "@")
		switch {
		case who == everybody:
		case isGroup && b.groups[group] == nil:
			b.problem(position{name, f.lines[who]}, "there is no group %s", group)
		case !isGroup && b.users[who] == nil:
			b.problem(position{name, f.lines[who]}, "there is no user %s", who)
		}
	}
}
