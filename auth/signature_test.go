package auth_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"holdfast/auth"
)

// signedAt is when the tests sign.
var signedAt = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// pgpUser makes an OpenPGP key pair.
func pgpUser(t testing.TB, c packet.Config) *openpgp.Entity {
	t.Helper()
	c.Time = func() time.Time { return signedAt.AddDate(-1, 0, 0) }
	if c.Algorithm == 0 {
		c.Algorithm = packet.PubKeyAlgoEdDSA
	}
	e, err := openpgp.NewEntity("Alice", "", "alice@example.org", &c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func armored(t testing.TB, kind string, write func(*bytes.Buffer) error) string {
	t.Helper()
	var raw, out bytes.Buffer
	w, err := armor.Encode(&out, kind, nil)
	if err := errors.Join(err, write(&raw)); err != nil {
		t.Fatal(err)
	}
	w.Write(raw.Bytes())
	w.Close()
	return out.String() + "\n"
}

func pgpPublic(t testing.TB, e *openpgp.Entity) string {
	return armored(t, openpgp.PublicKeyType, func(w *bytes.Buffer) error { return e.Serialize(w) })
}

func pgpSign(t testing.TB, e *openpgp.Entity, message string, at time.Time, times int) []byte {
	return []byte(armored(t, openpgp.SignatureType, func(w *bytes.Buffer) error {
		for range times {
			c := &packet.Config{Time: func() time.Time { return at }}
			if err := openpgp.DetachSign(w, []*openpgp.Entity{e}, strings.NewReader(message), c); err != nil {
				return err
			}
		}
		return nil
	}))
}

func sshSign(t testing.TB, n byte, message, namespace string) []byte {
	t.Helper()
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = n
	signer, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(seed))
	if err != nil {
		t.Fatal(err)
	}
	sig, err := sshsig.Sign(strings.NewReader(message), signer, sshsig.HashSHA512, namespace)
	if err != nil {
		t.Fatal(err)
	}
	return sshsig.Armor(sig)
}

func TestVerify(t *testing.T) {
	alice, other := pgpUser(t, packet.Config{}), pgpUser(t, packet.Config{})
	short := pgpUser(t, packet.Config{KeyLifetimeSecs: 86400})
	p := load(t, tree(
		"users/root.yaml", "admin: true\nkeys: ["+keyLine(t, 1)+"]\n",
		"users/alice.yaml", "keys: ["+keyLine(t, 2)+"]\npgp_keys:\n"+yamlBlock(pgpPublic(t, alice))+yamlBlock(pgpPublic(t, short)),
	))
	user, _ := p.User("alice")
	key, _ := publicKey(t, 2)
	pgp := user.PGPKeys[0].Fingerprint
	if got, ok := auth.PGPFingerprint(strings.ToLower(strings.TrimPrefix(pgp, auth.PGPPrefix))); !ok || got != pgp {
		t.Errorf("PGPFingerprint: %q, %v", got, ok)
	}
	const message = "certificate version 0.1\n"
	good := sshSign(t, 2, message, "git")
	for _, tt := range []struct {
		name, message string
		signature     []byte
		at            time.Time
		want, problem string
	}{
		{"ssh", message, good, signedAt, ssh.FingerprintSHA256(key), ""},
		{"ssh, at any time", message, good, signedAt.AddDate(50, 0, 0), ssh.FingerprintSHA256(key), ""},
		{"ssh, another message", message + "x", good, signedAt, "", "signature is not good"},
		{"ssh, for files", message, sshSign(t, 2, message, "file"), signedAt, "", "namespace"},
		{"ssh, another user's key", message, sshSign(t, 1, message, "git"), signedAt, "", "none of the user's"},
		{"ssh, cut", message, good[:len(good)/2], signedAt, "", "not good"},
		{"ssh, empty", message, []byte("-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n"), signedAt, "", "not good"},
		{"openpgp", message, pgpSign(t, alice, message, signedAt, 1), signedAt.Add(time.Minute), pgp, ""},
		{"openpgp, a clock ahead", message, pgpSign(t, alice, message, signedAt, 1), signedAt.Add(-time.Minute), pgp, ""},
		{"openpgp, another message", "x", pgpSign(t, alice, message, signedAt, 1), signedAt, "", "not good"},
		{"openpgp, another key", message, pgpSign(t, other, message, signedAt, 1), signedAt, "", "none of the user's"},
		{"openpgp, old", message, pgpSign(t, alice, message, signedAt, 1), signedAt.Add(time.Hour), "", "set the clock"},
		{"openpgp, early", message, pgpSign(t, alice, message, signedAt, 1), signedAt.Add(-time.Hour), "", "set the clock"},
		{"openpgp, twice", message, pgpSign(t, alice, message, signedAt, 2), signedAt, "", "more than one"},
		{"openpgp, backdated", message, pgpSign(t, short, message, signedAt.AddDate(-1, 0, 0).Add(time.Hour), 1), signedAt, "", "set the clock"},
		{"openpgp, no signature", message, []byte(strings.ReplaceAll(pgpPublic(t, alice), "PUBLIC KEY BLOCK", "SIGNATURE")), signedAt, "", "not good"},
		{"openpgp, garbage", message, []byte("-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n"), signedAt, "", "not good"},
		{"x509", message, []byte("-----BEGIN SIGNED MESSAGE-----\n"), signedAt, "", "neither of SSH nor of OpenPGP"},
		{"nothing", message, nil, signedAt, "", "neither of SSH nor of OpenPGP"},
		{"too long", message, append(bytes.Clone(good), make([]byte, auth.MaxSignatureBytes)...), signedAt, "", "more than 65536 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := user.Verify([]byte(tt.message), tt.signature, tt.at, tt.at)
			if got != tt.want || tt.problem == "" != (err == nil) {
				t.Fatalf("key %q, %v", got, err)
			}
			if err != nil && (!errors.Is(err, auth.ErrSignature) || !strings.Contains(err.Error(), tt.problem)) {
				t.Errorf("error %q, want %q", err, tt.problem)
			}
		})
	}
	slow := pgpSign(t, alice, message, signedAt, 1)
	if got, err := user.Verify([]byte(message), slow, signedAt.Add(-time.Hour), signedAt.Add(time.Hour)); got != pgp {
		t.Errorf("a signature between two times: %q, %v", got, err)
	}
	if _, err := user.Verify([]byte(message), pgpSignExpired(t, short, message), signedAt, signedAt); err == nil {
		t.Error("a signature by an expired key was accepted")
	}
}

