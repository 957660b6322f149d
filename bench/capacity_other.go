//go:build !linux

package bench

import (
	"context"
	"errors"
	"io"
	"os/exec"
)

var errCapacity = errors.New("`muster bench capacity` runs on Linux only")

func capacityWorker(context.Context, string, io.Reader, io.Writer) error { return errCapacity }

func (p *profile) start(cmd *exec.Cmd) error { return errCapacity }

func (p *profile) startBeside(cmd *exec.Cmd) error { return errCapacity }
