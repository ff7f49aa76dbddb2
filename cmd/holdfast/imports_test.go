package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// TestImports holds the direction of imports: cmd → server → replication → storage, and server → auth. What a package
// must stay ignorant of counts for direct imports; what it must never carry along counts for all.
func TestImports(t *testing.T) {
	imports, deps := goList(t)
	const module = "holdfast/"
	for name, direct := range imports {
		area, _, _ := strings.Cut(name, "/")
		for _, imported := range direct {
			if !mayImport(name, area, strings.TrimPrefix(imported, module), strings.HasPrefix(imported, module)) {
				t.Errorf("%s must not import %s", name, imported)
			}
		}
	}
	for name, forbidden := range map[string][]string{
		"storage":     {"net/http", "github.com/minio/", "filippo.io/age"},
		"auth":        {"net/http", "go.etcd.io/bbolt", "github.com/minio/", "filippo.io/age"},
		"replication": {"github.com/minio/"},
	} {
		if deps[name] == nil {
			t.Errorf("no package %s", name)
		}
		for _, dep := range deps[name] {
			for _, f := range forbidden {
				if strings.HasPrefix(dep, f) {
					t.Errorf("%s depends on %s, through one of its imports", name, dep)
				}
			}
		}
	}
}

// mayImport decides for one import; name and imported are without the module's path if ours is set.
func mayImport(name, area, imported string, ours bool) bool {
	to, _, _ := strings.Cut(imported, "/")
	if !ours {
		switch {
		case strings.HasPrefix(imported, "github.com/minio/"):
			return name == "replication/s3"
		case imported == "go.etcd.io/bbolt":
			return area == "storage"
		}
		return true
	}
	switch {
	case name == "server/gitproto", name == "server/archive":
		return imported == "storage/object"
	case name == "storage/object", name == "storage/sparse":
		return false
	case name == "storage/pack":
		return imported == "storage/object"
	case name == "storage/graph":
		return imported == "storage/object" || imported == "storage/pack"
	case name == "storage/svn":
		return false
	case strings.HasPrefix(name, "storage/svn/"):
		return imported == "storage/svn" || strings.HasPrefix(imported, "storage/svn/")
	case name == "storage":
		return to == "storage" && !strings.HasPrefix(imported, "storage/svn")
	case name == "server/svnrepos":
		return to == "storage" || imported == "auth/svnrules"
	case name == "server/svnproto":
		return to == "storage" || imported == "server/svnrepos"
	case area == "auth":
		return to == "auth"
	case area == "storage":
		return to == "storage"
	case area == "replication":
		return to == "replication" || to == "storage"
	case area == "server":
		return to != "cmd"
	}
	return true
}

// goList returns, by package of this module, the direct imports and all dependencies of what is built, not of tests.
func goList(t *testing.T) (imports, deps map[string][]string) {
	t.Helper()
	out, err := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,Deps", "holdfast/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	imports, deps = make(map[string][]string), make(map[string][]string)
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath    string
			Imports, Deps []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return imports, deps
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, "holdfast/")
		imports[name], deps[name] = p.Imports, append([]string{}, p.Deps...)
	}
}
