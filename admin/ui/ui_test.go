package ui_test

import (
	"compress/gzip"
	"io"
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"muster/admin/ui"
)

// The page names only files that the bundle holds, each in both encodings.
func TestBundleIsComplete(t *testing.T) {
	bundle := ui.FS()
	page, err := fs.ReadFile(bundle, "index.html")
	if err != nil {
		t.Fatal(err)
	}
	refs := regexp.MustCompile(`(?:src|href)="/([^"]+)"`).FindAllSubmatch(page, -1)
	if len(refs) < 3 {
		t.Fatalf("index.html names %d files, want a script, a style sheet and an icon at least", len(refs))
	}
	for _, ref := range refs {
		for _, suffix := range []string{".br", ".gz"} {
			if _, err := fs.Stat(bundle, string(ref[1])+suffix); err != nil {
				t.Errorf("index.html names %s: %v", ref[1], err)
			}
		}
	}
}

// Nothing but compressed files and the page itself is embedded, and every .gz has its .br and opens.
func TestBundleIsCompressed(t *testing.T) {
	bundle := ui.FS()
	count := 0
	err := fs.WalkDir(bundle, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		plain, isGzip := strings.CutSuffix(path, ".gz")
		if !isGzip {
			if path != "index.html" && !strings.HasSuffix(path, ".br") {
				t.Errorf("%s is embedded uncompressed", path)
			}
			return nil
		}
		count++
		if _, err := fs.Stat(bundle, plain+".br"); err != nil {
			t.Error(err)
		}
		file, err := bundle.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		reader, err := gzip.NewReader(file)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return nil
		}
		if size, err := io.Copy(io.Discard, reader); err != nil || size == 0 {
			t.Errorf("%s: %d bytes, %v", path, size, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if count < 5 {
		t.Errorf("the bundle has %d files: it was not built", count)
	}
}
