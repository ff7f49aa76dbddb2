package object

import "bytes"

// maxName is the length above which git warns of a tree entry's name (largePathname).
const maxName = 4096

// treeFaults collects what is wrong with a tree, in bits ordered as git reports them.
type treeFaults uint

const (
	nullSHA1 treeFaults = 1 << iota
	fullPathname
	emptyName
	hasDot
	hasDotdot
	hasDotgit
	zeroPadded
	duplicates
	unsorted
	largeName
)

var treeMessages = []struct {
	fault      treeFaults
	id, detail string
	strict     bool // accepted unless strict
}{
	{fault: nullSHA1, id: "nullSha1", detail: "contains entries pointing to null sha1"},
	{fault: fullPathname, id: "fullPathname", detail: "contains full pathnames"},
	{fault: emptyName, id: "emptyName", detail: "contains empty pathname"},
	{fault: hasDot, id: "hasDot", detail: "contains '.'"},
	{fault: hasDotdot, id: "hasDotdot", detail: "contains '..'"},
	{fault: hasDotgit, id: "hasDotgit", detail: "contains '.git'"},
	{fault: zeroPadded, id: "zeroPaddedFilemode", detail: "contains zero-padded file modes", strict: true},
	{fault: duplicates, id: "duplicateEntries", detail: "contains duplicate file entries"},
	{fault: unsorted, id: "treeNotSorted", detail: "not properly sorted"},
	{fault: largeName, id: "largePathname", detail: "contains excessively large pathname", strict: true},
}

func treeFault(id, detail string) error { return &FsckError{MsgID: id, Type: Tree, Detail: detail} }

func (c *Checker) checkTree(data []byte) error {
	var (
		faults   treeFaults
		size     = c.Format.Size()
		prev     []byte
		prevMode uint32
	)
	c.files = c.files[:0]
	for len(data) > 0 {
		first := data[0]
		mode, name, sum, rest, ok := nextEntry(data, size)
		if !ok {
			return treeFault("badTree", "cannot be parsed as a tree")
		}
		if first == '0' {
			faults |= zeroPadded
		}
		if suspicious(name) {
			f, err := c.checkName(mode, name, sum)
			if err != nil {
				return err
			}
			faults |= f
		}
		if sum[0] == 0 && isZero(sum) {
			faults |= nullSHA1
		}
		if len(name) > maxName {
			faults |= largeName
		}
		if prev != nil {
			faults |= c.order(prevMode, prev, mode, name)
		}
		if c.Link != nil {
			if t, ok := linkType(mode); ok {
				c.Link(t, sum)
			}
		}
		prev, prevMode, data = name, mode, rest
	}
	return c.refused(faults)
}

func (c *Checker) refused(faults treeFaults) error {
	for _, m := range treeMessages {
		if faults&m.fault != 0 && (!m.strict || c.Options.Strict) {
			return treeFault(m.id, m.detail)
		}
	}
	return nil
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// suspicious tells, quickly, whether a name needs checkName. It has no false negatives.
func suspicious(name []byte) bool {
	switch name[0] {
	case '.', 'g', 'G', 0xe2, 0xef: // the last two begin the characters that HFS+ ignores
		return true
	}
	return bytes.IndexByte(name, '/') >= 0 || bytes.IndexByte(name, '\\') >= 0
}

// checkName looks for names that mean something to git, or would if a file system mangled them.
func (c *Checker) checkName(mode uint32, name, sum []byte) (faults treeFaults, err error) {
	if bytes.IndexByte(name, '/') >= 0 {
		faults |= fullPathname
	}
	switch string(name) {
	case ".":
		faults |= hasDot
	case "..":
		faults |= hasDotdot
	}
	if hfsDot(name, "git") || ntfsDotgit(name) {
		faults |= hasDotgit
	}
	modules := hfsDot(name, "gitmodules") || ntfsDot(name, "gitmodules", "gi7eba")
	if hfsDot(name, "gitattributes") || ntfsDot(name, "gitattributes", "gi7d29") {
		if err := c.special(Gitattributes, mode, sum); err != nil {
			return 0, err
		}
	}
	for tail := name; ; {
		i := bytes.IndexByte(tail, '\\')
		if i < 0 {
			break
		}
		tail = tail[i+1:]
		if ntfsDotgit(tail) {
			faults |= hasDotgit
		}
		modules = modules || ntfsDot(tail, "gitmodules", "gi7eba")
	}
	if modules {
		if err := c.special(Gitmodules, mode, sum); err != nil {
			return 0, err
		}
	}
	return faults, nil
}

// special handles a tree's entry that names a file with a meaning for git.
func (c *Checker) special(s Special, mode uint32, sum []byte) error {
	switch mode & ModeKind {
	case ModeSymlink:
		if s == Gitmodules {
			return treeFault("gitmodulesSymlink", ".gitmodules is a symbolic link")
		}
		return nil // git's info gitattributesSymlink
	case ModeTree:
		return treeFault(s.name()+"Blob", "non-blob found at ."+s.name())
	}
	if _, ok := linkType(mode); ok && c.Special != nil {
		c.Special(s, sum)
	}
	return nil
}

// order compares an entry with the one before it. A directory sorts as if its name ended in a slash, so that equal names
// of a file and a directory need not stand side by side:
//
//	foo, foo.bar, foo.bar.baz, foo.bar/, foo/
//
// c.files remembers the files for which such a directory can still follow.
func (c *Checker) order(mode1 uint32, name1 []byte, mode2 uint32, name2 []byte) treeFaults {
	n := min(len(name1), len(name2))
	switch cmp := bytes.Compare(name1[:n], name2[:n]); {
	case cmp < 0:
		return 0
	case cmp > 0:
		return unsorted
	}
	if len(name1) == len(name2) {
		return duplicates
	}
	c1, c2 := nextByte(mode1, name1, n), nextByte(mode2, name2, n)
	switch {
	case c1 == 0 && beforeSlash(c2):
		c.files = append(c.files, name1)
	case c2 == '/' && beforeSlash(c1) && c.twin(name2):
		return duplicates
	}
	if c1 < c2 {
		return 0
	}
	return unsorted
}

// twin looks for a file with the name of a directory.
func (c *Checker) twin(dir []byte) bool {
	for len(c.files) > 0 {
		file := c.files[len(c.files)-1]
		rest, ok := bytes.CutPrefix(dir, file)
		if ok && len(rest) > 0 && beforeSlash(rest[0]) {
			return false // a longer directory's files may still need it
		}
		c.files = c.files[:len(c.files)-1]
		if ok && len(rest) == 0 {
			return true
		}
	}
	return false
}

func nextByte(mode uint32, name []byte, n int) byte {
	switch {
	case n < len(name):
		return name[n]
	case mode&ModeKind == ModeTree:
		return '/'
	}
	return 0
}

func beforeSlash(c byte) bool { return 0 < c && c < '/' }
