package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestSettingsOrder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "muster.yaml")
	if err := os.WriteFile(file, []byte("mqtt:\n  addr: file:1\n  plain-addr: file:2\nhttp: {addr: \"file:3\"}\ntsdb: {retention: 30d, disk-limit: 20GB}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := loadSettings("serve", []string{"--http.addr=flag:3", "--config", file},
		[]string{"MUSTER_MQTT_PLAIN_ADDR=env:2", "MUSTER_REGISTRY_MAX_GROUPS_PER_THING=25", "MUSTER_HTTP_ADDR=env:3", "HOME=/"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, got, want, origin string }{
		{"mqtt.addr", s.mqttAddr, "file:1", "file " + file},
		{"mqtt.plain-addr", s.mqttPlainAddr, "env:2", "env MUSTER_MQTT_PLAIN_ADDR"},
		{"http.addr", s.httpAddr, "flag:3", "flag"},
		{"ingest.ack", s.ingestAck, "disk", "default"},
		{"tsdb.retention", s.tsdbRetention.String(), "30d", "file " + file},
		{"registry.max-groups-per-thing", strconv.Itoa(s.limits.groupsPerThing), "25", "env MUSTER_REGISTRY_MAX_GROUPS_PER_THING"},
		{"registry.max-groups-per-hierarchy", strconv.Itoa(s.limits.groupsPerHierarchy), "1", "default"},
		{"tsdb.disk-limit", s.tsdbDiskLimit.String(), "20000000000", "file " + file},
	} {
		if c.got != c.want || s.origin[c.name] != c.origin {
			t.Errorf("%s = %q from %q, want %q from %q", c.name, c.got, s.origin[c.name], c.want, c.origin)
		}
	}
	var out bytes.Buffer
	s.print(&out)
	if !strings.Contains(out.String(), "env MUSTER_MQTT_PLAIN_ADDR") {
		t.Errorf("--check does not say where mqtt.plain-addr came from:\n%s", out.String())
	}
	// the columns stand under each other, but behind a value that is very long
	columns := regexp.MustCompile(`^(\S+ +)("[^"]*" +)\S`)
	var first []int
	for line := range strings.Lines(out.String()) {
		at := columns.FindStringSubmatchIndex(line)
		if at == nil {
			t.Fatalf("no columns: %q", line)
		}
		if first == nil {
			first = at
		}
		if long := at[5]-at[4] > 42; at[3] != first[3] || !long && at[5] != first[5] {
			t.Errorf("the columns are ragged: %q", line)
		}
	}
}

func TestSettingsErrors(t *testing.T) {
	f := func(yaml string, args, env []string, want string) {
		t.Helper()
		if yaml != "" {
			file := filepath.Join(t.TempDir(), "muster.yaml")
			if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
				t.Fatal(err)
			}
			args = append(args, "--config="+file)
		}
		_, err := loadSettings("serve", args, env, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("yaml %q, args %q, env %q:\n got %v\nwant %q in it", yaml, args, env, err, want)
		}
	}
	f("mqtt: {adr: x}", nil, nil, `unknown setting "mqtt.adr"; did you mean "mqtt.addr"?`)
	f("zzz: 1", nil, nil, "lists them")
	f("self: {record-every: 100ms}", nil, nil, "setting self.record-every = 100ms")
	f("registry: {max-group-depth: 0}", nil, nil, "setting registry.max-group-depth = 0")
	f("", []string{"--registry.max-query-terms=10001"}, nil, "want 1 to 10000")
	f("mqtt: [1]", nil, nil, `setting "mqtt" must be one value`)
	f("{", nil, nil, "is not YAML")
	f("", []string{"--mqtt.adr=x"}, nil, "-mqtt.adr")
	f("", []string{"stray"}, nil, `unexpected argument "stray"`)
	f("", []string{"--config=/no/such"}, nil, "/no/such")
	f("", []string{"--ingest.ack=tape"}, nil, "want one of disk, memory")
	f("", []string{"--ingest.topics=a/{thing},{thing}/b"}, nil, `topic pattern "{thing}/b": its first level must be text`)
	f("", []string{"--ingest.thing-samples-per-second=-1"}, nil, "setting ingest.thing-samples-per-second = -1 (flag): want 0 to 1000000000")
	f("", []string{"--ingest.drain=2m"}, nil, "setting ingest.drain = 2m0s (flag): want 0s to 1m0s")
	f("", []string{"--ingest.max-filters=0"}, nil, "setting ingest.max-filters = 0 (flag): want 1 to 10000")
	f("", []string{"--ingest.max-session-expiry=1s"}, nil, "want 1m0s to 365d")
	f("", []string{"--ingest.max-connections=0"}, nil, "want 1 to 10000000")
	f("", []string{"--ingest.proxy-from=10.0.0.0/8, balancer"}, nil, `"balancer" is no network`)
	f("", nil, []string{"MUSTER_TSDB_RETENTION=soon"}, "(env MUSTER_TSDB_RETENTION): want a duration")
	f("", []string{"--tsdb.memory=-1"}, nil, "want a number of bytes")
	f("", []string{"--tsdb.retention=10s"}, nil, "want 1h0m0s to 36500d")
	f("", []string{"--aws.account-id=12"}, nil, "want 12 digits")
	f("", []string{"--data-dir="}, nil, "name a folder")

	var help bytes.Buffer
	if _, err := loadSettings("serve", []string{"--help"}, nil, &help); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("--help: %v", err)
	}
	if !strings.Contains(help.String(), "--mqtt.addr address") {
		t.Errorf("help lacks a setting:\n%s", help.String())
	}
}

