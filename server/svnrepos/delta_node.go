package svnrepos

import (
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strconv"
	"sync"

	"holdfast/storage/svn"
	"holdfast/storage/svn/svndiff"
	"holdfast/storage/svnfs"
)

// Properties of an edit that are not the node's own.
//
// Source: Subversion's svn_props.h.
const (
	propEntryCommittedRev  = "svn:entry:committed-rev"
	propEntryCommittedDate = "svn:entry:committed-date"
	propEntryLastAuthor    = "svn:entry:last-author"
	propEntryUUID          = "svn:entry:uuid"
	propEntryLockToken     = "svn:entry:lock-token"
)

// propChanger is a FileEditor or a DirEditor.
type propChanger interface {
	ChangeProp(name string, value *string) error
}

// nodeAt returns the node at an absolute path, nil if there is none.
func nodeAt(root *svnfs.Root, path string) (*svnfs.Node, error) {
	n, err := root.Node(path)
	if errors.Is(err, svn.ErrFSNotFound) || errors.Is(err, svn.ErrFSNotDirectory) {
		return nil, nil
	}
	return n, err
}

func hexMD5(n *svnfs.Node) string {
	sum := n.MD5()
	return hex.EncodeToString(sum[:])
}

// sendText sends the text of tgt as a delta against src's, which may be nil; nothing if they are equal. Without the texts
// it only tells that there is a difference.
func sendText(to svn.FileEditor, src, tgt *svnfs.Node, texts bool) error {
	base := ""
	if src != nil {
		if svnfs.SameText(src, tgt) {
			return nil
		}
		base = hexMD5(src)
	}
	h, err := to.ApplyTextDelta(base)
	if err != nil || h == nil {
		return err
	}
	if !texts {
		return h.Close()
	}
	return streamText(h, src, tgt)
}

func streamText(h svn.WindowHandler, src, tgt *svnfs.Node) error {
	if src == nil && 0 < tgt.Size() && tgt.Size() <= svn.MaxWindow {
		if done, err := sendDeflated(h, tgt); done || err != nil {
			return err
		}
	}
	if done, err := replayDelta(h, src, tgt); done || err != nil {
		return err
	}
	var source io.Reader
	if src != nil {
		r, err := src.Open()
		if err != nil {
			return err
		}
		defer r.Close()
		source = r
	}
	target, err := tgt.Open()
	if err != nil {
		return err
	}
	defer target.Close()
	return svndiff.Delta(source, target, h, svndiff.DeltaOptions{})
}

// recorder is a svndiff.Encoder, or what has one.
type recorder interface {
	svn.WindowHandler
	Format() uint8
	Record(limit int, done func(recording []byte))
	Replay(recording []byte) error
}

// replayDelta sends a delta as it was sent before, and reports whether it did: else the one that h is given next is remembered.
func replayDelta(h svn.WindowHandler, src, tgt *svnfs.Node) (bool, error) {
	to, ok := h.(recorder)
	if !ok || src == nil {
		return false, nil
	}
	if recording := tgt.Delta(src, to.Format()); recording != nil {
		if err := to.Replay(recording); err != nil {
			return false, err
		}
		return true, h.Close()
	}
	to.Record(svnfs.MaxDelta, func(recording []byte) { tgt.KeepDelta(src, to.Format(), recording) })
	return false, nil
}

// streams holds the memory of sendDeflated.
var streams = sync.Pool{New: func() any { return new([]byte) }}

// sendDeflated sends a new text as it is stored, if it can be and h can take it, and reports whether it did: most of a checkout need
// be neither inflated nor deflated.
func sendDeflated(h svn.WindowHandler, n *svnfs.Node) (bool, error) {
	to, ok := h.(svndiff.DeflatedHandler)
	if !ok {
		return false, nil
	}
	buf := streams.Get().(*[]byte)
	defer streams.Put(buf)
	stream, ok, err := n.Deflated(*buf)
	if err != nil || !ok {
		return false, err
	}
	*buf = stream
	if ok, err = to.Deflated(int(n.Size()), stream); err != nil || !ok {
		return false, err
	}
	return true, h.Close()
}

// sendPropDiff sends what makes the properties of src, which may be nil, into those of tgt.
func sendPropDiff(to propChanger, src, tgt *svnfs.Node) error {
	if src == nil && !tgt.HasProps() || src != nil && svnfs.SameProps(src, tgt) {
		return nil
	}
	var before svn.Props
	var err error
	if src != nil {
		if before, err = src.Props(); err != nil {
			return err
		}
	}
	after, err := tgt.Props()
	if err != nil {
		return err
	}
	for _, c := range svn.PropDiff(before, after) {
		if err := to.ChangeProp(c.Name, c.Value); err != nil {
			return err
		}
	}
	return nil
}

