//go:build judge

package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"holdfast/replication"
	"holdfast/server"
	"holdfast/server/gitproto"
	"holdfast/storage"
	"holdfast/storage/object"
)

// name is that of the repository that is judged.
const name = "judged"

// facts is what is kept of a dump beside the host's store, in STORE/facts.
type facts struct {
	Config config
	// HeadValue is what the dump says of HEAD, as in its refs file: "@TARGET", an id, or nothing.
	HeadValue string
	// Odd are the refs, by name, that a host cannot hold: symbolic ones ("@TARGET") and damaged ones.
	Odd map[string]string
	// Old are the values of the other refs on import.
	Old []string
	// Shallow: the dump was a shallow clone. There is no serving that.
	Shallow bool
}

// repo is an open STORE.
type repo struct {
	facts
	*storage.Repo
	store   *storage.Store
	fetcher server.JudgedFetcher
	pusher  server.JudgedPusher
}

// open opens what importDump has made.
func open(dir string) (*repo, error) {
	r := &repo{}
	raw, err := os.ReadFile(filepath.Join(dir, "facts"))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &r.facts); err != nil {
		return nil, err
	}
	if r.store, err = openStore(dir, r.Config); err != nil {
		return nil, err
	}
	srv, err := newServer(r.store)
	if err != nil {
		return nil, err
	}
	r.Repo, r.fetcher, r.pusher, err = srv.Judged(name)
	return r, err
}

func openStore(dir string, c config) (*storage.Store, error) {
	return storage.Open(filepath.Join(dir, "data"), storage.Options{
		NoSync: true, Log: slog.New(slog.DiscardHandler), MaxPackBytes: c.size("receive.maxinputsize"),
	})
}

func newServer(st *storage.Store) (*server.Server, error) {
	return server.New(st, mirrors{}, server.Config{Log: slog.New(slog.DiscardHandler)})
}

// mirrors is replication without mirrors: every push is acknowledged at once.
type mirrors struct{}

func (mirrors) Ready() error                       { return nil }
func (mirrors) Notify()                            {}
func (mirrors) Status() []replication.MirrorStatus { return nil }
func (mirrors) NewBigPack(ctx context.Context) *replication.BigPack {
	return replication.Idle().NewBigPack(ctx)
}
func (mirrors) Wait(_ context.Context, seq storage.Seq) (replication.Receipt, error) {
	return replication.Receipt{Seq: seq}, nil
}

// refs yields HEAD and all refs, odd ones among them if their objects are there, in git's order.
func (r *repo) refs() ([]gitproto.Ref, error) {
	known := map[string]gitproto.Ref{}
	for ref, err := range r.fetcher.Refs([]string{"refs/"}) {
		if err != nil {
			return nil, err
		}
		known[ref.Name] = ref
	}
	for name, value := range r.Odd {
		if ref, ok := r.resolve(known, name, value); ok {
			known[name] = ref
		}
	}
	refs := make([]gitproto.Ref, 0, len(known)+1)
	for _, ref := range known {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, func(a, b gitproto.Ref) int { return strings.Compare(a.Name, b.Name) })
	if head, ok := r.resolve(known, "HEAD", r.HeadValue); ok || head.Target != "" {
		refs = slices.Insert(refs, 0, head)
	}
	return refs, nil
}

// resolve returns the ref that value stands for, false if its object is not there.
func (r *repo) resolve(known map[string]gitproto.Ref, name, value string) (gitproto.Ref, bool) {
	if target, ok := strings.CutPrefix(value, "@"); ok {
		ref := known[target]
		if inner, odd := r.Odd[target]; odd && ref.Name == "" && target != name {
			ref, _ = r.resolve(known, target, inner)
		}
		return gitproto.Ref{Name: name, ID: ref.ID, Peeled: ref.Peeled, Target: cmp.Or(ref.Target, target)}, !ref.ID.IsZero()
	}
	id, err := object.ParseID(value)
	if err != nil {
		return gitproto.Ref{}, false
	}
	if ok, err := r.Has(id); err != nil || !ok {
		return gitproto.Ref{}, false
	}
	return gitproto.Ref{Name: name, ID: id, Peeled: r.peel(id)}, true
}

// peel returns what a tag leads to, zero for another object.
func (r *repo) peel(id object.ID) object.ID {
	typ, data, err := r.ReadObject(id)
	peeled := object.ID{}
	for err == nil && typ == object.Tag {
		var link object.Link
		if link, err = object.PeelTag(r.Format(), data); err == nil {
			peeled = link.ID
			typ, data, err = r.ReadObject(link.ID)
		}
	}
	return peeled
}

