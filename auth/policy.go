package auth

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"holdfast/auth/authz"
	"holdfast/auth/svnrules"
)

// What Allow answers when it does not allow.
var (
	// ErrNotFound is also the answer for a repository that exists but that the identity may not read.
	ErrNotFound = errors.New("no such repository, or you may not see it")
	// ErrDenied is the answer to somebody who may read the repository, but not do what was asked.
	ErrDenied = errors.New("permission denied")
)

// Identity is who asks: a user, and how they proved it. The zero Identity is anonymous.
type Identity struct {
	Name string // of the user; "" is anonymous
	// Key is the SHA256:... fingerprint of an SSH key, or "token:" and the name of a token. Policy.Allow takes an
	// identity whose key or token is gone from the policy for anonymous. "" is for a user who is known by other means.
	Key string
}

// Op is something that Allow decides about. Read, Write and Admin are also what grants give.
type Op uint8

// The operations. Each of the first three includes those before it.
const (
	Read      Op = iota + 1 // fetch from a repository, know that it exists
	Write                   // push to it
	Admin                   // change its settings and grants, rename and delete it
	Create                  // create a repository
	HostAdmin               // run the host: users, groups, mirrors, rewinds
)

var opNames = [...]string{Read: "read", Write: "write", Admin: "admin", Create: "create", HostAdmin: "host admin"}

// String returns the operation's name; for Read, Write and Admin it is the word in a grant.
func (op Op) String() string {
	if op == 0 || int(op) >= len(opNames) {
		return "nothing"
	}
	return opNames[op]
}

// ParseGrant reads the word of a grant: read, write or admin.
func ParseGrant(word string) (Op, error) {
	for op := Read; op <= Admin; op++ {
		if word == opNames[op] {
			return op, nil
		}
	}
	return 0, errors.New("a grant is read, write or admin")
}

// User is one user.
type User struct {
	Name  string
	Admin bool // a host admin
	Keys  []Key
	// PGPKeys are what the user may sign pushes with, besides Keys. They let nobody in.
	PGPKeys []PGPKey
	Tokens  []Token
}

// Group is a named set of users.
type Group struct {
	Name    string // without the @
	Members []string
}

// Repo is a repository as the policy describes it.
type Repo struct {
	Name   string
	ID     string // 32 lower-case hexadecimal digits
	SCM    string // git or svn
	Format string // sha1 or sha256
	Public bool
	Signed SignedPush
	// Bundles are what clones can begin with, in the order of the file; not to be changed.
	Bundles []Bundle
	Grants  map[string]Op // by user, "@group" or "*"; not to be changed
	// SVN are the rules for commits to a Subversion repository, nil for none; not to be changed.
	SVN *svnrules.Rules
}

// SignedPush says what a repository makes of push certificates. A certificate that is accepted must be good in any case.
type SignedPush string

// The values of SignedPush. Load sets one of them.
const (
	SignedOptional SignedPush = "optional" // who wants to sign may
	SignedRequired SignedPush = "required" // a push without a certificate is refused
	SignedOff      SignedPush = "off"      // certificates are not offered
)

// Policy is a policy without errors. It never changes, and is safe for concurrent use. The zero Policy knows no user
// and no repository, and allows nothing.
type Policy struct {
	limits Limits
	files  map[string]*file // by path

	users  map[string]*User
	groups map[string]*Group
	repos  map[string]*Repo
	authz  map[string]*authz.Rules // by repository
	create map[string]bool         // users, "@group"s, "*"

	keys     map[string]credential // by wire encoding
	prints   map[string]credential // by fingerprint
	pgp      map[string]credential // OpenPGP keys, by fingerprint: they are nobody's way in
	tokens   map[string]credential // by hash
	memberOf map[string][]string   // user to "@group"s
}

// credential is a key or a token, and whose it is.
type credential struct {
	user    string
	name    string // as in Identity.Key
	expires time.Time
	at      position
}

// Allow returns nil if id may do op, else ErrDenied or ErrNotFound. repo is the exact name of the repository that Read,
// Write or Admin is about; the other operations ignore it. An identity that the policy no longer knows, or whose key or
// token it no longer knows, counts as anonymous.
func (p *Policy) Allow(id Identity, repo string, op Op) error {
	user := p.user(id)
	allowed := false
	switch op {
	case Read, Write, Admin:
		have := p.access(user, repo)
		if have < Read {
			return ErrNotFound
		}
		allowed = have >= op
	case Create:
		allowed = user != nil && (user.Admin || p.mayCreate(user))
	case HostAdmin:
		allowed = user != nil && user.Admin
	}
	if !allowed {
		return ErrDenied
	}
	return nil
}

