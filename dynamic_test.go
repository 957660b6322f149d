package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestDynamicGroupsLive: samples of a device, PromQL and other groups put things into groups within a second, and subscribers hear of it.
func TestDynamicGroupsLive(t *testing.T) {
	g := startGatewayWith(t, allowAll)
	f := func(method, path, text string, status int, parts ...string) {
		t.Helper()
		code, body := g.call(method, path, text)
		for _, part := range parts {
			if code != status || !strings.Contains(body, part) {
				t.Fatalf("%s %s: %d %s\nwant %d %s", method, path, code, body, status, part)
			}
		}
	}
	f("PATCH", "/iot/event-configurations", `{"eventConfigurations":{"THING_GROUP_MEMBERSHIP":{"Enabled":true}}}`, 200, "{}")
	sub := g.mosquittoSub("app", "$aws/events/thingGroupMembership/#", "%t %p")
	_, device := g.enroll("lamp-1")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- device.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	send := func(temperature float64) {
		t.Helper()
		if err := device.Publish(ctx, "dt/lamp-1", fmt.Appendf(nil, `{"temp_c":%v}`, temperature)); err != nil {
			t.Fatal(err)
		}
	}
	members := func(group string) string {
		t.Helper()
		code, body := g.get("/iot/thing-groups/" + group + "/things")
		if code != 200 {
			t.Fatal(code, body)
		}
		return body
	}
	within := func(group string, in bool) {
		t.Helper()
		began := time.Now()
		for strings.Contains(members(group), "lamp-1") != in {
			if time.Since(began) > 10*time.Second {
				t.Fatalf("%s: %s", group, members(group))
			}
		}
		t.Logf("%s has lamp-1 %v after %s", group, in, time.Since(began).Round(time.Millisecond))
	}
	said := func(group, operation, cause string) {
		t.Helper()
		topic, text, _ := strings.Cut(sub.line(), " ")
		var e struct {
			EventType, Operation, GroupArn, GroupID, ThingArn, ThingID, MembershipID, Cause string
			Revision                                                                        int64
		}
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		if topic != "$aws/events/thingGroupMembership/thingGroup/"+group+"/thing/lamp-1/"+strings.ToLower(operation) ||
			e.EventType != "THING_GROUP_MEMBERSHIP_EVENT" || e.Operation != operation || e.Cause != cause || e.Revision < 1 ||
			!strings.HasSuffix(e.GroupArn, ":thinggroup/"+group) || !strings.HasSuffix(e.ThingArn, ":thing/lamp-1") ||
			len(e.GroupID) != 36 || e.MembershipID != e.ThingID+"~"+e.GroupID {
			t.Fatalf("%s %s\nwant %s %s %s", topic, text, group, operation, cause)
		}
	}
	send(20)
	f("POST", "/iot/dynamic-thing-groups/hot", `{"queryString":"telemetry.temp_c>60","thingGroupProperties":{"thingGroupDescription":"x"}}`, 200,
		`"indexName":"AWS_Things","queryString":"telemetry.temp_c\u003e60","queryVersion":"2017-09-30"`)
	f("GET", "/iot/thing-groups/hot", "", 200, `"status":"ACTIVE"`, `"queryString":"telemetry.temp_c\u003e60"`)
	f("POST", "/iot/dynamic-thing-groups/nested", `{"queryString":"group:hot AND connectivity.connected:true"}`, 200, "nested")
	f("POST", "/iot/dynamic-thing-groups/hot", `{"queryString":"group:nested"}`, 409, "already exists")
	f("PATCH", "/iot/dynamic-thing-groups/hot", `{"queryString":"group:nested"}`, 400, "depend on themselves")
	send(61)
	within("hot", true)
	said("hot", "ADDED", "telemetry.temp_c crossed a bound")
	said("nested", "ADDED", "entered hot")

	f("POST", "/api/groups", `{"thingGroupName":"mean","queryString":"telemetry.temp_c.max(1m)>100"}`, 201, `"thingGroupName":"mean"`)
	f("POST", "/api/groups", `{"thingGroupName":"expr","queryString":"promql: max_over_time(temp_c[1m]) > 100","every":"1s"}`, 201, `"every":"1s"`)
	f("POST", "/api/groups", `{"thingGroupName":"bad","queryString":"promql: sum(temp_c)"}`, 400, "no label thing")
	f("POST", "/api/groups", `{"thingGroupName":"bad","queryString":"promql: 1"}`, 400, "must be an instant vector")
	f("POST", "/api/groups", `{"thingGroupName":"bad","queryString":"a:"}`, 400, `"position":1`)
	f("POST", "/api/groups", `{"thingGroupName":"held","queryString":"telemetry.temp_c>100","enterAfter":"1h","leaveQuery":"telemetry.temp_c<90"}`, 201, `"enterAfter":"1h0m0s"`)
	f("PATCH", "/iot/dynamic-thing-groups/held", `{"queryString":"telemetry.temp_c>101"}`, 200, `"version":2`)
	f("GET", "/api/groups/held", "", 200, `"leaveQuery":"telemetry.temp_c\u003c90"`, `"queryString":"telemetry.temp_c\u003e101"`)
	send(150)
	within("mean", true)
	within("expr", true)
	if strings.Contains(members("held"), "lamp-1") {
		t.Fatal("held an hour already")
	}
	f("POST", "/api/groups/preview", `{"queryString":"telemetry.temp_c>200","thingGroupName":"hot"}`, 200, `"total":0`, `"entering":0,"enteringThings":[],"leaving":1,"leavingThings":["lamp-1"]`)
	f("POST", "/api/groups/preview", `{"queryString":"promql: temp_c > 1"}`, 200, `"total":1`, `"enteringThings":["lamp-1"]`)
	f("GET", "/api/complete?q=telemetry.te", "", 200, `{"text":"telemetry.temp_c:","kind":"field"}`)
	f("GET", "/api/complete?q=thingTypeName:la", "", 200, `{"text":"lamp","kind":"value","things":1}`)
	f("GET", "/api/complete?q=NOT+group:h", "", 200, `{"from":10,"to":11,"items":[{"text":"hot","kind":"group","things":1}`)
	f("GET", "/api/explain?q=telemetry.temp_c.avg(5m)>1", "", 200, "the samples of each thing from")

	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	again := startGateway(t, g.dir)
	for _, group := range []string{"hot", "mean", "expr"} {
		began := time.Now()
		for {
			_, body := again.get("/iot/thing-groups/" + group + "/things")
			if strings.Contains(body, "lamp-1") {
				break
			}
			if time.Since(began) > 10*time.Second {
				t.Fatalf("after a restart: %s has %s", group, body)
			}
		}
	}
	// It waits since before the restart, as its samples say.
	if _, body := again.get("/iot/thing-groups/held/things"); strings.Contains(body, "lamp-1") {
		t.Fatal("held an hour after a restart: " + body)
	}
	if code, body := again.call("DELETE", "/iot/dynamic-thing-groups/hot", ""); code != 200 {
		t.Fatal(code, body)
	}
}
