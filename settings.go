package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"muster/ingest"
	"muster/ingest/broker"
	"muster/ingest/lane"
)

// settings are all settings of `muster serve`. A setting has one name: `mqtt.addr` is the flag --mqtt.addr, the
// environment variable MUSTER_MQTT_ADDR and the YAML `mqtt: {addr: ...}`. The order is default < file < env < flag.
type settings struct {
	config, dataDir, bootstrap string
	check                      bool

	mqttAddr, mqttPlainAddr string
	mqttPlainAnywhere       bool
	mqttPerAddress          int

	httpAddr, httpNames string

	ingestAck, ingestTLS, ingestLoop string
	ingestProxyFrom                  prefixes
	ingestTopics                     string
	ingestSparkplug                  bool
	ingestMaxConns                   int
	ingestThingRates, ingestRates    ingest.Rates
	ingestDrain                      period
	ingestPackets                    lane.Limits
	ingestSessions                   broker.Limits
	ingestSessionExpiry              period

	tsdbMemory, tsdbDiskLimit                       byteSize
	tsdbRetention, tsdbRetention5m, tsdbRetention1h period

	remoteURL, remoteTokenFile, remoteCAFile, remoteGateway string
	remoteQueueLimit                                        byteSize

	pkiUnlockFile, pkiPassphraseFile string
	pkiLife                          period
	pkiServerKeys                    bool

	selfRecordEvery period

	awsAccount, awsRegion string

	limits registryLimits

	logLevel, logFormat string

	origin map[string]string // setting -> "default", "file F", "env NAME" or "flag"
	flags  *flag.FlagSet
}

// registryLimits are the limits of the registry that may be wider than AWS IoT's.
type registryLimits struct {
	attributes, typeAttributes, queryTerms                        int
	groupDepth, groupChildren, groupsPerThing, groupsPerHierarchy int
}

// limit is a setting that is a whole number from 1.
type limit struct {
	value          *int
	name, what     string
	standard, most int
}

func (r *registryLimits) all() []limit {
	return []limit{
		{&r.attributes, "registry.max-attributes", "attributes of a thing without a thing type; `number` of AWS: 3", 3, 1000},
		{&r.typeAttributes, "registry.max-type-attributes", "attributes of a thing with a thing type; `number` of AWS: 50", 50, 1000},
		{&r.groupDepth, "registry.max-group-depth", "thing groups below one another; `number` of AWS: 7", 7, 100},
		{&r.groupChildren, "registry.max-group-children", "thing groups directly below another; `number` of AWS: 100", 100, 1_000_000},
		{&r.groupsPerThing, "registry.max-groups-per-thing", "static thing groups that a thing is in; `number` of AWS: 10", 10, 10_000},
		{&r.groupsPerHierarchy, "registry.max-groups-per-hierarchy", "of these, below the same root; `number` of AWS: 1", 1, 10_000},
		{&r.queryTerms, "registry.max-query-terms", "terms of a fleet query; `number` of AWS: 12", 512, 10_000},
	}
}

