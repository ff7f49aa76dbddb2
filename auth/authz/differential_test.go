package authz_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/auth/authz"
)

// maker makes random files. Few words make rules meet.
type maker struct{ *rand.Rand }

func (m maker) pick(words ...string) string { return words[m.IntN(len(words))] }

func (m maker) word() string { return m.pick("a", "b", "ab", "ba", "abc", "x") }

func (m maker) path(segment func() string) string {
	var b strings.Builder
	for range m.IntN(5) {
		b.WriteString("/" + segment())
	}
	if b.Len() == 0 {
		return "/"
	}
	return b.String()
}

func (m maker) glob() string {
	if m.IntN(3) > 0 {
		return m.word()
	}
	return m.pick("*", "**", "**", "a*", "*b", "*a*", "?", "a?c", "?b*", `\a`, `a\*`, "*", "a**", `x\`, "*?")
}

func (m maker) entry() string {
	who := m.pick("*", "joe", "ann", "@g", "@h", "&al", "$authenticated", "$anonymous", "~joe", "~@h", "~&al", "~$anonymous")
	return who + m.pick(" = ", ":", "=") + m.pick("", "r", "rw", "rw")
}

func (m maker) file() string {
	var b strings.Builder
	b.WriteString("[groups]\ng = joe, @h\nh = &al,\n  kim\n[aliases]\nal = ann\n")
	seen := map[string]bool{}
	for range 1 + m.IntN(9) {
		section := m.path(m.word)
		if m.IntN(3) == 0 {
			section = "R:" + section
		}
		if m.IntN(2) == 0 {
			section = ":glob:" + m.pick("", "", "R:") + m.path(m.glob)
		}
		if seen[section] {
			continue
		}
		seen[section] = true
		fmt.Fprintf(&b, "[%s]\n", section)
		for range m.IntN(4) {
			b.WriteString(m.entry() + "\n")
		}
	}
	return b.String()
}

// TestDifferential compares the answers with those of Subversion's own tool.
func TestDifferential(t *testing.T) {
	tool, err := exec.LookPath("svnauthz")
	if err != nil {
		t.Skip("svnauthz is not installed")
	}
	file := filepath.Join(t.TempDir(), "authz")
	for seed := range uint64(25) {
		m := maker{rand.New(rand.NewPCG(seed, 1))}
		text := m.file()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		rules, err := authz.Parse(strings.NewReader(text))
		if theirs := exec.Command(tool, "validate", file).Run(); (err == nil) != (theirs == nil) {
			t.Fatalf("seed %d: %v, Subversion says %v:\n%s", seed, err, theirs, text)
		}
		if err != nil {
			continue
		}
		for range 12 {
			compare(t, m, rules, tool, file, fmt.Sprintf("seed %d:\n%s", seed, text))
		}
	}
}

func compare(t *testing.T, m maker, rules *authz.Rules, tool, file, context string) {
	t.Helper()
	repo, user, path := m.pick("R", "S"), m.pick("", "joe", "ann", "kim", "zoe"), m.path(m.word)
	args := []string{"accessof", "--repository", repo}
	if user != "" {
		args = append(args, "--username", user)
	}
	v := rules.View(repo, user)
	may := func(op authz.Op) bool { return v.Allows(path, op) }
	read, write := authz.Read, authz.Write
	how := m.IntN(5)
	if path == "/" && (how > 0) {
		how = 3 // Subversion looks for an empty segment below the root, which hides all rules there
		if strings.Contains(context, ":/*") || strings.Contains(context, "*]") {
			return // and that segment matches "*"
		}
	}
	switch how {
	case 0:
		may = v.AllowsSomewhere
	case 1, 2:
		read, write = authz.ReadTree, authz.WriteTree
		args = append(args, "--path", path, "-R")
	default:
		args = append(args, "--path", path)
	}
	got := "no"
	if may(write) {
		got = "rw"
	} else if may(read) {
		got = "r"
	}
	out, err := exec.Command(tool, append(args, file)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.TrimSpace(string(out)); got != want {
		t.Fatalf("%q: %s, Subversion says %s, %s", args, got, want, context)
	}
}