// importDump makes the store dir.
func importDump(ctx context.Context, dir, dump string) error {
	f := facts{Odd: map[string]string{}}
	raw, err := os.ReadFile(filepath.Join(dump, "config"))
	if err != nil {
		return err
	}
	f.Config = parseConfig(string(raw))
	if _, err := os.Stat(filepath.Join(dump, "shallow")); err == nil {
		f.Shallow = true
	}
	updates, err := f.readRefs(filepath.Join(dump, "refs"))
	if err != nil {
		return err
	}
	if err := f.fill(ctx, dir, dump, updates); err != nil {
		return err
	}
	for _, u := range updates {
		if _, odd := f.Odd[u.Name]; !odd {
			f.Old = append(f.Old, u.New.String())
		}
	}
	raw, err = json.Marshal(f)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "facts"), raw, 0o600)
}

// readRefs returns the refs that are not symbolic.
func (f *facts) readRefs(file string) (updates []storage.RefUpdate, err error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(raw)) {
		value, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if name == "HEAD" {
			f.HeadValue = value
			continue
		}
		id, err := object.ParseID(value)
		if err != nil {
			f.Odd[name] = value
			continue
		}
		updates = append(updates, storage.RefUpdate{Name: name, New: id})
	}
	return updates, nil
}

// fill makes the host and pushes the dump to it.
func (f *facts) fill(ctx context.Context, dir, dump string, updates []storage.RefUpdate) error {
	st, err := openStore(dir, nil)
	if err != nil {
		return err
	}
	defer st.Close()
	key, err := ssh.NewPublicKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public())
	if err != nil {
		return err
	}
	if err := server.Bootstrap(st, "root", string(ssh.MarshalAuthorizedKey(key)), "judge.invalid", time.Now()); err != nil {
		return err
	}
	srv, err := newServer(st)
	if err != nil {
		return err
	}
	pack, err := os.ReadFile(filepath.Join(dump, "objects.pack"))
	if err != nil {
		return err
	}
	err = f.push(ctx, srv, updates, pack)
	var fault *object.FsckError
	if errors.Is(err, storage.ErrMissing) || errors.As(err, &fault) {
		// A damaged repository, or one with loose ends that no ref leads to. A host never has such.
		if pack, err = salvage(ctx, dump, f.format()); err == nil {
			err = f.push(ctx, srv, updates, pack)
		}
	}
	return err
}

func (f *facts) format() object.Format {
	if s, _ := f.Config.last("extensions.objectformat"); s.Value == "sha256" {
		return object.SHA256
	}
	return object.SHA1
}

// push fills a new repository. Refs that it cannot have become odd ones.
func (f *facts) push(ctx context.Context, srv *server.Server, updates []storage.RefUpdate, pack []byte) error {
	head := "refs/heads/main"
	if target, ok := strings.CutPrefix(f.HeadValue, "@refs/heads/"); ok {
		head = "refs/heads/" + target
	}
	refused, err := srv.JudgedImport(ctx, name, f.format(), head, slices.Clone(updates), bytes.NewReader(pack))
	for _, u := range updates {
		if refused[u.Name] != nil {
			f.Odd[u.Name] = u.New.String()
		}
	}
	if err == nil && len(updates) > 0 && len(refused) == len(updates) {
		_, err = srv.JudgedImport(ctx, name, f.format(), head, nil, bytes.NewReader(pack))
	}
	return err
}

// exportDump writes the refs as they are now, and at least the objects that were not imported.
func exportDump(ctx context.Context, dir, dump string) error {
	r, err := open(dir)
	if err != nil {
		return err
	}
	defer r.store.Close()
	var lines bytes.Buffer
	if r.HeadValue != "" {
		fmt.Fprintf(&lines, "%s HEAD\n", r.HeadValue)
	}
	for name, value := range r.Odd {
		fmt.Fprintf(&lines, "%s %s\n", value, name)
	}
	var sel storage.Selection
	for ref, err := range r.fetcher.Refs([]string{"refs/"}) {
		if err != nil {
			return err
		}
		fmt.Fprintf(&lines, "%s %s\n", ref.ID, ref.Name)
		sel.Wants = append(sel.Wants, ref.ID)
	}
	for _, hex := range r.Old {
		id, err := object.ParseID(hex)
		if err != nil {
			return err
		}
		sel.Haves = append(sel.Haves, id)
	}
	if err := os.WriteFile(filepath.Join(dump, "refs"), lines.Bytes(), 0o600); err != nil {
		return err
	}
	pack, err := os.Create(filepath.Join(dump, "objects.pack"))
	if err != nil {
		return err
	}
	_, err = r.WritePack(ctx, pack, sel, nil)
	return errors.Join(err, pack.Close())
}
