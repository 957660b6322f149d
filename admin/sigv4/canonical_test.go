package sigv4

import (
	"slices"
	"testing"
)

func TestCanonicalPaths(t *testing.T) {
	for path, want := range map[string][]string{
		"/things/a":      {"/things/a"},
		"/things/a/":     {"/things/a/"},
		"/":              {"/"},
		"/things/.":      {"/things/.", "/things"},
		"/things//b/":    {"/things//b/", "/things/b/"},
		"/a/./b/../c":    {"/a/./b/../c", "/a/c"},
		"/../x":          {"/../x", "/x"},
		"/..":            {"/..", "/"},
		"/things/%2E%2E": {"/things/%2E%2E"},
	} {
		if got := canonicalPaths(path); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}
