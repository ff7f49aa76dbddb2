package replication_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/replication"
	"holdfast/storage"
)

func kitOptions() replication.KitOptions {
	return replication.KitOptions{
		Instance:  string(storage.NewRepoID()),
		Name:      "code.example.org",
		Recipient: replication.X25519,
		Created:   time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		Mirrors: []replication.KitMirror{
			{Name: "aws", Endpoint: "https://s3.eu-central-1.amazonaws.com", Bucket: "acme-code", Region: "eu-central-1"},
			{Name: "b2-west", Endpoint: "https://s3.us-west.example", Bucket: "acme"},
		},
		Readers: map[string]replication.Credential{"aws": {AccessKey: "AKREAD", SecretKey: "reading-is-allowed"}},
	}
}

func createKit(t *testing.T, o replication.KitOptions) *replication.Kit {
	t.Helper()
	k, err := replication.CreateKit(filepath.Join(t.TempDir(), "kit"), o)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKitRoundTrip(t *testing.T) {
	for _, kind := range []replication.RecipientType{"", replication.X25519} {
		o := kitOptions()
		o.Recipient = kind
		made := createKit(t, o)
		if err := made.SetKnownRoot(1, [32]byte{7}, nil); err != nil {
			t.Fatal(err)
		}
		k, err := replication.OpenKit(made.Dir())
		if err != nil {
			t.Fatal(err)
		}
		if k.Instance() != o.Instance || k.Recipient() != made.Recipient() || k.RootKey() != made.RootKey() {
			t.Errorf("%q: reopened kit differs", kind)
		}
		if kind == "" && (k.RecipientType() != replication.Hybrid || !strings.HasPrefix(k.Recipient(), "age1pq1")) {
			t.Errorf("default recipient is %s", k.RecipientType())
		}
		if v, h := k.KnownRoot(); v != 1 || h != [32]byte{7} {
			t.Errorf("known root %d %x", v, h)
		}
		if len(k.Mirrors()) != 2 || k.Mirrors()[0] != o.Mirrors[0] {
			t.Errorf("mirrors %v", k.Mirrors())
		}
		if w := k.Warnings(); len(w) != 0 {
			t.Errorf("warnings %q", w)
		}
		if err := k.Verify(); err != nil {
			t.Errorf("Verify: %v", err)
		}
	}
}

func TestKitFilesArePrivate(t *testing.T) {
	k := createKit(t, kitOptions())
	for _, name := range []string{"root.key", "recovery.agekey", "readers.yaml"} {
		fi, err := os.Stat(filepath.Join(k.Dir(), name))
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, fi.Mode())
		}
	}
	yaml, err := os.ReadFile(filepath.Join(k.Dir(), "kit.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"PRIVATE", "AGE-SECRET", "reading-is-allowed"} {
		if strings.Contains(string(yaml), secret) {
			t.Errorf("kit.yaml holds %q", secret)
		}
	}
}

