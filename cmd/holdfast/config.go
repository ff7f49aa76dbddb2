package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"holdfast/replication"
	"holdfast/storage"
)

// configName is the configuration file's name below the data directory.
const configName = "holdfast.yaml"

// maxConfigBytes bounds a configuration file; a real one has a few hundred bytes.
const maxConfigBytes = 1 << 20

// config is holdfast.yaml. parseConfig returns it complete: every value is valid and every default filled in.
type config struct {
	// Name is the host's name as clients know it; it stands in clone URLs.
	Name string
	// SSH, HTTP and Svn are listen addresses, "" for off.
	SSH, HTTP, Svn string
	Replication    replicationConfig
	Mirrors        []mirrorConfig
	Limits         limitsConfig
}

// replicationConfig says when a push counts as safe.
type replicationConfig struct {
	Acks       int           // mirrors that must hold a push before it is acknowledged
	AckTimeout time.Duration // how long a push waits for them
	OnTimeout  string        // "fail" or "warn": what the client is told when they do not answer in time
	SpoolBytes int64         // bound of the spool; 0 is the package's default, a fifth of the disk
}

// mirrorConfig is one mirror: where it is, and where the host finds its put-only credential.
type mirrorConfig struct {
	Name, Endpoint, Region, Bucket string
	AccessKey, SecretKey           secretRef
	LockDays                       int // how long the bucket's own rule locks objects; 0 if it is not known
}

// secretRef says where a secret is kept: an environment variable or a file, never the configuration itself.
type secretRef struct{ Env, File string }

// limitsConfig bounds what clients may ask of the host; 0 stands for the default of the package that enforces it.
type limitsConfig struct {
	PackBytes     int64         // bytes of one push's pack
	Objects       int64         // objects in one pack
	ObjectBytes   int64         // bytes of one object
	InflatedBytes int64         // bytes of all a pack's objects together
	RefsPerPush   int64         // refs that one push may change
	RefNameBytes  int64         // of one ref's name
	PushOptions   int64         // options of one push
	OptionBytes   int64         // of one push option
	CertBytes     int64         // of a push certificate
	CertAge       time.Duration // how old the nonce in a push certificate may be
	Fetches       int64         // packs computed at once, for clones and fetches
	Pushes        int64         // packs received at once
	DrainTime     time.Duration // how long sessions may go on after a shutdown began
	IdleTimeout   time.Duration // silence after which a session is closed
}

func defaultConfig() *config {
	return &config{
		Name: "localhost", SSH: "0.0.0.0:2222", HTTP: "127.0.0.1:8080",
		Replication: replicationConfig{AckTimeout: 30 * time.Second, OnTimeout: "fail"},
	}
}

// defaultAcks is how many mirrors must acknowledge a push unless the configuration says otherwise.
func defaultAcks(mirrors int) int { return min(2, mirrors) }

var (
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	regionName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)
	envName    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	hostName   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)
)

// parseConfig reads a configuration strictly. The error names every problem, one a line, as file:line:column.
func parseConfig(file string, data []byte) (*config, error) {
	if len(data) > maxConfigBytes {
		return nil, fmt.Errorf("%s: %d bytes are too many for a configuration (at most %d)", file, len(data), maxConfigBytes)
	}
	root, err := decodeYAML(file, data)
	if err != nil {
		return nil, err
	}
	p := &yamlReader{file: file}
	c := defaultConfig()
	p.config(root, c)
	if len(p.problems) > 0 {
		return nil, errors.Join(p.problems...)
	}
	return c, nil
}

func (p *yamlReader) config(n *yaml.Node, c *config) {
	var replication, mirrors *yaml.Node
	p.mapping(n, "the configuration", fields{
		"name": func(n *yaml.Node) {
			c.Name = p.match(n, hostName, "a host name such as code.example.org")
		},
		"ssh":         func(n *yaml.Node) { p.listener(n, "ssh", &c.SSH) },
		"http":        func(n *yaml.Node) { p.listener(n, "http", &c.HTTP) },
		"svn":         func(n *yaml.Node) { p.listener(n, "svn", &c.Svn) },
		"replication": func(n *yaml.Node) { replication = n; p.replication(n, &c.Replication) },
		"mirrors":     func(n *yaml.Node) { mirrors = n; c.Mirrors = p.mirrors(n) },
		"limits":      func(n *yaml.Node) { p.limits(n, &c.Limits) },
	})
	p.acks(replication, mirrors, c)
}

