package gitproto_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/server/gitproto"
	"holdfast/storage/object"
)

const certHeader = "certificate version 0.1\npusher SHA256:abc  1112911993 -0700\npushee ssh://git@host/a.git\nnonce 12-34\n"

const certSignature = "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n"

// command is the line of a creation.
func command(n int, ref string) string {
	return object.ID{}.String() + " " + testID(n).String() + " " + ref + "\n"
}

// certificate is a certificate with these push options, that creates the refs.
func certificate(options []string, refs ...string) string {
	cert := certHeader
	for _, option := range options {
		cert += "push-option " + option + "\n"
	}
	cert += "\n"
	for i, ref := range refs {
		cert += command(i+1, ref)
	}
	return cert + certSignature
}

// signedRequest is the start of a signed push.
func signedRequest(caps, cert string) string {
	lines := []string{"push-cert\x00" + caps}
	for line := range strings.Lines(cert) {
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
	return pkt(append(lines, "push-cert-end", "0000")...)
}

func TestParseCertificate(t *testing.T) {
	raw := certificate([]string{"ci.skip", ""}, "refs/heads/a", "refs/heads/b")
	cert, err := gitproto.ParseCertificate([]byte(raw), object.SHA1)
	if err != nil {
		t.Fatal(err)
	}
	if string(cert.Message())+certSignature != raw || string(cert.Signature()) != certSignature {
		t.Errorf("message %q, signature %q", cert.Message(), cert.Signature())
	}
	got := []string{cert.Pusher, cert.Pushee, cert.Nonce, strings.Join(cert.Options, "|"), cert.Commands[1].Ref}
	if diff := cmp.Diff([]string{"SHA256:abc", "ssh://git@host/a.git", "12-34", "ci.skip|", "refs/heads/b"}, got); diff != "" {
		t.Error(diff)
	}

	body := "\n" + command(1, "refs/heads/a")
	for _, tt := range []struct{ name, raw, problem string }{
		{"nothing", "", "certificate version"},
		{"another version", strings.Replace(raw, "0.1", "0.2", 1), "certificate version"},
		{"unknown header", certHeader + "later thing\n" + body + certSignature, ""},
		{"a person", strings.Replace(raw, "SHA256:abc", "A U Thor <a@b>", 1), ""},
		{"no pushee, no nonce", "certificate version 0.1\npusher a 1 +0000\n" + body + certSignature, ""},
		{"no pusher", "certificate version 0.1\n" + body + certSignature, "names no pusher"},
		{"no time", strings.Replace(raw, "  1112911993", "", 1), "has no time"},
		{"two nonces", certHeader + "nonce 1\n" + body + certSignature, `two lines "nonce"`},
		{"two of a kind", certHeader + "x 1\nx 2\n" + body + certSignature, `two lines "x"`},
		{"control character", strings.Replace(raw, "SHA256:abc", "\x1b[31m", 1), "control characters"},
		{"NUL", strings.Replace(raw, "SHA256:abc", "a\x00b", 1), "control characters"},
		{"long header", certHeader + strings.Repeat("push-option x\n", 2000) + body + certSignature, "more than 1024 lines"},
		{"no body", certHeader, "ends within its header"},
		{"no updates", certHeader + "\n" + certSignature, "no ref updates"},
		{"no signature", certHeader + body, "no signature"},
		{"a line of something else", certHeader + body + "\n" + certSignature, "expected old/new/ref"},
		{"other ids", certHeader + "\n" + strings.ReplaceAll(command(1, "refs/heads/a"), "0000 ", "00000000 ") + certSignature, "sha1 object id"},
		{"text behind", raw + "x\n", "not one armored block"},
		{"two signatures", raw + certSignature, "not one armored block"},
		{"an update behind", raw + command(3, "refs/heads/c"), "not one armored block"},
		{"no end of signature", strings.TrimSuffix(raw, "-----END SSH SIGNATURE-----\n"), "not one armored block"},
		{"cut", strings.TrimSuffix(raw, "\n"), "not one armored block"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := gitproto.ParseCertificate([]byte(tt.raw), object.SHA1)
			switch {
			case tt.problem == "" && err != nil, tt.problem != "" && (err == nil || !strings.Contains(err.Error(), tt.problem)):
				t.Errorf("got %v, want %q", err, tt.problem)
			case err != nil && !errors.Is(err, gitproto.ErrProtocol) && !errors.Is(err, gitproto.ErrLimit):
				t.Errorf("an error of no kind: %v", err)
			}
		})
	}
}

