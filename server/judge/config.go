//go:build judge

package main

import (
	"strconv"
	"strings"
)

// setting is one record of git's configuration.
type setting struct {
	Key, Value string
	Bare       bool // without a value, which means true
}

// config is git's configuration in git's order.
type config []setting

// parseConfig reads records of KEY LF VALUE NUL.
func parseConfig(raw string) (c config) {
	for record := range strings.SplitSeq(raw, "\x00") {
		if record == "" {
			continue
		}
		key, value, ok := strings.Cut(record, "\n")
		c = append(c, setting{key, value, !ok})
	}
	return c
}

// last returns the value that is in force.
func (c config) last(key string) (setting, bool) {
	for i := len(c) - 1; i >= 0; i-- {
		if c[i].Key == key {
			return c[i], true
		}
	}
	return setting{}, false
}

// flag returns a boolean, or otherwise if nothing or no boolean is set.
func (c config) flag(key string, otherwise bool) bool {
	s, ok := c.last(key)
	switch value := strings.ToLower(s.Value); {
	case !ok:
		return otherwise
	case s.Bare, value == "true", value == "yes", value == "on", value == "1":
		return true
	case value == "false", value == "no", value == "off", value == "0", value == "", value == "ignore", value == "warn":
		return false
	}
	return otherwise
}

// size returns a number of bytes, 0 if none is set.
func (c config) size(key string) int64 {
	s, _ := c.last(key)
	digits := strings.TrimRight(strings.ToLower(s.Value), "kmg")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0
	}
	for _, unit := range strings.ToLower(s.Value[len(digits):]) {
		n <<= map[rune]int{'k': 10, 'm': 20, 'g': 30}[unit]
	}
	return n
}

// withheld lists the capabilities that git offers only if it is told to, or not if it is told so.
func (c config) withheld() (words []string) {
	for word, offered := range map[string]bool{
		"filter":                       c.flag("uploadpack.allowfilter", false),
		"ref-in-want":                  c.flag("uploadpack.allowrefinwant", false),
		"sideband-all":                 c.flag("uploadpack.allowsidebandall", false),
		"unborn":                       c.flag("lsrefs.unborn", true),
		"allow-tip-sha1-in-want":       c.anyWant() || c.flag("uploadpack.allowtipsha1inwant", false),
		"allow-reachable-sha1-in-want": c.anyWant() || c.flag("uploadpack.allowreachablesha1inwant", false),
		"atomic":                       c.flag("receive.advertiseatomic", true),
		"push-options":                 c.flag("receive.advertisepushoptions", false),
	} {
		if !offered {
			words = append(words, word)
		}
	}
	return words
}

func (c config) anyWant() bool { return c.flag("uploadpack.allowanysha1inwant", false) }

// hides reports whether transfer.hideRefs and SECTION.hideRefs hide a ref: the last pattern that fits decides.
func (c config) hides(section, ref string) bool {
	hidden := false
	for _, s := range c {
		if s.Key != "transfer.hiderefs" && s.Key != section+".hiderefs" {
			continue
		}
		pattern, shows := strings.CutPrefix(s.Value, "!")
		pattern = strings.TrimRight(strings.TrimPrefix(pattern, "^"), "/")
		if rest, ok := strings.CutPrefix(ref, pattern); ok && (rest == "" || rest[0] == '/') {
			hidden = !shows
		}
	}
	return hidden
}
