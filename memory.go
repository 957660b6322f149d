package main

import (
	"bufio"
	"bytes"
	"os"
	"path"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"muster/ingest/conn/record"
)

// fallbackMemoryBytes is assumed where the system does not say what it has.
const fallbackMemoryBytes = 512 << 20

// gcPercent is how much garbage a gateway lets pile up, in percent of what it keeps; Go's default is 100. What happens all the time makes
// none, so that collecting earlier costs only while many devices connect: 8.0 KB of resident memory per device instead of 11.3.
const gcPercent = 40

// loadPercent is that while the registry is read: hardly anything of it is garbage, and to look through it again at every step that the
// heap grows by gcPercent was a third of the work of a start with a million things. Where memory is short it is collected earlier (loadShare).
const loadPercent = 400

// loadShare is the share of the machine's memory, in percent, from which on garbage is collected whatever loadPercent says.
const loadShare = 60

// collectAt lets that much garbage pile up, unless the operator's GOGC says otherwise, until end is called.
func collectAt(percent int) (end func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	before := debug.SetGCPercent(percent)
	return func() { debug.SetGCPercent(before) }
}

// collectLate is collectAt(loadPercent), below a share of the memory, or the operator's GOMEMLIMIT where that is lower.
func collectLate() (end func()) {
	uncollect := collectAt(loadPercent)
	before := debug.SetMemoryLimit(-1)
	debug.SetMemoryLimit(min(before, machineMemory()/100*loadShare))
	return func() {
		debug.SetMemoryLimit(before)
		uncollect()
	}
}

// ciphersIn returns how many ciphers of TLS busy connections may keep in a machine with that many bytes: a sixty-fourth of them, and no more
// than 65,536 connections use.
func ciphersIn(memoryBytes int64) int { return int(min(memoryBytes/64/record.CipherBytes, 2<<16)) }

// machineMemory returns the bytes that this process may use: the smallest limit of its control groups, or the machine's memory.
func machineMemory() int64 {
	limit := int64(fallbackMemoryBytes)
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		limit = memTotal(text, limit)
	}
	own, _ := os.ReadFile("/proc/self/cgroup") // without it the root's limits count
	return groupLimit("/sys/fs/cgroup", string(own), limit)
}

// groupLimit returns the smallest of limit and the memory limits, in bytes, of the control groups that own names as /proc/self/cgroup
// does (cgroups(7)), and of the groups above them: MemoryMax= of a systemd service is one of its own group. root is where control groups
// are mounted: version 2 itself, or a folder per controller of version 1. In a container the root is often the group itself, and
// the path that own tells is not there.
func groupLimit(root, own string, limit int64) int64 {
	for line := range strings.Lines(own + "0::/\n1:memory:/\n") {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		folder, file := root, "memory.max" // version 2 names no controllers
		if controllers != "" {
			if !slices.Contains(strings.Split(controllers, ","), "memory") {
				continue
			}
			folder, file = filepath.Join(root, "memory"), "memory.limit_in_bytes"
		}
		for group = path.Clean("/" + group); ; group = path.Dir(group) {
			text, err := os.ReadFile(filepath.Join(folder, group, file))
			if n, parseErr := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && parseErr == nil && n > 0 {
				limit = min(limit, n) // not "max"
			}
			if group == "/" {
				break
			}
		}
	}
	return limit
}

// memTotal reads the line "MemTotal: N kB" of /proc/meminfo.
func memTotal(meminfo []byte, otherwise int64) int64 {
	lines := bufio.NewScanner(bytes.NewReader(meminfo))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 3 && fields[0] == "MemTotal:" {
			if kb, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
				return kb << 10
			}
		}
	}
	return otherwise
}
