package dumpfile

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"holdfast/storage/svn"
)

// Record is one record. Exactly one of UUID, IsRevision, Node and Format says what it is.
type Record struct {
	UUID       string
	Node       *Node
	IsRevision bool
	Rev        svn.Revnum // of a revision
	Format     int        // of a record of the format after the first; it changes nothing but the Reader's
}

// Reader reads a dump file. It is for one goroutine.
type Reader struct {
	in     *bufio.Reader
	format int
	begun  bool

	headers map[string]string // of the record
	stage   stage
	props   int64 // declared length of the properties
	text    int64 // what is left of the text
	rest    int64 // what follows the text
	old     bool  // it is a record of format 1 with one length for all
}

// stage is how far the record is read.
type stage uint8

const (
	atProps stage = iota
	atText
	inText
	atEnd
)

// NewReader returns a Reader.
func NewReader(r io.Reader) *Reader { return &Reader{in: bufio.NewReaderSize(r, MaxLine)} }

func ranDry() error {
	return svn.Errorf(svn.ErrIncompleteData, "Premature end of content data in dumpstream")
}

func malformed() error {
	return svn.Errorf(svn.ErrStreamMalformedData, "Dumpstream data appears to be malformed")
}

// Next returns the next record, io.EOF after the last. What was not read of the one before is passed over. Errors have the
// codes ErrStreamMalformedData and ErrIncompleteData, or are the source's.
func (r *Reader) Next() (*Record, error) {
	if err := r.finish(); err != nil {
		return nil, err
	}
	for {
		line, err := r.line()
		if err == io.EOF && len(line) == 0 {
			return nil, io.EOF
		}
		if err != nil {
			return nil, dry(err)
		}
		if len(line) == 0 || strings.ContainsRune(" \t\v\f\r", rune(line[0])) {
			continue
		}
		if err := r.readHeaders(line); err != nil {
			return nil, err
		}
		return r.record()
	}
}

// finish passes over the rest of the record, or reads the first one.
func (r *Reader) finish() error {
	if !r.begun {
		r.begun = true
		r.stage = atEnd
		return r.readFormat()
	}
	if r.stage == atProps {
		if _, _, err := r.Props(); err != nil {
			return err
		}
	}
	if r.stage == atText {
		if _, err := r.Text(); err != nil {
			return err
		}
	}
	r.stage = atEnd
	if _, err := io.CopyN(io.Discard, r.in, r.text); err != nil {
		return dry(err)
	}
	_, err := io.CopyN(io.Discard, r.in, r.rest)
	r.text, r.rest = 0, 0
	return dry(err)
}

// maxFormatLine bounds the first line: the file may be no dump file at all.
const maxFormatLine = 80

func (r *Reader) readFormat() error {
	var line []byte
	for {
		c, err := r.in.ReadByte()
		if err != nil {
			return dry(err)
		}
		if c == '\n' {
			break
		}
		if len(line) == maxFormatLine {
			return badFormat(line)
		}
		line = append(line, c)
	}
	value, ok := bytes.CutPrefix(line, []byte(headerFormat+":"))
	format, err := strconv.Atoi(strings.TrimSpace(string(value)))
	if !ok || err != nil {
		return badFormat(line)
	}
	return r.setFormat(format)
}

func badFormat(line []byte) error {
	return svn.Errorf(svn.ErrStreamMalformedData, "Malformed dumpfile header '%s'", strings.ToValidUTF8(string(line), "?"))
}

func (r *Reader) setFormat(format int) error {
	if format > FormatDeltas {
		return svn.Errorf(svn.ErrStreamMalformedData, "Unsupported dumpfile version: %d", format)
	}
	r.format = format
	return nil
}

// line reads a line without its end. At the end of the file it returns what there is and io.EOF. It is valid until the next call.
func (r *Reader) line() ([]byte, error) {
	line, err := r.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, malformed()
	}
	return bytes.TrimSuffix(line, []byte{'\n'}), err
}

