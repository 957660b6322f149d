package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestProfileConfines: a process is started on the cores of the profile, and with its memory where this user may make control groups;
// this process stays where it was, and nothing is left.
func TestProfileConfines(t *testing.T) {
	p := &profile{cores: 1, memoryBytes: 256 << 20}
	cmd := exec.Command("sleep", "60")
	if err := p.start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", p.how)
	read := func(file string) string {
		t.Helper()
		text, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
	folders := p.folders
	status := read(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if !strings.Contains(status, "\nCpus_allowed_list:\t0\n") {
		t.Errorf("not on core 0 alone:\n%s", status)
	}
	groups := read(fmt.Sprintf("/proc/%d/cgroup", cmd.Process.Pid))
	for _, folder := range folders {
		if !strings.Contains(groups, "/"+filepath.Base(folder)+"\n") {
			t.Errorf("not in %s:\n%s", folder, groups)
		}
	}
	if len(folders) > 0 {
		limit := ""
		for _, file := range []string{"memory.max", "memory.limit_in_bytes"} { // version 2, version 1
			text, _ := os.ReadFile(filepath.Join(folders[0], file)) // it has one of the two
			limit += string(text)
		}
		if limit != fmt.Sprintf("%d\n", p.memoryBytes) {
			t.Errorf("limit %q", limit)
		}
	}
	threads, err := filepath.Glob("/proc/self/task/*/cgroup")
	if err != nil || len(threads) == 0 {
		t.Fatal(threads, err)
	}
	for _, thread := range threads {
		if text, _ := os.ReadFile(thread); strings.Contains(string(text), "muster-bench-") { // it may have ended
			t.Errorf("%s is still in %s", thread, text)
		}
	}
	_ = cmd.Process.Kill() // it sleeps
	_ = cmd.Wait()
	p.release()
	for _, folder := range folders {
		if _, err := os.Stat(folder); err == nil {
			t.Errorf("%s is left", folder)
		}
	}
}

// TestProfileSaysWhy: where no control group can be made, nothing is left of the attempt, and the reason is told.
func TestProfileSaysWhy(t *testing.T) {
	root := t.TempDir()
	p := &profile{cores: 1, memoryBytes: 256 << 20}
	f := func(err error, want string) {
		t.Helper()
		if err == nil || err.Error() != want || len(p.folders) > 0 {
			t.Errorf("%v and folders %v, want %s", err, p.folders, want)
		}
	}
	second := func() error { _, err := p.makeGroup(root, "x"); return err }
	f(second(), "not mounted")
	if err := os.WriteFile(filepath.Join(root, "cgroup.controllers"), []byte("cpuset hugetlb\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	f(second(), "no controller memory")
	f(p.makeOldGroups(root, "0::/user.slice\n", "x"), "no controller memory")
	f(p.makeOldGroups(root, "4:memory:/a\n3:cpuset:/\n", "x"), "no controller memory")
}