// Access returns the most that id may do with repo: Admin, Write, Read, or 0 for nothing.
func (p *Policy) Access(id Identity, repo string) Op { return p.access(p.user(id), repo) }

// Known reports whether id is a user of the policy, with a key or token that is still theirs.
func (p *Policy) Known(id Identity) bool { return p.user(id) != nil }

// user returns the user behind an identity, nil for anonymous.
func (p *Policy) user(id Identity) *User {
	u := p.users[id.Name]
	if u == nil || id.Key == "" {
		return u
	}
	if c, ok := p.prints[id.Key]; ok && c.user == u.Name {
		return u
	}
	if name, ok := strings.CutPrefix(id.Key, tokenKey); ok {
		if slices.ContainsFunc(u.Tokens, func(t Token) bool { return t.Name == name }) {
			return u
		}
	}
	return nil
}

func (p *Policy) access(u *User, repo string) Op {
	if repo == AdminRepo {
		if u != nil && u.Admin {
			return Admin
		}
		return 0
	}
	r := p.repos[repo]
	if r == nil {
		return 0
	}
	var most Op
	if r.Public {
		most = Read
	}
	if u == nil {
		return most
	}
	if u.Admin {
		return Admin
	}
	most = max(most, r.Grants[everybody], r.Grants[u.Name])
	for _, group := range p.memberOf[u.Name] {
		most = max(most, r.Grants[group])
	}
	return most
}

func (p *Policy) mayCreate(u *User) bool {
	return p.create[everybody] || p.create[u.Name] ||
		slices.ContainsFunc(p.memberOf[u.Name], func(group string) bool { return p.create[group] })
}

// everybody in a grant stands for all who are logged in; tokenKey begins an Identity.Key that is a token's name.
const (
	everybody = "*"
	tokenKey  = "token:"
)

// ByKey returns whose key it is. The caller must have seen proof that the private key is held. Certificates are nobody's.
func (p *Policy) ByKey(key ssh.PublicKey) (Identity, bool) {
	if key == nil {
		return Identity{}, false
	}
	c, ok := p.keys[string(key.Marshal())]
	return Identity{Name: c.user, Key: c.name}, ok
}

// ByFingerprint returns whose key has the fingerprint (SHA256:...).
func (p *Policy) ByFingerprint(fingerprint string) (Identity, bool) {
	c, ok := p.prints[fingerprint]
	return Identity{Name: c.user, Key: c.name}, ok
}

// ByToken returns whose token secret is, unless it has expired at now. What is looked up is the secret's hash, so the
// time that the look-up takes says nothing about stored tokens.
func (p *Policy) ByToken(now time.Time, secret string) (Identity, bool) {
	if !strings.HasPrefix(secret, TokenPrefix) || len(secret) != len(TokenPrefix)+tokenDigits {
		return Identity{}, false
	}
	c, ok := p.tokens[HashToken(secret)]
	if !ok || (!c.expires.IsZero() && !now.Before(c.expires)) {
		return Identity{}, false
	}
	return Identity{Name: c.user, Key: c.name}, true
}

// Repo returns the repository of that exact name. AdminRepo is not in the policy.
func (p *Policy) Repo(name string) (Repo, bool) { return get(p.repos, name) }

// Authz returns what a Subversion repository's repos/NAME.authz says of its paths, nil if there is none. Grants count besides:
// what either does not allow is not allowed.
func (p *Policy) Authz(name string) *authz.Rules { return p.authz[name] }

// User returns the user of that exact name.
func (p *Policy) User(name string) (User, bool) { return get(p.users, name) }

// Group returns the group of that exact name, which is without the @.
func (p *Policy) Group(name string) (Group, bool) { return get(p.groups, name) }

// Repos returns all repositories, by name.
func (p *Policy) Repos() []Repo { return sorted(p.repos) }

// Users returns all users, by name.
func (p *Policy) Users() []User { return sorted(p.users) }

// Groups returns all groups, by name.
func (p *Policy) Groups() []Group { return sorted(p.groups) }

// Creators returns who may create repositories besides host admins: users, "@group"s or "*", sorted.
func (p *Policy) Creators() []string { return slices.Sorted(maps.Keys(p.create)) }

// hasAdmin reports whether a host admin exists who can log in.
func (p *Policy) hasAdmin() bool {
	for _, u := range p.users {
		if u.Admin && len(u.Keys) > 0 {
			return true
		}
	}
	return false
}

func get[T any](m map[string]*T, name string) (T, bool) {
	if v, ok := m[name]; ok {
		return *v, true
	}
	var zero T
	return zero, false
}

func sorted[T any](m map[string]*T) []T {
	all := make([]T, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		all = append(all, *m[name])
	}
	return all
}
