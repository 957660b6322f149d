package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// crashDevice is one publisher of the crash test. It keeps, outside of the gateway, what it has sent and what was acknowledged.
//
// Message n has a millisecond of its own and the value n + index/1000, which no other message of the fleet has.
type crashDevice struct {
	thing  string
	index  int
	sentMs []int64 // time of message n, ascending
	acked  []bool  // whether message n was acknowledged
	cycles []int   // index into sentMs at which each cycle began
}

// value is the text of message n's column.
func (d *crashDevice) value(n int) string { return fmt.Sprintf("%d.%03d", n, d.index) }

// ackedCount counts the acknowledged messages from number from on.
func (d *crashDevice) ackedCount(from int) (n int) {
	for _, acked := range d.acked[from:] {
		if acked {
			n++
		}
	}
	return n
}

// maxBurst is how many messages a device sends before it waits for their acknowledgements.
const maxBurst = 32

// publish connects and sends bursts, about rate messages a second, until the connection breaks, ctx ends or the gateway
// does something wrong; only the last is an error. alive ends just before the gateway is killed: a connection that fails then
// is no error. column is a second name of the value, new in this cycle.
func (d *crashDevice) publish(ctx, alive context.Context, addr, column string, rate float64, rng *rand.Rand) error {
	d.cycles = append(d.cycles, len(d.sentMs))
	conn, err := handshake(alive, addr, appendConnect(nil, mqtt311, d.thing, 60), nil, plainTCP)
	if err != nil {
		if alive.Err() != nil {
			return nil
		}
		return fmt.Errorf("%s: connect: %w", d.thing, err)
	}
	defer conn.Close()
	// Acknowledgements that were on their way when the gateway was killed still count: the read goes on until the connection ends.
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Now().Add(time.Second)) })
	defer stop()
	reader := packetReader{conn: conn}
	var out, body []byte
	for ctx.Err() == nil {
		first := len(d.sentMs)
		burst := 1 + rng.IntN(maxBurst)
		out = out[:0]
		for i := range burst {
			body = d.appendMessage(body[:0], column)
			out = appendPublish(out, mqtt311, 1, uint16(i+1), "dt/"+d.thing, body)
		}
		if _, err := conn.Write(out); err != nil {
			return nil
		}
		for range burst {
			p, err := reader.next()
			if err != nil {
				return nil
			}
			id, _, err := p.puback()
			if p.kind != packetPuback || err != nil {
				return fmt.Errorf("%s: want PUBACK, the gateway sends packet type %d", d.thing, p.kind)
			}
			n := first + int(id) - 1
			if id == 0 || int(id) > burst || d.acked[n] {
				return fmt.Errorf("%s: the gateway acknowledges packet %d, which is not open", d.thing, id)
			}
			d.acked[n] = true
		}
		pause := time.Duration(float64(burst) / rate * 2 * rng.Float64() * float64(time.Second))
		if sleep(ctx, pause) != nil {
			break
		}
	}
	return nil
}

// appendMessage notes the next message as sent and appends it.
func (d *crashDevice) appendMessage(dst []byte, column string) []byte {
	n := len(d.sentMs)
	at := time.Now().UnixMilli()
	if n > 0 {
		at = max(at, d.sentMs[n-1]+1)
	}
	d.sentMs = append(d.sentMs, at)
	d.acked = append(d.acked, false)
	value := d.value(n)
	dst = append(dst, `{"ts":`...)
	dst = strconv.AppendInt(dst, at, 10)
	dst = append(dst, `,"seq":`...)
	dst = append(dst, value...)
	dst = append(dst, `,"`...)
	dst = append(dst, column...)
	dst = append(dst, `":`...)
	dst = append(dst, value...)
	return append(dst, `,"lamp_on":true}`...)
}

// sample is one value that the gateway returned, as it wrote it.
type sample struct {
	ms    int64
	value string
}

// maxQuerySamples is how many sent messages one query asks for.
const maxQuerySamples = 20_000

// verify compares messages from number from to number to with what the gateway holds in column. It returns how many
// acknowledged ones are missing or have another value, and an error that names the first thing that is wrong.
func (d *crashDevice) verify(ctx context.Context, api *promAPI, column string, from, to int) (lost int, err error) {
	for ; from < to; from = min(from+maxQuerySamples, to) {
		end := min(from+maxQuerySamples, to)
		samples, queryErr := api.raw(ctx, column, d.thing, d.sentMs[from], d.sentMs[end-1])
		if queryErr != nil {
			return lost, errors.Join(err, fmt.Errorf("%s: query %s: %w", d.thing, column, queryErr))
		}
		missing, diffErr := d.compare(samples, from, end)
		lost += missing
		if err == nil && diffErr != nil {
			err = fmt.Errorf("%s: column %s: %w", d.thing, column, diffErr)
		}
	}
	return lost, err
}

// compare walks samples, ascending, along messages from to end.
func (d *crashDevice) compare(samples []sample, from, end int) (lost int, err error) {
	wrong := func(format string, args ...any) {
		if err == nil {
			err = fmt.Errorf(format, args...)
		}
	}
	n := from
	for _, s := range samples {
		for ; n < end && d.sentMs[n] < s.ms; n++ {
			if d.acked[n] {
				lost++
				wrong("message %d of %d ms was acknowledged and is not there", n, d.sentMs[n])
			}
		}
		if n == end || d.sentMs[n] != s.ms {
			wrong("there is a sample of %d ms, value %s, that nobody sent", s.ms, s.value)
			continue
		}
		if got, parseErr := strconv.ParseFloat(s.value, 64); parseErr != nil || got != float(d.value(n)) {
			if d.acked[n] {
				lost++
			}
			wrong("message %d of %d ms has the value %s, sent was %s", n, s.ms, s.value, d.value(n))
		}
		n++
	}
	for ; n < end; n++ {
		if d.acked[n] {
			lost++
			wrong("message %d of %d ms was acknowledged and is not there", n, d.sentMs[n])
		}
	}
	return lost, err
}

// float is the number of a text that this package wrote.
func float(text string) float64 {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return v
}
