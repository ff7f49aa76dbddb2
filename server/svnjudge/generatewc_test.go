//go:build judge

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"holdfast/storage/svn"
)

// editFiles changes texts, and adds files that may or may not become versioned.
func (g *generator) editFiles() (steps []step) {
	_, t := g.inWC()
	for range 1 + g.IntN(3) {
		name := g.any(t, aFile)
		if name == "" || g.chance(3) {
			name = g.fresh(t)
			if t[name] {
				continue
			}
			steps = append(steps, step{file: "$DIR/" + name, content: g.text()}, step{argv: []string{"svn", "add", at(name)}})
			t[name] = false
			continue
		}
		text, err := os.ReadFile(filepath.Join(g.real.dir, name))
		if err != nil {
			continue
		}
		steps = append(steps, step{file: "$DIR/" + name, content: g.edited(string(text))})
	}
	return steps
}

// schedule does to a working copy what a commit sends later.
func (g *generator) schedule() []step {
	_, t := g.inWC()
	name, to := g.any(t, anything), g.fresh(t)
	rev := g.rev()
	action := g.IntN(10)
	if len(g.tree(g.youngest())) > maxNodes {
		action = pick(g, 0, 9)
	}
	switch {
	case action < 2:
		return []step{{argv: []string{"svn", "rm", pick(g, "--force", "--keep-local"), at(name)}}}
	case action < 4:
		return []step{{argv: []string{"svn", "copy", at(name), to}}}
	case action == 4:
		if src := g.any(g.tree(rev), anything); src != "" {
			return []step{{argv: []string{"svn", "copy", link(src, rev), to}}}
		}
		return nil
	case action < 7:
		return []step{{argv: []string{"svn", "move", at(name), to}}}
	case action == 7:
		return []step{{argv: []string{"svn", "mkdir", at(to)}}}
	}
	p, value := g.prop()
	if g.chance(4) {
		return []step{{argv: []string{"svn", "propdel", p, at(name)}}}
	}
	return []step{{argv: []string{"svn", "propset", p, value, at(name)}}}
}

func (g *generator) commit() []step {
	wc, t := g.inWC()
	target := wc
	if g.chance(4) {
		target = g.any(t, anything)
	}
	argv := []string{"svn", "commit", "-m", g.message(), at(target), "--username", pick(g, "alice", "alice", "bob")}
	if g.chance(5) {
		argv = append(argv, "--no-unlock")
	}
	var steps []step
	if !g.chance(3) { // else somebody else may have been faster
		steps = append(steps, step{argv: []string{"svn", "update", "--accept", g.accept(), wc}})
	}
	if !g.chance(3) {
		steps = append(steps, step{argv: []string{"svn", "resolve", "-R", "--accept", "working", wc}})
	}
	return append(steps, step{argv: argv})
}

func (g *generator) accept() string {
	return pick(g, "working", "theirs-full", "mine-full", "theirs-conflict", "mine-conflict", "base", "postpone")
}

func (g *generator) update() []step {
	wc, t := g.inWC()
	target := pick(g, wc, g.any(t, anything))
	argv := []string{"svn", "update", "--accept", g.accept(), at(target)}
	if g.chance(2) {
		argv = append(argv, "-r", strconv.Itoa(g.rev()))
	}
	return []step{{argv: argv}}
}

func (g *generator) switchTo() []step {
	_, t := g.inWC()
	rev := g.rev()
	to := g.any(g.tree(rev), anything)
	argv := []string{"svn", "switch", "--accept", g.accept(), link(to, rev), at(g.any(t, anything))}
	if g.chance(2) {
		argv = append(argv, "--ignore-ancestry")
	}
	return []step{{argv: argv}}
}

func (g *generator) depth() []step {
	_, t := g.inWC()
	depth := pick(g, "exclude", "empty", "files", "immediates", "infinity", "infinity")
	return []step{{argv: []string{"svn", "update", "--accept", "working", "--set-depth", depth, at(g.dir(t))}}}
}

func (g *generator) merge() []step {
	_, t := g.inWC()
	rev := g.rev()
	from, to := g.any(g.tree(rev), anything), at(g.any(t, anything))
	accept := []string{"--accept", g.accept()}
	if g.chance(4) {
		accept = append(accept, "--ignore-ancestry")
	}
	argv := []string{"svn", "merge"}
	switch g.IntN(4) {
	case 0:
		argv = append(argv, "-c", pick(g, "", "-")+strconv.Itoa(1+g.IntN(max(1, rev))), link(from, rev), to)
	case 1:
		other := g.rev()
		argv = append(argv, link(from, rev), link(g.any(g.tree(other), anything), other), to)
	case 2:
		argv = append(argv, "-r", fmt.Sprintf("%d:%d", g.rev(), g.rev()), link(from, rev), to)
	default:
		argv = append(argv, link(from, rev), to)
	}
	return []step{{argv: append(argv, accept...)}}
}

func (g *generator) lock() []step {
	_, t := g.inWC()
	target := at(g.any(t, anything))
	if g.chance(2) {
		target = link(g.any(g.tree(g.youngest()), aFile), -1)
	}
	argv := []string{"svn", pick(g, "lock", "lock", "unlock"), target, "--username", pick(g, "alice", "bob")}
	if argv[1] == "lock" {
		argv = append(argv, "-m", pick(g, "a comment", "", "ä\nb"))
	}
	if g.chance(2) {
		argv = append(argv, "--force")
	}
	return []step{{argv: argv}, {argv: []string{"svn", "status", "-u", pick(g, workingCopies...)}}}
}

