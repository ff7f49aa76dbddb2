package svndiff_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"holdfast/storage/svn/svndiff"
)

// writes notes what is written, write by write.
type writes []string

func (w *writes) Write(p []byte) (int, error) {
	*w = append(*w, string(p))
	return len(p), nil
}

// TestReplay has an encoder write what another one has, in the same pieces.
func TestReplay(t *testing.T) {
	for name, c := range cases(t) {
		for version := range 3 {
			var made, again writes
			var recording []byte
			e := svndiff.NewEncoder(&made, version, 5)
			e.Record(1<<30, func(r []byte) { recording = r })
			if err := svndiff.Delta(bytes.NewReader(c[0]), bytes.NewReader(c[1]), e, svndiff.DeltaOptions{}); err != nil {
				t.Fatal(err)
			}
			if len(c[1]) == 0 {
				if recording != nil {
					t.Errorf("%s: a recording of no windows", name)
				}
				continue
			}
			e = svndiff.NewEncoder(&again, version, 5)
			if err := e.Replay(recording); err != nil {
				t.Fatal(err)
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(again) != fmt.Sprint(made) || len(again) != len(made) {
				t.Errorf("%s, version %d: %d writes became %d", name, version, len(made), len(again))
			}
		}
	}
}

func TestRecordingLimit(t *testing.T) {
	c := cases(t)["text"]
	record := func(limit int) (recording []byte) {
		e := svndiff.NewEncoder(new(writes), 0, 0)
		e.Record(limit, func(r []byte) { recording = r })
		if err := svndiff.Delta(bytes.NewReader(c[0]), bytes.NewReader(c[1]), e, svndiff.DeltaOptions{}); err != nil {
			t.Fatal(err)
		}
		return recording
	}
	all := record(1 << 30)
	if all == nil || record(len(all)-1) != nil {
		t.Errorf("%d bytes, and as many within one less", len(all))
	}
}

func TestReplayFails(t *testing.T) {
	r, w := io.Pipe()
	r.Close()
	if err := svndiff.NewEncoder(w, 0, 0).Replay([]byte{1, 'x'}); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}
