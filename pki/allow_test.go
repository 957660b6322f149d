package pki_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"muster/agent/wire"
	"muster/pki"
)

func TestAllow(t *testing.T) {
	g := openGateway(t, nil)
	f := func(e pki.Allowed, status int, want string) {
		t.Helper()
		err := g.Allow(t.Context(), []pki.Allowed{e})
		if want == "" && err != nil {
			t.Fatal(err)
		}
		if want != "" {
			wantError(t, err, status, want)
		}
	}
	key := wire.KeyHash{1}
	f(pki.Allowed{Key: key, ThingName: "lamp-1", ThingTypeName: "lamp"}, 0, "")
	// the same again, and with another type
	f(pki.Allowed{Key: key, ThingName: "lamp-1", ThingTypeName: "lamp"}, 0, "")
	f(pki.Allowed{Key: key, ThingName: "lamp-1", ThingTypeName: "street-lamp"}, 0, "")
	// a key has one thing, a thing may have two keys
	f(pki.Allowed{Key: key, ThingName: "lamp-2"}, http.StatusConflict, "belongs to another thing")
	f(pki.Allowed{Key: wire.KeyHash{2}, ThingName: "lamp-1"}, 0, "")
	f(pki.Allowed{Key: key, ThingName: "a/b"}, http.StatusBadRequest, `has '/' at position 1`)
	f(pki.Allowed{Key: key}, http.StatusBadRequest, "1 to 128 characters")
	f(pki.Allowed{Key: key, ThingName: "a", ThingTypeName: "b c"}, http.StatusBadRequest, "thing type name")
	f(pki.Allowed{ThingName: "a"}, http.StatusBadRequest, "key hash is missing")
	got, err := g.ListAllowed(t.Context(), wire.KeyHash{}, 10)
	if err != nil || len(got) != 2 || got[0].ThingTypeName != "street-lamp" || got[0].AddedMs != g.clock.Now().UnixMilli() || got[0].UsedMs != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	// all or none
	err = g.Allow(t.Context(), []pki.Allowed{{Key: wire.KeyHash{9}, ThingName: "new"}, {Key: key, ThingName: "lamp-2"}})
	wantError(t, err, http.StatusConflict, "belongs to another thing")
	if got, err := g.ListAllowed(t.Context(), wire.KeyHash{8}, 10); err != nil || len(got) != 0 {
		t.Fatalf("half of a refused list was taken: %v, %v", got, err)
	}
	if err := g.RemoveAllowed(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if err := g.RemoveAllowed(t.Context(), key); !errors.Is(err, pki.ErrNotFound) {
		t.Fatalf("removed twice: %v", err)
	}
	f(pki.Allowed{Key: key, ThingName: "lamp-2"}, 0, "")
}

// A list that is applied at every start neither fails nor gives a used key a second time.
func TestEnsureAllowed(t *testing.T) {
	g := openGateway(t, nil)
	g.listen()
	d := g.newDevice(newKey(t))
	list := []pki.Allowed{{Key: d.hash(), ThingName: "lamp-1"}, {Key: wire.KeyHash{5}, ThingName: "lamp-2"}}
	f := func(list []pki.Allowed, want int) {
		t.Helper()
		if added, err := g.EnsureAllowed(t.Context(), list); err != nil || added != want {
			t.Fatalf("added %d, %v, want %d", added, err, want)
		}
	}
	f(list, 2)
	f(list, 0)
	d.enroll()
	f(list, 0)
	if status, _ := d.post(wire.PathESTEnroll, csr(t, d.key), d.self); status != http.StatusForbidden {
		t.Fatalf("enrolled twice: %d", status)
	}
	f([]pki.Allowed{{Key: wire.KeyHash{5}, ThingName: "lamp-2", ThingTypeName: "lamp"}}, 1)
	_, err := g.EnsureAllowed(t.Context(), []pki.Allowed{{Key: d.hash(), ThingName: "other"}})
	wantError(t, err, http.StatusConflict, "belongs to another thing")
}

func TestAllowCSV(t *testing.T) {
	g := openGateway(t, nil)
	if err := g.Allow(t.Context(), []pki.Allowed{{Key: hashOf(7), ThingName: "lamp-7"}}); err != nil {
		t.Fatal(err)
	}
	text := "\xef\xbb\xbfthingName,spkiSha256,thingTypeName\r\n" +
		"lamp-1," + hashOf(1).String() + ",lamp\r\n" +
		"lamp-2," + strings.ToUpper(hashOf(2).String()) + ",\r\n" +
		"lamp/3," + hashOf(3).String() + ",lamp\r\n" +
		"lamp-4,abc,lamp\r\n" +
		"lamp-5\r\n" +
		"lamp-6," + hashOf(1).String() + ",lamp\r\n" +
		"other," + hashOf(7).String() + ",lamp\r\n" +
		"lamp-8,\"" + hashOf(8).String() + ",lamp\" x\r\n" +
		"\r\n" +
		"lamp-7," + hashOf(7).String() + ",lamp\r\n"
	added, rows, err := g.AllowCSV(t.Context(), strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`4: thing name "lamp/3" has '/' at position 4`,
		`5: key hash "abc" is not`,
		`6: the row has 1 fields, at least 2`,
		`7: the key is in line 2, too`,
		`8: this key belongs to another thing`,
		`9: extraneous or missing " in quoted-field`,
	}
	for i, row := range rows {
		got := fmt.Sprintf("%d: %s", row.Line, row.Message)
		if i >= len(want) || !strings.HasPrefix(got, want[i]) {
			t.Fatalf("row error %d: %s", i, got)
		}
	}
	if len(rows) != len(want) || added != 3 {
		t.Fatalf("added %d, %d row errors: %v", added, len(rows), rows)
	}
	got, err := g.ListAllowed(t.Context(), wire.KeyHash{}, 100)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range got {
		names = append(names, e.ThingName+"="+e.ThingTypeName)
	}
	if !slices.Equal(names, []string{"lamp-1=lamp", "lamp-2=", "lamp-7=lamp"}) {
		t.Fatalf("%v", names)
	}
	f := func(text, want string) {
		t.Helper()
		_, _, err := g.AllowCSV(t.Context(), strings.NewReader(text))
		wantError(t, err, http.StatusBadRequest, want)
	}
	f("", "no header line")
	f("a,b\n", `unknown column "a"`)
	f("thingName\n", "lacks a column")
}

func hashOf(n byte) wire.KeyHash { return wire.KeyHash{n} }

func TestAllowCSVLimits(t *testing.T) {
	g := openGateway(t, nil)
	// 2,500 rows are three transactions; all bad rows but 100 are counted only
	var b strings.Builder
	b.WriteString("spkiSha256,thingName\n")
	for i := range 2500 {
		fmt.Fprintf(&b, "%064x,lamp-%d\n", i+1, i)
	}
	for range 200 {
		b.WriteString("x,y\n")
	}
	added, rows, err := g.AllowCSV(t.Context(), strings.NewReader(b.String()))
	if err != nil || added != 2500 || len(rows) != 100 {
		t.Fatalf("added %d, %d row errors, %v", added, len(rows), err)
	}
	_, _, err = g.AllowCSV(t.Context(), &endless{})
	wantError(t, err, http.StatusRequestEntityTooLarge, "")
}

// endless is a CSV text that never ends.
type endless struct{ started bool }

func (e *endless) Read(p []byte) (int, error) {
	if !e.started {
		e.started = true
		return copy(p, "thingName,spkiSha256\n"), nil
	}
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}
