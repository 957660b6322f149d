package conformance

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"muster/tsdb/vfs"
)

// testCase tests statements of one or both versions. It is run once per version that it has statements of, in every setup.
type testCase struct {
	v3, v5 string // statement numbers, with blanks between
	alone  bool   // on a server of its own, beside others: it waits for real time, or turns a clock
	run    func(k *kit)
}

func cases() []testCase {
	return slices.Concat(formCases, connectCases, clientIDCases, sessionCases, willCases, publishCases, retainCases, propertyCases,
		deliveryCases, subscribeCases, filterCases, sharedCases, limitCases, endCases)
}

// kit is what a case has: a server, and the version to speak.
type kit struct {
	*testing.T
	*server
	version byte
}

// TestMain lets all setups wait at the same time: most of what they do is waiting for answers.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" { // see crash_test.go
		if err := runChild(dir); err != nil {
			panic(err)
		}
		return
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "64"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// names makes client ids and topics that no other case has.
var names atomic.Int64

func TestConformance(t *testing.T) {
	for _, s := range setups() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			shared := s.start(t, nil, nil)
			for _, c := range cases() {
				for version, numbers := range map[byte]string{4: c.v3, 5: c.v5} {
					if numbers == "" {
						continue
					}
					t.Run(testName(version, numbers), func(t *testing.T) {
						k := &kit{T: t, server: shared, version: version}
						if c.alone {
							t.Parallel()
							k.server = s.start(t, nil, vfs.NewManual(time.Now()))
						}
						c.run(k)
					})
				}
			}
		})
	}
}

// testName is v5/[MQTT-3.1.2-7][MQTT-3.1.2-8] or the like.
func testName(version byte, numbers string) string {
	name := map[byte]string{4: "v3.1.1/", 5: "v5/"}[version]
	for n := range strings.FieldsSeq(numbers) {
		name += "[MQTT-" + n + "]"
	}
	return name
}

func (k *kit) v5() bool { return k.version == 5 }

// name returns a client id that no other has.
func (k *kit) name(role string) string { return fmt.Sprintf("%s%d", role, names.Add(1)) }

// topic returns the root of topics that only this case uses. They are telemetry of c where the setup's cases publish that.
func (k *kit) topic(c *client) string {
	if k.app {
		return fmt.Sprintf("app/%d", names.Add(1))
	}
	return fmt.Sprintf("dt/%s/%d", c.name, names.Add(1))
}

// value is a payload that telemetry may have.
func value(n int) string { return fmt.Sprintf(`{"v":%d}`, n) }

// raw opens a connection without a CONNECT.
func (k *kit) raw() *client { return &client{t: k.T, conn: k.dial(k.T), version: k.version} }

// say sends a CONNECT, with what follows it.
func (k *kit) say(h hello, more ...[]byte) *client {
	k.Helper()
	c := k.raw()
	c.name = h.id
	c.send(append([][]byte{h.bytes()}, more...)...)
	return c
}

// connect opens a session.
func (k *kit) connect(h hello) *client {
	k.Helper()
	return k.say(h).accepted()
}

// client opens a clean session under a new name.
func (k *kit) client(role string) *client {
	k.Helper()
	return k.connect(newHello(k.version, k.name(role)))
}

// keeper opens a session that outlives its connection.
func (k *kit) keeper(role string) *client {
	k.Helper()
	return k.connect(newHello(k.version, k.name(role)).kept())
}

// again opens a new connection to the session of c, which it keeps, and expects that the session is there.
func (k *kit) again(c *client) *client {
	k.Helper()
	d := k.connect(newHello(k.version, c.name).kept())
	if !d.present {
		k.Fatalf("the session of %s is gone", c.name)
	}
	d.nextID = c.nextID
	return d
}

// drop breaks the connection of c and waits until the server has seen it.
func (k *kit) drop(c *client) {
	k.Helper()
	before := k.Stats().Connections
	_ = c.conn.Close()
	k.eventually("the end of "+c.name, func() bool { return k.Stats().Connections < before })
}

func (k *kit) eventually(what string, ok func() bool) {
	k.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			k.Fatalf("%s did not come", what)
		}
	}
}

// advance turns the clock of a case that runs alone, and waits until the server has done what was due.
func (k *kit) advance(d time.Duration) {
	k.Helper()
	clock := k.clock.(*vfs.Manual)
	for end := clock.Now().Add(d); clock.Now().Before(end); {
		clock.Advance(time.Second)
		time.Sleep(2 * time.Millisecond) // the broker's tick waits for the next second only when it has dealt with this one
	}
}

// options packs what a subscription asks for (v5 section 3.8.3.1).
func options(qos byte, noLocal, asPublished bool, handling byte) byte {
	o := qos | handling<<4
	if noLocal {
		o |= 4
	}
	if asPublished {
		o |= 8
	}
	return o
}
