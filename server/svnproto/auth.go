package svnproto

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"

	"holdfast/storage/svn"
)

// The mechanisms of authentication.
const (
	anonymous = "ANONYMOUS"
	external  = "EXTERNAL"
	cramMD5   = "CRAM-MD5"
)

// canAuthenticate reports whether there is a way to get a name.
func (s *session) canAuthenticate() bool { return s.o.TunnelUser != "" || s.t.Secret != nil }

// mechanisms lists what leads to a level; named excludes that of having no name.
func (s *session) mechanisms(need Level, named bool) (words []string) {
	if !named && s.t.Anonymous >= need {
		words = append(words, anonymous)
	}
	if s.o.TunnelUser != "" && s.t.Authenticated >= need {
		words = append(words, external)
	}
	if s.t.Secret != nil && s.t.Authenticated >= need {
		words = append(words, cramMD5)
	}
	return words
}

// authenticate sends an authentication request and hears the client until it succeeds or gives up. It has a new view then, or the old one.
func (s *session) authenticate(need Level, named bool) error {
	words := s.mechanisms(need, named)
	s.w.open("success")
	s.w.Raw("( ")
	for _, word := range words {
		s.w.Word(word)
	}
	s.w.Close()
	s.w.Str(s.t.Realm)
	s.w.shut()
	for range s.o.MaxAuthTries {
		items, err := s.r.ReadTuple()
		if err != nil {
			return err
		}
		a := args{items: items}
		mech, initial := a.word(), a.optStr()
		if a.err != nil {
			return a.err
		}
		if ok, err := s.try(words, mech, initial); ok || err != nil {
			return err
		}
	}
	return svn.Errorf(svn.ErrRANotAuthorized, "Too many failed attempts to authenticate")
}

// try runs one mechanism. If it succeeds, err is why the user gets no view all the same.
func (s *session) try(words []string, mech string, initial *string) (ok bool, err error) {
	user := ""
	switch {
	case !contains(words, mech):
		return false, s.deny("Must authenticate with listed mechanism")
	case mech == external:
		user = s.o.TunnelUser
		if initial != nil && *initial != "" && *initial != user {
			return false, s.deny("Requested username does not match")
		}
	case mech == cramMD5:
		if user, err = s.cram(); user == "" || err != nil {
			return false, err
		}
	}
	// The client is who it says. Whether that is of any use, it hears in the response that follows, where there is room for reasons.
	s.w.Success()
	if s.view == nil || s.user != user {
		err = s.open(user)
	}
	return true, err
}

func contains(words []string, word string) bool {
	for _, w := range words {
		if w == word {
			return true
		}
	}
	return false
}

// deny tells that an attempt has failed.
func (s *session) deny(why string) error {
	s.w.open("failure")
	s.w.Str(why)
	s.w.shut()
	return s.w.Flush()
}

// cram is the exchange of CRAM-MD5, RFC 2195. It returns the name that the client has shown to know the password of, or "".
func (s *session) cram() (user string, err error) {
	challenge := fmt.Sprintf("<%s@holdfast>", rand.Text())
	s.w.open("step")
	s.w.Str(challenge)
	s.w.shut()
	it, err := s.r.Read()
	if err != nil || it.Kind != String {
		return "", err
	}
	answer := string(it.Bytes)
	i := strings.LastIndexByte(answer, ' ')
	digest, err := hex.DecodeString(answer[i+1:])
	if i < 0 || err != nil || len(digest) != md5.Size {
		return "", s.deny("Malformed client response in authentication")
	}
	user = answer[:i]
	secret, ok := s.t.Secret(s.ctx, user)
	mac := hmac.New(md5.New, []byte(secret))
	mac.Write([]byte(challenge))
	if matches := hmac.Equal(mac.Sum(nil), digest); !ok || !matches || user == "" {
		if !ok {
			return "", s.deny("Username not found")
		}
		return "", s.deny("Password incorrect")
	}
	return user, nil
}
