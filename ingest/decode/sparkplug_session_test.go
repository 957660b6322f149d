package decode

import (
	"errors"
	"testing"

	"muster/tsdb"
)

func TestSparkplugHead(t *testing.T) {
	f := func(payload []byte, want SparkplugHead) {
		t.Helper()
		if got, err := ReadSparkplugHead(payload); err != nil || got != want {
			t.Fatalf("%x: %+v, %v; want %+v", payload, got, err, want)
		}
	}
	f(nil, SparkplugHead{})
	f(spPayload(5, spMetric{"a", 1, 10, 0, 1.5}), SparkplugHead{Seq: 7, HasSeq: true})
	f(spPayload(5, spMetric{"a", 1, 10, 0, 1.5}, spMetric{"bdSeq", -1, 8, 0, uint64(300)}), SparkplugHead{Seq: 7, HasSeq: true, BdSeq: 300, HasBd: true})
	f(spPayload(5, spMetric{"bdSeq", -1, 12, 0, "text"}), SparkplugHead{Seq: 7, HasSeq: true})
	for _, bad := range [][]byte{{0}, {0x12}, {0x12, 5, 1}, {0x10, 1}, {0x12, 2, 0x0a, 9}} {
		if _, err := ReadSparkplugHead(bad); err == nil {
			t.Errorf("%x was taken", bad)
		}
	}
}

func TestAppendRebirth(t *testing.T) {
	d := New(tsdb.NewDict())
	payload := AppendRebirth([]byte("x"), arrival)[1:]
	if rows, err := d.Sparkplug(payload, true, nil, 0); err != nil || len(rows) != 0 { // Node Control/... is no column
		t.Fatalf("%v, %v", rows, err)
	}
	_, err := d.Sparkplug(spPayload(5, spMetric{"", 3, 0, 0, 1.5}), false, &Births{}, arrival)
	if !NeedsRebirth(err) || NeedsRebirth(errors.New("x")) || NeedsRebirth(nil) {
		t.Fatal(err)
	}
}

func TestSparkplugDevice(t *testing.T) {
	dict := tsdb.NewDict()
	d := New(dict)
	f := func(device string, rows func() ([]Row, error), want string) {
		t.Helper()
		d.Device = []byte(device)
		got, err := rows()
		if err != nil {
			t.Fatal(err)
		}
		if text := render(dict, got); text != want {
			t.Fatalf("got %s, want %s", text, want)
		}
	}
	payload := spPayload(5, spMetric{"power", -1, 10, 0, 1.5}, spMetric{"a/b", -1, 10, 0, 2.5})
	decode := func() ([]Row, error) { return d.Sparkplug(payload, false, nil, arrival) }
	online := func() ([]Row, error) { return d.SparkplugOnline(true, arrival) }
	f("meter 1", decode, "5 meter_1_power=15e-1 meter_1_a_b=25e-1")
	f("", decode, "5 power=15e-1 a_b=25e-1")
	f("ts", decode, "5 ts_power=15e-1 ts_a_b=25e-1")
	f("meter 1", online, "arrival meter_1_sparkplug_online=true")
	f("", online, "arrival sparkplug_online=true")
	d.Device = []byte("meter")
	if _, err := decode(); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(300, func() { _, _ = decode() }); n != 0 {
		t.Errorf("%v allocations per message", n)
	}
	d.Device = []byte{0xff}
	if _, err := decode(); err == nil {
		t.Error("a device whose name is not UTF-8 was taken")
	}
}

func FuzzSparkplugHead(f *testing.F) {
	f.Add(spPayload(5, spMetric{"bdSeq", -1, 8, 0, uint64(300)}))
	f.Add(AppendRebirth(nil, arrival))
	dict := tsdb.NewDict()
	f.Fuzz(func(t *testing.T, payload []byte) {
		_, headErr := ReadSparkplugHead(payload)
		// whoever can read the metrics can read the head
		if _, err := New(dict).Sparkplug(payload, true, nil, arrival); err == nil && headErr != nil {
			t.Fatalf("%x: %v", payload, headErr)
		}
	})
}
