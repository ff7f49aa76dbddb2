// Package graph knows graph files: what a repository's base pack holds, laid out so that fetches need not open an object.
//
// A graph file belongs to one pack that is closed: whatever its objects link to is in it. It numbers the pack's objects by
// their place, so that a set of them is a bit set whose runs are ranges of the pack. For each commit it has the tree, the
// parents, the date, the generation number (one more than the largest of the parents'; 1 for a root), and what the commit
// introduces: the trees and blobs of its tree that are in the tree of none of its parents at the same path.
//
// All that a commit leads to is then what it and its ancestors introduce, taken together: an object of its tree is
// either introduced by it, or in the tree of a parent, for which the same holds. In the same way a receiver who has some
// commits lacks nothing but what the others introduce. So what to send is found by a walk over an array of commits, at
// some ten nanoseconds each, and no reachability bitmaps have to be stored: git/git's 80,000 commits and all that they
// lead to are one pass over 3 MB.
//
// Sources: git's gitformat-commit-graph (generation numbers) and bitmap-format (objects numbered by their place in a pack)
// documents; doc/adr/0006-graph-files.md says why there are no stored bitmaps.
//
// # The file
//
// All numbers are little-endian. A section of 4-byte or 8-byte numbers is an array; n is the number of objects, c that of
// commits, t that of tags.
//
//	8 bytes       "HFGRAPH" and the version, 1
//	8 bytes       object format (object.Format)
//	8 bytes       size of the pack file
//	6 x 8 bytes   n, c, t, number of parents, number of introduced objects, zero
//	n ids         sorted
//	n x 4         place of the object with that rank among the ids
//	n x 4         rank of the object at that place
//	n x 8         where its entry begins in the pack
//	n x 8         its type in the upper 8 bits, and its size
//	n x 4         CRC-32 of its entry
//	n x 4         place of the base of its delta, 2^32-1 for none
//	n x 4         lower half of the hash of a path that names it (pack.PathHash), 0 for none
//	c x 4         places of the commits, ascending; a commit's index in the sections below is the one in this
//	c x 4         place of its tree
//	c x 8         date, in seconds since 1970
//	c x 4         generation number
//	(c+1) x 4     where its parents begin in the section of parents
//	(c+1) x 4     where what it introduces begins
//	p x 4         parents: indexes of commits
//	i x 4         introduced objects: places
//	t x 4         places of the tags, ascending
//	t x 4         places of what they name
//	4 bytes       CRC-32C of all before it
//
// Only our own process reads it, and Write makes it again: there is no need to read versions but the newest.
package graph
