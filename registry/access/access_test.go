package access_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster/registry"
	"muster/registry/access"
	"muster/registry/policy"
	"muster/registry/store"
)

// clock is the machine's; the registry waits in real time.
type clock struct{}

func (clock) Now() time.Time                         { return time.Now() }
func (clock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// fixture is a book over a real database and a real registry.
type fixture struct {
	*access.Book
	t       *testing.T
	things  *registry.Registry
	file    string
	close   func()
	passed  atomic.Int64 // ns that the policies' clock is ahead
	mu      sync.Mutex   // guards changed
	changed []uint32
}

func open(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, file: filepath.Join(t.TempDir(), "registry.db")}
	f.reopen()
	t.Cleanup(func() { f.close() })
	return f
}

// reopen opens everything as a new process would.
func (f *fixture) reopen() {
	f.t.Helper()
	if f.close != nil {
		f.close()
	}
	db, err := store.Open(f.t.Context(), f.file)
	f.must(err)
	f.things, err = registry.Open(f.t.Context(), registry.Options{Store: db, Clock: clock{}, AccountID: "123456789012"})
	f.must(err)
	f.Book, err = access.Open(f.t.Context(), access.Options{
		Store: db.Access(), Things: f.things, Groups: f.things, Now: f.now, Default: policy.DefaultDocument, Region: "local", AccountID: "123456789012",
		Telemetry: func(topic, thing string) bool { return topic == "plant/"+thing },
		Changed: func(thing uint32) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.changed = append(f.changed, thing)
		},
	})
	f.must(err)
	f.things.OnMembership(func(c registry.MembershipChange) { f.MembershipChanged(c.Thing) })
	f.things.OnChange(func(c registry.Change) { f.ThingChanged(c.Thing.ID) })
	f.things.OnGroup(func(c registry.GroupChange) {
		if c.Op == registry.Moved {
			f.GroupMoved()
		}
	})
	f.close = func() {
		f.things.Close()
		db.Close()
	}
}

func (f *fixture) now() time.Time { return time.Now().Add(time.Duration(f.passed.Load())) }

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// refused fails unless err is a refusal of that kind.
func (f *fixture) refused(err error, kind access.Kind) {
	f.t.Helper()
	var e *access.Error
	if !errors.As(err, &e) || e.Kind != kind {
		f.t.Fatalf("got %v, want %s", err, kind)
	}
}

func (f *fixture) thing(name string) uint32 {
	f.t.Helper()
	made, err := f.things.CreateThing(f.t.Context(), registry.ThingInput{Name: name})
	f.must(err)
	return made.ID
}

func (f *fixture) group(name, parent string) access.Target {
	f.t.Helper()
	made, err := f.things.CreateGroup(f.t.Context(), registry.GroupInput{Name: name, Parent: parent})
	f.must(err)
	return access.Target{Group: made.ID}
}

func doc(statements ...string) string {
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
}

func allow(topic string) string {
	return fmt.Sprintf(`{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/%s"}`, topic)
}

func deny(topic string) string { return strings.Replace(allow(topic), "Allow", "Deny", 1) }

