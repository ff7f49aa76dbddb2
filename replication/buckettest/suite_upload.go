package buckettest

import (
	"errors"
	"sync"

	"holdfast/replication"
)

func (c *check) upload() {
	for name, size := range map[string]int{"big": c.s.BigBytes, "empty": 0, "small": 100} {
		data := noise(size)
		u := c.begin(name)
		for rest := data; len(rest) > 0; {
			n := min(len(rest), 100_003)
			if m, err := u.Write(rest[:n]); err != nil || m != n {
				c.Fatalf("write: %d, %v", m, err)
			}
			rest = rest[n:]
		}
		if err := u.Complete(c.Context()); err != nil {
			c.Fatalf("complete %q: %v", name, err)
		}
		if err := u.Abort(c.Context()); err != nil {
			c.Errorf("abort after complete: %v", err)
		}
		c.wantGet(name, data)
	}
}

func (c *check) begin(key string) replication.Upload {
	c.Helper()
	u, err := c.w.Upload(c.Context(), c.prefix+key)
	if err != nil {
		c.Fatalf("upload %q: %v", key, err)
	}
	return u
}

func (c *check) uploadAll(key string, data []byte) error {
	c.Helper()
	u := c.begin(key)
	if _, err := u.Write(data); err != nil {
		c.Fatalf("write %q: %v", key, err)
	}
	err := u.Complete(c.Context())
	if err != nil {
		if err := u.Abort(c.Context()); err != nil {
			c.Errorf("abort %q: %v", key, err)
		}
	}
	return err
}

func (c *check) uploadAgain() {
	first, other := noise(c.s.BigBytes), noise(c.s.BigBytes)
	if err := c.uploadAll("k", first); err != nil {
		c.Fatal(err)
	}
	same, different := c.uploadAll("k", first), c.uploadAll("k", other)
	switch c.s.Conditional {
	case Enforced:
		c.wantErr("identical upload", same, replication.ErrExists)
		c.wantErr("different upload", different, replication.ErrExists)
	case WriteOnce:
		c.wantErr("identical upload", same, nil)
		c.wantErr("different upload", different, replication.ErrExists)
	case Ignored:
		c.wantErr("identical upload", same, nil)
		c.wantErr("different upload", different, nil)
	}
	if c.s.Conditional != Ignored {
		c.wantGet("k", first)
		c.wantErr("put over an upload", c.put("k", other[:10]), replication.ErrExists)
	}
}

func (c *check) uploadAborted() {
	u := c.begin("k")
	if _, err := u.Write(noise(c.s.BigBytes)); err != nil {
		c.Fatal(err)
	}
	if err := u.Abort(c.Context()); err != nil {
		c.Fatal(err)
	}
	if err := u.Complete(c.Context()); err == nil {
		c.Error("complete after abort succeeded")
	}
	if _, err := u.Write([]byte("x")); err == nil {
		c.Error("write after abort succeeded")
	}
	if vs, err := c.r.Versions(c.Context(), c.prefix+"k"); err != nil || len(vs) > 0 {
		c.Errorf("versions: %v, %v; want none", vs, err)
	}
}

func (c *check) uploadOpen() {
	u := c.begin("k")
	if _, err := u.Write(noise(c.s.BigBytes)); err != nil {
		c.Fatal(err)
	}
	_, err := c.get("k", "")
	c.wantErr("get before complete", err, replication.ErrNotFound)
	c.wantList(c.prefix, "", nil)
	if err := u.Abort(c.Context()); err != nil {
		c.Error(err)
	}
}

// uploadRace completes uploads of one key at the same time.
func (c *check) uploadRace() {
	const racers = 4
	var data [racers][]byte
	var ups [racers]replication.Upload
	for i := range ups {
		data[i] = noise(c.s.BigBytes/2 + i)
		ups[i] = c.begin("k")
		if _, err := ups[i].Write(data[i]); err != nil {
			c.Fatal(err)
		}
	}
	var wins [racers]bool
	var wg sync.WaitGroup
	for i := range ups {
		wg.Go(func() {
			err := ups[i].Complete(c.Context())
			wins[i] = err == nil
			if err != nil && !errors.Is(err, replication.ErrExists) {
				c.Logf("racer %d: %v", i, err)
			}
			if err != nil {
				ups[i].Abort(c.Context())
			}
		})
	}
	wg.Wait()
	won := 0
	for i := range wins {
		if wins[i] {
			won++
			if c.s.Conditional != Ignored {
				c.wantGet("k", data[i])
			}
		}
	}
	if c.s.Conditional != Ignored && won != 1 || won == 0 {
		c.Errorf("%d racers won", won)
	}
}
