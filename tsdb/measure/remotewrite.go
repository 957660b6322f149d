package measure

import (
	"encoding/binary"
	"math"

	"muster/tsdb"
)

// appendWriteRequest appends messages as a prometheus.WriteRequest (prometheus/prompb/remote.proto, remote write 1.0): a series for each
// value, with its one sample. A text becomes name_info{value="text"} 1, the usual form where there are only numbers.
//
// Each message is protobuf: field number << 3 | wire type, where 0 is a varint, 1 are 8 bytes and 2 is a length and so many bytes.
func appendWriteRequest(dst []byte, messages []message) []byte {
	var series, part []byte
	for i := range messages {
		m := &messages[i]
		for c, col := range model(m.device) {
			series = series[:0]
			v, name := number(m.values[c], col.exp), col.name
			if col.kind == tsdb.String {
				v, name = 1, name+"_info"
			}
			series = appendLabel(series, &part, "__name__", name)
			series = appendLabel(series, &part, "city", city(m.device))
			series = appendLabel(series, &part, "thing", thingName(m.device))
			if col.kind == tsdb.String {
				series = appendLabel(series, &part, "value", states[m.values[c]])
			}
			part = append(part[:0], 1<<3|1) // Sample.value
			part = binary.LittleEndian.AppendUint64(part, math.Float64bits(v))
			part = append(part, 2<<3) // Sample.timestamp
			part = binary.AppendUvarint(part, uint64(m.timeMs))
			series = appendBytes(series, 2, part) // TimeSeries.samples
			dst = appendBytes(dst, 1, series)     // WriteRequest.timeseries
		}
	}
	return dst
}

// appendLabel appends one of TimeSeries.labels. part is a buffer.
func appendLabel(dst []byte, part *[]byte, name, value string) []byte {
	*part = appendBytes(appendBytes((*part)[:0], 1, name), 2, value)
	return appendBytes(dst, 1, *part)
}

func appendBytes[T string | []byte](dst []byte, field byte, content T) []byte {
	dst = append(dst, field<<3|2)
	dst = binary.AppendUvarint(dst, uint64(len(content)))
	return append(dst, content...)
}
