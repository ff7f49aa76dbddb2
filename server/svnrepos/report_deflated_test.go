package svnrepos_test

import (
	"bytes"
	"compress/zlib"
	"io"
	"strings"
	"testing"

	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
)

// inflater takes texts as they are stored. All that does not belong to that comes from sink.
type inflater struct {
	sink
	texts  []string
	closed int
}

func (i *inflater) OpenRoot(svn.Revnum) (svn.DirEditor, error) {
	return inflaterDir{sinkDir{&i.sink}, i}, nil
}

type inflaterDir struct {
	sinkDir
	i *inflater
}

func (d inflaterDir) AddFile(string, *svn.CopyFrom) (svn.FileEditor, error) {
	return inflaterFile{sinkFile{d.s}, d.i}, nil
}

type inflaterFile struct {
	sinkFile
	i *inflater
}

func (f inflaterFile) ApplyTextDelta(string) (svn.WindowHandler, error) {
	return inflaterText{f.i}, nil
}

type inflaterText struct{ i *inflater }

func (t inflaterText) Window(*svn.Window) error { t.i.windows++; return nil }
func (t inflaterText) Close() error             { t.i.closed++; return nil }
func (t inflaterText) Deflated(size int, stream []byte) (bool, error) {
	r, err := zlib.NewReader(bytes.NewReader(stream))
	if err != nil {
		return false, err
	}
	text, err := io.ReadAll(r)
	if len(text) != size {
		return false, io.ErrUnexpectedEOF
	}
	t.i.texts = append(t.i.texts, string(text))
	return true, err
}

// TestReportSendsStoredTexts has new texts of one window go as they are stored, and others in windows.
func TestReportSendsStoredTexts(t *testing.T) {
	long, longer := strings.Repeat("long.", 1000), strings.Repeat("x", svn.MaxWindow+1)
	fs := build(t, "put /a short; put /b "+long+"; put /c "+longer)
	ed := &inflater{}
	repo := svnrepos.Repository{FS: fs}
	report, err := repo.BeginReport(svnrepos.ReportRequest{Rev: 1, Anchor: "/", TextDeltas: true, Depth: svn.DepthInfinity}, ed)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.SetPath("", 0, svn.DepthInfinity, true, ""); err != nil {
		t.Fatal(err)
	}
	if err := report.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(ed.texts, " "); got != "short "+long || ed.windows != 2 || ed.closed != 3 {
		t.Errorf("got %d bytes as they are stored, %d windows, %d ends", len(got), ed.windows, ed.closed)
	}
}
