package replication

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"holdfast/storage"
)

// maxFindings bounds each list of a Report. What comes after is counted and not kept.
const maxFindings = 1000

// Causes that Restore and Takeover report, wrapped in their errors.
var (
	// ErrIncomplete: the mirrors prove that there was more than could be restored. The Report says what is missing.
	ErrIncomplete = errors.New("the mirrors do not hold everything")
	// ErrUndecided: the journal has signed branches, and the providers' clocks do not tell which came first.
	ErrUndecided = errors.New("the journal has more than one signed branch: look at them and choose one with --head")
	// ErrNoRoot: no mirror holds a root record that the kit's key signed.
	ErrNoRoot = errors.New("no mirror holds a root record signed by this kit")
	// ErrNotRestorable: the target store belongs to somebody else, or is in use as a writer.
	ErrNotRestorable = errors.New("not a place to restore into")
)

// Report says what a restore found, what is missing, and how it knows.
type Report struct {
	Instance    string         `json:"instance"`
	DryRun      bool           `json:"dry_run,omitempty"`
	Partial     bool           `json:"partial,omitempty"` // only chosen repositories were restored
	RootVersion uint64         `json:"root_version"`
	Mirrors     []MirrorReport `json:"mirrors"`

	Resumed storage.Seq `json:"resumed_after,omitempty"` // what the store held before; 0 for an empty one
	Entries int64       `json:"entries"`                 // replayed by this call
	Packs   int64       `json:"packs"`
	Bytes   int64       `json:"bytes"` // of packs, as they were received
	Repos   int         `json:"repositories"`
	Moves   int64       `json:"-"` // of the ref that RestoreOptions.AtMove names

	Last    storage.Seq  `json:"last"` // the last entry of the store
	Time    time.Time    `json:"time"` // of Last
	Head    storage.Hash `json:"head"` // of Last
	Epoch   uint64       `json:"epoch"`
	Segment uint64       `json:"segment"` // the segment of Epoch that carries Last
	Cut     string       `json:"cut,omitempty"`
	Ended   string       `json:"ended_by,omitempty"` // the error that ended it early, from whoever prints the report

	Missing  []string       `json:"missing,omitempty"`  // what ought to be there, each with how it is known
	Damage   []string       `json:"damage,omitempty"`   // what was bad on one mirror and came from another
	Branches []BranchReport `json:"branches,omitempty"` // of every fork that was met
	Warnings []string       `json:"warnings,omitempty"`
	Unlisted int            `json:"unlisted,omitempty"` // lines that found no room in the lists above

	// Config is the host's configuration file as last recorded; nil if none was.
	Config []byte `json:"-"`
}

// MirrorReport says what one mirror held.
type MirrorReport struct {
	Name        string      `json:"name"`
	Err         string      `json:"error,omitempty"`        // why it was of no use; empty if it was
	RootVersion uint64      `json:"root_version,omitempty"` // the highest that it holds
	Segments    int64       `json:"segments"`               // valid ones seen
	Used        int64       `json:"used"`                   // segments taken from it
	Lacks       int64       `json:"lacks,omitempty"`        // segments that another mirror holds
	Bad         int64       `json:"bad,omitempty"`          // segments and packs that failed a check
	Junk        int64       `json:"junk,omitempty"`         // versions that nobody of ours wrote, and delete markers
	Last        storage.Seq `json:"last"`                   // the last entry that its segments reach
}

// BranchReport is one of the signed branches at a fork.
type BranchReport struct {
	Place    string       `json:"place"` // the first segment that differs, as EPOCH/NUMBER
	First    storage.Seq  `json:"first"`
	Last     storage.Seq  `json:"last"`
	Head     storage.Hash `json:"head"`
	Received []Reception  `json:"received"` // by mirror, earliest first
	Chosen   bool         `json:"chosen"`
	Why      string       `json:"why,omitempty"`
}

// Reception is when a mirror's provider says it received something.
type Reception struct {
	Mirror string    `json:"mirror"`
	Time   time.Time `json:"time"`
}

