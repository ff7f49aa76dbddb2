package gitproto

import (
	"context"
	"io"
	"iter"
	"math"

	"holdfast/storage/object"
)

// Ref is a name and what it stands for.
type Ref struct {
	Name string
	// ID is the object named, the zero ID for an unborn HEAD.
	ID object.ID
	// Peeled is what an annotated tag leads to in the end, the zero ID if ID is no tag.
	Peeled object.ID
	// Target is the name of the ref that a symbolic ref stands for, else "".
	Target string
}

// Fetcher is a repository as one client may see it: refs hidden from that client are missing from Refs. The texts of
// its errors reach the client. Its methods are called by one goroutine at a time.
type Fetcher interface {
	Format() object.Format
	// Refs yields the refs whose names begin with one of prefixes, all of them if there are none: HEAD first, resolved
	// and with its Target if it is symbolic, then the others sorted by name. No prefix begins with another. More refs
	// than asked for do no harm. An error ends the sequence.
	Refs(prefixes []string) iter.Seq2[Ref, error]
	// Has reports whether the repository has the object and everything it leads to.
	Has(id object.ID) (bool, error)
	// Pack writes a pack with what the wants lead to and the haves do not. It may call progress, whose text is written
	// to the client's terminal as it is, line feeds and carriage returns included. Writes to w fail when ctx ends.
	Pack(ctx context.Context, w io.Writer, r PackRequest, progress func(text string)) error
}

// Negotiator is a Fetcher that can tell when a client has named enough. One that cannot costs the client a round
// more.
type Negotiator interface {
	// Enough reports whether each of wants is, or descends from, one of common.
	Enough(ctx context.Context, wants, common []object.ID) (bool, error)
}

// WantChecker is a Fetcher that allows more to be wanted than the current values of its refs, such as what they lead
// to. Without it, a ref that moves between an advertisement over HTTP and the fetch makes the fetch fail.
type WantChecker interface {
	// CheckWants returns those of wants that the client may not have.
	CheckWants(ctx context.Context, wants []object.ID) (refused []object.ID, err error)
}

// PartialFetcher is a Fetcher that serves shallow and partial clones: its Pack heeds all of a PackRequest, and
// CheckWants allows trees and blobs to be wanted that the refs lead to, for partial clones fetch those one by one.
type PartialFetcher interface {
	WantChecker
	// Deepen finds the boundary of the history that a client asks for.
	Deepen(ctx context.Context, r DeepenRequest) (Boundary, error)
}

// Infinite is the Depth of a client that asks for all history.
const Infinite = math.MaxInt32

// DeepenRequest says how much history a client asks for. Depth bounds it, or Since and Not together do.
type DeepenRequest struct {
	Wants   []object.ID
	Shallow []object.ID // the commits that the client has without their parents, as far as Has confirmed them
	// Depth counts commits from Wants, or, if Relative, from those of Shallow that the refs lead to, themselves not
	// included. Infinite gives parents to all those of Shallow that the refs lead to.
	Depth    int
	Relative bool
	Since    int64       // seconds since 1970: no older commits
	Not      []object.ID // nothing that these values of refs lead to
}

// Boundary is what changes about the commits that a client has without their parents.
type Boundary struct {
	Shallow   []object.ID // commits that the client is to have without their parents
	Unshallow []object.ID // commits of DeepenRequest.Shallow that get theirs
}

// Sizer is a Fetcher that serves the object-info command of version 2.
type Sizer interface {
	// Size returns the length of the object's content in bytes, false if the repository does not have it.
	Size(id object.ID) (int64, bool, error)
}

// Bundler is a Fetcher that knows of files elsewhere with which a clone can begin: the bundle-uri command of version 2.
type Bundler interface {
	// Bundles returns them, none if there are none.
	Bundles() []Bundle
}

// Bundle is such a file.
type Bundle struct {
	ID            string // letters, digits and dashes; each has its own
	URI           string // without control characters
	CreationToken uint64 // rises with each newer bundle; 0 if there is none
}

// PackRequest says what a pack must contain.
type PackRequest struct {
	Wants      []object.ID // sorted, without duplicates
	Haves      []object.ID // of those the client named, the ones that Has confirmed, without duplicates
	IncludeTag bool        // add annotated tags whose targets are in the pack
	OfsDelta   bool        // the client understands deltas that name their base by offset
	ThinPack   bool        // deltas may have bases that are not in the pack but reachable from Haves

	// What follows is set for a PartialFetcher only.

	Shallow   []object.ID   // commits that the client has without their parents: what Haves lead to ends there
	Unshallow []object.ID   // those of Shallow whose parents are to be sent
	Boundary  []object.ID   // commits that the client is to have without their parents
	Filter    object.Filter // what to leave out, unless it is one of Wants; an ID of Filter.Sparse is zero where the client may not have it
}

// uploadPack is the state of a conversation of upload-pack.
type uploadPack struct {
	*conn
	f    Fetcher
	tips tips // what this conversation has advertised

	partial PartialFetcher // f, nil if it is none

	noArgs bool // version 2: the current request has ended before its arguments
}

// UploadPack serves a clone or fetch: git-upload-pack. It returns nil when the client has what it asked for, be that
// nothing; else an *Error, of which the client has been told if it is still there.
func UploadPack(ctx context.Context, in io.Reader, out io.Writer, f Fetcher, o Options) error {
	u := &uploadPack{conn: newConn(ctx, "upload-pack", in, out, f.Format(), o), f: f, tips: newTips()}
	u.partial, _ = f.(PartialFetcher)
	return u.end(u.converse())
}

func (u *uploadPack) converse() error {
	if u.o.Version == 2 {
		return u.serveV2()
	}
	return u.serveV0()
}

// sendPack answers with the pack, after whatever lines are still buffered.
func (u *uploadPack) sendPack(r PackRequest, frameSize int, quiet bool) error {
	if err := u.flush(); err != nil {
		return err
	}
	m := newMux(u.ctx, u.out, frameSize, u.o.KeepAlive)
	report := func(text string) { m.text(bandProgress, []byte(text)) }
	if quiet {
		report = func(string) {}
	}
	stop := m.start()
	err := u.f.Pack(u.ctx, m, r, report)
	stop()
	if err == nil {
		return m.finish()
	}
	if broken := m.failure(); broken != nil {
		return broken
	}
	// The pack is cut short, so the client will not take it for whole. An ERR line would not be understood here.
	m.text(bandError, []byte(oneLine((&Error{u.op, err}).Error())+"\n"))
	return &settledError{err}
}
