package ingest_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
)

// spMetric is a metric of a Sparkplug payload; its value a float64, a uint64 or nothing.
type spMetric struct {
	name     string
	alias    uint64 // 0: none
	datatype uint64 // 0: left out
	value    any
}

// spPayload encodes a payload with a sequence number, below 0 without.
func spPayload(seq int, metrics ...spMetric) string {
	var out []byte
	for _, m := range metrics {
		var b []byte
		if m.name != "" {
			b = append(append(b, 1<<3|2, byte(len(m.name))), m.name...)
		}
		if m.alias > 0 {
			b = binary.AppendUvarint(append(b, 2<<3), m.alias)
		}
		if m.datatype > 0 {
			b = binary.AppendUvarint(append(b, 4<<3), m.datatype)
		}
		switch v := m.value.(type) {
		case float64:
			b = binary.LittleEndian.AppendUint64(append(b, 13<<3|1), math.Float64bits(v))
		case uint64:
			b = binary.AppendUvarint(append(b, 11<<3), v)
		}
		out = append(append(out, 2<<3|2, byte(len(b))), b...)
	}
	if seq >= 0 {
		out = binary.AppendUvarint(append(out, 3<<3), uint64(seq))
	}
	return string(out)
}

func TestSparkplugTopics(t *testing.T) {
	f := newFixture(t, true)
	f.config.Sparkplug = true
	f.start()
	host := f.connect(4, "host")
	host.subscribe(1, "spBv1.0/#", 0)
	const bdSeq = 7
	bd := spMetric{"bdSeq", 0, 8, uint64(bdSeq)}
	dial := func(bd spMetric) *client {
		c := f.dialPlain(4)
		c.open("edge", withWill(4, "spBv1.0/g/NDEATH/edge", spPayload(-1, bd), 1, false))
		c.subscribe(1, "spBv1.0/g/NCMD/edge", 0)
		return c
	}
	c := dial(bd)
	// send publishes as Sparkplug does, with QoS 0, and waits until it was handled: the host gets it then.
	send := func(kind, payload string) {
		t.Helper()
		topic := "spBv1.0/g/" + kind
		c.send(publishPacket(4, topic, payload, 0, 0, false))
		if m := host.message(); m.topic != topic {
			t.Fatalf("the host got %+v, want %s", m, topic)
		}
	}
	is := func(thing, column string, want float64) {
		t.Helper()
		eventually(t, thing+" "+column, func() bool { v, ok := f.last(thing, column); return ok && v == want })
	}
	metric := func(line string) {
		t.Helper()
		if all := f.metric("muster_ingest_sparkplug"); !strings.Contains(all, line+"\n") {
			t.Fatalf("no %s in\n%s", line, all)
		}
	}
	rebirth := func(m received) {
		t.Helper()
		if m.topic != "spBv1.0/g/NCMD/edge" || !strings.Contains(m.payload, "\x0a\x14Node Control/Rebirth") || !strings.HasSuffix(m.payload, "\x20\x0b\x70\x01") {
			t.Fatalf("%+v", m)
		}
	}
	// data without a birth: what says all is taken, and the node is asked for its births
	c.send(publishPacket(4, "spBv1.0/g/NDATA/edge", spPayload(3, spMetric{"early", 0, 10, 1.5}), 0, 0, false))
	rebirth(host.message())
	if m := host.message(); m.topic != "spBv1.0/g/NDATA/edge" {
		t.Fatalf("%+v", m)
	}
	rebirth(c.message())
	is("edge", "early", 1.5)

	send("NBIRTH/edge", spPayload(0, bd, spMetric{"Supply/Voltage", 1, 10, 12.25}))
	is("edge", "Supply_Voltage", 12.25)
	is("edge", "sparkplug_online", 1)
	send("NDATA/edge", spPayload(1, spMetric{"", 1, 0, 12.5}))
	is("edge", "Supply_Voltage", 12.5)
	// a gap is counted; a second request would come too soon
	send("NDATA/edge", spPayload(3, spMetric{"", 1, 0, 12.75}))
	is("edge", "Supply_Voltage", 12.75)
	metric("muster_ingest_sparkplug_gaps_total 1")
	metric("muster_ingest_sparkplug_rebirths_total 1")

	// a device that is no thing has columns of the node's
	send("DBIRTH/edge/meter", spPayload(4, spMetric{"power", 2, 10, 100.0}))
	is("edge", "meter_power", 100)
	is("edge", "meter_sparkplug_online", 1)
	send("DDATA/edge/meter", spPayload(5, spMetric{"", 2, 0, 101.0}))
	is("edge", "meter_power", 101)
	// one that is registered is a thing
	if _, err := f.gate.grant("edge:panel"); err != nil {
		t.Fatal(err)
	}
	send("DBIRTH/edge/panel", spPayload(6, spMetric{"power", 3, 10, 200.0}))
	is("edge:panel", "power", 200)
	is("edge:panel", "sparkplug_online", 1)
	if _, ok := f.last("edge", "panel_power"); ok {
		t.Fatal("the device's metric is the node's, too")
	}
	send("DDEATH/edge/meter", spPayload(7))
	is("edge", "meter_sparkplug_online", 0)

	// what is not the node's own is a message like any other
	c.send(publishPacket(4, "spBv1.0/g/NDATA/other", "no protobuf", 1, 1, false))
	c.expect(0x40, 2, 0, 1)
	host.message()
	// its own must be right: it is not delivered else
	c.send(publishPacket(4, "spBv1.0/g/NDATA/edge", "no protobuf", 1, 2, false))
	c.expect(0x40, 2, 0, 2)
	if n := f.server.Stats().Malformed; n != 1 {
		t.Fatalf("%d malformed", n)
	}
	// a death of an earlier session changes nothing
	send("NDEATH/edge", spPayload(-1, spMetric{"bdSeq", 0, 8, uint64(bdSeq - 1)}))
	metric("muster_ingest_sparkplug_stale_deaths_total 1")
	is("edge", "sparkplug_online", 1)
	metric("muster_ingest_sparkplug_nodes 1")

	c.conn.Close()
	if m := host.message(); m.topic != "spBv1.0/g/NDEATH/edge" {
		t.Fatalf("%+v", m)
	}
	is("edge", "sparkplug_online", 0)
	is("edge:panel", "sparkplug_online", 0)
	eventually(t, "the node is forgotten", func() bool {
		return strings.Contains(f.metric("muster_ingest_sparkplug_nodes"), " 0\n")
	})

	// an alias that no birth told is refused, and asks for one
	c = dial(bd)
	send("NBIRTH/edge", spPayload(0, bd))
	is("edge", "sparkplug_online", 1)
	c.send(publishPacket(4, "spBv1.0/g/NDATA/edge", spPayload(1, spMetric{"", 9, 0, 1.0}), 1, 1, false))
	rebirth(host.message())
	rebirth(c.message())
	c.expect(0x40, 2, 0, 1)
}