// acks checks the one rule that spans two sections.
func (p *yamlReader) acks(replication, mirrors *yaml.Node, c *config) {
	if len(p.problems) > 0 {
		return // a mirror left out for its own problem would make this one up
	}
	switch {
	case len(c.Mirrors) == 0:
		at := mirrors
		if at == nil {
			at = &yaml.Node{Line: 1, Column: 1}
		}
		p.errorf(at, "mirrors: at least one is needed, three are meant: a push that no mirror holds is not safe")
	case c.Replication.Acks == 0:
		c.Replication.Acks = defaultAcks(len(c.Mirrors))
	case c.Replication.Acks > len(c.Mirrors):
		p.errorf(replication, "replication.acks: %d mirrors cannot give %d acknowledgements; add mirrors or lower acks",
			len(c.Mirrors), c.Replication.Acks)
	}
}

func (p *yamlReader) listener(n *yaml.Node, name string, to *string) {
	p.mapping(n, name, fields{
		"listen": func(n *yaml.Node) {
			addr := p.text(n)
			if err := checkListen(addr); err != nil {
				p.errorf(n, "%s.listen: %v", name, err)
				return
			}
			*to = addr
		},
	})
}

// checkListen reports what is wrong with a listen address; "" is off and therefore right.
func checkListen(addr string) error {
	if addr == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q is no address: want HOST:PORT such as 127.0.0.1:2222 (port 0 takes any free one)", addr)
	}
	if host != "" && host != "localhost" {
		if _, err := netip.ParseAddr(host); err != nil {
			return fmt.Errorf("%q: %q is no IP address to listen on (0.0.0.0 is every one of this machine)", addr, host)
		}
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q: port %q is not between 0 and 65535", addr, port)
	}
	return nil
}

func (p *yamlReader) replication(n *yaml.Node, r *replicationConfig) {
	p.mapping(n, "replication", fields{
		"acks":        func(n *yaml.Node) { r.Acks = int(p.integer(n, 1, 16)) },
		"ack_timeout": func(n *yaml.Node) { r.AckTimeout = p.duration(n, time.Second, time.Hour) },
		"on_timeout":  func(n *yaml.Node) { r.OnTimeout = p.oneOf(n, "fail", "warn") },
		"spool":       func(n *yaml.Node) { r.SpoolBytes = p.bytes(n, 64<<20) },
	})
}

func (p *yamlReader) limits(n *yaml.Node, l *limitsConfig) {
	p.mapping(n, "limits", fields{
		"pack_bytes":     func(n *yaml.Node) { l.PackBytes = p.bytes(n, 1<<10) },
		"objects":        func(n *yaml.Node) { l.Objects = p.integer(n, 1, 1<<32-1) },
		"object_bytes":   func(n *yaml.Node) { l.ObjectBytes = p.bytes(n, 1<<10) },
		"inflated_bytes": func(n *yaml.Node) { l.InflatedBytes = p.bytes(n, 1<<10) },
		"refs_per_push":  func(n *yaml.Node) { l.RefsPerPush = p.integer(n, 1, 1_000_000) },
		"ref_name_bytes": func(n *yaml.Node) { l.RefNameBytes = p.integer(n, 64, storage.MaxRefNameBytes) },
		"push_options":   func(n *yaml.Node) { l.PushOptions = p.integer(n, 1, 1000) },
		"option_bytes":   func(n *yaml.Node) { l.OptionBytes = p.integer(n, 64, 8<<10) },
		"cert_bytes":     func(n *yaml.Node) { l.CertBytes = p.bytesUpTo(n, 4<<10, storage.MaxEntryBytes/2) },
		"cert_age":       func(n *yaml.Node) { l.CertAge = p.duration(n, time.Minute, 24*time.Hour) },
		"fetches":        func(n *yaml.Node) { l.Fetches = p.integer(n, 1, 10_000) },
		"pushes":         func(n *yaml.Node) { l.Pushes = p.integer(n, 1, 10_000) },
		"drain_time":     func(n *yaml.Node) { l.DrainTime = p.duration(n, time.Second, time.Hour) },
		"idle_timeout":   func(n *yaml.Node) { l.IdleTimeout = p.duration(n, time.Second, 24*time.Hour) },
	})
}

func (p *yamlReader) mirrors(n *yaml.Node) []mirrorConfig {
	var all []mirrorConfig
	p.sequence(n, "mirrors", func(n *yaml.Node) {
		m, ok := p.mirror(n)
		if !ok {
			return
		}
		for _, other := range all {
			switch {
			case other.Name == m.Name:
				p.errorf(n, "mirrors: two are named %q", m.Name)
			case other.Endpoint == m.Endpoint && other.Bucket == m.Bucket:
				p.errorf(n, "mirrors: %q and %q are one bucket; two mirrors there fall together", other.Name, m.Name)
			}
		}
		all = append(all, m)
	})
	return all
}

