package auth_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"holdfast/auth"
)

func TestAllow(t *testing.T) {
	p := load(t, company(t))
	// For each repository, what each user may do at most: - nothing, r read, w write, a admin.
	users := []string{"", "root", "alice", "bob", "carol", "nobody"}
	for repo, want := range map[string]string{
		"site":           "rawarr",
		"team/app":       "-arw--",
		"team/old/svn":   "-arrr-",
		"secret":         "-a----",
		"holdfast-admin": "-a----",
		"team":           "------",
		"Site":           "------",
		"":               "------",
	} {
		for i, user := range users {
			most := auth.Op(strings.IndexByte("-rwa", want[i]))
			who := auth.Identity{Name: user}
			if got := p.Access(who, repo); got != most {
				t.Errorf("Access(%q, %q) = %v, want %v", user, repo, got, most)
			}
			for op := auth.Read; op <= auth.Admin; op++ {
				var wantErr error
				if most == 0 {
					wantErr = auth.ErrNotFound
				} else if op > most {
					wantErr = auth.ErrDenied
				}
				if err := p.Allow(who, repo, op); err != wantErr {
					t.Errorf("Allow(%q, %q, %v) = %v, want %v", user, repo, op, err, wantErr)
				}
			}
		}
	}
	for op, want := range map[auth.Op]string{auth.Create: "-yyyy-", auth.HostAdmin: "-y----", 0: "------", 77: "------"} {
		for i, user := range users {
			err := p.Allow(auth.Identity{Name: user}, "new", op)
			if (err == nil) != (want[i] == 'y') || err != nil && err != auth.ErrDenied {
				t.Errorf("Allow(%q, %v) = %v", user, op, err)
			}
		}
	}
}

func TestZeroPolicyAllowsNothing(t *testing.T) {
	var p auth.Policy
	for op := auth.Op(0); op <= auth.HostAdmin; op++ {
		if p.Allow(auth.Identity{Name: "root"}, "x", op) == nil {
			t.Errorf("%v is allowed", op)
		}
	}
}

// A session outlives the policy that let it in; the credential it came with is looked at each time.
func TestAllowFollowsTheCredential(t *testing.T) {
	p := load(t, company(t))
	key, _ := publicKey(t, 4)
	bob, ok := p.ByKey(key)
	if !ok || bob.Name != "bob" || bob.Key != ssh.FingerprintSHA256(key) {
		t.Fatalf("ByKey = %v, %v", bob, ok)
	}
	if again, ok := p.ByFingerprint(bob.Key); !ok || again != bob {
		t.Errorf("ByFingerprint = %v, %v", again, ok)
	}
	if err := p.Allow(bob, "site", auth.Admin); err != nil {
		t.Error(err)
	}
	e := p.Edit()
	if err := e.RemoveKey("bob", bob.Key); err != nil {
		t.Fatal(err)
	}
	if err := e.Policy().Allow(bob, "site", auth.Write); err != auth.ErrDenied {
		t.Errorf("a removed key may write: %v", err)
	}
	if err := e.Policy().Allow(auth.Identity{Name: "alice", Key: bob.Key}, "site", auth.Write); err != auth.ErrDenied {
		t.Errorf("another's key may write: %v", err)
	}

	alice, ok := p.ByToken(time.Unix(0, 0), secret)
	if !ok || alice != (auth.Identity{Name: "alice", Key: "token:ci"}) {
		t.Fatalf("ByToken = %v, %v", alice, ok)
	}
	if err := e.RevokeToken("alice", "ci"); err != nil {
		t.Fatal(err)
	}
	if err := p.Allow(alice, "site", auth.Write); err != nil {
		t.Error(err)
	}
	if err := e.Policy().Allow(alice, "site", auth.Write); err != auth.ErrDenied {
		t.Errorf("a revoked token may write: %v", err)
	}
}

