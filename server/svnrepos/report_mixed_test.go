package svnrepos_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
)

// report appends what a client would report of what is below a directory: all that is not as n would have it.
func (n *wcNode) report(says []say, path string, all bool) []say {
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
			says = append(says, say{at, "", svn.InvalidRevnum, svn.DepthInfinity, false})
			continue
		case kid.link:
			says = append(says, say{at, kid.path, kid.rev, svn.DepthInfinity, false})
		case all, kid.rev != n.rev:
			says = append(says, say{at, "", kid.rev, svn.DepthInfinity, false})
		}
		says = kid.report(says, at, false)
	}
	return says
}

// world is a repository with a random history, and a working copy of it.
type world struct {
	history
	repo svnrepos.Repository
	wc   *wcNode
	peer *peer // nil if there is none to compare with
}

func newWorld(t *testing.T, seed uint64, revisions int) *world {
	t.Helper()
	t.Logf("seed %d", seed)
	fs := newFS(t)
	w := &world{history: history{t: t, rng: rand.New(rand.NewPCG(seed, 0)), fs: fs}, repo: svnrepos.Repository{FS: fs}, wc: newDir()}
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
	node := at.node()
	incomplete := node.dir && !node.link && w.rng.IntN(4) == 0
	if incomplete {
		for _, name := range slices.Sorted(maps.Keys(node.kids)) {
			if w.rng.IntN(2) == 0 && !node.kids[name].switched() {
				delete(node.kids, name)
			}
		}
		node.props = svn.Props{}
	}
	says := []say{{"", "", node.rev, svn.DepthInfinity, incomplete}}
	if node.link {
		says = append(says, say{"", node.path, node.rev, svn.DepthInfinity, false})
	}
	says = node.report(says, "", incomplete)
	report, err := w.repo.BeginReport(req, ed)
	w.check(err)
	for _, s := range says {
		w.check(s.to(report))
	}
	if err := report.Finish(w.t.Context()); err != nil {
		w.t.Fatalf("%+v %+v: %v after %q", req, says, err, ed.log)
	}
	// svnserve 1.14 uses the memory of the target's link after it has freed it with the next description.
	if w.peer != nil && !(node.link && len(says) > 2) {
		compareWithPeer(w.t, &w.repo, w.peer, req, says)
	}
	return ed
}

func TestReportOfMixedWorkingCopies(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { newWorld(t, seed, 25).mix(40) })
	}
}

// TestReportLikeSubversion compares the edits with those of svnserve.
func TestReportLikeSubversion(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, 1000+seed, 25)
			w.peer = newPeer(t, w.fs, "")
			w.mix(40)
		})
	}
}

// mix updates and switches parts of the working copy, and then all of it.
func (w *world) mix(times int) {
	w.t.Helper()
	for range times {
		at, rev := w.randomTarget(), svn.Revnum(w.rng.IntN(int(w.fs.Youngest())+1))
		switchTo := ""
		if w.rng.IntN(5) == 0 {
			switchTo = w.switchTarget(at, rev)
		}
		w.bring(at, rev, switchTo)
	}
	w.bring(target{w.wc, ""}, w.fs.Youngest(), "")
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

// TestRandomReportsLikeSubversion makes reports that no client would, of all depths, and compares what comes of them with svnserve.
func TestRandomReportsLikeSubversion(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, 2000+seed, 25)
			unreadable := ""
			if seed > 0 {
				unreadable = w.hide()
			}
			w.peer = newPeer(t, w.fs, unreadable)
			for range 150 {
				req, says := w.randomReport()
				if w.repo.Access == nil || readable(w.repo.Access, req.Anchor, svn.Join(req.Anchor, req.Target), req.SwitchPath) {
					compareWithPeer(t, &w.repo, w.peer, req, says)
				}
			}
		})
	}
}

// hide makes a path of the middle revision unreadable.
func (w *world) hide() string {
	w.t.Helper()
	root, err := w.fs.Root(w.fs.Youngest() / 2)
	w.check(err)
	path := w.pick(paths(w.t, root, "/"))
	w.repo.Access = hidden(path)
	return path
}

func readable(a svnrepos.Access, paths ...string) bool {
	return !slices.ContainsFunc(paths, func(path string) bool { return path != "" && !a.Allows(path, svnrepos.Read) })
}

func (w *world) randomRev() svn.Revnum { return svn.Revnum(w.rng.IntN(int(w.fs.Youngest()) + 1)) }

func (w *world) randomReport() (req svnrepos.ReportRequest, says []say) {
	depths := []svn.Depth{svn.DepthUnknown, svn.DepthEmpty, svn.DepthFiles, svn.DepthImmediates, svn.DepthInfinity, svn.DepthInfinity}
	from := w.randomRev()
	root, err := w.fs.Root(from)
	w.check(err)
	all := append(paths(w.t, root, "/"), "/")
	req = svnrepos.ReportRequest{
		Rev: w.randomRev(), Anchor: w.pick(all), TextDeltas: true, Depth: depths[w.rng.IntN(len(depths))],
		IgnoreAncestry: w.rng.IntN(2) == 0, SendCopyFrom: w.rng.IntN(2) == 0,
	}
	if req.Anchor != "/" && w.rng.IntN(2) == 0 {
		req.Anchor, req.Target = svn.Split(req.Anchor)
	}
	if w.rng.IntN(4) == 0 {
		req.SwitchPath = w.pick(all)
	}
	says = append(says, say{"", "", from, depths[1+w.rng.IntN(len(depths)-1)], w.rng.IntN(4) == 0})
	for _, path := range all {
		rel, ok := svn.Rel(svn.Join(req.Anchor, req.Target), path)
		deep := strings.Contains(rel, "/")
		if !ok || rel == "" || w.rng.IntN(4) > 0 || deep && (req.Depth == svn.DepthFiles || req.Depth == svn.DepthImmediates || req.Depth == svn.DepthEmpty) {
			continue
		}
		// Below what is not looked at nothing may be said: svnserve would look for it forever.
		if last := says[len(says)-1]; last.path != "" && strings.HasPrefix(rel, last.path+"/") && (last.rev < 0 || last.depth == svn.DepthExclude) {
			continue
		}
		says = append(says, w.randomSay(rel, all))
	}
	return req, says
}

func (w *world) randomSay(path string, all []string) say {
	depths := []svn.Depth{svn.DepthEmpty, svn.DepthFiles, svn.DepthImmediates, svn.DepthInfinity, svn.DepthInfinity}
	s := say{path, "", w.randomRev(), depths[w.rng.IntN(len(depths))], w.rng.IntN(6) == 0}
	switch w.rng.IntN(6) {
	case 0:
		return say{path, "", svn.InvalidRevnum, svn.DepthInfinity, false}
	case 1:
		s.depth = svn.DepthExclude
	case 2:
		s.link = w.pick(all)
	}
	return s
}
