//go:build bench

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"time"

	"holdfast/replication"
	"holdfast/server"
	"holdfast/storage"
	"holdfast/storage/object"
)

// engineCommand is the first argument of the children in which the engine runs alone.
const engineCommand = "engine"

// engine is the program of such a child:
//
//	upload-pack DATA REPO     serve a repository of a host's store over standard input and output
//	receive DATA [REF ID]...  take a pack from standard input into a new store, verify it and commit it
func engine(ctx context.Context, args []string) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	switch {
	case len(args) == 3 && args[0] == "upload-pack":
		return engineUpload(ctx, args[1], args[2], log)
	case len(args) >= 2 && args[0] == "receive":
		return engineReceive(ctx, args[1], args[2:], log)
	}
	return fmt.Errorf("no such engine: %q", args)
}

func engineUpload(ctx context.Context, data, repo string, log *slog.Logger) (err error) {
	st, err := storage.Open(data, storage.Options{Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	srv, err := server.New(st, noMirrors{}, server.Config{Log: log})
	if err != nil {
		return err
	}
	return srv.ServePipe(ctx, server.UploadPack, repo, os.Getenv("GIT_PROTOCOL"), os.Stdin, os.Stdout)
}

func engineReceive(ctx context.Context, data string, refs []string, log *slog.Logger) (err error) {
	st, err := storage.Open(data, storage.Options{Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	repo, err := st.Create(storage.NewRepoID(), storage.RepoInit{SCM: storage.Git, Format: object.SHA1, Head: "refs/heads/main"})
	if err != nil {
		return err
	}
	txn, err := repo.Begin(storage.Meta{Actor: "bench", Time: time.Now()})
	if err != nil {
		return err
	}
	defer txn.Discard()
	if err := txn.ReadPack(ctx, os.Stdin); err != nil {
		return err
	}
	for i := 0; i+1 < len(refs); i += 2 {
		id, err := object.ParseID(refs[i+1])
		if err != nil {
			return err
		}
		txn.Update(storage.RefUpdate{Name: refs[i], New: id})
	}
	if err := txn.Prepare(); err != nil {
		return err
	}
	_, err = st.Commit(txn)
	return err
}

// noMirrors stand for the mirrors of an engine that takes no pushes.
type noMirrors struct{}

var errNoMirrors = errors.New("the engine alone takes no pushes")

func (noMirrors) Ready() error { return errNoMirrors }
func (noMirrors) Notify()      {}
func (noMirrors) Wait(context.Context, storage.Seq) (replication.Receipt, error) {
	return replication.Receipt{}, errNoMirrors
}
func (noMirrors) NewBigPack(context.Context) *replication.BigPack { return &replication.BigPack{} }
func (noMirrors) Status() []replication.MirrorStatus              { return nil }

// ours serves a repository of a stopped host's store.
func (b *bench) ours(data, repo string) uploader {
	return func() *exec.Cmd { return exec.CommandContext(b.ctx, b.self, engineCommand, "upload-pack", data, repo) }
}

// gits serves a repository with git.
func (b *bench) gitUploader(dir string) uploader {
	return func() *exec.Cmd { return exec.CommandContext(b.ctx, "git", "upload-pack", "--strict", dir) }
}

// receive measures a new store's taking of a pack.
func (b *bench) receive(packFile, tips string) (usage, error) {
	data := b.path("received")
	defer os.RemoveAll(data)
	args := []string{engineCommand, "receive", data}
	for line := range strings.Lines(tips) {
		id, ref, _ := strings.Cut(strings.TrimSpace(line), " ")
		args = append(args, ref, id)
	}
	return b.feed(packFile, exec.CommandContext(b.ctx, b.self, args...))
}

// indexPack measures git's.
func (b *bench) indexPack(packFile string) (usage, error) {
	dir := b.path("indexed.git")
	defer os.RemoveAll(dir)
	if _, err := b.git(".", "init", "-q", "--bare", dir); err != nil {
		return usage{}, err
	}
	cmd := exec.CommandContext(b.ctx, "git", "index-pack", "--strict", "--stdin")
	cmd.Dir = dir
	return b.feed(packFile, cmd)
}

func (b *bench) feed(file string, cmd *exec.Cmd) (usage, error) {
	f, err := os.Open(file)
	if err != nil {
		return usage{}, err
	}
	defer f.Close()
	cmd.Stdin = f
	return measure(cmd, nil)
}
