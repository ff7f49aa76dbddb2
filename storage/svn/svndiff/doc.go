// Package svndiff makes, reads, writes and applies text deltas: what Subversion sends instead of a file's text.
//
// A delta is a sequence of svn.Windows. Delta makes one from two texts, an Encoder writes one as svndiff, a Decoder reads it
// back, an Applier makes the target from the source. Each works on one window at a time, so that memory does not grow with
// the texts: about half a megabyte each.
//
// svndiff is "SVN", a version byte and the windows. A window is five numbers (source view's offset and length, target's length, lengths of
// the two sections that follow), then instructions, then new data. Version 1 deflates each section with zlib, version 2 compresses it with
// LZ4, if that makes it shorter; before it stands its plain length. Numbers have seven bits a byte, the high ones first, and the top
// bit set in all bytes but the last.
//
// What comes from a client is hostile. A Decoder bounds every length before it makes room for it, and passes on only windows that stay
// inside their views; an Applier checks them once more.
//
// Delta finds copies as Subversion's xdelta does, in windows cut at the same places, with the same choices, so that what it makes can
// be compared byte for byte with what Subversion makes. It looks for blocks of 64 bytes by a rolling checksum.
//
// Sources: Subversion's notes/svndiff, and the behaviour of svndiff.c, xdelta.c and text_delta.c of libsvn_delta; LZ4's
// lz4_Block_format.md.
package svndiff

// Bounds of svndiff.
const (
	maxNumber       = 10              // bytes of an encoded number
	maxInstruction  = 2*maxNumber + 1 // bytes of an instruction
	headerSize      = 4               // "SVN" and the version
	maxWindowHeader = 5 * maxNumber   // bytes of the numbers before a window's sections
	minDeflate      = 512             // shorter sections are not worth deflating
)

// DefaultLevel is Subversion's level of compression for version 1.
const DefaultLevel = 5
