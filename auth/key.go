package auth

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// MinRSABits is the length below which an RSA key is refused.
const MinRSABits = 2048

// MaxKeyLine is the longest line of a public key that ParseKey reads, in bytes.
const MaxKeyLine = 16 << 10

// Key is a user's SSH public key.
type Key struct {
	Fingerprint string // as ssh-keygen -l prints it: SHA256:...
	Type        string // such as ssh-ed25519
	Comment     string
	Line        string // the key as one line of an authorized_keys file, comment included, without a newline

	blob string // the wire encoding
	line int    // in the user's file
}

// ParseKey reads one public key as a *.pub file holds it. It refuses keys that are too weak to trust, private keys,
// certificates, and the options that an authorized_keys file may put before a key, since they would be ignored.
func ParseKey(line string) (Key, error) {
	line = strings.TrimSpace(line)
	switch {
	case len(line) > MaxKeyLine:
		return Key{}, fmt.Errorf("the key has %d bytes, more than %d", len(line), MaxKeyLine)
	case strings.Contains(line, "PRIVATE KEY"):
		return Key{}, errors.New("this is a private key: give the public one, from the file that ends in .pub, " +
			"and make a new key if this one was seen by anybody")
	case strings.ContainsAny(line, "\r\n"):
		return Key{}, errors.New("one line a key, please: this has several")
	}
	pub, comment, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return Key{}, errors.New("not an SSH public key: it should look like " +
			"\"ssh-ed25519 AAAA... comment\", as in a file that ends in .pub")
	}
	if len(options) > 0 {
		return Key{}, fmt.Errorf("the key has options (%.40s), which have no effect here: remove them", options[0])
	}
	if err := strongEnough(pub); err != nil {
		return Key{}, err
	}
	comment = strings.ToValidUTF8(comment, "?")
	k := Key{
		Fingerprint: ssh.FingerprintSHA256(pub),
		Type:        pub.Type(),
		Comment:     comment,
		Line:        strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub))),
		blob:        string(pub.Marshal()),
	}
	if comment != "" {
		k.Line += " " + comment
	}
	return k, nil
}

func strongEnough(pub ssh.PublicKey) error {
	if _, ok := pub.(*ssh.Certificate); ok {
		return errors.New("this is a certificate: give the public key itself")
	}
	if strings.HasPrefix(pub.Type(), "ssh-dss") {
		return errors.New("DSA keys are too weak: make a new key with ssh-keygen -t ed25519")
	}
	crypto, ok := pub.(ssh.CryptoPublicKey)
	if !ok {
		return nil
	}
	if key, ok := crypto.CryptoPublicKey().(*rsa.PublicKey); ok && key.N.BitLen() < MinRSABits {
		return fmt.Errorf("an RSA key of %d bits is too weak, it takes at least %d: "+
			"make a new key with ssh-keygen -t ed25519", key.N.BitLen(), MinRSABits)
	}
	return nil
}
