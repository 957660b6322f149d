package agent

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"muster/agent/wire"
)

const usage = `The agent makes this machine a device: it makes a key, enrolls at the gateway, keeps its certificate current and
publishes the machine's telemetry (processor, memory, disk, temperature) to dt/<thing>.

Usage:
  muster agent --gateway HOST[:PORT] --thing NAME (--ca FILE | --ca-sha256 HASH) [flags]
  muster agent key --thing NAME [--dir DIR] [--type TYPE]
  muster agent enroll --gateway HOST[:PORT] --thing NAME (--ca FILE | --ca-sha256 HASH) [flags]

Examples:
  muster agent key --thing lamp-1
      makes the key if there is none and prints the CSV text for the gateway's allow-list (muster admin allow)
  muster agent enroll --gateway 192.168.1.10 --thing lamp-1 --ca ca.pem
      only gets the certificate: DIR then has key.pem and cert.pem for any MQTT client
  muster agent --gateway 192.168.1.10 --thing lamp-1 --ca ca.pem
      enrolls and runs; ca.pem is the gateway's root certificate, <data-dir>/ca.pem there
  muster agent --gateway gw.local --thing lamp-1 --ca-sha256 5f0c...e1
      the same without a file: openssl x509 -in ca.pem -noout -fingerprint -sha256 prints the hash at the gateway
  muster agent --gateway gw.local:18883 --http-port 18443 --thing lamp-1 --interval 1m
      other ports; the root certificate is known from the first time

Flags:
`

// Main runs the agent's command line until ctx ends and returns the process's exit code: 0 when it was asked to stop,
// 1 for a fault, 2 for a wrong command line. args are without the program's name ("muster agent").
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	run := runAgent
	if len(args) > 0 {
		switch args[0] {
		case "key":
			run, args = showKey, args[1:]
		case "enroll":
			run, args = enrollOnly, args[1:]
		}
	}
	err := run(ctx, args, stdout, stderr)
	wrong := (*usageError)(nil)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &wrong):
		fmt.Fprintf(stderr, "muster agent: %v\nmuster agent --help says more\n", err)
		return 2
	default:
		fmt.Fprintf(stderr, "muster agent: %v\n", err)
		return 1
	}
}

type usageError struct{ error }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// parseFlags parses args into flags. --help prints the help to stdout and is flag.ErrHelp.
func parseFlags(flags *flag.FlagSet, args []string, stdout io.Writer) error {
	flags.SetOutput(io.Discard)
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return err
	}
	if err != nil {
		return &usageError{err}
	}
	if flags.NArg() > 0 {
		return usagef("%q is not understood: flags begin with --", flags.Arg(0))
	}
	return nil
}

// defaultDir is where systemd lets a service keep its state, or else a folder here.
func defaultDir() string {
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" {
		return dir
	}
	return "muster-agent"
}

func showKey(_ context.Context, args []string, stdout, _ io.Writer) error {
	flags := flag.NewFlagSet("muster agent key", flag.ContinueOnError)
	thing := flags.String("thing", "", "name of this device's thing")
	typ := flags.String("type", "", "name of its thing type, for the allow-list")
	dir := flags.String("dir", defaultDir(), "folder of the key and the certificate")
	if err := parseFlags(flags, args, stdout); err != nil {
		return err
	}
	if err := wire.CheckThingName(*thing); err != nil {
		return usagef("--thing: %v", err)
	}
	id := &identity{}
	if err := id.openKey(&Config{Dir: *dir}); err != nil {
		return err
	}
	_, err := fmt.Fprintf(stdout, "%s\n%s\n", allowHeader, allowLine(*thing, id.hash, *typ))
	return err
}

// allowHeader is the first line of an allow-list as CSV.
const allowHeader = "thingName,spkiSha256,thingTypeName"

// allowLine is a row of the gateway's allow-list as CSV.
func allowLine(thing string, key wire.KeyHash, typ string) string {
	return thing + "," + key.String() + "," + typ
}

// agentFlags are the flags of the running agent.
type agentFlags struct {
	gateway, httpPort, estURL, thing, dir, ca, caSHA256 string
	interval                                            time.Duration
}

