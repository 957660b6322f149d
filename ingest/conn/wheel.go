package conn

import "time"

const (
	wheelTick  = 250 * time.Millisecond // how coarse deadlines are
	wheelSlots = 256                    // 64 s; what is due later comes by more than once
)

// wheel holds the sockets of a loop that have a deadline, by the tick in which it is looked at. A deadline that moves on, as
// every packet makes it, does not move its socket: that is asked again when its tick comes. The mutex of the loop guards it.
type wheel struct {
	slots [wheelSlots][]*Socket
	now   int64 // the last tick that was looked at
	count int
}

// tickOf returns the first tick that is not before atMs.
func tickOf(atMs int64) int64 {
	const ms = int64(wheelTick / time.Millisecond)
	return (atMs + ms - 1) / ms
}

// put has s looked at in the given tick, or earlier if it is already.
func (w *wheel) put(s *Socket, tick int64) {
	tick = min(max(tick, w.now+1), w.now+wheelSlots-1)
	if s.tick != 0 {
		if s.tick <= tick {
			return
		}
		w.remove(s)
	}
	slot := &w.slots[tick%wheelSlots]
	s.tick, s.place = tick, int32(len(*slot))
	*slot = append(*slot, s)
	w.count++
}

func (w *wheel) remove(s *Socket) {
	if s.tick == 0 {
		return
	}
	slot := &w.slots[s.tick%wheelSlots]
	last := len(*slot) - 1
	moved := (*slot)[last]
	(*slot)[s.place], moved.place = moved, s.place
	(*slot)[last] = nil
	*slot = (*slot)[:last]
	s.tick = 0
	w.count--
}

// advance takes out the sockets of all ticks up to now and appends them to due.
func (w *wheel) advance(now int64, due []*Socket) []*Socket {
	for w.now < now && w.count > 0 {
		w.now++
		slot := &w.slots[w.now%wheelSlots]
		for _, s := range *slot {
			s.tick = 0
			due = append(due, s)
		}
		w.count -= len(*slot)
		clear(*slot)
		if *slot = (*slot)[:0]; cap(*slot) > keepSlot {
			*slot = nil
		}
	}
	w.now = max(w.now, now)
	return due
}

// keepSlot is how many places an empty slot keeps.
const keepSlot = 64

// next returns the next tick that has sockets; 0: none has.
func (w *wheel) next() int64 {
	if w.count == 0 {
		return 0
	}
	for t := w.now + 1; ; t++ {
		if len(w.slots[t%wheelSlots]) > 0 {
			return t
		}
	}
}
