package auth

import "errors"

// ErrLastAdmin says that a change would leave nobody who can change the policy again.
var ErrLastAdmin = errors.New("no host admin with an SSH key would be left: make somebody else an admin first")

// CheckChange reports why p may not follow old; all problems are joined, as by Load. old may be nil for the first
// policy of a host. A host admin with a key must remain. The id of a repository must be old's or one that known knows:
// the ids that the host has minted, those of deleted repositories included, but never that of AdminRepo. The kind and
// format of an id do not change.
func (p *Policy) CheckChange(old *Policy, known func(id string) bool) error {
	b := &builder{Policy: p}
	if !p.hasAdmin() {
		b.problem(position{file: kindUser}, "%v", ErrLastAdmin)
	}
	before := map[string]*Repo{}
	if old != nil {
		for _, r := range old.repos {
			before[r.ID] = r
		}
	}
	for name, f := range p.files {
		if f.repo == nil {
			continue
		}
		at, was := position{name, f.lines[lineOfID]}, before[f.repo.ID]
		switch {
		case was == nil && !known(f.repo.ID):
			b.problem(at, "the id was not made by this host: make repositories with \"holdfast repo create\"")
		case was != nil && (was.SCM != f.repo.SCM || was.Format != f.repo.Format):
			b.problem(at, "the kind and format of a repository cannot change: it is %s, %s", was.SCM, was.Format)
		}
	}
	if len(b.problems) > 0 {
		return b.err()
	}
	return nil
}
