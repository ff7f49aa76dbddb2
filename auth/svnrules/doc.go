// Package svnrules decides whether a commit to a Subversion repository may stand, and who may change revision properties: what
// administrators of Subversion servers write hook scripts for. Rules come from the section svn of repos/NAME.yaml:
//
//	svn:
//	  log:
//	    required: true                    # no empty log messages
//	    min_length: 10                    # in characters, without the space around
//	    pattern: '^(fix|feature|docs): '  # a regular expression (RE2) that it must match somewhere
//	    hint: "Begin with fix:, feature: or docs:."
//	  issue: '\b[A-Z]+-[0-9]+\b'          # the log message must refer to an issue
//	  no_case_clashes: true               # no names in a directory that differ only in case
//	  forbidden_paths: ["*.exe", "/trunk/vendor"]
//	  forbidden_types: [application/x-msdownload, "video/*"]
//	  max_file_bytes: 10485760
//	  required_props:
//	    - {paths: ["*.c", "*.h"], name: "svn:eol-style", values: [native, LF]}
//	    - {paths: ["*.psd"], name: "svn:needs-lock"}
//	  revprops:
//	    "svn:log": ["$author", "@devs"]
//	    "svn:sync-*": [mirror]
//
// Patterns of paths have "*" and "?" within a segment and "**" for any number of segments. One without a slash is about names
// anywhere, one with slashes about the path from the root. Both include what is below, and no case matters.
//
// Rules about paths look at what a commit adds, those about properties and types also at files whose properties it changes, that
// about sizes also at files whose text it changes. None looks at what comes along with the copy of a directory, so the price of a
// check does not depend on the size of a tree; names that clash cost one look at each directory that has got new names.
//
// Who may change a revision property is said by users, "@groups", "$author" for the author of the revision, and "*" for whoever is
// logged in. By default that is nobody, as earlier values are lost to clients; but admins of the repository may change
// svn:log and svn:author in any case. A log message that is changed must still follow its rules.
//
// The package is pure: it sees commits through functions that it is given.
package svnrules