func TestCreateKitRefuses(t *testing.T) {
	t.Run("a directory with files", func(t *testing.T) {
		dir := t.TempDir()
		os.WriteFile(filepath.Join(dir, "photo.jpg"), nil, 0o644)
		_, err := replication.CreateKit(dir, kitOptions())
		if err == nil || !strings.Contains(err.Error(), "not empty") {
			t.Fatalf("got %v", err)
		}
		names, _ := os.ReadDir(dir)
		if len(names) != 1 {
			t.Errorf("left %v behind", names)
		}
	})
	t.Run("a kit", func(t *testing.T) {
		k := createKit(t, kitOptions())
		if _, err := replication.CreateKit(k.Dir(), kitOptions()); err == nil {
			t.Fatal("overwrote a kit")
		}
		if again, err := replication.OpenKit(k.Dir()); err != nil || again.RootKey() != k.RootKey() {
			t.Fatalf("the kit changed: %v", err)
		}
	})
	bad := map[string]func(*replication.KitOptions){
		"instance":           func(o *replication.KitOptions) { o.Instance = "../x" },
		"no mirror":          func(o *replication.KitOptions) { o.Mirrors, o.Readers = nil, nil },
		"mirror name":        func(o *replication.KitOptions) { o.Mirrors[0].Name = "AWS" },
		"two of a name":      func(o *replication.KitOptions) { o.Mirrors[0].Name = "b2-west" },
		"reader of nobody":   func(o *replication.KitOptions) { o.Readers["gcs"] = replication.Credential{} },
		"unknown recipients": func(o *replication.KitOptions) { o.Recipient = "rsa" },
	}
	for name, change := range bad {
		t.Run(name, func(t *testing.T) {
			o := kitOptions()
			change(&o)
			dir := filepath.Join(t.TempDir(), "kit")
			if _, err := replication.CreateKit(dir, o); err == nil {
				t.Fatal("accepted")
			}
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Error("left a directory behind")
			}
		})
	}
	t.Run("an empty directory is welcome", func(t *testing.T) {
		if _, err := replication.CreateKit(t.TempDir(), kitOptions()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestOpenKitDamaged(t *testing.T) {
	other := createKit(t, kitOptions())
	read := func(dir, name string) string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	tests := []struct {
		name, file string
		content    func(old string) string
		is         error
		says       string
	}{
		{"another root key", "root.key", func(string) string { return read(other.Dir(), "root.key") }, replication.ErrKitDamaged, "another kit"},
		{"another identity", "recovery.agekey", func(string) string { return read(other.Dir(), "recovery.agekey") }, replication.ErrKitDamaged, "another kit"},
		{"empty root key", "root.key", func(string) string { return "" }, replication.ErrKitDamaged, "holds no key"},
		{"truncated root key", "root.key", func(s string) string { return s[:len(s)-9] }, replication.ErrKitDamaged, "signing key"},
		{"truncated identity", "recovery.agekey", func(s string) string { return s[:len(s)-9] }, replication.ErrKitDamaged, "no age identity"},
		{"two identities", "recovery.agekey", func(s string) string { return s + s }, replication.ErrKitDamaged, "more than one"},
		{"unknown key", "kit.yaml", func(s string) string { return s + "colour: red\n" }, replication.ErrKitDamaged, "colour"},
		{"second document", "kit.yaml", func(s string) string { return s + "---\na: 1\n" }, replication.ErrKitDamaged, "document"},
		{"later version", "kit.yaml", func(s string) string { return strings.Replace(s, "holdfast_kit: 1", "holdfast_kit: 9", 1) }, replication.ErrKitDamaged, "reads 1"},
		{"not yaml", "kit.yaml", func(string) string { return "\x00\x01" }, replication.ErrKitDamaged, "kit.yaml"},
		{"a huge file", "kit.yaml", func(s string) string { return s + strings.Repeat("#", 1<<20) }, replication.ErrKitDamaged, "longer"},
		{"bad readers", "readers.yaml", func(string) string { return "readers: {mars: {}}" }, replication.ErrKitDamaged, "mars"},
		{"no kit.yaml", "kit.yaml", nil, replication.ErrNoKit, "kit.yaml"},
		{"no root key", "root.key", nil, replication.ErrKitDamaged, "missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := createKit(t, kitOptions())
			path := filepath.Join(k.Dir(), tt.file)
			if tt.content == nil {
				os.Remove(path)
			} else if err := os.WriteFile(path, []byte(tt.content(read(k.Dir(), tt.file))), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := replication.OpenKit(k.Dir())
			if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %v that says %q", err, tt.is, tt.says)
			}
			if err != nil && (strings.Contains(err.Error(), "PRIVATE+KEY+") || strings.Contains(err.Error(), "AGE-SECRET-KEY-1")) {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

func TestKitVerifyFindsLooseFiles(t *testing.T) {
	k := createKit(t, kitOptions())
	os.Chmod(filepath.Join(k.Dir(), "root.key"), 0o644)
	os.Remove(filepath.Join(k.Dir(), "README.txt"))
	os.WriteFile(filepath.Join(k.Dir(), "root.key.tmp"), []byte("x"), 0o600)
	err := k.Verify()
	if err == nil {
		t.Fatal("Verify found nothing")
	}
	for _, want := range []string{"chmod 600", "README.txt", "root.key.tmp", "no root record"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Verify does not mention %q: %v", want, err)
		}
	}
	again, err := replication.OpenKit(k.Dir())
	if err != nil {
		t.Fatalf("loose permissions must not keep anybody from restoring: %v", err)
	}
	if len(again.Warnings()) != 1 {
		t.Errorf("warnings %q", again.Warnings())
	}
}

func TestKitReaders(t *testing.T) {
	k := createKit(t, kitOptions())
	if c, ok := k.Reader("aws"); !ok || c.AccessKey != "AKREAD" {
		t.Errorf("aws from the kit: %v %v", c, ok)
	}
	if _, ok := k.Reader("b2-west"); ok {
		t.Error("b2-west has no credential")
	}
	t.Setenv("HOLDFAST_AWS_READER_KEY", "ENV")
	t.Setenv("HOLDFAST_AWS_READER_SECRET", "env-secret")
	t.Setenv("HOLDFAST_B2_WEST_READER_KEY", "B2")
	if c, _ := k.Reader("aws"); c.AccessKey != "ENV" || c.SecretKey != "env-secret" {
		t.Errorf("the environment does not win: %v", c)
	}
	if _, ok := k.Reader("b2-west"); ok {
		t.Error("half a credential counts")
	}
}

func TestKitKnownRoot(t *testing.T) {
	k := createKit(t, kitOptions())
	if err := k.SetKnownRoot(2, [32]byte{2}, []replication.KitMirror{{Name: "aws", Endpoint: "https://new", Bucket: "b"}}); err != nil {
		t.Fatal(err)
	}
	if err := k.SetKnownRoot(1, [32]byte{1}, nil); err == nil {
		t.Error("went back to version 1")
	}
	again, err := replication.OpenKit(k.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if v, h := again.KnownRoot(); v != 2 || h != [32]byte{2} {
		t.Errorf("known root %d %x", v, h)
	}
	if len(again.Mirrors()) != 1 || again.Mirrors()[0].Endpoint != "https://new" {
		t.Errorf("mirrors %v", again.Mirrors())
	}
	if err := again.Verify(); err != nil {
		t.Error(err)
	}
}

// A kit on paper must suffice to write the kit again.
func TestKitPrint(t *testing.T) {
	o := kitOptions()
	o.Recipient = replication.Hybrid
	k := createKit(t, o)
	page := k.Print()
	for line := range strings.Lines(page) {
		if len(line) > 120 {
			t.Errorf("line of %d columns: %s", len(line), line)
		}
	}
	joined := strings.Join(strings.Fields(page), "")
	secrets, _ := os.ReadFile(filepath.Join(k.Dir(), "root.key"))
	if !strings.Contains(page, o.Instance) || !strings.Contains(page, "acme-code") || !strings.Contains(joined, "PRIVATE+KEY+") ||
		!strings.Contains(page, "AGE-SECRET-KEY-PQ-1") || !strings.Contains(page, "reading-is-allowed") {
		t.Errorf("something is missing from:\n%s\n%s", page, secrets)
	}
}

func TestKitReadmeIsOnePage(t *testing.T) {
	k := createKit(t, kitOptions())
	text, err := os.ReadFile(filepath.Join(k.Dir(), "README.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n"); n > 66 {
		t.Errorf("README.txt has %d lines", n)
	}
	for _, want := range []string{"holdfast restore --kit", "holdfast takeover --kit", "HOLDFAST_B2_WEST_READER_SECRET", "acme-code", "age -d"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("README.txt does not mention %q", want)
		}
	}
}

func FuzzOpenKit(f *testing.F) {
	k, err := replication.CreateKit(filepath.Join(f.TempDir(), "kit"), kitOptions())
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range []string{"kit.yaml", "readers.yaml", "root.key", "recovery.agekey"} {
		data, err := os.ReadFile(filepath.Join(k.Dir(), name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(name, data)
	}
	f.Add("kit.yaml", []byte("holdfast_kit: 1\ninstance: [a]\nroot: {version: -1}\n"))
	f.Add("readers.yaml", []byte("readers: &a {aws: *a}"))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(k.Dir())); err != nil {
			t.Fatal(err)
		}
		if name != filepath.Base(name) || os.WriteFile(filepath.Join(dir, name), data, 0o600) != nil {
			return
		}
		if again, err := replication.OpenKit(dir); err == nil && (again.Instance() == "" || again.RootKey() != k.RootKey()) {
			t.Errorf("%s was taken for good: %q", name, data)
		}
	})
}
