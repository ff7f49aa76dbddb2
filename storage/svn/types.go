package svn

import (
	"fmt"
	"time"
)

// Revnum is the number of a revision: 0 is the empty one that each repository begins with.
type Revnum int64

// InvalidRevnum stands where no revision is named.
const InvalidRevnum Revnum = -1

// Valid reports whether a revision is named.
func (r Revnum) Valid() bool { return r >= 0 }

// Kind is what a path leads to.
type Kind uint8

// The kinds of nodes.
const (
	None Kind = iota // there is nothing
	File
	Dir
	Unknown
)

// String returns the word that the wire protocol has for the kind.
func (k Kind) String() string {
	return [...]string{"none", "file", "dir", "unknown"}[k]
}

// Depth says how far below a directory something goes.
type Depth int8

// The depths, in their order.
const (
	DepthUnknown Depth = iota - 2
	DepthExclude
	DepthEmpty
	DepthFiles
	DepthImmediates
	DepthInfinity
)

var depthWords = [...]string{"unknown", "exclude", "empty", "files", "immediates", "infinity"}

// String returns the word that the wire protocol has for the depth.
func (d Depth) String() string { return depthWords[d+2] }

// ParseDepth is the inverse of String; any other word is DepthUnknown, as in Subversion.
func ParseDepth(word string) Depth {
	for i, w := range depthWords {
		if w == word {
			return Depth(i - 2)
		}
	}
	return DepthUnknown
}

// DepthOf returns the depth that the older, boolean argument means.
func DepthOf(recurse bool) Depth {
	if recurse {
		return DepthInfinity
	}
	return DepthFiles
}

// CopyFrom is where a copy was made from.
type CopyFrom struct {
	Path string // absolute
	Rev  Revnum
}

// Lock is what keeps a file for one user.
type Lock struct {
	Path    string    `json:"path"` // absolute
	Token   string    `json:"token"`
	Owner   string    `json:"owner"`
	Comment *string   `json:"comment,omitempty"` // nil if there is none, not even an empty one
	IsDAV   bool      `json:"dav,omitempty"`     // the comment is DAV's XML; kept for dumps, always false here
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // zero if it never does
}

// Dirent describes an entry of a directory, or a single node.
type Dirent struct {
	Name       string // empty for a single node
	Kind       Kind
	Size       int64 // of a file; 0 for a directory
	HasProps   bool
	CreatedRev Revnum
	Date       string // of CreatedRev; empty if it has none
	Author     string // of CreatedRev; empty with HasAuthor false if it has none
	HasAuthor  bool
}

// ChangeAction is what a revision did to a path.
type ChangeAction byte

// The actions, as `svn log -v` shows them.
const (
	Modified ChangeAction = 'M'
	Added    ChangeAction = 'A'
	Deleted  ChangeAction = 'D'
	Replaced ChangeAction = 'R'
)

// Change is a path that a revision changed.
type Change struct {
	Path         string // absolute
	Action       ChangeAction
	Kind         Kind
	TextMod      bool
	PropMod      bool
	MergeinfoMod bool
	CopyFrom     *CopyFrom // nil unless Added or Replaced by a copy
}

// TimeFormat is the form of dates in properties and on the wire: UTC, with six digits of the second.
const TimeFormat = "2006-01-02T15:04:05.000000Z"

// FormatTime returns t in TimeFormat.
func FormatTime(t time.Time) string { return t.UTC().Format(TimeFormat) }

// ParseTime reads TimeFormat, with up to six digits of the second, all optional.
func ParseTime(s string) (time.Time, error) {
	for _, layout := range [...]string{"2006-01-02T15:04:05.999999Z", "2006-01-02T15:04:05Z"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, Errorf(ErrBadDate, "Bad date: '%s'", s)
}

// String is for tests and logs.
func (c CopyFrom) String() string { return fmt.Sprintf("%s@%d", c.Path, c.Rev) }
