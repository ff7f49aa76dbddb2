package gitproto_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"holdfast/server/gitproto"
)

// pkt encodes a conversation: each word becomes a packet line of its own; "0000" and "0001" stay as they are.
func pkt(lines ...string) string {
	var out strings.Builder
	for _, line := range lines {
		if line == "0000" || line == "0001" {
			out.WriteString(line)
			continue
		}
		fmt.Fprintf(&out, "%04x%s\n", len(line)+5, line)
	}
	return out.String()
}

// show turns packet lines into text, one a line, up to a pack. Packets of a side band show the band alone.
func show(t *testing.T, data []byte) string {
	t.Helper()
	var out strings.Builder
	r := gitproto.NewReader(bytes.NewReader(data))
	for {
		if rest, _ := r.Rest().Peek(4); string(rest) == "PACK" {
			return out.String() + "PACK\n"
		}
		kind, line, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return out.String()
		case err != nil:
			t.Fatalf("after\n%s: %v", &out, err)
		case kind == gitproto.Data && bytes.HasPrefix(line, []byte("\x01PACK")):
			return out.String() + "\\1 PACK\n"
		case kind == gitproto.Data && bytes.HasPrefix(line, []byte{2}): // progress differs
		case kind == gitproto.Data:
			fmt.Fprintf(&out, "%s\n", bytes.TrimSuffix(line, []byte("\n")))
		default:
			fmt.Fprintf(&out, "%s\n", kind)
		}
	}
}

// reference runs git's own service on the same request.
func reference(t *testing.T, dir, version, request string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append(args, dir)...)
	cmd.Env = append(gitEnv(), "GIT_PROTOCOL=version="+version)
	cmd.Stdin = strings.NewReader(request)
	out, err := cmd.Output()
	if err != nil && len(out) == 0 {
		return "" // git dies of what is refused by an ERR line here
	}
	return show(t, out)
}

