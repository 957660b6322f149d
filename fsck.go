package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"

	"muster/admin/audit"
	"muster/tsdb"
	"muster/tsdb/vfs"
)

// fsckCommand checks the telemetry and the audit log of a stopped gateway and prints what is damaged; it changes nothing.
func fsckCommand(_ context.Context, args []string, out, _ io.Writer) error {
	flags := flag.NewFlagSet("fsck", flag.ContinueOnError)
	flags.SetOutput(out)
	dataDir := flags.String("data-dir", "./data", "`folder` of a gateway that does not run")
	flags.Usage = func() {
		fmt.Fprint(out, "muster fsck: checks every checksum of a stopped gateway's telemetry, and the chain of its audit log. It changes nothing.\n\n  muster fsck --data-dir /var/lib/muster\n\n")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return errors.New("fsck takes no argument; name the folder with --data-dir")
	}
	files := vfs.OS{}
	lock, err := files.Lock(filepath.Join(*dataDir, "lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	report, err := tsdb.Fsck(filepath.Join(*dataDir, "tsdb"), files)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d files, %d blocks, %d samples, %d log groups\n", report.Files, report.Blocks, report.Samples, report.Groups)
	if report.Deleted > 0 {
		fmt.Fprintf(out, "%d deleted things and sources; %d blocks of them are left, which a running gateway removes within minutes\n", report.Deleted, report.DeletedBlocks)
	}
	for _, file := range report.TornTails {
		fmt.Fprintf(out, "%s: ends in a group that was never acknowledged, which is what a power cut leaves; the next start cuts it off\n", file)
	}
	for _, damage := range report.Damage {
		fmt.Fprintf(out, "%s: %s\n", damage.File, damage.Text)
	}
	lines, err := audit.Verify(files, *dataDir)
	fmt.Fprintf(out, "%d audit lines\n", lines)
	if err != nil {
		return err
	}
	if n := len(report.Damage); n > 0 {
		return fmt.Errorf("%d damaged places; all else is readable: the next start sets them aside and goes on", n)
	}
	_, err = fmt.Fprintln(out, "no damage")
	return err
}
