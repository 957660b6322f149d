package bench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where version 2 of control groups is mounted, if it is.
const cgroupRoot = "/sys/fs/cgroup"

// start starts the gateway in the profile and notes how.
func (p *profile) start(cmd *exec.Cmd) error {
	if p.cores == 0 {
		p.how = fmt.Sprintf("the whole machine, %d cores", runtime.NumCPU())
		return cmd.Start()
	}
	group, cause := p.makeGroup(fmt.Sprintf("muster-bench-%d", os.Getpid()))
	if cause == nil {
		defer group.Close()
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
		p.how = fmt.Sprintf("%d cores and %.0f MB by the control group %s", p.cores, mb(p.memoryBytes), p.folder)
		return cmd.Start()
	}
	if p.underSystemd(cmd) == nil {
		p.how = fmt.Sprintf("%d cores and %.0f MB by systemd-run", p.cores, mb(p.memoryBytes))
		return cmd.Start()
	}
	limit := p.memoryBytes * 9 / 10
	cmd.Env = append(os.Environ(), fmt.Sprintf("GOMEMLIMIT=%d", limit))
	p.how = fmt.Sprintf("%d cores by affinity, GOMEMLIMIT %.0f MB; the kernel does not hold it to %.0f MB (no control group: %v)",
		p.cores, mb(limit), mb(p.memoryBytes), cause)
	return onCores(0, p.cores, cmd.Start)
}

// makeGroup makes a control group with the limits of p and opens it.
func (p *profile) makeGroup(name string) (*os.File, error) {
	have, err := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.controllers"))
	if err != nil {
		return nil, errors.New("version 2 is not mounted")
	}
	for _, controller := range []string{"memory", "cpuset"} {
		if !strings.Contains(" "+strings.TrimSpace(string(have))+" ", " "+controller+" ") {
			return nil, fmt.Errorf("no controller %s", controller)
		}
	}
	if err := os.WriteFile(filepath.Join(cgroupRoot, "cgroup.subtree_control"), []byte("+memory +cpuset"), 0); err != nil {
		return nil, err
	}
	folder := filepath.Join(cgroupRoot, name)
	if err := os.Mkdir(folder, 0o755); err != nil {
		return nil, err
	}
	p.folder = folder
	for _, setting := range [][2]string{
		{"memory.max", strconv.FormatInt(p.memoryBytes, 10)},
		{"memory.swap.max", "0"},
		{"cpuset.cpus", fmt.Sprintf("0-%d", p.cores-1)},
	} {
		err := os.WriteFile(filepath.Join(folder, setting[0]), []byte(setting[1]), 0)
		if err != nil && setting[0] != "memory.swap.max" { // there is none on a machine without swap
			p.release()
			p.folder = ""
			return nil, err
		}
	}
	return os.Open(folder)
}

// underSystemd has systemd put cmd into a scope, if there is a systemd that does.
func (p *profile) underSystemd(cmd *exec.Cmd) error {
	path, err := exec.LookPath("systemd-run")
	if err != nil {
		return err
	}
	args := []string{"--scope", "--quiet", "-p", fmt.Sprintf("MemoryMax=%d", p.memoryBytes), "-p", "MemorySwapMax=0",
		"-p", fmt.Sprintf("AllowedCPUs=0-%d", p.cores-1)}
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
