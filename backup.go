package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"muster/tsdb/vfs"
)

const (
	backupUnlockKey = "pki/unlock.key"
	partialSuffix   = ".partial"
	// stagingName is the folder in the data folder in which an archive is gathered: there segments are links and cost no space.
	stagingName = "backup" + partialSuffix
	// backupKeepFree is what a backup leaves free on its disk, more than the twin store keeps back, so that a backup beside the data never
	// stops telemetry; a quarter of a small disk.
	backupKeepFree = 128 << 20
)

// backupDone is what a backup has written.
type backupDone struct {
	To        string `json:"to"`
	Files     int    `json:"files"`
	SizeBytes int64  `json:"sizeBytes"` // of the files, before an archive compresses them
	UnlockKey bool   `json:"unlockKey"`
}

// backup writes what this gateway keeps to the new folder or .tar.zst file to, while it runs. Everything that was acknowledged
// before the call is in it. The name appears when the backup is whole and on disk.
func (g *gateway) backup(ctx context.Context, to string, withUnlockKey bool) (any, error) {
	if !g.backing.TryLock() {
		return nil, errors.New("another backup is running")
	}
	defer g.backing.Unlock()
	if err := g.checkTarget(to); err != nil {
		return nil, err
	}
	archive := isArchive(to)
	staging := to + partialSuffix
	if archive {
		staging = g.path(stagingName)
		if err := os.RemoveAll(staging); err != nil { // what a power cut has left
			return nil, err
		}
	}
	done, err := g.stage(ctx, staging, withUnlockKey)
	if err == nil && archive {
		err = writeArchive(ctx, staging, to, func(sizeBytes int64) error { return g.roomFor(sizeBytes, filepath.Dir(to)) })
	} else if err == nil {
		err = errors.Join(os.Rename(staging, to), g.files.SyncDir(filepath.Dir(to)))
	}
	if archive || err != nil {
		err = errors.Join(err, os.RemoveAll(staging))
	}
	if errors.Is(err, vfs.ErrNoRoom) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		err = fmt.Errorf("the disk has too little space for the backup, and what was written of it was removed: %w", err)
	}
	if err != nil {
		return nil, err
	}
	done.To = to
	g.log.Info("backup written", "file", to, "files", done.Files, "bytes", done.SizeBytes)
	return done, nil
}

func isArchive(name string) bool { return strings.HasSuffix(name, ".tar.zst") }

