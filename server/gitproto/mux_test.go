package gitproto_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/server/gitproto"
	"holdfast/storage/object"
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

// slowChecker takes its time for everything.
type slowChecker struct{ *fake }

func (slowChecker) CheckWants(context.Context, []object.ID) ([]object.ID, error) {
	time.Sleep(12 * time.Second)
	return nil, nil
}

func (slowChecker) Enough(context.Context, []object.ID, []object.ID) (bool, error) {
	time.Sleep(6 * time.Second)
	return true, nil
}

// TestKeepAliveInAllBands: a client that reads bands from the beginning hears from us from the beginning.
func TestKeepAliveInAllBands(t *testing.T) {
	lines := []string{"command=fetch", "0001", "want " + testID(9).String(), "have " + testID(2).String(), "0000"}
	for all, want := range map[string]string{
		"sideband-all": "0005\x020005\x020005\x02" + "0015\x01acknowledgments\n" +
			"0032\x01ACK " + testID(2).String() + "\n" + "000b\x01ready\n" + "0001" + "000e\x01packfile\n" + "0009\x01PACK0000",
		"no-progress": "0014acknowledgments\n" +
			"0031ACK " + testID(2).String() + "\n" + "000aready\n" + "0001" + "000dpackfile\n" + "0009\x01PACK0000",
	} {
		synctest.Test(t, func(t *testing.T) {
			repo := slowChecker{&fake{refs: mainRef(), has: func(object.ID) bool { return true }}}
			var out bytes.Buffer
			o := gitproto.Options{Stateless: true, Version: 2}
			request := pkt(append(lines[:4:4], all, "0000")...)
			if err := gitproto.UploadPack(t.Context(), strings.NewReader(request), &out, repo, o); err != nil {
				t.Fatal(err)
			}
			if out.String() != want {
				t.Errorf("%s: got  %q\nwant %q", all, &out, want)
			}
		})
	}
	var out bytes.Buffer
	request := pkt("command=fetch", "0001", "sideband-all", "0000")
	err := gitproto.UploadPack(t.Context(), strings.NewReader(request), &out, &fake{},
		gitproto.Options{Stateless: true, Version: 2, Withheld: []string{"sideband-all"}})
	if err == nil || !strings.Contains(out.String(), "ERR upload-pack: protocol error: sideband-all was not offered") {
		t.Errorf("%v: %q", err, &out)
	}
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
