package registry_test

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	"muster/registry"
)

func TestSchema(t *testing.T) {
	w := open(t)
	w.createType("lamp")
	w.create("old", "lamp", "watt", "seven")
	schema := &registry.Schema{Attributes: map[string]registry.AttributeRule{
		"watt": {Type: "number", Required: true, Unit: "W"},
		"city": {Enum: []string{"ulm", "oslo"}, Default: "ulm"},
		"on":   {Type: "bool"}, "since": {Type: "time"}, "pos": {Type: "geo"}, "free": {Type: "string"},
	}}
	things, violating, examples, err := w.CheckSchema(ctx, "lamp", schema)
	if err != nil || things != 1 || violating != 1 || fmt.Sprint(examples) != `[{old attribute watt: "seven" is not a number, such as -1.5}]` {
		t.Fatal(things, violating, examples, err)
	}
	set := func(schema registry.Schema, expected int64) error {
		_, err := w.SetSchema(ctx, "lamp", schema, expected)
		return err
	}
	wantErr(t, set(*schema, registry.AnyVersion), 0, "")
	create := func(name string, attributes []string, kind registry.Kind, message string) {
		t.Helper()
		_, err := w.CreateThing(ctx, registry.ThingInput{Name: name, TypeName: "lamp", Attributes: pairs(attributes)})
		wantErr(t, err, kind, message)
	}
	for range 2 { // the second time after a restart
		create("x", nil, registry.Invalid, "attribute watt: the thing type requires it, a number")
		create("x", []string{"watt", "0x7"}, registry.Invalid, `attribute watt: "0x7" is not a number, such as -1.5`)
		create("x", []string{"watt", "7", "city", "rome"}, registry.Invalid, `attribute city: "rome" is not one of ulm, oslo`)
		create("x", []string{"watt", "7", "on", "yes"}, registry.Invalid, `attribute on: "yes" is not a bool: true or false`)
		create("x", []string{"watt", "7", "since", "2026-13-01T00:00:00Z"}, registry.Invalid, `attribute since: "2026-13-01T00:00:00Z" is not a time, such as 2026-01-02T15:04:05Z`)
		create("x", []string{"watt", "7", "pos", "91,0"}, registry.Invalid, `attribute pos: "91,0" is not a geo, such as 48.1,11.5`)
		create("a", []string{"watt", "-1.5e3", "on", "true", "since", "2026-01-02T15:04:05Z", "pos", "48.1,11.5", "other", "free"}, 0, "")
		create("b", []string{"watt", "7"}, 0, "")
		w.restart()
	}
	if th, err := w.Thing("b"); err != nil || !maps.Equal(th.Attributes, map[string]string{"watt": "7", "city": "ulm"}) {
		t.Fatalf("%+v %v", th, err)
	}
	update := func(in registry.ThingUpdate, kind registry.Kind, message string) {
		t.Helper()
		_, err := w.UpdateThing(ctx, in)
		wantErr(t, err, kind, message)
	}
	// what is there stays as it is until its attributes are changed
	update(registry.ThingUpdate{Name: "old"}, 0, "")
	update(registry.ThingUpdate{Name: "old", Attributes: map[string]string{"x": "1"}, Merge: true}, registry.Invalid, `attribute watt: "seven" is not a number, such as -1.5`)
	update(registry.ThingUpdate{Name: "b", Attributes: map[string]string{"watt": ""}, Merge: true}, registry.Invalid, "attribute watt: the thing type requires it, a number")
	update(registry.ThingUpdate{Name: "b", Attributes: map[string]string{"city": ""}, Merge: true}, 0, "")
	// a thing that gets the type must fit, and gets its defaults
	w.create("plain", "", "watt", "9")
	update(registry.ThingUpdate{Name: "plain", TypeName: "lamp"}, 0, "")
	if th, err := w.Thing("plain"); err != nil || th.Attributes["city"] != "ulm" {
		t.Fatalf("%+v %v", th, err)
	}
	// a device that registers itself has no attributes yet
	if _, made, err := w.EnsureThing(ctx, "enrolled", "lamp", "test"); err != nil || !made {
		t.Fatal(made, err)
	}
	if things, violating, _, err := w.CheckSchema(ctx, "lamp", schema); err != nil || things != 5 || violating != 2 {
		t.Fatal(things, violating, err)
	}
	wantErr(t, set(registry.Schema{}, registry.AnyVersion), 0, "")
	create("c", nil, 0, "")

	bad := func(rule registry.AttributeRule, message string) {
		t.Helper()
		wantErr(t, set(registry.Schema{Attributes: map[string]registry.AttributeRule{"k": rule}}, registry.AnyVersion), registry.Invalid, message)
	}
	bad(registry.AttributeRule{Type: "int"}, `type of attribute k: "int" is none; use string, number, bool, time or geo`)
	bad(registry.AttributeRule{Type: "number", Default: "x"}, `default of attribute k: "x" is not a number, such as -1.5`)
	bad(registry.AttributeRule{Type: "number", Enum: []string{"x"}}, `enum of attribute k: "x" is not a number, such as -1.5`)
	bad(registry.AttributeRule{Enum: []string{"a"}, Default: "b"}, `default of attribute k: "b" is not one of a`)
	bad(registry.AttributeRule{Default: "a b"}, `default of attribute k: "a b" has ' ' at position 1; allowed are a-z A-Z 0-9 _.,@/:#=[]-`)
	bad(registry.AttributeRule{Unit: strings.Repeat("x", 33)}, "unit of attribute k: at most 32 characters")
	_, err = w.SetSchema(ctx, "none", *schema, 0)
	wantErr(t, err, registry.NotFound, `thing type "none" does not exist`)
	_, _, _, err = w.CheckSchema(ctx, "none", schema)
	wantErr(t, err, registry.NotFound, `thing type "none" does not exist`)
}

