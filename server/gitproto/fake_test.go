package gitproto_test

import (
	"context"
	"fmt"
	"io"
	"iter"

	"holdfast/server/gitproto"
	"holdfast/storage/object"
)

// fake is a Fetcher and Pusher made of functions.
type fake struct {
	refs []gitproto.Ref
	has  func(object.ID) bool
	pack func(w io.Writer, r gitproto.PackRequest, progress func(string)) error
	push func(p *gitproto.Push) gitproto.Report
}

func (f *fake) Format() object.Format { return object.SHA1 }

func (f *fake) Refs([]string) iter.Seq2[gitproto.Ref, error] {
	return func(yield func(gitproto.Ref, error) bool) {
		for _, ref := range f.refs {
			if !yield(ref, nil) {
				return
			}
		}
	}
}

func (f *fake) Has(id object.ID) (bool, error) { return f.has != nil && f.has(id), nil }

func (f *fake) Pack(_ context.Context, w io.Writer, r gitproto.PackRequest, progress func(string)) error {
	if f.pack == nil {
		_, err := io.WriteString(w, "PACK")
		return err
	}
	return f.pack(w, r, progress)
}

type fakePusher struct{ *fake }

func (f fakePusher) Refs() iter.Seq2[gitproto.Ref, error] { return f.fake.Refs(nil) }

func (f fakePusher) Push(_ context.Context, p *gitproto.Push) gitproto.Report {
	if f.push == nil {
		return gitproto.Report{}
	}
	return f.push(p)
}

func testID(n int) object.ID {
	id, err := object.ParseID(fmt.Sprintf("%040x", n))
	if err != nil {
		panic(err)
	}
	return id
}

func mainRef() []gitproto.Ref { return []gitproto.Ref{{Name: "refs/heads/main", ID: testID(1)}} }

// wants is a version 0 request for testID(1), up to and with "done".
func wants(caps string) string { return pkt("want "+testID(1).String()+" "+caps, "0000", "done") }

type streamRepo struct {
	*fake
	seq iter.Seq2[gitproto.Ref, error]
}

func (r streamRepo) Refs([]string) iter.Seq2[gitproto.Ref, error] { return r.seq }

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
