package bench

import (
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"time"

	"muster/agent/wire"
)

// soakDevice is one device of a soak that comes and goes. It knows no more than its random numbers.
type soakDevice struct {
	thing string
	index int
	rate  float64
	rng   *mathrand.Rand
	sent  uint64
}

// live connects, lives one session after the other and leaves when ctx ends. An error is something that the gateway did wrong.
func (d *soakDevice) live(ctx context.Context, addr string) (total soakCount, err error) {
	for ctx.Err() == nil && err == nil {
		var c soakCount
		c, err = d.session(ctx, addr)
		total.connects += c.connects
		total.published += c.published
		total.acked += c.acked
		total.delivered += c.delivered
	}
	if ctx.Err() != nil {
		err = nil // what fails while all leave is no fault
	}
	return total, err
}

// answerTimeout is how long acknowledgements and deliveries may take. On a busy machine they take long, but not so long.
const answerTimeout = 10 * time.Second

// session is one connection: some bursts of messages, and one of three ways to part.
func (d *soakDevice) session(ctx context.Context, addr string) (c soakCount, err error) {
	v := mqtt311
	if d.rng.IntN(2) == 0 {
		v = mqtt5
	}
	commands := wire.TelemetryTopic(d.thing) + "/command"
	var subscribe []byte
	if d.rng.IntN(2) == 0 {
		subscribe = appendSubscribe(nil, v, 1, commands)
	}
	conn, err := handshake(ctx, addr, appendConnect(nil, v, d.thing, 60), subscribe, plainTCP)
	if err != nil {
		return c, fmt.Errorf("%s: connect: %w", d.thing, err)
	}
	defer conn.Close()
	c.connects++
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	reader := packetReader{conn: conn}
	message := newTelemetry(200)
	var out, body []byte
	for range 1 + d.rng.IntN(20) {
		burst, open, due := 1+d.rng.IntN(16), 0, 0
		out = out[:0]
		for i := range burst {
			body = message.append(body[:0], d.index, d.sent)
			d.sent++
			switch topic := wire.TelemetryTopic(d.thing); {
			case subscribe != nil && i == 0:
				out = appendPublish(out, v, 0, 0, commands, []byte(`{"dim":50}`))
				due++
			case i%3 == 0:
				out = appendPublish(out, v, 0, 0, topic, body)
			default:
				out = appendPublish(out, v, 1, uint16(i+1), topic, body)
				open++
			}
		}
		if _, err := conn.Write(out); err != nil {
			return c, fmt.Errorf("%s: publish: %w", d.thing, err)
		}
		c.published += burst
		conn.SetReadDeadline(time.Now().Add(answerTimeout))
		if ctx.Err() != nil {
			return c, nil // whose end has set an earlier one
		}
		for open > 0 || due > 0 {
			p, err := reader.next()
			if err != nil {
				return c, fmt.Errorf("%s: %d acknowledgements and %d messages are missing: %w", d.thing, open, due, err)
			}
			switch p.kind {
			case packetPuback:
				if id, reason, err := p.puback(); err != nil || reason != 0 {
					return c, fmt.Errorf("%s: message %d is refused with reason 0x%02x: %w", d.thing, id, reason, err)
				}
				open--
				c.acked++
			case packetPublish:
				due--
				c.delivered++
			default:
				return c, fmt.Errorf("%s: the gateway sends packet type %d", d.thing, p.kind)
			}
		}
		pause := time.Duration(float64(burst) / d.rate * 2 * d.rng.Float64() * float64(time.Second))
		if err := sleep(ctx, pause); err != nil {
			return c, nil
		}
	}
	switch d.rng.IntN(3) {
	case 0:
		conn.Write(appendDisconnect(nil)) // the connection is over in any case
	case 1:
		conn.(*net.TCPConn).SetLinger(0) // a reset, as a device does that lost its power and comes back
	}
	return c, nil
}
