package gitproto_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/server/gitproto"
	"holdfast/storage/object"
)

// faults are kept in a file in the repository, so that a peer in another process finds them.
type faults struct {
	Options     gitproto.Options
	RefuseEarly string // Push fails with this text before it reads the pack
	RefuseAfter int64  // Push fails after so many bytes of the pack
	RejectRef   string // this ref is not updated
	RefsError   string // listing the refs fails
	PackError   string // sending a pack fails halfway
	Print       string // printed by Push at its end
	NoChecker   bool   // only tips may be wanted
}

// gitRepo is a Fetcher and Pusher on a bare repository, by git's own plumbing.
type gitRepo struct {
	dir    string
	format object.Format
	faults faults

	check    *exec.Cmd // git cat-file --batch-check
	checkIn  io.WriteCloser
	checkOut *bufio.Reader
}

func openRepo(dir string) (*gitRepo, error) {
	out, err := plumbing(dir, "", "rev-parse", "--show-object-format")
	if err != nil {
		return nil, errors.New("no such repository: " + filepath.Base(dir))
	}
	r := &gitRepo{dir: dir}
	if r.format, err = object.ParseFormat(strings.TrimSpace(out)); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(dir, "faults.json"))
	if err == nil {
		err = json.Unmarshal(data, &r.faults)
	} else if os.IsNotExist(err) {
		err = nil
	}
	return r, err
}

func setFaults(t *testing.T, dir string, f faults) {
	t.Helper()
	data, err := json.Marshal(f)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "faults.json"), data, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (r *gitRepo) Close() {
	if r.check != nil {
		r.checkIn.Close()
		r.check.Wait()
	}
}

func (r *gitRepo) Format() object.Format { return r.format }

func (r *gitRepo) Has(id object.ID) (bool, error) {
	if r.check == nil {
		r.check = exec.Command("git", "-C", r.dir, "cat-file", "--batch-check")
		r.check.Env = gitEnv()
		r.checkIn, _ = r.check.StdinPipe()
		out, _ := r.check.StdoutPipe()
		r.checkOut = bufio.NewReader(out)
		if err := r.check.Start(); err != nil {
			return false, err
		}
	}
	fmt.Fprintln(r.checkIn, id)
	line, err := r.checkOut.ReadString('\n')
	return !strings.HasSuffix(line, " missing\n"), err
}

func (r *gitRepo) Size(id object.ID) (int64, bool, error) {
	if ok, err := r.Has(id); !ok || err != nil {
		return 0, false, err
	}
	out, err := plumbing(r.dir, "", "cat-file", "-s", id.String())
	var n int64
	fmt.Sscan(out, &n)
	return n, true, err
}

// fetcher lists HEAD too, and may judge negotiations and wants.
func (r *gitRepo) Refs(prefixes []string) iter.Seq2[gitproto.Ref, error] {
	return func(yield func(gitproto.Ref, error) bool) {
		if r.faults.RefsError != "" {
			yield(gitproto.Ref{}, errors.New(r.faults.RefsError))
			return
		}
		refs, err := r.list()
		if err != nil {
			yield(gitproto.Ref{}, err)
			return
		}
		matches := func(name string) bool {
			return len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p string) bool {
				return strings.HasPrefix(name, p)
			})
		}
		for _, ref := range refs {
			if matches(ref.Name) && !yield(ref, nil) {
				return
			}
		}
	}
}

func (r *gitRepo) list() ([]gitproto.Ref, error) {
	out, err := plumbing(r.dir, "", "for-each-ref", "--format=%(refname) %(objectname) %(*objectname)")
	if err != nil {
		return nil, err
	}
	head := gitproto.Ref{Name: "HEAD"}
	if target, err := plumbing(r.dir, "", "symbolic-ref", "HEAD"); err == nil {
		head.Target = strings.TrimSpace(target)
	} else if id, err := plumbing(r.dir, "", "rev-parse", "HEAD"); err == nil {
		head.ID, _ = object.ParseID(strings.TrimSpace(id))
	}
	refs := []gitproto.Ref{{}}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		ref := gitproto.Ref{Name: fields[0]}
		if ref.ID, err = object.ParseID(fields[1]); err != nil {
			return nil, err
		}
		if len(fields) > 2 { // git 2.39 peels one layer only
			peeled, err := plumbing(r.dir, "", "rev-parse", ref.Name+"^{}")
			if err != nil {
				return nil, err
			}
			if ref.Peeled, err = object.ParseID(strings.TrimSpace(peeled)); err != nil {
				return nil, err
			}
		}
		if ref.Name == head.Target {
			head.ID = ref.ID
		}
		refs = append(refs, ref)
	}
	refs[0] = head
	return refs, nil
}

func (r *gitRepo) Enough(_ context.Context, wants, common []object.ID) (bool, error) {
	for _, want := range wants {
		reached := slices.ContainsFunc(common, func(id object.ID) bool {
			_, err := plumbing(r.dir, "", "merge-base", "--is-ancestor", id.String(), want.String())
			return err == nil
		})
		if !reached {
			return false, nil
		}
	}
	return true, nil
}

func (r *gitRepo) CheckWants(_ context.Context, wants []object.ID) ([]object.ID, error) {
	if r.faults.NoChecker {
		return wants, nil
	}
	return slices.DeleteFunc(slices.Clone(wants), func(id object.ID) bool {
		out, err := plumbing(r.dir, "", "for-each-ref", "--contains", id.String())
		return err == nil && out != ""
	}), nil
}

