package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"muster/admin/audit"
	"muster/pki"
	"muster/registry"
	"muster/tsdb"
)

type thingOutput struct {
	ThingName     string            `json:"thingName"`
	ThingTypeName string            `json:"thingTypeName"`
	Attributes    map[string]string `json:"attributes"`
	Connected     bool              `json:"connected"`
	SinceMs       int64             `json:"sinceMs"`
	LastSeenMs    int64             `json:"lastSeenMs"`
	Remote        string            `json:"remote"`
	Reason        string            `json:"reason"`
	Version       int64             `json:"version"`
}

func (s *Server) thingOut(t registry.Thing) thingOutput {
	link := s.registry.Connectivity(t.ID)
	attributes := t.Attributes
	if attributes == nil {
		attributes = map[string]string{}
	}
	return thingOutput{
		ThingName: t.Name, ThingTypeName: t.TypeName, Attributes: attributes, Version: t.Version,
		Connected: link.Connected, SinceMs: link.SinceMs, LastSeenMs: link.LastSeenMs, Remote: link.Remote, Reason: link.Reason,
	}
}

const defaultPage = 100

// intArg reads a whole number from the query; fallback where it is not given.
func intArg(c *call, name string, fallback, least, most int) (int, error) {
	text := c.arg(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, invalid("%s must be a whole number from %d to %d, not %q", name, least, most, short(text))
	}
	return n, nil
}

// minRevision reads the revision that an answer must have seen, 0 for any.
func minRevision(c *call) (int64, error) {
	revision, err := intArg(c, "minRevision", 0, 0, math.MaxInt)
	return int64(revision), err
}

// thingPage is a page of things that match a query, as searchThings writes it.
type thingPage struct {
	Things     []thingOutput `json:"things"`
	Total      int           `json:"total"` // on all pages
	NextCursor string        `json:"nextCursor"`
	TookMs     float64       `json:"tookMs"`
}

func searchThings(ctx context.Context, s *Server, c *call) (*written, error) {
	begin := time.Now()
	limit, err := intArg(c, "limit", defaultPage, 1, registry.MaxPage)
	if err != nil {
		return nil, err
	}
	revision, err := minRevision(c)
	if err != nil {
		return nil, err
	}
	if err := s.registry.Reached(revision); err != nil {
		return nil, err
	}
	rows, total, next, err := s.registry.Search(ctx, registry.SearchInput{
		Text: c.arg("q"), State: c.arg("state"), TypeName: c.arg("type"), Sort: c.arg("sort"), Cursor: c.arg("cursor"), Limit: limit,
	})
	if err != nil {
		return nil, err
	}
	text := append(make([]byte, 0, 64+320*len(rows)), `{"things":[`...)
	for i := range rows {
		if i > 0 {
			text = append(text, ',')
		}
		text = appendThing(text, &rows[i])
	}
	text = strconv.AppendInt(append(text, `],"total":`...), int64(total), 10)
	text = appendText(append(text, `,"nextCursor":`...), next)
	tookMs := float64(time.Since(begin).Microseconds()) / 1000
	text = append(strconv.AppendFloat(append(text, `,"tookMs":`...), tookMs, 'f', -1, 64), '}')
	c.http.SetContentType(jsonType)
	c.http.Response.SetBodyRaw(text)
	return &written{}, nil
}

type certificateOutput struct {
	CertificateID string     `json:"certificateId"`
	Status        pki.Status `json:"status"`
	NotAfterMs    int64      `json:"notAfterMs"`
}

type thingDetail struct {
	thingOutput
	ThingID      string              `json:"thingId"`
	CreatedMs    int64               `json:"createdMs"`
	Certificates []certificateOutput `json:"certificates"`
	Alarms       []Alarm             `json:"alarms"`
}

func getThing(ctx context.Context, s *Server, c *call) (*thingDetail, error) {
	t, err := s.registry.Thing(c.labels[0])
	if err != nil {
		return nil, err
	}
	certificates, err := s.certificatesOf(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("certificates of %q: %w", t.Name, err)
	}
	return &thingDetail{s.thingOut(t), t.UUID, t.CreatedMs, certificates, s.alarms(t.Name)}, nil
}

// certificatesOf returns the certificates that were enrolled for a thing, newest first, and then others that stand for it.
func (s *Server) certificatesOf(ctx context.Context, t registry.Thing) ([]certificateOutput, error) {
	out := []certificateOutput{}
	if s.opts.Identity == nil {
		return out, nil
	}
	known, err := s.opts.Identity.Certificates(ctx, t.Name)
	if err != nil {
		return nil, err
	}
	if s.opts.Access != nil {
		for _, c := range s.opts.Access.CertsOf(t.ID) {
			id := c.ID.String()
			if slices.ContainsFunc(known, func(k pki.Certificate) bool { return k.ID == id }) {
				continue
			}
			cert, ok, err := s.opts.Identity.CertificateByID(ctx, id)
			if err != nil {
				return nil, err
			}
			if ok {
				known = append(known, cert)
			}
		}
	}
	for _, k := range known {
		out = append(out, certificateOutput{k.ID, k.Status, k.NotAfterMs})
	}
	return out, nil
}

type fieldOutput struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"`  // number, bool or string
	Value  any    `json:"value"` // NaN and the infinities, which JSON has not, as strings
	TimeMs int64  `json:"timeMs"`
}

type twinOutput struct {
	Fields []fieldOutput `json:"fields"`
}

func getTwin(_ context.Context, s *Server, c *call) (*twinOutput, error) {
	t, err := s.registry.Thing(c.labels[0])
	if err != nil {
		return nil, err
	}
	out := []fieldOutput{}
	if s.opts.Telemetry != nil {
		for _, f := range s.opts.Telemetry.Twin(nil, tsdb.ThingID(t.ID)) {
			out = append(out, fieldOut(f))
		}
	}
	return &twinOutput{out}, nil
}

func fieldOut(f tsdb.Field) fieldOutput {
	out := fieldOutput{Name: f.Name, Kind: "number", Value: f.Number, TimeMs: f.TimeMs}
	switch {
	case f.Kind == tsdb.Bool:
		out.Kind, out.Value = "bool", f.Number != 0
	case f.Kind == tsdb.String:
		out.Kind, out.Value = "string", f.Text
	case math.IsNaN(f.Number) || math.IsInf(f.Number, 0):
		out.Value = strconv.FormatFloat(f.Number, 'g', -1, 64)
	}
	return out
}

// auditPage has lines as they are on disk, each an audit.Entry, newest first.
type auditPage struct {
	Lines []json.RawMessage `json:"lines"`
}

// auditEntries is auditPage for the OpenAPI document.
type auditEntries struct {
	Lines []audit.Entry `json:"lines"`
}

func getAudit(_ context.Context, s *Server, c *call) (*auditPage, error) {
	limit, err := intArg(c, "limit", defaultPage, 1, 10_000)
	if err != nil {
		return nil, err
	}
	lines, err := s.audit.Newest(limit)
	return &auditPage{lines}, err
}