// TestSparkplugBirthsAreBounded: what the births of one edge node make the gateway keep has a limit, over all its devices. Those that came before
// go on, and another node has room.
func TestSparkplugBirthsAreBounded(t *testing.T) {
	f := newFixture(t, true)
	f.config.Sparkplug = true
	f.start()
	c := f.connect(5, "edge")
	id := uint16(0)
	send := func(c *client, kind, payload string) (refused bool) {
		t.Helper()
		id++
		c.send(publishPacket(5, "spBv1.0/g/"+kind, payload, 1, id, false))
		_, body := c.read()
		return len(body) > 2 && body[2] == 0x99
	}
	birth := func(seq int) string {
		metrics := make([]spMetric, 250) // as many as one message may have
		for i := range metrics {
			metrics[i] = spMetric{strings.Repeat("x", 100) + strconv.Itoa(i), uint64(i + 1), 10, 1.0}
		}
		return spPayload(seq, metrics...)
	}
	if send(c, "NBIRTH/edge", spPayload(0)) {
		t.Fatal("an empty birth is refused")
	}
	devices := 0
	for i := range 200 {
		if _, err := f.gate.grant(fmt.Sprint("edge:d", i)); err != nil {
			t.Fatal(err)
		}
	}
	for ; devices < 200 && !send(c, fmt.Sprintf("DBIRTH/edge/d%d", devices), birth(devices+1)); devices++ {
	}
	if devices < 32 || devices == 200 {
		t.Fatalf("%d births of 26 KB of names are taken", devices)
	}
	if send(c, "DDATA/edge/d0", spPayload(devices+2, spMetric{"", 7, 0, 2.0})) {
		t.Error("data of a device that was born before is refused")
	}
	if send(f.connect(5, "other"), "NBIRTH/other", birth(0)) {
		t.Error("another edge node has no room")
	}
}

// Without the setting these topics are like any other.
func TestSparkplugOff(t *testing.T) {
	f := newFixture(t, true).start()
	c := f.connect(5, "edge")
	c.send(publishPacket(5, "spBv1.0/g/NBIRTH/edge", spPayload(0, spMetric{"v", 1, 10, 1.0}), 1, 1, false))
	c.read()
	if _, ok := f.last("edge", "v"); ok {
		t.Fatal("stored")
	}
}
