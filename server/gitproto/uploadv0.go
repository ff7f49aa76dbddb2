package gitproto

import (
	"io"
	"slices"
	"strings"

	"holdfast/storage/object"
)

// ackMode is how versions 0 and 1 answer haves.
type ackMode uint8

const (
	singleAck   ackMode = iota // the first common object only
	multiAck                   // each common object: "continue"
	detailedAck                // each common object: "common", and "ready" when there are enough
)

// fetchRequest is what a client asks of upload-pack, in any version.
type fetchRequest struct {
	PackRequest
	acks      ackMode // versions 0 and 1
	noDone    bool    // versions 0 and 1: "ready" ends the negotiation
	frameSize int
	quiet     bool

	done        bool // version 2: no more haves follow, send the pack
	waitForDone bool // version 2: never "ready"
	haves       int  // have lines so far

	wantRefs []Ref          // version 2: wanted by name; the IDs are those that the names stand for now
	refIndex map[string]int // name -> index in wantRefs

	deepen     DeepenRequest // Wants and Shallow are left to boundary
	deepenNot  []string      // names of refs
	mayFilter  bool          // versions 0 and 1: the client has named the capability
	haveFilter bool
}

// serveV0 holds a conversation of version 0 or 1.
func (u *uploadPack) serveV0() error {
	if u.o.Advertise || !u.o.Stateless {
		if err := u.advertiseV0(); err != nil || u.o.Advertise {
			return err
		}
	}
	req, err := u.readWants()
	if err != nil || len(req.Wants) == 0 {
		return err
	}
	err = u.checkWants(req.Wants)
	if err == nil {
		err = u.resolveSparse(&req.Filter)
	}
	if err != nil {
		// A client that awaits no boundary goes on writing before it reads.
		u.within = !req.deepens()
		return err
	}
	n := newNegotiation(u, req)
	if req.deepens() {
		if err := n.findBoundary(); err != nil {
			return err
		}
		if !u.o.Stateless {
			n.tellBoundary()
			if err := u.flush(); err != nil {
				return err
			}
		}
	}
	if ready, err := n.rounds(); err != nil || !ready {
		return err
	}
	req.Haves = n.common
	return u.sendPack(req.PackRequest, req.frameSize, req.quiet)
}

// readWants reads the first part of a request, up to its flush packet. A client that wants nothing may also just go.
func (u *uploadPack) readWants() (*fetchRequest, error) {
	req := &fetchRequest{}
	for {
		kind, line, err := u.next()
		switch {
		case err == io.EOF && u.o.Stateless:
			return nil, ErrHungUp // an empty request
		case err == io.EOF:
			return req, nil
		case err != nil:
			return nil, err
		case kind == Flush:
			req.Wants = sortIDs(req.Wants)
			return req, nil
		case kind != Data:
			return nil, violation("unexpected %s among the wants", kind)
		}
		if err := u.wantLine(req, string(line)); err != nil {
			return nil, err
		}
	}
}

// wantLine parses one line before the flush packet: a want with, on the first, the capabilities in use.
func (u *uploadPack) wantLine(req *fetchRequest, line string) error {
	if known, err := u.partialLine(req, line); known || err != nil {
		return err
	}
	hex, ok := strings.CutPrefix(line, "want ")
	if !ok {
		return violation("expected a want, got %.100q", line)
	}
	hex, list, _ := strings.Cut(hex, " ")
	if err := u.addWant(req, hex); err != nil || list == "" {
		return err
	}
	caps := parseCapabilities(list)
	if name, ok := caps.value("object-format"); ok && name != u.format.String() {
		return violation("mismatched object format: server %s; client %.20q", u.format, name)
	}
	switch {
	case caps.has("multi_ack_detailed"):
		req.acks = detailedAck
	case caps.has("multi_ack"):
		req.acks = multiAck
	}
	req.frameSize = caps.frameSize()
	req.noDone = caps.has("no-done")
	req.ThinPack = caps.has("thin-pack")
	req.OfsDelta = caps.has("ofs-delta")
	req.IncludeTag = caps.has("include-tag")
	req.quiet = caps.has("no-progress")
	req.mayFilter = caps.has("filter") && u.o.offers("filter")
	req.deepen.Relative = caps.has("deepen-relative")
	return nil
}

// refuseUnoffered refuses the requests for shallow and partial clones where they are not served, in all versions.
func refuseUnoffered(line string) error {
	word, _, _ := strings.Cut(line, " ")
	switch word {
	case "shallow":
		return &caused{ErrProtocol, "fetching into a shallow repository is not supported here: clone in full"}
	case "deepen", "deepen-since", "deepen-not", "deepen-relative":
		return &caused{ErrProtocol, "shallow clones are not supported here: clone without a depth"}
	case "filter":
		return &caused{ErrProtocol, "partial clones are not supported here: clone without a filter"}
	}
	return nil
}

func (u *uploadPack) addWant(req *fetchRequest, hex string) error {
	id, err := u.id(hex)
	if err != nil {
		return err
	}
	if len(req.Wants) == u.o.MaxWants {
		return overLimit("more than %d wants in one fetch", u.o.MaxWants)
	}
	if id.IsZero() {
		return &caused{ErrNotOurRef, "not our ref " + hex}
	}
	req.Wants = append(req.Wants, id)
	return nil
}

func sortIDs(ids []object.ID) []object.ID {
	slices.SortFunc(ids, object.ID.Compare)
	return slices.Compact(ids)
}
