package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// command runs a subcommand and returns its exit status and what it printed.
func command(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	status := run(t.Context(), args, &out, &out)
	return status, out.String()
}

func mustRun(t *testing.T, want string, args ...string) string {
	t.Helper()
	status, out := command(t, args...)
	if status != 0 || !strings.Contains(out, want) {
		t.Fatalf("muster %v: status %d, want %q in\n%s", args, status, want, out)
	}
	return out
}

func mustFail(t *testing.T, want string, args ...string) string {
	t.Helper()
	status, out := command(t, args...)
	if status == 0 || !strings.Contains(out, want) {
		t.Fatalf("muster %v: status %d, want %q in\n%s", args, status, want, out)
	}
	return out
}

// TestBackupAndRestore: while a device publishes, the gateway is backed up as a folder and as an archive. A restored gateway has
// every message that was acknowledged before the backup began, and the device comes to it with the certificate it has.
func TestBackupAndRestore(t *testing.T) {
	g := startGateway(t, t.TempDir())
	folder, device := g.enroll("lamp-1")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- device.Run(ctx) }()
	acked := 0
	publish := func() error {
		err := device.Publish(ctx, "dt/lamp-1", []byte(`{"n": `+strconv.Itoa(acked+1)+`, "ts": `+strconv.Itoa(1_700_000_000_000+acked)+`}`))
		if err == nil {
			acked++
		}
		return err
	}
	for range 50 {
		if err := publish(); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.telemetry.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	places := t.TempDir()
	for _, target := range []string{filepath.Join(places, "whole"), filepath.Join(places, "one.tar.zst")} {
		for range 20 {
			if err := publish(); err != nil {
				t.Fatal(err)
			}
		}
		before := acked
		load, stopped := make(chan struct{}), make(chan error, 1)
		go func() {
			for {
				select {
				case <-load:
					stopped <- nil
					return
				default:
				}
				if err := publish(); err != nil {
					stopped <- err
					return
				}
			}
		}()
		out := mustRun(t, target+": ", "backup", "--data-dir="+g.dir, "--to="+target, "--with-unlock-key")
		close(load)
		if err := <-stopped; err != nil {
			t.Fatal(err)
		}
		t.Logf("%s%d messages acknowledged before, %d after", out, before, acked)
		mustRun(t, "no damage", "backup", "verify", target)
		restored := filepath.Join(t.TempDir(), "restored")
		mustRun(t, "1 things, 1 certificates", "restore", "--from="+target, "--data-dir="+restored)

		again := startGateway(t, restored)
		samples, err := strconv.Atoi(again.query(`count_over_time(n[1h] @ 1700000060)`)["lamp-1"])
		if err != nil || samples < before {
			t.Errorf("the restored gateway has %d messages, %d were acknowledged before the backup: %v", samples, before, err)
		}
		if code, out := again.mosquittoPub(folder, "-i", "lamp-1", "-t", "dt/lamp-1", "-q", "1", "-m", `{"power_w": 7}`); code != 0 {
			t.Errorf("the device at the restored gateway: exit %d\n%s", code, out)
		}
		if status, body := again.get("/api/audit"); status != 200 || strings.Contains(body, `"operation":"nothing"`) {
			t.Errorf("audit: %d %s", status, body)
		}
		if err := again.stop(); err != nil {
			t.Error(err)
		}
		mustRun(t, "no damage", "fsck", "--data-dir="+restored)
	}
	cancel()
	<-ended
	names, err := filepath.Glob(filepath.Join(g.dir, "*"+partialSuffix))
	if err != nil || len(names) > 0 {
		t.Errorf("left in the data folder: %v, %v", names, err)
	}
	// Without the flag the unlock key stays at home, and the root key in any case.
	lean := filepath.Join(places, "lean")
	mustRun(t, "keep a copy elsewhere", "backup", "--data-dir="+g.dir, "--to="+lean)
	for _, name := range []string{backupUnlockKey, "root-key.pem", "lock", "muster.sock", "setup-code"} {
		if _, err := os.Stat(filepath.Join(lean, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is in the backup: %v", name, err)
		}
	}
	restored := filepath.Join(t.TempDir(), "restored")
	mustRun(t, "pki.unlock-file", "restore", "--from="+lean, "--data-dir="+restored)
	mustFail(t, "unlock key", "serve", "--data-dir="+restored, "--mqtt.addr=127.0.0.1:0", "--http.addr=127.0.0.1:0")
}

// TestBackupRefusals: what a backup must not or cannot be written to is a sentence, and nothing is left of the attempt.
func TestBackupRefusals(t *testing.T) {
	g := startGateway(t, t.TempDir())
	place := t.TempDir()
	there := filepath.Join(place, "there")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(place, "link")
	if err := os.Symlink(g.dir, link); err != nil {
		t.Fatal(err)
	}
	f := func(want, to string) {
		t.Helper()
		mustFail(t, want, "backup", "--data-dir="+g.dir, "--to="+to)
	}
	f("is there already", there)
	f("is inside the data folder", filepath.Join(g.dir, "copy"))
	f("is inside the data folder", filepath.Join(g.dir, "tsdb", "copy.tar.zst"))
	f("is inside the data folder", filepath.Join(link, "copy"))
	f("no such file or directory", filepath.Join(place, "missing", "copy"))
	f("--to", "")
	mustFail(t, "no gateway runs", "backup", "--data-dir="+t.TempDir(), "--to="+filepath.Join(place, "x"))
	if status, _ := g.get("/api/backup"); status != 405 {
		t.Errorf("GET: %d", status)
	}
	status, body := g.post("/api/backup", `{"to": "`+filepath.Join(place, "remote")+`"}`)
	if status != 403 || !strings.Contains(body, "on the gateway itself") {
		t.Errorf("over the network: %d %s", status, body)
	}

	for what, broken := range map[string]vfs.FS{"too little space": fullDisk{}, "no space left": failingDisk{}} {
		g.files = broken
		for _, name := range []string{"copy", "copy.tar.zst"} {
			_, err := g.backup(t.Context(), filepath.Join(place, name), false)
			if err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "was removed") {
				t.Errorf("%s, %s: %v", what, name, err)
			}
		}
	}
	g.files = vfs.OS{}
	left, err := os.ReadDir(place)
	if err != nil || len(left) != 2 {
		t.Errorf("left: %v, %v", left, err)
	}
	if status, body := g.get("/readyz"); status != 200 {
		t.Errorf("the gateway after all this: %d %s", status, body)
	}
}