func TestDocuments(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	_, err := f.CreatePolicy(ctx, "p", doc(allow("1")))
	f.must(err)
	_, err = f.CreatePolicy(ctx, "p", doc(allow("1")))
	f.refused(err, access.Exists)
	_, err = f.CreatePolicy(ctx, "a b", doc(allow("1")))
	f.refused(err, access.Invalid)
	_, err = f.CreatePolicy(ctx, strings.Repeat("x", 129), doc(allow("1")))
	f.refused(err, access.Invalid)
	_, err = f.CreatePolicy(ctx, access.DefaultName, doc(allow("1")))
	f.refused(err, access.Invalid)
	_, err = f.CreatePolicy(ctx, "bad", `{}`)
	f.refused(err, access.Malformed)
	_, err = f.CreatePolicy(ctx, "long", doc(allow(strings.Repeat("x", 2048))))
	f.refused(err, access.Malformed)
	_, err = f.Policy("none", 0)
	f.refused(err, access.NotFound)
	_, err = f.Policy("p", 7)
	f.refused(err, access.NotFound)

	// five versions, whose numbers are never given again
	for i := 2; i <= 5; i++ {
		v, err := f.CreatePolicyVersion(ctx, "p", doc(allow(fmt.Sprint(i))), i == 3)
		f.must(err)
		inForce := 1
		if i >= 3 {
			inForce = 3
		}
		if v.Version != i || v.Default != inForce {
			t.Fatalf("%+v", v)
		}
	}
	_, err = f.CreatePolicyVersion(ctx, "p", doc(allow("6")), false)
	f.refused(err, access.Versions)
	f.refused(f.DeletePolicyVersion(ctx, "p", 3), access.Conflict)
	f.must(f.DeletePolicyVersion(ctx, "p", 5))
	f.refused(f.DeletePolicyVersion(ctx, "p", 5), access.NotFound)
	f.refused(f.SetDefaultPolicyVersion(ctx, "p", 5), access.NotFound)
	f.must(f.SetDefaultPolicyVersion(ctx, "p", 2))
	f.refused(f.DeletePolicy(ctx, "p"), access.Conflict)

	f.reopen()
	v, err := f.CreatePolicyVersion(ctx, "p", doc(allow("6")), false)
	f.must(err)
	got, err := f.Policy("p", 0)
	f.must(err)
	if v.Version != 6 || got.Version != 2 || got.Document != doc(allow("2")) {
		t.Fatalf("after a restart: %+v, %+v", v, got)
	}
	versions, err := f.PolicyVersions("p")
	f.must(err)
	var ids []int
	for _, v := range versions {
		ids = append(ids, v.Version)
	}
	if !slices.Equal(ids, []int{6, 4, 3, 2, 1}) {
		t.Fatalf("versions %v", ids)
	}
	for _, id := range []int{1, 3, 4, 6} {
		f.must(f.DeletePolicyVersion(ctx, "p", id))
	}
	f.must(f.DeletePolicy(ctx, "p"))
	f.refused(f.DeletePolicy(ctx, "p"), access.NotFound)
}

func TestPages(t *testing.T) {
	f := open(t)
	var want []string
	for i := range 7 {
		name := fmt.Sprint("p", i)
		_, err := f.CreatePolicy(t.Context(), name, doc(allow("x")))
		f.must(err)
		want = append(want, name)
	}
	for _, ascending := range []bool{true, false} {
		var got []string
		for after := ""; ; {
			names, next, err := f.ListPolicies(after, 3, ascending)
			f.must(err)
			if got = append(got, names...); next == "" {
				break
			}
			after = next
		}
		if !ascending {
			slices.Reverse(got)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("ascending %v: %v", ascending, got)
		}
	}
	_, _, err := f.ListPolicies("nonsense", 3, true)
	f.refused(err, access.Invalid)
}

// TestInheritance: the policies of a certificate and of all groups above a thing hold together; a certificate without any has the
// default.
func TestInheritance(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	thing := f.thing("lamp-1")
	cert := access.CertID{1}
	for _, p := range []struct{ name, text string }{
		{"own", doc(allow("own"))}, {"city", doc(allow("city"))}, {"street", doc(allow("street"), deny("city"))}, {"other", doc(allow("other"))},
	} {
		_, err := f.CreatePolicy(ctx, p.name, p.text)
		f.must(err)
	}
	city, other := f.group("city", ""), f.group("other", "")
	street := f.group("street", "city")
	rights := f.Rights(access.Subject{Thing: thing, ClientID: "lamp-1", Cert: cert, Remote: netip.MustParseAddr("10.0.0.1")})
	is := func(want string) {
		t.Helper()
		var got []string
		for _, topic := range []string{"dt/lamp-1", "plant/lamp-1", "own", "city", "street", "other"} {
			if rights.Publish(topic) {
				got = append(got, topic)
			}
		}
		if strings.Join(got, " ") != want {
			t.Fatalf("may publish %v, want %s", got, want)
		}
	}
	is("dt/lamp-1 plant/lamp-1")
	f.must(f.Attach(ctx, "city", city))
	is("dt/lamp-1 plant/lamp-1") // not a member
	f.must(f.things.AddToGroup(ctx, "street", "lamp-1"))
	is("dt/lamp-1 plant/lamp-1 city")
	f.must(f.Attach(ctx, "own", access.Target{Cert: cert}))
	is("own city")
	f.must(f.Attach(ctx, "street", street))
	is("own street") // a deny anywhere wins
	f.must(f.Attach(ctx, "other", other))
	is("own street")
	if _, err := f.things.MoveGroup(ctx, "street", "other", 0); err != nil {
		t.Fatal(err)
	}
	is("own street other")
	f.reopen()
	rights = f.Rights(access.Subject{Thing: thing, ClientID: "lamp-1", Cert: cert})
	is("own street other")
	f.must(f.things.RemoveFromGroup(ctx, "street", "lamp-1"))
	is("own")
	f.must(f.Detach(ctx, "own", access.Target{Cert: cert}))
	is("dt/lamp-1 plant/lamp-1")

	// a group that is deleted and made anew has nothing
	f.must(f.things.DeleteGroup(ctx, "street", 0, false))
	again := f.group("street", "")
	f.must(f.things.AddToGroup(ctx, "street", "lamp-1"))
	is("dt/lamp-1 plant/lamp-1")
	if names := f.AttachedTo(again, true); len(names) > 0 {
		t.Fatalf("the new group has %v", names)
	}
	// what the old one left is found at the next start
	f.reopen()
	if things, groups := f.Orphans(); len(things) != 0 || !slices.Equal(groups, []uint32{street.Group}) {
		t.Fatalf("orphans %v %v", things, groups)
	}
	f.must(f.ForgetGroup(ctx, street.Group))
	f.refused(f.DeletePolicy(ctx, "city"), access.Conflict)
	f.must(f.DeletePolicy(ctx, "street"))
}

