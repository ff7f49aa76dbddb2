package storage_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"holdfast/storage/object"
)

func TestCheckFindsDamage(t *testing.T) {
	for _, test := range []struct {
		name string
		harm func(t *testing.T, dir, pack, db string)
	}{
		{"a bit of a pack", func(t *testing.T, _, pack, _ string) { flip(t, pack, 40) }},
		{"a pack's trailer", func(t *testing.T, _, pack, _ string) {
			info, _ := os.Stat(pack)
			flip(t, pack, info.Size()-3)
		}},
		{"a pack cut short", func(t *testing.T, _, pack, _ string) { truncate(t, pack, 60) }},
		{"a lost pack", func(t *testing.T, _, pack, _ string) { remove(t, pack) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, noSync())
			repo, tip := tinyRepo(t, s)
			data, next := tiny(t, "second", tip)
			e := push(t, repo, data, update("refs/heads/main", tip, next))
			must(t, s.Fill(repo.ID()))
			mustCheck(t, s)
			test.harm(t, dir, s.PackPath(repo.ID(), e.Packs[0].ID), s.IndexPath(repo.ID()))
			report, err := s.Check(t.Context(), nil)
			if err != nil || len(report.Problems) == 0 {
				t.Errorf("check: %+v, %v", report, err)
			}
		})
	}
	t.Run("a stray file", func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, dir, noSync())
		repo, _ := tinyRepo(t, s)
		stray := filepath.Join(filepath.Dir(s.IndexPath(repo.ID())), "packs", "junk")
		overwrite(t, stray, nil)
		if report, err := s.Check(t.Context(), nil); err != nil || len(report.Problems) != 1 {
			t.Errorf("check: %+v, %v", report, err)
		}
		s.Close()
		s = open(t, dir, noSync())
		mustCheck(t, s)
	})
}

// TestCheckFindsTampering changes host.db behind the store's back.
func TestCheckFindsTampering(t *testing.T) {
	for _, test := range []struct {
		name   string
		tamper func(tx *bbolt.Tx, repo []byte) error
	}{
		{"a ref", func(tx *bbolt.Tx, repo []byte) error {
			refs := tx.Bucket([]byte("refs"))
			return refs.Put(append(repo, "refs/heads/main"...), refs.Get(append(repo, "refs/heads/old"...)))
		}},
		{"a lost ref", func(tx *bbolt.Tx, repo []byte) error {
			return tx.Bucket([]byte("refs")).Delete(append(repo, "refs/heads/old"...))
		}},
		{"a ref more", func(tx *bbolt.Tx, repo []byte) error {
			refs := tx.Bucket([]byte("refs"))
			return refs.Put(append(repo, "refs/heads/more"...), refs.Get(append(repo, "refs/heads/old"...)))
		}},
		{"HEAD", func(tx *bbolt.Tx, repo []byte) error {
			return tx.Bucket([]byte("refs")).Put(append(repo, "HEAD"...), []byte("\x03refs/heads/evil"))
		}},
		{"an entry's actor", func(tx *bbolt.Tx, _ []byte) error {
			journal := tx.Bucket([]byte("journal"))
			key := []byte{0, 0, 0, 0, 0, 0, 0, 2}
			return journal.Put(key, bytes.Replace(journal.Get(key), []byte("alice"), []byte("mallo"), 1))
		}},
		{"a garbled entry", func(tx *bbolt.Tx, _ []byte) error {
			return tx.Bucket([]byte("journal")).Put([]byte{0, 0, 0, 0, 0, 0, 0, 2}, []byte("{}x"))
		}},
		{"a lost entry", func(tx *bbolt.Tx, _ []byte) error {
			return tx.Bucket([]byte("journal")).Delete([]byte{0, 0, 0, 0, 0, 0, 0, 2})
		}},
		{"a lost repository", func(tx *bbolt.Tx, repo []byte) error { return tx.Bucket([]byte("repos")).Delete(repo) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, noSync())
			repo, tip := tinyRepo(t, s)
			push(t, repo, nil, update("refs/heads/old", object.ID{}, tip))
			data, next := tiny(t, "second", tip)
			push(t, repo, data, update("refs/heads/main", tip, next))
			mustCheck(t, s)
			s.Close()
			raw, err := hex.DecodeString(string(repo.ID()))
			must(t, err)
			db, err := bbolt.Open(filepath.Join(dir, "host.db"), 0, nil)
			must(t, err)
			must(t, db.Update(func(tx *bbolt.Tx) error { return test.tamper(tx, raw[:16:16]) }))
			must(t, db.Close())
			s = open(t, dir, noSync())
			report, err := s.Check(t.Context(), nil)
			if err != nil || len(report.Problems) == 0 {
				t.Errorf("check: %+v, %v", report, err)
			}
			for _, p := range report.Problems {
				t.Log(p)
			}
		})
	}
}