func TestSignedPush(t *testing.T) {
	const caps = "report-status push-options"
	options := pkt("a", "b", "0000")
	good := certificate([]string{"a", "b"}, "refs/heads/a", "refs/heads/b")
	refused := func(reason string, refs ...string) string {
		s := "unpack " + reason + "\n"
		for _, ref := range refs {
			s += "ng " + ref + " unpacker error\n"
		}
		return s + "flush packet\n"
	}
	const differ = "protocol error: inconsistent push options: those in the push certificate are not those of the push"
	both := []string{"refs/heads/a", "refs/heads/b"}
	for _, tt := range []struct{ name, request, want string }{
		{"good", signedRequest(caps, good) + options, "unpack ok\nok refs/heads/a\nok refs/heads/b\nflush packet\n"},
		{"shallow", pkt("shallow "+testID(9).String()) + signedRequest(caps, good) + options,
			"unpack ok\nok refs/heads/a\nok refs/heads/b\nflush packet\n"},
		{"fewer options", signedRequest(caps, good) + pkt("a", "0000"), refused(differ, both...)},
		{"other options", signedRequest(caps, good) + pkt("a", "c", "0000"), refused(differ, both...)},
		{"options in the certificate only", signedRequest("report-status", good), refused(differ, both...)},
		{"options beside it only", signedRequest(caps, certificate(nil, both...)) + options, refused(differ, both...)},
		{"a ref twice", signedRequest("report-status", certificate(nil, "refs/heads/a", "refs/heads/a")),
			refused("protocol error: multiple updates for ref 'refs/heads/a' not allowed", "refs/heads/a")},
		{"too many refs", signedRequest("report-status", certificate(nil, "refs/heads/a", "refs/heads/b", "refs/heads/c")),
			refused("more than 2 ref updates in one push: push in parts", both...)},
		{"a long ref", signedRequest("report-status", certificate(nil, "refs/heads/a", "refs/heads/"+strings.Repeat("x", 90))),
			refused("ref name of 101 bytes, more than 90: \"refs/heads/"+strings.Repeat("x", 49)+"\"...", "refs/heads/a")},
		{"too long", signedRequest("side-band-64k", certHeader+strings.Repeat("later thing\n", 100)),
			"\x03receive-pack: the push certificate has more than 800 bytes: push in parts\n"},
		{"two certificates", strings.TrimSuffix(signedRequest(caps, good), "0000") + signedRequest(caps, good) + options,
			refused("protocol error: a push certificate must be the only one, and without commands beside it", both...)},
		{"a command before", pkt(strings.TrimSuffix(command(5, "refs/heads/x"), "\n")+"\x00report-status") + signedRequest("", certificate(nil, both...)),
			refused("protocol error: a push certificate must be the only one, and without commands beside it", "refs/heads/x", "refs/heads/a")},
		{"a command after", strings.TrimSuffix(signedRequest("report-status", certificate(nil, both...)), "0000") +
			pkt(strings.TrimSuffix(command(5, "refs/heads/x"), "\n"), "0000"),
			refused("protocol error: commands beside a push certificate", both...)},
		{"no end", strings.Replace(signedRequest("side-band-64k", certificate(nil, both...)), pkt("push-cert-end"), "", 1),
			"\x03receive-pack: protocol error: the push certificate has no end\n"},
		{"a line without a line feed", pkt("push-cert\x00side-band-64k") + "001bcertificate version 0.1" + pkt("push-cert-end", "0000"),
			"\x03receive-pack: protocol error: a line of the push certificate has no line feed: \"certificate version 0.1\"\n"},
		{"other format", signedRequest("report-status object-format=sha256", certificate(nil, both...)),
			refused(`protocol error: mismatched object format: server sha1; client "sha256"`, "refs/heads/a")},
		{"cut", signedRequest("report-status", good)[:300], ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			repo := fakePusher{&fake{push: func(p *gitproto.Push) gitproto.Report {
				pack, err := io.ReadAll(p.Pack)
				if string(pack) != "PACK" || err != nil {
					t.Errorf("pack %q, %v", pack, err)
				}
				p.Received()
				if p.Cert == nil || string(p.Cert.Raw) != good || len(p.Commands) != 2 || strings.Join(p.Options, " ") != "a b" {
					t.Errorf("push %+v", p)
				}
				return gitproto.Report{Refs: []gitproto.RefStatus{{Ref: "refs/heads/a"}, {Ref: "refs/heads/b"}}}
			}}}
			var out bytes.Buffer
			request := tt.request
			if tt.want != "" {
				request += "PACK"
			}
			o := gitproto.Options{Stateless: true, CertNonce: "1-2", MaxCommands: 2, MaxCertBytes: 800, MaxRefName: 90}
			gitproto.ReceivePack(t.Context(), strings.NewReader(request), &out, repo, o)
			if got := show(t, out.Bytes()); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestCertNonceIsAdvertised(t *testing.T) {
	for nonce, want := range map[string]string{"": "push-options object-format", "1-2": "push-options push-cert=1-2 object-format"} {
		var out bytes.Buffer
		o := gitproto.Options{Advertise: true, CertNonce: nonce}
		if err := gitproto.ReceivePack(t.Context(), strings.NewReader(""), &out, fakePusher{&fake{}}, o); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), want) {
			t.Errorf("nonce %q: advertised %q", nonce, &out)
		}
	}
}

func FuzzCertificate(f *testing.F) {
	f.Add([]byte(certificate([]string{"ci.skip"}, "refs/heads/a", "refs/heads/b")))
	f.Add([]byte(certHeader + "\n" + certSignature))
	f.Add([]byte(certificate(nil, "refs/heads/a") + certSignature))
	f.Fuzz(func(t *testing.T, raw []byte) {
		cert, err := gitproto.ParseCertificate(raw, object.SHA1)
		if err != nil {
			if !errors.Is(err, gitproto.ErrProtocol) && !errors.Is(err, gitproto.ErrLimit) {
				t.Errorf("an error of no kind: %v", err)
			}
			return
		}
		if !bytes.Equal(append(bytes.Clone(cert.Message()), cert.Signature()...), raw) {
			t.Errorf("message %q and signature %q are not %q", cert.Message(), cert.Signature(), raw)
		}
		// What is applied stands in the signed part, word for word and in order.
		var updates strings.Builder
		for _, c := range cert.Commands {
			updates.WriteString(c.Old.Hex(object.SHA1) + " " + c.New.Hex(object.SHA1) + " " + c.Ref + "\n")
		}
		signed := strings.ToLower(string(cert.Message()))
		if updates.Len() == 0 || !strings.HasSuffix(signed, "\n\n"+strings.ToLower(updates.String())) {
			t.Errorf("updates %q from %q", &updates, cert.Message())
		}
		for _, word := range append([]string{cert.Pusher, cert.Pushee, cert.Nonce}, cert.Options...) {
			if strings.ContainsAny(word, "\x00\n\r\x1b") {
				t.Errorf("header %q", word)
			}
		}
	})
}
