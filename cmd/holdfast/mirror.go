package main

import (
	"cmp"
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"holdfast/auth"
	"holdfast/replication"
	"holdfast/server"
)

func mirrorCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "mirror", Short: "See how the mirrors stand, probe what they enforce, run one"}
	cmd.AddCommand(mirrorStatusCommand(a))
	if a.remote == nil {
		cmd.AddCommand(mirrorProbeCommand(a), mirrorServeCommand(a))
	}
	return cmd
}

func mirrorStatusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how far each mirror is",
		Long: `Show how far each mirror is. States: ok; lagging, it is being sent what it lacks; unreachable; stopped,
somebody else writes to it as this host; needs heal, it lacks what this host no longer keeps for it.
It exits 1 unless all are ok.`,
		Example: "  holdfast mirror status\n  ssh -p 2222 git@host mirror status",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onHost(cmd, func(ctx context.Context, srv *server.Server, who auth.Identity) error {
				list, err := srv.Mirrors(who)
				if err != nil {
					return err
				}
				return a.printStatus(list, time.Now())
			})
		},
	}
}

func (a *app) printStatus(list []replication.MirrorStatus, now time.Time) error {
	if err := a.printMirrors(list, now); err != nil {
		return err
	}
	for _, m := range list {
		if m.State != replication.StateOK {
			return errSilent
		}
	}
	return nil
}

func (a *app) printMirrors(list []replication.MirrorStatus, now time.Time) error {
	if a.json {
		return a.printJSON(append([]replication.MirrorStatus{}, list...))
	}
	if len(list) == 0 {
		a.printf("no mirrors: this host is detached; \"holdfast takeover\" makes it the writer\n")
		return nil
	}
	w := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MIRROR\tSTATE\tHOLDS\tBEHIND\tLAST ACK\tREASON")
	for _, m := range list {
		last := "never"
		if !m.LastAck.IsZero() {
			last = now.Sub(m.LastAck).Round(time.Second).String() + " ago"
		}
		fmt.Fprintf(w, "%s\t%s\t#%d\t%d\t%s\t%s\n", m.Name, m.State, m.Acked, m.Behind, last, cmp.Or(m.Reason, m.LastError))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, m := range list {
		if m.Remedy != "" {
			a.printf("%s %s: %s\n", m.Name, m.State, m.Remedy)
		}
	}
	return nil
}
