package replication

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"

	"filippo.io/age"
	"go.yaml.in/yaml/v3"
	"golang.org/x/mod/sumdb/note"
)

// bind parses the keys and checks that everything fits together.
func (k *Kit) bind() error {
	m := &k.meta
	if m.Version != kitVersion {
		return damaged(kitFile, fmt.Errorf("holdfast_kit is %d, this program reads %d", m.Version, kitVersion))
	}
	if !ValidInstance(m.Instance) {
		return damaged(kitFile, fmt.Errorf("bad instance %.80q", m.Instance))
	}
	if _, err := k.rootHash(); err != nil {
		return damaged(kitFile, fmt.Errorf("root.sha256: %w", err))
	}
	if err := k.bindMirrors(); err != nil {
		return damaged(kitFile, err)
	}
	if err := k.bindRoot(); err != nil {
		return err
	}
	return k.bindIdentity()
}

func (k *Kit) bindMirrors() error {
	if len(k.meta.Mirrors) == 0 {
		return errors.New("it names no mirror")
	}
	seen := make(map[string]bool)
	for _, m := range k.meta.Mirrors {
		if err := ValidMirrorName(m.Name); err != nil {
			return err
		}
		if seen[m.Name] {
			return fmt.Errorf("two mirrors are called %q", m.Name)
		}
		seen[m.Name] = true
	}
	for name := range k.readers {
		if !seen[name] {
			return fmt.Errorf("%s has a credential for %q, which is no mirror of this kit", readersFile, name)
		}
	}
	return nil
}

func (k *Kit) bindRoot() (err error) {
	if k.verifier, err = note.NewVerifier(k.meta.RootKey); err != nil {
		return damaged(kitFile, fmt.Errorf("root_key: %w", err))
	}
	if k.verifier.Name() != rootKeyName(k.meta.Instance) {
		return damaged(kitFile, fmt.Errorf("root_key is %q's, not the one of instance %s", k.verifier.Name(), k.meta.Instance))
	}
	if k.signer, err = note.NewSigner(k.root); err != nil {
		// The cause may quote the secret.
		return damaged(rootFile, errors.New("it holds no signing key"))
	}
	if k.signer.Name() != k.verifier.Name() || k.signer.KeyHash() != k.verifier.KeyHash() {
		return damaged(rootFile, errors.New("this is the key of another kit: its public key is not kit.yaml's root_key"))
	}
	msg := []byte("holdfast: does root.key fit kit.yaml?\n")
	sig, err := k.signer.Sign(msg)
	if err != nil || !k.verifier.Verify(msg, sig) {
		return damaged(rootFile, errors.New("kit.yaml's root_key does not verify what it signs"))
	}
	return nil
}

func (k *Kit) bindIdentity() error {
	ids, err := age.ParseIdentities(strings.NewReader(k.identity))
	if err != nil || len(ids) != 1 {
		return damaged(ageFile, errors.New("it holds no age identity"))
	}
	var t RecipientType
	switch id := ids[0].(type) {
	case *age.HybridIdentity:
		t, k.public = Hybrid, id.Recipient().String()
	case *age.X25519Identity:
		t, k.public = X25519, id.Recipient().String()
	}
	if t != k.meta.RecipientType {
		return damaged(ageFile, fmt.Errorf("the identity is of type %q, %s says %q", t, kitFile, k.meta.RecipientType))
	}
	if hexSum(k.public) != k.meta.RecipientSum {
		return damaged(ageFile, fmt.Errorf("this is the identity of another kit: its recipient is not the one that %s names", kitFile))
	}
	k.age = ids[0]
	return nil
}

func damaged(file string, err error) error { return fmt.Errorf("%w: %s: %w", ErrKitDamaged, file, err) }

func hexSum(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// unmarshalStrict decodes exactly one YAML document without unknown keys.
func unmarshalStrict(data []byte, v any) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(v); err != nil {
		return err
	}
	if err := dec.Decode(new(any)); err != io.EOF {
		return errors.New("it holds more than one document")
	}
	return nil
}

func sortedNames(readers map[string]Credential) []string {
	names := make([]string, 0, len(readers))
	for name := range readers {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// rootKeyName is the note name of an instance's root key.
func rootKeyName(instance string) string { return "holdfast/" + instance + "/root" }
