// Package archive writes the files of a commit or tree as tar or zip, as git archive does: the same entries in the same
// order, with the commit's time, and a tar with the same bytes. It knows no transport and no refs; objects come from a
// Source.
//
// An Archive is found first and written then. New reads the tree, and with paths all trees that they lead into, so that
// what is wrong with a request shows before the first byte. WriteTo walks the tree and streams: in memory are the trees
// on the way to the current file, their attributes, and of blobs only links and those with export-subst.
//
// # Attributes
//
// The .gitattributes files of the tree count, with macros, for two attributes: what has export-ignore is left out, and
// in files with export-subst, of up to MaxSubstBytes, $Format:...$ is expanded. The placeholders are those of git log
// that need nothing but the commit: %H %h %T %t %P %p, %a? and %c? for author and committer (n, e, l, d, D, t, i, I, s),
// %s %f %b %B %e %d %D %n %% and %xNN. Abbreviated ids have seven digits. Others stay as they are, %(describe) among
// them. Attributes that change a file's content on its way into a working tree (eol, ident, filter,
// working-tree-encoding) are not applied: what is in the archive is what was committed.
//
// Sources: POSIX.1-2001, pax (ustar and its extended headers); git's documents git-archive, gitattributes, gitignore and
// git-log's pretty formats.
package archive
