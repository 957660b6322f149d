package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"muster/admin"
	"muster/agent"
	"muster/agent/wire"
	"muster/bench/sim"
	"muster/pki"
	"muster/registry"
	"muster/registry/account"
)

const (
	maxDemoDevices = 5000
	// demoHistoryStep is the time between two rows of what a simulated device recorded before its first connection.
	demoHistoryStep = time.Minute
	demoPublishWait = 30 * time.Second
)

// demo is a gateway and the fleet that is simulated for it.
type demo struct {
	devices  int
	interval time.Duration
	history  time.Duration
	replay   string
}

func (d *demo) addFlags(flags *flag.FlagSet) {
	flags.IntVar(&d.devices, "devices", 200, "`number` of simulated devices, 1 to 5000")
	flags.DurationVar(&d.interval, "interval", 5*time.Second, "`time` between two messages of a device")
	flags.DurationVar(&d.history, "history", time.Hour, "`time` of recorded telemetry that a device sends first, at most 12h")
	flags.StringVar(&d.replay, "replay", "../shared/data/nab", "`folder` with recorded series (CSV: timestamp, value) that half of the devices replay")
}

func (d *demo) validate() error {
	switch {
	case d.devices < 1 || d.devices > maxDemoDevices:
		return fmt.Errorf("--devices %d: want 1 to %d", d.devices, maxDemoDevices)
	case d.interval < 100*time.Millisecond:
		return fmt.Errorf("--interval %s: want 100ms or more", d.interval)
	case d.history < 0 || d.history > 12*time.Hour:
		return fmt.Errorf("--history %s: want 0 to 12h", d.history)
	}
	return nil
}

// demoCommand runs a gateway and a fleet of true clients: each has its own key, enrolls, connects with its certificate,
// publishes QoS 1 and reconnects.
func demoCommand(ctx context.Context, args []string, out, errs io.Writer) error {
	var d demo
	s := newSettings("demo")
	s.mqttAddr, s.httpAddr, s.logLevel = "127.0.0.1:8883", "127.0.0.1:8443", "warn"
	for name, value := range map[string]string{"mqtt.addr": s.mqttAddr, "http.addr": s.httpAddr, "log.level": s.logLevel} {
		s.flags.Lookup(name).DefValue = value
	}
	d.addFlags(s.flags)
	if err := s.load(args, os.Environ(), out); err != nil {
		return err
	}
	if err := d.validate(); err != nil {
		return err
	}
	series, err := sim.ReadSeries(os.DirFS(d.replay))
	if err != nil {
		return err
	}
	g, err := openGateway(ctx, s, errs)
	if err != nil {
		return err
	}
	served, stop := context.WithCancel(ctx)
	defer stop()
	failed := make(chan error, 1)
	go func() {
		failed <- g.run(served)
		stop()
	}()
	g.announce(out)
	err = d.run(served, g, sim.Fleet(d.devices, 1, series), out)
	stop()
	if ended := <-failed; ended != nil {
		return ended
	}
	return err
}

