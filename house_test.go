package main

import (
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var distDir = flag.String("dist", "", "folder of released binaries whose size TestSize checks")

// goPackage is what this test needs of `go list -json`.
type goPackage struct {
	ImportPath string
	Standard   bool
	Imports    []string
	CgoFiles   []string
}

func goList(t *testing.T, env string, args ...string) []goPackage {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Standard,Imports,CgoFiles"}, args...)...)
	cmd.Env = append(os.Environ(), env)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	var all []goPackage
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// within says whether path is root or below it.
func within(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

// TestImportTable is the table of docs/ARCHITECTURE.md: who may import whom, of muster.
func TestImportTable(t *testing.T) {
	type rule struct {
		root             string   // the first that holds a package decides
		allowed, refused []string // besides the root itself
	}
	table := []rule{
		{root: "agent/wire"},
		{root: "agent", allowed: []string{"agent/wire"}},
		{root: "tsdb"},
		{root: "pki", allowed: []string{"agent/wire"}},
		{root: "registry/store", allowed: []string{"registry", "pki", "agent/wire"}},
		{root: "registry", allowed: []string{"agent/wire"}, refused: []string{"registry/store"}},
		{root: "ingest", allowed: []string{"tsdb", "agent/wire"}},
		{root: "admin", allowed: []string{"registry", "pki", "tsdb", "agent/wire"}, refused: []string{"registry/store"}},
		{root: "bench", allowed: []string{"agent"}},
	}
	for _, p := range goList(t, "CGO_ENABLED=0", "./...") {
		path := strings.TrimPrefix(p.ImportPath, "muster/")
		if path == "muster" {
			continue
		}
		row := slices.IndexFunc(table, func(r rule) bool { return within(path, r.root) })
		if row < 0 {
			t.Errorf("package %s has no row in the table", path)
			continue
		}
		for _, imported := range p.Imports {
			imported, ours := strings.CutPrefix(imported, "muster/")
			if !ours {
				continue
			}
			inside := func(root string) bool { return within(imported, root) }
			allowed := inside(table[row].root) || slices.ContainsFunc(table[row].allowed, inside)
			if !allowed || slices.ContainsFunc(table[row].refused, inside) {
				t.Errorf("%s imports %s", path, imported)
			}
		}
	}
}

// TestOwners: a heavy library has one owner.
func TestOwners(t *testing.T) {
	owners := map[string]string{
		"github.com/mochi-mqtt/server":               "nobody", // but tests
		"github.com/prometheus/prometheus":           "tsdb/prom",
		"github.com/valyala/fasthttp":                "admin",
		"github.com/aws/aws-sdk-go-v2":               "admin",
		"github.com/smallstep/pkcs7":                 "pki",
		"github.com/VictoriaMetrics/VictoriaMetrics": "tsdb",
		"database/sql":                               "registry/store",
		"modernc.org/sqlite":                         "registry/store",
	}
	for _, p := range goList(t, "CGO_ENABLED=0", "./...") {
		for _, imported := range p.Imports {
			for library, owner := range owners {
				if within(imported, library) && !within(strings.TrimPrefix(p.ImportPath, "muster/"), owner) {
					t.Errorf("%s imports %s, which belongs to %s", p.ImportPath, imported, owner)
				}
			}
		}
	}
}

// TestNoCgo: a static build holds no C, and everything is there without it.
func TestNoCgo(t *testing.T) {
	packages := goList(t, "CGO_ENABLED=0", "-deps", ".", "./agent/muster-agent")
	if len(packages) < 100 {
		t.Fatalf("go list gave %d packages", len(packages))
	}
	for _, p := range packages {
		if len(p.CgoFiles) > 0 || p.ImportPath == "runtime/cgo" {
			t.Errorf("%s has a C part", p.ImportPath)
		}
	}
}

// TestSize checks the released binaries against their budgets: 40 MB for the server, 8 MB for the agent.
func TestSize(t *testing.T) {
	if *distDir == "" {
		t.Skip("runs with -args -dist FOLDER after make cross")
	}
	for pattern, limit := range map[string]int64{"muster-linux-*": 40e6, "muster-agent-linux-*": 8e6} {
		names, err := filepath.Glob(filepath.Join(*distDir, pattern))
		if err != nil || len(names) != 3 {
			t.Fatalf("%s: %v, %v; want three platforms", pattern, names, err)
		}
		for _, name := range names {
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s: %.1f MB", name, float64(info.Size())/1e6)
			if info.Size() > limit {
				t.Errorf("%s has %d bytes, the budget is %d", name, info.Size(), limit)
			}
		}
	}
}
