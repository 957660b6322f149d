// Package ui holds the built web UI.
//
// The bundle is committed, so a Go tool chain alone builds the server. Every file is there twice, as name.br (brotli) and
// name.gz (gzip); index.html is there as itself too. Names under assets/ carry a hash of their content and never change
// their bytes. The source is in src/; `npm ci && npm run build` in this folder makes dist/ again, byte for byte.
package ui

import (
	"embed"
	"io/fs"
)

//go:embed dist
var bundle embed.FS

// FS returns the bundle with index.html at its root. It is read-only and safe for concurrent use.
func FS() fs.FS {
	dist, err := fs.Sub(bundle, "dist")
	if err != nil {
		panic("BUG: the embedded folder has another name: " + err.Error())
	}
	return dist
}