func TestMachineMemory(t *testing.T) {
	if got := memTotal([]byte("MemFree: 1 kB\nMemTotal:       24600000 kB\n"), 7); got != 24_600_000<<10 {
		t.Errorf("memTotal = %d", got)
	}
	if got := memTotal([]byte("nothing"), 7); got != 7 {
		t.Errorf("memTotal of nothing = %d", got)
	}
	if got := machineMemory(); got < 64<<20 {
		t.Errorf("this machine has %d bytes", got)
	}
}

func TestGroupLimit(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"memory.max":                                      "max",
		"system.slice/memory.max":                         "600000000",
		"system.slice/muster.service/memory.max":          "400000000",
		"memory/memory.limit_in_bytes":                    "9223372036854771712",
		"memory/docker/memory.limit_in_bytes":             "300000000",
		"memory/docker/box/memory.limit_in_bytes":         "350000000",
		"memory/elsewhere/memory.limit_in_bytes":          "1000",
		"cpu/elsewhere/memory.limit_in_bytes":             "1000",
		"system.slice/other.service/memory.max":           "1000",
		"system.slice/muster.service/below/it/memory.max": "1000",
	} {
		file := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text+"\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for own, want := range map[string]int64{
		"0::/system.slice/muster.service\n": 400_000_000,
		"0::/system.slice\n":                600_000_000,
		"0::/\n":                            8e9,
		"":                                  8e9,
		"9:cpu:/elsewhere\n4:hugetlb,memory:/docker/box\n0::/\n":   300_000_000,
		"4:memory:/docker/gone\n":                                  300_000_000,
		"4:memory:/../../x\n0::/../system.slice\nno line of it\n:": 600_000_000,
	} {
		if got := groupLimit(root, own, 8e9); got != want {
			t.Errorf("groupLimit of %q = %d, want %d", own, got, want)
		}
	}
	if got := groupLimit(filepath.Join(root, "none"), "0::/a\n", 7); got != 7 {
		t.Errorf("groupLimit without control groups = %d", got)
	}
}

func TestPeriodAndByteSize(t *testing.T) {
	for text, want := range map[string]time.Duration{"90s": 90 * time.Second, "30d": 720 * time.Hour, "1y": 8760 * time.Hour, "0d": 0} {
		var p period
		if err := p.Set(text); err != nil || time.Duration(p) != want {
			t.Errorf("period %q = %v, %v, want %v", text, time.Duration(p), err, want)
		}
	}
	for text, want := range map[string]byteSize{"7": 7, "64KB": 64_000, "1MiB": 1 << 20, "20 GB": 20_000_000_000, "5B": 5} {
		var b byteSize
		if err := b.Set(text); err != nil || b != want {
			t.Errorf("byteSize %q = %d, %v, want %d", text, b, err, want)
		}
	}
	for _, text := range []string{"", "d", "-1d", "99999999y", "1w", "-5s"} {
		if err := new(period).Set(text); err == nil {
			t.Errorf("period %q was taken", text)
		}
	}
	for _, text := range []string{"", "-1", "9999999999GB", "1.5GB", "GB"} {
		if err := new(byteSize).Set(text); err == nil {
			t.Errorf("byteSize %q was taken", text)
		}
	}
}

// TestSettingsInDocs: docs/operate.md has one table with a row for every setting, as --help says it, and no other rows.
func TestSettingsInDocs(t *testing.T) {
	text, err := os.ReadFile("docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "\n| setting | default | what |\n| --- | --- | --- |\n")
	if !found {
		t.Fatal("docs/operate.md has no table of settings")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	var want []string
	newSettings("serve").flags.VisitAll(func(f *flag.Flag) {
		value, usage := f.DefValue, strings.ReplaceAll(f.Usage, "`", "")
		if value != "" {
			value = "`" + value + "`"
		}
		want = append(want, "| `"+f.Name+"` | "+value+" | "+usage+" |")
	})
	if got := strings.TrimSpace(table); got != strings.Join(want, "\n") {
		t.Errorf("docs/operate.md has\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}