func sendAbsent(parent svn.DirEditor, path string, kind svn.Kind) error {
	if kind == svn.Dir {
		return parent.AbsentDirectory(path)
	}
	return parent.AbsentFile(path)
}

// factCache sends what is known of the revisions that nodes were made in. Many nodes of a tree share a revision.
type factCache struct {
	fs    *svnfs.FS
	uuid  string
	facts map[svn.Revnum]revFacts
}

type revFacts struct{ date, author *string }

const maxFacts = 20_000

func (c *factCache) of(rev svn.Revnum) (revFacts, error) {
	if f, ok := c.facts[rev]; ok {
		return f, nil
	}
	props, err := c.fs.RevProps(rev)
	if err != nil {
		return revFacts{}, err
	}
	var f revFacts
	if date, ok := props[svn.PropDate]; ok {
		f.date = &date
	}
	if author, ok := props[svn.PropAuthor]; ok {
		f.author = &author
	}
	if c.facts == nil || len(c.facts) >= maxFacts {
		c.facts = map[svn.Revnum]revFacts{}
	}
	c.facts[rev] = f
	return f, nil
}

// send sends the facts of a node. What the revision has not is sent as gone, unless the node is new to the client.
func (c *factCache) send(to propChanger, n *svnfs.Node, known bool) error {
	rev := n.CreatedRev()
	if !rev.Valid() {
		return nil
	}
	f, err := c.of(rev)
	if err != nil {
		return err
	}
	number := strconv.FormatInt(int64(rev), 10)
	for _, p := range [...]svn.PropChange{
		{Name: propEntryCommittedRev, Value: &number},
		{Name: propEntryCommittedDate, Value: f.date},
		{Name: propEntryLastAuthor, Value: f.author},
		{Name: propEntryUUID, Value: &c.uuid},
	} {
		if p.Value == nil && !known {
			continue
		}
		if err := to.ChangeProp(p.Name, p.Value); err != nil {
			return err
		}
	}
	return nil
}

// rootCache holds the trees of the revisions that were asked for last. Working copies of mixed revisions jump among a few.
type rootCache struct {
	fs    *svnfs.FS
	roots []*svnfs.Root // the latest first
}

const maxRoots = 16

func (c *rootCache) root(rev svn.Revnum) (*svnfs.Root, error) {
	i := slices.IndexFunc(c.roots, func(r *svnfs.Root) bool { return r.Rev() == rev })
	var root *svnfs.Root
	switch {
	case i >= 0:
		root = c.roots[i]
	default:
		var err error
		if root, err = c.fs.Root(rev); err != nil {
			return nil, err
		}
		if len(c.roots) < maxRoots {
			c.roots = append(c.roots, nil)
		}
		i = len(c.roots) - 1
	}
	copy(c.roots[1:i+1], c.roots[:i])
	c.roots[0] = root
	return root, nil
}

// deletedRev returns the first revision after start and up to end in which the node that is at path in start is no longer
// there, InvalidRevnum if there is none. The ends may come in either order.
//
// Source: Subversion's svn_repos.h (svn_repos_deleted_rev).
func (c *rootCache) deletedRev(path string, start, end svn.Revnum) (svn.Revnum, error) {
	start, end = min(start, end), max(start, end)
	root, err := c.root(start)
	if err != nil {
		return svn.InvalidRevnum, err
	}
	node, err := nodeAt(root, path)
	if err != nil || node == nil {
		return svn.InvalidRevnum, err
	}
	alive, err := c.survives(node, path, start, end)
	if err != nil || alive {
		return svn.InvalidRevnum, err
	}
	for first := start; end-first > 1; {
		mid := first + (end-first)/2
		alive, err := c.survives(node, path, start, mid)
		if err != nil {
			return svn.InvalidRevnum, err
		}
		if alive {
			first = mid
		} else {
			end = mid
		}
	}
	return end, nil
}

// survives reports whether the node that is at path in revision start is still there in rev, perhaps changed, but neither
// replaced by another one nor by a copy of itself.
func (c *rootCache) survives(node *svnfs.Node, path string, start, rev svn.Revnum) (bool, error) {
	root, err := c.root(rev)
	if err != nil {
		return false, err
	}
	now, err := nodeAt(root, path)
	if err != nil || now == nil || node.Relation(now) == svnfs.Unrelated {
		return false, err
	}
	made, err := root.ClosestCopy(path)
	return err == nil && (made == nil || made.Rev <= start), err
}
