package auth

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"holdfast/auth/authz"
)

// Limits bounds a policy. A field that is zero stands for its default.
type Limits struct {
	Files      int // 100,000
	FileBytes  int // of one file; 256 KiB
	TotalBytes int // of all files; 64 MiB
	PerUser    int // keys, OpenPGP keys, and tokens, of one user; 100 each
	Members    int // of one group, and who may create repositories; 10,000
	Grants     int // of one repository; 1,000
	Bundles    int // of one repository; 100
	Problems   int // reported by one Load; 50
}

func (l Limits) withDefaults() Limits {
	l.Files = cmp.Or(l.Files, 100_000)
	l.FileBytes = cmp.Or(l.FileBytes, 256<<10)
	l.TotalBytes = cmp.Or(l.TotalBytes, 64<<20)
	l.PerUser = cmp.Or(l.PerUser, 100)
	l.Members = cmp.Or(l.Members, 10_000)
	l.Grants = cmp.Or(l.Grants, 1000)
	l.Bundles = cmp.Or(l.Bundles, 100)
	l.Problems = cmp.Or(l.Problems, 50)
	return l
}

// PolicyError is one thing that is wrong with a policy.
type PolicyError struct {
	File string
	Line int // 0 if it is about the file as a whole
	Msg  string
}

// Error returns "FILE:LINE: MSG".
func (e *PolicyError) Error() string {
	switch {
	case e.File == "":
		return e.Msg
	case e.Line == 0:
		return e.File + ": " + e.Msg
	default:
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg)
	}
}

// Load reads a policy under the default limits. The error of a policy that is at fault joins a *PolicyError for each
// problem, ordered by file and line; any other error is fsys's.
func Load(fsys fs.FS) (*Policy, error) { return Limits{}.Load(fsys) }

// Load is like the function Load, under these limits.
func (l Limits) Load(fsys fs.FS) (*Policy, error) {
	p := &Policy{limits: l}
	return p.Reload(fsys)
}

// Reload loads the policy in fsys under p's limits. Files that are as they were in p are not parsed again, which is
// what makes a change to one of ten thousand repositories cheap. p itself does not change.
func (p *Policy) Reload(fsys fs.FS) (*Policy, error) {
	l := loader{limits: p.limits.withDefaults(), old: p.files, files: map[string]*file{}}
	if err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		return l.visit(fsys, name, d, err)
	}); err != nil && !errors.Is(err, errStop) {
		return nil, fmt.Errorf("read the policy: %w", err)
	}
	return build(p.limits, l.files, l.problems)
}

// errStop ends the walk over a tree that is beyond its limits.
var errStop = errors.New("stop")

type loader struct {
	limits   Limits
	old      map[string]*file
	files    map[string]*file
	seen     int // entries of directories
	total    int // bytes
	problems []*PolicyError
}

func (l *loader) problem(name, format string, args ...any) {
	l.problems = append(l.problems, &PolicyError{File: name, Msg: fmt.Sprintf(format, args...)})
}

// visit looks at one entry of the tree.
func (l *loader) visit(fsys fs.FS, name string, d fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	if name == "." {
		return nil
	}
	if l.seen++; l.seen > l.limits.Files {
		l.problem("", "the policy has more than %d files", l.limits.Files)
		return errStop
	}
	if !strings.Contains(name, "/") && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "README")) {
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	}
	if d.IsDir() {
		return l.visitDir(name)
	}
	if _, _, err := classify(name); err != nil {
		l.problem(name, "%v", err)
		return nil
	}
	if !d.Type().IsRegular() {
		l.problem(name, "this should be a regular file, no link")
		return nil
	}
	return l.read(fsys, name)
}

func (l *loader) visitDir(name string) error {
	top, rest, nested := strings.Cut(name, "/")
	switch {
	case nested && top == kindRepo && len(rest) <= MaxRepoName:
	case nested:
		l.problem(name, "no folder belongs here")
		return fs.SkipDir
	case top != kindUser && top != kindGroup && top != kindRepo:
		l.problem(name, "unknown folder; known are: groups, repos, users")
		return fs.SkipDir
	}
	return nil
}

// read takes up one file.
func (l *loader) read(fsys fs.FS, name string) error {
	raw, err := readFile(fsys, name, l.limits.FileBytes)
	if errors.Is(err, errTooLarge) {
		l.problem(name, "the file has more than %d bytes", l.limits.FileBytes)
		return nil
	}
	if err != nil {
		return err
	}
	if l.total += len(raw); l.total > l.limits.TotalBytes {
		l.problem("", "the policy's files have more than %d bytes together", l.limits.TotalBytes)
		return errStop
	}
	if old := l.old[name]; old != nil && old.raw == raw {
		l.files[name] = old
		return nil
	}
	l.files[name] = parseFile(name, raw, l.limits)
	return nil
}

var errTooLarge = errors.New("file too large")

