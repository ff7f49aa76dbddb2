package svnrepos

import "testing"

// BoundReports sets how much all reports may have on disk together, for a test.
func BoundReports(t *testing.T, most int64) {
	before := reportsOnDisk.most
	reportsOnDisk.most = most
	t.Cleanup(func() { reportsOnDisk.most = before })
}
