package gitproto

import "strings"

// capabilities is a client's or server's list of capabilities: words of the form name or name=value.
type capabilities []string

// parseCapabilities splits a list of protocol 0 and 1, in which spaces separate the words.
func parseCapabilities(list string) capabilities { return strings.Fields(list) }

// has reports whether the list holds name without a value.
func (c capabilities) has(name string) bool {
	for _, word := range c {
		if word == name {
			return true
		}
	}
	return false
}

// value returns what follows name= in the list.
func (c capabilities) value(name string) (string, bool) {
	for _, word := range c {
		if key, value, ok := strings.Cut(word, "="); ok && key == name {
			return value, true
		}
	}
	return "", false
}

// frameSize returns the length of the frames of the client's side band, 0 if it wants none.
func (c capabilities) frameSize() int {
	switch {
	case c.has("side-band-64k"):
		return maxPacket
	case c.has("side-band"):
		return smallFrame
	}
	return 0
}
