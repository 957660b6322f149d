package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
)

const setupFile = "setup-code"

// OpenSetup makes the setup code of this start, while no admin exists, and writes it to <data-dir>/setup-code, which
// only the owner can read. It returns the code for the journal, "" when there is an admin.
func (s *Server) OpenSetup(ctx context.Context) (code string, err error) {
	code, err = s.accounts.OpenSetup(ctx)
	if err != nil {
		return "", fmt.Errorf("make the setup code: %w", err)
	}
	if code == "" {
		s.removeSetupFile()
		return "", nil
	}
	file := path.Join(s.opts.DataDir, setupFile)
	if err := s.opts.FS.WriteFile(file, []byte(code+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("write the setup code to %q: %w", file, err)
	}
	return code, nil
}

// removeSetupFile removes the file of a code that is dead.
func (s *Server) removeSetupFile() {
	file := path.Join(s.opts.DataDir, setupFile)
	if err := s.opts.FS.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("remove the used setup code", "file", file, "err", err)
	}
}