// pgpSignExpired signs at signedAt with a key that had expired: what a client does that does not care.
func pgpSignExpired(t testing.TB, e *openpgp.Entity, message string) []byte {
	t.Helper()
	e.Identities["Alice <alice@example.org>"].SelfCertifications[0].Packet.KeyLifetimeSecs = nil
	return pgpSign(t, e, message, signedAt, 1)
}

func yamlBlock(text string) string {
	return "  - |\n    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ") + "\n"
}

func TestParsePGPKey(t *testing.T) {
	alice := pgpUser(t, packet.Config{})
	public := pgpPublic(t, alice)
	private := armored(t, openpgp.PrivateKeyType, func(w *bytes.Buffer) error { return alice.SerializePrivateWithoutSigning(w, nil) })
	revoked := pgpUser(t, packet.Config{})
	if err := revoked.Revoke(packet.KeyCompromised, "stolen", nil); err != nil {
		t.Fatal(err)
	}
	two := armored(t, openpgp.PublicKeyType, func(w *bytes.Buffer) error { return errors.Join(alice.Serialize(w), revoked.Serialize(w)) })
	weak := pgpPublic(t, pgpUser(t, packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 1024, MinRSABits: 1024}))
	for _, tt := range []struct{ name, text, problem string }{
		{"good", public, ""},
		{"good, with text around it", "pub ed25519\n" + public + "\n\n", ""},
		{"good, from Windows", strings.ReplaceAll(public, "\n", "\r\n"), ""},
		{"private", private, "private key"},
		{"private, dressed up", strings.ReplaceAll(private, "PRIVATE", "PUBLIC"), "private key"},
		{"revoked", pgpPublic(t, revoked), "cannot be used"},
		{"two in one", two, "one OpenPGP key at a time"},
		{"two after another", public + public, "one OpenPGP key at a time"},
		{"weak", weak, "too weak"},
		{"cut", public[:len(public)/2], "not an armored"},
		{"broken", strings.Replace(public, "\n\n", "\n\nAAAA", 1), "not a good OpenPGP"},
		{"empty", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n-----END PGP PUBLIC KEY BLOCK-----\n", "OpenPGP"},
		{"ssh", keyLine(t, 1), "not an armored"},
		{"large", public + strings.Repeat(" ", auth.MaxPGPKeyBytes), "more than 49152 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, err := auth.ParsePGPKey(tt.text)
			if tt.problem != "" {
				if err == nil || !strings.Contains(err.Error(), tt.problem) {
					t.Errorf("got %v, want %q", err, tt.problem)
				}
				return
			}
			if err != nil || len(k.Fingerprint) != len(auth.PGPPrefix)+40 || k.UserID != "Alice <alice@example.org>" {
				t.Errorf("%+v, %v", k, err)
			}
		})
	}
}

