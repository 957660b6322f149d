package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"muster/registry"
)

// TestGroupCost measures what a hundred groups over telemetry cost per message of eight values, all parts of the gateway and the simulated
// devices together. It runs only with MUSTER_GROUP_COST=1, for it takes half a minute.
func TestGroupCost(t *testing.T) {
	if os.Getenv("MUSTER_GROUP_COST") == "" {
		t.Skip("set MUSTER_GROUP_COST=1 to measure")
	}
	g := startGatewayWith(t, allowAll)
	const devices, perRound = 40, 10_000
	var streams []*stream
	for i := range devices {
		streams = append(streams, dialStream(t, g.devices.PlainAddr().String(), fmt.Sprint("cost-", i), perRound))
	}
	round := func() time.Duration {
		before := processTime(t)
		var all sync.WaitGroup
		for _, s := range streams {
			all.Go(func() { s.send(t) })
		}
		all.Wait()
		return (processTime(t) - before) / (devices * perRound)
	}
	round() // every thing and column is known
	var with, without []time.Duration
	for range 5 {
		without = append(without, round())
		for i := range 100 {
			column := []string{"temperature_c", "voltage_v", "power_w", "speed_kmh"}[i%4]
			base := []float64{20, 225, 350, 0}[i%4]
			text := fmt.Sprintf("telemetry.%s>%v", column, base+float64(i)/4)
			if _, err := g.things.CreateDynamicGroup(t.Context(), registry.DynamicInput{Name: fmt.Sprint("g", i), Definition: registry.Definition{Query: text}}); err != nil {
				t.Fatal(err)
			}
		}
		with = append(with, round())
		for i := range 100 {
			if err := g.things.DeleteGroup(t.Context(), fmt.Sprint("g", i), 0, true); err != nil {
				t.Fatal(err)
			}
		}
	}
	slices.Sort(with)
	slices.Sort(without)
	t.Logf("CPU per message: %s without groups, %s with 100 (medians of 5): %+.1f %%; without %v, with %v",
		without[2], with[2], 100*(float64(with[2])/float64(without[2])-1), without, with)
}

func processTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// stream is a device that sends messages made before.
type stream struct {
	conn     net.Conn
	messages []byte
	acks     int
}

func dialStream(t *testing.T, addr, name string, messages int) *stream {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	field := func(text string) string { return string([]byte{byte(len(text) >> 8), byte(len(text))}) + text }
	packet := func(kind byte, body string) string {
		head := []byte{kind}
		for n := len(body); ; n >>= 7 {
			if n < 128 {
				return string(append(head, byte(n))) + body
			}
			head = append(head, byte(n)|128)
		}
	}
	if _, err := io.WriteString(conn, packet(0x10, field("MQTT")+"\x04\x02\x00\x00"+field(name))); err != nil {
		t.Fatal(err)
	}
	var ack [4]byte
	if _, err := io.ReadFull(conn, ack[:]); err != nil || ack[3] != 0 {
		t.Fatal(err, ack)
	}
	rng := rand.New(rand.NewPCG(uint64(len(name)), 7))
	s := &stream{conn: conn, acks: messages}
	state := [4]float64{20 + float64(rng.IntN(100))/10, 230, 400, 0}
	for i := range messages {
		for c, step := range []int{1, 2, 5, 3} {
			state[c] += float64(rng.IntN(2*step+1)-step) / []float64{10, 10, 1, 1}[c]
		}
		text := fmt.Sprintf(`{"temperature_c":%.1f,"voltage_v":%.1f,"power_w":%.0f,"energy_wh":%d,"lat":48.1371,"lon":11.5754,"speed_kmh":%.0f,"on":true}`,
			state[0], state[1], state[2], i*10, state[3])
		id := i%65535 + 1
		s.messages = append(s.messages, packet(0x32, field("dt/"+name)+string([]byte{byte(id >> 8), byte(id)})+text)...)
	}
	return s
}

// send sends all messages and waits for their acknowledgements.
func (s *stream) send(t *testing.T) {
	done := make(chan error, 1)
	go func() {
		_, err := io.CopyN(io.Discard, bufio.NewReaderSize(s.conn, 64<<10), int64(4*s.acks))
		done <- err
	}()
	for rest := s.messages; len(rest) > 0; {
		n := min(len(rest), 32<<10)
		if _, err := s.conn.Write(rest[:n]); err != nil {
			t.Error(err)
			return
		}
		rest = rest[n:]
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
