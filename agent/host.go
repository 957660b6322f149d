package agent

import (
	"bytes"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// host reads the telemetry of a Linux machine from /proc and /sys. It is not for concurrent use.
type host struct {
	files fs.FS // the root of the file system
	// disk returns the size and the free space for users, in bytes, of the file system that the agent runs on.
	disk func() (size, free uint64, err error)

	busy, total uint64 // jiffies at the last reading; total 0: none yet
}

func diskOf(dir string) func() (size, free uint64, err error) {
	return func() (uint64, uint64, error) {
		var s syscall.Statfs_t
		if err := syscall.Statfs(dir, &s); err != nil {
			return 0, 0, err
		}
		return s.Blocks * uint64(s.Bsize), s.Bavail * uint64(s.Bsize), nil
	}
}

// maxZones bounds how many temperatures a reading has.
const maxZones = 16

// appendReading appends one reading as a JSON object. What a machine does not have (a temperature, in a container) is
// left out. The processor's load is the mean since the last reading and so is missing in the first.
func (h *host) appendReading(dst []byte, at time.Time) []byte {
	dst = append(dst, `{"ts":`...)
	dst = strconv.AppendInt(dst, at.UnixMilli(), 10)
	number := func(name string, value float64, digits int) {
		dst = append(append(append(dst, `,"`...), name...), `":`...)
		dst = strconv.AppendFloat(dst, value, 'f', digits, 64)
	}
	if percent, ok := h.cpu(); ok {
		number("cpu_percent", percent, 1)
	}
	if fields := h.fields("proc/loadavg"); len(fields) >= 3 {
		for i, name := range []string{"load1", "load5", "load15"} {
			if load, err := strconv.ParseFloat(fields[i], 64); err == nil {
				number(name, load, 2)
			}
		}
	}
	if size, free, ok := h.memory(); ok {
		number("memory_total_bytes", float64(size), 0)
		number("memory_used_percent", 100*float64(size-free)/float64(size), 1)
	}
	if size, free, err := h.disk(); err == nil && size > 0 && free <= size {
		number("disk_total_bytes", float64(size), 0)
		number("disk_used_percent", 100*float64(size-free)/float64(size), 1)
	}
	if celsius, ok := h.temperature(); ok {
		number("temperature_celsius", celsius, 1)
	}
	if fields := h.fields("proc/uptime"); len(fields) > 0 {
		if seconds, err := strconv.ParseFloat(fields[0], 64); err == nil {
			number("uptime_seconds", seconds, 0)
		}
	}
	return append(dst, '}')
}

// fields returns the words of a small file, or nil.
func (h *host) fields(name string) []string {
	text, err := fs.ReadFile(h.files, name)
	if err != nil {
		return nil
	}
	return strings.Fields(string(text))
}

// cpu returns how busy the processors were since the last call, in percent of all of them.
func (h *host) cpu() (percent float64, ok bool) {
	text, err := fs.ReadFile(h.files, "proc/stat")
	if err != nil {
		return 0, false
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	words := strings.Fields(string(line))
	if len(words) < 5 || words[0] != "cpu" {
		return 0, false
	}
	var busy, total uint64
	// user nice system idle iowait irq softirq steal; the guest times after them are part of user and nice (proc(5))
	for i, word := range words[1:min(len(words), 9)] {
		jiffies, err := strconv.ParseUint(word, 10, 64)
		if err != nil {
			return 0, false
		}
		total += jiffies
		if i != 3 && i != 4 {
			busy += jiffies
		}
	}
	busyBefore, totalBefore := h.busy, h.total
	h.busy, h.total = busy, total
	if totalBefore == 0 || total <= totalBefore || busy < busyBefore { // the first time, or iowait went back, as it may
		return 0, false
	}
	return min(100, 100*float64(busy-busyBefore)/float64(total-totalBefore)), true
}

// memory returns the size and what is available without swapping, in bytes.
func (h *host) memory() (size, available uint64, ok bool) {
	text, err := fs.ReadFile(h.files, "proc/meminfo")
	if err != nil {
		return 0, 0, false
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		kib, err := strconv.ParseUint(words[1], 10, 53)
		if err != nil {
			continue
		}
		switch words[0] {
		case "MemTotal:":
			size = kib << 10
		case "MemAvailable:":
			available = kib << 10
		}
	}
	return size, available, size > 0 && available > 0 && available <= size
}

// temperature returns the highest of the thermal zones, in degrees Celsius.
func (h *host) temperature() (celsius float64, ok bool) {
	zones, err := fs.Glob(h.files, "sys/class/thermal/thermal_zone*")
	if err != nil {
		return 0, false
	}
	for _, zone := range zones[:min(len(zones), maxZones)] {
		words := h.fields(path.Join(zone, "temp"))
		if len(words) != 1 {
			continue
		}
		milli, err := strconv.ParseInt(words[0], 10, 32)
		// Sensors without a reading say 0, -273 or nonsense.
		if err != nil || milli == 0 || milli < -60_000 || milli > 200_000 {
			continue
		}
		if value := float64(milli) / 1000; !ok || value > celsius {
			celsius, ok = value, true
		}
	}
	return celsius, ok
}