func (r *Reader) readHeaders(line []byte) error {
	r.headers = make(map[string]string, 16)
	for len(line) > 0 {
		name, value, ok := strings.Cut(string(line), ":")
		switch {
		case !ok:
			return svn.Errorf(svn.ErrStreamMalformedData, "Dump stream contains a malformed header (with no ':') at '%.20s'", line)
		case value == "":
			return svn.Errorf(svn.ErrStreamMalformedData, "Dump stream contains a malformed header (with no value) at '%.20s'", name)
		case len(r.headers) == MaxHeaders:
			return malformed()
		}
		r.headers[name] = value[1:] // after the space
		var err error
		if line, err = r.line(); err != nil && (err != io.EOF || len(line) > 0) {
			return dry(err)
		}
	}
	return nil
}

// record makes a Record of the headers.
func (r *Reader) record() (*Record, error) {
	rec := &Record{}
	if err := r.lengths(); err != nil {
		return nil, err
	}
	if v, ok := r.headers[headerRevision]; ok {
		n, err := strconv.ParseInt(v, 10, 64)
		rec.IsRevision, rec.Rev = true, svn.Revnum(n)
		if err != nil || n < 0 {
			return nil, malformed()
		}
		return rec, nil
	}
	if _, ok := r.headers[headerPath]; ok {
		var err error
		rec.Node, err = r.node()
		return rec, err
	}
	if v, ok := r.headers[headerUUID]; ok {
		rec.UUID = v
		return rec, nil
	}
	if v, ok := r.headers[headerFormat]; ok {
		format, err := strconv.Atoi(v)
		if err != nil {
			return nil, malformed()
		}
		rec.Format = format
		return rec, r.setFormat(format)
	}
	return nil, svn.Errorf(svn.ErrStreamMalformedData, "Unrecognized record type in stream")
}

// lengths reads the headers that say what content there is.
func (r *Reader) lengths() error {
	total, hasTotal, err := r.length(headerLength)
	props, hasProps, err2 := r.length(headerPropLength)
	text, hasText, err3 := r.length(headerTextLength)
	if err := errors.Join(err, err2, err3); err != nil {
		return malformed()
	}
	if props > MaxProps {
		return svn.Errorf(svn.ErrStreamMalformedData, "Properties are larger than %d bytes", MaxProps)
	}
	r.old = r.format == 1 && hasTotal && !hasProps && !hasText
	r.props, r.text, r.rest, r.stage = props, text, 0, atProps
	switch {
	case r.old:
		r.text = total // of which Props takes its part
	case hasTotal:
		if r.rest = total - props - text; text > total-props { // and the sum may be more than there is a number for
			return svn.Errorf(svn.ErrStreamMalformedData, "Sum of subblock sizes larger than total block content length")
		}
	}
	if !hasProps && !r.old {
		r.stage = atText
	}
	if !hasText && r.stage == atText {
		r.stage = atEnd
	}
	return nil
}

func (r *Reader) length(name string) (n int64, ok bool, err error) {
	v, ok := r.headers[name]
	if !ok {
		return 0, false, nil
	}
	n, err = strconv.ParseInt(v, 10, 64)
	if err == nil && n < 0 {
		err = malformed()
	}
	return n, true, err
}

func (r *Reader) node() (*Node, error) {
	h := r.headers
	n := &Node{
		Path: h[headerPath], CopySourceMD5: h[headerCopySourceMD5], CopySourceSHA1: h[headerCopySourceSHA1],
		PropDelta: h[headerPropDelta] == "true", TextDelta: h[headerTextDelta] == "true",
		BaseMD5: h[headerBaseMD5], BaseSHA1: h[headerBaseSHA1], TextMD5: h[headerTextMD5], TextSHA1: h[headerTextSHA1],
		Kind: svn.Unknown,
	}
	for _, kind := range [...]svn.Kind{svn.File, svn.Dir} {
		if h[headerKind] == kind.String() {
			n.Kind = kind
		}
	}
	for action, word := range actionWords {
		if h[headerAction] == word {
			n.Action = Action(action)
		}
	}
	if path, ok := h[headerCopyFromPath]; ok {
		rev, err := strconv.ParseInt(h[headerCopyFromRev], 10, 64)
		if err != nil {
			return nil, malformed()
		}
		n.CopyFrom = &svn.CopyFrom{Path: path, Rev: svn.Revnum(rev)}
	}
	return n, nil
}

