package admin

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"path"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"
)

// static serves the built UI from memory. The build makes name.br and name.gz of every file; nothing is compressed here.
type static struct{ files map[string]*file }

type file struct {
	contentType string
	etag        string
	immutable   bool // its name carries a hash of its contents
	plain       []byte
	gzip        []byte
	brotli      []byte
}

const (
	indexName  = "index.html"
	assetsPath = "assets/" // names below it carry a hash
)

func openStatic(files fs.FS) (*static, error) {
	s := &static{map[string]*file{}}
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		base := strings.TrimSuffix(strings.TrimSuffix(name, ".br"), ".gz")
		f := s.files[base]
		if f == nil {
			f = &file{contentType: contentTypeOf(base), immutable: strings.HasPrefix(base, assetsPath)}
			s.files[base] = f
		}
		switch path.Ext(name) {
		case ".br":
			f.brotli = text
		case ".gz":
			f.gzip = text
		default:
			f.plain = text
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if s.files[indexName] == nil {
		return nil, errors.New("there is no " + indexName)
	}
	for _, f := range s.files {
		sum := sha256.New()
		for _, text := range [][]byte{f.plain, f.gzip, f.brotli} {
			sum.Write(text)
		}
		f.etag = base64.RawURLEncoding.EncodeToString(sum.Sum(nil)[:12])
	}
	return s, nil
}

// contentTypeOf is a fixed list: what the machine's mime table says must not change what browsers get.
func contentTypeOf(name string) string {
	switch ext := path.Ext(name); ext {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js", ".mjs":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".json", ".webmanifest", ".map":
		return jsonType
	case ".woff2":
		return "font/woff2"
	case ".png":
		return "image/png"
	case ".ico":
		return "image/x-icon"
	case ".txt":
		return "text/plain; charset=utf-8"
	default:
		if t := mime.TypeByExtension(ext); t != "" {
			return t
		}
		return "application/octet-stream"
	}
}

// isFile says whether a path is for the UI: all but what the other doors of this server have.
func (s *Server) isFile(segments []string) bool {
	switch segments[0] {
	case "api", "iot", "prometheus", "influx", ".well-known", "pki", "metrics", "healthz", "readyz", "mqtt":
		return false
	}
	return true
}

// serveFile answers a file of the UI. A path without an extension is one of the UI's own addresses, as is that of a policy, whose name may look like
// a file's: it gets index.html, whose script reads the address.
func (s *Server) serveFile(c *call, segments []string) {
	if !c.http.IsGet() && !c.http.IsHead() {
		s.fail(c, &apiError{status: fasthttp.StatusMethodNotAllowed, kind: "method", message: fmt.Sprintf("%s is not a method of the UI's files", c.http.Method())})
		return
	}
	if s.static == nil {
		s.fail(c, notFound("this muster was built without its UI"))
		return
	}
	name := strings.Join(segments, "/")
	f := s.static.files[name]
	if f == nil && (path.Ext(name) == "" || len(segments) == 2 && segments[0] == "policies") {
		f = s.static.files[indexName]
	}
	if f == nil {
		s.fail(c, notFound("there is no such file"))
		return
	}
	s.static.write(c, f)
}

func (s *static) write(c *call, f *file) {
	h := &c.http.Response.Header
	h.Set("Vary", "Accept-Encoding")
	h.Set("Cache-Control", "no-cache")
	if f.immutable {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	text, encoding := f.choose(string(c.http.Request.Header.Peek("Accept-Encoding")))
	etag := `"` + f.etag + "-" + encoding + `"`
	h.Set("ETag", etag)
	if strings.Contains(string(c.http.Request.Header.Peek("If-None-Match")), etag) {
		c.http.SetStatusCode(fasthttp.StatusNotModified)
		return
	}
	if encoding != "" {
		h.Set("Content-Encoding", encoding)
	}
	c.http.SetContentType(f.contentType)
	c.http.Response.SetBodyRaw(text)
}

// choose returns the smallest form that the client takes. Every HTTP client of the last twenty years takes gzip; for
// the rest it is unpacked.
func (f *file) choose(accept string) (text []byte, encoding string) {
	switch {
	case f.brotli != nil && accepts(accept, "br"):
		return f.brotli, "br"
	case f.gzip != nil && accepts(accept, "gzip"):
		return f.gzip, "gzip"
	case f.plain != nil:
		return f.plain, ""
	}
	r, err := gzip.NewReader(bytes.NewReader(f.gzip))
	if err == nil {
		if text, err = io.ReadAll(r); err == nil {
			return text, ""
		}
	}
	return f.gzip, "gzip"
}

// accepts says whether an Accept-Encoding header takes an encoding (RFC 9110 section 12.5.3).
func accepts(header, encoding string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(part), ";")
		if name = strings.TrimSpace(name); !strings.EqualFold(name, encoding) {
			continue
		}
		q, ok := strings.CutPrefix(strings.TrimSpace(weight), "q=")
		if !ok {
			return true
		}
		value, err := strconv.ParseFloat(q, 64)
		return err == nil && value > 0
	}
	return false
}
