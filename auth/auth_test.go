package auth_test

import (
	"crypto/ed25519"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/crypto/ssh"

	"holdfast/auth"
)

// publicKey returns the key number n, always the same, and its line.
func publicKey(t testing.TB, n byte) (ssh.PublicKey, string) {
	t.Helper()
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = n
	key, err := ssh.NewPublicKey(ed25519.NewKeyFromSeed(seed).Public())
	if err != nil {
		t.Fatal(err)
	}
	return key, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

func keyLine(t testing.TB, n byte) string {
	_, line := publicKey(t, n)
	return line
}

func id(n byte) string { return strings.Repeat(string("0123456789abcdef"[n]), 32) }

// tree makes a file system of alternating names and contents.
func tree(pairs ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		fsys[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return fsys
}

// company is a policy with a bit of everything.
func company(t testing.TB) fstest.MapFS {
	return tree(
		"README.md", "anything",
		".gitattributes", "",
		"settings.yaml", "create: [carol, \"@devs\"]\n",
		"users/root.yaml", "admin: true\nkeys:\n  - "+keyLine(t, 1)+" root@laptop\n",
		"users/alice.yaml", "keys: ["+keyLine(t, 2)+"]\ntokens:\n  - {name: ci, sha256: "+auth.HashToken(secret)+
			", created: 2026-01-01T00:00:00Z, expires: 2026-06-01}\n",
		"users/bob.yaml", "keys: ["+keyLine(t, 3)+", "+keyLine(t, 4)+"]\n",
		"users/carol.yaml", "",
		"groups/devs.yaml", "members: [alice, bob]\n",
		"groups/ops.yaml", "members: # on call\n  - bob\n",
		"repos/site.yaml", "id: "+id(1)+"\nkind: git\npublic: true\ngrants: {\"@devs\": write, bob: admin}\n",
		"repos/team/app.yaml", "id: "+id(2)+"\nkind: git\nformat: sha256\ngrants:\n  \"@devs\": read # for now\n  \"@ops\": write\n",
		"repos/team/old/svn.yaml", "id: "+id(3)+"\nkind: svn\ngrants: {\"*\": read}\n",
		"repos/secret.yaml", "id: "+id(4)+"\nkind: git\n",
	)
}

const secret = "hft_0123456789012345678901234567890123456789012"

func load(t testing.TB, fsys fs.FS) *auth.Policy {
	t.Helper()
	p, err := auth.Load(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
