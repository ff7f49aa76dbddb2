package svnrepos

import (
	"strings"
	"unicode/utf8"

	"holdfast/storage/svn"
	"holdfast/storage/svn/mergeinfo"
)

// validateNodeProp checks what a client wants to set a node's property to; nil removes it, which is always well.
func validateNodeProp(path, name string, value *string) error {
	if value != nil && name == svn.PropMergeinfo {
		if strings.IndexByte(*value, 0) >= 0 {
			return svn.Errorf(svn.ErrMergeinfoParseError,
				"Commit rejected because mergeinfo on '%s' contains unexpected string terminator", path)
		}
		if _, err := mergeinfo.Parse(*value); err != nil {
			return svn.Wrap(err, svn.ErrMergeinfoParseError,
				"Commit rejected because mergeinfo on '%s' is syntactically invalid", path)
		}
	}
	return validateProp(name, value)
}

// validateProp checks what a client wants to set a property of a node or a revision to.
//
// Source: the behaviour of libsvn_repos/fs-wrap.c.
func validateProp(name string, value *string) error {
	switch {
	case value == nil:
		return nil
	case strings.HasPrefix(name, "svn:wc:"), strings.HasPrefix(name, "svn:entry:"):
		return svn.Errorf(svn.ErrReposBadArgs, "Storage of non-regular property '%s' is disallowed through the "+
			"repository interface, and could indicate a bug in your client", name)
	case !strings.HasPrefix(name, "svn:"):
		return nil
	case !utf8.ValidString(*value):
		return svn.Errorf(svn.ErrBadPropertyValue, "Cannot accept '%s' property because it is not encoded in UTF-8", name)
	case strings.IndexByte(*value, '\r') >= 0:
		return svn.Wrap(svn.Errorf(svn.ErrBadPropertyValueEOL, "Cannot accept non-LF line endings in '%s' property", name),
			svn.ErrBadPropertyValue, "Invalid property value")
	case name == svn.PropDate:
		if _, err := svn.ParseTime(*value); err != nil {
			return svn.Wrap(err, svn.ErrBadPropertyValue, "Wrong or unexpected property value")
		}
	}
	return nil
}
