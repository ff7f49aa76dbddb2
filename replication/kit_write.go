package replication

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"go.yaml.in/yaml/v3"
)

// kitContent is one file of a kit.
type kitContent struct {
	name string
	mode fs.FileMode
	data []byte
}

// write makes dir a kit. kit.yaml is written last: it alone makes a directory a kit.
func (k *Kit) write(dir string) (err error) {
	contents, err := k.contents()
	if err != nil {
		return err
	}
	created, err := emptyDir(dir)
	if err != nil {
		return err
	}
	k.dir = dir
	defer func() {
		if err == nil {
			return
		}
		for _, c := range contents {
			os.Remove(filepath.Join(dir, c.name))
		}
		if created {
			os.Remove(dir)
		}
	}()
	for _, c := range contents {
		if err := writeDurably(dir, c); err != nil {
			return err
		}
	}
	return syncKitDir(filepath.Dir(filepath.Clean(dir)))
}

// rewrite replaces the files that a new root record changes. kit.yaml goes last, since it is what counts.
func (k *Kit) rewrite() error {
	contents, err := k.contents()
	if err != nil {
		return err
	}
	for _, c := range contents {
		if c.name == rootFile || c.name == ageFile {
			continue
		}
		if err := writeDurably(k.dir, c); err != nil {
			return err
		}
	}
	return nil
}

// contents returns the kit's files in the order of writing.
func (k *Kit) contents() ([]kitContent, error) {
	meta, err := yaml.Marshal(k.meta)
	if err != nil {
		return nil, err
	}
	contents := []kitContent{
		{rootFile, 0o600, []byte("# holdfast root key of instance " + k.meta.Instance + ": says who is trusted. Keep it offline.\n" + k.root + "\n")},
		{ageFile, 0o600, []byte("# holdfast recovery identity of instance " + k.meta.Instance + ": reads the mirrors. Keep it offline.\n" + k.identity + "\n")},
		{readmeFile, 0o644, []byte(k.readme())},
	}
	if len(k.readers) > 0 {
		readers, err := yaml.Marshal(kitReaders{Readers: k.readers})
		if err != nil {
			return nil, err
		}
		contents = append(contents, kitContent{readersFile, 0o600, append([]byte("# May read the mirrors; cannot write or delete.\n"), readers...)})
	}
	return append(contents, kitContent{kitFile, 0o644, append([]byte("# holdfast recovery kit\n"), meta...)}), nil
}

// emptyDir makes sure that dir is a directory without entries and reports whether it had to make it.
func emptyDir(dir string) (created bool, err error) {
	switch err := os.Mkdir(dir, 0o700); {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return false, err
		}
		return true, nil
	case !errors.Is(err, fs.ErrExist):
		return false, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	if len(entries) > 0 {
		return false, fmt.Errorf("%s is not empty (it holds %s): name a new directory", dir, entries[0].Name())
	}
	return false, nil
}

// writeDurably replaces one file at once: a crash leaves the old content or the new.
func writeDurably(dir string, c kitContent) (err error) {
	tmp, err := os.OpenFile(filepath.Join(dir, c.name+".tmp"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, c.mode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.Write(c.data)
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(dir, c.name))
	}
	if err == nil {
		err = syncKitDir(dir)
	}
	return err
}

// Print returns the kit for paper: all that is needed to write it anew by hand, secrets included. Long values are
// broken into lines of 64 characters; each is followed by a check, the first four digits of the line's SHA-256.
func (k *Kit) Print() string {
	var b strings.Builder
	fmt.Fprintf(&b, "HOLDFAST RECOVERY KIT (secret: whoever reads this page reads every repository)\n\n")
	fmt.Fprintf(&b, "Instance      %s\n", k.meta.Instance)
	if k.meta.Name != "" {
		fmt.Fprintf(&b, "Host          %s\n", k.meta.Name)
	}
	fmt.Fprintf(&b, "Created       %s\n", k.meta.Created)
	fmt.Fprintf(&b, "Root version  %d\n\nMirrors\n", k.meta.Root.Version)
	for _, m := range k.meta.Mirrors {
		fmt.Fprintf(&b, "  %s: %s bucket %s region %s\n", m.Name, m.Endpoint, m.Bucket, orDash(m.Region))
	}
	b.WriteString("\nJoin the lines of a value; a line's check is the start of its SHA-256 (printf %s LINE | sha256sum).\n")
	checkedLines(&b, kitFile+": root.sha256", k.meta.Root.SHA256)
	checkedLines(&b, kitFile+": root_key", k.meta.RootKey)
	checkedLines(&b, kitFile+": recipient_type", string(k.meta.RecipientType))
	checkedLines(&b, kitFile+": recipient_sha256", k.meta.RecipientSum)
	checkedLines(&b, rootFile, k.root)
	checkedLines(&b, ageFile, k.identity)
	for _, name := range sortedNames(k.readers) {
		checkedLines(&b, readersFile+": "+name+" access_key", k.readers[name].AccessKey)
		checkedLines(&b, readersFile+": "+name+" secret_key", k.readers[name].SecretKey)
	}
	return b.String()
}

