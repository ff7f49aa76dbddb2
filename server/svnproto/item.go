package svnproto

import "holdfast/storage/svn"

// Kind is what an Item is.
type Kind uint8

// The kinds.
const (
	Number Kind = iota + 1
	Word
	String
	List
)

// Item is one item of the protocol. What it points at is the Reader's and valid until the next command is read.
type Item struct {
	Kind  Kind
	Num   uint64 // of a Number
	Bytes []byte // of a Word or a String
	List  []Item // of a List
}

// Is reports whether the item is that word.
func (it Item) Is(word string) bool { return it.Kind == Word && string(it.Bytes) == word }

// malformed is the error for input that is no item or not the item that belongs there. It ends the session.
func malformed(text string) error {
	return &fatal{svn.Errorf(svn.ErrRASvnMalformedData, "%s", text)}
}

// errMalformed is the usual one.
func errMalformed() error { return malformed("Malformed network data") }

// fatal is an error after which there is no knowing where the next command starts, or nobody to tell.
type fatal struct{ err error }

func (f *fatal) Error() string { return f.err.Error() }
func (f *fatal) Unwrap() error { return f.err }

// args takes the items of a tuple one after the other. Items beyond those asked for are ignored, as the protocol wants it. The first
// item that is missing or of the wrong kind makes all later answers zero and err the reason.
type args struct {
	items []Item
	err   error
}

// more reports whether the tuple goes on: what follows is optional.
func (a *args) more() bool { return a.err == nil && len(a.items) > 0 }

func (a *args) next(k Kind) (it Item) {
	if a.err != nil {
		return
	}
	if len(a.items) == 0 || a.items[0].Kind != k {
		a.err = errMalformed()
		return
	}
	it, a.items = a.items[0], a.items[1:]
	return it
}

func (a *args) bytes() []byte  { return a.next(String).Bytes }
func (a *args) str() string    { return string(a.next(String).Bytes) }
func (a *args) word() string   { return string(a.next(Word).Bytes) }
func (a *args) list() []Item   { return a.next(List).List }
func (a *args) number() uint64 { return a.next(Number).Num }

func (a *args) rev() svn.Revnum {
	n := a.next(Number).Num
	if a.err != nil || int64(n) < 0 {
		return svn.InvalidRevnum
	}
	return svn.Revnum(n)
}

func (a *args) boolean() bool {
	it := a.next(Word)
	switch {
	case a.err != nil || it.Is("false"):
		return false
	case !it.Is("true"):
		a.err = errMalformed()
		return false
	}
	return true
}

// tuple takes a list as a tuple of its own. Its error has to be handed back with done.
func (a *args) tuple() args { return args{a.list(), a.err} }

func (a *args) done(inner args) {
	if a.err == nil {
		a.err = inner.err
	}
}

// The following take a list of one optional item.

func (a *args) optRev() svn.Revnum {
	t, rev := a.tuple(), svn.InvalidRevnum
	if t.more() {
		rev = t.rev()
	}
	a.done(t)
	return rev
}

func (a *args) optBytes() (b []byte, ok bool) {
	t := a.tuple()
	if t.more() {
		b, ok = t.bytes(), true
	}
	a.done(t)
	return b, ok && t.err == nil
}

// optStr returns nil if there is none.
func (a *args) optStr() *string {
	b, ok := a.optBytes()
	if !ok {
		return nil
	}
	s := string(b)
	return &s
}

// copyFrom takes a list of a path and a revision, or nothing.
func (a *args) copyFrom() (path string, rev svn.Revnum, ok bool) {
	t := a.tuple()
	if t.more() {
		path, rev, ok = t.str(), t.rev(), true
	}
	a.done(t)
	return path, rev, ok && t.err == nil
}

// props takes a list of pairs of strings.
func parseProps(list []Item) (svn.Props, error) {
	p := make(svn.Props, len(list))
	for _, it := range list {
		if it.Kind != List {
			return nil, malformed("Proplist element not a list")
		}
		t := args{items: it.List}
		name, value := t.str(), t.str()
		if t.err != nil {
			return nil, t.err
		}
		p[name] = value
	}
	return p, nil
}
