package svnproto

import (
	"errors"

	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
)

// target reads a path of a report, which is relative to the session's.
func target(a *args) string {
	path, err := relative(a.bytes())
	if err != nil && a.err == nil {
		a.err = err
	}
	return path
}

// depth reads a word that was added to a command later; recurse is what older clients say instead.
func depth(a *args, otherwise svn.Depth) svn.Depth {
	if a.more() {
		return svn.ParseDepth(a.word())
	}
	return otherwise
}

func (s *session) update(a *args) error {
	q := svnrepos.ReportRequest{Rev: a.optRev(), Target: target(a), TextDeltas: true}
	recurse := a.boolean()
	q.Depth = svn.DepthOf(recurse)
	if a.more() {
		q.Depth = svn.ParseDepth(a.word())
		q.SendCopyFrom = a.boolean()
		q.IgnoreAncestry = a.more() && a.boolean()
	}
	if a.err != nil {
		return a.err
	}
	if err := s.must(svnrepos.Read, svn.Join(s.base, q.Target), false); err != nil {
		return err
	}
	return s.report(q, nil)
}

func (s *session) switchTo(a *args) error {
	q := svnrepos.ReportRequest{Rev: a.optRev(), Target: target(a), TextDeltas: true, IgnoreAncestry: true}
	recurse, address := a.boolean(), a.str()
	q.Depth = depth(a, svn.DepthOf(recurse))
	if a.more() {
		q.SendCopyFrom = a.boolean()
		if a.more() {
			q.IgnoreAncestry = a.boolean()
		}
	}
	if a.err != nil {
		return a.err
	}
	s.noAuth()
	var err error
	q.SwitchPath, err = s.pathOf(address)
	return s.report(q, err)
}

func (s *session) status(a *args) error {
	q := svnrepos.ReportRequest{Target: target(a), Rev: svn.InvalidRevnum}
	q.Depth = svn.DepthEmpty
	if a.boolean() {
		q.Depth = svn.DepthInfinity
	}
	if a.more() {
		q.Rev = a.optRev()
		q.Depth = depth(a, q.Depth)
	}
	if a.err != nil {
		return a.err
	}
	s.noAuth()
	return s.report(q, nil)
}

func (s *session) diff(a *args) error {
	q := svnrepos.ReportRequest{Rev: a.optRev(), Target: target(a), TextDeltas: true}
	recurse := a.boolean()
	q.IgnoreAncestry = a.boolean()
	address := a.str()
	if a.more() {
		q.TextDeltas = a.boolean()
	}
	q.Depth = depth(a, svn.DepthOf(recurse))
	if a.err != nil {
		return a.err
	}
	s.noAuth()
	var err error
	q.SwitchPath, err = s.pathOf(address)
	return s.report(q, err)
}

// report takes a report from the client, and edits the client's tree as it asks. The first error of the report's commands, or failed,
// which was one before it, waits for the end of the report: the client says all of it without waiting for answers.
func (s *session) report(q svnrepos.ReportRequest, failed error) error {
	q.Rev, q.Anchor = s.youngest(q.Rev), s.base
	r := &reporter{s: s, failed: failed}
	defer r.abort()
	if failed == nil {
		r.report, r.failed = s.view.Repo.BeginReport(q, s.sender())
	}
	for !r.done {
		word, params, err := s.r.command()
		if err == nil {
			err = r.command(word, &args{items: params})
		}
		if err != nil {
			return err
		}
	}
	if r.failed != nil {
		return r.failed
	}
	s.w.Success()
	return nil
}

// reporter takes the commands of a report.
type reporter struct {
	s      *session
	report *svnrepos.Report
	failed error
	done   bool
}

// abort gives the report up, unless it has ended.
func (r *reporter) abort() {
	if r.report != nil {
		r.report.Abort()
	}
}

// command carries out one command. Its error is fatal; r.failed is the report's.
func (r *reporter) command(word []byte, a *args) error {
	switch string(word) {
	case "set-path":
		r.setPath(a)
	case "link-path":
		r.linkPath(a)
	case "delete-path":
		path := a.str()
		r.do(a, func() error { return r.report.DeletePath(path) })
	case "finish-report":
		r.done = true
		r.s.noAuth()
		r.do(a, func() error { return r.report.Finish(r.s.ctx) })
	case "abort-report":
		r.done = true
	default:
		r.s.w.Failure(svn.Errorf(svn.ErrRASvnUnknownCmd, "Unknown editor command '%s'", word))
	}
	return a.err
}

// do calls the report, unless something has failed already.
func (r *reporter) do(a *args, call func() error) {
	if a.err == nil && r.failed == nil {
		r.failed = call()
	}
}

// rest reads what set-path and link-path have in common.
func rest(a *args) (rev svn.Revnum, startEmpty bool, token string, d svn.Depth) {
	rev, startEmpty, d = a.rev(), a.boolean(), svn.DepthInfinity
	if a.more() {
		if t := a.optStr(); t != nil {
			token = *t
		}
		d = depth(a, d)
	}
	return rev, startEmpty, token, d
}

func (r *reporter) setPath(a *args) {
	path := a.str()
	rev, startEmpty, token, d := rest(a)
	r.do(a, func() error { return r.report.SetPath(path, rev, d, startEmpty, token) })
}

func (r *reporter) linkPath(a *args) {
	path, address := a.str(), a.str()
	rev, startEmpty, token, d := rest(a)
	r.do(a, func() error {
		to, err := r.s.pathOf(address)
		if err != nil {
			return err
		}
		return r.report.LinkPath(path, to, rev, d, startEmpty, token)
	})
}

func (s *session) replay(a *args) error {
	rev, low, deltas := a.rev(), a.rev(), a.boolean()
	if a.err != nil {
		return a.err
	}
	s.noAuth()
	if err := s.replayOne(rev, low, deltas); err != nil {
		return err
	}
	s.w.Success()
	return nil
}

func (s *session) replayRange(a *args) error {
	start, end, low, deltas := a.rev(), a.rev(), a.rev(), a.boolean()
	if a.err != nil {
		return a.err
	}
	s.noAuth()
	for rev := start; rev <= end; rev++ {
		props, err := s.view.Repo.RevProps(rev)
		if err != nil {
			return err
		}
		s.w.open("revprops")
		s.w.Props(props)
		s.w.shut()
		if err := s.replayOne(rev, low, deltas); err != nil {
			return err
		}
	}
	s.w.Success()
	return nil
}

// replayOne has the client edit what a revision did.
func (s *session) replayOne(rev, low svn.Revnum, deltas bool) error {
	ed := s.sender()
	ed.replay = true
	if err := s.view.Repo.Replay(s.ctx, rev, low, s.base, deltas, ed); err != nil {
		return errors.Join(err, ed.Abort())
	}
	return ed.Close()
}
