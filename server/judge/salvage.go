//go:build judge

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"holdfast/storage/object"
	"holdfast/storage/pack"
)

// thing is an object of a damaged repository.
type thing struct {
	typ   object.Type
	data  []byte
	links []object.ID
}

// salvage returns a pack with the objects of a dump that are sound and lead only to sound ones. Git itself reads the
// dump.
func salvage(ctx context.Context, dump string, f object.Format) ([]byte, error) {
	things, err := readAll(ctx, dump, f)
	if err != nil {
		return nil, err
	}
	for dropped := true; dropped; {
		dropped = false
		for id, t := range things {
			for _, link := range t.links {
				if _, ok := things[link]; !ok {
					delete(things, id)
					dropped = true
					break
				}
			}
		}
	}
	var out bytes.Buffer
	w := pack.NewWriter(&out, f, uint32(len(things)))
	for _, t := range things {
		if err := w.WriteObject(t.typ, t.data); err != nil {
			return nil, err
		}
	}
	err = w.Close()
	return out.Bytes(), err
}

// readAll returns the objects of a dump that have no fault by themselves.
func readAll(ctx context.Context, dump string, f object.Format) (map[object.ID]thing, error) {
	dir, err := os.MkdirTemp("", "salvage")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	in, err := os.Open(filepath.Join(dump, "objects.pack"))
	if err != nil {
		return nil, err
	}
	defer in.Close()
	if _, err := git(ctx, nil, "init", "-q", "--bare", "--object-format="+f.String(), dir); err != nil {
		return nil, err
	}
	if _, err := git(ctx, in, "-C", dir, "unpack-objects", "-q"); err != nil {
		return nil, err
	}
	all, err := git(ctx, nil, "-C", dir, "cat-file", "--batch-all-objects", "--batch")
	if err != nil {
		return nil, err
	}
	things := map[object.ID]thing{}
	for r := bufio.NewReader(bytes.NewReader(all)); ; {
		var hex, kind string
		var size int
		if _, err := fmt.Fscanf(r, "%s %s %d\n", &hex, &kind, &size); err == io.EOF {
			return things, nil
		} else if err != nil {
			return nil, err
		}
		t := thing{data: make([]byte, size)}
		if _, err := io.ReadFull(r, t.data); err != nil {
			return nil, err
		}
		r.Discard(1)
		id, err := object.ParseID(hex)
		if err == nil {
			t.typ, err = object.ParseType(kind)
		}
		if err != nil {
			return nil, err
		}
		c := object.Checker{Format: f, Link: func(_ object.Type, raw []byte) {
			t.links = append(t.links, object.NewID(f, raw))
		}}
		if c.Check(t.typ, t.data) == nil {
			things[id] = t
		}
	}
}

func git(ctx context.Context, in io.Reader, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Stdin, cmd.Stderr = in, os.Stderr
	return cmd.Output()
}
