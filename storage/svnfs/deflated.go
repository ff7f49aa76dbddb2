package svnfs

import "holdfast/storage/svn"

// Deflated returns a file's text as a zlib stream, if it is stored as one: svndiff has such streams too. The stream is in buf, which
// is enlarged as needed.
func (n *Node) Deflated(buf []byte) (stream []byte, ok bool, err error) {
	if n.Kind() != svn.File || n.m != nil && n.m.text != nil {
		return nil, false, nil
	}
	return n.fs.repo.ReadDeflated(n.facts().text.blob, buf)
}
