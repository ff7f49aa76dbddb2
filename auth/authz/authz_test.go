package authz_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"holdfast/auth/authz"
)

func parse(t *testing.T, text string) *authz.Rules {
	t.Helper()
	r, err := authz.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const example = `
[aliases]
boss = harriet
[groups]
devs = harry, sally, @leads
leads = &boss
empty =

[/]
* = r
[/secret]
* =
@devs = rw
[/secret/deep]
~@leads = r
[greek:/secret]
$anonymous = r
&boss =
[:glob:/**/*.key]
* =
@leads = rw
[:glob:greek:/a*/?x/**/end]
harry = rw
[:glob:/docs/*-old]
$authenticated =
`

func TestAllows(t *testing.T) {
	r := parse(t, example)
	for _, row := range []struct {
		repo, user, path string
		op               authz.Op
		want             bool
	}{
		{"x", "", "/", authz.Read, true},
		{"x", "", "/", authz.Write, false},
		{"x", "", "/", authz.ReadTree, false},
		{"x", "harry", "/secret", authz.Write, true},
		{"x", "harry", "/secret/file", authz.Write, true},
		{"x", "harry", "/secret/deep", authz.Read, true},
		{"x", "harry", "/secret/deep", authz.Write, false},
		{"x", "harry", "/secret", authz.WriteTree, false},
		{"x", "harriet", "/secret/deep", authz.Write, true},
		{"x", "stranger", "/secret", authz.Read, false},
		{"x", "stranger", "/secret/deep", authz.Read, true},
		{"x", "stranger", "/secrets", authz.Read, true},
		{"greek", "", "/secret", authz.Read, true},
		{"greek", "harriet", "/secret", authz.Read, false},
		{"greek", "sally", "/secret", authz.Write, true},
		{"x", "", "/a.key", authz.Read, false},
		{"x", "harriet", "/a/b/c.key", authz.Write, true},
		{"greek", "harry", "/abc/1x/end", authz.Write, true},
		{"greek", "harry", "/abc/1x/y/z/end/more", authz.Write, true},
		{"greek", "harry", "/abc/11x/end", authz.Write, false},
		{"x", "harry", "/abc/1x/end", authz.Write, false},
		{"x", "harry", "/docs/a-old", authz.Read, false},
		{"x", "", "/docs/a-old", authz.Read, true},
	} {
		if got := r.Allows(row.repo, row.user, row.path, row.op); got != row.want {
			t.Errorf("%+v: %v", row, got)
		}
	}
	if w := r.Warnings(); len(w) != 0 {
		t.Errorf("warnings %q", w)
	}
}

func TestAllowsSomewhere(t *testing.T) {
	r := parse(t, "[/]\n* = r\n[one:/deep]\njoe = rw\n")
	for _, row := range []struct {
		repo, user string
		want       bool
	}{{"one", "joe", true}, {"two", "joe", false}, {"one", "", false}} {
		if got := r.View(row.repo, row.user).AllowsSomewhere(authz.Write); got != row.want {
			t.Errorf("%+v: %v", row, got)
		}
	}
	if parse(t, "").View("one", "joe").AllowsSomewhere(authz.Read) {
		t.Error("an empty file allows something")
	}
}

func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		"x = r\n":                               "line 1: Section header expected",
		"[/]\n\n [groups]\n":                    "line 3: Section header must start in the first column",
		"[/\n":                                  "line 1: Section header must end with ']'",
		"[/]\n # no\n":                          "line 2: Comment must start in the first column",
		"[/]\n  a = r\n":                        "line 2: Option expected",
		"[/]\na\n":                              "line 2: Option must end with ':' or '='",
		"[/]\n= r\n":                            "line 2: Option has no name",
		"[/]\na = r\x00\n":                      "line 2: The line has a NUL character",
		"[/]\na = r\n[/]\n":                     "line 3: Section appears more than once in the authz file: [/]",
		"[:glob:/a]\n[/a]\n":                    "line 2: Section [/a] describes the same rule as section [:glob:/a]",
		"[:glob:/**/*]\n[:glob:/*/**]\n":        "line 2: Section [:glob:/*/**] describes the same rule as section [:glob:/**/*]",
		"[nothing]\n":                           "line 1: Section is not valid in the authz file: [nothing]",
		"[:/a]\n":                               "line 1: Empty repository name in authz rule [:/a]",
		"[:regex:/a]\n":                         "line 1: Invalid type token 'regex' in authz rule [:regex:/a]",
		"[/a/]\n":                               "line 1: Non-canonical path '/a/' in authz rule [/a/]",
		"[/a/../b]\n":                           "line 1: Non-canonical path '/a/../b' in authz rule [/a/../b]",
		"[/]\na = rx\n":                         "line 2: The access mode 'x' in access entry 'a' of rule [/] is not valid",
		"[/]\na = w\n":                          "line 2: Write-only access entry 'a' of rule [/] is not valid",
		"[/]\n~~a = r\n":                        "line 2: Access entry '~~a' has more than one inversion; double negatives are not permitted",
		"[/]\n** = r\n":                         "line 2: Access entry '**' is not valid; it must be a single '*'",
		"[/]\n~* = r\n":                         "line 2: Access entry '~*' will never match",
		"[/]\n$all = r\n":                       "line 2: Access entry token '$all' is not valid; should be '$anonymous' or '$authenticated'",
		"[/]\n@a = r\n":                         "line 2: Access entry refers to undefined group '@a'",
		"[/]\n&a = r\n":                         "line 2: Alias '&a' was never defined",
		"[groups]\na = @b\nb = &c\n[aliases]\n": "line 3: Alias '&c' was never defined",
		"[groups]\na = @b\n":                    "line 2: Undefined group '@b'",
		"[groups]\na = @a\n":                    "line 2: Recursive definition of group '@a'",
		"[groups]\na = @b\nb = @c\nc = x, @b\n": "line 3: Recursive definition of group '@b'",
		"[groups]\na = x\na = y\n":              "line 3: Can't override definition of group '@a'",
		"[groups]\n@a = x\n":                    "line 2: Group name '@a' may not begin with '@'",
		"[aliases]\n&a = x\n":                   "line 2: Alias name '&a' may not begin with '&'",
		"[aliases]\na = x\na = y\n":             "line 3: Can't override definition of alias '&a'",
		strings.Repeat("#", authz.MaxBytes) + "#": fmt.Sprintf("The file has more than %d bytes", authz.MaxBytes),
		"[/" + strings.Repeat("a/", authz.MaxSegments) + "a]": fmt.Sprintf("line 1: The path of authz rule [/%sa] has more than %d segments",
			strings.Repeat("a/", authz.MaxSegments), authz.MaxSegments),
	} {
		_, err := authz.Parse(strings.NewReader(text))
		var e *authz.Error
		if !errors.As(err, &e) || err.Error() != want {
			t.Errorf("%.60q: %v, not %q", text, err, want)
		}
	}
}