func TestAttachments(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	city := f.group("city", "")
	street := f.group("street", "city")
	cert := access.Target{Cert: access.CertID{1}}
	for i := range 11 {
		_, err := f.CreatePolicy(ctx, fmt.Sprintf("p%02d", i), doc(allow("x")))
		f.must(err)
		if i < 10 {
			f.must(f.Attach(ctx, fmt.Sprintf("p%02d", i), cert))
		}
	}
	f.must(f.Attach(ctx, "p00", cert)) // again
	f.refused(f.Attach(ctx, "p10", cert), access.Limit)
	f.refused(f.Attach(ctx, "none", cert), access.NotFound)
	f.refused(f.Detach(ctx, "none", cert), access.NotFound)
	f.must(f.Detach(ctx, "p10", cert)) // not attached: no error
	f.must(f.Attach(ctx, "p10", city))
	f.must(f.Attach(ctx, "p00", street))
	if got := f.AttachedTo(street, false); !slices.Equal(got, []string{"p00"}) {
		t.Fatal(got)
	}
	if got := f.AttachedTo(street, true); !slices.Equal(got, []string{"p00", "p10"}) {
		t.Fatal(got)
	}
	arns, _, err := f.ListTargets("p00", "", 10, false, true)
	f.must(err)
	want := []string{f.CertificateARN(cert.Cert.String()), "arn:aws:iot:local:123456789012:thinggroup/street"}
	if !slices.Equal(arns, want) {
		t.Fatal(arns)
	}
	for _, arn := range want {
		target, err := f.Target(arn)
		f.must(err)
		if back := f.TargetARN(target); back != arn {
			t.Fatalf("%s became %s", arn, back)
		}
	}
	for arn, kind := range map[string]access.Kind{"": access.Invalid, "arn:aws:iot:local:1:cert/ab": access.Invalid, "arn:aws:iot:local:1:thing/lamp-1": access.Invalid,
		"arn:aws:iot:local:1:thinggroup/none": access.NotFound, "arn:aws:s3:local:1:cert/" + strings.Repeat("0", 64): access.Invalid} {
		_, err := f.Target(arn)
		f.refused(err, kind)
	}
}

func TestPrincipals(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	one, two := f.thing("one"), f.thing("two")
	cert := access.CertID{7}
	who := func(clientID string, want uint32, wantAttached bool) {
		t.Helper()
		got, attached, err := f.Resolve(cert, clientID)
		f.must(err)
		if got != want || attached != wantAttached {
			t.Fatalf("as %q: thing %d, attached %v", clientID, got, attached)
		}
	}
	who("one", 0, false)
	f.must(f.AttachThing(ctx, one, cert, true))
	who("anything", one, true)
	f.refused(f.AttachThing(ctx, two, cert, false), access.Invalid)
	f.must(f.AttachThing(ctx, one, cert, false))
	f.must(f.AttachThing(ctx, two, cert, false))
	f.refused(f.AttachThing(ctx, two, cert, true), access.Invalid)
	who("two", two, true)
	_, _, err := f.Resolve(cert, "three")
	f.refused(err, access.Invalid)
	rights := f.Rights(access.Subject{Thing: two, ClientID: "two", Cert: cert, Attached: true})
	if !rights.Publish("dt/two") {
		t.Fatal("two may not publish")
	}
	f.reopen()
	who("one", one, true)
	// deleted and made anew: another thing
	rights = f.Rights(access.Subject{Thing: two, ClientID: "two", Cert: cert, Attached: true})
	f.must(f.things.DeleteThing(ctx, "two", 0))
	anew := f.thing("two")
	who("two", one, true) // the only one left
	if rights.Publish("dt/two") || rights.Connect("two") {
		t.Fatal("rights of a deleted thing")
	}
	if certs := f.CertsOf(anew); len(certs) != 0 {
		t.Fatal(certs)
	}
	rights = f.Rights(access.Subject{Thing: one, ClientID: "one", Cert: cert, Attached: true})
	if was, err := f.DetachThing(ctx, one, cert); err != nil || !was || rights.Publish("dt/one") || rights.Connect("one") {
		t.Fatalf("rights after the certificate was detached: %v, %v", was, err)
	}
	if was, err := f.DetachThing(ctx, one, cert); err != nil || was {
		t.Fatal(was, err)
	}
	f.reopen()
	if things, _ := f.Orphans(); !slices.Equal(things, []uint32{two}) {
		t.Fatalf("orphans %v", things)
	}
	f.must(f.ForgetThing(ctx, two))
	if things, _ := f.Orphans(); len(things) != 0 {
		t.Fatalf("orphans %v", things)
	}
}

