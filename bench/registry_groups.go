package bench

import (
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"slices"
	"time"

	"muster/agent/wire"
)

// The columns and attributes that the probes change; nothing else uses them.
const (
	probeAttribute = "probe"
	probeColumn    = "probe_level"
	probeGroups    = 20
)

// makeGroups makes the dynamic groups over attributes, and those that the probes enter and leave.
func (b *registryBench) makeGroups(ctx context.Context) error {
	rng := mathrand.New(mathrand.NewPCG(b.seed, 2))
	var h histogram
	for i := range b.groups {
		took, err := b.makeGroup(ctx, fmt.Sprintf("attr-%04d", i), registryQuery(rng, b.things, 1+rng.IntN(4)))
		if err != nil {
			return err
		}
		h.record(took)
	}
	b.row(fmt.Sprintf("CreateDynamicThingGroup, %d of them", b.groups), &h, "")
	for i := range probeGroups {
		if _, err := b.makeGroup(ctx, probeGroup("probe", i), fmt.Sprintf("attributes.%s:value-%d", probeAttribute, i)); err != nil {
			return err
		}
		query := fmt.Sprintf("telemetry.%s:[%d TO %d}", probeColumn, 10*i, 10*(i+1))
		if _, err := b.makeGroup(ctx, probeGroup("level", i), query); err != nil {
			return err
		}
	}
	return nil
}

func (b *registryBench) makeGroup(ctx context.Context, name, query string) (time.Duration, error) {
	return b.api.do(ctx, "POST", "/iot/dynamic-thing-groups/"+name, map[string]any{"queryString": query}, nil)
}

func probeGroup(kind string, i int) string { return fmt.Sprintf("%s-%02d", kind, i) }

// groupsOf returns the names of the groups that a thing is in.
func (b *registryBench) groupsOf(ctx context.Context, thing string) (names []string, err error) {
	var page struct {
		ThingGroups []struct {
			GroupName string `json:"groupName"`
		} `json:"thingGroups"`
		NextToken string `json:"nextToken"`
	}
	path := "/iot/things/" + thing + "/thing-groups?maxResults=250"
	for next := path; ; next = path + "&nextToken=" + page.NextToken {
		page.NextToken = ""
		page.ThingGroups = nil
		if _, err := b.api.do(ctx, "GET", next, nil, &page); err != nil {
			return nil, err
		}
		for _, group := range page.ThingGroups {
			names = append(names, group.GroupName)
		}
		if page.NextToken == "" {
			return names, nil
		}
	}
}

// visibleTimeout is how long a probe waits for a change of members.
const visibleTimeout = 10 * time.Second

// await asks until thing is in the group enter and not in the group leave, and returns how long that took since began.
func (b *registryBench) await(ctx context.Context, began time.Time, thing, enter, leave string) (time.Duration, error) {
	for {
		names, err := b.groupsOf(ctx, thing)
		if err != nil {
			return 0, err
		}
		since := time.Since(began)
		if slices.Contains(names, enter) && !slices.Contains(names, leave) {
			return since, nil
		}
		if since > visibleTimeout {
			b.fault("%s is in %v, want %s and not %s", thing, names, enter, leave)
			return since, nil
		}
		if err := sleep(ctx, time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// changeMembers changes an attribute of one thing after the other, each time from one group to the next.
func (b *registryBench) changeMembers(ctx context.Context) error {
	var h histogram
	for i := range b.probes {
		thing := newRegistryThing(i / probeGroups % b.things).name
		at := i % probeGroups
		if _, err := b.api.do(ctx, "PATCH", "/iot/things/"+thing, attributePatch(probeAttribute, fmt.Sprintf("value-%d", at)), nil); err != nil {
			return err
		}
		took, err := b.await(ctx, time.Now(), thing, probeGroup("probe", at), probeGroup("probe", (at+probeGroups-1)%probeGroups))
		if err != nil {
			return err
		}
		h.record(took)
	}
	b.row("members show a write, after its answer", &h, "100ms")
	return nil
}

// crossThresholds publishes values of one thing after the other, each time from one group to the next.
func (b *registryBench) crossThresholds(ctx context.Context) error {
	var h histogram
	var d *probeDevice
	defer func() { d.close() }()
	for i := range b.probes {
		thing := newRegistryThing(i / probeGroups % b.things).name
		if d == nil || d.thing != thing {
			d.close()
			var err error
			if d, err = dialProbe(ctx, b.g.plain, thing); err != nil {
				return err
			}
		}
		at := i % probeGroups
		began := time.Now()
		if err := d.publish(fmt.Sprintf(`{%q:%d}`, probeColumn, 10*at+5)); err != nil {
			return err
		}
		took, err := b.await(ctx, began, thing, probeGroup("level", at), probeGroup("level", (at+probeGroups-1)%probeGroups))
		if err != nil {
			return err
		}
		h.record(took)
	}
	b.row("members show a sample, after it was sent", &h, "1s")
	return nil
}

// probeDevice is a device that publishes one message at a time. A nil one has nothing to close.
type probeDevice struct {
	thing  string
	conn   net.Conn
	reader packetReader
}

func dialProbe(ctx context.Context, addr, thing string) (*probeDevice, error) {
	conn, err := handshake(ctx, addr, appendConnect(nil, mqtt311, thing, 600), nil, plainTCP)
	if err != nil {
		return nil, fmt.Errorf("%s: connect: %w", thing, err)
	}
	return &probeDevice{thing: thing, conn: conn, reader: packetReader{conn: conn}}, nil
}

// publish sends one message at QoS 1 and waits for its acknowledgement.
func (d *probeDevice) publish(payload string) error {
	if _, err := d.conn.Write(appendPublish(nil, mqtt311, 1, 1, wire.TelemetryTopic(d.thing), []byte(payload))); err != nil {
		return err
	}
	d.conn.SetReadDeadline(time.Now().Add(answerTimeout))
	p, err := d.reader.next()
	if err == nil && p.kind != packetPuback {
		err = fmt.Errorf("the gateway answers with packet type %d", p.kind)
	}
	return err
}

func (d *probeDevice) close() {
	if d != nil {
		d.conn.Close()
	}
}
