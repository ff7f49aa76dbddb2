package s3

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
)

// Problems returns the checks that are not good, the dangerous ones first.
func (r *ProbeReport) Problems() []Check {
	var out []Check
	for _, grade := range []Grade{Danger, Warning} {
		for _, c := range r.Checks {
			if c.Grade == grade {
				out = append(out, c)
			}
		}
	}
	return out
}

// Worst returns the worst grade of all checks.
func (r *ProbeReport) Worst() Grade {
	if p := r.Problems(); len(p) > 0 {
		return p[0].Grade
	}
	return Good
}

// String returns the report as lines for a terminal. What a server answered stands there only where it is a problem.
func (r *ProbeReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s bucket %s\n", r.Endpoint, r.Bucket)
	line := func(name, value string) { fmt.Fprintf(&b, "  %-12s %s\n", name+":", value) }
	line("conditions", r.conditions())
	line("checksum", string(r.Checksum))
	line("versioning", orUnseen(r.Versioning))
	line("lock", r.Retention.String())
	line("owner", orUnseen(r.Owner))
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, c := range r.Checks {
		mark := map[Grade]string{Good: "  ", Warning: "! ", Danger: "!!"}[c.Grade]
		fmt.Fprintf(w, "  %s %s\t%s\t%s", mark, c.Who, c.What, c.Finding)
		if c.Grade != Good {
			fmt.Fprintf(w, "\t%s", c.Detail)
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	return b.String()
}

func (r *ProbeReport) conditions() string {
	var what []string
	if r.Conditions.Put {
		what = append(what, "put")
	}
	if r.Conditions.Complete {
		what = append(what, "completion of uploads")
	}
	if len(what) == 0 {
		return "not enforced; another mirror must enforce them"
	}
	s := "enforced on " + strings.Join(what, " and ")
	if r.IdenticalAccepted {
		s += "; identical bytes are accepted"
	}
	return s
}

func orUnseen(s string) string {
	if s == "" {
		return "not seen"
	}
	return s
}

// String describes the lock.
func (r Retention) String() string {
	switch {
	case r.Mode == "":
		return "none seen"
	case r.Source == "object":
		return fmt.Sprintf("%s until %s", r.Mode, r.Until.UTC().Format("2006-01-02 15:04 MST"))
	}
	return fmt.Sprintf("%s for %d days by the bucket's rule, which this server does not show on objects", r.Mode, r.Days)
}

// Party is what one mirror depends on.
type Party struct {
	Name     string
	Endpoint string   // URL
	Keys     []string // access keys, the writer's and the reader's
	Owner    string   // ProbeReport.Owner; may be empty
}

// Shared is something that two mirrors have in common, so that one compromise reaches both.
type Shared struct {
	Mirrors [2]string `json:"mirrors"`
	What    string    `json:"what"` // host, domain, access key, owner
	Value   string    `json:"value"`
}

// String describes the finding in a sentence.
func (s Shared) String() string {
	return fmt.Sprintf("%s and %s have the same %s (%s)", s.Mirrors[0], s.Mirrors[1], s.What, s.Value)
}

// Compare finds what mirrors share that should be independent.
func Compare(parties []Party) []Shared {
	var out []Shared
	for i, a := range parties {
		for _, b := range parties[i+1:] {
			pair := [2]string{a.Name, b.Name}
			if what, value := sharedHost(a.Endpoint, b.Endpoint); what != "" {
				out = append(out, Shared{pair, what, value})
			}
			for _, key := range a.Keys {
				if key != "" && slices.Contains(b.Keys, key) {
					out = append(out, Shared{pair, "access key", key})
				}
			}
			if a.Owner != "" && a.Owner == b.Owner {
				out = append(out, Shared{pair, "owner", a.Owner})
			}
		}
	}
	return out
}

// sharedHost compares the hosts of two endpoints, and their domains: regions of one provider are one provider.
func sharedHost(a, b string) (what, value string) {
	x, y := hostOf(a), hostOf(b)
	switch {
	case x == "" || y == "":
		return "", ""
	case x == y:
		return "host", x
	case domainOf(x) != "" && domainOf(x) == domainOf(y):
		return "domain", domainOf(x)
	}
	return "", ""
}

func hostOf(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
}

// domainOf returns the last two labels of a host name, which is near enough for a warning; empty for an address.
func domainOf(host string) string {
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	labels := strings.Split(host, ".")
	if len(labels) < 2 {
		return ""
	}
	return strings.Join(labels[len(labels)-2:], ".")
}