func TestEffectiveAndTest(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	thing := f.thing("lamp-1")
	city := f.group("city", "")
	cert := access.CertID{1}
	f.must(f.AttachThing(ctx, thing, cert, true))
	for name, text := range map[string]string{"own": doc(allow("${iot:ClientId}/*")), "quiet": doc(deny("lamp-1/loud")), "extra": doc(allow("extra"), `{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/${iot:Certificate.Subject.Country}"}`)} {
		_, err := f.CreatePolicy(ctx, name, text)
		f.must(err)
	}
	names := func(list []access.Effective) (out []string) {
		for _, p := range list {
			out = append(out, p.Name)
		}
		return out
	}
	if got := names(f.EffectivePolicies(access.Target{Cert: cert}, thing)); !slices.Equal(got, []string{access.DefaultName}) {
		t.Fatal(got)
	}
	f.must(f.Attach(ctx, "own", access.Target{Cert: cert}))
	f.must(f.Attach(ctx, "quiet", city))
	f.must(f.things.AddToGroup(ctx, "city", "lamp-1"))
	if got := names(f.EffectivePolicies(access.Target{Cert: cert}, thing)); !slices.Equal(got, []string{"own", "quiet"}) {
		t.Fatal(got)
	}
	ask := func(q access.Question, topics ...string) string {
		t.Helper()
		q.Target, q.ClientID = access.Target{Cert: cert}, "lamp-1"
		for i := range topics {
			topics[i] = "arn:aws:iot:local:1:topic/" + topics[i]
		}
		o, err := f.TestAuthorization(ctx, q, []access.Request{{Action: policy.Publish, Resources: topics}})
		f.must(err)
		return fmt.Sprintf("%s +%v -%v ?%v !%v", o[0].Decision, o[0].Allowed, o[0].Explicit, o[0].Implicit, o[0].Missing)
	}
	is := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	is(ask(access.Question{}, "lamp-1/x"), "ALLOWED +[own] -[] ?[] ![]")
	is(ask(access.Question{}, "lamp-1/loud"), "EXPLICIT_DENY +[own] -[quiet] ?[] ![]")
	is(ask(access.Question{}, "elsewhere"), "IMPLICIT_DENY +[] -[] ?[own quiet] ![]")
	is(ask(access.Question{}, "lamp-1/x", "elsewhere"), "IMPLICIT_DENY +[own] -[] ?[quiet] ![]")
	is(ask(access.Question{}, "lamp-1/loud", "lamp-1/x"), "EXPLICIT_DENY +[own] -[quiet] ?[] ![]")
	is(ask(access.Question{Skip: []string{"quiet"}}, "lamp-1/loud"), "ALLOWED +[own] -[] ?[] ![]")
	is(ask(access.Question{Add: []string{"extra"}}, "extra"), "ALLOWED +[extra] -[] ?[] ![iot:Certificate.Subject.Country]")
	// a draft takes the place of what is in force, or is one more; nothing of it stays
	louder := &access.Draft{Policy: "quiet", Document: doc(deny("lamp-1/silent"))}
	is(ask(access.Question{Draft: louder}, "lamp-1/loud"), "ALLOWED +[own] -[] ?[] ![]")
	is(ask(access.Question{Draft: louder}, "lamp-1/silent"), "EXPLICIT_DENY +[own] -[quiet] ?[] ![]")
	is(ask(access.Question{Draft: &access.Draft{Policy: "new", Document: doc(allow("elsewhere"))}}, "elsewhere"), "ALLOWED +[new] -[] ?[] ![]")
	is(ask(access.Question{}, "lamp-1/loud"), "EXPLICIT_DENY +[own] -[quiet] ?[] ![]")
	// without a certificate it is judged as on the plain listener, with the groups of the thing
	for topic, want := range map[string]string{"lamp-1/loud": "EXPLICIT_DENY [quiet]", "elsewhere": "ALLOWED []"} {
		q := access.Question{Thing: thing, ClientID: "lamp-1", Draft: &access.Draft{Policy: "new", Document: doc(allow("*"))}}
		o, err := f.TestAuthorization(ctx, q, []access.Request{{Action: policy.Publish, Resources: []string{"arn:aws:iot:local:1:topic/" + topic}}})
		f.must(err)
		is(fmt.Sprint(o[0].Decision, o[0].Explicit), want)
	}
	_, err := f.TestAuthorization(ctx, access.Question{Draft: &access.Draft{Document: "{"}}, nil)
	f.refused(err, access.Malformed)
	_, err = f.TestAuthorization(ctx, access.Question{Target: access.Target{Cert: cert}, Add: []string{"none"}}, nil)
	f.refused(err, access.NotFound)
	_, err = f.TestAuthorization(ctx, access.Question{Target: access.Target{Cert: cert}}, []access.Request{{Action: policy.Connect, Resources: []string{"arn:aws:iot:local:1:topic/x"}}})
	f.refused(err, access.Invalid)
}

