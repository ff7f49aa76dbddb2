package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"time"
)

// TokenPrefix begins every token, so that scanners for leaked secrets know one when they see it.
const TokenPrefix = "hft_"

const (
	tokenDigits = 43 // 62^43 > 2^256
	base62      = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// Token is what the policy keeps of a user's token: enough to recognise it, not enough to use it.
type Token struct {
	Name    string
	SHA256  string    // of the token, in hexadecimal
	Created time.Time // zero if unknown
	Expires time.Time // the token is refused from then on; zero for never

	line int
}

// NewToken makes a token, TokenPrefix and 43 digits, from 32 bytes of random, which must be a cryptographic source.
func NewToken(random io.Reader) (string, error) {
	var b [32]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	n, base, digit := new(big.Int).SetBytes(b[:]), big.NewInt(62), new(big.Int)
	var text [tokenDigits]byte
	for i := len(text) - 1; i >= 0; i-- {
		n.DivMod(n, base, digit)
		text[i] = base62[digit.Int64()]
	}
	return TokenPrefix + string(text[:]), nil
}

// HashToken returns what Token.SHA256 holds for the token secret. A token has 256 bits of entropy, so a plain hash is
// as good as a slow one.
func HashToken(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

func (t Token) check() error {
	if err := ValidUser(t.Name); err != nil {
		return err
	}
	if b, err := hex.DecodeString(t.SHA256); err != nil || len(b) != sha256.Size || strings.ToLower(t.SHA256) != t.SHA256 {
		return errors.New("sha256 must be 64 lower-case hexadecimal digits")
	}
	return nil
}
