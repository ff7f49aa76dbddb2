package server_test

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"holdfast/server"
)

// rawPush sends a push of one ref with these pack bytes over SSH, closes the stream and returns all that was answered.
func (w *world) rawPush(repo, ref, id string, pack []byte) string {
	w.t.Helper()
	client := must(ssh.Dial("tcp", w.ssh, clientConfig(ssh.PublicKeys(signer(w.t, "root")))))
	defer client.Close()
	sess := must(client.NewSession())
	defer sess.Close()
	line := strings.Repeat("0", 40) + " " + id + " " + ref + "\x00report-status agent=hostile\n"
	sess.Stdin = io.MultiReader(strings.NewReader(fmt.Sprintf("%04x%s0000", len(line)+4, line)), bytes.NewReader(pack))
	var out bytes.Buffer
	sess.Stdout = &out
	_ = sess.Run("git-receive-pack '/" + repo + ".git'")
	return out.String()
}

// packOf returns a pack of raw entries, with a good trailer.
func packOf(entries ...[]byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(entries)))
	for _, e := range entries {
		b = append(b, e...)
	}
	sum := sha1.Sum(b)
	return append(b, sum[:]...)
}

// entry returns a pack entry that declares a type and a size, whatever its content is.
func entry(typ byte, size int, content []byte) []byte {
	b := []byte{typ<<4 | byte(size&15)}
	for size >>= 4; size > 0; size >>= 7 {
		b[len(b)-1] |= 0x80
		b = append(b, byte(size&0x7f))
	}
	var z bytes.Buffer
	zw := zlib.NewWriter(&z)
	zw.Write(content)
	zw.Close()
	return append(b, z.Bytes()...)
}

func gitID(typ string, content []byte) string {
	return fmt.Sprintf("%x", sha1.Sum(append([]byte(fmt.Sprintf("%s %d\x00", typ, len(content))), content...)))
}

// TestHostilePacks sends what no git would. Each is refused with words that say why, and leaves nothing behind.
func TestHostilePacks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, server.Config{})
	dir := w.work("app")
	w.ok("root", dir, "push", "-q", w.url("app"), "main")
	blob := []byte("hello\n")
	commit := []byte("tree 1111111111111111111111111111111111111111\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nx\n")
	good := packOf(entry(3, len(blob), blob))
	corrupt := bytes.Clone(good)
	corrupt[len(corrupt)-25] ^= 0xff
	badSum := bytes.Clone(good)
	badSum[len(badSum)-1] ^= 0xff
	head, _, err := w.store.Head()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, ref, id string
		pack          []byte
		want          string
	}{
		{"corrupt entry", "refs/heads/x", gitID("blob", blob), corrupt, "corrupt"},
		{"wrong checksum", "refs/heads/x", gitID("blob", blob), badSum, "corrupt"},
		{"truncated", "refs/heads/x", gitID("blob", blob), good[:len(good)-8], "truncated"},
		{"no pack at all", "refs/heads/x", gitID("blob", blob), nil, "truncated"},
		{"not a pack", "refs/heads/x", gitID("blob", blob), []byte("GARBAGE-GARBAGE-GARBAGE-GARBAGE"), "corrupt"},
		{"bomb", "refs/heads/x", gitID("blob", blob), packOf(entry(3, 1<<40, make([]byte, 1<<16))), "too large"},
		{"a billion objects", "refs/heads/x", gitID("blob", blob), append([]byte("PACK\x00\x00\x00\x02\x40\x00\x00\x00"), good[12:]...), "too large"},
		{"missing tree", "refs/heads/x", gitID("commit", commit), packOf(entry(1, len(commit), commit)),
			"ng refs/heads/x missing necessary objects"},
		{"object that nobody has", "refs/heads/x", strings.Repeat("ab", 20), good, "missing"},
		{"malformed commit", "refs/heads/x", gitID("commit", []byte("tree x\n")), packOf(entry(1, 7, []byte("tree x\n"))),
			"ng refs/heads/x unpacker error"},
		{"branch that is a blob", "refs/heads/x", gitID("blob", blob), good, "must name a commit"},
		{"name that climbs out", "refs/heads/../../x", gitID("blob", blob), good, "ref name"},
		{"name outside refs", "HEAD", gitID("blob", blob), good, "ng HEAD"},
		{"name in conflict", "refs/heads/main/x", gitID("blob", blob), good, "ng refs/heads/main/x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer := w.rawPush("app", c.ref, c.id, c.pack)
			if !strings.Contains(answer, c.want) || strings.Contains(answer, "ok refs") {
				t.Errorf("want %q in the answer, got %q", c.want, answer)
			}
		})
	}
	if now, _, _ := w.store.Head(); now != head {
		t.Errorf("the journal went from #%d to #%d", head, now)
	}
	for _, left := range []string{"data/quarantine/*", "data/repos/*/*/packs/*tmp*"} {
		if found, _ := filepath.Glob(filepath.Join(w.dir, left)); len(found) > 0 {
			t.Errorf("left behind: %v", found)
		}
	}
	report, err := w.store.Check(t.Context(), nil)
	if err != nil || len(report.Problems) > 0 {
		t.Errorf("check: %v %v", err, report.Problems)
	}
	if spooled, _ := os.ReadDir(filepath.Join(w.dir, "data", "spool")); len(spooled) > 8 {
		t.Errorf("the spool holds %d files", len(spooled))
	}
	w.ok("root", dir, "push", "-q", w.url("app"), "main:after") // the server is unmoved
}