func TestByKeyUnknown(t *testing.T) {
	p := load(t, company(t))
	unknown, _ := publicKey(t, 99)
	known, _ := publicKey(t, 2)
	for name, key := range map[string]ssh.PublicKey{
		"nil":         nil,
		"unknown":     unknown,
		"certificate": &ssh.Certificate{Key: known, SignatureKey: unknown, Signature: &ssh.Signature{}},
	} {
		if who, ok := p.ByKey(key); ok {
			t.Errorf("%s: taken for %v", name, who)
		}
	}
}

func TestByToken(t *testing.T) {
	p := load(t, company(t))
	end := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name, secret string
		now          time.Time
		ok           bool
	}{
		{"valid", secret, end.Add(-time.Second), true},
		{"expired", secret, end, false},
		{"another", secret[:len(secret)-1] + "x", end.Add(-time.Second), false},
		{"its hash", auth.HashToken(secret), end.Add(-time.Second), false},
		{"empty", "", end.Add(-time.Second), false},
	} {
		if _, ok := p.ByToken(c.now, c.secret); ok != c.ok {
			t.Errorf("%s: %v", c.name, ok)
		}
	}
}

func TestNewToken(t *testing.T) {
	for _, c := range []struct {
		random byte
		want   string
	}{
		{0, "hft_" + strings.Repeat("0", 43)},
		{255, "hft_" + toBase62(strings.Repeat("\xff", 32))},
	} {
		got, err := auth.NewToken(bytes.NewReader(bytes.Repeat([]byte{c.random}, 32)))
		if err != nil || got != c.want {
			t.Errorf("NewToken(%d...) = %q, %v, want %q", c.random, got, err, c.want)
		}
	}
	if _, err := auth.NewToken(strings.NewReader("short")); err == nil {
		t.Error("made a token of too little randomness")
	}
}

func toBase62(b string) string {
	text := new(big.Int).SetBytes([]byte(b)).Text(62) // digits, lower case, upper case
	swap := func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		}
		return r
	}
	return strings.Repeat("0", 43-len(text)) + strings.Map(swap, text)
}

func TestParseKey(t *testing.T) {
	ed := keyLine(t, 1)
	rsaLine := func(bits int) string {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		pub, err := ssh.NewPublicKey(&key.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		return string(ssh.MarshalAuthorizedKey(pub))
	}
	dss := "ssh-dss " + base64.StdEncoding.EncodeToString(ssh.Marshal(struct {
		Type       string
		P, Q, G, Y *big.Int
	}{"ssh-dss", new(big.Int).Lsh(big.NewInt(1), 1023), new(big.Int).Lsh(big.NewInt(1), 159), big.NewInt(2), big.NewInt(3)}))
	for _, c := range []struct{ name, line, fault string }{
		{"ed25519", ed, ""},
		{"with a comment", ed + " alice at home", ""},
		{"with space around", "\n " + ed + "\n", ""},
		{"RSA 2048", rsaLine(2048), ""},
		{"RSA 1024", rsaLine(1024), "1024 bits"},
		{"DSA", dss, "DSA"},
		{"options", `command="x" ` + ed, "options"},
		{"two lines", ed + "\n" + ed, "one line"},
		{"private", "-----BEGIN OPENSSH PRIVATE KEY-----", "private key"},
		{"nothing", "", "not an SSH public key"},
		{"junk", "ssh-ed25519 AAAA", "not an SSH public key"},
		{"too long", ed + strings.Repeat("x", auth.MaxKeyLine), "more than"},
	} {
		k, err := auth.ParseKey(c.line)
		switch {
		case c.fault == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)):
			t.Errorf("%s: error %v, want %q", c.name, err, c.fault)
		case c.fault == "":
			again, err := auth.ParseKey(k.Line)
			if err != nil || again != k {
				t.Errorf("%s: its Line is read as %v, %v", c.name, again, err)
			}
		}
	}
}

