package gitproto_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/server/gitproto"
)

func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		repo := &fake{refs: mainRef(), pack: func(w io.Writer, _ gitproto.PackRequest, progress func(string)) error {
			time.Sleep(12 * time.Second) // beats at 5 and 10
			progress("counting\n")
			time.Sleep(4 * time.Second)
			io.WriteString(w, "PACK")
			time.Sleep(4 * time.Second) // pending data goes out at 17
			_, err := io.WriteString(w, "END")
			return err
		}}
		var out bytes.Buffer
		o := gitproto.Options{Stateless: true}
		if err := gitproto.UploadPack(t.Context(), strings.NewReader(wants("side-band-64k")), &out, repo, o); err != nil {
			t.Fatal(err)
		}
		want := "0008NAK\n0005\x010005\x01000e\x02counting\n0009\x01PACK0008\x01END0000"
		if out.String() != want {
			t.Errorf("got  %q\nwant %q", &out, want)
		}
	})
}

// TestKeepAlivePush: over HTTP nothing may be sent before the request has been read.
func TestKeepAlivePush(t *testing.T) {
	for _, stateless := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			repo := fakePusher{&fake{push: func(p *gitproto.Push) gitproto.Report {
				io.WriteString(p.Progress, "a\n")
				time.Sleep(7 * time.Second)
				io.ReadAll(p.Pack)
				p.Received()
				p.Received()
				time.Sleep(7 * time.Second)
				io.WriteString(p.Progress, "b\n")
				return gitproto.Report{Refs: []gitproto.RefStatus{{Ref: "refs/heads/x"}}}
			}}}
			request := pushRequest("report-status side-band-64k", "refs/heads/x") + "PACK"
			var out bytes.Buffer
			o := gitproto.Options{Stateless: stateless}
			err := gitproto.ReceivePack(t.Context(), strings.NewReader(request), &out, repo, o)
			if err != nil {
				t.Fatal(err)
			}
			want := "0007\x02a\n0005\x010007\x02b\n002b\x01000eunpack ok\n0014ok refs/heads/x\n00000000"
			got := out.String()
			if !stateless {
				_, got, _ = strings.Cut(got, "agent=holdfast\n0000") // the advertisement
				want = strings.Replace(want, "0005\x01", "0005\x010005\x01", 1)
			}
			if got != want {
				t.Errorf("stateless %v: got  %q\nwant %q", stateless, got, want)
			}
		})
	}
}

func TestFrames(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 20_000)
	repo := &fake{refs: mainRef(), pack: func(w io.Writer, _ gitproto.PackRequest, progress func(string)) error {
		progress(strings.Repeat("p", 70_000) + "\n")
		for _, n := range []int{1, 10, 100_000, 99_989} {
			if _, err := w.Write(content[:n]); err != nil {
				return err
			}
			content = content[n:]
		}
		return nil
	}}
	all := content
	for caps, largest := range map[string]int{
		"side-band": 1000, "side-band-64k": 65520, "side-band side-band-64k": 65520, "": 0,
	} {
		content = all
		var out bytes.Buffer
		o := gitproto.Options{Stateless: true}
		if err := gitproto.UploadPack(t.Context(), strings.NewReader(wants(caps)), &out, repo, o); err != nil {
			t.Fatal(err)
		}
		r := gitproto.NewReader(&out)
		r.Next() // NAK
		var data []byte
		if largest == 0 {
			data, _ = io.ReadAll(r.Rest())
		} else {
			data = demux(t, r, largest)
		}
		if !bytes.Equal(data, all) {
			t.Errorf("%q: the data differs (%d bytes, want %d)", caps, len(data), len(all))
		}
	}
}

// demux returns the data of band 1 and checks that frames are full but for the last.
func demux(t *testing.T, r *gitproto.Reader, largest int) (data []byte) {
	t.Helper()
	short := 0
	for {
		kind, frame, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if kind == gitproto.Flush {
			return data
		}
		if len(frame)+4 > largest {
			t.Errorf("frame of %d bytes, more than %d", len(frame)+4, largest)
		}
		if frame[0] == 1 {
			if data = append(data, frame[1:]...); len(frame)+4 < largest {
				short++
			}
		}
		if short > 1 {
			t.Errorf("more than one frame is not full")
		}
	}
}