// Props reads the record's properties, in the order of the file, and reports whether it has a block of them, which may be empty. It is to
// be called before Text, and once.
func (r *Reader) Props() (changes []svn.PropChange, ok bool, err error) {
	if r.stage != atProps {
		return nil, false, nil
	}
	p := &propReader{r: r}
	for r.old && p.n != r.text || !r.old && p.n != r.props { // as in Subversion, a wrong length is no length
		more, err := p.next()
		if err != nil {
			return nil, false, err
		}
		if !more {
			break
		}
	}
	_, hasText := r.headers[headerTextLength]
	if r.old {
		if r.text -= p.n; r.text < 0 {
			return nil, false, malformed()
		}
		hasText = r.text > 0 || r.headers[headerKind] == "file"
	}
	r.stage = atEnd
	if hasText {
		r.stage = atText
	}
	return p.changes, true, nil
}

// Text returns the record's text, nil if it has none. It is valid until the next call of Next, and fails with ErrIncompleteData if
// the file ends in it.
func (r *Reader) Text() (io.Reader, error) {
	if r.stage == atProps {
		if _, _, err := r.Props(); err != nil {
			return nil, err
		}
	}
	if r.stage != atText {
		return nil, nil
	}
	r.stage = inText
	return textReader{r}, nil
}

type textReader struct{ r *Reader }

func (t textReader) Read(p []byte) (int, error) {
	r := t.r
	if r.stage != inText || r.text == 0 {
		return 0, io.EOF
	}
	n, err := r.in.Read(p[:min(int64(len(p)), r.text)])
	r.text -= int64(n)
	if err == io.EOF {
		err = ranDry()
	}
	return n, err
}

// propReader reads a block of properties.
type propReader struct {
	r       *Reader
	n       int64 // bytes that are read
	changes []svn.PropChange
}

// next reads one property, and returns false at the end of the block.
func (p *propReader) next() (more bool, err error) {
	letter, size, err := p.counted()
	if err != nil || letter == 0 {
		return false, err
	}
	if letter == 'V' || letter == 'D' && !p.isNode() {
		return false, malformed()
	}
	name, err := p.value(size)
	if err != nil {
		return false, err
	}
	if letter == 'D' {
		p.changes = append(p.changes, svn.PropChange{Name: name})
		return true, nil
	}
	if letter, size, err = p.counted(); err != nil {
		return false, err
	}
	if letter != 'V' {
		return false, malformed()
	}
	value, err := p.value(size)
	p.changes = append(p.changes, svn.PropChange{Name: name, Value: &value})
	return true, err
}

func (p *propReader) isNode() bool {
	_, ok := p.r.headers[headerPath]
	return ok
}

// counted reads a line of a letter and a length. The letter is 0 for the line that ends the block.
func (p *propReader) counted() (letter byte, size int64, err error) {
	line, err := p.r.line()
	if err == io.EOF {
		return 0, 0, svn.Errorf(svn.ErrStreamMalformedData, "Incomplete or unterminated property block")
	}
	if err != nil {
		return 0, 0, err
	}
	p.n += int64(len(line)) + 1
	if string(line)+"\n" == propsEnd {
		return 0, 0, nil
	}
	if len(line) < 3 || line[1] != ' ' || !strings.ContainsRune("KVD", rune(line[0])) {
		return 0, 0, malformed()
	}
	size, err = strconv.ParseInt(string(line[2:]), 10, 64)
	if err != nil || size < 0 || size > MaxProps-p.n {
		return 0, 0, malformed()
	}
	return line[0], size, nil
}

// value reads a name or a value, and the end of its line.
func (p *propReader) value(size int64) (string, error) {
	var b strings.Builder
	b.Grow(int(min(size, MaxLine)))
	if _, err := io.CopyN(&b, p.r.in, size); err != nil {
		return "", dry(err)
	}
	c, err := p.r.in.ReadByte()
	if err != nil {
		return "", dry(err)
	}
	if c != '\n' {
		return "", malformed()
	}
	p.n += size + 1
	return b.String(), nil
}

// dry makes the end of the file an error.
func dry(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return ranDry()
	}
	return err
}