// TestRightsWhileChanging: a question that is asked after a change returned is answered by it, with many at work.
func TestRightsWhileChanging(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	_, err := f.CreatePolicy(ctx, "p", doc(allow("x")))
	f.must(err)
	_, err = f.CreatePolicyVersion(ctx, "p", doc(deny("x")), false)
	f.must(err)
	cert := access.CertID{1}
	thing := f.thing("lamp-1")
	f.must(f.Attach(ctx, "p", access.Target{Cert: cert}))
	rights := f.Rights(access.Subject{Thing: thing, ClientID: "lamp-1", Cert: cert})
	stop, done := context.WithCancel(ctx)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for stop.Err() == nil {
				rights.Publish("x")
			}
		})
	}
	for i := range 60 {
		f.must(f.SetDefaultPolicyVersion(ctx, "p", i%2+1))
		if got, want := rights.Publish("x"), i%2 == 0; got != want {
			t.Fatalf("change %d: allowed is %v", i, got)
		}
	}
	done()
	readers.Wait()
}

// TestRightsEndWithTime: what was allowed to a topic before is not remembered where the time decides.
func TestRightsEndWithTime(t *testing.T) {
	f := open(t)
	until := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	_, err := f.CreatePolicy(t.Context(), "p", doc(`{"Effect":"Allow","Action":"iot:Publish","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"`+until+`"}}}`))
	f.must(err)
	cert := access.CertID{1}
	f.must(f.Attach(t.Context(), "p", access.Target{Cert: cert}))
	rights := f.Rights(access.Subject{Thing: f.thing("lamp-1"), ClientID: "lamp-1", Cert: cert})
	for _, hours := range []int64{0, 2} {
		f.passed.Store(hours * int64(time.Hour))
		if got, want := rights.Publish("x"), hours == 0; got != want {
			t.Errorf("after %d h: allowed is %v", hours, got)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	f := open(t)
	rights := f.Rights(access.Subject{Thing: f.thing("lamp-1"), ClientID: "lamp-1", Cert: access.CertID{1}})
	if n := testing.AllocsPerRun(1000, func() {
		if !rights.Publish("dt/lamp-1/x") || rights.Publish("dt/lamp-2") || !rights.Receive("dt/lamp-1") {
			t.Fatal("wrong answer")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPublish(b *testing.B) {
	db, err := store.Open(b.Context(), filepath.Join(b.TempDir(), "registry.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	things, err := registry.Open(b.Context(), registry.Options{Store: db, Clock: clock{}})
	if err != nil {
		b.Fatal(err)
	}
	defer things.Close()
	book, err := access.Open(b.Context(), access.Options{Store: db.Access(), Things: things, Groups: things, Now: time.Now, Default: policy.DefaultDocument})
	if err != nil {
		b.Fatal(err)
	}
	made, err := things.CreateThing(b.Context(), registry.ThingInput{Name: "lamp-1"})
	if err != nil {
		b.Fatal(err)
	}
	rights := book.Rights(access.Subject{Thing: made.ID, ClientID: "lamp-1", Cert: access.CertID{1}})
	b.ReportAllocs()
	for b.Loop() {
		if !rights.Publish("dt/lamp-1/engine") {
			b.Fatal("refused")
		}
	}
}
