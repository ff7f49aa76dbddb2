// Package mergeinfo is the algebra of the property svn:mergeinfo: which revisions of which paths were merged into a node.
//
// A value has a line a source: "/branches/b:3-5,9*". The path ends at the last colon; the ranges are a rangelist. A star says that the range
// is not inherited by what lies below the node. In memory a Range's start is the revision before its first, so that ranges
// touch if one's end is the other's start; a Rangelist is canonical: sorted, without overlaps, and ranges that touch differ in
// inheritance. All functions take canonical lists and return them; Parse makes them of whatever a client wrote. Nothing here
// changes its arguments but the methods that say so.
//
// Everything takes time linear in the size of its arguments, but for sorting.
//
// Sources: the behaviour of Subversion's svn_mergeinfo.h and libsvn_subr/mergeinfo.c, quirks included, as what it says is sent
// to clients.
package mergeinfo
