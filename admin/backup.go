package admin

import (
	"context"

	"github.com/valyala/fasthttp"
)

type backupRequest struct {
	To            string `json:"to"` // absolute path on the gateway
	WithUnlockKey bool   `json:"withUnlockKey"`
}

// postBackup makes the gateway write a backup. Only the local socket may ask: a path on this machine is not for the network to name.
// It takes as long as it takes, and ends with the gateway.
func postBackup(_ context.Context, s *Server, c *call, in backupRequest) (*any, error) {
	c.target = in.To
	if !isLocal(c.http) {
		return nil, &apiError{status: fasthttp.StatusForbidden, kind: "denied", message: "a backup is started on the gateway itself: muster backup"}
	}
	if s.opts.Backup == nil {
		return nil, notFound("this gateway makes no backups")
	}
	done, err := s.opts.Backup(s.streams, in.To, in.WithUnlockKey)
	if err != nil {
		s.log.Error("backup failed", "file", in.To, "err", err)
		return nil, &apiError{status: fasthttp.StatusUnprocessableEntity, kind: "backup", message: err.Error()}
	}
	return &done, nil
}
