//go:build bench

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// figure is one number of a row, beside the peer's and the aim.
type figure struct {
	Row  string  `json:"row"`
	What string  `json:"what"` // with its unit
	Ours float64 `json:"ours"`
	// Peer is the same of the program that PeerName names. It is nil if there is none, or if it is not here.
	Peer     *float64 `json:"peer,omitempty"`
	PeerName string   `json:"peer_name,omitempty"`
	Aim      string   `json:"aim,omitempty"`
	Met      *bool    `json:"met,omitempty"` // nil where there is no aim, or no peer to compare with
}

// of is a figure without an aim.
func of(what string, ours float64) figure { return figure{What: what, Ours: ours} }

// beside adds a peer's figure; there is none of a peer that is not here.
func (f figure) beside(name string, peer float64, here bool) figure {
	if f.PeerName = name; here {
		f.Peer = &peer
	}
	return f
}

// atMost sets an aim that stands by itself.
func (f figure) atMost(limit float64) figure {
	met := f.Ours <= limit
	f.Aim, f.Met = "≤ "+number(limit), &met
	return f
}

// atMostOf sets an aim that is a share of the peer's figure.
func (f figure) atMostOf(share float64) figure {
	f.Aim = fmt.Sprintf("≤ %s × %s", number(share), f.PeerName)
	if f.Peer != nil {
		met := f.Ours <= share**f.Peer
		f.Met = &met
	}
	return f
}

// atLeastOf is the opposite.
func (f figure) atLeastOf(share float64) figure {
	f.Aim = fmt.Sprintf("≥ %s × %s", number(share), f.PeerName)
	if f.Peer != nil {
		met := f.Ours >= share**f.Peer
		f.Met = &met
	}
	return f
}

// number writes a figure with three digits.
func number(x float64) string {
	switch {
	case x >= 100 || x == float64(int64(x)):
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	case x >= 1:
		return fmt.Sprintf("%.2f", x)
	}
	return fmt.Sprintf("%.3g", x)
}

// tablePrinter returns what prints one line of a table, which begins with its head. Each line is there as soon as it is known.
func tablePrinter(w io.Writer) func(figure) error {
	const columns = "%-13s %-33s %9s  %-22s %6s  %-20s %s\n"
	begin := sync.OnceValue(func() error {
		_, err := fmt.Fprintf(w, columns, "row", "what", "holdfast", "peer", "ratio", "aim", "met")
		return err
	})
	return func(f figure) error {
		peer, ratio, met := "", "", ""
		if f.PeerName != "" {
			peer = f.PeerName + " not here"
		}
		if f.Peer != nil {
			peer, ratio = f.PeerName+" "+number(*f.Peer), number(f.Ours / *f.Peer)
		}
		switch {
		case f.Met == nil && f.Aim != "":
			met = "?"
		case f.Met != nil && *f.Met:
			met = "yes"
		case f.Met != nil:
			met = "NO"
		}
		if err := begin(); err != nil {
			return err
		}
		_, err := fmt.Fprintf(w, columns, f.Row, f.What, number(f.Ours), peer, ratio, f.Aim, met)
		return err
	}
}

// jsonPrinter returns what prints one figure as a line of JSON.
func jsonPrinter(w io.Writer) func(figure) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return func(f figure) error { return e.Encode(f) }
}