func upload(t *testing.T, dir, request string, o gitproto.Options) string {
	t.Helper()
	repo, err := openRepo(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer repo.Close()
	var out bytes.Buffer
	if err := gitproto.UploadPack(context.Background(), strings.NewReader(request), &out, repo, o); err != nil {
		t.Logf("upload-pack: %v", err)
	}
	return show(t, out.Bytes())
}

// TestSameAsGit gives the same requests to git's upload-pack, whose answers up to the pack must be the same.
func TestSameAsGit(t *testing.T) {
	w := newWorld(t, "ssh", 0)
	seed := w.seed()
	seed.git("push", "-q", w.bare, "v2")
	id := func(rev string) string { return seed.git("rev-parse", rev) }
	tip, parent, root, side := id("trunk"), id("trunk~1"), id("trunk~2"), id("side")
	unknown, other := strings.Repeat("ab", 20), strings.Repeat("cd", 20)

	var requests [][]string
	for _, caps := range []string{"", " multi_ack", " multi_ack_detailed", " multi_ack_detailed no-done",
		" multi_ack side-band", " multi_ack_detailed side-band-64k thin-pack ofs-delta include-tag no-progress"} {
		want := "want " + tip + caps
		requests = append(requests,
			[]string{"0000"},
			[]string{want, "0000"},
			[]string{want, "0000", "done"},
			[]string{want, "want " + side, "want " + tip, "0000", "0000"},
			[]string{want, "0000", "have " + unknown, "0000"},
			[]string{want, "0000", "have " + unknown, "done"},
			[]string{want, "0000", "have " + parent, "0000"},
			[]string{want, "0000", "have " + parent, "done"},
			[]string{want, "0000", "have " + parent, "have " + unknown, "0000"},
			[]string{want, "0000", "have " + unknown, "have " + parent, "0000"},
			[]string{want, "0000", "have " + unknown, "have " + parent, "done"},
			[]string{want, "0000", "have " + parent, "have " + unknown, "done"},
			[]string{want, "0000", "have " + id("v1"), "done"},
			[]string{"want " + unknown + caps, "0000", "done"},
		)
	}
	for _, lines := range requests {
		request := pkt(lines...)
		got := upload(t, w.bare, request, gitproto.Options{Stateless: true})
		want := reference(t, w.bare, "0", request, "upload-pack", "--stateless-rpc")
		if got != want {
			t.Errorf("request\n%s\ngot\n%s\nwant\n%s", strings.Join(lines, "\n"), got, want)
		}
	}

	var v2 [][]string
	for _, args := range [][]string{
		{}, {"peel"}, {"symrefs"}, {"peel", "symrefs", "unborn"},
		{"peel", "ref-prefix refs/heads/", "ref-prefix refs/heads/s", "ref-prefix HEAD"},
		{"ref-prefix refs/tags/v", "ref-prefix nothing"}, {"ref-prefix x"}, {"ref-prefix "},
	} {
		v2 = append(v2, append(append([]string{"command=ls-refs", "agent=x", "object-format=sha1", "0001"}, args...), "0000"))
	}
	v2 = append(v2, []string{"command=ls-refs", "0000"}, []string{"0000"})
	for _, args := range [][]string{
		{}, {"want " + tip}, {"want " + tip, "done"}, {"want " + unknown, "done"},
		{"want " + tip, "have " + unknown}, {"want " + tip, "have " + parent}, {"want " + tip, "have " + parent, "done"},
		{"want " + tip, "have " + parent, "wait-for-done"}, {"have " + parent, "have " + other, "wait-for-done"},
		{"want " + tip, "want " + id("v2"), "have " + parent, "have " + root, "thin-pack", "ofs-delta", "no-progress"},
		{"want " + tip, "sideband-all", "done"}, {"sideband-all", "want " + tip, "have " + unknown},
		{"want " + tip, "have " + parent, "sideband-all"}, {"sideband-all", "want " + unknown, "done"},
	} {
		v2 = append(v2, append(append([]string{"command=fetch", "server-option=x", "0001"}, args...), "0000"))
	}
	w.server().git("config", "uploadpack.allowSidebandAll", "true")
	for _, lines := range v2 {
		request := pkt(lines...)
		got := upload(t, w.bare, request, gitproto.Options{Stateless: true, Version: 2})
		want := reference(t, w.bare, "2", request, "upload-pack", "--stateless-rpc")
		if got != want {
			t.Errorf("request\n%s\ngot\n%s\nwant\n%s", strings.Join(lines, "\n"), got, want)
		}
	}
}

// TestSameAdvertisement compares the lists of refs, capabilities apart.
func TestSameAdvertisement(t *testing.T) {
	full := newWorld(t, "ssh", 0)
	full.seed().git("push", "-q", full.bare, "v2")
	detached := newWorld(t, "ssh", 0)
	detached.seed()
	detached.server().git("update-ref", "--no-deref", "HEAD", "side")
	caps := regexp.MustCompile("\x00.*")
	noRefs := regexp.MustCompile(`0+ capabilities\^{}\x00.*\n`)
	for name, w := range map[string]*world{"full": full, "empty": newWorld(t, "ssh", 0), "detached": detached} {
		for version := range 2 {
			o := gitproto.Options{Version: version, Advertise: true}
			got := upload(t, w.bare, "", o)
			got, ok := strings.CutPrefix(got, "# service=git-upload-pack\nflush packet\n")
			if !ok {
				t.Errorf("%s: no service line in\n%s", name, got)
			}
			want := reference(t, w.bare, fmt.Sprint(version), "", "upload-pack", "--http-backend-info-refs")
			if name == "empty" { // git before 2.41 tells no capabilities here
				got, want = noRefs.ReplaceAllString(got, ""), noRefs.ReplaceAllString(want, "")
			}
			if caps.ReplaceAllString(got, "") != caps.ReplaceAllString(want, "") {
				t.Errorf("%s v%d: got\n%s\nwant\n%s", name, version, got, want)
			}
			symref := regexp.MustCompile(` symref=\S*`)
			if g, w := symref.FindString(got), symref.FindString(want); g != w {
				t.Errorf("%s v%d: got %q, want %q", name, version, g, w)
			}

			repo, err := openRepo(w.bare)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := gitproto.ReceivePack(context.Background(), nil, &out, pusher{repo}, o); err != nil {
				t.Error(err)
			}
			got = strings.TrimPrefix(show(t, out.Bytes()), "# service=git-receive-pack\nflush packet\n")
			want = reference(t, w.bare, fmt.Sprint(version), "", "receive-pack", "--http-backend-info-refs")
			if caps.ReplaceAllString(got, "") != caps.ReplaceAllString(want, "") {
				t.Errorf("%s v%d: got\n%s\nwant\n%s", name, version, got, want)
			}
		}
	}
}