func TestGlobalGroups(t *testing.T) {
	groups := "[groups]\ndevs = joe\n"
	r, err := authz.ParseWithGroups(strings.NewReader("[/]\n@devs = rw\n"), strings.NewReader(groups))
	if err != nil || !r.Allows("x", "joe", "/", authz.WriteTree) || r.Allows("x", "ann", "/", authz.Read) {
		t.Errorf("global groups: %v", err)
	}
	for want, files := range map[string][2]string{
		"Authz file cannot contain any groups when global groups are being used.": {"[groups]\na = b\n", groups},
		"line 1: Section is not valid in the global group file: [/]":              {"", "[/]\n* = r\n"},
		"line 2: Global group name '&a' may not begin with '&'":                   {"", "[groups]\n&a = b\n"},
	} {
		if _, err := authz.ParseWithGroups(strings.NewReader(files[0]), strings.NewReader(files[1])); err == nil || err.Error() != want {
			t.Errorf("%v, not %q", err, want)
		}
	}
}

func TestWarnings(t *testing.T) {
	r := parse(t, "[groups]\nnobody =\n[/]\n* = r\n~@nobody = rw\n")
	if w := r.Warnings(); len(w) != 1 || w[0] != "line 5: Ignoring access entry for empty group '@nobody'" {
		t.Errorf("warnings %q", w)
	}
	if r.Allows("x", "joe", "/", authz.Write) {
		t.Error("an ignored entry allows something")
	}
}

// A walk must not take the rules that match in many ways more than once.
func TestManyWildcards(t *testing.T) {
	r := parse(t, "[/]\n* = r\n[:glob:/"+strings.Repeat("**/a/", 20)+"b]\n* = rw\n")
	path := strings.Repeat("/a", 4000)
	if r.Allows("x", "", path+"/c", authz.Write) || !r.Allows("x", "", path+"/b", authz.Write) {
		t.Error("wrong answer")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(example, "/a/b.key")
	f.Add("[:glob:/a\\*?*b*/**/x]\r\n* : r\r\n w", "/")
	f.Fuzz(func(t *testing.T, text, path string) {
		r, err := authz.Parse(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, user := range []string{"", "harry"} {
			v := r.View("greek", user)
			if v.Allows(path, authz.WriteTree) && !v.Allows(path, authz.Write) || v.Allows(path, authz.Write) && !v.Allows(path, authz.Read) {
				t.Error("more rights where fewer are needed")
			}
		}
	})
}

func BenchmarkAllows(b *testing.B) {
	var text strings.Builder
	text.WriteString("[/]\n* = r\n[:glob:/**/*.key]\n* =\n")
	for i := range 10000 {
		fmt.Fprintf(&text, "[/projects/p%d/secret]\njoe = rw\n* = \n", i)
	}
	r, err := authz.Parse(strings.NewReader(text.String()))
	if err != nil {
		b.Fatal(err)
	}
	v := r.View("x", "joe")
	for b.Loop() {
		if !v.Allows("/projects/p77/secret/a/b/c/d", authz.Write) {
			b.Fatal("no")
		}
	}
}
