package svnrepos_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"holdfast/server/svnrepos"
	"holdfast/storage/svn"
	"holdfast/storage/svnfs"
)

// script makes a revision a line, whose message is the line: edits with "; " between them, as apply has them.
func script(t testing.TB, fs *svnfs.FS, lines ...string) {
	t.Helper()
	for _, line := range lines {
		props := svn.Props{svn.PropAuthor: "alice", svn.PropLog: line, svn.PropDate: "2024-05-06T07:08:09.000000Z"}
		txn, err := fs.Begin(fs.Youngest(), svnfs.TxnOptions{Props: props})
		if err != nil {
			t.Fatal(err)
		}
		for edit := range strings.SplitSeq(line, "; ") {
			if err := apply(fs, txn, strings.Fields(edit)); err != nil {
				t.Fatalf("r%d, %s: %v", fs.Youngest()+1, edit, err)
			}
		}
		commitTxn(t, txn)
	}
}

// apply makes one edit: mkdir PATH, put PATH WORD..., rm PATH, cp REV FROM TO, set NAME VALUE PATH, or del NAME PATH. In texts and values, "|" is
// a line's end.
func apply(fs *svnfs.FS, txn *svnfs.Txn, f []string) error {
	value := func(s string) string { return strings.ReplaceAll(s, "|", "\n") }
	switch f[0] {
	case "mkdir":
		return txn.MakeDir(f[1])
	case "rm":
		return txn.Delete(f[1])
	case "cp":
		var rev svn.Revnum
		if _, err := fmt.Sscan(f[1], &rev); err != nil {
			return err
		}
		root, err := fs.Root(rev)
		if err != nil {
			return err
		}
		return txn.Copy(root, f[2], f[3])
	case "set":
		v := value(f[2])
		return txn.SetNodeProp(f[3], f[1], &v)
	case "del":
		return txn.SetNodeProp(f[2], f[1], nil)
	case "put":
		kind, err := txn.Root().Kind(f[1])
		if err == nil && kind == svn.None {
			err = txn.MakeFile(f[1])
		}
		if err != nil {
			return err
		}
		w, err := txn.ApplyText(f[1])
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, value(strings.Join(f[2:], " "))); err != nil {
			return err
		}
		return w.Close()
	}
	return fmt.Errorf("unknown edit %q", f[0])
}

// concealed is an Access that hides some paths and what is below them.
type concealed []string

func (h concealed) hidden(path string) bool {
	for _, p := range h {
		if _, ok := svn.Rel(p, path); ok {
			return true
		}
	}
	return false
}

func (h concealed) AllowsSomewhere(svnrepos.Op) bool { return true }

func (h concealed) Allows(path string, op svnrepos.Op) bool {
	if op == svnrepos.ReadTree || op == svnrepos.WriteTree {
		for _, p := range h {
			if _, ok := svn.Rel(path, p); ok {
				return false
			}
		}
	}
	return !h.hidden(path)
}

// describeLog shows entries: "12", "+" if children follow, "-" if it was taken back, "(author log)" as far as they are known, and the changes. An
// end is ".".
func describeLog(t testing.TB, r *svnrepos.Repository, req svnrepos.LogRequest) string {
	t.Helper()
	var b strings.Builder
	err := r.Log(t.Context(), req, func(e *svnrepos.LogEntry) error {
		if !e.Rev.Valid() {
			b.WriteString(". ")
			return nil
		}
		fmt.Fprint(&b, e.Rev)
		if e.HasChildren {
			b.WriteByte('+')
		}
		if e.SubtractiveMerge {
			b.WriteByte('-')
		}
		if len(e.Props) > 0 {
			fmt.Fprintf(&b, "(%s)", strings.TrimSpace(e.Props[svn.PropAuthor]+" "+e.Props[svn.PropLog]))
		}
		for _, c := range e.Changes {
			fmt.Fprintf(&b, " %c%s", c.Action, c.Path)
			if c.CopyFrom != nil {
				fmt.Fprintf(&b, "<%s", c.CopyFrom)
			}
		}
		b.WriteByte(' ')
		return nil
	})
	return describeError(&b, err)
}

func describeError(b *strings.Builder, err error) string {
	var e *svn.Error
	if errors.As(err, &e) {
		fmt.Fprintf(b, "%v: %s", e.Code, e.Message)
	} else if err != nil {
		b.WriteString(err.Error())
	}
	return strings.TrimSpace(b.String())
}