// fullDisk has no free space.
type fullDisk struct{ vfs.OS }

func (fullDisk) FreeBytes(string) (uint64, error) { return 1 << 20, nil }

// failingDisk runs full while it is written.
type failingDisk struct{ vfs.OS }

func (failingDisk) Create(name string) (vfs.File, error) {
	return nil, &fs.PathError{Op: "write", Path: name, Err: syscall.ENOSPC}
}

func copyTree(t *testing.T, from, to string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(from, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside, _ := filepath.Rel(from, name)
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(to, inside), 0o700)
		}
		names = append(names, inside)
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, inside), data, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// unpack returns what an archive holds. A few bits of zstd's framing, such as the window's size, may turn without changing that.
func unpack(t *testing.T, archive []byte) []byte {
	t.Helper()
	decoder, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	plain, err := decoder.DecodeAll(archive, nil)
	if err != nil {
		t.Errorf("an archive that was verified does not unpack: %v", err)
	}
	return plain
}

// TestVerifyFindsEveryFlip turns bits in every file of a backup, cuts each short, removes it and adds one: verify names the file,
// and restore leaves nothing unless it is told to.
func TestVerifyFindsEveryFlip(t *testing.T) {
	g := startGateway(t, t.TempDir())
	m, err := g.telemetry.Dict().Metric([]byte("n"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(3000) {
		if _, err := g.telemetry.Append(1, i*1000, []tsdb.Value{{Metric: m, Mantissa: i * i}}, nil); err != nil {
			t.Fatal(err)
		}
		if i == 2000 {
			if err := g.telemetry.Seal(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	place := t.TempDir()
	made, archive, dir := filepath.Join(place, "made"), filepath.Join(place, "made.tar.zst"), filepath.Join(place, "copy")
	mustRun(t, "files", "backup", "--data-dir="+g.dir, "--to="+archive)
	mustRun(t, "files", "backup", "--data-dir="+g.dir, "--to="+made)
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	names := copyTree(t, made, dir)
	if len(names) < 10 || !slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, ".seg") }) {
		t.Fatalf("the backup has %v", names)
	}
	mustRun(t, "no damage", "backup", "verify", dir)
	verify := func(what, name string) {
		t.Helper()
		status, out := command(t, "backup", "verify", dir)
		if status == 0 || !strings.Contains(out, filepath.Base(name)) {
			t.Errorf("%s %s: status %d\n%s", name, what, status, out)
		}
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write := func(data []byte) {
			t.Helper()
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, at := range []int{0, len(good) / 3, len(good) - 1} {
			bad := bytes.Clone(good)
			bad[at] ^= 1 << (at % 8)
			write(bad)
			verify("with a bit turned", name)
		}
		write(good[:len(good)-1])
		verify("cut short", name)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		verify("removed", name)
		write(good)
	}
	if err := os.WriteFile(filepath.Join(dir, "tsdb", "00000099.log"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	verify("added", "00000099.log")
	restored := filepath.Join(place, "restored")
	mustFail(t, "nothing was restored", "restore", "--from="+dir, "--data-dir="+restored)
	if left, err := os.ReadDir(restored); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	mustRun(t, "is not in the manifest", "restore", "--damaged", "--from="+dir, "--data-dir="+restored)
	mustFail(t, "is not empty", "restore", "--from="+made, "--data-dir="+restored)
	if err := os.WriteFile(filepath.Join(restored, unfinishedName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mustFail(t, "did not end", "serve", "--data-dir="+restored, "--mqtt.addr=127.0.0.1:0", "--http.addr=127.0.0.1:0")
	mustFail(t, "did not end", "restore", "--from="+made, "--data-dir="+restored)

	good, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, "no damage", "backup", "verify", archive)
	for i := range 24 {
		at := i * (len(good) - 1) / 23
		bad := bytes.Clone(good)
		bad[at] ^= 1 << (i % 8)
		if err := os.WriteFile(archive, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if status, out := command(t, "backup", "verify", archive); status == 0 && !bytes.Equal(unpack(t, bad), unpack(t, good)) {
			t.Errorf("a bit turned in byte %d of the archive was not found\n%s", at, out)
		}
	}
	if err := os.WriteFile(archive, good[:len(good)*2/3], 0o600); err != nil {
		t.Fatal(err)
	}
	mustFail(t, "damaged", "backup", "verify", archive)
	mustFail(t, "no backup", "backup", "verify", g.dir)
}
