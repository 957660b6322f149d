package bench

import "strconv"

// telemetry writes the messages of a street light: 8 values that move as a real one's do, in texts of constant length.
type telemetry struct {
	state string // the last value; it brings the message to the wanted size
}

// payloadFrame is what a message has without its state.
const payloadFrame = len(`{"power_w":141.25,"voltage_v":229.7,"current_a":0.182,"temperature_c":12.5,"brightness_percent":80,` +
	`"energy_kwh":10000.001,"lamp_on":true,"state":""}`)

// newTelemetry makes messages of sizeBytes, or of the least size that 8 values need.
func newTelemetry(sizeBytes int) telemetry {
	const filler = "dimmed by schedule for a quiet winter night "
	state := make([]byte, 0, max(sizeBytes-payloadFrame, 3))
	for len(state) < cap(state) {
		state = append(state, filler[len(state)%len(filler)])
	}
	return telemetry{state: string(state)}
}

// append appends message seq of a device.
func (t telemetry) append(dst []byte, device int, seq uint64) []byte {
	x := seq*7 + uint64(device)*13 // neighbours differ, and a device's values walk in small steps
	dst = append(dst, `{"power_w":`...)
	dst = appendFixed(dst, 10_000+x%9_000, 2)
	dst = append(dst, `,"voltage_v":`...)
	dst = appendFixed(dst, 2_250+x%100, 1)
	dst = append(dst, `,"current_a":0.`...)
	dst = strconv.AppendUint(dst, 100+x%800, 10)
	dst = append(dst, `,"temperature_c":`...)
	dst = appendFixed(dst, 100+x/64%200, 1)
	dst = append(dst, `,"brightness_percent":`...)
	dst = strconv.AppendUint(dst, 10+x/256%90, 10)
	dst = append(dst, `,"energy_kwh":`...)
	dst = appendFixed(dst, 10_000_000+seq%80_000_000, 3)
	dst = append(dst, `,"lamp_on":true,"state":"`...)
	dst = append(dst, t.state...)
	return append(dst, `"}`...)
}

// appendFixed appends n / 10^decimals; n has more digits than decimals.
func appendFixed(dst []byte, n uint64, decimals int) []byte {
	dst = strconv.AppendUint(dst, n, 10)
	at := len(dst) - decimals
	dst = append(dst, 0)
	copy(dst[at+1:], dst[at:])
	dst[at] = '.'
	return dst
}
