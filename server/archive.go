package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"holdfast/server/archive"
	"holdfast/server/gitproto"
	"holdfast/storage/object"
)

// archiver answers upload-archive for one repository and one client. What it serves is named by a ref that the client
// may see, and is its commit or tree, or a directory therein: so nothing has to be searched to know that it may be
// served. Ids and expressions such as main~1 are refused, as by git.
type archiver struct{ fetcher }

func (a archiver) ArchiveFormats() (names []string) {
	for _, f := range archive.Formats {
		names = append(names, string(f))
	}
	return names
}

// Archive finds what is asked for. Both that and the writing take a clone's place in the queue.
func (a archiver) Archive(ctx context.Context, r gitproto.ArchiveRequest) (func(ctx context.Context, w, names io.Writer) error, error) {
	release, err := take(ctx, a.s.fetches)
	if err != nil {
		return nil, err
	}
	defer release()
	root, err := a.root(r.Tree)
	if err != nil {
		return nil, a.forClient(err)
	}
	o := archive.Options{
		Format: archive.Format(r.Format), Prefix: r.Prefix, Level: max(r.Level, 0), Paths: r.Paths,
		Decorate: func() ([]string, error) { return a.decorations(root.Commit) },
	}
	if r.Level == 0 {
		o.Level = archive.NoCompression
	}
	// The names are known only once somebody listens.
	names := &lateWriter{}
	if r.Names {
		o.Names = names
	}
	found, err := archive.New(ctx, a.repo, root, o)
	if err != nil {
		return nil, a.forClient(err)
	}
	return func(ctx context.Context, w, to io.Writer) error {
		release, err := take(ctx, a.s.fetches)
		if err != nil {
			return err
		}
		defer release()
		names.w = to
		return a.forClient(found.Write(ctx, w))
	}, nil
}

func (a archiver) forClient(err error) error {
	return a.s.forClient("archive", string(a.repo.ID()), err)
}

// lateWriter is a writer that is known later.
type lateWriter struct{ w io.Writer }

func (l *lateWriter) Write(p []byte) (int, error) { return l.w.Write(p) }

// root finds what a name stands for: REF, or REF:PATH for a directory.
func (a archiver) root(name string) (archive.Root, error) {
	ref, path, inside := strings.Cut(name, ":")
	id, err := a.named(ref)
	if err != nil {
		return archive.Root{}, err
	}
	typ, data, err := a.repo.ReadObject(id)
	if err != nil {
		return archive.Root{}, err
	}
	root := archive.Root{Tree: id, Time: a.s.c.Now().Unix()}
	switch typ {
	case object.Tree:
	case object.Commit:
		c, err := object.ParseCommit(id.Format(), data)
		if err != nil {
			return root, err
		}
		if root.Tree = c.Tree; !inside {
			root.Commit, root.Time = id, c.Time
		}
	default:
		return root, fmt.Errorf("%.200q is a %s, not a commit or tree", ref, typ)
	}
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if part == "" {
			continue
		}
		if root.Tree, err = a.subtree(root.Tree, part); err != nil {
			return root, fmt.Errorf("%.200q: %w", name, err)
		}
	}
	return root, nil
}

func (a archiver) subtree(tree object.ID, name string) (object.ID, error) {
	_, data, err := a.repo.ReadObject(tree)
	if err != nil {
		return tree, err
	}
	for e, err := range object.TreeEntries(tree.Format(), data) {
		if err != nil {
			return tree, err
		}
		if string(e.Name) == name && e.Mode&object.ModeKind == object.ModeTree {
			return e.ID, nil
		}
	}
	return tree, errors.New("there is no such directory")
}

// named returns what a ref leads to in the end. Short names are looked up where git does.
func (a archiver) named(name string) (object.ID, error) {
	for _, form := range []string{"%s", "refs/%s", "refs/tags/%s", "refs/heads/%s", "refs/remotes/%s"} {
		full := fmt.Sprintf(form, name)
		if full != "HEAD" && !strings.HasPrefix(full, "refs/") || hidden(full) {
			continue
		}
		ref, err := a.ref(full)
		switch {
		case isNotFound(err):
		case err != nil:
			return object.ID{}, err
		case !ref.Peeled.IsZero():
			return ref.Peeled, nil
		case !ref.ID.IsZero():
			return ref.ID, nil
		}
	}
	return object.ID{}, fmt.Errorf("no such ref: %.200s (archives are made of branches and tags, and REF:DIRECTORY)", name)
}

func (a archiver) ref(full string) (gitproto.Ref, error) {
	if full == "HEAD" {
		return headRef(a.repo)
	}
	r, err := a.repo.Ref(full)
	return gitproto.Ref{ID: r.ID, Peeled: r.Peeled}, err
}

// maxDecorations bounds the refs of one commit that an archive names.
const maxDecorations = 1000

// decorations returns the names of the refs at a commit, as git log shows them.
func (a archiver) decorations(commit object.ID) (names []string, err error) {
	head := ""
	for r, err := range a.Refs(nil) {
		if err != nil {
			return nil, err
		}
		if r.ID != commit && r.Peeled != commit || len(names) == maxDecorations {
			continue
		}
		switch {
		case r.Name == "HEAD":
			head = r.Target
		case r.Name == head:
		default:
			names = append(names, shown(r.Name))
		}
	}
	if head != "" {
		names = append(names, "HEAD -> "+shown(head))
	}
	slices.Reverse(names)
	return names, nil
}

// shown is a ref's name in a decoration.
func shown(ref string) string {
	for prefix, mark := range map[string]string{"refs/heads/": "", "refs/remotes/": "", "refs/tags/": "tag: "} {
		if short, ok := strings.CutPrefix(ref, prefix); ok {
			return mark + short
		}
	}
	return ref
}
