package main

import (
	"strings"

	"github.com/spf13/cobra"

	"holdfast/replication"
)

func kitCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "kit", Short: "Verify or print a recovery kit"}
	cmd.AddCommand(kitVerify(a), kitPrint(a))
	return cmd
}

// kitFacts is what `kit verify --json` says.
type kitFacts struct {
	Instance    string                  `json:"instance"`
	Name        string                  `json:"name,omitempty"`
	RootKey     string                  `json:"root_key"` // public
	RootVersion uint64                  `json:"root_version"`
	Recipient   string                  `json:"recipient_type"`
	Mirrors     []replication.KitMirror `json:"mirrors"`
	Readers     []string                `json:"readers"` // mirrors with a reader credential at hand
	Problems    []string                `json:"problems"`
}

func kitVerify(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "verify KITDIR", Short: "Tell whether a recovery kit is whole",
		Long: `Tell whether a recovery kit is whole: its files are there, readable by you only, and fit together.
It does not contact the mirrors; "holdfast restore --dry-run" does.`,
		Example: "  holdfast kit verify /media/usb/holdfast-kit",
		Args:    exactArgs("KITDIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			kit, err := replication.OpenKit(args[0])
			if err != nil {
				return err
			}
			facts := kitFacts{
				Instance: kit.Instance(), Name: kit.Name(), RootKey: kit.RootKey(), Recipient: string(kit.RecipientType()),
				Mirrors: kit.Mirrors(), Readers: []string{}, Problems: []string{},
			}
			facts.RootVersion, _ = kit.KnownRoot()
			for _, m := range facts.Mirrors {
				if _, ok := kit.Reader(m.Name); ok {
					facts.Readers = append(facts.Readers, m.Name)
				}
			}
			if err := kit.Verify(); err != nil {
				facts.Problems = strings.Split(err.Error(), "\n")
			}
			return a.printKit(facts)
		},
	}
}

// printKit prints the facts and fails if they hold a problem.
func (a *app) printKit(f kitFacts) error {
	if a.json {
		if err := a.printJSON(f); err != nil {
			return err
		}
	}
	a.printf("kit of %s, instance %s, root record %d, %s recipients\n", orUnnamed(f.Name), f.Instance, f.RootVersion, f.Recipient)
	for _, m := range f.Mirrors {
		reader := "no reader credential here: set one in the environment to restore"
		for _, name := range f.Readers {
			if name == m.Name {
				reader = "reader credential at hand"
			}
		}
		a.printf("  mirror %s: %s bucket %s (%s)\n", m.Name, m.Endpoint, m.Bucket, reader)
	}
	for _, p := range f.Problems {
		a.printf("problem: %s\n", p)
	}
	if len(f.Problems) > 0 {
		return errSilent
	}
	a.printf("whole: all files are there and fit together\n")
	return nil
}

func orUnnamed(name string) string {
	if name == "" {
		return "an unnamed host"
	}
	return name
}

func kitPrint(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "print KITDIR", Short: "Print a recovery kit for paper, secrets included",
		Long: `Print all that is needed to write a recovery kit anew by hand, for a safe. It holds the secrets:
whoever reads the page reads every repository.`,
		Example: "  holdfast kit print /media/usb/holdfast-kit | lpr",
		Args:    exactArgs("KITDIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			kit, err := replication.OpenKit(args[0])
			if err != nil {
				return err
			}
			for _, w := range kit.Warnings() {
				a.notef("warning: %s\n", w)
			}
			if a.json {
				return a.printJSON(struct {
					Page string `json:"page"`
				}{kit.Print()})
			}
			a.printf("%s", kit.Print())
			return nil
		},
	}
}