// mirror reads one mirror; ok is false if it had problems.
func (p *yamlReader) mirror(n *yaml.Node) (m mirrorConfig, ok bool) {
	before := len(p.problems)
	m.Region = "us-east-1"
	inline := func(key string) func(*yaml.Node) {
		return func(n *yaml.Node) {
			p.errorf(n, "mirrors: a secret does not belong in this file: put it into an environment variable or a file "+
				"and name that with %[1]s_env or %[1]s_file", key)
		}
	}
	given := p.mapping(n, "a mirror", fields{
		"name":            func(n *yaml.Node) { m.Name = p.mirrorName(n) },
		"endpoint":        func(n *yaml.Node) { m.Endpoint = p.endpoint(n) },
		"region":          func(n *yaml.Node) { m.Region = p.match(n, regionName, "a region such as eu-central-1") },
		"bucket":          func(n *yaml.Node) { m.Bucket = p.match(n, bucketName, "a bucket name (3 to 63 of a-z, 0-9, . and -)") },
		"lock_days":       func(n *yaml.Node) { m.LockDays = int(p.integer(n, 1, 36500)) },
		"access_key_env":  func(n *yaml.Node) { m.AccessKey.Env = p.match(n, envName, "the name of an environment variable") },
		"secret_key_env":  func(n *yaml.Node) { m.SecretKey.Env = p.match(n, envName, "the name of an environment variable") },
		"access_key_file": func(n *yaml.Node) { m.AccessKey.File = p.nonEmpty(n, "the name of a file") },
		"secret_key_file": func(n *yaml.Node) { m.SecretKey.File = p.nonEmpty(n, "the name of a file") },
		"access_key":      inline("access_key"),
		"secret_key":      inline("secret_key"),
	})
	if given == nil {
		return m, false
	}
	for _, key := range []string{"name", "endpoint", "bucket"} {
		if !given[key] {
			p.errorf(n, "mirrors: a mirror needs %q", key)
		}
	}
	for _, key := range []string{"access_key", "secret_key"} {
		env, file := given[key+"_env"], given[key+"_file"]
		switch {
		case env && file:
			p.errorf(n, "mirrors: both %[1]s_env and %[1]s_file are given; keep one", key)
		case !env && !file && !given[key]:
			p.errorf(n, "mirrors: a mirror needs %[1]s_env (the name of an environment variable) or %[1]s_file", key)
		}
	}
	return m, len(p.problems) == before
}

func (p *yamlReader) mirrorName(n *yaml.Node) string {
	name := p.text(n)
	if err := replication.ValidMirrorName(name); err != nil && n.Kind == yaml.ScalarNode {
		p.errorf(n, "%v", err)
	}
	return name
}

// endpoint reads an S3 endpoint: https, or http where it cannot leave the machine.
func (p *yamlReader) endpoint(n *yaml.Node) string {
	text := p.text(n)
	if err := checkEndpoint(text); err != nil {
		p.errorf(n, "mirrors: endpoint %v", err)
		return ""
	}
	return strings.TrimSuffix(text, "/")
}

func checkEndpoint(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("%q is no address: want one such as https://s3.eu-central-1.amazonaws.com", text)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || (u.Path != "" && u.Path != "/") {
		return fmt.Errorf("%q: only scheme, host and port belong here", u.Redacted())
	}
	if port := u.Port(); port != "" {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return fmt.Errorf("%q: port %q is not between 0 and 65535", text, port)
		}
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return fmt.Errorf("%q: plain http is accepted on loopback only; use https", text)
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// mirror returns the mirror of that name.
func (c *config) mirror(name string) (mirrorConfig, error) {
	for _, m := range c.Mirrors {
		if m.Name == name {
			return m, nil
		}
	}
	return mirrorConfig{}, fmt.Errorf("no mirror is named %q; there are: %s", name, strings.Join(c.mirrorNames(), ", "))
}

func (c *config) mirrorNames() []string {
	var names []string
	for _, m := range c.Mirrors {
		names = append(names, m.Name)
	}
	return names
}

// secret reads a secret. dir is the configuration file's directory, from which a relative file name counts.
func (a *app) secret(dir string, ref secretRef) (string, error) {
	if ref.Env != "" {
		value := a.Getenv(ref.Env)
		if value == "" {
			return "", fmt.Errorf("the environment variable %s is not set", ref.Env)
		}
		return value, nil
	}
	path := ref.File
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	data, err := a.ReadFile(path)
	if err != nil {
		return "", err
	}
	value := strings.TrimSpace(string(data))
	if value == "" || strings.ContainsAny(value, "\n\r\x00") {
		return "", fmt.Errorf("%s: want one line with the secret and nothing else", path)
	}
	return value, nil
}

// suggestion returns " (did you mean X?)" where a known word is close to the one given.
func suggestion(word string, known []string) string {
	best, distance := "", 3
	for _, k := range slices.Sorted(slices.Values(known)) {
		if d := editDistance(word, k); d < distance {
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = min(diagonal, row[j], row[j+1]) + 1
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
