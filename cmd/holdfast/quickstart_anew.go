package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// isMade reports whether a data directory holds a host with a journal: init writes that last, and all at once.
func isMade(dir string) bool {
	if _, err := os.Stat(filepath.Join(dir, configName)); err != nil {
		return false
	}
	return requireStore(dir) == nil && !unfinished(dir)
}

// isQuickstart reports whether quickstart began what is in a data directory.
func isQuickstart(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, quickstartDir, quickstartFile))
	return err == nil
}

// clear removes what a first run left that was killed: its unfinished host and the kit that it had begun. Whatever this
// cannot prove to be of that run stays, and init refuses to go on beside it.
func (q *quickstart) clear() error {
	begun, err := os.ReadFile(filepath.Join(q.dir, configName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it is what init writes first
	}
	if err != nil {
		return err
	}
	// Init writes it only where nothing else is, so that all that stands beside it came after it.
	ours, err := os.ReadFile(filepath.Join(q.dir, quickstartDir, configName))
	if err != nil || !bytes.HasPrefix(ours, begun) || isMade(q.dir) {
		return err
	}
	q.a.notef("the last quickstart was ended before it had made its host: this one begins anew\n")
	if err := q.clearKit(); err != nil {
		return err
	}
	for _, name := range []string{"host.db", "repos", "quarantine", probesName, probesName + ".tmp", configName} {
		if err := os.RemoveAll(filepath.Join(q.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// kitFiles are the names in a kit, the one with the root key first, as they are written.
var kitFiles = []string{"root.key", "recovery.agekey", "README.txt", "readers.yaml", "kit.yaml"}

// clearKit removes the kit, unless it holds anything that is not of the host which was begun.
func (q *quickstart) clearKit() error {
	entries, err := os.ReadDir(q.facts.Kit)
	if err != nil || q.facts.Instance == "" {
		return nil
	}
	for _, e := range entries {
		if !slices.Contains(kitFiles, strings.TrimSuffix(e.Name(), ".tmp")) {
			return nil
		}
	}
	root, err := os.ReadFile(filepath.Join(q.facts.Kit, kitFiles[0]))
	if err == nil && !bytes.Contains(root, []byte(q.facts.Instance)) || err != nil && len(entries) > 1 {
		return nil
	}
	for _, e := range entries {
		if err := os.Remove(filepath.Join(q.facts.Kit, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