// mqttLimits are the limits of what clients may send and of what is kept for them.
func (s *settings) mqttLimits() []limit {
	packets, sessions := lane.DefaultLimits(), broker.DefaultLimits()
	return []limit{
		{&s.ingestPackets.PacketBytes, "ingest.max-packet", "`bytes` of an MQTT packet, but of a CONNECT 8192", packets.PacketBytes, 512 << 10},
		{&s.ingestPackets.TopicLevels, "ingest.max-topic-levels", "`levels` of a topic or filter, beyond dt/<thing> or $aws/things/<thing>", packets.TopicLevels, 128},
		{&s.ingestPackets.Filters, "ingest.max-filters", "`filters` of one SUBSCRIBE; those beyond are refused", packets.Filters, 10_000},
		{&s.ingestPackets.InFlight, "ingest.max-in-flight", "QoS 1 and 2 `messages` that a client, and the gateway to it, may have unacknowledged (receive maximum)", packets.InFlight, 1000},
		{&s.ingestSessions.Subscriptions, "ingest.max-subscriptions", "`subscriptions` of a session", sessions.Subscriptions, 10_000},
		{&s.ingestSessions.QueueMessages, "ingest.max-queued-messages", "QoS 1 and 2 `messages` that wait for one session; further ones are dropped for it", sessions.QueueMessages, 1_000_000},
		{&s.ingestSessions.QueueBytes, "ingest.max-queued-bytes", "`bytes` of these", sessions.QueueBytes, 1 << 30},
		{&s.ingestSessions.Sessions, "ingest.max-sessions", "`sessions`, with a connection or without", sessions.Sessions, 10_000_000},
		{&s.ingestSessions.Retained, "ingest.max-retained", "retained `messages`", sessions.Retained, 10_000_000},
		{&s.ingestSessions.RetainedBytes, "ingest.max-retained-bytes", "`bytes` of these", sessions.RetainedBytes, 1 << 30},
		{&s.ingestSessions.RetainedPerClient, "ingest.max-retained-per-client", "retained `messages` of one client", sessions.RetainedPerClient, 1_000_000},
	}
}

