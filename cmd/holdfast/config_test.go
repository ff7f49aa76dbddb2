package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// oneMirror is the least that a configuration needs.
const oneMirror = `mirrors: [{name: a, endpoint: "https://s3.example.org", bucket: code, access_key_env: K, secret_key_env: S}]
`

func TestConfigDefaults(t *testing.T) {
	got, err := parseConfig("f", []byte(oneMirror))
	if err != nil {
		t.Fatal(err)
	}
	want := &config{
		Name: "localhost", SSH: "0.0.0.0:2222", HTTP: "127.0.0.1:8080",
		Replication: replicationConfig{Acks: 1, AckTimeout: 30 * time.Second, OnTimeout: "fail"},
		Mirrors: []mirrorConfig{{
			Name: "a", Endpoint: "https://s3.example.org", Region: "us-east-1", Bucket: "code",
			AccessKey: secretRef{Env: "K"}, SecretKey: secretRef{Env: "S"},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestConfigFull(t *testing.T) {
	got, err := parseConfig("f", []byte(`
name: code.example.org
ssh:  {listen: ""}
http: {listen: "127.0.0.1:0"}
svn:  {listen: "127.0.0.1:3690"}
replication: {acks: 2, ack_timeout: 5s, on_timeout: warn, spool: 2GiB}
mirrors:
  - {name: aws, endpoint: "https://s3.eu-central-1.amazonaws.com/", region: eu-central-1, bucket: acme-code,
     access_key_env: HF_AWS_KEY, secret_key_env: HF_AWS_SECRET, lock_days: 90}
  - {name: nas-2, endpoint: "http://[::1]:9000", bucket: acme-code, access_key_file: k, secret_key_file: /etc/s}
limits: {pack_bytes: 1GiB, idle_timeout: 1m}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := &config{
		Name: "code.example.org", HTTP: "127.0.0.1:0", Svn: "127.0.0.1:3690",
		Replication: replicationConfig{Acks: 2, AckTimeout: 5 * time.Second, OnTimeout: "warn", SpoolBytes: 2 << 30},
		Mirrors: []mirrorConfig{
			{
				Name: "aws", Endpoint: "https://s3.eu-central-1.amazonaws.com", Region: "eu-central-1", Bucket: "acme-code",
				AccessKey: secretRef{Env: "HF_AWS_KEY"}, SecretKey: secretRef{Env: "HF_AWS_SECRET"}, LockDays: 90,
			},
			{
				Name: "nas-2", Endpoint: "http://[::1]:9000", Region: "us-east-1", Bucket: "acme-code",
				AccessKey: secretRef{File: "k"}, SecretKey: secretRef{File: "/etc/s"},
			},
		},
		Limits: limitsConfig{PackBytes: 1 << 30, IdleTimeout: time.Minute},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestConfigTemplateParses(t *testing.T) {
	c, err := parseConfig("template", []byte(configTemplate))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Mirrors) != 3 || c.Replication.Acks != 2 {
		t.Errorf("the template has %d mirrors and %d acks, not 3 and 2", len(c.Mirrors), c.Replication.Acks)
	}
	// What is commented out there must be right too, once the comment sign is taken away.
	_, limits, _ := strings.Cut(configTemplate, "# limits:")
	limits = "limits:" + strings.ReplaceAll(limits, "\n#", "\n")
	if _, err := parseConfig("template", []byte(oneMirror+limits)); err != nil {
		t.Error(err)
	}
}

func TestConfigErrors(t *testing.T) {
	mirror := func(with string) string { return "mirrors:\n  - {" + with + "}\n" }
	const rest = `name: a, endpoint: "https://h", bucket: code, access_key_env: K, secret_key_env: S`
	without := func(key string) string {
		var kept []string
		for _, field := range strings.Split(rest, ", ") {
			if !strings.HasPrefix(field, key+":") {
				kept = append(kept, field)
			}
		}
		return strings.Join(kept, ", ")
	}
	for name, c := range map[string]struct{ yaml, want string }{
		"empty file":            {"", "f:1:1: mirrors: at least one is needed"},
		"no mirrors":            {"name: x\n", "f:1:1: mirrors: at least one is needed"},
		"empty list":            {"mirrors: []\n", "f:1:10: mirrors: at least one"},
		"not yaml":              {"a: b: c\n", "f: mapping values are not allowed"},
		"tab":                   {"name: x\nssh:\n\tlisten: y\n", "f:"},
		"two documents":         {oneMirror + "---\nname: x\n", "a second YAML document"},
		"a list":                {"- a\n", "f:1:1: the configuration must be a list of keys and values, not a list"},
		"a word":                {"hello\n", `not "hello"`},
		"unknown key":           {oneMirror + "nmae: x\n", `f:2:1: the configuration: unknown key "nmae" (did you mean "name"?)`},
		"unknown deep key":      {oneMirror + "ssh: {listn: \"\"}\n", `f:2:7: ssh: unknown key "listn" (did you mean "listen"?)`},
		"unknown and far":       {oneMirror + "telemetry: x\n", `f:2:1: the configuration: unknown key "telemetry"`},
		"twice":                 {oneMirror + "name: x\nname: y\n", `f:3:1: the configuration: "name" is given twice`},
		"alias":                 {"name: &n x\nssh: *n\n", "an alias"},
		"merge":                 {"ssh: &n {listen: \"\"}\nhttp: {<<: *n}\n", `unknown key "<<"`},
		"complex key":           {"? [a]\n: b\n", "a key must be a word"},
		"name":                  {oneMirror + "name: \"a b\"\n", "f:2:7: \"a b\" is not a host name"},
		"name is a list":        {oneMirror + "name: [a]\n", "f:2:7: want one value, not a list"},
		"listen":                {oneMirror + "ssh: {listen: nowhere}\n", `f:2:15: ssh.listen: "nowhere" is no address`},
		"listen host":           {oneMirror + "ssh: {listen: \"example.org:22\"}\n", `"example.org" is no IP address`},
		"listen port":           {oneMirror + "http: {listen: \"127.0.0.1:65536\"}\n", `port "65536" is not between`},
		"svn":                   {oneMirror + "svn: {listen: \"3690\"}\n", "f:2:15: svn.listen: \"3690\" is no address"},
		"acks zero":             {oneMirror + "replication: {acks: 0}\n", `"0" is not a whole number from 1 to 16`},
		"acks word":             {oneMirror + "replication: {acks: all}\n", `"all" is not a whole number`},
		"more acks than places": {oneMirror + "replication: {acks: 2}\n", "f:2:14: replication.acks: 1 mirrors cannot give 2"},
		"ack_timeout":           {oneMirror + "replication: {ack_timeout: 30}\n", `"30" is not a time from 1s to 1h0m0s`},
		"ack_timeout negative":  {oneMirror + "replication: {ack_timeout: -5s}\n", `"-5s" is not a time`},
		"on_timeout":            {oneMirror + "replication: {on_timeout: ignore}\n", `f:2:27: "ignore" is not one of: fail, warn`},
		"spool":                 {oneMirror + "replication: {spool: lots}\n", `"lots": want a size`},
		"spool too small":       {oneMirror + "replication: {spool: 1KiB}\n", "less than the least sensible size, 64.0 MiB"},
		"limits":                {oneMirror + "limits: {object: 1}\n", `unknown key "object" (did you mean "objects"?)`},
		"cert_bytes":            {oneMirror + "limits: {cert_bytes: 1GiB}\n", `"1GiB" is more than 8.0 MiB`},
		"ref_name_bytes":        {oneMirror + "limits: {ref_name_bytes: 9999}\n", `"9999" is not a whole number from 64 to 1024`},
		"mirror not a mapping":  {"mirrors: [a]\n", "a mirror must be a list of keys and values"},
		"mirrors not a list":    {"mirrors: {a: b}\n", "f:1:10: mirrors must be a list"},
		"no name":               {mirror(without("name")), `f:2:5: mirrors: a mirror needs "name"`},
		"no endpoint":           {mirror(without("endpoint")), `a mirror needs "endpoint"`},
		"no bucket":             {mirror(without("bucket")), `a mirror needs "bucket"`},
		"no access key":         {mirror(without("access_key_env")), "a mirror needs access_key_env"},
		"no secret key":         {mirror(without("secret_key_env")), "a mirror needs secret_key_env"},
		"env and file":          {mirror(rest + ", access_key_file: f"), "both access_key_env and access_key_file"},
		"inline access key":     {mirror(without("access_key_env") + ", access_key: AKIA"), "f:2:83: mirrors: a secret does not belong in this file"},
		"inline secret key":     {mirror(without("secret_key_env") + ", secret_key: x"), "name that with secret_key_env or secret_key_file"},
		"env name":              {mirror(without("access_key_env") + `, access_key_env: "A B"`), "is not the name of an environment variable"},
		"upper-case name":       {mirror(without("name") + ", name: AWS"), `mirror name "AWS"`},
		"bucket name":           {mirror(without("bucket") + ", bucket: A_B"), `"A_B" is not a bucket name`},
		"lock_days":             {mirror(rest + ", lock_days: 0"), `"0" is not a whole number from 1 to 36500`},
		"plain http":            {mirror(without("endpoint") + `, endpoint: "http://s3.example.org"`), "plain http is accepted on loopback only"},
		"http, looks local":     {mirror(without("endpoint") + `, endpoint: "http://127.0.0.1.example.org"`), "plain http"},
		"no scheme":             {mirror(without("endpoint") + `, endpoint: s3.example.org`), "is no address"},
		"endpoint path":         {mirror(without("endpoint") + `, endpoint: "https://h/path"`), "only scheme, host and port"},
		"endpoint password":     {mirror(without("endpoint") + `, endpoint: "https://u:secret@h"`), "u:xxxxx@h"},
		"endpoint port":         {mirror(without("endpoint") + `, endpoint: "https://h:99999"`), "port"},
		"same name": {
			"mirrors:\n  - {" + rest + "}\n  - {" + without("bucket") + ", bucket: other}\n",
			`f:3:5: mirrors: two are named "a"`,
		},
		"same bucket": {
			"mirrors:\n  - {" + rest + "}\n  - {" + without("name") + ", name: b}\n",
			`f:3:5: mirrors: "a" and "b" are one bucket`,
		},
		"too long": {strings.Repeat("#\n", maxConfigBytes), "too many"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseConfig("f", []byte(c.yaml))
			if err == nil {
				t.Fatalf("no error for\n%s", c.yaml)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got\n%v\nwant something with\n%s", err, c.want)
			}
			if strings.Contains(err.Error(), "AKIA") || strings.Contains(err.Error(), "u:secret") {
				t.Errorf("the error repeats a secret: %v", err)
			}
		})
	}
}

func TestConfigNamesEveryProblem(t *testing.T) {
	_, err := parseConfig("f", []byte("nmae: x\nssh: {listen: nowhere}\nmirrors: [{name: B}]\n"))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"f:1:1: ", "f:2:15: ", `mirror name "B"`, `needs "endpoint"`, `needs "bucket"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in\n%v", want, err)
		}
	}
}

func TestSecret(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("good", "s3cret\n")
	write("empty", "\n")
	write("two", "a\nb\n")
	a := &app{
		Getenv:   func(name string) string { return map[string]string{"SET": "from env"}[name] },
		ReadFile: os.ReadFile,
	}
	for _, c := range []struct {
		ref       secretRef
		want, err string
	}{
		{secretRef{Env: "SET"}, "from env", ""},
		{secretRef{Env: "UNSET"}, "", "UNSET is not set"},
		{secretRef{File: "good"}, "s3cret", ""},
		{secretRef{File: filepath.Join(dir, "good")}, "s3cret", ""},
		{secretRef{File: "empty"}, "", "one line"},
		{secretRef{File: "two"}, "", "one line"},
		{secretRef{File: "missing"}, "", "missing"},
	} {
		got, err := a.secret(dir, c.ref)
		if got != c.want || (err == nil) != (c.err == "") || (err != nil && !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%+v: got %q, %v; want %q, %q", c.ref, got, err, c.want, c.err)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "17": 17, "17B": 17, "1KiB": 1024, "3 MiB": 3 << 20, "2GiB": 2 << 30, "1TiB": 1 << 40, "5KB": 5000, "7GB": 7e9,
		"-1": -1, "1.5GiB": -1, "GiB": -1, "": -1, "9999999TiB": -1, "1PiB": -1,
	} {
		got, err := parseSize(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: got %d, %v; want %d", text, got, err, want)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(oneMirror))
	f.Add([]byte(configTemplate))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("? {}\n: - [\n"))
	f.Add([]byte("mirrors:\n- \n- {}\nreplication: ~\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig("f", data)
		if (c == nil) == (err == nil) {
			t.Fatalf("config %v with error %v", c, err)
		}
		if err != nil {
			return
		}
		if c.Replication.Acks < 1 || c.Replication.Acks > len(c.Mirrors) || c.Replication.AckTimeout <= 0 {
			t.Errorf("accepted %+v", c)
		}
		for _, m := range c.Mirrors {
			if checkEndpoint(m.Endpoint) != nil || m.Bucket == "" || m.AccessKey == m.SecretKey && m.AccessKey == (secretRef{}) {
				t.Errorf("accepted %+v", m)
			}
		}
	})
}
