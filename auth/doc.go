// Package auth decides who may do what.
//
// The policy is a tree of small YAML files, read through an fs.FS. On a host that is a commit of the repository
// holdfast-admin, so that a change of policy is a push like any other: recorded, mirrored, restored and reverted.
//
//	settings.yaml        create: [alice, "@devs"]          who may create repositories, besides host admins
//	users/NAME.yaml      admin: true                       a host admin may do everything
//	                     keys: [ssh-ed25519 AAAA...]       lines as in ~/.ssh/id_ed25519.pub
//	                     pgp_keys: [...]                   armored OpenPGP keys, each a block of text ("- |"): to sign
//	                                                       pushes with; they let nobody in
//	                     tokens:                           passwords for HTTP; only their hashes are kept
//	                       - {name: laptop, sha256: ..., created: 2026-01-02T15:04:05Z, expires: 2027-01-02}
//	groups/NAME.yaml     members: [alice, bob]
//	repos/NAME.yaml      id: 32 hexadecimal digits         minted by the host, never reused; NAME may have folders
//	                     kind: git                         or svn
//	                     format: sha1                      or sha256
//	                     public: true                      anybody may read, without logging in
//	                     signed_push: required             or optional, or off: whether pushes carry a certificate
//	                     bundles:                          files elsewhere that clones can begin with
//	                       - {id: base, uri: "https://cdn.example.org/app.bundle", creation_token: 1}
//	                     grants: {alice: admin, "@devs": write, "*": read}
//	                     svn: {log: {required: true}}      rules for commits to a Subversion repository; see auth/svnrules
//	repos/NAME.authz     [/trunk/secret]                   of a Subversion repository: who may read and write which paths,
//	                     * =                               in the form of Subversion's own authz files; see auth/authz
//
// A grant names a user, a group ("@devs") or everybody who is logged in ("*"), and gives read, write or admin; each
// includes those before it. Where a repository has an authz file, that and the grant must both allow. Whoever may not read a repository is told that it does not exist. Files at the root whose
// names begin with README or a dot are ignored. Everything else that is not listed above is an error: unknown files,
// unknown or repeated keys, names that differ only in case, users that do not exist, YAML aliases. All problems are
// reported together, each with its file and line.
//
// User.Verify checks a push certificate's signature against the user's own keys.
//
// Load reads a tree and returns a Policy, which never changes and is safe for concurrent use. Policy.Allow is the only
// place that decides. Policy.Edit makes the files of a changed policy; comments in the files survive. Policy.CheckChange
// says whether one policy may follow another. Nothing here reads a clock or a source of randomness.
package auth