func (g *generator) revProp() []step {
	rev := strconv.Itoa(g.rev())
	name := pick(g, "svn:log", "svn:author", "p")
	argv := []string{"svn", "propset", "--revprop", "-r", rev, name, pick(g, "changed", "", "ä\nb"), "$URL", "--force"}
	if g.chance(3) && name != svn.PropAuthor { // without which svnserve dies of listings
		argv = []string{"svn", "propdel", "--revprop", "-r", rev, name, "$URL"}
	}
	return []step{{argv: argv}, {argv: []string{"svn", "proplist", "-v", "--revprop", "-r", rev, "$URL"}}}
}

// read asks for what does not change anything.
func (g *generator) read() []step {
	rev := g.rev()
	name := g.any(g.tree(rev), anything)
	file := g.any(g.tree(rev), aFile)
	target, r := link(name, rev), func() string { return strconv.Itoa(g.rev()) }
	span := r() + ":" + r()
	switch g.IntN(14) {
	case 0:
		return []step{{argv: []string{"svn", "log", "-v", "-r", span, target}, order: true}}
	case 1:
		return []step{{argv: []string{"svn", "log", "-v", "-g", target}, order: true}}
	case 2:
		return []step{{argv: []string{"svn", "log", "-q", pick(g, "--stop-on-copy", "--limit=3"), target}, order: true}}
	case 3:
		return []step{{argv: []string{"svn", "ls", "-R", "-v", target}}}
	case 4:
		return []step{{argv: []string{"svn", "cat", link(file, rev)}, order: true}}
	case 5:
		return []step{{argv: []string{"svn", "blame", pick(g, "-v", "-g"), link(file, rev)}, order: true}}
	case 6:
		return []step{{argv: []string{"svn", "diff", "-r", span, target}}}
	case 7:
		return []step{{argv: []string{"svn", "diff", "--summarize", "-r", span, target}}}
	case 8:
		other := g.rev()
		return []step{{argv: []string{"svn", "diff", pick(g, "--notice-ancestry", "--show-copies-as-adds"), target, link(g.any(g.tree(other), anything), other)}}}
	case 9:
		return []step{{argv: []string{"svn", "info", "-r", r(), target}}}
	case 10:
		return []step{{argv: []string{"svn", "proplist", "-v", "-R", target}}, {argv: []string{"svn", "proplist", "-v", "--show-inherited-props", target}}}
	case 11:
		// Not what is eligible: the client finds different revisions at different times, whatever the server.
		return []step{{argv: []string{"svn", "mergeinfo", "--show-revs", "merged", target, link(g.any(g.tree(g.youngest()), anything), -1)}}}
	case 12:
		return []step{{argv: []string{"svn", "export", "-q", "--force", "--ignore-keywords", target, "$DIR/export"}},
			{argv: []string{"find", "$DIR/export", "-type", "f"}}, {argv: []string{"rm", "-rf", "$DIR/export"}}}
	}
	wc := pick(g, workingCopies...)
	return []step{{argv: []string{"svn", "status", "-u", "-v", wc}}, {argv: []string{"svn", "diff", wc}}, {argv: []string{"svn", "info", "-R", wc}}}
}

// overtake has another commit come in between while one is on its way: the hook makes it, before the first one is taken.
func (g *generator) overtake() []step {
	args, puts := g.muccActions()
	for i := range args { // the files of the other commit have names of their own
		args[i] = strings.Replace(args[i], "$DIR/put", "$DIR/race", 1)
	}
	for i := range puts {
		puts[i].file = strings.Replace(puts[i].file, "$DIR/put", "$DIR/race", 1)
	}
	script := "export PATH=/usr/local/bin:/usr/bin:/bin LC_ALL=C.UTF-8 HOME=$DIR/home\nsvnmucc --non-interactive --no-auth-cache --username bob --password secret " +
		"--config-dir $DIR/config2 -U $URL -m race"
	for _, a := range args {
		script += " '" + a + "'"
	}
	steps := append(puts, step{file: "$REPO/race", content: script + "\n"})
	if g.chance(2) {
		steps = append(steps, g.commit()...)
	} else {
		steps = append(steps, g.mucc()...)
	}
	return append(steps, step{argv: []string{"cat", "$REPO/race.out"}}, step{argv: []string{"rm", "-f", "$REPO/race", "$REPO/race.out"}})
}

func (g *generator) revert() []step {
	wc, t := g.inWC()
	target := at(pick(g, wc, g.any(t, anything)))
	if g.chance(2) {
		return []step{{argv: []string{"svn", "resolve", "-R", "--accept", "working", target}}}
	}
	return []step{{argv: []string{"svn", "revert", "-R", target}}, {argv: []string{"svn", "cleanup", "--remove-unversioned", wc}}}
}

// checkOut replaces a working copy.
func (g *generator) checkOut() []step {
	wc := pick(g, workingCopies...)
	rev := g.rev()
	argv := []string{"svn", "checkout", "--depth", pick(g, "infinity", "infinity", "immediates", "files"), link(pick(g, "", g.dir(g.tree(rev))), rev), wc}
	return []step{{argv: []string{"rm", "-rf", "$DIR/" + wc}}, {argv: argv}}
}
