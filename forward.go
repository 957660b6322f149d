package main

import (
	"cmp"
	"fmt"
	"os"

	"muster/tsdb"
	"muster/tsdb/prom"
	"muster/tsdb/remote"
)

// openForward opens remote write out, where it is set. It comes before the twin store, which must tell it from the first moment
// which log files go.
func (g *gateway) openForward() (retire func(number uint64, name string), err error) {
	if g.settings.remoteURL == "" {
		return nil, nil
	}
	name := g.settings.remoteGateway
	if name == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("setting remote.gateway-label is empty, and this machine has no name: %w", err)
		}
		name = cmp.Or(host, "gateway")
	}
	g.forward, err = remote.Open(remote.Options{
		URL: g.settings.remoteURL, BearerTokenFile: g.settings.remoteTokenFile, CAFile: g.settings.remoteCAFile,
		Dir: g.path("remote"), LogDir: g.path("tsdb"), External: []prom.Label{{Name: "gateway", Value: name}},
		QueueBytes: int64(g.settings.remoteQueueLimit), FS: g.files, Clock: g.clock, Log: g.log, Metrics: g.metrics,
	})
	if err != nil {
		return nil, err
	}
	return g.forward.Retire, nil
}

// startForward begins to send on what the twin store has, with the labels that PromQL shows.
func (g *gateway) startForward(telemetry *tsdb.Store, labels prom.Directory) {
	if g.forward == nil {
		return
	}
	g.forward.Start(telemetry, labels)
	g.onClose("remote write", g.forward.Stop)
}
