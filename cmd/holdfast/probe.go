package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"holdfast/replication"
	"holdfast/replication/s3"
	"holdfast/storage"
)

// probesName is the file below the data directory that keeps what the last probes found. It is a file and no fact of the
// store, so that a probe may run beside a server.
const probesName = "probes.json"

// probeTimeout bounds the probe of one mirror.
const probeTimeout = time.Minute

// probes is what is known about a host's mirrors.
type probes struct {
	Instance string            `json:"instance"`
	Mirrors  map[string]probed `json:"mirrors"`
}

// probed is what a probe found out about a mirror. It counts only for the bucket that was probed.
type probed struct {
	Endpoint   string        `json:"endpoint"`
	Bucket     string        `json:"bucket"`
	Conditions s3.Conditions `json:"conditions"` // where If-None-Match is enforced
	Idempotent bool          `json:"idempotent"` // and the same bytes again are a success
	Checksum   s3.Checksum   `json:"checksum"`
	Time       time.Time     `json:"time"`
}

func loadProbes(dir string) (p probes, err error) {
	path := filepath.Join(dir, probesName)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return p, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &p)
	}
	if err != nil {
		return p, fmt.Errorf("%s: %w (remove it and run \"holdfast mirror probe\")", path, err)
	}
	return p, nil
}

func (p probes) save(dir string) error {
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, probesName)
	if err := os.WriteFile(path+".tmp", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// of returns what is known about a mirror's bucket: nothing enforced, if nothing is.
func (p probes) of(m mirrorConfig) probed {
	if found := p.Mirrors[m.Name]; found.Endpoint == m.Endpoint && found.Bucket == m.Bucket {
		return found
	}
	return probed{}
}

func (p *probes) set(m mirrorConfig, r *s3.ProbeReport, now time.Time) {
	if p.Mirrors == nil {
		p.Mirrors = map[string]probed{}
	}
	p.Mirrors[m.Name] = probed{m.Endpoint, m.Bucket, r.Conditions, r.IdenticalAccepted, r.Checksum, now}
}

func mirrorProbeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "probe [NAME]",
		Short: "Try what the mirrors' buckets really enforce",
		Long: `Try what the mirrors' buckets really enforce, and what the host's credential may do there: delete, overwrite,
change settings, read, list. It stores a few small objects in each bucket, and sends requests that change
nothing even where they are allowed. With reader credentials in the environment it also sees versioning and locks.

The host relies on what was found from its next start on. It exits 1 if something dangerous was found.`,
		Example: "  holdfast mirror probe --data /srv/holdfast\n  holdfast mirror probe aws --json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.probe(cmd.Context(), a.dataDir(), args)
		},
	}
}

// probeFacts is what `mirror probe --json` says.
type probeFacts struct {
	Mirrors []mirrorProbe `json:"mirrors"`
	Shared  []s3.Shared   `json:"shared"` // what mirrors have in common, so that one compromise reaches both
}

type mirrorProbe struct {
	Name   string          `json:"name"`
	Error  string          `json:"error,omitempty"`
	Report *s3.ProbeReport `json:"report,omitempty"`
}

func (a *app) probe(ctx context.Context, dir string, names []string) error {
	cfg, err := a.loadConfig(dir)
	if err != nil {
		return err
	}
	wanted := cfg.Mirrors
	if len(names) > 0 {
		one, err := cfg.mirror(names[0])
		if err != nil {
			return err
		}
		wanted = []mirrorConfig{one}
	}
	known, err := loadProbes(dir)
	if err != nil {
		return err
	}
	if known.Instance == "" {
		return fmt.Errorf("no host in %s that \"holdfast init\" or \"holdfast takeover\" finished", dir)
	}
	facts := a.probeMirrors(ctx, dir, wanted, &known)
	if err := known.save(dir); err != nil {
		return err
	}
	return a.printProbe(facts)
}

