package svnproto_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/server/svnproto"
)

func (c *client) write(name, text string) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) file(name string) string {
	c.t.Helper()
	b, err := os.ReadFile(filepath.Join(c.dir, name))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(b)
}

// want fails unless a text has all the parts.
func want(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is not in\n%s", p, text)
		}
	}
}

// TestClient is a day of two working copies.
func TestClient(t *testing.T) {
	url := newHost(t).listen(t)
	a := newClient(t, "alice")
	want(t, a.svn("info", url), "Repository UUID: "+testUUID, "Revision: 0")
	a.svn("mkdir", "-m", "layout", url+"/trunk", url+"/branches")
	a.svn("checkout", url+"/trunk", "wc")
	long := strings.Repeat("a line of a long text\n", 20_000)
	a.write("wc/file", "one\n")
	a.write("wc/long", long)
	a.svn("add", "wc/file", "wc/long")
	a.svn("propset", "p", "value \u00e4", "wc/file")
	want(t, a.svn("commit", "-m", "two files", "wc"), "Committed revision 2.")

	b := newClient(t, "")
	b.svn("checkout", url+"/trunk", "wc")
	if b.file("wc/file") != "one\n" || b.file("wc/long") != long || strings.TrimSpace(b.svn("propget", "p", "wc/file")) != "value \u00e4" {
		t.Error("another checkout differs")
	}
	a.write("wc/long", long+"and one more\n")
	a.svn("copy", "wc/file", "wc/copy")
	a.svn("delete", "wc/file")
	a.svn("commit", "-m", "three", "wc")
	want(t, b.svn("update", "wc"), "U    wc/long", "A    wc/copy", "D    wc/file", "Updated to revision 3.")
	want(t, b.svn("status", "-u", "wc"), "Status against revision:      3")
	want(t, b.svn("log", "-v", url), "two files", "D /trunk/file", "A /trunk/copy (from /trunk/file:2)", "| alice |")
	want(t, b.svn("list", "-v", url+"/trunk"), "alice", "copy", "long")
	want(t, b.svn("list", "-R", url), "branches/", "trunk/copy")
	want(t, b.svn("cat", url+"/trunk/file@2"), "one")
	want(t, b.svn("diff", "-r2:3", url), "+and one more")
	want(t, b.svn("blame", "wc/long"), "3      alice and one more")
	a.svn("copy", "-m", "branch", url+"/trunk", url+"/branches/b")
	want(t, b.svn("switch", url+"/branches/b", "wc"), "At revision 4.")
	want(t, b.svn("log", "--stop-on-copy", url+"/branches/b"), "branch")
	want(t, b.svn("propget", "--revprop", "-r4", "svn:log", url), "branch")
	want(t, a.svn("propset", "--revprop", "-r4", "svn:log", "better", url), "property 'svn:log' set")
	want(t, b.svn("propget", "--revprop", "-r4", "svn:log", url), "better")
	want(t, b.svn("mergeinfo", "--show-revs=eligible", url+"/trunk", url+"/branches/b"), "")
	want(t, a.svn("proplist", "-v", "--show-inherited-props", url+"/trunk/copy"), "p")
	if out, err := b.try("cat", url+"/nothing"); err == nil {
		t.Error(out)
	} else {
		want(t, out, "W160013: File not found: revision 4, path '/nothing'")
	}
}

