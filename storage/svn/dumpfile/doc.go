// Package dumpfile reads and writes Subversion's dump files: a repository's history as a stream of records.
//
// A record is a block of headers, "Name: value" lines up to an empty one, and may have content: properties, then a text. The first
// record names the format: 2, or 3, in which properties and texts may be deltas. Format 1, of Subversion before 1.0, is read too:
// its content has one length for both, so that whether there is a text is known once the properties are read. Then comes the
// repository's uuid, and revisions, each followed by records of the nodes that it changed, which say what was done to a path.
//
// A Reader holds one record's headers and properties, and passes the text on as a stream; all lengths are bounded. It is as lenient
// as Subversion's. What a Writer writes is, byte for byte, what `svnadmin dump` writes of the same records.
//
// Sources: Subversion's notes/dump-load-format.txt, and the behaviour of dump.c and load.c of libsvn_repos.
package dumpfile

import "holdfast/storage/svn"

// Bounds of a dump file.
const (
	MaxLine    = 64 << 10 // bytes of a header
	MaxHeaders = 100      // of a record
	MaxProps   = 64 << 20 // bytes of a record's properties
)

// Formats that are written.
const (
	FormatPlain  = 2
	FormatDeltas = 3
)

// Names of headers.
const (
	headerFormat         = "SVN-fs-dump-format-version"
	headerUUID           = "UUID"
	headerRevision       = "Revision-number"
	headerPath           = "Node-path"
	headerKind           = "Node-kind"
	headerAction         = "Node-action"
	headerCopyFromRev    = "Node-copyfrom-rev"
	headerCopyFromPath   = "Node-copyfrom-path"
	headerCopySourceMD5  = "Text-copy-source-md5"
	headerCopySourceSHA1 = "Text-copy-source-sha1"
	headerPropDelta      = "Prop-delta"
	headerTextDelta      = "Text-delta"
	headerBaseMD5        = "Text-delta-base-md5"
	headerBaseSHA1       = "Text-delta-base-sha1"
	headerTextMD5        = "Text-content-md5"
	headerTextSHA1       = "Text-content-sha1"
	headerPropLength     = "Prop-content-length"
	headerTextLength     = "Text-content-length"
	headerLength         = "Content-length"
)

// Action is what a revision does to a node.
type Action uint8

// The actions.
const (
	NoAction Action = iota // none, or one that is not known
	Change
	Add
	Delete
	Replace
)

var actionWords = [...]string{"", "change", "add", "delete", "replace"}

// String returns the action's word in a dump file.
func (a Action) String() string { return actionWords[a] }

// Node is the headers of a node's record, without the lengths. Checksums are in hexadecimal, "" if there is none.
type Node struct {
	Path   string // as it stands in the file: "trunk/a"
	Kind   svn.Kind
	Action Action

	CopyFrom       *svn.CopyFrom // with the path as it stands in the file
	CopySourceMD5  string        // of the text that is copied
	CopySourceSHA1 string

	PropDelta bool // properties are changes of those that were there
	TextDelta bool // the text is svndiff

	BaseMD5  string // of the text that the delta is against
	BaseSHA1 string
	TextMD5  string // of the new text
	TextSHA1 string
}