// probeMirrors probes mirrors one after the other and notes in known what it found.
func (a *app) probeMirrors(ctx context.Context, dir string, mirrors []mirrorConfig, known *probes) probeFacts {
	facts := probeFacts{Mirrors: []mirrorProbe{}, Shared: []s3.Shared{}}
	var parties []s3.Party
	for _, m := range mirrors {
		report, party, err := a.probeMirror(ctx, dir, m, known.Instance)
		parties = append(parties, party)
		if err != nil {
			facts.Mirrors = append(facts.Mirrors, mirrorProbe{Name: m.Name, Error: err.Error()})
			continue
		}
		known.set(m, report, time.Now())
		facts.Mirrors = append(facts.Mirrors, mirrorProbe{Name: m.Name, Report: report})
	}
	facts.Shared = append(facts.Shared, s3.Compare(parties)...)
	return facts
}

func (a *app) probeMirror(ctx context.Context, dir string, m mirrorConfig, instance string) (*s3.ProbeReport, s3.Party, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	party := s3.Party{Name: m.Name, Endpoint: m.Endpoint}
	writer, err := a.writerConfig(dir, m)
	if err != nil {
		return nil, party, err
	}
	o := s3.ProbeOptions{Instance: instance, Writer: writer}
	party.Keys = append(party.Keys, writer.AccessKey)
	if reader := a.envReader(m.Name); reader.AccessKey != "" && reader.SecretKey != "" {
		cfg := readerConfig(replication.KitMirror{Endpoint: m.Endpoint, Region: m.Region, Bucket: m.Bucket}, reader)
		o.Reader = &cfg
		party.Keys = append(party.Keys, cfg.AccessKey)
	}
	report, err := s3.Probe(ctx, o)
	if err == nil {
		party.Owner = report.Owner
	}
	return report, party, err
}

// warnings are what an operator must know of a probe: dangers, failures, and that nothing keeps a second writer out.
func (f probeFacts) warnings() (all []string) {
	fenced := false
	for _, m := range f.Mirrors {
		if m.Report == nil {
			all = append(all, fmt.Sprintf("mirror %s could not be probed: %s", m.Name, m.Error))
			continue
		}
		fenced = fenced || m.Report.Conditions.Put
		for _, c := range m.Report.Problems() {
			if c.Grade == s3.Danger {
				all = append(all, fmt.Sprintf("mirror %s: %s: %s: %s", m.Name, c.Who, c.What, c.Finding))
			}
		}
	}
	for _, s := range f.Shared {
		all = append(all, "mirrors "+s.String()+": one compromise may reach both")
	}
	if !fenced {
		all = append(all, "no mirror is known to enforce conditional writes: nothing keeps an old copy of this host, or a host that was "+
			"taken over, from writing as well. At least one mirror must enforce them; \"holdfast mirror probe\" tells which do")
	}
	return all
}

func (a *app) printProbe(f probeFacts) error {
	dangerous := false
	for _, m := range f.Mirrors {
		dangerous = dangerous || m.Report == nil || m.Report.Worst() == s3.Danger
		if m.Report == nil {
			a.printf("%s: %s\n", m.Name, m.Error)
			continue
		}
		a.printf("%s: %s", m.Name, m.Report)
	}
	for _, s := range f.Shared {
		a.printf("warning: %s: one compromise may reach both\n", s)
	}
	if a.json {
		if err := a.printJSON(f); err != nil {
			return err
		}
	}
	if dangerous {
		return errSilent
	}
	return nil
}

// probeUnknown probes the mirrors of which nothing is known, before a host that starts relies on them.
func (a *app) probeUnknown(ctx context.Context, dir string, cfg *config, st *storage.Store) error {
	known, err := loadProbes(dir)
	if err != nil {
		return err
	}
	state, err := st.State()
	if err != nil {
		return err
	}
	known.Instance = state.Instance
	var unknown []mirrorConfig
	for _, m := range cfg.Mirrors {
		if known.of(m).Time.IsZero() {
			unknown = append(unknown, m)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	for _, m := range a.probeMirrors(ctx, dir, unknown, &known).Mirrors {
		if m.Report == nil {
			a.notef("warning: mirror %s could not be probed: %s\n", m.Name, m.Error)
		}
	}
	return known.save(dir)
}