// newSettings returns the defaults, with the flags that change them.
func newSettings(name string) *settings {
	s := &settings{tsdbRetention: period(365 * 24 * time.Hour), pkiLife: period(30 * 24 * time.Hour), ingestDrain: period(5 * time.Second),
		ingestPackets: lane.DefaultLimits(), ingestSessions: broker.DefaultLimits(), ingestSessionExpiry: period(broker.DefaultLimits().SessionExpiry), selfRecordEvery: period(15 * time.Second)}
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	s.flags = f
	f.StringVar(&s.config, "config", "", "YAML `file` with any of these settings")
	f.BoolVar(&s.check, "check", false, "print every setting, its value and where it came from, and stop")
	f.StringVar(&s.dataDir, "data-dir", "./data", "`folder` that holds everything this gateway keeps")
	f.StringVar(&s.bootstrap, "bootstrap", "", "JSON `file` with accounts, allowed devices and CAs, applied at every start")
	f.StringVar(&s.mqttAddr, "mqtt.addr", ":8883", "`address` for devices: MQTT 3.1.1 and 5 over mutual TLS")
	f.StringVar(&s.mqttPlainAddr, "mqtt.plain-addr", "", "`address` for MQTT without TLS, for development and load tests; off if empty")
	f.BoolVar(&s.mqttPlainAnywhere, "mqtt.plain-anywhere", false, "allow mqtt.plain-addr beyond the loopback interface")
	f.IntVar(&s.mqttPerAddress, "mqtt.per-address", 1000, "new connections per second that one network `address` may make, 1 to 100000")
	f.StringVar(&s.httpAddr, "http.addr", ":8443", "`address` for people and programs: UI, API, enrollment, metrics (TLS)")
	f.StringVar(&s.httpNames, "http.names", "", "further host `names` and addresses for the server certificate, separated by commas")
	f.StringVar(&s.ingestAck, "ingest.ack", "disk", "when a QoS 1 message is acknowledged: `disk` (after fsync) or memory")
	f.StringVar(&s.ingestTLS, "ingest.tls", "compact", "what handles TLS 1.3 records after the handshake: `compact`, which takes least memory, or stdlib")
	f.StringVar(&s.ingestLoop, "ingest.loop", "", "what waits for idle connections: `epoll` or goroutine; epoll where there is one if empty")
	f.StringVar(&s.ingestTopics, "ingest.topics", "", "further telemetry `topics` besides dt/<thing>, separated by commas: sensors/{thing}/data, v1/devices/me/telemetry, plant/{stream}/{thing}/#")
	f.BoolVar(&s.ingestSparkplug, "ingest.sparkplug", false, "take messages of Sparkplug B edge nodes on spBv1.0/... as telemetry")
	f.IntVar(&s.ingestMaxConns, "ingest.max-connections", 100_000, "device connections at a time, a `number` from 1 to 10000000; beyond, new ones are turned away")
	f.Var(&s.ingestDrain, "ingest.drain", "`time` over which a gateway that stops ends the connections of devices, so that they do not come back all at once; 0 ends all at once")
	f.Var(&s.ingestSessionExpiry, "ingest.max-session-expiry", "`time` that a session may outlive its connection (1m to 1y); sessions of MQTT 3.1.1 without clean session have it")
	for _, r := range s.rates() {
		f.IntVar(r.value, r.name, 0, r.usage)
	}
	f.Var(&s.ingestProxyFrom, "ingest.proxy-from", "`networks` (10.0.0.0/8, 192.0.2.7) of load balancers: from there device connections begin with a PROXY protocol header, version 2")
	f.Var(&s.tsdbMemory, "tsdb.memory", "memory for open telemetry blocks, in `bytes` (256MB); 0 is a quarter of the machine")
	f.Var(&s.tsdbRetention, "tsdb.retention", "`age` at which telemetry is deleted (12h, 30d, 1y)")
	f.Var(&s.tsdbRetention5m, "tsdb.retention-5m", "`age` at which summaries of five minutes are deleted, longer than tsdb.retention; 0 makes none")
	f.Var(&s.tsdbRetention1h, "tsdb.retention-1h", "`age` at which summaries of an hour are deleted, longer than tsdb.retention; 0 makes none")
	f.Var(&s.tsdbDiskLimit, "tsdb.disk-limit", "telemetry on disk, in `bytes` (20GB), beyond which the oldest is deleted; 0 is no limit")
	f.StringVar(&s.remoteURL, "remote.url", "", "`address` of a Prometheus-compatible store that telemetry is sent on to (remote write 1.0); off if empty")
	f.StringVar(&s.remoteTokenFile, "remote.bearer-token-file", "", "`file` with the token for remote.url; read again for each request")
	f.StringVar(&s.remoteCAFile, "remote.tls-ca", "", "PEM `file` with the certificates to trust for remote.url, instead of this machine's")
	f.StringVar(&s.remoteGateway, "remote.gateway-label", "", "`value` of the label gateway on what is sent on; the name of this machine if empty")
	f.Var(&s.remoteQueueLimit, "remote.queue-limit", "what may wait for remote.url, in `bytes` (2GB), beyond which the oldest is dropped; 0 is no limit but the disk")
	f.StringVar(&s.pkiUnlockFile, "pki.unlock-file", "", "`file` with the key that unlocks the CA; <data-dir>/pki/unlock.key if empty")
	f.StringVar(&s.pkiPassphraseFile, "pki.passphrase-file", "", "`file` with a passphrase that unlocks the CA, instead of pki.unlock-file")
	f.BoolVar(&s.pkiServerKeys, "pki.allow-server-keys", false, "let CreateKeysAndCertificate make keys of devices on this gateway")
	f.Var(&s.pkiLife, "pki.life", "`life` of a device certificate (1h to 825d)")
	f.Var(&s.selfRecordEvery, "self.record-every", "`time` between the gateway's own figures in its twin store (muster_things_connected ...); 0 records none")
	for _, l := range slices.Concat(s.mqttLimits(), s.limits.all()) {
		f.IntVar(l.value, l.name, l.standard, fmt.Sprintf("%s, 1 to %d", l.what, l.most))
	}
	f.StringVar(&s.awsAccount, "aws.account-id", "000000000000", "12-digit account `id` shown in ARNs")
	f.StringVar(&s.awsRegion, "aws.region", "local", "`region` shown in ARNs")
	f.StringVar(&s.logLevel, "log.level", "info", "`level`: debug, info, warn or error")
	f.StringVar(&s.logFormat, "log.format", "text", "`format`: text or json")
	f.SetOutput(io.Discard) // errors are returned; help is printed by usage
	return s
}

// rateSetting is a setting of a quota.
type rateSetting struct {
	name, usage string
	value       *int
}

