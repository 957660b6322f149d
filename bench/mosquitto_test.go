//go:build linux

package bench

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
)

// asChild makes this test program start mosquitto, for the next test.
const asChild = "MUSTER_BENCH_MOSQUITTO_DIR"

// TestMosquittoHasAllFiles starts a program with a soft limit of 256 open files: the mosquitto that it starts has the hard limit.
func TestMosquittoHasAllFiles(t *testing.T) {
	path, err := findMosquitto("mosquitto")
	if err != nil {
		t.Skip(err)
	}
	if dir := os.Getenv(asChild); dir != "" {
		m, err := startMosquitto(context.Background(), path, dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer m.stop()
		limits, err := os.ReadFile("/proc/" + strconv.Itoa(m.pid()) + "/limits")
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(`Max open files +(\S+) +(\S+)`).FindSubmatch(limits)
		if found == nil || string(found[1]) != string(found[2]) {
			t.Fatalf("%s", limits)
		}
		return
	}
	cmd := exec.Command("sh", "-c", `ulimit -S -n 256; exec "$0" -test.run '^TestMosquittoHasAllFiles$'`, os.Args[0])
	cmd.Env = append(os.Environ(), asChild+"="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
