package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// profile is a smaller box that the gateway under test is put into. The zero profile is the whole machine.
type profile struct {
	cores       int   // 0: all
	memoryBytes int64 // 0: all
	how         string
	folders     []string // control groups to remove
}

// parse reads CORESxMEMORY: 1x512MB, 4x8GB.
func (p *profile) parse(text string) error {
	cores, memory, both := strings.Cut(text, "x")
	n, err := strconv.Atoi(cores)
	if !both || err != nil || n < 1 || n > 1024 {
		return fmt.Errorf("want CORESxMEMORY, such as 1x512MB")
	}
	unit := int64(1 << 20)
	size, isMB := strings.CutSuffix(memory, "MB")
	if !isMB {
		unit = 1 << 30
		size = strings.TrimSuffix(memory, "GB")
	}
	m, err := strconv.ParseInt(size, 10, 64)
	if err != nil || size == memory || m < 1 || m > 1<<20 || m*unit < 64<<20 {
		return fmt.Errorf("want CORESxMEMORY, such as 1x512MB, with 64MB or more")
	}
	p.cores, p.memoryBytes = n, m*unit
	return nil
}

// release removes the control groups, once no process is in them.
func (p *profile) release() {
	for _, folder := range p.folders {
		os.Remove(folder) // an empty group that stays does no harm
	}
	p.folders = nil
}

// availableBytes returns how much memory programs may still use.
func availableBytes() (int64, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	return tableBytes(string(text), "MemAvailable:")
}

// tableBytes reads a line "NAME  N kB".
func tableBytes(text, name string) (int64, error) {
	for line := range strings.Lines(text) {
		if rest, found := strings.CutPrefix(line, name); found {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("no %s in /proc/meminfo", name)
}

// fileLimit returns how many files the process pid may have open.
func fileLimit(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, "Max open files"); found {
			if fields := strings.Fields(rest); len(fields) > 0 && fields[0] != "unlimited" {
				return strconv.Atoi(fields[0])
			}
		}
	}
	return 1 << 30, nil
}