func TestValidName(t *testing.T) {
	long := strings.Repeat("a", 255)
	for name, ok := range map[string]bool{
		"a": true, "A9_": true, "a.b-c": true, "a/b/c": true, "_": true, "9": true, long: true, "holdfast-admin": true,
		"a..b": true, "foo.yaml": true, "": false, long + "a": false, "/a": false, "a/": false, "a//b": false, ".": false,
		"..": false, "a/../b": false, "a/.b": false, "-a": false, ".a": false, "a b": false, "a\x00": false, "a\n": false,
		"ä": false, "а": false, "ſ": false, "a.git": false, "a.GIT": false, "a.git/b": false, "a.lock": false,
		"a/b.Lock": false, "a\\b": false, "a:b": false, "~a": false, "x.yaml/y": false, "a%2fb": false,
	} {
		if err := auth.ValidName(name); (err == nil) != ok {
			t.Errorf("ValidName(%q) = %v", name, err)
		}
	}
	for name, ok := range map[string]bool{
		"alice": true, "a.b": true, strings.Repeat("a", 64): true, strings.Repeat("a", 65): false, "a/b": false,
		"git": false, "Token": false, "anonymous": false, "holdfast": false, "@a": false, "*": false, "": false,
	} {
		if err := auth.ValidUser(name); (err == nil) != ok {
			t.Errorf("ValidUser(%q) = %v", name, err)
		}
	}
}

func TestQueries(t *testing.T) {
	p := load(t, company(t))
	var names []string
	for _, r := range p.Repos() {
		names = append(names, r.Name)
	}
	for _, u := range p.Users() {
		names = append(names, u.Name)
	}
	for _, g := range p.Groups() {
		names = append(names, g.Name)
	}
	names = append(names, p.Creators()...)
	want := []string{"secret", "site", "team/app", "team/old/svn", "alice", "bob", "carol", "root", "devs", "ops", "@devs", "carol"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	repo, ok := p.Repo("team/app")
	wantRepo := auth.Repo{Name: "team/app", ID: id(2), SCM: "git", Format: "sha256", Signed: auth.SignedOptional,
		Grants: map[string]auth.Op{"@devs": auth.Read, "@ops": auth.Write}}
	if diff := cmp.Diff(wantRepo, repo); !ok || diff != "" {
		t.Error(ok, diff)
	}
	if _, ok := p.Repo("team"); ok {
		t.Error("a folder is a repository")
	}
	root, ok := p.User("root")
	if !ok || !root.Admin || len(root.Keys) != 1 || root.Keys[0].Comment != "root@laptop" || root.Keys[0].Type != "ssh-ed25519" {
		t.Errorf("User(root) = %+v, %v", root, ok)
	}
}

func TestParseGrant(t *testing.T) {
	for op := auth.Read; op <= auth.Admin; op++ {
		if got, err := auth.ParseGrant(op.String()); err != nil || got != op {
			t.Errorf("ParseGrant(%q) = %v, %v", op, got, err)
		}
	}
	for _, word := range []string{"", "Read", "create", "host admin", "nothing"} {
		if op, err := auth.ParseGrant(word); err == nil {
			t.Errorf("ParseGrant(%q) = %v", word, op)
		}
	}
}

func BenchmarkAllow(b *testing.B) {
	p := load(b, company(b))
	key, _ := publicKey(b, 3)
	bob, _ := p.ByKey(key)
	for b.Loop() {
		if err := p.Allow(bob, "team/app", auth.Write); errors.Is(err, auth.ErrDenied) {
			b.Fatal(err)
		}
	}
}

// A change to one of ten thousand repositories, as a push and as an edit.
func BenchmarkChange(b *testing.B) {
	fsys := company(b)
	for i := range 10_000 {
		fsys[fmt.Sprintf("repos/many/%d.yaml", i)] = &fstest.MapFile{
			Data: fmt.Appendf(nil, "id: %032x\nkind: git\ngrants: {bob: admin, \"@devs\": write}\n", i+100)}
	}
	p := load(b, fsys)
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			load(b, fsys)
		}
	})
	b.Run("edit", func(b *testing.B) {
		for b.Loop() {
			if err := p.Edit().Publish("secret"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
