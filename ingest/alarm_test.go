package ingest_test

import (
	"strings"
	"testing"
	"time"

	"muster/tsdb/vfs"
)

// TestSharedCertificate: two boxes with one certificate throw each other out by turns. After a few times that is an alarm, for an hour; one
// box that comes back now and then is none.
func TestSharedCertificate(t *testing.T) {
	f := newFixture(t, false)
	clock := vfs.NewManual(time.Now())
	f.clock = clock
	f.start()
	alarms := func(want int) {
		t.Helper()
		if list := f.server.Alarms(); len(list) != want {
			t.Fatalf("alarms %+v, want %d", list, want)
		}
	}
	flaky := func(every time.Duration) {
		f.connect(5, "lamp-1")
		for range 6 {
			clock.Advance(every)
			f.connect(5, "lamp-1")
		}
	}
	flaky(4 * time.Minute)
	alarms(0)
	for box := range 2 { // from now on two of them
		for turn := range 3 {
			c := f.dialTLS(4, "lamp-2")
			c.open("lamp-2")
			if box+turn < 4 && turn+3*box < 4 {
				alarms(0)
			}
			clock.Advance(10 * time.Second)
		}
	}
	alarms(1)
	a := f.server.Alarms()[0]
	if a.Thing != "lamp-2" || a.ClientID != "lamp-2" || a.Takeovers != 5 || len(a.Addresses) != 1 || a.Addresses[0].String() != "127.0.0.1" || !a.Last.After(a.First) {
		t.Fatalf("%+v", a)
	}
	if n := strings.Count(f.log.String(), "perhaps two devices have the same certificate"); n != 1 {
		t.Fatalf("%d lines in the log", n)
	}
	clock.Advance(30 * time.Minute)
	alarms(1)
	eventually(t, "the end of the alarm", func() bool {
		clock.Advance(31 * time.Minute)
		return len(f.server.Alarms()) == 0
	})
}
