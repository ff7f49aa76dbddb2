package gitproto_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"holdfast/server/gitproto"
	"holdfast/storage/object"
)

// small limits make the fuzzer meet them.
var small = gitproto.Options{
	Stateless: true, MaxRequestBytes: 4000, MaxWants: 5, MaxHaves: 20, MaxCommon: 3, MaxPrefixes: 3, MaxObjectInfos: 3,
	MaxCapabilities: 5, MaxCommands: 5, MaxRefName: 50, MaxPushOptions: 3, MaxPushOptionBytes: 20, DrainBytes: 8000,
	CertNonce: "1-2", MaxCertBytes: 400,
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("0006a\n0005a000bfoobar\n0004000000010002PACK"))
	f.Add([]byte("fff00003"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := gitproto.NewReader(bytes.NewReader(data))
		var again bytes.Buffer
		w := gitproto.NewWriter(&again)
		for {
			kind, payload, err := r.Next()
			if err != nil {
				break
			}
			if kind == gitproto.Data {
				w.Packet(payload)
			} else {
				w.Special(kind)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		read := data[:again.Len()]
		if !strings.EqualFold(string(read), again.String()) {
			t.Errorf("read %q, wrote %q", read, &again)
		}
		if rest, err := io.ReadAll(r.Rest()); err == nil && len(rest) > len(data)-again.Len() {
			t.Errorf("%d bytes are left of %d after %d", len(rest), len(data), again.Len())
		}
	})
}

// fuzzUpload checks what must hold for any request: what arrives at the Fetcher is within the limits and was offered,
// and every answer is well-formed.
func fuzzUpload(t *testing.T, request []byte, version int) {
	o := small
	o.Version = version
	repo := sizer{&fake{refs: mainRef(), has: func(id object.ID) bool { return id.Bytes()[0] < 0x80 }}}
	packed := false
	repo.pack = func(w io.Writer, r gitproto.PackRequest, _ func(string)) error {
		packed = true
		if len(r.Wants) != 1 || r.Wants[0] != testID(1) {
			t.Errorf("asked for %v", r.Wants)
		}
		if len(r.Haves) > o.MaxCommon {
			t.Errorf("%d haves", len(r.Haves))
		}
		_, err := io.WriteString(w, "PACK")
		return err
	}
	var out bytes.Buffer
	err := gitproto.UploadPack(t.Context(), bytes.NewReader(request), &out, repo, o)
	if err != nil && packed {
		t.Errorf("%v after the pack", err)
	}
	told := strings.Contains(out.String(), "ERR ")
	if want := err != nil && !errors.Is(err, gitproto.ErrHungUp); told != want {
		t.Errorf("error %v, answered %q", err, &out)
	}
	show(t, out.Bytes())
}

func FuzzUploadV0(f *testing.F) {
	have := func(n string) string { return "have " + strings.Repeat(n, 20) }
	for _, caps := range []string{"", "multi_ack", "multi_ack_detailed side-band-64k no-done", "side-band thin-pack"} {
		f.Add([]byte(wants(caps)))
		f.Add([]byte(pkt("want "+testID(1).String()+" "+caps, "0000", have("12"), have("92"), "0000", have("13"), "done")))
	}
	f.Add([]byte(pkt("want "+testID(2).String(), "deepen 3", "0000", "done")))
	f.Fuzz(func(t *testing.T, request []byte) { fuzzUpload(t, request, 0) })
}

func FuzzUploadV2(f *testing.F) {
	f.Add([]byte(pkt("command=ls-refs", "agent=x", "0001", "peel", "symrefs", "unborn", "ref-prefix refs/", "0000")))
	f.Add([]byte(pkt("command=fetch", "object-format=sha1", "0001", "want "+testID(1).String(), "have "+testID(3).String(),
		"have "+strings.Repeat("92", 20), "thin-pack", "ofs-delta", "no-progress", "include-tag", "wait-for-done", "0000")))
	f.Add([]byte(pkt("command=fetch", "server-option=x", "0001", "want "+testID(1).String(), "done", "0000")))
	f.Add([]byte(pkt("command=fetch", "0001", "want-ref refs/heads/main", "want-ref HEAD", "done", "0000")))
	f.Add([]byte(pkt("command=object-info", "0001", "size", "oid "+testID(1).String(), "0000")))
	f.Fuzz(func(t *testing.T, request []byte) { fuzzUpload(t, request, 2) })
}

func FuzzReceive(f *testing.F) {
	f.Add([]byte(pushRequest("report-status side-band-64k atomic", "refs/heads/a", "refs/heads/b") + "PACK"))
	f.Add([]byte(pushRequest("report-status-v2 push-options", "refs/heads/a") + pkt("ci.skip", "a=b", "0000") + "PACK"))
	f.Add([]byte(pushRequest(" quiet object-format=sha1 agent=x", "refs/heads/a", "refs/heads/a")))
	f.Add([]byte(pkt("shallow "+testID(1).String()) + pushRequest("side-band-64k", "refs/heads/a")))
	f.Add([]byte(pkt("push-cert\x00 report-status", "certificate version 0.1", "push-cert-end", "0000")))
	f.Add([]byte(signedRequest("report-status", certificate(nil, "refs/heads/a")) + "PACK"))
	f.Fuzz(func(t *testing.T, request []byte) {
		pushed := false
		repo := fakePusher{&fake{push: func(p *gitproto.Push) gitproto.Report {
			pushed = true
			checkPush(t, p)
			return gitproto.Report{Unpack: errors.New("no")}
		}}}
		var out bytes.Buffer
		err := gitproto.ReceivePack(t.Context(), bytes.NewReader(request), &out, repo, small)
		if err != nil && pushed {
			t.Errorf("%v after the push", err)
		}
		if err != nil && !errors.Is(err, gitproto.ErrHungUp) && out.Len() == 0 {
			t.Errorf("%v was not told", err)
		}
		show(t, out.Bytes())
	})
}

func checkPush(t *testing.T, p *gitproto.Push) {
	t.Helper()
	seen := map[string]bool{}
	for _, c := range p.Commands {
		if seen[c.Ref] || c.Ref == "" || len(c.Ref) > small.MaxRefName || strings.ContainsAny(c.Ref, " \n\x00") {
			t.Errorf("command %+v", c)
		}
		seen[c.Ref] = true
	}
	if len(p.Commands) == 0 || len(p.Commands) > small.MaxCommands || len(p.Options) > small.MaxPushOptions {
		t.Errorf("push %+v", p)
	}
	if p.Cert != nil && (len(p.Cert.Raw) > small.MaxCertBytes || !slices.Equal(p.Cert.Commands, p.Commands)) {
		t.Errorf("certificate %+v", p.Cert)
	}
	for _, option := range p.Options {
		if len(option) > small.MaxPushOptionBytes {
			t.Errorf("option %q", option)
		}
	}
}
