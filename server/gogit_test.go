package server_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/go-git/go-git/v5/plumbing/transport/http"
	gogitssh "github.com/go-git/go-git/v5/plumbing/transport/ssh"
	gossh "golang.org/x/crypto/ssh"

	"holdfast/server"
)

// TestGoGit is a client of another maker: it clones, commits, pushes and fetches over both transports.
func TestGoGit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.Config{})
	dir := w.work("app")
	w.ok("root", dir, "tag", "-a", "-m", "one", "v1")
	w.ok("root", dir, "push", "-q", w.url("app"), "main", "v1")
	token := must(w.srv.CreateToken(t.Context(), server.Local, "root", "gogit", time.Time{}, io.Discard))
	key := must(gogitssh.NewPublicKeys("git", must(os.ReadFile(keyFile(t, "root", ""))), ""))
	key.HostKeyCallback = gossh.InsecureIgnoreHostKey()
	for name, remote := range map[string]struct {
		url  string
		auth transport.AuthMethod
	}{
		"ssh":  {w.url("app"), key},
		"http": {"http://" + w.http + "/app.git", &http.BasicAuth{Username: "root", Password: token}},
	} {
		t.Run(name, func(t *testing.T) {
			clone := filepath.Join(t.TempDir(), "clone")
			r := must(gogit.PlainClone(clone, false, &gogit.CloneOptions{URL: remote.url, Auth: remote.auth}))
			if _, err := r.Tag("v1"); err != nil {
				t.Errorf("tag v1: %v", err)
			}
			tree := must(r.Worktree())
			write(t, filepath.Join(clone, name), name)
			must(tree.Add(name))
			who := &object.Signature{Name: "A", Email: "a@example.org", When: time.Unix(1, 0)}
			id := must(tree.Commit(name, &gogit.CommitOptions{Author: who}))
			spec := config.RefSpec("refs/heads/main:refs/heads/" + name)
			if err := r.Push(&gogit.PushOptions{Auth: remote.auth, RefSpecs: []config.RefSpec{spec}}); err != nil {
				t.Fatal(err)
			}
			if out := w.ok("root", dir, "ls-remote", w.url("app"), "refs/heads/"+name); !strings.HasPrefix(out, id.String()) {
				t.Errorf("pushed %s, the server has %s", id, out)
			}
			w.ok("root", dir, "push", "-q", w.url("app"), "main:refs/heads/more-"+name)
			if err := r.Fetch(&gogit.FetchOptions{Auth: remote.auth}); err != nil {
				t.Fatal(err)
			}
			must(r.Reference(plumbing.NewRemoteReferenceName("origin", "more-"+name), true))
		})
	}
}