// run enrolls the fleet, tells the person what to try, and lets the fleet publish until ctx ends.
func (d *demo) run(ctx context.Context, g *gateway, fleet []*sim.Device, out io.Writer) error {
	start := time.Now()
	connected := make(chan struct{}, len(fleet)) // one for each device's first connection
	devices, err := d.authorize(ctx, g, fleet, func() { connected <- struct{}{} })
	if err != nil {
		return fmt.Errorf("simulated fleet: %w", err)
	}
	var running sync.WaitGroup
	defer running.Wait()
	for i, device := range devices {
		fresh := device.Certificate() == nil
		running.Go(func() {
			if err := device.Run(ctx); err != nil {
				g.log.Error("simulated device ended", "thing", device.Thing(), "err", err)
			}
		})
		running.Go(func() {
			if fresh {
				d.publishHistory(ctx, device, fleet[i])
			}
			d.publish(ctx, device, fleet[i])
		})
	}
	count := countUntil(ctx, time.Minute, connected, len(devices))
	if ctx.Err() != nil {
		return nil
	}
	fmt.Fprintf(out, "\n%d of %d simulated devices made a key, enrolled and connected in %.1f s.\n",
		count, len(devices), time.Since(start).Seconds())
	if err := d.greet(ctx, g, fleet[0].Name, out); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// countUntil receives n times from events, for at most the given time, and returns how often it did.
func countUntil(ctx context.Context, wait time.Duration, events <-chan struct{}, n int) int {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for count := range n {
		select {
		case <-ctx.Done():
			return count
		case <-events:
		}
	}
	return n
}

// authorize puts the key of every device on the allow-list and its attributes into the registry.
func (d *demo) authorize(ctx context.Context, g *gateway, fleet []*sim.Device, connected func()) ([]*agent.Device, error) {
	devices := make([]*agent.Device, len(fleet))
	allowed := make([]pki.Allowed, len(fleet))
	for i, simulated := range fleet {
		var once sync.Once
		device, err := agent.NewDevice(agent.Config{
			Thing: simulated.Name, MQTTAddr: admin.LocalAddr(g.devices.Addr()), ESTURL: g.people.URL(""),
			RootPEM: g.identities.RootPEM(), Dir: g.path("demo-fleet", simulated.Name), Log: g.log,
			Connected: func() { once.Do(connected) },
		})
		if err != nil {
			return nil, err
		}
		devices[i] = device
		allowed[i] = pki.Allowed{Key: device.KeyHash(), ThingName: simulated.Name, ThingTypeName: simulated.Type}
	}
	if _, err := g.identities.EnsureAllowed(ctx, allowed); err != nil {
		return nil, err
	}
	things := make(chan error, len(fleet))
	for _, simulated := range fleet {
		go func() { things <- register(ctx, g.things, simulated) }()
	}
	for range fleet {
		if err := <-things; err != nil {
			return nil, err
		}
	}
	return devices, nil
}

func register(ctx context.Context, things *registry.Registry, device *sim.Device) error {
	_, created, err := things.EnsureThing(ctx, device.Name, device.Type, "demo")
	if err != nil || !created {
		return err
	}
	_, err = things.UpdateThing(ctx, registry.ThingUpdate{Name: device.Name, Attributes: device.Attributes, Merge: true})
	return err
}

// publishHistory sends what the device recorded before it first connected, as one array of rows.
func (d *demo) publishHistory(ctx context.Context, device *agent.Device, simulated *sim.Device) {
	now := time.Now()
	payload := []byte{'['}
	for at := now.Add(-d.history); at.Before(now.Add(-demoHistoryStep)); at = at.Add(demoHistoryStep) {
		payload = append(simulated.AppendJSON(payload, at), ',')
	}
	if len(payload) > 1 {
		payload[len(payload)-1] = ']'
		d.send(ctx, device, payload)
	}
}

// publish sends a message every interval, each after the one before was acknowledged.
func (d *demo) publish(ctx context.Context, device *agent.Device, simulated *sim.Device) {
	next := time.After(rand.N(d.interval)) // so that the fleet does not speak with one voice
	for {
		select {
		case <-ctx.Done():
			return
		case at := <-next:
			next = time.After(d.interval)
			d.send(ctx, device, simulated.AppendJSON(nil, at))
		}
	}
}

// send publishes and waits a bounded time; a refusal is in the gateway's log and counters.
func (d *demo) send(ctx context.Context, device *agent.Device, payload []byte) {
	ctx, cancel := context.WithTimeout(ctx, demoPublishWait)
	defer cancel()
	_ = device.Publish(ctx, wire.TelemetryTopic(device.Thing()), payload)
}

// greet prints the UI's address with a one-time login, and three commands to try.
func (d *demo) greet(ctx context.Context, g *gateway, thing string, out io.Writer) error {
	code, err := g.accounts.NewLoginCode(ctx, "demo", account.Admin)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		self = "muster"
	}
	if wd, err := os.Getwd(); err == nil {
		if relative, err := filepath.Rel(wd, self); err == nil && filepath.IsLocal(relative) {
			self = "./" + relative
		}
	}
	mqttHost, mqttPort, err := net.SplitHostPort(admin.LocalAddr(g.devices.Addr()))
	if err != nil {
		return err
	}
	dir := g.settings.dataDir
	fmt.Fprintf(out, `
  Open   %[1]s
         (one login, within 15 minutes; your browser will ask about the certificate: trust %[2]s)

  Try, in another terminal:

  # PromQL over the fleet, with the registry's attributes as labels
  %[3]s query --data-dir %[4]s 'avg by (city, thing_type) (power_w)'

  # a device's twin: the last value of every column
  %[3]s query --data-dir %[4]s --twin %[5]s

  # a new device: its own key, allowed, enrolled; then mosquitto_pub with its certificate
  %[3]s agent key --thing my-lamp --dir my-lamp | %[3]s admin allow --data-dir %[4]s - &&
  %[3]s agent enroll --gateway %[6]s:%[7]s --est-url %[8]s --thing my-lamp --dir my-lamp --ca %[2]s &&
  mosquitto_pub -h %[6]s -p %[7]s --cafile %[2]s --cert my-lamp/cert.pem --key my-lamp/key.pem \
    -i my-lamp -t dt/my-lamp -q 1 -m '{"power_w": 41.2, "on": true}'

  Ctrl-C ends the gateway and the fleet; %[4]s keeps both for the next start.
`, g.people.URL("/login#code="+code), g.path("ca.pem"), self, dir, thing, mqttHost, mqttPort, g.people.URL(""))
	return nil
}