func (r *gitRepo) Pack(ctx context.Context, w io.Writer, q gitproto.PackRequest, progress func(string)) error {
	args := []string{"-C", r.dir, "pack-objects", "--revs", "--stdout", "-q"}
	if q.IncludeTag {
		args = append(args, "--include-tag")
	}
	if q.OfsDelta {
		args = append(args, "--delta-base-offset")
	}
	if q.ThinPack {
		args = append(args, "--thin")
	}
	var revs bytes.Buffer
	for _, id := range q.Wants {
		fmt.Fprintln(&revs, id)
	}
	fmt.Fprintln(&revs, "--not")
	for _, id := range q.Haves {
		fmt.Fprintln(&revs, id)
	}
	progress(fmt.Sprintf("packing for %d wants, %d haves\n", len(q.Wants), len(q.Haves)))
	if r.faults.PackError != "" {
		io.WriteString(w, "PACK\x00\x00\x00\x02")
		return errors.New(r.faults.PackError)
	}
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Env = gitEnv()
	cmd.Stdin = &revs
	cmd.Stdout = w
	return cmd.Run()
}

// pusher is the gitRepo as a Pusher, whose Refs take no prefixes.
type pusher struct{ *gitRepo }

func (p pusher) Refs() iter.Seq2[gitproto.Ref, error] { return p.gitRepo.Refs(nil) }

func (p pusher) Push(ctx context.Context, push *gitproto.Push) gitproto.Report {
	report := p.push(ctx, push)
	for _, option := range push.Options {
		fmt.Fprintf(push.Progress, "option %s\n", option)
	}
	if p.faults.Print != "" {
		fmt.Fprintln(push.Progress, p.faults.Print)
	}
	return report
}

func (p pusher) push(ctx context.Context, push *gitproto.Push) gitproto.Report {
	switch {
	case p.faults.RefuseEarly != "":
		return gitproto.Report{Unpack: errors.New(p.faults.RefuseEarly)}
	case p.faults.RefuseAfter > 0 && push.Pack != nil:
		io.CopyN(io.Discard, push.Pack, p.faults.RefuseAfter)
		return gitproto.Report{Unpack: fmt.Errorf("pack exceeds %d bytes", p.faults.RefuseAfter)}
	}
	if push.Pack != nil {
		cmd := exec.CommandContext(ctx, "git", "-C", p.dir, "index-pack", "--stdin", "--fix-thin", "--strict")
		cmd.Env = gitEnv()
		cmd.Stdin = push.Pack
		if out, err := cmd.CombinedOutput(); err != nil {
			return gitproto.Report{Unpack: fmt.Errorf("index-pack: %s", out)}
		}
		push.Received()
	}
	if push.Atomic {
		return p.updateAtomic(push.Commands)
	}
	var report gitproto.Report
	for _, cmd := range push.Commands {
		report.Refs = append(report.Refs, gitproto.RefStatus{Ref: cmd.Ref, Err: p.update(cmd)})
	}
	return report
}

func (p pusher) updateAtomic(cmds []gitproto.Command) gitproto.Report {
	var script strings.Builder
	var rejected error
	fmt.Fprintln(&script, "start")
	for _, c := range cmds {
		if c.Ref == p.faults.RejectRef {
			rejected = errors.New("atomic transaction failed: " + c.Ref + " is locked")
		}
		fmt.Fprintf(&script, "update %s %s %s\n", c.Ref, c.New.Hex(p.format), c.Old.Hex(p.format))
	}
	fmt.Fprintln(&script, "commit")
	if rejected == nil {
		_, rejected = plumbing(p.dir, script.String(), "update-ref", "--stdin")
	}
	var report gitproto.Report
	for _, c := range cmds {
		report.Refs = append(report.Refs, gitproto.RefStatus{Ref: c.Ref, Err: rejected})
	}
	return report
}

func (p pusher) update(c gitproto.Command) error {
	if c.Ref == p.faults.RejectRef {
		return errors.New("protected\nbranch")
	}
	_, err := plumbing(p.dir, "", "update-ref", c.Ref, c.New.Hex(p.format), c.Old.Hex(p.format))
	return err
}

// httpServer serves the repositories under root by smart HTTP.
func httpServer(t *testing.T, root string) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := serveHTTP(w, r, root); err != nil {
			t.Logf("http: %v", err)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func serveHTTP(w http.ResponseWriter, r *http.Request, root string) error {
	path, service := r.URL.Path, r.FormValue("service")
	kind := "advertisement"
	if r.Method == http.MethodPost {
		path, service = filepath.Split(path)
		kind = "result"
	} else {
		path = strings.TrimSuffix(path, "/info/refs")
	}
	repo, err := openRepo(filepath.Join(root, path))
	if err != nil {
		http.NotFound(w, r)
		return err
	}
	defer repo.Close()
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		if body, err = gzip.NewReader(r.Body); err != nil {
			return err
		}
	}
	o := repo.faults.Options
	o.Version = gitproto.ParseVersion(r.Header.Get("Git-Protocol"))
	o.Advertise = kind == "advertisement"
	o.Stateless = !o.Advertise
	w.Header().Set("Content-Type", "application/x-"+service+"-"+kind)
	w.Header().Set("Cache-Control", "no-cache")
	if service == "git-upload-pack" {
		return gitproto.UploadPack(r.Context(), body, w, repo, o)
	}
	return gitproto.ReceivePack(r.Context(), body, w, pusher{repo}, o)
}
