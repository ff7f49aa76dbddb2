package auth_test

import (
	"fmt"
	"strings"
	"testing"

	"holdfast/auth"
	"holdfast/auth/svnrules"
)

const allRules = `svn:
  log: {required: true, min_length: 10, pattern: '^\w', hint: "Say why."}
  issue: '[A-Z]+-[0-9]+'
  no_case_clashes: true
  forbidden_paths: ["*.exe"]
  forbidden_types: ["video/*"]
  max_file_bytes: 1000
  required_props:
    - {paths: ["*.c"], name: "svn:eol-style", values: [native, LF]}
  revprops:
    "svn:log": ["$author", "@devs"]
    "svn:sync-*": [root]
`

func TestSVNRules(t *testing.T) {
	fsys := company(t)
	put(fsys, "repos/team/old/svn.yaml", "id: "+id(3)+"\nkind: svn\n"+allRules)
	repo, _ := load(t, fsys).Repo("team/old/svn")
	r := repo.SVN
	if !r.Log.Required || r.Log.MinLength != 10 || r.Log.Pattern == nil || r.Log.Hint != "Say why." || r.Issue == nil || !r.NoCaseClashes ||
		len(r.ForbiddenPaths) != 1 || len(r.ForbiddenTypes) != 1 || r.MaxFileBytes != 1000 || len(r.RequiredProps) != 1 || len(r.RevProps) != 2 {
		t.Errorf("%+v", r)
	}
	if err := r.CheckRevProp(svnrules.RevPropChange{Name: "svn:sync-lock", User: "root"}); err != nil {
		t.Error(err)
	}
	if repo, _ := load(t, fsys).Repo("site"); repo.SVN != nil {
		t.Error("a repository without rules has some")
	}
}

func TestSVNRuleProblems(t *testing.T) {
	const head = "id: 00000000000000000000000000000003\nkind: svn\n"
	for _, row := range []struct{ text, want string }{
		{head + "svn: {logs: 1}\n", "3: unknown key \"logs\""},
		{head + "svn: {issue: '('}\n", "3: not a regular expression: "},
		{head + "svn: {issue: ''}\n", "3: a regular expression has 1 to 1000 bytes"},
		{head + "svn: {max_file_bytes: -1}\n", "3: \"-1\" should be a positive number"},
		{head + "svn: {forbidden_paths: ['a//b']}\n", "3: \"a//b\" is no pattern of paths"},
		{head + "svn: {forbidden_types: [exe]}\n", "3: \"exe\" is no media type"},
		{head + "svn:\n  required_props:\n    - {name: x}\n", "5: a required property needs paths and a name"},
		{head + "svn:\n  revprops:\n    'svn:log': ['$all']\n", "5: "},
		{strings.Replace(head, "svn", "git", 1) + "svn: {no_case_clashes: true}\n", "3: svn is for Subversion repositories alone"},
	} {
		fsys := company(t)
		put(fsys, "repos/team/old/svn.yaml", row.text)
		if _, err := auth.Load(fsys); !strings.Contains(fmt.Sprint(err), "repos/team/old/svn.yaml:"+row.want) {
			t.Errorf("%q: %v", row.want, err)
		}
	}
}

func TestInGroup(t *testing.T) {
	p := load(t, company(t))
	for who, want := range map[[2]string]bool{{"alice", "devs"}: true, {"alice", "ops"}: false, {"carol", "devs"}: false, {"", "devs"}: false} {
		if got := p.InGroup(who[0], who[1]); got != want {
			t.Errorf("%q: %v", who, got)
		}
	}
}
