package svndiff_test

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// subversion runs Subversion's own program, and skips the test where there is none.
func subversion(t *testing.T, in []byte, name string, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skip("no ", name)
	}
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(in)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, errs.Bytes())
	}
	return out
}

// dumpOf returns a dump of two revisions of each text, which the second makes by a delta from us.
func dumpOf(t *testing.T, texts map[string][2][]byte, version int) []byte {
	var b bytes.Buffer
	b.WriteString("SVN-fs-dump-format-version: 3\n\n")
	for rev, action := range [...]string{"add", "change"} {
		fmt.Fprintf(&b, "Revision-number: %d\nProp-content-length: 10\nContent-length: 10\n\nPROPS-END\n\n", rev+1)
		for name, text := range texts {
			var base []byte
			if rev == 1 {
				base = text[0]
			}
			delta := encode(t, base, text[rev], version, 5)
			fmt.Fprintf(&b, "Node-path: %s\nNode-kind: file\nNode-action: %s\nText-delta: true\nText-content-md5: %x\nText-content-length: %d\nContent-length: %d\n\n",
				name, action, md5.Sum(text[rev]), len(delta), len(delta))
			b.Write(delta)
			b.WriteString("\n\n")
		}
	}
	return b.Bytes()
}

// TestSubversionReads has Subversion apply what we encode, and compares its own deltas of the same texts with ours.
func TestSubversionReads(t *testing.T) {
	texts := cases(t)
	for version := range 3 {
		repo := t.TempDir()
		subversion(t, nil, "svnadmin", "create", repo)
		subversion(t, dumpOf(t, texts, version), "svnadmin", "load", "-q", repo)
		for name, text := range texts {
			if got := subversion(t, nil, "svnlook", "cat", repo, name); !bytes.Equal(got, text[1]) {
				t.Errorf("version %d: %s has %d bytes, want %d", version, name, len(got), len(text[1]))
			}
		}
		if version == 0 {
			compareDeltas(t, texts, subversion(t, nil, "svnadmin", "dump", "-q", "--deltas", repo))
		}
	}
}

func compareDeltas(t *testing.T, texts map[string][2][]byte, dump []byte) {
	deltas := 0
	for {
		_, rest, ok := bytes.Cut(dump, []byte("\nNode-path: "))
		if !ok {
			break
		}
		head, body, _ := bytes.Cut(rest, []byte("\n\n"))
		name, fields, _ := strings.Cut(string(head), "\n")
		_, size, ok := strings.Cut(fields, "Text-content-length: ")
		size, _, _ = strings.Cut(size, "\n")
		n, _ := strconv.Atoi(size)
		if dump = body; !ok {
			continue
		}
		if _, props, ok := strings.Cut(fields, "Prop-content-length: "); ok {
			props, _, _ = strings.Cut(props, "\n")
			skip, _ := strconv.Atoi(props)
			body = body[skip:]
		}
		text := texts[name]
		var base []byte
		if strings.Contains(fields, "Node-action: change") {
			base = text[0]
		} else {
			text[1] = text[0]
		}
		deltas++
		if ours := encode(t, base, text[1], 0, 0); !bytes.Equal(ours, body[:n]) {
			t.Errorf("%s: Subversion's delta has %d bytes, ours %d; or others", name, n, len(ours))
		}
		dump = body[n-1:]
	}
	if deltas < 2*len(texts)-4 { // some texts do not change
		t.Errorf("found %d deltas of %d texts", deltas, len(texts))
	}
}

// TestReadsSubversion decodes what Subversion has in the files of its repositories.
func TestReadsSubversion(t *testing.T) {
	big := bytes.Repeat(cases(t)["text"][0][:30_000], 9)
	texts := map[string][2][]byte{"f": {big, append(bytes.Clone(big[50_000:]), big[:60_000]...)}}
	for version, compression := range [...]string{"none", "zlib-5", "lz4"} {
		repo := t.TempDir()
		subversion(t, nil, "svnadmin", "create", repo)
		conf := "[deltification]\ncompression = " + compression + "\n"
		if err := os.WriteFile(filepath.Join(repo, "db", "fsfs.conf"), []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		subversion(t, dumpOf(t, texts, 0), "svnadmin", "load", "-q", repo)
		for rev, base := range [...][]byte{nil, big} {
			file, err := os.ReadFile(filepath.Join(repo, "db", "revs", "0", strconv.Itoa(rev+1)))
			if err != nil {
				t.Fatal(err)
			}
			_, delta, ok := bytes.Cut(file, []byte{'\n', 'S', 'V', 'N', byte(version)})
			if bytes.HasPrefix(file, []byte("DELTA\nSVN")) {
				delta, ok = file[len("DELTA\nSVN")+1:], true
			}
			delta, _, ok2 := bytes.Cut(delta, []byte("ENDREP\n"))
			if !ok || !ok2 {
				t.Fatalf("%s: found no delta in revision %d", compression, rev+1)
			}
			got, err := apply(base, append([]byte{'S', 'V', 'N', byte(version)}, delta...), 1000)
			if err != nil || !bytes.Equal(got, texts["f"][rev]) {
				t.Errorf("%s, revision %d: %d bytes, %v", compression, rev+1, len(got), err)
			}
		}
	}
}
