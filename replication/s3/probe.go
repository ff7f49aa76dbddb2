package s3

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"holdfast/replication"
)

// Finding is what a server was seen to do with a request.
type Finding string

// The findings.
const (
	Refused    Finding = "refused"     // 403 with the code AccessDenied, nothing else
	Allowed    Finding = "allowed"     // done, or refused for another reason than the credential
	NotOffered Finding = "not offered" // 405 or 501
	Unclear    Finding = "unclear"     // anything else
)

// Grade says whether a finding is as it should be.
type Grade string

// The grades.
const (
	Good    Grade = "good"
	Warning Grade = "warning" // weakens the mirror, or could not be seen
	Danger  Grade = "danger"  // the credential can destroy or lock out, or the mirror cannot do its work
)

// Check is one probe and its outcome.
type Check struct {
	Who     string  `json:"who"` // writer, reader or bucket
	What    string  `json:"what"`
	Finding Finding `json:"finding"`
	Grade   Grade   `json:"grade"`
	Detail  string  `json:"detail,omitempty"` // what the server answered
}

// Retention is how long new objects are locked.
type Retention struct {
	Mode   string    `json:"mode"`            // COMPLIANCE, GOVERNANCE, or empty: none was seen
	Until  time.Time `json:"until,omitzero"`  // of the probe's object
	Days   int       `json:"days,omitempty"`  // of the bucket's rule
	Source string    `json:"source,omitzero"` // object or bucket
}

// ProbeReport is what Probe found out about a mirror's bucket.
type ProbeReport struct {
	Endpoint string `json:"endpoint"`
	Bucket   string `json:"bucket"`
	// Conditions and Checksum are what Config should have.
	Conditions Conditions `json:"conditions"`
	Checksum   Checksum   `json:"checksum"`
	// IdenticalAccepted says that a conditional put of the bytes that are there succeeds. A 412 then always means that
	// the key holds other bytes.
	IdenticalAccepted bool `json:"identical_accepted"`
	// What only a reader can see.
	Versioning string    `json:"versioning,omitempty"` // Enabled, Suspended, or empty
	Retention  Retention `json:"retention,omitzero"`
	Owner      string    `json:"owner,omitempty"` // the id of the bucket's owner
	Checks     []Check   `json:"checks"`
}

// ProbeOptions is what Probe needs.
type ProbeOptions struct {
	// Instance is the host's: the probe's objects lie under v1/<instance>/probe/, where no other key is.
	Instance string
	// Writer is the credential of the host. Its Conditions are ignored, and its Checksum is the one that is tried first.
	Writer Config
	// Reader is a reader's credential. Without one, less is seen.
	Reader *Config
	// Now is the clock, time.Now by default.
	Now func() time.Time
}

// Probe finds out what a mirror's server does and what its credentials may do. It stores a few small objects, which stay
// as long as the bucket's lock holds them, and otherwise sends requests that change nothing even where they are allowed.
// It fails if the writer cannot put at all.
func Probe(ctx context.Context, o ProbeOptions) (*ProbeReport, error) {
	p := &prober{ctx: ctx, now: o.Now, report: &ProbeReport{
		Endpoint: o.Writer.Endpoint, Bucket: o.Writer.Bucket, Checksum: cmp.Or(o.Writer.Checksum, SHA256),
	}}
	if p.now == nil {
		p.now = time.Now
	}
	var id [8]byte
	rand.Read(id[:])
	p.prefix = "v1/" + o.Instance + "/probe/" + hex.EncodeToString(id[:])
	if err := p.putCanary(o.Writer); err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	if o.Reader != nil {
		cfg := *o.Reader
		cfg.Checksum = p.report.Checksum
		var err error
		if p.reader, err = New(cfg); err != nil {
			return nil, fmt.Errorf("probe: reader: %w", err)
		}
		defer p.reader.Close()
	}
	defer p.writer.Close()
	p.conditions(o.Writer)
	p.overwrite()
	p.harmless("writer", p.writer, writerProbes)
	p.shorten()
	if p.reader != nil {
		p.readerSees()
		p.harmless("reader", p.reader, readerProbes)
		p.locked()
	}
	return p.report, ctx.Err()
}

type prober struct {
	ctx    context.Context
	now    func() time.Time
	prefix string
	writer *Bucket // unconditional
	reader *Bucket // nil if there is none
	report *ProbeReport
}

// The bytes of the probe's objects.
var (
	canary = []byte("holdfast probe\n")
	other  = []byte("holdfast probe, other bytes\n")
)

func (p *prober) add(who, what string, f Finding, g Grade, detail string) {
	p.report.Checks = append(p.report.Checks, Check{who, what, f, g, detail})
}

func (p *prober) put(b *Bucket, name string, data []byte) error {
	return b.Put(p.ctx, p.prefix+name, bytes.NewReader(data), int64(len(data)))
}

