package replication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// CopyProgress is how far a comparison of mirrors has come.
type CopyProgress struct {
	Epoch    uint64
	Segment  uint64 // the number just compared
	Segments uint64 // the last number of the epoch
	Copied   int64  // objects written so far
	Bytes    int64
}

// CopyReport says what was copied to a mirror.
type CopyReport struct {
	Name     string `json:"name"`
	Segments int64  `json:"segments_copied"`
	Packs    int64  `json:"packs_copied"`
	Bytes    int64  `json:"bytes_copied"`
	Err      string `json:"error,omitempty"` // why it still lacks something; empty if it lacks nothing
}

// String returns one line without the name.
func (c CopyReport) String() string {
	s := "nothing was missing"
	if c.Segments+c.Packs > 0 {
		s = fmt.Sprintf("%s and %s (%s) copied to it", count(c.Segments, "segment", "segments"), count(c.Packs, "pack", "packs"), humanBytes(c.Bytes))
	}
	if c.Err != "" {
		s += "; INCOMPLETE: " + c.Err
	}
	return s
}

// target is a mirror that is written to.
type target struct {
	name        string
	bucket      Bucket
	conditional bool
	src         *source // the same mirror as it is read; nil if there is no credential for that

	rep    CopyReport
	rooted bool
	closed uint64
	late   uint64
	failed int // writes in a row that failed
}

func newTargets(writers []Target, ms *mirrorSet) []*target {
	var out []*target
	for _, w := range writers {
		g := &target{name: w.Name, bucket: w.Bucket, conditional: w.Conditional, rep: CopyReport{Name: w.Name}}
		for _, s := range ms.all {
			if s.name == w.Name {
				g.src = s
			}
		}
		if g.src == nil {
			g.fail(errors.New("without a reader credential it is unknown what it lacks"))
		}
		out = append(out, g)
	}
	return out
}

// fail notes the first reason why the mirror still lacks something.
func (g *target) fail(err error) {
	if g.rep.Err == "" {
		g.rep.Err = err.Error()
	}
}

// copier brings mirrors up to what others hold, byte for byte.
type copier struct {
	ms       *mirrorSet
	targets  []*target
	roots    map[RootRef][]byte
	counts   func(Header) (bool, error) // whether a segment is one to copy
	progress func(CopyProgress)
}

func rootObjects(found map[RootRef]*rootFound) map[RootRef][]byte {
	objects := make(map[RootRef][]byte)
	for ref, f := range found {
		objects[ref] = f.object
	}
	return objects
}

// able reports whether the mirror can be compared and written to.
func (g *target) able() bool { return g.src != nil && !g.src.isDown() && g.failed < maxFailures }

// put writes a small object. An error that wraps ErrExists means that the key is taken, perhaps by these very bytes.
func (c *copier) put(ctx context.Context, g *target, key string, data []byte) error {
	return c.write(ctx, g, func() error { return g.bucket.Put(ctx, key, bytes.NewReader(data), int64(len(data))) })
}

// write retries a put: whether it was stored after all shows when its key is read.
func (c *copier) write(ctx context.Context, g *target, fn func() error) error {
	err := c.ms.retryUnless(ctx, []error{ErrExists, ErrDenied}, fn)
	if err == nil || errors.Is(err, ErrExists) {
		g.failed = 0
	} else {
		g.failed++
	}
	return err
}

