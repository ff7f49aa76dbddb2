// Package svn holds the words of Subversion that the filesystem, the repository layer and the wire protocol share:
// revision numbers, kinds, depths, properties, errors with their numbers, and the editor, by which one side describes
// a change of a tree to another.
//
// Paths of a repository are absolute and canonical: "/", "/trunk/a b"; never a trailing slash, an empty segment, "." or
// "..". Paths relative to something are "" or "a/b". All are UTF-8. Which of the two a function takes is in its comment.
//
// Sources: Subversion's svn_types.h, svn_delta.h and svn_error_codes.h.
package svn