// TestSchemaVersions: of two who change a schema that both have read, the later one is told; also where there was none, and where it was removed.
func TestSchemaVersions(t *testing.T) {
	w := open(t)
	w.createType("lamp")
	required := func(key string) registry.Schema {
		return registry.Schema{Attributes: map[string]registry.AttributeRule{key: {Required: true}}}
	}
	none := registry.Schema{}
	f := func(schema registry.Schema, expected, version int64) {
		t.Helper()
		if got, err := w.SetSchema(ctx, "lamp", schema, expected); err != nil || got != version {
			t.Fatalf("version %d, want %d: %v", got, version, err)
		}
		if got, now, err := w.SchemaOf("lamp"); err != nil || now != version || !maps.Equal(flat(got), flat(schema)) {
			t.Fatalf("%v of version %d, want %v of %d: %v", got, now, schema, version, err)
		}
	}
	late := func(expected, version int64) {
		t.Helper()
		before, _, _ := w.SchemaOf("lamp")
		_, err := w.SetSchema(ctx, "lamp", required("late"), expected)
		wantErr(t, err, registry.Stale, fmt.Sprintf(`the schema of thing type "lamp" has version %d, expectedVersion is %d; read it again`, version, expected))
		if got, now, err := w.SchemaOf("lamp"); err != nil || now != version || !maps.Equal(flat(got), flat(before)) {
			t.Fatalf("who was late left %v of version %d: %v", got, now, err)
		}
	}
	f(none, 0, 0)
	f(required("a"), 0, 1)
	late(0, 1)
	f(required("a"), 1, 1) // is there already
	f(required("b"), 1, 2)
	late(1, 2)
	f(none, 2, 3)
	late(2, 3)
	late(0, 3) // it was there meanwhile
	w.restart()
	late(2, 3)
	f(required("c"), registry.AnyVersion, 4)
	// other changes of the type are none of its schema
	wantErr(t, w.DeprecateThingType(ctx, "lamp", false), 0, "")
	f(required("d"), 4, 5)

	// of many at once, one
	won := make(chan int64, 8)
	var all sync.WaitGroup
	for i := range cap(won) {
		all.Go(func() {
			if version, err := w.SetSchema(ctx, "lamp", required(fmt.Sprint("by", i)), 5); err == nil {
				won <- version
			} else if registry.KindOf(err) != registry.Stale {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(won) != 1 || <-won != 6 {
		t.Fatalf("%d won", len(won))
	}
}

// flat is a schema as a map that can be compared.
func flat(s registry.Schema) map[string]string {
	m := map[string]string{}
	for key, rule := range s.Attributes {
		m[key] = fmt.Sprint(rule)
	}
	return m
}

func TestBillingGroups(t *testing.T) {
	w := open(t)
	for _, name := range []string{"acme", "blue"} {
		if _, err := w.CreateBillingGroup(ctx, name, "", map[string]string{"k": "v"}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.CreateThing(ctx, registry.ThingInput{Name: "a", BillingGroup: "acme"})
	wantErr(t, err, 0, "")
	w.create("b", "")
	wantErr(t, w.SetBillingGroup(ctx, "b", "acme"), 0, "")
	wantErr(t, w.SetBillingGroup(ctx, "b", "none"), registry.NotFound, `billing group "none" does not exist; create it first`)
	wantErr(t, w.SetBillingGroup(ctx, "none", "acme"), registry.NotFound, `thing "none" does not exist`)
	check := func(acme, blue string) {
		t.Helper()
		for name, want := range map[string]string{"acme": acme, "blue": blue} {
			var all []string
			for after := ""; ; {
				names, next, err := w.ThingsInBillingGroup(name, after, 1)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, names...)
				if after = next; next == "" {
					break
				}
			}
			if got := strings.Join(all, " "); got != want || w.found("billingGroupName:"+name) != want {
				t.Fatalf("in %s: %q, found %q, want %q", name, got, w.found("billingGroupName:"+name), want)
			}
		}
	}
	check("a b", "")
	w.restart()
	check("a b", "")
	if th, err := w.Thing("b"); err != nil || th.BillingGroup != "acme" || th.Version != 1 {
		t.Fatalf("%+v %v", th, err)
	}
	_, err = w.UpdateThing(ctx, registry.ThingUpdate{Name: "b", Attributes: map[string]string{"x": "1"}})
	wantErr(t, err, 0, "")
	wantErr(t, w.SetBillingGroup(ctx, "b", "blue"), 0, "") // from one to the other
	wantErr(t, w.LeaveBillingGroup(ctx, "b", "acme"), 0, "")
	check("a", "b")
	wantErr(t, w.DeleteBillingGroup(ctx, "acme", 0), registry.Invalid, `billing group "acme" has 1 things; remove them first`)
	wantErr(t, w.DeleteThing(ctx, "a", 0), 0, "")
	wantErr(t, w.LeaveBillingGroup(ctx, "b", "blue"), 0, "")
	check("", "")
	wantErr(t, w.DeleteBillingGroup(ctx, "acme", 2), registry.Stale, `billing group "acme" has version 1, expectedVersion is 2; read it again`)
	wantErr(t, w.DeleteBillingGroup(ctx, "acme", 1), 0, "")
	wantErr(t, w.DeleteBillingGroup(ctx, "acme", 1), 0, "")
	if tags, err := w.TagsOf(w.BillingGroupARN("blue")); err != nil || len(tags) != 1 {
		t.Fatal(tags, err)
	}
	_, err = w.TagsOf(w.BillingGroupARN("acme"))
	wantErr(t, err, registry.NotFound, `resourceArn: there is no billinggroup "acme"`)
	w.restart()
	if _, err := w.CreateBillingGroup(ctx, "acme", "", nil); err != nil {
		t.Fatal(err)
	}
	if tags, err := w.TagsOf(w.BillingGroupARN("acme")); err != nil || len(tags) != 0 {
		t.Fatal("the tags of a deleted group are still there:", tags, err)
	}
}

// TestCreateAgainAfterTags: a creation that is sent again succeeds when the tags were changed meanwhile, and leaves them as they are.
func TestCreateAgainAfterTags(t *testing.T) {
	w := open(t)
	asked := map[string]string{"cost": "a"}
	for arn, create := range map[string]func() error{
		w.GroupARN("north"): func() error {
			_, err := w.CreateGroup(ctx, registry.GroupInput{Name: "north", Tags: asked})
			return err
		},
		w.GroupARN("warm"): func() error {
			_, err := w.CreateDynamicGroup(ctx, registry.DynamicInput{Name: "warm", Definition: registry.Definition{Query: "*"}, Tags: asked})
			return err
		},
		w.ThingTypeARN("lamp"): func() error {
			_, err := w.CreateThingType(ctx, registry.ThingTypeInput{Name: "lamp", Tags: asked})
			return err
		},
		w.BillingGroupARN("acme"): func() error {
			_, err := w.CreateBillingGroup(ctx, "acme", "", asked)
			return err
		},
	} {
		wantErr(t, create(), 0, "")
		wantErr(t, w.Tag(ctx, arn, map[string]string{"cost": "b", "site": "7"}), 0, "")
		if err := create(); err != nil {
			t.Errorf("%s: the same creation again: %v", arn, err)
		}
		if tags, err := w.TagsOf(arn); err != nil || len(tags) != 2 || tags[0].Value != "b" {
			t.Errorf("%s: tags %v %v", arn, tags, err)
		}
	}
}

// TestTaggable: other packages' resources have tags as long as they exist.
func TestTaggable(t *testing.T) {
	w := open(t)
	exists := true
	w.Taggable("policy", func(name string) bool { return exists && name == "p" })
	arn := "arn:aws:iot:eu-north-1:123456789012:policy/p"
	wantErr(t, w.Tag(ctx, arn, map[string]string{"a": "1", "b": ""}), 0, "")
	wantErr(t, w.Untag(ctx, arn, []string{"a", "none"}), 0, "")
	w.restart()
	w.Taggable("policy", func(name string) bool { return exists && name == "p" })
	if tags, err := w.TagsOf(arn); err != nil || fmt.Sprint(tags) != "[{policy/p b }]" {
		t.Fatal(tags, err)
	}
	wantErr(t, w.ForgetTags(ctx, "policy", "p"), 0, "")
	if tags, err := w.TagsOf(arn); err != nil || len(tags) != 0 {
		t.Fatal(tags, err)
	}
	exists = false
	wantErr(t, w.Tag(ctx, arn, map[string]string{"a": "1"}), registry.NotFound, `resourceArn: there is no policy "p"`)
	wantErr(t, w.Tag(ctx, "arn:aws:iot:eu-north-1:123456789012:role/x", nil), registry.Invalid, "resourceArn: a role has no tags; a thinggroup, a thingtype and a billinggroup have")
	wantErr(t, w.Tag(ctx, "thinggroup/x", nil), registry.Invalid, `resourceArn: "thinggroup/x" is no ARN of this gateway, such as arn:aws:iot:eu-north-1:123456789012:billinggroup/name`)
}