// copyRoots writes every root record to every mirror: keys that are there already refuse it or take it again.
func (c *copier) copyRoots(ctx context.Context) error {
	for ref, object := range c.roots {
		for _, g := range c.targets {
			key := RootKey(c.ms.kit.Instance(), ref)
			if g.src == nil {
				continue
			}
			if versions, err := c.ms.versions(ctx, g.src, key); err == nil && len(versions) > 0 {
				continue
			}
			if err := c.put(ctx, g, key, object); err != nil && !errors.Is(err, ErrExists) {
				g.fail(fmt.Errorf("root version %d: %w", ref.Version, err))
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// copyLog compares all mirrors over one epoch's log, up to its end, and copies what is missing.
func (c *copier) copyLog(ctx context.Context, e epoch) error {
	ahead := newLookAhead(ctx, 1, c.ms.o.Parallel, func(ctx context.Context, n uint64) (*finding, error) {
		if n > e.end.Number {
			return &finding{number: n}, nil
		}
		return c.ms.survey(ctx, e, n)
	})
	defer ahead.stop()
	var p CopyProgress
	for n := uint64(1); n <= e.end.Number; n++ {
		f, err := ahead.next(ctx)
		if err != nil {
			return err
		}
		if err := c.spread(ctx, f); err != nil {
			return err
		}
		p = CopyProgress{Epoch: e.number, Segment: n, Segments: e.end.Number}
		for _, g := range c.targets {
			p.Copied += g.rep.Segments + g.rep.Packs
			p.Bytes += g.rep.Bytes
		}
		if c.progress != nil {
			c.progress(p)
		}
	}
	return nil
}

// spread copies one number's segment, and the packs that it names, to the mirrors that lack them.
func (c *copier) spread(ctx context.Context, f *finding) error {
	var good []candidate
	for _, x := range f.found {
		if ok, err := c.counts(x.header); err != nil {
			return err
		} else if ok {
			good = append(good, x)
		}
	}
	if len(good) == 0 {
		return nil
	}
	for _, g := range c.targets {
		if !g.able() {
			if g.src != nil {
				g.fail(fmt.Errorf("it could not be compared from segment %d/%d on", good[0].header.Epoch, f.number))
			}
			continue
		}
		if err := c.bring(ctx, g, f, good); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			g.fail(fmt.Errorf("segment %d/%d: %w", good[0].header.Epoch, f.number, err))
		}
	}
	return nil
}

// bring makes one mirror hold one segment. Packs go first: whoever has the segment has all that it names.
func (c *copier) bring(ctx context.Context, g *target, f *finding, good []candidate) error {
	for _, p := range good[0].header.Packs {
		if err := c.bringPack(ctx, g, p, good); err != nil {
			return fmt.Errorf("pack %s: %w", p.ID, err)
		}
	}
	if slices.ContainsFunc(good, func(x candidate) bool { return x.src == g.src }) {
		return nil
	}
	if !slices.Contains(f.lack, g.src) {
		return errors.New("whether it is there could not be read")
	}
	var err error
	for _, from := range good {
		key := from.header.Key()
		var size int64
		size, err = c.copyObject(ctx, g, from.src, key, from.version, func(in io.Reader) error {
			sr, err := OpenSegment(in, c.ms.roots)
			if err != nil {
				return err
			}
			return sr.Verify()
		})
		if errors.Is(err, ErrExists) {
			return c.confirm(ctx, g, key)
		}
		if err == nil {
			g.rep.Segments++
			g.rep.Bytes += size
			return nil
		}
	}
	return err
}

// confirm decides, after a put was refused, whether the mirror has the segment by now: an attempt that seemed to fail
// may have been stored.
func (c *copier) confirm(ctx context.Context, g *target, key string) error {
	var f finding
	c.ms.askOne(ctx, g.src, key, c.ms.o.MaxVersions, &f)
	for _, x := range f.found {
		if ok, err := c.counts(x.header); err == nil && ok {
			g.rep.Segments++
			return nil
		}
	}
	if f.unread != nil {
		return f.unread
	}
	return errors.New("its key is taken by other bytes: this bucket cannot be healed, give the mirror a new one")
}

func (c *copier) bringPack(ctx context.Context, g *target, p PackObject, good []candidate) error {
	h := good[0].header
	key := PackKey(h.Instance, h.Generation, p.ID)
	if has, err := c.hasSize(ctx, g.src, key, p.Size); err != nil || has != "" {
		return err
	}
	err := errors.New("no mirror that was read has a good copy")
	for _, s := range c.ms.all {
		if s == g.src || s.isDown() {
			continue
		}
		version, lookErr := c.hasSize(ctx, s, key, p.Size)
		if lookErr != nil || version == "" {
			continue
		}
		var size int64
		size, err = c.copyObject(ctx, g, s, key, version, func(in io.Reader) error { return VerifyPackObject(in, p) })
		if err == nil {
			g.rep.Packs++
			g.rep.Bytes += size
			return nil
		}
		if errors.Is(err, ErrExists) {
			if has, err := c.hasSize(ctx, g.src, key, p.Size); err != nil || has != "" {
				return err
			}
			return errors.New("its key is taken by other bytes: this bucket cannot be healed, give the mirror a new one")
		}
	}
	return err
}

// hasSize returns a version of the key with that size, "" if there is none.
func (c *copier) hasSize(ctx context.Context, s *source, key string, size int64) (Version, error) {
	versions, err := c.ms.versions(ctx, s, key)
	if err != nil {
		return "", err
	}
	for _, v := range versions {
		if !v.Deleted && v.Size == size {
			return v.Version, nil
		}
	}
	return "", nil
}

// maxPutBytes is the size past which an object is sent in parts.
const maxPutBytes = 16 << 20

// copyObject copies one version of an object to a mirror, after verify has read and approved all of it.
func (c *copier) copyObject(ctx context.Context, g *target, from *source, key string, v Version, verify func(io.Reader) error) (int64, error) {
	file, err := os.CreateTemp(c.ms.o.TempDir, "holdfast-copy-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	size, err := c.download(ctx, file, from, key, v, verify)
	if err != nil {
		return 0, fmt.Errorf("read it from mirror %s: %w", from.name, err)
	}
	return size, c.write(ctx, g, func() error {
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if size <= maxPutBytes {
			return g.bucket.Put(ctx, key, file, size)
		}
		return uploadFile(ctx, g.bucket, key, file)
	})
}

func (c *copier) download(ctx context.Context, file *os.File, from *source, key string, v Version, verify func(io.Reader) error) (size int64, err error) {
	err = c.ms.retry(ctx, func() error {
		if err := file.Truncate(0); err != nil {
			return err
		}
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		in, err := c.ms.get(ctx, from, key, v)
		if err != nil {
			return err
		}
		defer in.Close()
		if err := verify(io.TeeReader(in, file)); err != nil {
			return in.blame(err)
		}
		size, err = file.Seek(0, io.SeekEnd)
		return err
	})
	from.outcome(ctx, transportOnly(err))
	return size, err
}

func uploadFile(ctx context.Context, b Bucket, key string, file *os.File) error {
	up, err := b.Upload(ctx, key)
	if err != nil {
		return err
	}
	if _, err = io.Copy(up, file); err == nil {
		err = up.Complete(ctx)
	}
	if err != nil {
		err = errors.Join(err, up.Abort(context.WithoutCancel(ctx)))
	}
	return err
}

// Heal copies to the mirrors to what they lack and those of from hold, byte for byte, up to a position of the log: the
// host's last acknowledged segment, say. Copies are verified by their signatures first; nothing is decrypted. Mirrors
// of to must be among from, too, with a credential that may read. Only segments whose range counts says are copied; nil
// stands for all that are validly signed.
func Heal(ctx context.Context, kit *Kit, to []Target, from []Source, end Position, counts func(Header) (bool, error), o TakeoverOptions) ([]CopyReport, error) {
	t := newTakeover(kit, nil, to, from, o)
	if counts == nil {
		counts = func(Header) (bool, error) { return true, nil }
	}
	t.copier.counts = counts
	found, err := t.r.mirrors.findRoots(ctx)
	if err == nil && len(found) == 0 {
		err = t.r.noRoot()
	}
	if err == nil {
		for ref, f := range found {
			t.r.mirrors.roots[ref] = f.root
		}
		t.copier.roots = rootObjects(found)
		t.old = epoch{number: end.Epoch, generation: end.Generation, end: &end}
		err = t.copyAll(ctx)
	}
	var reports []CopyReport
	for _, g := range t.targets {
		reports = append(reports, g.rep)
	}
	if err != nil {
		err = fmt.Errorf("heal: %w", err)
	}
	return reports, err
}