// putCanary stores the first object, with the checksum that the server takes. That it succeeds shows that the key and
// its signature are good, so that a later 403 is about rights.
func (p *prober) putCanary(cfg Config) error {
	cfg.Conditions = Conditions{}
	var first error
	for _, sum := range []Checksum{p.report.Checksum, SHA256, MD5} {
		cfg.Checksum = sum
		b, err := New(cfg)
		if err != nil {
			return err
		}
		if err = p.put(b, "-canary", canary); err == nil {
			p.writer, p.report.Checksum = b, sum
			return nil
		}
		b.Close()
		first = cmp.Or(first, err)
		if errors.Is(err, replication.ErrDenied) {
			break
		}
	}
	return first
}

// conditions tries If-None-Match: * on fresh and on taken keys, in both kinds of put.
func (p *prober) conditions(cfg Config) {
	cfg.Conditions, cfg.Checksum = Conditions{Put: true, Complete: true}, p.report.Checksum
	b, err := New(cfg)
	if err != nil {
		return // cfg was good a moment ago
	}
	defer b.Close()
	fresh := p.put(b, "-conditional", canary)
	f, detail := enforced(fresh, func() error { return p.put(b, "-conditional", other) })
	p.report.Conditions.Put = f == Refused
	p.add("writer", "conditional put of a taken key", f, fenceGrade(f), detail)
	if f == Refused {
		p.report.IdenticalAccepted = p.put(b, "-conditional", canary) == nil
	}
	fresh = p.upload(b, "-multipart", canary)
	f, detail = enforced(fresh, func() error { return p.upload(b, "-multipart", other) })
	p.report.Conditions.Complete = f == Refused
	p.add("writer", "conditional completion of a taken key", f, fenceGrade(f), detail)
	if f != Refused && f != Allowed {
		err := p.upload(p.writer, "-multipart2", canary)
		grade := Good
		if err != nil {
			grade = Danger
		}
		p.add("writer", "multipart upload without a condition", findingOf(err), grade, text(err))
	}
}

// fenceGrade: a mirror that enforces nothing is allowed, as long as another one does.
func fenceGrade(f Finding) Grade {
	if f == Refused {
		return Good
	}
	return Warning
}

// enforced reports what a second write does after a first one that ended with err.
func enforced(err error, second func() error) (Finding, string) {
	if err == nil {
		err = second()
		if errors.Is(err, replication.ErrExists) {
			return Refused, "412"
		}
	}
	return findingOf(err), text(err)
}

func findingOf(err error) Finding {
	switch {
	case err == nil:
		return Allowed
	case errors.Is(err, replication.ErrDenied), errors.Is(err, replication.ErrExists):
		return Refused
	case errors.Is(err, replication.ErrUnsupported):
		return NotOffered
	}
	return Unclear
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (p *prober) upload(b *Bucket, name string, data []byte) error {
	u, err := b.Upload(p.ctx, p.prefix+name)
	if err != nil {
		return err
	}
	if _, err = u.Write(data); err == nil {
		err = u.Complete(p.ctx)
	}
	if err != nil {
		u.Abort(p.ctx) // what the probe wants to know is the first error
	}
	return err
}

// overwrite puts other bytes under a key without a condition. Where versions are kept that only adds one.
func (p *prober) overwrite() {
	if err := p.put(p.writer, "-overwritten", canary); err != nil {
		p.add("writer", "overwrite", Unclear, Warning, text(err))
		return
	}
	err := p.put(p.writer, "-overwritten", other)
	f := findingOf(err)
	if f != Allowed {
		p.add("writer", "overwrite", f, map[Finding]Grade{Refused: Good, NotOffered: Good, Unclear: Warning}[f], text(err))
		return
	}
	if p.reader == nil {
		p.add("writer", "overwrite", Allowed, Warning, "without a reader it cannot be seen whether the old version is kept")
		return
	}
	if got, err := p.oldest(); err != nil {
		p.add("writer", "overwrite", Allowed, Warning, "whether the old version is kept could not be seen: "+err.Error())
	} else if bytes.Equal(got, canary) {
		p.add("writer", "overwrite", Allowed, Good, "a new version; the old one is kept")
	} else {
		p.add("writer", "overwrite", Allowed, Danger, "the old bytes are gone: switch versioning on")
	}
}

func (p *prober) oldest() ([]byte, error) {
	vs, err := p.reader.Versions(p.ctx, p.prefix+"-overwritten")
	if err != nil {
		return nil, err
	}
	if len(vs) == 0 {
		return nil, replication.ErrNotFound
	}
	return p.read("-overwritten", vs[0].Version)
}

func (p *prober) read(name string, v replication.Version) ([]byte, error) {
	r, err := p.reader.Get(p.ctx, p.prefix+name, v)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, 1<<16))
}

