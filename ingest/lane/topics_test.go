package lane

import (
	"strings"
	"testing"
)

func TestTopics(t *testing.T) {
	topics, err := ParseTopics([]string{"sensors/{thing}/data", "v1/devices/me/telemetry", "plant/{stream}/{thing}/#", "raw/#", "a//{stream}"})
	if err != nil {
		t.Fatal(err)
	}
	f := func(topic string, want bool) {
		t.Helper()
		if got := topics.Match(topic, "lamp"); got != want {
			t.Errorf("%q of lamp is telemetry: %v, want %v", topic, got, want)
		}
	}
	f("sensors/lamp/data", true)
	f("sensors/lamp/data/", false)
	f("sensors/lamp", false)
	f("sensors/fan/data", false)
	f("sensors//data", false)
	f("sensors/lamp/x", false)
	f("xsensors/lamp/data", false)
	f("v1/devices/me/telemetry", true)
	f("v1/devices/lamp/telemetry", false)
	f("plant/3/lamp", true)
	f("plant/3/lamp/x/y", true)
	f("plant//lamp/x", true)
	f("plant/3/fan/x", false)
	f("plant/3", false)
	f("raw", true)
	f("raw/", true)
	f("raw/x/y", true)
	f("a//x", true)
	f("a//", true)
	f("a/x", false)
	f("dt/lamp", false)
	f("", false)

	thing := func(topic, want string) {
		t.Helper()
		if got, _ := topics.Thing(topic); got != want {
			t.Errorf("%q names %q, want %q", topic, got, want)
		}
	}
	thing("sensors/fan/data", "fan")
	thing("plant/3/lamp/x", "lamp")
	thing("v1/devices/me/telemetry", "")
	thing("x", "")

	may := func(filter string, want bool) {
		t.Helper()
		if got := topics.MayMatch(filter); got != want {
			t.Errorf("filter %q may match: %v, want %v", filter, got, want)
		}
	}
	may("#", true)
	may("+/lamp", true)
	may("sensors/#", true)
	may("raw", true)
	may("dt/#", false)
	may("$aws/#", false)

	if n := testing.AllocsPerRun(100, func() { topics.Match("plant/3/lamp/x/y", "lamp") }); n != 0 {
		t.Errorf("%v allocations per match", n)
	}
	var none *Topics
	if none.Match("raw", "lamp") || none.MayMatch("#") {
		t.Error("no pattern has matched")
	}
}

func TestParseTopicsErrors(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if _, err := ParseTopics([]string{text}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q in it", text, err, want)
		}
	}
	f("", "first level must be text")
	f("{thing}/data", "first level must be text")
	f("{stream}/data", "first level must be text")
	f("#", "first level must be text")
	f("/a", "first level must be text")
	f("dt/{thing}/x", "has rules of its own")
	f("$aws/things/{thing}/x", "has rules of its own")
	f("spBv1.0/x", "has rules of its own")
	f("a/{thing}/{thing}", "may be in it once")
	f("a/{device}", `level "{device}"`)
	f("a/x{thing}", `level "x{thing}"`)
	f("a/+/b", `level "+"`)
	f("a/#/b", `level "#"`)
	f(strings.Repeat("a/", 12)+"b", "at most 12")
	if _, err := ParseTopics(make([]string, 33)); err == nil {
		t.Error("33 patterns were taken")
	}
	if topics, err := ParseTopics(nil); topics != nil || err != nil {
		t.Error("none is not nil")
	}
}
