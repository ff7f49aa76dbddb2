package dumpfile

import (
	"io"
	"strconv"

	"holdfast/storage/svn"
)

// Writer writes a dump file. It writes a record's headers and properties at once; what it writes to should be buffered.
type Writer struct {
	w io.Writer
	b []byte // of the record
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Format writes the first record: FormatPlain or FormatDeltas.
func (w *Writer) Format(format int) error {
	w.number(headerFormat, int64(format))
	return w.end("\n")
}

// UUID writes the record of a repository's uuid.
func (w *Writer) UUID(uuid string) error {
	w.header(headerUUID, uuid)
	return w.end("\n")
}

// Revision begins a revision.
func (w *Writer) Revision(rev svn.Revnum, props svn.Props) error {
	p := svn.EncodeProps(props)
	w.number(headerRevision, int64(rev))
	w.number(headerPropLength, int64(len(p)))
	w.number(headerLength, int64(len(p)))
	w.b = append(append(w.b, '\n'), p...)
	return w.end("\n")
}

// NoText is the length of no text, as against an empty one.
const NoText = -1

// Node writes a node's record. props are encoded properties, nil if they do not change; text has textLen bytes, or is nil and
// textLen is NoText.
func (w *Writer) Node(n *Node, props []byte, text io.Reader, textLen int64) error {
	w.nodeHeaders(n)
	if props == nil && textLen < 0 {
		return w.end("\n\n")
	}
	total := int64(len(props))
	if props != nil {
		w.number(headerPropLength, total)
	}
	if textLen >= 0 {
		w.number(headerTextLength, textLen)
		total += textLen
	}
	w.number(headerLength, total)
	w.b = append(append(w.b, '\n'), props...)
	if textLen < 0 {
		return w.end("\n\n")
	}
	if err := w.end(""); err != nil {
		return err
	}
	if _, err := io.CopyN(w.w, text, textLen); err != nil {
		return err
	}
	return w.end("\n\n")
}

// Deleted writes that a node is deleted to make way for a copy, whose record follows.
func (w *Writer) Deleted(path string) error {
	w.header(headerPath, path)
	w.header(headerAction, Delete.String())
	return w.end("\n")
}

func (w *Writer) nodeHeaders(n *Node) {
	w.header(headerPath, n.Path)
	if n.Kind == svn.File || n.Kind == svn.Dir {
		w.header(headerKind, n.Kind.String())
	}
	w.header(headerAction, n.Action.String())
	if n.CopyFrom != nil {
		w.number(headerCopyFromRev, int64(n.CopyFrom.Rev))
		w.header(headerCopyFromPath, n.CopyFrom.Path)
	}
	w.optional(headerCopySourceMD5, n.CopySourceMD5)
	w.optional(headerCopySourceSHA1, n.CopySourceSHA1)
	if n.PropDelta {
		w.header(headerPropDelta, "true")
	}
	if n.TextDelta {
		w.header(headerTextDelta, "true")
	}
	w.optional(headerBaseMD5, n.BaseMD5)
	w.optional(headerBaseSHA1, n.BaseSHA1)
	w.optional(headerTextMD5, n.TextMD5)
	w.optional(headerTextSHA1, n.TextSHA1)
}

func (w *Writer) header(name, value string) {
	w.b = append(w.b, name...)
	w.b = append(w.b, ": "...)
	w.b = append(w.b, value...)
	w.b = append(w.b, '\n')
}

func (w *Writer) optional(name, value string) {
	if value != "" {
		w.header(name, value)
	}
}

func (w *Writer) number(name string, n int64) { w.header(name, strconv.FormatInt(n, 10)) }

// end writes what there is of a record, and a tail.
func (w *Writer) end(tail string) error {
	w.b = append(w.b, tail...)
	_, err := w.w.Write(w.b)
	w.b = w.b[:0]
	return err
}

// EncodePropDelta returns what makes one set of properties into another, as PropDelta has it: those that are new or changed, sorted, then
// those that are gone.
func EncodePropDelta(from, to svn.Props) []byte {
	changed := svn.Props{}
	var gone []byte
	for _, c := range svn.PropDiff(from, to) {
		if c.Value != nil {
			changed[c.Name] = *c.Value
			continue
		}
		gone = append(gone, "D "...)
		gone = strconv.AppendInt(gone, int64(len(c.Name)), 10)
		gone = append(gone, '\n')
		gone = append(gone, c.Name...)
		gone = append(gone, '\n')
	}
	b := svn.EncodeProps(changed)
	b = b[:len(b)-len(propsEnd)]
	return append(append(b, gone...), propsEnd...)
}

const propsEnd = "PROPS-END\n"
