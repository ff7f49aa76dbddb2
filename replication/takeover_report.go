package replication

import (
	"fmt"
	"strings"
)

// TakeoverReport says what a takeover did.
type TakeoverReport struct {
	Instance    string           `json:"instance"`
	Epoch       uint64           `json:"epoch"` // the new one
	RootVersion uint64           `json:"root_version"`
	After       Position         `json:"after"` // where the old epoch ends
	Mirrors     []TakeoverMirror `json:"mirrors"`
	Warnings    []string         `json:"warnings,omitempty"`
}

// TakeoverMirror says what became of one mirror.
type TakeoverMirror struct {
	CopyReport
	Rooted bool   `json:"rooted"`         // it holds the new root record
	Closed uint64 `json:"closed"`         // numbers of the old epoch that are closed there
	Late   uint64 `json:"late,omitempty"` // segments of the old epoch behind its end
	// Unfenced: the mirror does not enforce conditions, so closed numbers do not keep the old host from writing.
	Unfenced bool `json:"unfenced,omitempty"`
}

func (t *takeover) conclude() TakeoverReport {
	t.rep.Warnings = append(t.rep.Warnings, t.r.report.Warnings...)
	if t.from != nil && t.from.Incomplete {
		t.warn("the restore had stopped at #%d on purpose or for want of more: whatever the mirrors hold behind it does not count any more", t.from.Position.Last)
	}
	for _, g := range t.targets {
		m := TakeoverMirror{CopyReport: g.rep, Rooted: g.rooted, Closed: g.closed, Late: g.late, Unfenced: !g.conditional}
		t.rep.Mirrors = append(t.rep.Mirrors, m)
		if m.Unfenced {
			t.warn("mirror %s does not enforce conditions: closed numbers do not stop the old host there. Revoke its key at the provider", g.name)
		}
		if m.Late > 0 {
			t.warn("mirror %s received %s of the old epoch behind its end: pushes that are not in this directory. They stay on the mirror", g.name, count(int64(m.Late), "segment", "segments"))
		}
		if m.Err != "" {
			t.warn("mirror %s needs heal: %s", g.name, m.Err)
		}
	}
	return t.rep
}

func (t *takeover) warn(format string, args ...any) {
	t.rep.Warnings = append(t.rep.Warnings, fmt.Sprintf(format, args...))
}

// String returns the report for people, several lines without a final newline.
func (r TakeoverReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "instance %s: epoch %d, root version %d; epoch %d ends with #%d", r.Instance, r.Epoch, r.RootVersion, r.After.Epoch, r.After.Last)
	for _, m := range r.Mirrors {
		fmt.Fprintf(&b, "\n  %s: %s, root record %s, %d numbers of the old epoch closed", m.Name, m.CopyReport, yesNo(m.Rooted), m.Closed)
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(&b, "\nwarning: %s", w)
	}
	return b.String()
}

func yesNo(b bool) string {
	if b {
		return "written"
	}
	return "NOT written"
}