// TestPGPKeysInPolicy adds keys and removes them, and reads what is wrong with a file.
func TestPGPKeysInPolicy(t *testing.T) {
	k, err := auth.ParsePGPKey(pgpPublic(t, pgpUser(t, packet.Config{})))
	if err != nil {
		t.Fatal(err)
	}
	base := load(t, company(t))
	e := base.Edit()
	if err := e.AddPGPKey("bob", k); err != nil {
		t.Fatal(err)
	}
	if err := e.AddPGPKey("alice", k); err == nil || !strings.Contains(err.Error(), "must belong to one user") {
		t.Errorf("the same key for two users: %v", err)
	}
	fsys := company(t)
	for name, data := range e.Changes() {
		put(fsys, name, string(data))
	}
	p := load(t, fsys)
	bob, _ := p.User("bob")
	if len(bob.PGPKeys) != 1 || bob.PGPKeys[0].Armor != k.Armor || bob.PGPKeys[0].Fingerprint != k.Fingerprint {
		t.Errorf("bob has %+v", bob.PGPKeys)
	}
	if _, ok := p.ByFingerprint(k.Fingerprint); ok {
		t.Error("an OpenPGP key lets somebody in")
	}
	e = p.Edit()
	if err := e.RemovePGPKey("bob", k.Fingerprint); err != nil {
		t.Fatal(err)
	}
	if err := e.RemovePGPKey("bob", k.Fingerprint); !errors.Is(err, auth.ErrMissing) {
		t.Errorf("removed twice: %v", err)
	}

	put(fsys, "users/carol.yaml", "admin: false\npgp_keys:\n  - |\n    nonsense\n")
	put(fsys, "repos/site.yaml", "id: "+id(1)+"\nkind: git\nsigned_push: maybe\n")
	_, err = auth.Load(fsys)
	want := []string{
		`repos/site.yaml:3: "maybe" should be required or optional or off`,
		`users/carol.yaml:3: not an armored OpenPGP public key: give what "gpg --armor --export" prints`,
	}
	if diff := cmp.Diff(want, problems(err)); diff != "" {
		t.Error(diff)
	}
}

func TestSignedPush(t *testing.T) {
	fsys := company(t)
	put(fsys, "repos/site.yaml", "id: "+id(1)+"\nkind: git\nsigned_push: required\n")
	p := load(t, fsys)
	for name, want := range map[string]auth.SignedPush{"site": auth.SignedRequired, "secret": auth.SignedOptional} {
		if r, _ := p.Repo(name); r.Signed != want {
			t.Errorf("%s: %q, want %q", name, r.Signed, want)
		}
	}
}

func FuzzVerify(f *testing.F) {
	alice := pgpUser(f, packet.Config{})
	k, err := auth.ParsePGPKey(pgpPublic(f, alice))
	if err != nil {
		f.Fatal(err)
	}
	key, err := auth.ParseKey(keyLine(f, 2))
	if err != nil {
		f.Fatal(err)
	}
	user := auth.User{Keys: []auth.Key{key}, PGPKeys: []auth.PGPKey{k}}
	f.Add(sshSign(f, 2, "m", "git"))
	f.Add(pgpSign(f, alice, "m", signedAt, 1))
	f.Add([]byte("-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n"))
	f.Fuzz(func(t *testing.T, signature []byte) {
		if got, err := user.Verify([]byte("another message"), signature, signedAt, signedAt); err == nil {
			t.Errorf("%q is taken for a signature by %s", signature, got)
		}
	})
}