func (r *Report) add(list *[]string, format string, args ...any) {
	if len(*list) >= maxFindings {
		r.Unlisted++
		return
	}
	*list = append(*list, fmt.Sprintf(format, args...))
}

func (r *Report) missing(format string, args ...any) { r.add(&r.Missing, format, args...) }
func (r *Report) damage(format string, args ...any)  { r.add(&r.Damage, format, args...) }
func (r *Report) warn(format string, args ...any)    { r.add(&r.Warnings, format, args...) }

// Complete reports whether nothing that the mirrors prove to have existed is missing.
func (r Report) Complete() bool { return len(r.Missing) == 0 }

// String returns the report for people, several lines without a final newline.
func (r Report) String() string {
	var b strings.Builder
	verb := "restored"
	if r.DryRun {
		verb = "found (dry run, nothing was written)"
	}
	fmt.Fprintf(&b, "%s: instance %s, root version %d\n", verb, r.Instance, r.RootVersion)
	if r.Resumed > 0 {
		fmt.Fprintf(&b, "  continued after #%d\n", r.Resumed)
	}
	fmt.Fprintf(&b, "  %s in %s, %s of %s\n", count(r.Entries, "entry", "entries"), count(int64(r.Repos), "repository", "repositories"),
		count(r.Packs, "pack", "packs"), humanBytes(r.Bytes))
	if r.Last > 0 {
		fmt.Fprintf(&b, "  up to #%d of %s (segment %d/%d, head %s)\n", r.Last, r.Time.Format(time.RFC3339), r.Epoch, r.Segment, r.Head)
	}
	if r.Cut != "" {
		fmt.Fprintf(&b, "  cut: %s\n", r.Cut)
	}
	if r.Partial {
		b.WriteString("  partial: packs and refs of the chosen repositories only; it cannot become the writer\n")
	}
	b.WriteString("mirrors:\n")
	for _, m := range r.Mirrors {
		fmt.Fprintf(&b, "  %s\n", m)
	}
	section(&b, "missing", r.Missing)
	section(&b, "damage", r.Damage)
	if len(r.Branches) > 0 {
		b.WriteString("branches:\n")
		for _, br := range r.Branches {
			fmt.Fprintf(&b, "  %s\n", br)
		}
	}
	section(&b, "warnings", r.Warnings)
	if r.Unlisted > 0 {
		fmt.Fprintf(&b, "  and %d more lines\n", r.Unlisted)
	}
	switch {
	case !r.Complete():
		b.WriteString("INCOMPLETE: see \"missing\" above")
	case r.Ended != "":
		b.WriteString("NOT FINISHED: it ended early, and nothing is known of what comes after; run it again, it goes on")
	default:
		b.WriteString("nothing is known to be missing")
	}
	return b.String()
}

func section(b *strings.Builder, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(b, "%s:\n", title)
	for _, l := range lines {
		fmt.Fprintf(b, "  %s\n", l)
	}
}

// String returns one line.
func (m MirrorReport) String() string {
	if m.Err != "" {
		return fmt.Sprintf("%s: %s", m.Name, m.Err)
	}
	s := fmt.Sprintf("%s: %s up to #%d, %d used", m.Name, count(m.Segments, "segment", "segments"), m.Last, m.Used)
	if m.Lacks > 0 {
		s += fmt.Sprintf(", %d lacking", m.Lacks)
	}
	if m.Bad > 0 {
		s += fmt.Sprintf(", %d bad", m.Bad)
	}
	return s
}

// String returns one line.
func (br BranchReport) String() string {
	mark := "not taken"
	if br.Chosen {
		mark = "TAKEN"
	}
	var where []string
	for _, r := range br.Received {
		where = append(where, r.Mirror+" "+r.Time.UTC().Format(time.RFC3339))
	}
	s := fmt.Sprintf("segment %s, #%d to #%d, head %s: %s; received by %s", br.Place, br.First, br.Last, br.Head, mark, strings.Join(where, ", "))
	if br.Why != "" {
		s += "; " + br.Why
	}
	return s
}

func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func humanBytes(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1024, 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}