func (s *settings) rates() []rateSetting {
	var list []rateSetting
	for _, scope := range []struct {
		prefix, of string
		rates      *ingest.Rates
	}{{"ingest.thing-", "one thing", &s.ingestThingRates}, {"ingest.", "all things", &s.ingestRates}} {
		list = append(list,
			rateSetting{scope.prefix + "messages-per-second", "`messages` per second that " + scope.of + " may send; 0 is no limit", &scope.rates.Messages},
			rateSetting{scope.prefix + "bytes-per-second", "`bytes` of messages per second that " + scope.of + " may send; 0 is no limit", &scope.rates.Bytes},
			rateSetting{scope.prefix + "samples-per-second", "`values` of telemetry per second that " + scope.of + " may send; 0 is no limit", &scope.rates.Samples})
	}
	return list
}

// loadSettings reads args, the environment and the file that they name.
//
// flag.ErrHelp is returned for --help, after the help was written to out.
func loadSettings(name string, args, environ []string, out io.Writer) (*settings, error) {
	s := newSettings(name)
	return s, s.load(args, environ, out)
}

func (s *settings) load(args, environ []string, out io.Writer) error {
	if err := s.flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			s.usage(out)
			return err
		}
		return fmt.Errorf("%w; `muster %s --help` lists the settings", err, s.flags.Name())
	}
	if rest := s.flags.Args(); len(rest) > 0 {
		return fmt.Errorf("unexpected argument %q; settings are written --name=value", rest[0])
	}
	s.origin = map[string]string{}
	s.flags.VisitAll(func(f *flag.Flag) { s.origin[f.Name] = "default" })
	s.flags.Visit(func(f *flag.Flag) { s.origin[f.Name] = "flag" })
	env := map[string]string{} // setting -> value
	for _, entry := range environ {
		key, value, _ := strings.Cut(entry, "=")
		s.flags.VisitAll(func(f *flag.Flag) {
			if key == envName(f.Name) {
				env[f.Name] = value
			}
		})
	}
	if value, ok := env["config"]; ok && s.origin["config"] == "default" {
		s.config, s.origin["config"] = value, "env "+envName("config")
	}
	if s.config != "" {
		file, err := s.readFile()
		if err != nil {
			return err
		}
		if err := s.apply(file, func(string) string { return "file " + s.config }); err != nil {
			return err
		}
	}
	if err := s.apply(env, func(name string) string { return "env " + envName(name) }); err != nil {
		return err
	}
	return s.validate()
}

// apply sets what neither a flag nor a stronger source has set.
func (s *settings) apply(values map[string]string, origin func(name string) string) error {
	for name, value := range values {
		if s.origin[name] == "flag" || name == "config" {
			continue
		}
		if err := s.flags.Set(name, value); err != nil {
			return fmt.Errorf("setting %s = %q (%s): %w", name, value, origin(name), err)
		}
		s.origin[name] = origin(name)
	}
	return nil
}

// readFile returns the settings of the YAML file by their dotted names.
func (s *settings) readFile() (map[string]string, error) {
	text, err := os.ReadFile(s.config)
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return nil, fmt.Errorf("settings file %q is not YAML: %w", s.config, err)
	}
	values := map[string]string{}
	if err := s.flatten(values, "", tree); err != nil {
		return nil, fmt.Errorf("settings file %q: %w", s.config, err)
	}
	return values, nil
}

func (s *settings) flatten(values map[string]string, prefix string, tree map[string]any) error {
	for key, node := range tree {
		name := prefix + key
		switch node := node.(type) {
		case map[string]any:
			if err := s.flatten(values, name+".", node); err != nil {
				return err
			}
		case string, bool, int, float64:
			if s.flags.Lookup(name) == nil || name == "check" {
				return fmt.Errorf("unknown setting %q%s", name, s.nearest(name))
			}
			values[name] = fmt.Sprint(node)
		default:
			return fmt.Errorf("setting %q must be one value", name)
		}
	}
	return nil
}

