package gitproto

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Options shape one conversation. The zero value is version 0 over a stream with the default limits. A limit of zero
// means its default. None can be switched off.
type Options struct {
	// Version is the protocol version the client asked for: ParseVersion of GIT_PROTOCOL or the Git-Protocol header.
	// Receive-pack knows 0 and 1 only and answers 2 with 0, as git does.
	Version int
	// Advertise sends the advertisement and nothing else: the body of the answer to GET info/refs, with its
	// "# service" line.
	Advertise bool
	// Stateless reads one request and answers it: a POST to git-upload-pack or git-receive-pack. The reader is the
	// request's body, already decompressed, and must end in io.EOF where the body does.
	Stateless bool
	// Withheld names capabilities that are not offered: words of the advertisements of versions 0 and 1, and of the
	// values of ls-refs and fetch in version 2, such as filter, ref-in-want, unborn, atomic and push-options. A request
	// that uses one of those five is refused. Where neither allow-tip-sha1-in-want nor allow-reachable-sha1-in-want is
	// left, clients of versions 0 and 1 get what refs stand for and nothing else.
	Withheld []string
	// Agent names the server to clients; default "holdfast". Characters that git does not allow become dots.
	Agent string
	// KeepAlive is the longest silence while the server works; default 5 s, negative for no end of it. It has an
	// effect only once a client with side bands waits.
	KeepAlive time.Duration
	// CertNonce is what a client that signs its push is asked to put into the certificate: letters, digits and -./+=_,
	// at most 255. Signed pushes are offered and taken only if it is set. A certificate that comes in a request of its
	// own (Stateless) has the nonce of the advertisement before: whether it counts is for the Pusher to say.
	CertNonce string

	MaxRequestBytes    int64 // packet lines of one request, together; default 64 MiB
	MaxWants           int   // want lines of a fetch; default 262144
	MaxHaves           int   // have lines of a fetch, over all rounds; default 1048576
	MaxShallows        int   // shallow lines of a fetch or push; default 262144
	MaxDeepenNots      int   // deepen-not lines of a fetch; default 256
	MaxCommon          int   // haves taken into account: further ones count as unknown, the pack grows; default 65536
	MaxPrefixes        int   // ref-prefix lines: with more of them all refs are listed; default 4096
	MaxObjectInfos     int   // oid lines of one object-info request; default 65536
	MaxArguments       int   // argument lines of upload-archive; default 1024
	MaxCapabilities    int   // capability lines before the arguments of a version 2 request; default 256
	MaxCommands        int   // ref updates in one push; default 131072
	MaxRefName         int   // bytes of a ref's name; default 1024
	MaxPushOptions     int   // push options in one push; default 128
	MaxPushOptionBytes int   // bytes of one push option; default 4096
	MaxCertBytes       int   // bytes of a push certificate; default 4 MiB, which is about 30,000 ref updates

	// DrainBytes bounds what is read and thrown away of a refused request, so that the client comes to reading the
	// reason. Default 16 MiB over a stream, where git finds the reason even after its write has failed, and 1 GiB if
	// Stateless, where the reason may be lost with the connection.
	DrainBytes int64
	// DrainIdle ends the draining of a refused push over a stream once nothing has arrived for so long: a client may
	// have sent its pack and be waiting for the report without closing its side. Default 2 s.
	DrainIdle time.Duration
}

const (
	streamDrainBytes    = 16 << 20
	statelessDrainBytes = 1 << 30
)

func (o Options) withDefaults() Options {
	o.Agent = sanitizeAgent(cmp.Or(o.Agent, "holdfast"))
	o.KeepAlive = cmp.Or(o.KeepAlive, 5*time.Second)
	o.MaxRequestBytes = cmp.Or(o.MaxRequestBytes, 64<<20)
	o.MaxWants = cmp.Or(o.MaxWants, 1<<18)
	o.MaxHaves = cmp.Or(o.MaxHaves, 1<<20)
	o.MaxShallows = cmp.Or(o.MaxShallows, 1<<18)
	o.MaxDeepenNots = cmp.Or(o.MaxDeepenNots, 1<<8)
	o.MaxCommon = cmp.Or(o.MaxCommon, 1<<16)
	o.MaxPrefixes = cmp.Or(o.MaxPrefixes, 1<<12)
	o.MaxObjectInfos = cmp.Or(o.MaxObjectInfos, 1<<16)
	o.MaxArguments = cmp.Or(o.MaxArguments, 1<<10)
	o.MaxCapabilities = cmp.Or(o.MaxCapabilities, 1<<8)
	o.MaxCommands = cmp.Or(o.MaxCommands, 1<<17)
	o.MaxRefName = cmp.Or(o.MaxRefName, 1<<10)
	o.MaxPushOptions = cmp.Or(o.MaxPushOptions, 1<<7)
	o.MaxPushOptionBytes = cmp.Or(o.MaxPushOptionBytes, 1<<12)
	o.MaxCertBytes = cmp.Or(o.MaxCertBytes, 4<<20)
	o.DrainIdle = cmp.Or(o.DrainIdle, 2*time.Second)
	if o.DrainBytes == 0 {
		o.DrainBytes = streamDrainBytes
		if o.Stateless {
			o.DrainBytes = statelessDrainBytes
		}
	}
	return o
}

func (o *Options) offers(capability string) bool { return !slices.Contains(o.Withheld, capability) }

// offer returns the words that are not withheld, each with a space before it.
func (o *Options) offer(words ...string) string {
	var b strings.Builder
	for _, word := range words {
		if o.offers(word) {
			b.WriteByte(' ')
			b.WriteString(word)
		}
	}
	return b.String()
}

// ParseVersion returns the highest protocol version that value asks for, 0 if none that is known. The value is that of
// the environment variable GIT_PROTOCOL (ssh) or of the header Git-Protocol (HTTP): keys separated by colons, of which
// unknown ones are ignored.
func ParseVersion(value string) int {
	version := 0
	for key := range strings.SplitSeq(value, ":") {
		switch key {
		case "version=1":
			version = max(version, 1)
		case "version=2":
			version = 2
		}
	}
	return version
}

func sanitizeAgent(agent string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '.'
		}
		return r
	}, agent)
}
