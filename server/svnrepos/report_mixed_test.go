package svnrepos_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
)

// reporter tells of a working copy as a client does.
type reporter struct {
	t *testing.T
	r *svnrepos.Report
}

func (r reporter) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// below tells what is not as the directory n would have it.
func (r reporter) below(n *wcNode, path string, all bool) {
	r.t.Helper()
	names := slices.Collect(maps.Keys(n.kids))
	for name := range n.missing {
		if n.kids[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		kid, at := n.kids[name], svn.Join(path, name)
		switch {
		case kid == nil:
			r.check(r.r.DeletePath(at))
			continue
		case kid.link:
			r.check(r.r.LinkPath(at, kid.path, kid.rev, svn.DepthInfinity, false, kid.token))
		case all, kid.rev != n.rev, kid.token != "":
			r.check(r.r.SetPath(at, kid.rev, svn.DepthInfinity, false, kid.token))
		}
		r.below(kid, at, false)
	}
}

// world is a repository with a random history, and a working copy of it.
type world struct {
	history
	repo svnrepos.Repository
	wc   *wcNode
}

func newWorld(t *testing.T, seed uint64, revisions int) *world {
	t.Helper()
	t.Logf("seed %d", seed)
	fs := newFS(t)
	w := &world{history: history{t, rand.New(rand.NewPCG(seed, 0)), fs}, repo: svnrepos.Repository{FS: fs}, wc: newDir()}
	for range revisions {
		w.commit()
	}
	w.wc.path = "/"
	return w
}

// target is a part of the working copy that an operation is on.
type target struct {
	anchor *wcNode
	name   string // "" for all of anchor
}

func (w *world) randomTarget() target {
	at := target{w.wc, ""}
	for w.rng.IntN(3) > 0 {
		node := at.anchor.kids[at.name]
		if at.name == "" {
			node = at.anchor
		}
		if !node.dir || len(node.kids) == 0 {
			break
		}
		at = target{node, w.pick(slices.Sorted(maps.Keys(node.kids)))}
	}
	return at
}

func (at target) node() *wcNode {
	if at.name == "" {
		return at.anchor
	}
	return at.anchor.kids[at.name]
}

// bring updates, or switches, a part of the working copy to a revision, and compares what comes out.
func (w *world) bring(at target, rev svn.Revnum, switchTo string) {
	w.t.Helper()
	root, err := w.fs.Root(rev)
	w.check(err)
	node := at.node()
	path := node.path
	if switchTo != "" {
		path = switchTo
	}
	var links *wcNode
	if switchTo == "" {
		links = node.shape()
	}
	want, err := export(root, path, links)
	if err != nil && at.name == "" {
		return // the root of a working copy cannot go
	}
	if want != nil && at.name == "" && !want.dir {
		return
	}
	ed := w.drive(at, svnrepos.ReportRequest{Rev: rev, SwitchPath: switchTo, Anchor: at.anchor.path, Target: at.name})
	if !ed.closed || ed.abort || ed.target != rev {
		w.t.Fatalf("the edit is not closed properly: %+v", ed)
	}
	got := at.node()
	if want == nil || got == nil {
		if got != nil || want != nil {
			w.t.Fatalf("%s@%d: got %v, want %v", path, rev, got, want)
		}
		at.anchor.missing[at.name] = true
		return
	}
	if got.tree() != want.tree() {
		w.t.Fatalf("%s@%d is\n%s\nnot\n%s\nafter %q", path, rev, got.tree(), want.tree(), ed.log)
	}
	delete(at.anchor.missing, at.name)
	link := switchTo != "" || links.link
	got.stamp(path, rev, link, links)
}

// stamp sets what a client notes of nodes after an update. Those that links has remain switched.
func (n *wcNode) stamp(path string, rev svn.Revnum, link bool, links *wcNode) {
	n.path, n.rev, n.link, n.missing = path, rev, link, map[string]bool{}
	for name, kid := range n.kids {
		if was := links.kid(name); was != nil && was.link {
			kid.stamp(was.path, rev, true, was)
			continue
		}
		kid.stamp(svn.Join(path, name), rev, false, links.kid(name))
	}
	if links == nil {
		return
	}
	for name, was := range links.kids {
		if was.link && n.kids[name] == nil {
			n.missing[name] = true
		}
	}
}

// switched reports whether the node or one below is switched.
func (n *wcNode) switched() bool {
	if n.link {
		return true
	}
	for _, kid := range n.kids {
		if kid.switched() {
			return true
		}
	}
	return false
}

// shape copies what is switched in a working copy, before an edit changes it.
func (n *wcNode) shape() *wcNode {
	c := newDir()
	c.path, c.link = n.path, n.link
	for name, kid := range n.kids {
		c.kids[name] = kid.shape()
	}
	return c
}

// drive reports the working copy and applies the edit.
func (w *world) drive(at target, req svnrepos.ReportRequest) *wcEditor {
	w.t.Helper()
	ed := &wcEditor{fs: w.fs, root: at.anchor}
	req.TextDeltas, req.Depth = true, svn.DepthUnknown
	if w.rng.IntN(2) == 0 {
		req.Depth = svn.DepthInfinity
	}
	req.SendCopyFrom = w.rng.IntN(2) == 0
	report, err := w.repo.BeginReport(req, ed)
	w.check(err)
	r, node := reporter{w.t, report}, at.node()
	incomplete := node.dir && !node.link && w.rng.IntN(4) == 0
	if incomplete {
		for _, name := range slices.Sorted(maps.Keys(node.kids)) {
			if w.rng.IntN(2) == 0 && !node.kids[name].switched() {
				delete(node.kids, name)
			}
		}
		node.props = svn.Props{}
	}
	w.check(report.SetPath("", node.rev, svn.DepthInfinity, incomplete, ""))
	if node.link {
		w.check(report.LinkPath("", node.path, node.rev, svn.DepthInfinity, false, ""))
	}
	r.below(node, "", incomplete)
	if err := report.Finish(w.t.Context()); err != nil {
		w.t.Fatalf("%+v: %v after %q", req, err, ed.log)
	}
	return ed
}

func TestReportOfMixedWorkingCopies(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, seed, 25)
			for range 40 {
				at, rev := w.randomTarget(), svn.Revnum(w.rng.IntN(int(w.fs.Youngest())+1))
				switchTo := ""
				if w.rng.IntN(5) == 0 {
					switchTo = w.switchTarget(at, rev)
				}
				w.bring(at, rev, switchTo)
			}
			w.bring(target{w.wc, ""}, w.fs.Youngest(), "")
		})
	}
}

// switchTarget finds a node of the same kind to switch a part of the working copy to.
func (w *world) switchTarget(at target, rev svn.Revnum) string {
	root, err := w.fs.Root(rev)
	w.check(err)
	all := paths(w.t, root, "/")
	if len(all) == 0 || at.name == "" {
		return ""
	}
	path := w.pick(all)
	if kind, err := root.Kind(path); err != nil || (kind == svn.Dir) != at.node().dir {
		return ""
	}
	return path
}
