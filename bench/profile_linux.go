package bench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where control groups are mounted: version 2 itself, or a folder per controller of version 1.
const cgroupRoot = "/sys/fs/cgroup"

// start starts the gateway in the profile and notes how.
func (p *profile) start(cmd *exec.Cmd) error {
	if p.cores == 0 {
		p.how = fmt.Sprintf("the whole machine, %d cores", runtime.NumCPU())
		return cmd.Start()
	}
	name := fmt.Sprintf("muster-bench-%d", os.Getpid())
	group, cause := p.makeGroup(cgroupRoot, name)
	if cause == nil {
		defer group.Close()
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
		p.how = fmt.Sprintf("%d cores and %.0f MB by the control group %s", p.cores, mb(p.memoryBytes), p.folders[0])
		return cmd.Start()
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err == nil {
		err = p.makeOldGroups(cgroupRoot, string(own), name)
	}
	if err == nil {
		p.how = fmt.Sprintf("%d cores and %.0f MB by the control groups %s", p.cores, mb(p.memoryBytes), strings.Join(p.folders, " and "))
		return inGroups(p.folders, cmd.Start)
	}
	cause = fmt.Errorf("version 2: %w; version 1: %w", cause, err)
	if err = p.underSystemd(cmd); err == nil {
		p.how = fmt.Sprintf("%d cores and %.0f MB by systemd-run", p.cores, mb(p.memoryBytes))
		return cmd.Start()
	}
	limit := p.memoryBytes * 9 / 10
	cmd.Env = append(os.Environ(), fmt.Sprintf("GOMEMLIMIT=%d", limit))
	p.how = fmt.Sprintf("%d cores by affinity, GOMEMLIMIT %.0f MB; the kernel does not hold it to %.0f MB (control groups of %v; systemd-run: %v)",
		p.cores, mb(limit), mb(p.memoryBytes), cause, err)
	return onCores(0, p.cores, cmd.Start)
}

// makeGroup makes a control group of version 2 with the limits of p, below root, and opens it.
func (p *profile) makeGroup(root, name string) (*os.File, error) {
	have, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return nil, errors.New("not mounted")
	}
	for _, controller := range []string{"memory", "cpuset"} {
		if !slices.Contains(strings.Fields(string(have)), controller) {
			return nil, fmt.Errorf("no controller %s", controller)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+memory +cpuset"), 0); err != nil {
		return nil, err
	}
	folder := filepath.Join(root, name)
	err = p.addGroup(folder, map[string]string{"memory.max": strconv.FormatInt(p.memoryBytes, 10), "cpuset.cpus": p.cpus()})
	if err != nil {
		return nil, err
	}
	// There is no such file on a machine without swap, and none is used then.
	_ = os.WriteFile(filepath.Join(folder, "memory.swap.max"), []byte("0"), 0)
	return os.Open(folder)
}

// makeOldGroups makes control groups of version 1 with the limits of p, below those that this process is in, which own tells as
// /proc/self/cgroup does.
func (p *profile) makeOldGroups(root, own, name string) error {
	parents := map[string]string{}
	for line := range strings.Lines(own) {
		if fields := strings.SplitN(strings.TrimSpace(line), ":", 3); len(fields) == 3 {
			for controller := range strings.SplitSeq(fields[1], ",") {
				parents[controller] = filepath.Join(root, fields[1], fields[2])
			}
		}
	}
	for _, controller := range []string{"memory", "cpuset"} {
		if _, err := os.Stat(filepath.Join(parents[controller], "tasks")); err != nil {
			return fmt.Errorf("no controller %s", controller)
		}
	}
	nodes, err := os.ReadFile(filepath.Join(parents["cpuset"], "cpuset.mems")) // a new group has none
	if err != nil {
		return err
	}
	memory := filepath.Join(parents["memory"], name)
	if err := p.addGroup(memory, map[string]string{"memory.limit_in_bytes": strconv.FormatInt(p.memoryBytes, 10)}); err != nil {
		return err
	}
	// Memory and swap together; the file is there where the kernel counts swap.
	_ = os.WriteFile(filepath.Join(memory, "memory.memsw.limit_in_bytes"), []byte(strconv.FormatInt(p.memoryBytes, 10)), 0)
	return p.addGroup(filepath.Join(parents["cpuset"], name), map[string]string{"cpuset.cpus": p.cpus(), "cpuset.mems": string(nodes)})
}

func (p *profile) cpus() string { return fmt.Sprintf("0-%d", p.cores-1) }

// addGroup makes a folder among control groups and writes the settings. After an error there is none of this profile's.
func (p *profile) addGroup(folder string, settings map[string]string) error {
	err := os.Mkdir(folder, 0o755)
	if err == nil {
		p.folders = append(p.folders, folder)
	}
	for file, value := range settings {
		err = errors.Join(err, os.WriteFile(filepath.Join(folder, file), []byte(value), 0))
	}
	if err != nil {
		p.release()
	}
	return err
}

// inGroups has the process that start starts be in control groups of version 1: it inherits them from the thread, which goes back.
func inGroups(folders []string, start func() error) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	thread := []byte(strconv.Itoa(unix.Gettid()))
	for _, folder := range folders {
		if err := os.WriteFile(filepath.Join(folder, "tasks"), thread, 0); err != nil {
			return err
		}
		defer func() {
			err = errors.Join(err, os.WriteFile(filepath.Join(filepath.Dir(folder), "tasks"), thread, 0))
		}()
	}
	return start()
}

// underSystemd has systemd put cmd into a scope, if there is a systemd that does.
func (p *profile) underSystemd(cmd *exec.Cmd) error {
	path, err := exec.LookPath("systemd-run")
	if err != nil {
		return err
	}
	args := []string{"--scope", "--quiet", "-p", fmt.Sprintf("MemoryMax=%d", p.memoryBytes), "-p", "MemorySwapMax=0",
		"-p", "AllowedCPUs=" + p.cpus()}
	if os.Getuid() != 0 {
		args = append([]string{"--user"}, args...)
	}
	if err := exec.Command(path, append(args, "true")...).Run(); err != nil {
		return err
	}
	cmd.Args = append(append([]string{path}, args...), cmd.Args...)
	cmd.Path = path
	return nil
}

// startBeside starts a process of simulated devices on the cores that the gateway has not, if there are some.
func (p *profile) startBeside(cmd *exec.Cmd) error {
	if all := runtime.NumCPU(); p.cores > 0 && p.cores < all {
		return onCores(p.cores, all, cmd.Start)
	}
	return cmd.Start()
}

// onCores has the process that start starts run on the cores from to to-1: it inherits them from the thread.
func onCores(from, to int, start func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("cores: %w", err)
	}
	for i := from; i < to; i++ {
		set.Set(i)
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("cores %d to %d: %w", from, to-1, err)
	}
	return errors.Join(start(), unix.SchedSetaffinity(0, &before))
}
