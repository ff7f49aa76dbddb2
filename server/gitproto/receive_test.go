package gitproto_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"holdfast/server/gitproto"
	"holdfast/storage/object"
)

// pushRequest is the start of a push that creates refs.
func pushRequest(caps string, refs ...string) string {
	var lines []string
	for i, ref := range refs {
		line := object.ID{}.String() + " " + testID(i+1).String() + " " + ref
		if i == 0 {
			line += "\x00" + caps
		}
		lines = append(lines, line)
	}
	return pkt(append(lines, "0000")...)
}

// TestReceiveErrors gives pushes that never reach the Pusher.
func TestReceiveErrors(t *testing.T) {
	zero, one, broken := object.ID{}.String(), testID(1).String(), gitproto.ErrProtocol
	refused := func(reason string, refs ...string) string {
		s := "unpack " + reason + "\n"
		for _, ref := range refs {
			s += "ng " + ref + " unpacker error\n"
		}
		return s + "flush packet\n"
	}
	for _, tt := range []struct {
		name, request, want string
		kind                error
	}{
		{"nothing", "", "", gitproto.ErrHungUp},
		{"flush", "0000", "", nil},
		{"twice", pushRequest("report-status", "refs/heads/a", "refs/heads/b", "refs/heads/a"),
			refused("protocol error: multiple updates for ref 'refs/heads/a' not allowed", "refs/heads/a", "refs/heads/b"),
			broken},
		{"shallow", pkt("shallow x") + pushRequest("report-status", "refs/heads/a"),
			refused(`protocol error: expected a sha1 object id, got "x"`, "refs/heads/a"), broken},
		{"other format", pushRequest("report-status object-format=sha256", "refs/heads/a"),
			refused(`protocol error: mismatched object format: server sha1; client "sha256"`, "refs/heads/a"),
			broken},
		{"space in a name", pushRequest("report-status", "refs/heads/a", "refs/heads/b c"),
			refused(`protocol error: ref name "refs/heads/b c" has spaces or control characters`, "refs/heads/a"),
			broken},
		{"no report", pushRequest("x", "refs/heads/a", "refs/heads/a"),
			"ERR receive-pack: protocol error: multiple updates for ref 'refs/heads/a' not allowed\n", broken},
		{"band 3", pkt("shallow x", "push-cert\x00 side-band-64k", "0000"),
			"\x03receive-pack: protocol error: expected a sha1 object id, got \"x\"\n", broken},
		{"certificate", pkt("push-cert\x00 report-status", "0000"),
			"ERR receive-pack: protocol error: signed pushes were not offered\n", broken},
		{"garbage", "GET / HTTP/1.1\r\n",
			"ERR receive-pack: protocol error: bad line length \"GET \": want four hexadecimal digits\n", broken},
		{"few words", pkt(zero+" "+one, "0000"),
			"ERR receive-pack: protocol error: expected old/new/ref, got \"" + zero + " " + one + "\"\n", broken},
		{"bad id", pkt("123 "+one+" refs/heads/a", "0000"),
			"ERR receive-pack: protocol error: expected a sha1 object id, got \"123\"\n", broken},
		{"delimiter", pkt("0001"), "ERR receive-pack: protocol error: unexpected delimiter packet among the commands\n", broken},
		{"cut", pushRequest("report-status", "refs/heads/a")[:80], "", gitproto.ErrHungUp},
		{"cut options", pushRequest("report-status push-options", "refs/heads/a"), "", gitproto.ErrHungUp},
	} {
		t.Run(tt.name, func(t *testing.T) {
			repo := fakePusher{&fake{push: func(*gitproto.Push) gitproto.Report {
				t.Error("the Pusher was called")
				return gitproto.Report{}
			}}}
			var out bytes.Buffer
			o := gitproto.Options{Stateless: true}
			err := gitproto.ReceivePack(t.Context(), strings.NewReader(tt.request), &out, repo, o)
			if !errors.Is(err, tt.kind) {
				t.Errorf("error %v, want %v", err, tt.kind)
			}
			if got := show(t, out.Bytes()); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// TestReports looks at what a push is told, and what the Pusher is.
func TestReports(t *testing.T) {
	three := []string{"refs/heads/a", "refs/heads/b", "refs/heads/c"}
	bad := errors.New("bad\nthing")
	status := func(ref string, err error) gitproto.RefStatus { return gitproto.RefStatus{Ref: ref, Err: err} }
	for _, tt := range []struct {
		name, caps string
		report     gitproto.Report
		want       string
	}{
		{"all well", "report-status", gitproto.Report{Refs: []gitproto.RefStatus{
			status(three[2], nil), status(three[0], nil), status(three[1], nil)}},
			"unpack ok\nok refs/heads/a\nok refs/heads/b\nok refs/heads/c\nflush packet\n"},
		{"some", "report-status-v2", gitproto.Report{Refs: []gitproto.RefStatus{status(three[0], bad), status(three[1], nil)}},
			"unpack ok\nng refs/heads/a bad thing\nok refs/heads/b\n" +
				"ng refs/heads/c the server did not say what became of this ref\nflush packet\n"},
		{"none", "report-status", gitproto.Report{Unpack: bad},
			"unpack bad thing\nng refs/heads/a unpacker error\nng refs/heads/b unpacker error\n" +
				"ng refs/heads/c unpacker error\nflush packet\n"},
		{"none with a reason", "report-status", gitproto.Report{Unpack: bad, Refs: []gitproto.RefStatus{status(three[1], bad)}},
			"unpack bad thing\nng refs/heads/a unpacker error\nng refs/heads/b bad thing\n" +
				"ng refs/heads/c unpacker error\nflush packet\n"},
		{"no report wanted", "atomic quiet", gitproto.Report{Unpack: bad}, ""},
		{"no report but bands", "side-band-64k", gitproto.Report{Unpack: bad}, "flush packet\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			repo := fakePusher{&fake{push: func(p *gitproto.Push) gitproto.Report {
				pack, err := io.ReadAll(p.Pack)
				if string(pack) != "PACK\r\n\x00" || err != nil {
					t.Errorf("pack %q, %v", pack, err)
				}
				p.Received()
				if special := tt.caps == "atomic quiet"; p.Atomic != special || p.Quiet != special || len(p.Commands) != 3 {
					t.Errorf("push %+v", p)
				}
				return tt.report
			}}}
			request := pushRequest(tt.caps, three...) + "PACK\r\n\x00"
			var out bytes.Buffer
			o := gitproto.Options{Stateless: true}
			if err := gitproto.ReceivePack(t.Context(), strings.NewReader(request), &out, repo, o); err != nil {
				t.Fatal(err)
			}
			if got := show(t, out.Bytes()); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestDeleteHasNoPack(t *testing.T) {
	request := pkt(testID(1).String()+" "+object.ID{}.String()+" refs/heads/a\x00 report-status", "0000")
	repo := fakePusher{&fake{push: func(p *gitproto.Push) gitproto.Report {
		if p.Pack != nil || !p.Commands[0].New.IsZero() || p.Commands[0].Old != testID(1) {
			t.Errorf("push %+v", p)
		}
		return gitproto.Report{Refs: []gitproto.RefStatus{{Ref: "refs/heads/a", Err: errors.New("no")}}}
	}}}
	in := io.MultiReader(strings.NewReader(request), iotest.ErrReader(errors.New("read beyond the request")))
	var out bytes.Buffer
	if err := gitproto.ReceivePack(t.Context(), in, &out, repo, gitproto.Options{Stateless: true}); err != nil {
		t.Fatal(err)
	}
	if got, want := show(t, out.Bytes()), "unpack ok\nng refs/heads/a no\nflush packet\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestDrainEnds has a client that sends half a pack, keeps its side open and waits for the report.
func TestDrainEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		repo := fakePusher{&fake{push: func(p *gitproto.Push) gitproto.Report {
			return gitproto.Report{Unpack: errors.New("no room")}
		}}}
		in, client := io.Pipe()
		go func() {
			io.WriteString(client, pushRequest("report-status", "refs/heads/a")+"PACK")
			time.Sleep(time.Second)
			client.Write(make([]byte, 100_000))
		}()
		start := time.Now()
		var out bytes.Buffer
		if err := gitproto.ReceivePack(t.Context(), in, &out, repo, gitproto.Options{}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("drained for %v, want 1 s until data came and 2 s of silence", took)
		}
		if !strings.Contains(out.String(), "unpack no room") {
			t.Errorf("reported %q", &out)
		}
		client.Close() // as closing the transport would
	})
}

// founder is a Pusher of a repository that is not there yet.
type founder struct{ fakePusher }

func (founder) Founds() bool { return true }

// TestFormatOfANewRepository: the client's format becomes the repository's.
func TestFormatOfANewRepository(t *testing.T) {
	one := func(digits int) string { return strings.Repeat("1", digits) }
	create := func(digits int, caps string) string {
		return pkt(strings.Repeat("0", digits)+" "+one(digits)+" refs/heads/a\x00report-status "+caps, "0000")
	}
	const ok = "unpack ok\nok refs/heads/a\nflush packet\n"
	for name, tt := range map[string]struct {
		request string
		format  object.Format // 0 if it is refused
		want    string
	}{
		"sha1, unsaid": {create(40, ""), object.SHA1, ok},
		"sha1":         {create(40, "object-format=sha1"), object.SHA1, ok},
		"sha256":       {create(64, "object-format=sha256"), object.SHA256, ok},
		"shallow":      {pkt("shallow "+one(64)) + create(64, "object-format=sha256"), object.SHA256, ok},
		"unsaid":       {create(64, ""), 0, "unpack protocol error: mismatched object format: server sha256; client \"sha1\"\nng refs/heads/a unpacker error\nflush packet\n"},
		"unknown":      {create(40, "object-format=md5"), 0, "unpack protocol error: mismatched object format: server sha1; client \"md5\"\nng refs/heads/a unpacker error\nflush packet\n"},
		"at odds":      {create(40, "object-format=sha256"), 0, "ERR receive-pack: protocol error: expected a sha256 object id, got \"" + strings.Repeat("0", 40) + "\"\n"},
	} {
		var got object.Format
		repo := founder{fakePusher{&fake{push: func(p *gitproto.Push) gitproto.Report {
			got = p.Format
			io.Copy(io.Discard, p.Pack)
			return gitproto.Report{Refs: []gitproto.RefStatus{{Ref: "refs/heads/a"}}}
		}}}}
		var out bytes.Buffer
		err := gitproto.ReceivePack(t.Context(), strings.NewReader(tt.request), &out, repo, gitproto.Options{Stateless: true})
		if got != tt.format || (err != nil) != (tt.format == 0) || show(t, out.Bytes()) != tt.want {
			t.Errorf("%s: format %v, %v, answered %q", name, got, err, &out)
		}
	}
	var out bytes.Buffer
	gitproto.ReceivePack(t.Context(), nil, &out, founder{fakePusher{&fake{}}}, gitproto.Options{Advertise: true})
	if !strings.Contains(out.String(), " object-format=sha1 object-format=sha256 ") {
		t.Errorf("advertised %q", &out)
	}
}