func TestClientLocks(t *testing.T) {
	url := newHost(t).listen(t)
	a := newClient(t, "alice")
	a.svn("mkdir", "-m", "", url+"/d")
	a.svn("checkout", url, "wc")
	for _, name := range []string{"wc/f", "wc/g"} {
		a.write(name, name)
	}
	a.svn("add", "wc/f", "wc/g")
	a.svn("commit", "-m", "files", "wc")
	want(t, a.svn("lock", "-m", "mine", "wc/f", "wc/g"), "'f' locked by user 'alice'.", "'g' locked")
	want(t, a.svn("info", url+"/f"), "Lock Owner: alice", "mine")
	b := newClient(t, "alice")
	b.svn("checkout", url, "wc")
	if out, err := b.try("lock", "wc/f"); err == nil {
		t.Error(out)
	} else {
		want(t, out, "W160035")
	}
	b.write("wc/f", "changed by another")
	if out, err := b.try("commit", "-m", "no", "wc"); err == nil {
		t.Error(out)
	} else {
		want(t, out, "E160037")
	}
	want(t, a.svn("unlock", "wc/g"), "'g' unlocked.")
	want(t, b.svn("lock", "--force", "wc/f"), "'f' locked")
	b.svn("commit", "-m", "yes", "wc")
	if strings.Contains(b.svn("info", url+"/f"), "Lock") {
		t.Error("a commit keeps its lock")
	}
	want(t, b.svn("lock", "wc/f"), "locked")
	want(t, a.svn("unlock", "--force", url+"/f"), "unlocked")
}

// TestClientHidden has a directory that only alice may read.
func TestClientHidden(t *testing.T) {
	h := newHost(t)
	h.hidden = map[string]string{"/trunk/secret": "alice"}
	url := h.listen(t)
	a := newClient(t, "alice")
	a.svn("mkdir", "-m", "layout", url+"/trunk", url+"/trunk/secret", url+"/trunk/open")
	a.svn("checkout", url+"/trunk/secret", "wc")
	a.write("wc/f", "secret\n")
	a.svn("add", "wc/f")
	a.svn("commit", "-m", "a secret", "wc")
	b := newClient(t, "")
	if out := b.svn("checkout", url, "wc"); strings.Contains(out, "secret") {
		t.Error(out)
	}
	if out := b.svn("log", "-v", url); strings.Contains(out, "a secret") || strings.Contains(out, "secret/f") {
		t.Error(out)
	}
	if out := b.svn("list", "-R", url); strings.Contains(out, "secret") {
		t.Error(out)
	}
	for _, args := range [][]string{{"cat", url + "/trunk/secret/f"}, {"list", url + "/trunk/secret"}, {"lock", url + "/trunk/secret/f"}, {"mkdir", "-m", "", url + "/x"}} {
		if out, err := b.try(args...); err == nil || !strings.Contains(out, "E170001") && !strings.Contains(out, "E215004") {
			t.Errorf("%s: %v, %s", args, err, out)
		}
	}
	if out, err := newClient(t, "bob").try("cat", url+"/trunk/secret/f"); err == nil || !strings.Contains(out, "Username not found") {
		t.Error(out, err)
	}
	want(t, a.svn("cat", url+"/trunk/secret/f"), "secret")
}

// TestClientTunnel runs svn with a program between it and the server, as over ssh.
func TestClientTunnel(t *testing.T) {
	h := newHost(t)
	h.anonymous, h.passwords, h.tunnel = svnproto.NoAccess, nil, "carol"
	host, port, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(h.listen(t), "svn://"), "/repo"), ":")
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip(err)
	}
	c := newClient(t, "")
	c.write("tunnel", "#!"+bash+"\nexec 3<>/dev/tcp/"+host+"/"+port+"\ncat <&3 &\ntrap 'kill $!' EXIT\ncat >&3\n")
	if err := os.Chmod(filepath.Join(c.dir, "tunnel"), 0o700); err != nil {
		t.Fatal(err)
	}
	through := []string{"--config-option", "config:tunnels:test=" + filepath.Join(c.dir, "tunnel")}
	c.svn(append(through, "mkdir", "-m", "by tunnel", "svn+test://localhost/repo/d")...)
	want(t, c.svn(append(through, "log", "svn+test://localhost/repo/d")...), "| carol |", "by tunnel")
	want(t, c.svn(append(through, "info", "svn+test://localhost/repo/d")...), "Repository Root: svn+test://localhost/repo\n")
}
