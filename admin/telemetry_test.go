package admin_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"testing"

	"muster/admin"
	"muster/registry/account"
	"muster/tsdb"
	"muster/tsdb/intake"
	"muster/tsdb/prom"
	"muster/tsdb/vfs"
)

// nobody is a fleet without things.
type nobody struct{}

func (nobody) ThingName(tsdb.ThingID) (string, bool)                      { return "", false }
func (nobody) ThingByName(string) (tsdb.ThingID, bool)                    { return 0, false }
func (nobody) AppendLabels(dst []prom.Label, _ tsdb.ThingID) []prom.Label { return dst }

// samples hands out what a store has.
type samples struct {
	api   *prom.API
	fails error // of exports, behind their first line
}

func (s samples) RemoteRead(ctx context.Context, body []byte) (func(context.Context, io.Writer) error, int, string, string, []byte) {
	run, resp, encoding := s.api.RemoteRead(ctx, body)
	return run, resp.Status, resp.ContentType, encoding, resp.Body
}

func (s samples) Export(form url.Values) (func(context.Context, io.Writer) error, int, string, []byte) {
	run, resp := s.api.Export(form)
	if run == nil {
		return nil, resp.Status, resp.ContentType, resp.Body
	}
	return func(ctx context.Context, w io.Writer) error { return errors.Join(run(ctx, w), s.fails) }, 0, "", nil
}

func (s samples) DeleteSeries(ctx context.Context, form url.Values) (int, string, []byte) {
	resp := s.api.DeleteSeries(ctx, form)
	return resp.Status, resp.ContentType, resp.Body
}

// TestDeleteSeries: operators may delete what other programs sent, which is in the audit log; others may not.
func TestDeleteSeries(t *testing.T) {
	t.Parallel()
	store, err := tsdb.Open(tsdb.Options{Dir: "data", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	api := prom.New(store, nobody{}, prom.Options{})
	in := intake.New(intake.Options{Store: store, Things: api})
	g := openGateway(t, func(o *admin.Options) { o.Intake, o.Raw = in.Serve, &samples{api: api} }).bootstrap()
	operator, viewer := g.token(account.Operator), g.token(account.Viewer)
	const line = `{"metric":{"__name__":"up","job":"node"},"values":[1],"timestamps":[1700000000000]}` + "\n"
	g.as(operator, "POST", "/prometheus/api/v1/import", line).want(204)
	const path = "/prometheus/api/v1/admin/tsdb/delete_series?match[]=%7Bjob%3D%22node%22%7D"
	g.as(viewer, "POST", path, "").want(403)
	g.as(operator, "POST", path+"&start=1", "").want(400)
	if store.Stats().Deleted != 0 {
		t.Fatal("deleted although it was refused")
	}
	g.as(operator, "POST", path, "").want(204)
	if store.Stats().Deleted != 1 {
		t.Fatalf("%+v", store.Stats())
	}
}

// TestTelemetryOfPrograms: operators may bring telemetry, everybody may read it, and bodies are bounded by who sends them and where.
func TestTelemetryOfPrograms(t *testing.T) {
	t.Parallel()
	store, err := tsdb.Open(tsdb.Options{Dir: "data", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	api := prom.New(store, nobody{}, prom.Options{})
	in := intake.New(intake.Options{Store: store, Things: api})
	raw := &samples{api: api}
	g := openGateway(t, func(o *admin.Options) { o.Intake, o.Raw = in.Serve, raw }).bootstrap()
	operator, viewer := g.token(account.Operator), g.token(account.Viewer)

	const line = `{"metric":{"__name__":"up","job":"node"},"values":[1,0.5],"timestamps":[1700000000000,1700000015000]}` + "\n"
	g.as(operator, "POST", "/prometheus/api/v1/import", line).want(204)
	g.as(viewer, "POST", "/prometheus/api/v1/import", line).want(403)
	g.send(g.client, "POST", "/prometheus/api/v1/import", line).want(401)
	g.send(g.client, "POST", "/influx/write?precision=s", "m v=1 1700000000", "Authorization", "Token "+operator).want(204)
	g.send(g.client, "POST", "/influx/api/v2/write?bucket=b", "m bad", "Authorization", "Token "+adminToken).want(400)
	g.as(operator, "GET", "/influx/write", "").want(405)
	r := g.send(g.client, "POST", "/prometheus/api/v1/write", "\x00", "Authorization", "Bearer "+operator, "Content-Encoding", "snappy",
		"Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request").want(204)
	if r.header.Get("X-Prometheus-Remote-Write-Samples-Written") != "0" {
		t.Errorf("headers %v", r.header)
	}
	r = g.as(viewer, "GET", "/prometheus/api/v1/export?match[]=up", "").want(200)
	if r.text != line || r.header.Get("Content-Type") != "application/stream+json" {
		t.Errorf("export %q %v", r.text, r.header)
	}
	g.as(viewer, "GET", "/prometheus/api/v1/export", "").want(400)
	g.send(g.client, "GET", "/prometheus/api/v1/export?match[]=up", "").want(401)
	g.as(viewer, "POST", "/prometheus/api/v1/read", "\x00").want(200)

	// a page of a browser writes only with the header that no other site can send
	if err := g.accounts.CreateUser(ctx, "olga", "violet-tram-7-lanterns", account.Operator); err != nil {
		t.Fatal(err)
	}
	cookie := cookieOf(g.send(g.client, "POST", "/api/login", `{"username":"olga","password":"violet-tram-7-lanterns"}`).want(200))
	g.send(g.client, "POST", "/influx/write", "m v=1", "Cookie", cookie).want(403)
	g.send(g.client, "POST", "/influx/write", "m v=1", "Cookie", cookie, "X-Muster", "1").want(204)
	g.send(g.client, "POST", "/prometheus/api/v1/read", "\x00", "Cookie", cookie).want(200)

	// bodies
	f := func(want int, token, path string, size int64) {
		t.Helper()
		if r := g.sendLarge(path, size, '\n', "Authorization", "Bearer "+token); r.status != want {
			t.Errorf("%d bytes to %s: status %d, want %d: %s", size, path, r.status, want, r.text)
		}
	}
	f(204, operator, "/influx/write?db=x", 8<<20)
	f(413, operator, "/influx/write?db=x", 8<<20+1)
	f(413, viewer, "/influx/write", 1<<20+1)
	f(413, operator, "/influx/elsewhere", 1<<20+1)

	// an export that fails on the way does not look whole
	raw.fails = errors.New("the disk went away")
	req, err := http.NewRequest("GET", g.url+"/prometheus/api/v1/export?match[]=up", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+viewer)
	answer, err := g.client.Do(req)
	if err == nil {
		_, err = io.ReadAll(answer.Body)
		answer.Body.Close()
	}
	if err == nil {
		t.Error("an export that failed looks whole")
	}
}