// checkTarget refuses what a backup must not be written to.
func (g *gateway) checkTarget(to string) error {
	if !filepath.IsAbs(to) {
		return fmt.Errorf("the target %q must be an absolute path", to)
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(filepath.Clean(to)))
	if err != nil {
		return fmt.Errorf("the folder of the target: %w", err)
	}
	data, err := filepath.Abs(g.settings.dataDir)
	if err == nil {
		data, err = filepath.EvalSymlinks(data)
	}
	if err != nil {
		return err
	}
	if inside, err := filepath.Rel(data, parent); err != nil || inside != ".." && !strings.HasPrefix(inside, "../") {
		return fmt.Errorf("the target %q is inside the data folder %q: choose a place outside, best on another disk", to, data)
	}
	for _, name := range []string{to, to + partialSuffix} {
		if _, err := os.Lstat(name); err == nil {
			return fmt.Errorf("%q is there already: name a new target, or remove it", name)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// stage gathers everything in the new folder dir.
//
// The twin store comes before the registry: a thing of which there is telemetry is then in the registry too, and its dense id is
// not given to another one after a restore.
func (g *gateway) stage(ctx context.Context, dir string, withUnlockKey bool) (done backupDone, err error) {
	if err := g.files.MkdirAll(dir, 0o700); err != nil {
		return done, fmt.Errorf("the gateway cannot write the backup: %w", err)
	}
	keepFree, err := g.keepFree(dir)
	if err != nil {
		return done, err
	}
	b := stager{g: g, ctx: ctx, dir: dir, keepFree: keepFree}
	steps := []func() error{
		func() error { return g.telemetry.Backup(ctx, filepath.Join(dir, "tsdb"), b.keepFree) },
		func() error { return b.copyIfThere("sessions/sessions.log") },
		func() error { return b.copyIfThere("indexing.json") },
		func() error { return b.copyIfThere("events.json") },
		b.registry,
		func() error { return b.identities(withUnlockKey) },
		b.audit,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return done, err
		}
	}
	m := manifest{Format: manifestFormat, Version: version, CreatedMs: g.clock.Now().UnixMilli(), UnlockKey: withUnlockKey}
	if m.Files, err = hashFiles(ctx, dir); err != nil {
		return done, err
	}
	for _, f := range m.Files {
		done.SizeBytes += f.SizeBytes
	}
	done.Files, done.UnlockKey = len(m.Files), withUnlockKey
	return done, m.write(g.files, dir)
}

// keepFree is what a backup leaves free on the disk of dir.
func (g *gateway) keepFree(dir string) (int64, error) {
	total, err := g.files.TotalBytes(dir)
	return min(backupKeepFree, int64(total/4)), err
}

// roomFor says whether sizeBytes more fit on the disk of dir.
func (g *gateway) roomFor(sizeBytes int64, dir string) error {
	keepFree, err := g.keepFree(dir)
	if err != nil {
		return err
	}
	free, err := g.files.FreeBytes(dir)
	if err == nil && int64(free) < sizeBytes+keepFree {
		err = fmt.Errorf("%w in %q: %d bytes are free, up to %d are needed, and %d are kept free", vfs.ErrNoRoom, dir, free, sizeBytes, keepFree)
	}
	return err
}

// stager copies single files into a backup.
type stager struct {
	g        *gateway
	ctx      context.Context
	dir      string
	keepFree int64
}

// copy copies a file of the data folder, as long as it is when the copy begins.
func (b *stager) copy(name string) error {
	files := b.g.files
	from, err := files.Open(b.g.path(name))
	if err != nil {
		return err
	}
	defer from.Close() // it was only read
	size, err := from.Size()
	if err != nil {
		return err
	}
	to := filepath.Join(b.dir, name)
	if err := files.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	return errors.Join(vfs.Copy(b.ctx, files, from, size, to, b.keepFree), files.SyncDir(filepath.Dir(to)))
}

func (b *stager) copyIfThere(name string) error {
	if err := b.copy(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (b *stager) registry() error {
	var size int64
	for _, suffix := range []string{"", "-wal"} {
		if info, err := os.Stat(b.g.path("registry.db" + suffix)); err == nil {
			size += info.Size()
		}
	}
	if err := b.g.roomFor(size, b.dir); err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	return b.g.database.Backup(b.ctx, filepath.Join(b.dir, "registry.db"))
}

// identities copies the CA, sealed, and what it needs but the key that unlocks it, unless that is asked for.
func (b *stager) identities(withUnlockKey bool) error {
	names, err := b.g.files.List(b.g.path("pki"))
	if err != nil {
		return err
	}
	if withUnlockKey && !slices.Contains(names, filepath.Base(backupUnlockKey)) {
		return fmt.Errorf("there is no %q to take into the backup: the gateway's keys are unlocked by a passphrase or by a file elsewhere; keep that yourself, and leave --with-unlock-key out", b.g.path(backupUnlockKey))
	}
	for _, name := range names {
		name = "pki/" + name
		if strings.HasSuffix(name, ".tmp") || name == backupUnlockKey && !withUnlockKey {
			continue
		}
		if err := b.copy(name); err != nil {
			return err
		}
	}
	return b.copy("ca.pem")
}

// audit copies the audit log. Where a file is rotated meanwhile, the copy begins again, so that the chain has no gap.
func (b *stager) audit() error {
	list := func(dir string) (names []string, err error) {
		all, err := b.g.files.List(dir)
		for _, name := range all {
			if strings.HasPrefix(name, "audit") && strings.HasSuffix(name, ".log") {
				names = append(names, name)
			}
		}
		return names, err
	}
	for range 10 {
		names, err := list(b.g.settings.dataDir)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := b.copyIfThere(name); err != nil {
				return err
			}
		}
		after, err := list(b.g.settings.dataDir)
		if err != nil {
			return err
		}
		if slices.Equal(names, after) {
			return b.cutAudit()
		}
		copied, err := list(b.dir)
		if err != nil {
			return err
		}
		for _, name := range copied {
			if err := b.g.files.Remove(filepath.Join(b.dir, name)); err != nil {
				return err
			}
		}
	}
	return errors.New("the audit log is rotated again and again: try later")
}

// cutAudit removes a line that was being written.
func (b *stager) cutAudit() error {
	name := filepath.Join(b.dir, "audit.log")
	text, err := b.g.files.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if whole := strings.LastIndexByte(string(text), '\n') + 1; err == nil && whole < len(text) {
		err = b.g.files.WriteFile(name, text[:whole], 0o600)
	}
	return err
}

const backupHelp = `muster backup: copies everything a running gateway keeps, without stopping it.

  muster backup --data-dir /var/lib/muster --to /media/usb/muster-2026-03-01
  muster backup --to /media/usb/muster-2026-03-01.tar.zst     one file
  muster backup verify /media/usb/muster-2026-03-01           read every byte again

The gateway writes the files itself, as its own user. The root key and the key that unlocks the CA are not in it: keep them
elsewhere, or take the latter along with --with-unlock-key and then guard the backup like the gateway. muster restore reads it.

`

// backupCommand asks the gateway of a data folder for a backup, or verifies one.
func backupCommand(ctx context.Context, args []string, out, errs io.Writer) error {
	if len(args) > 0 && args[0] == "verify" {
		return verifyCommand(ctx, args[1:], out, errs)
	}
	flags := flag.NewFlagSet("backup", flag.ContinueOnError)
	flags.SetOutput(out)
	dataDir := flags.String("data-dir", "./data", "`folder` of a gateway that runs on this machine")
	to := flags.String("to", "", "new `folder`, or new file that ends in .tar.zst")
	withUnlockKey := flags.Bool("with-unlock-key", false, "take the key along that unlocks the gateway's CA")
	flags.Usage = func() {
		fmt.Fprint(out, backupHelp)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *to == "" || flags.NArg() > 0 {
		return errors.New("name the target with --to; `muster backup --help` shows examples")
	}
	target, err := filepath.Abs(*to)
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{"to": target, "withUnlockKey": *withUnlockKey})
	if err != nil {
		return err
	}
	client := newLocalClient(*dataDir)
	client.http.Timeout = 0 // a backup takes as long as the disk
	answer, err := client.call(ctx, "POST", "/api/backup", "application/json", strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	var done backupDone
	if err := json.Unmarshal(answer, &done); err != nil {
		return fmt.Errorf("answer of the gateway: %w", err)
	}
	fmt.Fprintf(out, "%s: %d files, %d bytes\n", done.To, done.Files, done.SizeBytes)
	if !done.UnlockKey {
		fmt.Fprintln(out, "the key or passphrase that unlocks the gateway's CA is not in it: keep a copy elsewhere")
	}
	return nil
}