func checkedLines(b *strings.Builder, name, value string) {
	fmt.Fprintf(b, "\n%s\n", name)
	for len(value) > 0 {
		line := value[:min(64, len(value))]
		value = value[len(line):]
		sum := sha256.Sum256([]byte(line))
		fmt.Fprintf(b, "  %-64s  %s\n", line, hex.EncodeToString(sum[:2]))
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (k *Kit) readme() string {
	var b strings.Builder
	data := struct {
		kitMeta
		Readers bool
		Env     []string
		Age     string
	}{k.meta, len(k.readers) > 0, k.Env(), "age"}
	if k.meta.RecipientType == Hybrid {
		data.Age = "age 1.3 or newer"
	}
	if err := readmeText.Execute(&b, data); err != nil {
		panic(err) // the template and its data are both ours
	}
	return b.String()
}

var readmeText = template.Must(template.New("README").Parse(`HOLDFAST RECOVERY KIT{{with .Name}} of {{.}}{{end}}
instance {{.Instance}}{{with .Created}}, made {{.}}{{end}}

With this directory and any one mirror you get everything back: repositories, users, keys, tokens,
host keys, configuration. Keep it offline, in two places. Whoever has it can read every repository and
say who may write: treat it like the key of a safe. "holdfast kit verify DIR" tells whether it is whole.

WHAT TO DO FIRST
  1. Delete nothing, at any provider, whatever the old host says. The mirrors cannot be changed
     under their locks: you have time.
  2. If the old host may be in other hands: revoke its writer keys at each provider, from a clean
     machine, and change the passwords of the provider accounts.
  3. Take a clean machine and put the holdfast program on it. It needs nothing else.

RESTORE, with KIT the path of this directory
  holdfast restore --kit KIT --data NEWDIR --dry-run     what is there, what is missing
  holdfast restore --kit KIT --data NEWDIR               if stopped, run it again: it goes on
  holdfast check   --data NEWDIR
  holdfast serve   --data NEWDIR                         read-only until the next step
  Only some: add --mirror NAME, --repo NAME or --at 2026-01-31T12:00:00Z.

WRITE AGAIN
  Make new writer keys at the providers, put them where NEWDIR/holdfast.yaml says, then
  holdfast takeover --kit KIT --data NEWDIR              the old host gets no more acks
  It writes to this kit: update your other copies of kit.yaml afterwards.

CREDENTIALS
{{- if .Readers}}
  readers.yaml in this directory holds reader keys. If they do not work any more, make new ones that
  may get, list, and list versions, and set these, which count first:
{{- else}}
  This kit holds no reader keys. Make some that may get, list, and list versions, and set:
{{- end}}
{{- range .Env}}
    {{.}}
{{- end}}

MIRRORS
{{- range .Mirrors}}
  {{.Name}}: {{.Endpoint}} bucket {{.Bucket}}{{with .Region}} region {{.}}{{end}}
{{- end}}

BY HAND, without holdfast: fetch what lies under v1/{{.Instance}}/ from a mirror.
  In each segment (.../log/...), the clear line "body SUM SIZE" tells the length of the age file at its end:
    tail -c SIZE SEGMENT | age -d -i recovery.agekey | tar x              ({{.Age}})
  and then, line by line of entries.jsonl:
    git index-pack --stdin --fix-thin < packs/ID.pack; git update-ref NAME NEW
  doc/formats/ in the program's source describes every byte.
`))

func syncKitDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
