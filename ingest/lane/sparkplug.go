package lane

import (
	"strings"
	"sync"

	"github.com/VictoriaMetrics/metrics"

	"muster/agent/wire"
	"muster/ingest/decode"
	"muster/tsdb"
)

// Sparkplug B (specification 3.0.0): spBv1.0/<group>/<type>/<edge node>[/<device>] is telemetry where the edge node is the thing that
// publishes. A device is the thing <edge node>:<device> where that is registered and the policy lets the node publish on dt/<that thing>;
// else its metrics are columns of the node's thing, with the device's name in front. docs/formats/payloads.md.

// Sparkplug is what is known of all edge nodes. Safe for concurrent use.
type Sparkplug struct {
	// ThingByName finds the things of devices.
	ThingByName func(name string) (tsdb.ThingID, bool)
	// Command publishes what the gateway asks of a node. It must not wait.
	Command func(topic string, payload []byte)

	gaps, rebirths, stale *metrics.Counter

	mu    sync.Mutex // guards nodes
	nodes map[tsdb.ThingID]*edgeNode
}

// edgeNode is what is known of an edge node while it is connected.
type edgeNode struct {
	mu sync.Mutex // held while a message of the node is handled
	nodeSession
	askedMs int64 // when a rebirth was asked for
}

// nodeSession is from one birth of a node to its death.
type nodeSession struct {
	born   bool
	seq    uint8 // of the next message
	bdSeq  uint64
	hasBd  bool
	births map[string]*decode.Births // by device; "": of the node
}

const (
	maxSparkplugDevices = 256     // of one node
	maxBirthBytes       = 8 << 20 // of memory that all births of one node take; one takes half a MiB at most
	rebirthEveryMs      = 10_000  // no more requests than that
)

// NewSparkplug returns a Sparkplug that knows no node.
func NewSparkplug(thingByName func(string) (tsdb.ThingID, bool), set *metrics.Set) *Sparkplug {
	s := &Sparkplug{
		ThingByName: thingByName,
		gaps:        set.GetOrCreateCounter("muster_ingest_sparkplug_gaps_total"),
		rebirths:    set.GetOrCreateCounter("muster_ingest_sparkplug_rebirths_total"),
		stale:       set.GetOrCreateCounter("muster_ingest_sparkplug_stale_deaths_total"),
		nodes:       make(map[tsdb.ThingID]*edgeNode),
	}
	set.NewGauge("muster_ingest_sparkplug_nodes", func() float64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return float64(len(s.nodes))
	})
	return s
}

func (s *Sparkplug) node(thing tsdb.ThingID) *edgeNode {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[thing]
	if n == nil {
		n = &edgeNode{nodeSession: nodeSession{births: make(map[string]*decode.Births)}}
		s.nodes[thing] = n
	}
	return n
}

// forget ends the session of a node, if it is still n.
func (s *Sparkplug) forget(thing tsdb.ThingID, n *edgeNode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nodes[thing] == n {
		delete(s.nodes, thing)
	}
}

// Forget ends the session of a node whose connection has ended, after its will.
func (s *Sparkplug) Forget(thing tsdb.ThingID) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.nodes, thing)
}

// sparkplugTopic is a topic taken apart.
type sparkplugTopic struct {
	group, kind, edge, device string
}

// parseSparkplug takes a topic apart; false for one that is no message of an edge node.
func parseSparkplug(topic string) (t sparkplugTopic, ok bool) {
	rest, ok := strings.CutPrefix(topic, sparkplugRoot+"/")
	if !ok {
		return t, false
	}
	levels := strings.Split(rest, "/")
	if len(levels) < 3 || len(levels) > 4 {
		return t, false
	}
	t = sparkplugTopic{group: levels[0], kind: levels[1], edge: levels[2]}
	if len(levels) == 4 {
		t.device = levels[3]
	}
	switch t.kind {
	case "NBIRTH", "NDATA", "NDEATH":
		return t, len(levels) == 3
	case "DBIRTH", "DDATA", "DDEATH":
		return t, t.device != ""
	}
	return t, false
}

// sparkplug stores a message of the connection's own edge node. handled is false for any other.
func (c *Conn) sparkplug(p *Publish) (handled bool, code byte, reason string, err error) {
	s := c.env.Sparkplug
	if s == nil {
		return false, 0, "", nil
	}
	t, ok := parseSparkplug(p.Topic)
	if !ok || t.edge != c.grant.ThingName {
		return false, 0, "", nil
	}
	n := s.node(c.grant.Thing)
	n.mu.Lock()
	defer n.mu.Unlock()
	head, err := decode.ReadSparkplugHead(p.Payload)
	if err != nil {
		_, _, code, reason, err = c.malformed(p, err)
		return true, code, reason, err
	}
	m := nodeMessage{c: c, p: p, n: n, t: t}
	switch t.kind {
	case "NBIRTH":
		n.nodeSession = nodeSession{born: true, seq: uint8(head.Seq) + 1, bdSeq: head.BdSeq, hasBd: head.HasBd, births: make(map[string]*decode.Births)}
	case "NDEATH":
		if n.hasBd && head.HasBd && n.bdSeq != head.BdSeq { // of an earlier session: section 6.4.12
			s.stale.Inc()
			return true, 0, "", nil
		}
		for device := range n.births {
			m.online(device, false)
		}
		m.online("", false)
		s.forget(c.grant.Thing, n)
		return true, m.code, m.reason, m.err
	default:
		m.sequence(head)
	}
	switch t.kind {
	case "DDEATH":
		m.online(t.device, false)
		delete(n.births, t.device)
	case "NBIRTH", "DBIRTH":
		if m.data(true) {
			m.online(t.device, true)
		}
	default:
		m.data(false)
	}
	return true, m.code, m.reason, m.err
}

