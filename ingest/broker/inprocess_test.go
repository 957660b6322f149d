package broker

import "testing"

func TestCovers(t *testing.T) {
	f := func(filter, topic string, want bool) {
		t.Helper()
		if covers(filter, topic) != want {
			t.Errorf("covers(%q, %q) is not %v", filter, topic, want)
		}
	}
	f("$aws/things/a/shadow/get", "$aws/things/a/shadow/get", true)
	f("$aws/things/a/shadow/get", "$aws/things/a/shadow", false)
	f("$aws/things/a/shadow", "$aws/things/a/shadow/get", false)
	f("$aws/things/+/shadow/+", "$aws/things/a/shadow/get", true)
	f("$aws/things/+/shadow/+", "$aws/things/a/shadow/get/x", false)
	f("$aws/things/+/shadow/#", "$aws/things/a/shadow/get/x", true)
	f("$aws/things/+/shadow/#", "$aws/things/a/shadow", true)
	f("$aws/things/+/shadow/#", "$aws/things/a/jobs", false)
	f("$aws/#", "$aws/", true)
	f("$aws/+", "$aws/", true)
	f("$aws/+/b", "$aws//b", true)
}
