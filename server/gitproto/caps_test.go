package gitproto

import (
	"slices"
	"strings"
	"testing"
)

// FuzzCapabilities holds the reader of a list of capabilities to what the list says, word by word.
func FuzzCapabilities(f *testing.F) {
	f.Add(" report-status side-band-64k agent=git/2.39", "agent")
	f.Add("multi_ack_detailed no-done symref=HEAD:refs/heads/main symref=a:b", "symref")
	f.Add("side-band object-format=", "object-format")
	f.Add("a==b =c", "a=")
	f.Fuzz(func(t *testing.T, list, name string) {
		words := strings.Fields(list)
		c := parseCapabilities(list)
		if !slices.Equal([]string(c), words) {
			t.Errorf("%q reads as %q", list, c)
		}
		if c.has(name) != slices.Contains(words, name) {
			t.Errorf("has(%q) of %q is %v", name, list, c.has(name))
		}
		value, ok := c.value(name)
		i := slices.IndexFunc(words, func(word string) bool { return strings.HasPrefix(word, name+"=") && !strings.Contains(name, "=") })
		if ok != (i >= 0) || ok && name+"="+value != words[i] {
			t.Errorf("value(%q) of %q is %q, %v", name, list, value, ok)
		}
		if n := c.frameSize(); n != 0 && n != smallFrame && n != maxPacket {
			t.Errorf("frames of %d bytes", n)
		}
	})
}