func readFile(fsys fs.FS, name string, limit int) (string, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	if len(raw) > limit {
		return "", errTooLarge
	}
	return string(raw), nil
}

// The folders of a policy, and its one file outside them.
const (
	kindUser     = "users"
	kindGroup    = "groups"
	kindRepo     = "repos"
	kindAuthz    = "authz" // beside the repositories: repos/NAME.authz
	settingsFile = "settings.yaml"
)

// classify says which folder a file of the policy belongs to, and what it describes.
func classify(name string) (kind, subject string, err error) {
	if name == settingsFile {
		return settingsFile, "", nil
	}
	kind, base, nested := strings.Cut(name, "/")
	subject, isYAML := strings.CutSuffix(base, ".yaml")
	if of, isAuthz := strings.CutSuffix(base, ".authz"); isAuthz && nested && kind == kindRepo {
		return kindAuthz, of, ValidName(of)
	}
	switch {
	case !nested || kind != kindUser && kind != kindGroup && kind != kindRepo:
		return "", "", errors.New("unknown file; the policy has settings.yaml, users/NAME.yaml, groups/NAME.yaml, " +
			"repos/NAME.yaml and repos/NAME.authz")
	case !isYAML:
		return "", "", fmt.Errorf("a file in %s has a name that ends in .yaml", kind)
	case kind == kindRepo:
		err = ValidName(subject)
		top, _, _ := strings.Cut(subject, "/")
		if err == nil && strings.EqualFold(top, AdminRepo) {
			err = fmt.Errorf("%s is reserved for the policy itself, which only host admins may read and write", AdminRepo)
		}
	default:
		err = ValidUser(subject)
	}
	return kind, subject, err
}

func filePath(kind, subject string) string {
	if kind == kindAuthz {
		return path.Join(kindRepo, subject+".authz")
	}
	return path.Join(kind, subject+".yaml")
}

// stem is a file's name without what says how to read it.
func stem(name string) string { return strings.TrimSuffix(strings.TrimSuffix(name, ".yaml"), ".authz") }

// file is one parsed file of a policy. Exactly one of the pointers is set.
type file struct {
	raw      string
	user     *User
	group    *Group
	repo     *Repo
	settings *settings
	authz    *authz.Rules
	lines    map[string]int // of the names that the file mentions, and lineOfID
	problems []*PolicyError
}

// lineOfID stands in file.lines for a repository's id; no name has a colon.
const lineOfID = "id:"

type settings struct{ create []string }

// parseFile parses a file whose name classify accepts.
func parseFile(name, raw string, limits Limits) *file {
	kind, subject, _ := classify(name)
	r := &reader{file: name}
	f := &file{raw: raw, lines: map[string]int{}}
	switch kind {
	case kindUser:
		f.user = r.user(subject, raw, limits)
	case kindGroup:
		f.group = &Group{Name: subject}
		r.document(raw, map[string]field{
			"members": func(n *yaml.Node) { f.group.Members = r.names(n, limits.Members, f.lines, ValidUser) },
		})
	case kindRepo:
		f.repo = r.repo(subject, raw, limits, f.lines)
	case kindAuthz:
		f.authz = r.authz(raw)
	default:
		f.settings = &settings{}
		r.document(raw, map[string]field{
			"create": func(n *yaml.Node) { f.settings.create = r.names(n, limits.Members, f.lines, validGrantee) },
		})
	}
	f.problems = r.problems
	return f
}

func (r *reader) authz(raw string) *authz.Rules {
	rules, err := authz.Parse(strings.NewReader(raw))
	var wrong *authz.Error
	switch {
	case errors.As(err, &wrong):
		r.problem(wrong.Line, "%s", wrong.Msg)
	case err != nil:
		r.problem(0, "%v", err)
	}
	if err != nil {
		rules = new(authz.Rules) // which allow nothing
	}
	return rules
}

func (r *reader) user(name, raw string, limits Limits) *User {
	u := &User{Name: name}
	r.document(raw, map[string]field{
		"admin": func(n *yaml.Node) { u.Admin = r.boolean(n) },
		"keys": func(n *yaml.Node) {
			readKeys(r, n, limits.PerUser, ParseKey, func(k Key, line int) {
				k.line = line
				u.Keys = append(u.Keys, k)
			})
		},
		"pgp_keys": func(n *yaml.Node) {
			readKeys(r, n, limits.PerUser, ParsePGPKey, func(k PGPKey, line int) {
				k.line = line
				u.PGPKeys = append(u.PGPKeys, k)
			})
		},
		"tokens": func(n *yaml.Node) {
			r.list(n, limits.PerUser, func(item *yaml.Node) { u.Tokens = r.token(item, u.Tokens) })
		},
	})
	return u
}

// readKeys reads a list of keys of one kind.
func readKeys[K any](r *reader, n *yaml.Node, limit int, parse func(string) (K, error), add func(k K, line int)) {
	r.list(n, limit, func(item *yaml.Node) {
		value, ok := r.text(item)
		if !ok {
			return
		}
		key, err := parse(value)
		if err != nil {
			r.problem(item.Line, "%v", err)
			return
		}
		add(key, item.Line)
	})
}

