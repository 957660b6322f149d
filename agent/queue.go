package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// message is a QoS 1 publish on its way.
type message struct {
	topic   string
	payload []byte
	id      uint16     // packet id; 0: not sent yet
	again   bool       // sent before in this MQTT session
	done    chan error // of size 1; nil: nobody waits
}

func (m *message) finish(err error) {
	if m.done != nil {
		m.done <- err
	}
}

// ErrDropped is what Publish returns for a message that a full queue had to let go.
var ErrDropped = errors.New("dropped from the full queue while the gateway could not be reached")

// RefusedError is the gateway's refusal of a message. Code is the reason code of MQTT 5 (section 2.4).
type RefusedError struct{ Code byte }

func (e *RefusedError) Error() string {
	if text, ok := reasons[e.Code]; ok {
		return "the gateway refused the message: " + text
	}
	return fmt.Sprintf("the gateway refused the message with code 0x%02x", e.Code)
}

// queue holds messages until they are acknowledged: those in flight, in the order they were sent, and those waiting.
// Safe for concurrent use.
type queue struct {
	maxMessages, maxBytes int
	wake                  chan struct{} // of size 1: there is something to send

	mu           sync.Mutex // guards all below
	waiting      []*message
	waitingBytes int
	inflight     []*message
	nextID       uint16
	acked        uint64
	refused      uint64
	dropped      uint64
}

func (q *queue) init(maxMessages, maxBytes int) {
	q.maxMessages, q.maxBytes, q.wake = maxMessages, maxBytes, make(chan struct{}, 1)
}

// put appends m and drops the oldest messages that wait if there are too many.
func (q *queue) put(m *message) {
	q.mu.Lock()
	for len(q.waiting) > 0 && (len(q.waiting) >= q.maxMessages || q.waitingBytes+len(m.payload) > q.maxBytes) {
		q.waiting[0].finish(ErrDropped)
		q.waitingBytes -= len(q.waiting[0].payload)
		q.waiting = slices.Delete(q.waiting, 0, 1)
		q.dropped++
	}
	q.waiting = append(q.waiting, m)
	q.waitingBytes += len(m.payload)
	q.mu.Unlock()
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next moves the oldest waiting message into flight, with a free packet id, unless window are in flight. nil: none.
func (q *queue) next(window int) *message {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 || len(q.inflight) >= window {
		return nil
	}
	m := q.waiting[0]
	q.waiting = slices.Delete(q.waiting, 0, 1)
	q.waitingBytes -= len(m.payload)
	// Messages that were sent before are at the front, so all ids in use are in flight when a new one is chosen.
	for m.id == 0 {
		q.nextID++
		used := func(o *message) bool { return o.id == q.nextID }
		if !slices.ContainsFunc(q.inflight, used) {
			m.id = q.nextID
		}
	}
	q.inflight = append(q.inflight, m)
	return m
}

// rewind puts what is in flight back to the front, to be sent again in the same order on a new connection. The packet
// ids stay; present says whether the gateway kept the session and so may know them.
func (q *queue) rewind(present bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range q.inflight {
		m.again = present
		q.waitingBytes += len(m.payload)
	}
	q.waiting = append(q.inflight, q.waiting...)
	q.inflight = nil
}

// ack ends the message in flight with the given id. An id that is not in flight is ignored: an acknowledgment may come
// twice after a reconnect.
func (q *queue) ack(id uint16, code byte) {
	q.mu.Lock()
	at := slices.IndexFunc(q.inflight, func(m *message) bool { return m.id == id })
	if at < 0 {
		q.mu.Unlock()
		return
	}
	m := q.inflight[at]
	q.inflight = slices.Delete(q.inflight, at, at+1)
	more := len(q.waiting) > 0
	if code < 0x80 {
		q.acked++
	} else {
		q.refused++
	}
	q.mu.Unlock()
	if code < 0x80 {
		m.finish(nil)
	} else {
		m.finish(&RefusedError{Code: code})
	}
	if more {
		q.signal()
	}
}

// forget removes a message that nobody waits for any more, if it was not sent.
func (q *queue) forget(m *message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if at := slices.Index(q.waiting, m); at >= 0 {
		q.waiting = slices.Delete(q.waiting, at, at+1)
		q.waitingBytes -= len(m.payload)
	}
}

func (q *queue) counts() (queued int, acked, refused, dropped uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) + len(q.inflight), q.acked, q.refused, q.dropped
}

// Publish sends payload to topic with QoS 1 and waits until the gateway has acknowledged it, over reconnects if need
// be. It does not keep payload after it returned nil or ErrDropped; after ctx ended, a message that was sent already
// may still arrive and payload must not be changed. Errors: *RefusedError, ErrDropped, ctx's.
func (d *Device) Publish(ctx context.Context, topic string, payload []byte) error {
	m := &message{topic: topic, payload: payload, done: make(chan error, 1)}
	if err := checkMessage(m); err != nil {
		return err
	}
	d.queue.put(m)
	select {
	case err := <-m.done:
		return err
	case <-ctx.Done():
		d.queue.forget(m)
		return ctx.Err()
	}
}

// Send queues payload for topic with QoS 1 and does not wait. The queue is bounded; when it is full the oldest message
// is dropped and counted. payload is kept: the caller must not change it.
func (d *Device) Send(topic string, payload []byte) error {
	m := &message{topic: topic, payload: payload}
	if err := checkMessage(m); err != nil {
		return err
	}
	d.queue.put(m)
	return nil
}

const (
	maxTopic   = 1024
	maxPayload = 128 << 10 // the gateway takes packets of 128 KiB
)

func checkMessage(m *message) error {
	if len(m.topic) == 0 || len(m.topic) > maxTopic {
		return fmt.Errorf("a topic has 1 to %d bytes, this one has %d", maxTopic, len(m.topic))
	}
	if len(m.payload) > maxPayload {
		return fmt.Errorf("a payload has at most %d bytes, this one has %d", maxPayload, len(m.payload))
	}
	return nil
}