// parse reads args and makes the device.
func (f *agentFlags) parse(args []string, stdout, stderr io.Writer) (*Device, error) {
	flags := flag.NewFlagSet("muster agent", flag.ContinueOnError)
	flags.StringVar(&f.gateway, "gateway", "", "`HOST[:PORT]` of the gateway's MQTT listener (default port 8883)")
	flags.StringVar(&f.httpPort, "http-port", "8443", "`port` of the gateway's HTTP listener, where devices enroll")
	flags.StringVar(&f.estURL, "est-url", "", "enrollment `URL` https://host:port, if it is not the gateway's")
	flags.StringVar(&f.thing, "thing", "", "`name` of this device's thing")
	flags.StringVar(&f.dir, "dir", defaultDir(), "`folder` of the key and the certificate; made readable for its owner only")
	flags.StringVar(&f.ca, "ca", "", "`file` with the gateway's root certificate")
	flags.StringVar(&f.caSHA256, "ca-sha256", "", "SHA-256 `hash` of the gateway's root certificate, instead of the file")
	flags.DurationVar(&f.interval, "interval", 10*time.Second, "`time` between two readings, 1s to 24h")
	if err := parseFlags(flags, args, stdout); err != nil {
		return nil, err
	}
	cfg, err := f.config()
	if err != nil {
		return nil, err
	}
	cfg.Log = slog.New(slog.NewTextHandler(stderr, nil))
	return NewDevice(cfg)
}

// enrollOnly gets the device's first certificate and ends.
func enrollOnly(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var f agentFlags
	device, err := f.parse(args, stdout, stderr)
	if err != nil {
		return err
	}
	if device.Certificate() == nil {
		if err := device.Enroll(ctx); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(stdout, "%s has a certificate until %s: %s\n",
		f.thing, device.Certificate().NotAfter.Format(time.RFC3339), filepath.Join(f.dir, certFile))
	return err
}

func runAgent(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var f agentFlags
	device, err := f.parse(args, stdout, stderr)
	if err != nil {
		return err
	}
	if device.Certificate() == nil {
		fmt.Fprintf(stdout, "allow %s\n", allowLine(f.thing, device.KeyHash(), ""))
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		publishReadings(ctx, device, f.interval, f.dir)
	}()
	err = device.Run(ctx)
	stop()
	<-finished
	return err
}

// config checks the flags and makes a device's configuration of them.
func (f *agentFlags) config() (Config, error) {
	if f.gateway == "" {
		return Config{}, usagef("--gateway is missing: say where the gateway is")
	}
	if err := wire.CheckThingName(f.thing); err != nil {
		return Config{}, usagef("--thing: %v", err)
	}
	if f.interval < time.Second || f.interval > 24*time.Hour {
		return Config{}, usagef("--interval %v is not between 1s and 24h", f.interval)
	}
	if f.ca != "" && f.caSHA256 != "" {
		return Config{}, usagef("--ca and --ca-sha256 say the same in two ways: give one")
	}
	host, port, err := net.SplitHostPort(f.gateway)
	if err != nil { // no port, perhaps an IPv6 address
		host, port = strings.Trim(f.gateway, "[]"), "8883"
	}
	if f.estURL == "" {
		f.estURL = "https://" + net.JoinHostPort(host, f.httpPort)
	}
	cfg := Config{Thing: f.thing, MQTTAddr: net.JoinHostPort(host, port), ESTURL: f.estURL, RootSHA256: f.caSHA256, Dir: f.dir}
	if f.ca != "" {
		if cfg.RootPEM, err = os.ReadFile(f.ca); err != nil {
			return Config{}, fmt.Errorf("the gateway's root certificate: %w", err)
		}
	} else if _, err := os.Stat(filepath.Join(f.dir, rootFile)); err != nil && f.caSHA256 == "" {
		return Config{}, usagef("nothing says which gateway to trust: give --ca ca.pem or --ca-sha256 HASH")
	}
	return cfg, nil
}

// publishReadings queues a reading every interval until ctx ends.
func publishReadings(ctx context.Context, device *Device, interval time.Duration, dir string) {
	h := &host{files: os.DirFS("/"), disk: diskOf(dir)}
	h.cpu() // the load is the mean between two readings; this is the first
	topic := wire.TelemetryTopic(device.Thing())
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			if err := device.Send(topic, h.appendReading(nil, now)); err != nil {
				panic("BUG: a reading that cannot be sent: " + err.Error())
			}
		}
	}
}