// token appends the token that n describes.
func (r *reader) token(n *yaml.Node, tokens []Token) []Token {
	before, t := len(r.problems), Token{line: n.Line}
	r.mapping(n, map[string]field{
		"name":    func(n *yaml.Node) { t.Name, _ = r.text(n) },
		"sha256":  func(n *yaml.Node) { t.SHA256, _ = r.text(n) },
		"created": func(n *yaml.Node) { t.Created = r.time(n) },
		"expires": func(n *yaml.Node) { t.Expires = r.time(n) },
	})
	if len(r.problems) > before {
		return tokens
	}
	if err := t.check(); err != nil {
		r.problem(n.Line, "token: %v", err)
		return tokens
	}
	if slices.ContainsFunc(tokens, func(other Token) bool { return strings.EqualFold(other.Name, t.Name) }) {
		r.problem(n.Line, "there is another token of the name %s", t.Name)
		return tokens
	}
	return append(tokens, t)
}

func (r *reader) repo(name, raw string, limits Limits, lines map[string]int) *Repo {
	repo := &Repo{Name: name, Format: "sha1", Signed: SignedOptional, Grants: map[string]Op{}}
	svnLine := 0
	word := func(n *yaml.Node, to *string, allowed ...string) {
		value, ok := r.text(n)
		if ok && !slices.Contains(allowed, value) {
			r.problem(n.Line, "%q should be %s", value, strings.Join(allowed, " or "))
			return
		}
		*to = value
	}
	r.document(raw, map[string]field{
		"id": func(n *yaml.Node) {
			lines[lineOfID] = n.Line
			if id, ok := r.text(n); ok && !validID(id) {
				r.problem(n.Line, "an id has 32 lower-case hexadecimal digits, as \"holdfast repo create\" makes it")
			} else {
				repo.ID = id
			}
		},
		"kind":   func(n *yaml.Node) { word(n, &repo.SCM, "git", "svn") },
		"format": func(n *yaml.Node) { word(n, &repo.Format, "sha1", "sha256") },
		"public": func(n *yaml.Node) { repo.Public = r.boolean(n) },
		"signed_push": func(n *yaml.Node) {
			word(n, (*string)(&repo.Signed), string(SignedRequired), string(SignedOptional), string(SignedOff))
		},
		"svn": func(n *yaml.Node) {
			svnLine = n.Line
			repo.SVN = r.svnRules(n)
		},
		"bundles": func(n *yaml.Node) {
			r.list(n, limits.Bundles, func(item *yaml.Node) { repo.Bundles = r.bundle(item, repo.Bundles) })
		},
		"grants": func(n *yaml.Node) {
			if !isNull(n) {
				r.pairs(n, limits.Grants, func(who, what *yaml.Node) { r.grant(repo, who, what, lines) })
			}
		},
	})
	if len(r.problems) == 0 && (repo.ID == "" || repo.SCM == "") {
		r.problem(0, "a repository needs an id and a kind: make it with \"holdfast repo create\"")
	}
	if repo.SVN != nil && repo.SCM == "git" {
		r.problem(svnLine, "svn is for Subversion repositories alone")
	}
	return repo
}

func (r *reader) grant(repo *Repo, who, what *yaml.Node, lines map[string]int) {
	if err := validGrantee(who.Value); err != nil {
		r.problem(who.Line, "%v", err)
		return
	}
	word, ok := r.text(what)
	if !ok {
		return
	}
	op, err := ParseGrant(word)
	if err != nil {
		r.problem(what.Line, "%q: %v", word, err)
		return
	}
	if who.Value == everybody && op == Admin {
		r.problem(what.Line, "\"*\" is everybody who is logged in; give them read or write at most")
		return
	}
	repo.Grants[who.Value] = op
	lines[who.Value] = who.Line
}

// names reads a list of names without repetitions.
func (r *reader) names(n *yaml.Node, limit int, lines map[string]int, valid func(string) error) []string {
	var all []string
	r.list(n, limit, func(item *yaml.Node) {
		name, ok := r.text(item)
		if !ok {
			return
		}
		if err := valid(name); err != nil {
			r.problem(item.Line, "%v", err)
			return
		}
		if line, twice := lines[name]; twice {
			r.problem(item.Line, "%s is already in line %d", name, line)
			return
		}
		lines[name] = item.Line
		all = append(all, name)
	})
	return all
}

// validGrantee checks the name of a user, "@" and the name of a group, or "*".
func validGrantee(who string) error {
	if who == everybody {
		return nil
	}
	return ValidUser(strings.TrimPrefix(who, "@"))
}

func validID(id string) bool {
	return len(id) == 32 && strings.Trim(id, "0123456789abcdef") == ""
}
