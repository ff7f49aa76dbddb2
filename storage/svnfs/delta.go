package svnfs

// deltaKey names a delta from one text to another, in a form that its user knows.
type deltaKey struct {
	source, target ID
	form           uint8
}

// MaxDelta bounds what KeepDelta takes, in bytes: one delta must not push out many others.
const MaxDelta = 64 << 10

// Delta returns what KeepDelta was given lately for the text of n, the same source and the same form, nil if that is not known. It must
// not be changed.
func (n *Node) Delta(source *Node, form uint8) []byte {
	d, _ := n.fs.deltas.get(deltaKey{source.facts().text.blob, n.facts().text.blob, form})
	return d
}

// KeepDelta remembers the delta from another file's text to that of n: who reads the newest revisions is not alone.
func (n *Node) KeepDelta(source *Node, form uint8, delta []byte) {
	n.fs.deltas.put(deltaKey{source.facts().text.blob, n.facts().text.blob, form}, delta)
}
