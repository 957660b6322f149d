package bench

import (
	"context"
	"errors"
	"slices"
	"time"
)

// newcomers is how long an honest device waited that came, connected, and left again while the crowd was there.
type newcomers struct {
	Came    int           `json:"came"`
	Failed  int           `json:"failed"`
	Failure string        `json:"failure,omitempty"` // the last
	P50     time.Duration `json:"p50Ns"`
	Max     time.Duration `json:"maxNs"`
}

const (
	newcomerThing = "newcomer"
	// newcomerPause is between two of them.
	newcomerPause = 200 * time.Millisecond
	// newcomerTimeout is how long one may wait for its CONNACK, on a machine that is full of enemies: clients give up then.
	newcomerTimeout = 10 * time.Second
)

// welcome has an honest device connect again and again, from an address of its own, until ctx ends.
func (e *enemy) welcome(ctx context.Context) (r newcomers) {
	var took []time.Duration
	for sleep(ctx, newcomerPause) == nil {
		began := time.Now()
		if err := e.visit(ctx); err == nil {
			took = append(took, time.Since(began))
		} else if ctx.Err() == nil {
			r.Failed++
			r.Failure = err.Error()
		}
	}
	if r.Came = len(took); r.Came > 0 {
		slices.Sort(took)
		r.P50, r.Max = took[r.Came/2], took[r.Came-1]
	}
	return r
}

// visit connects over mutual TLS, reads the CONNACK and leaves.
func (e *enemy) visit(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*newcomerTimeout, errors.New("no CONNACK"))
	defer cancel()
	tcp, err := e.dial(ctx, e.mqtt, 2700)
	if err != nil {
		return err
	}
	defer tcp.Close()
	stop := context.AfterFunc(ctx, func() { tcp.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn, err := overTLS(ctx, tcp, e.newcomer)
	if err != nil {
		return err
	}
	reader := packetReader{conn: conn}
	if err := reader.exchange(appendConnect(nil, mqtt5, newcomerThing, 60), packet.connack); err != nil {
		return err
	}
	_, err = conn.Write(appendDisconnect(nil))
	return err
}
