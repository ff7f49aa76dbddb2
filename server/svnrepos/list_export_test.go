package svnrepos

// GlobMatch is for tests.
var GlobMatch = globMatch
