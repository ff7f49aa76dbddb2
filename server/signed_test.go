package server_test

import (
	"bytes"
	"crypto/sha1"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"holdfast/auth"
	"holdfast/server"
	"holdfast/server/gitproto"
	"holdfast/storage"
	"holdfast/storage/object"
)

// signed returns the arguments of git that have a user sign with their SSH key.
func signed(t *testing.T, user string, args ...string) []string {
	return append([]string{"-c", "gpg.format=ssh", "-c", "user.signingkey=" + keyFile(t, user, "")}, args...)
}

// last returns the journal's last entry.
func (w *world) last() server.LogEntry {
	w.t.Helper()
	var last server.LogEntry
	if err := w.srv.Log(server.Local, 0, func(e server.LogEntry) error { last = e; return nil }); err != nil {
		w.t.Fatal(err)
	}
	return last
}

// setSigned changes signed_push of a repository by a push to the policy.
func (w *world) setSigned(repo, mode string) {
	w.t.Helper()
	dir := must(os.MkdirTemp(w.dir, "policy"))
	w.ok("root", w.dir, "clone", "-q", w.url("holdfast-admin"), dir)
	file := filepath.Join(dir, "repos", repo+".yaml")
	raw := strings.Split(string(must(os.ReadFile(file))), "signed_push")[0]
	write(w.t, file, strings.TrimRight(raw, "\n")+"\nsigned_push: "+mode+"\n")
	w.ok("root", dir, "commit", "-qam", mode)
	w.ok("root", dir, "push", "-q", "origin", "main")
}

// TestSignedPush signs pushes with git, over both transports and in all protocol versions.
func TestSignedPush(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.Config{})
	dir := w.work("app")
	key := ssh.FingerprintSHA256(signer(t, "root").PublicKey())
	out := w.ok("root", dir, signed(t, "root", "push", "--signed", w.url("app"), "main")...) // creates it
	if !strings.Contains(out, "holdfast: signed by root with "+key) {
		t.Errorf("a signed push is told\n%s", out)
	}
	token := must(w.srv.CreateToken(t.Context(), server.Local, "root", "laptop", time.Time{}, io.Discard))
	byHTTP := "http://root:" + token + "@" + w.http + "/app.git"
	n := 0
	for _, url := range []string{w.url("app"), byHTTP} {
		for _, version := range []string{"0", "1", "2"} {
			n++
			args := []string{"-c", "protocol.version=" + version, "push", "-q", "--signed", "--atomic", "-o", "ci.skip", "-o", "a=b c", url,
				fmt.Sprint("main:refs/heads/v", n), fmt.Sprint("main:refs/tags/v", n)}
			w.ok("root", dir, signed(t, "root", args...)...)
			e := w.last()
			sig := w.srv.Signature(e)
			if sig == nil || !sig.Good || sig.Key != key || len(e.Refs) != 2 || len(e.Options) != 2 {
				t.Errorf("version %s of %s: entry %+v, signature %+v", version, url, e.Entry, sig)
			}
			// What was signed is not what happened, if either is changed.
			e.Refs[0].Name += "x"
			if sig := w.srv.Signature(e); sig.Good || !strings.Contains(sig.Reason, "not what was signed") {
				t.Errorf("of another update: %+v", sig)
			}
		}
		// A push from a shallow clone carries its boundary before the certificate.
		shallow := must(os.MkdirTemp(w.dir, "shallow"))
		w.ok("root", w.dir, "clone", "-q", "--depth=1", url, shallow)
		w.ok("root", shallow, "commit", "-q", "--allow-empty", "-m", "more")
		w.ok("root", shallow, signed(t, "root", "push", "-q", "--signed", "origin", fmt.Sprint("main:shallow", n))...)
		if sig := w.srv.Signature(w.last()); sig == nil || !sig.Good {
			t.Errorf("from a shallow clone: %+v", sig)
		}
	}
	w.ok("root", dir, signed(t, "root", "push", "-q", "--signed", w.url("app"), ":refs/heads/v1", ":refs/tags/v1")...)
	if sig := w.srv.Signature(w.last()); sig == nil || !sig.Good {
		t.Errorf("a deletion: %+v", sig)
	}

	// All or nothing, --atomic or not: the certificate covers what the journal says.
	before := w.last().Seq
	w.fails("root", dir, []string{"refs/heads/main", "atomic push failed"},
		signed(t, "root", "push", "--signed", w.url("app"), "main:refs/heads/main/x", "main:refs/heads/alone")...)
	if w.last().Seq != before {
		t.Errorf("a part of a signed push was stored: %+v", w.last().Entry)
	}
	// An unsigned push has no certificate.
	w.ok("root", dir, "push", "-q", w.url("app"), "main:unsigned")
	if sig := w.srv.Signature(w.last()); sig != nil {
		t.Errorf("an unsigned push: %+v", sig)
	}
}

func TestSignedPushPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.Config{})
	w.add("alice")
	dir := w.work("app")
	w.ok("root", dir, "push", "-q", w.url("app"), "main")
	if err := w.srv.Grant(t.Context(), server.Local, "app", "alice", "write", io.Discard); err != nil {
		t.Fatal(err)
	}
	// Somebody else's key, even an admin's, does not sign for alice.
	w.fails("alice", dir, []string{"push certificate refused: the key is none of the user's", "--no-signed"},
		signed(t, "root", "push", "--signed", w.url("app"), "main:x")...)

	w.setSigned("app", "required")
	if info := must(w.srv.Repo(server.Local, "app")); info.Signed != "required" {
		t.Errorf("repo show says %q", info.Signed)
	}
	before := w.last().Seq
	w.fails("alice", dir, []string{"takes signed pushes only", "git push --signed", "git config gpg.format ssh"}, "push", w.url("app"), "main:x")
	if w.last().Seq != before {
		t.Error("an unsigned push was stored")
	}
	w.ok("alice", dir, signed(t, "alice", "push", "-q", "--signed", w.url("app"), "main:x")...)
	if err := w.srv.RenameRepo(t.Context(), server.Local, "app", "renamed", io.Discard); err != nil {
		t.Fatal(err)
	}
	w.fails("alice", dir, []string{"takes signed pushes only"}, "push", w.url("renamed"), "main:y")

	// A key that was taken away signs no more.
	e := w.last()
	if err := w.srv.Log(server.Local, before, func(l server.LogEntry) error {
		if l.Actor == "alice" {
			e = l
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if sig := w.srv.Signature(e); !sig.Good {
		t.Errorf("alice's push: %+v", sig)
	}
	if err := w.srv.RemoveUser(t.Context(), server.Local, "alice", io.Discard); err != nil {
		t.Fatal(err)
	}
	if sig := w.srv.Signature(e); sig.Good || !strings.Contains(sig.Reason, "none of the user's") {
		t.Errorf("alice's push, with alice gone: %+v", sig)
	}

	w.setSigned("renamed", "off")
	w.fails("root", dir, []string{"does not support --signed push"}, signed(t, "root", "push", "--signed", w.url("renamed"), "main:z")...)
	w.ok("root", dir, signed(t, "root", "push", "-q", "--signed=if-asked", w.url("renamed"), "main:z")...)
	if len(w.last().Cert) != 0 {
		t.Error("a certificate that was not asked for was stored")
	}
}

// certForger speaks HTTP with the host as root, and makes certificates as it pleases.
type certForger struct {
	*world
	url  string // up to the repository's name
	head string // a commit that is there
}

// nonce takes the nonce from an advertisement.
func (f certForger) nonce(repo string) string {
	f.t.Helper()
	resp := must(http.Get(f.url + repo + ".git/info/refs?service=git-receive-pack"))
	defer resp.Body.Close()
	_, rest, _ := strings.Cut(string(must(io.ReadAll(resp.Body))), "push-cert=")
	nonce, _, _ := strings.Cut(rest, " ")
	if nonce == "" || len(nonce) > 255 {
		f.t.Fatalf("no nonce in %s", resp.Status)
	}
	return nonce
}

// cert makes a certificate that creates ref, signed by user for a namespace.
func (f certForger) cert(user, namespace, header, ref string) string {
	f.t.Helper()
	message := "certificate version 0.1\n" + header + "\n" + strings.Repeat("0", 40) + " " + f.head + " " + ref + "\n"
	sig := must(sshsig.Sign(strings.NewReader(message), signer(f.t, user), sshsig.HashSHA512, namespace))
	return message + string(sshsig.Armor(sig))
}

// post pushes with a certificate and an empty pack, and returns the report.
func (f certForger) post(repo, cert string) string {
	f.t.Helper()
	var body bytes.Buffer
	w := gitproto.NewWriter(&body)
	w.Linef("push-cert\x00 report-status agent=forger\n")
	for line := range strings.Lines(cert) {
		w.Linef("%s", line)
	}
	w.Linef("push-cert-end\n")
	w.Special(gitproto.Flush)
	w.Flush()
	pack := []byte("PACK\x00\x00\x00\x02\x00\x00\x00\x00")
	sum := sha1.Sum(pack)
	body.Write(append(pack, sum[:]...))
	resp := must(http.Post(f.url+repo+".git/git-receive-pack", "application/x-git-receive-pack-request", &body))
	defer resp.Body.Close()
	return string(must(io.ReadAll(resp.Body)))
}

// TestForgedCertificates sends what a stolen token without the signing key can get hold of.
func TestForgedCertificates(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	w := newWorld(t, server.Config{Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	w.add("mallory")
	dir := w.work("app")
	w.ok("root", dir, "push", "-q", w.url("app"), "main")
	w.ok("root", dir, "push", "-q", w.url("other"), "main")
	w.setSigned("app", "required")
	token := must(w.srv.CreateToken(t.Context(), server.Local, "root", "stolen", time.Time{}, io.Discard))
	f := certForger{w, "http://root:" + token + "@" + w.http + "/", strings.TrimSpace(w.ok("root", dir, "rev-parse", "main"))}
	head := func(pushee, nonce string) string {
		return "pusher root <a@b> 1112911993 -0700\npushee " + pushee + "\nnonce " + nonce + "\n"
	}
	const url = "https://code.example.org/app.git"
	good := f.cert("root", "git", head(url, f.nonce("app")), "refs/heads/x")
	if out := f.post("app", good); !strings.Contains(out, "ok refs/heads/x") {
		t.Fatalf("a good one: %q", out)
	}
	if e := w.last(); string(e.Cert) != good || !w.srv.Signature(e).Good {
		t.Errorf("the entry has the certificate %q, %+v", e.Cert, w.srv.Signature(e))
	}
	w.ok("root", dir, signed(t, "root", "push", "-q", "--signed", w.url("app"), ":x")...)

	otherKey := "pusher " + ssh.FingerprintSHA256(signer(t, "mallory").PublicKey()) + " 1 +0000\nnonce "
	before := w.last().Seq
	for _, tt := range []struct{ name, cert, problem string }{
		{"replayed", good, "used before"},
		{"with a nonce of another repository", f.cert("root", "git", head(url, f.nonce("other")), "refs/heads/x"), "not one that this host gave out"},
		{"with a nonce made up", f.cert("root", "git", head(url, "1-2-3"), "refs/heads/x"), "not one that this host gave out"},
		{"with half a nonce", f.cert("root", "git", head(url, f.nonce("app")[:20]), "refs/heads/x"), "not one that this host gave out"},
		{"with another spelling of a nonce", f.cert("root", "git", head(url, "+"+f.nonce("app")), "refs/heads/x"), "not one that this host gave out"},
		{"without a nonce", f.cert("root", "git", "pusher a 1 +0000\n", "refs/heads/x"), "not one that this host gave out"},
		{"made for another repository", f.cert("root", "git", head("https://code.example.org/other.git", f.nonce("app")), "refs/heads/x"), "it was made for"},
		{"made for a repository with such an end", f.cert("root", "git", head("https://code.example.org/myapp.git", f.nonce("app")), "refs/heads/x"), "it was made for"},
		{"signed by another user", f.cert("mallory", "git", head(url, f.nonce("app")), "refs/heads/x"), "none of the user's"},
		{"signed as a file", f.cert("root", "file", head(url, f.nonce("app")), "refs/heads/x"), "namespace"},
		{"that names another key", f.cert("root", "git", otherKey+f.nonce("app")+"\n", "refs/heads/x"), "as the pusher, and is signed by"},
		{"changed", strings.Replace(f.cert("root", "git", head(url, f.nonce("app")), "refs/heads/x"), "refs/heads/x", "refs/heads/y", 1), "signature is not good"},
		{"with an update more", strings.Replace(f.cert("root", "git", head(url, f.nonce("app")), "refs/heads/x"), "-----BEGIN",
			strings.Repeat("0", 40)+" "+f.head+" refs/heads/y\n-----BEGIN", 1), "signature is not good"},
	} {
		out := f.post("app", tt.cert)
		if !strings.Contains(out, "push certificate refused") || !strings.Contains(out, tt.problem) {
			t.Errorf("a certificate %s: %q", tt.name, out)
		}
	}
	late := f.cert("root", "git", head(url, f.nonce("app")), "refs/heads/x")
	ahead.Store(int64(16 * time.Minute))
	if out := f.post("app", late); !strings.Contains(out, "more than 15m0s: push again") {
		t.Errorf("an old certificate: %q", out)
	}
	if now := w.last(); now.Seq != before {
		t.Errorf("something was stored: %+v", now.Entry)
	}
	if out := f.post("app", f.cert("root", "git", head(url, f.nonce("app")), "refs/heads/x")); !strings.Contains(out, "ok refs/heads/x") {
		t.Errorf("a good one in the end: %q", out)
	}
}

// TestSignatureOfEntry verifies entries that a host would not make.
func TestSignatureOfEntry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.Config{})
	id := must(object.ParseID(strings.Repeat("1", 40)))
	f := certForger{world: w, head: id.String()}
	cert := f.cert("root", "git", "pusher a 1 +0000\n", "refs/heads/x")
	update := storage.RefUpdate{Name: "refs/heads/x", New: id}
	for _, tt := range []struct {
		name, actor, cert, problem string
		refs                       []storage.RefUpdate
	}{
		{"good", "root", cert, "", []storage.RefUpdate{update}},
		{"no updates", "root", cert, "1 updates were signed, and the entry has 0", nil},
		{"one update more", "root", cert, "refs/heads/y is not what was signed", []storage.RefUpdate{update, {Name: "refs/heads/y", New: id}}},
		{"another user", "nobody", cert, "none of the user's", []storage.RefUpdate{update}},
		{"garbage", "root", "garbage", "certificate version", []storage.RefUpdate{update}},
	} {
		e := storage.Entry{Actor: tt.actor, Time: time.Now(), Cert: []byte(tt.cert), Refs: tt.refs}
		sig := w.srv.Signature(server.LogEntry{Entry: e})
		if sig.Good != (tt.problem == "") || !strings.Contains(sig.Reason, tt.problem) {
			t.Errorf("%s: %+v", tt.name, sig)
		}
	}
}

// TestKeysOfAllKinds adds and removes keys through the same verbs.
func TestKeysOfAllKinds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.Config{})
	w.add("alice")
	ctx := t.Context()
	pgp := string(must(os.ReadFile(filepath.Join("testdata", "alice.asc"))))
	key := must(auth.ParsePGPKey(pgp))
	if err := w.srv.AddKey(ctx, server.Local, "alice", pgp, io.Discard); err != nil {
		t.Fatal(err)
	}
	if u := w.srv.Users(auth.Identity{Name: "alice"})[0]; len(u.Keys) != 1 || len(u.PGPKeys) != 1 || u.PGPKeys[0].Fingerprint != key.Fingerprint {
		t.Errorf("alice has %+v", u)
	}
	if err := w.srv.AddKey(ctx, server.Local, "alice", pgp, io.Discard); err == nil {
		t.Error("a key was added twice")
	}
	if err := w.srv.RemoveKey(ctx, server.Local, "alice", key.Fingerprint, io.Discard); err != nil {
		t.Fatal(err)
	}
	if u := w.srv.Users(auth.Identity{Name: "alice"})[0]; len(u.PGPKeys) != 0 {
		t.Errorf("alice has still %+v", u.PGPKeys)
	}
}