// harmlessProbe is a request that changes nothing: its key does not exist or its body is malformed. Where the credential
// has the right, the server answers one of the statuses in allowed.
type harmlessProbe struct {
	what    string
	method  string
	key     string // ABSENT or CANARY, empty: the bucket
	query   url.Values
	body    string
	allowed []int
	grade   Grade // if it is allowed
}

func arg(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	return q
}

// Multi-delete and retention with malformed bodies are left out: servers answer 400 before they look at the rights.
var destructive = []harmlessProbe{
	{"delete a version", "DELETE", "ABSENT", arg("versionId", "null"), "", []int{204, 404}, Danger},
	{"hide a key behind a delete marker", "DELETE", "ABSENT", nil, "", []int{204, 404}, Danger},
	{"delete the bucket", "DELETE", "", nil, "", []int{204, 409}, Danger},
	{"change the policy", "PUT", "", arg("policy", ""), "{", []int{200, 204, 400}, Danger},
	{"change versioning", "PUT", "", arg("versioning", ""), "<x", []int{200, 400}, Danger},
	{"change the lock rule", "PUT", "", arg("object-lock", ""), "<x", []int{200, 400, 409}, Danger},
	{"change the lifecycle", "PUT", "", arg("lifecycle", ""), "<x", []int{200, 400}, Danger},
	{"change replication", "PUT", "", arg("replication", ""), "<x", []int{200, 400}, Danger},
	{"change the access list", "PUT", "", arg("acl", ""), "<x", []int{200, 400}, Danger},
	{"change a legal hold", "PUT", "ABSENT", arg("legal-hold", ""), "<x", []int{200, 400, 404}, Warning},
}

var writerProbes = append([]harmlessProbe{
	{"read an object", "GET", "CANARY", nil, "", []int{200}, Warning},
	{"find out whether a key exists", "GET", "ABSENT", nil, "", []int{404}, Warning},
	{"list", "GET", "", arg("list-type", "2", "max-keys", "1"), "", []int{200}, Warning},
	{"list versions", "GET", "", arg("versions", "", "max-keys", "1"), "", []int{200}, Warning},
}, destructive...)

var readerProbes = append([]harmlessProbe{
	{"put an object", "PUT", "READER", nil, "x", []int{200}, Danger},
	{"start an upload", "POST", "READER", arg("uploads", ""), "", []int{200}, Danger},
}, destructive...)

func (p *prober) harmless(who string, b *Bucket, probes []harmlessProbe) {
	keys := map[string]string{
		"": "", "ABSENT": p.prefix + "-absent", "CANARY": p.prefix + "-canary", "READER": p.prefix + "-reader",
	}
	for _, h := range probes {
		a, err := b.raw(p.ctx, rawRequest{method: h.method, key: keys[h.key], query: h.query, body: h.body})
		if err != nil {
			p.add(who, h.what, Unclear, Warning, b.clean(err.Error()))
			continue
		}
		f := classify(a, h.allowed)
		grade := map[Finding]Grade{Refused: Good, NotOffered: Good, Unclear: Warning, Allowed: h.grade}[f]
		p.add(who, h.what, f, grade, b.describe(a))
	}
}

func classify(a rawAnswer, allowed []int) Finding {
	switch {
	case a.status == http.StatusForbidden && a.code == "AccessDenied":
		return Refused
	case a.status == http.StatusMethodNotAllowed || a.status == http.StatusNotImplemented:
		return NotOffered
	}
	for _, status := range allowed {
		if a.status == status {
			return Allowed
		}
	}
	return Unclear
}

func (b *Bucket) describe(a rawAnswer) string {
	s := strconv.Itoa(a.status)
	if a.code != "" {
		s += " " + a.code
	}
	if a.message != "" {
		s += ": " + a.message
	}
	return b.clean(s)
}

// shorten tries to lock an object of the probe for a minute, which is shorter than any default rule. Where there is no
// rule, the object is locked for that minute: it is not the one whose lock is shown.
func (p *prober) shorten() {
	body := "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>COMPLIANCE</Mode><RetainUntilDate>" +
		p.now().Add(time.Minute).UTC().Format(time.RFC3339) + "</RetainUntilDate></Retention>"
	a, err := p.writer.raw(p.ctx, rawRequest{
		method: "PUT", key: p.prefix + "-overwritten", query: arg("retention", ""), body: body,
	})
	if err != nil {
		p.add("writer", "change an object's lock", Unclear, Warning, p.writer.clean(err.Error()))
		return
	}
	f := classify(a, []int{200, 204, 400})
	grade := map[Finding]Grade{Refused: Good, NotOffered: Good, Unclear: Warning, Allowed: Danger}[f]
	p.add("writer", "change an object's lock", f, grade, p.writer.describe(a))
}