// nodeMessage is a message of an edge node that is being handled; the node's mutex is held.
type nodeMessage struct {
	c *Conn
	p *Publish
	n *edgeNode
	t sparkplugTopic

	code   byte // of a refusal
	reason string
	err    error
}

// sequence checks the number of a message; a gap, or no birth, asks for a new birth.
func (m *nodeMessage) sequence(head decode.SparkplugHead) {
	switch {
	case !m.n.born:
		m.rebirth()
	case head.HasSeq && uint8(head.Seq) != m.n.seq:
		m.c.env.Sparkplug.gaps.Inc()
		m.rebirth()
	}
	m.n.seq = uint8(head.Seq) + 1
}

// rebirth asks the node for its births, from time to time.
func (m *nodeMessage) rebirth() {
	s, now := m.c.env.Sparkplug, m.c.env.Clock.Now().UnixMilli()
	if d := now - m.n.askedMs; d >= 0 && d < rebirthEveryMs {
		return
	}
	m.n.askedMs = now
	s.rebirths.Inc()
	s.Command(sparkplugRoot+"/"+m.t.group+"/NCMD/"+m.t.edge, decode.AppendRebirth(nil, now))
}

// target returns the thing that a device's metrics are of, and what stands in front of their names.
func (m *nodeMessage) target(device string) (thing tsdb.ThingID, prefix string) {
	if device == "" {
		return m.c.grant.Thing, ""
	}
	name := m.t.edge + ":" + device
	// Without the colon in it, no two nodes and devices make one name.
	if !strings.Contains(device, ":") && wire.CheckThingName(name) == nil && m.c.grant.Rights.Publish(wire.TelemetryTopic(name)) {
		if id, ok := m.c.env.Sparkplug.ThingByName(name); ok {
			return id, ""
		}
	}
	return m.c.grant.Thing, device
}

// data stores the metrics of a birth or a data message; false: it was refused.
func (m *nodeMessage) data(birth bool) bool {
	births := m.n.births[m.t.device]
	if births == nil && birth {
		if len(m.n.births) > maxSparkplugDevices {
			m.refuse(&decode.Malformed{Reason: "an edge node has more than 256 devices"})
			return false
		}
		births = &decode.Births{}
		m.n.births[m.t.device] = births
	}
	return m.keep(m.t.device, func(d *decode.Decoder) ([]decode.Row, error) {
		rows, err := d.Sparkplug(m.p.Payload, birth, births, m.c.arrivalMs)
		if birth && m.n.birthBytes() > maxBirthBytes {
			births.Reset()
			return nil, &decode.Malformed{Reason: "the births of an edge node take more than 8 MiB"}
		}
		return rows, err
	})
}

// birthBytes is how much memory the births of the node take.
func (n *edgeNode) birthBytes() (size int) {
	for _, b := range n.births {
		size += b.Size()
	}
	return size
}

// online stores whether the node or a device is.
func (m *nodeMessage) online(device string, is bool) {
	m.keep(device, func(d *decode.Decoder) ([]decode.Row, error) { return d.SparkplugOnline(is, m.c.arrivalMs) })
}

// keep stores the rows of the node or a device.
func (m *nodeMessage) keep(device string, rows func(*decode.Decoder) ([]decode.Row, error)) bool {
	c := m.c
	thing, prefix := m.target(device)
	w := c.env.acquireWorkspace()
	defer c.env.releaseWorkspace(w)
	d := w.decoder
	d.Device = []byte(prefix)
	d.Schema = nil
	if c.env.Schemas != nil {
		d.Schema = c.env.Schemas.Schema(thing)
	}
	defer func() { d.Device = nil }()
	list, err := rows(d)
	if err != nil {
		if decode.NeedsRebirth(err) {
			m.rebirth()
		}
		m.refuse(err)
		return false
	}
	var waiter tsdb.Waiter
	wait := &settled{wake: make(chan struct{}, 1)}
	if m.p.QoS > 0 {
		waiter = wait
	}
	_, last, err := c.appendRows(thing, list, waiter)
	if err == nil && m.p.QoS > 0 && last > 0 {
		err = wait.wait(last)
	}
	if err != nil {
		_, _, m.code, m.reason, m.err = c.refusedRow(m.p, err)
		return false
	}
	return true
}

func (m *nodeMessage) refuse(cause error) {
	_, _, m.code, m.reason, m.err = m.c.malformed(m.p, cause)
}

// SparkplugWill handles a will: the death of an edge node, if it is that.
func (e *Env) SparkplugWill(grant *Grant, topic string, payload []byte) {
	if e.Sparkplug == nil || !strings.HasPrefix(topic, sparkplugRoot+"/") {
		return
	}
	c := New(e, nil)
	c.grant, c.version, c.arrivalMs = *grant, 5, e.Clock.Now().UnixMilli()
	_, _, _, _ = c.sparkplug(&Publish{Topic: topic, Payload: payload}) // nobody is there to be told
}