// nearest suggests the setting that name may have meant, as the end of a sentence.
func (s *settings) nearest(name string) string {
	best, bestScore := "", 0
	s.flags.VisitAll(func(f *flag.Flag) {
		score := 0
		for score < min(len(name), len(f.Name)) && name[score] == f.Name[score] {
			score++
		}
		if _, last, found := strings.Cut(f.Name, "."); found && strings.HasSuffix(name, last) {
			score += len(last)
		}
		if score > bestScore {
			best, bestScore = f.Name, score
		}
	})
	if bestScore < 3 {
		return "; `muster serve --help` lists them"
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

func (s *settings) validate() error {
	oneOf := func(name, value string, allowed ...string) error {
		if slices.Contains(allowed, value) {
			return nil
		}
		return fmt.Errorf("setting %s = %q (%s): want one of %s", name, value, s.origin[name], strings.Join(allowed, ", "))
	}
	within := func(name string, value, low, high time.Duration) error {
		if low <= value && value <= high {
			return nil
		}
		return fmt.Errorf("setting %s = %s (%s): want %s to %s", name, period(value), s.origin[name], period(low), period(high))
	}
	const day = 24 * time.Hour
	errs := []error{
		oneOf("ingest.ack", s.ingestAck, "disk", "memory"),
		oneOf("ingest.tls", s.ingestTLS, "compact", "stdlib"),
		oneOf("ingest.loop", s.ingestLoop, "", "epoll", "goroutine"),
		oneOf("log.level", s.logLevel, "debug", "info", "warn", "error"),
		oneOf("log.format", s.logFormat, "text", "json"),
		within("ingest.drain", time.Duration(s.ingestDrain), 0, time.Minute),
		within("ingest.max-session-expiry", time.Duration(s.ingestSessionExpiry), time.Minute, 365*day),
		within("pki.life", time.Duration(s.pkiLife), time.Hour, 825*day),
		within("tsdb.retention", time.Duration(s.tsdbRetention), time.Hour, 36500*day),
	}
	if len(s.awsAccount) != 12 || strings.Trim(s.awsAccount, "0123456789") != "" {
		errs = append(errs, fmt.Errorf("setting aws.account-id = %q (%s): want 12 digits", s.awsAccount, s.origin["aws.account-id"]))
	}
	for _, l := range slices.Concat(s.mqttLimits(), s.limits.all()) {
		if *l.value < 1 || *l.value > l.most {
			errs = append(errs, fmt.Errorf("setting %s = %d (%s): want 1 to %d", l.name, *l.value, s.origin[l.name], l.most))
		}
	}
	if s.mqttPerAddress < 1 || s.mqttPerAddress > 100_000 {
		errs = append(errs, fmt.Errorf("setting mqtt.per-address = %d (%s): want 1 to 100000", s.mqttPerAddress, s.origin["mqtt.per-address"]))
	}
	if s.selfRecordEvery != 0 {
		errs = append(errs, within("self.record-every", time.Duration(s.selfRecordEvery), time.Second, time.Hour))
	}
	if _, err := ingest.ParseTopics(splitNames(s.ingestTopics)); err != nil {
		errs = append(errs, fmt.Errorf("setting ingest.topics (%s): %w", s.origin["ingest.topics"], err))
	}
	for _, r := range s.rates() {
		if *r.value < 0 || *r.value > 1_000_000_000 {
			errs = append(errs, fmt.Errorf("setting %s = %d (%s): want 0 to 1000000000", r.name, *r.value, s.origin[r.name]))
		}
	}
	if s.ingestMaxConns < 1 || s.ingestMaxConns > 10_000_000 {
		errs = append(errs, fmt.Errorf("setting ingest.max-connections = %d (%s): want 1 to 10000000", s.ingestMaxConns, s.origin["ingest.max-connections"]))
	}
	if s.dataDir == "" {
		errs = append(errs, errors.New("setting data-dir is empty: name a folder"))
	}
	return errors.Join(errs...)
}

// usage writes the help: every setting with its type, default and meaning.
func (s *settings) usage(out io.Writer) {
	fmt.Fprintf(out, `muster %[1]s: runs a gateway. It works with no setting at all.

  muster %[1]s
  muster %[1]s --data-dir /var/lib/muster --http.names gateway.example.com
  muster %[1]s --config /etc/muster.yaml --check

A setting is a flag (--mqtt.addr), an environment variable (MUSTER_MQTT_ADDR) or a line of
the YAML file (mqtt: {addr: ...}); flags win over the environment, and that over the file.

`, s.flags.Name())
	s.flags.VisitAll(func(f *flag.Flag) {
		kind, text := flag.UnquoteUsage(f)
		fmt.Fprintf(out, "  --%s %s\n        %s", f.Name, kind, text)
		if f.DefValue != "" && f.DefValue != "false" {
			fmt.Fprintf(out, " (default %s)", f.DefValue)
		}
		fmt.Fprintln(out)
	})
}

// print writes every setting with its value and origin, for --check.
func (s *settings) print(out io.Writer) {
	const widest = 40 // of a value: a long one pushes its own line only
	var rows [][3]string
	var name, value int
	s.flags.VisitAll(func(f *flag.Flag) {
		if f.Name == "check" {
			return
		}
		row := [3]string{f.Name, strconv.Quote(f.Value.String()), s.origin[f.Name]}
		rows = append(rows, row)
		name = max(name, len(row[0]))
		if n := utf8.RuneCountInString(row[1]); n <= widest {
			value = max(value, n)
		}
	})
	for _, row := range rows {
		fmt.Fprintf(out, "%-*s  %-*s  %s\n", name, row[0], value, row[1], row[2])
	}
}

// envName returns the environment variable of a setting: MUSTER_MQTT_PLAIN_ADDR for mqtt.plain-addr.
func envName(setting string) string {
	return "MUSTER_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(setting))
}

// period is a duration that is also written in days and years: 12h, 30d, 1y (365 days). It implements flag.Value.
type period time.Duration

var periodUnits = map[byte]time.Duration{'d': 24 * time.Hour, 'y': 365 * 24 * time.Hour}

func (p period) String() string {
	if p != 0 && time.Duration(p)%periodUnits['d'] == 0 {
		return strconv.Itoa(int(time.Duration(p)/periodUnits['d'])) + "d"
	}
	return time.Duration(p).String()
}

// Set parses text.
func (p *period) Set(text string) error {
	if text != "" {
		if unit, ok := periodUnits[text[len(text)-1]]; ok {
			n, err := strconv.ParseUint(text[:len(text)-1], 10, 32)
			if err != nil || n > math.MaxInt64/uint64(unit) {
				return fmt.Errorf("want a number of days or years such as 30d or 1y")
			}
			*p = period(time.Duration(n) * unit)
			return nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return fmt.Errorf("want a duration such as 90s, 12h, 30d or 1y")
	}
	*p = period(d)
	return nil
}

// prefixes are IP networks, separated by commas; an address alone is a network of one. It implements flag.Value.
type prefixes []netip.Prefix

func (p prefixes) String() string {
	texts := make([]string, len(p))
	for i, prefix := range p {
		texts[i] = prefix.String()
	}
	return strings.Join(texts, ",")
}

// Set parses text.
func (p *prefixes) Set(text string) error {
	var list prefixes
	for _, name := range splitNames(text) {
		prefix, err := netip.ParsePrefix(name)
		if err != nil {
			addr, err := netip.ParseAddr(name)
			if err != nil || addr.Zone() != "" {
				return fmt.Errorf("%q is no network: want such as 10.0.0.0/8 or 192.0.2.7", name)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		list = append(list, prefix.Masked())
	}
	*p = list
	return nil
}

// byteSize is a number of bytes, written 512, 64KB, 256MB or 20GB (powers of 1,000) or KiB, MiB, GiB. It implements flag.Value.
type byteSize int64

var byteUnits = []struct {
	name string
	size int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1}}

func (b byteSize) String() string { return strconv.FormatInt(int64(b), 10) }

// Set parses text.
func (b *byteSize) Set(text string) error {
	for _, unit := range byteUnits {
		if digits, ok := strings.CutSuffix(text, unit.name); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
			if err != nil || n < 0 || n > math.MaxInt64/unit.size {
				break
			}
			*b = byteSize(n * unit.size)
			return nil
		}
	}
	return fmt.Errorf("want a number of bytes such as 64MB, 20GB or 512MiB")
}
