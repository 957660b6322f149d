package decode

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"

	"muster/tsdb"
)

// SparkplugHead is what a Sparkplug payload says of the session of its edge node (specification 3.0.0, sections 5 and 6.4).
type SparkplugHead struct {
	Seq           uint64 // of the message; 0 to 255
	BdSeq         uint64 // of the birth and the death that belong together
	HasSeq, HasBd bool
}

// ReadSparkplugHead reads the head of a payload, which may come behind its metrics. Every error is a *Malformed.
func ReadSparkplugHead(p []byte) (h SparkplugHead, err error) {
	var m metric
	for i := 0; i < len(p); {
		number, wire, value, next := protoNext(p, i, len(p))
		switch {
		case number == 0, number == spPayloadMetrics && wire != wireBytes:
			return h, &Malformed{Reason: reasons[faultProto], Offset: i}
		case number == spPayloadSeq && wire == wireVarint:
			h.Seq, h.HasSeq = value, true
		case number == spPayloadMetrics:
			if bad, f := m.read(p, int(value), next); f != ok {
				return h, &Malformed{Reason: reasons[f], Offset: bad}
			}
			if string(m.name) == "bdSeq" && (m.field == spIntValue || m.field == spLongValue) {
				h.BdSeq, h.HasBd = m.value, true
			}
		}
		i = next
	}
	return h, nil
}

const spPayloadSeq = 3

// NeedsRebirth says whether err is of a data message whose birth was not seen.
func NeedsRebirth(err error) bool {
	m, is := errors.AsType[*Malformed](err)
	return is && m.Reason == reasons[faultRebirth]
}

// AppendRebirth appends the payload of the command that asks an edge node for its births (section 6.4.19).
func AppendRebirth(dst []byte, nowMs int64) []byte {
	const name = "Node Control/Rebirth"
	metric := append([]byte{spName<<3 | wireBytes, byte(len(name))}, name...)
	metric = binary.AppendUvarint(append(metric, spTimestamp<<3), uint64(nowMs))
	metric = append(metric, spDatatype<<3, 11, spBoolean<<3, 1) // 11: Boolean
	dst = binary.AppendUvarint(append(dst, spPayloadTimestamp<<3), uint64(nowMs))
	dst = append(dst, spPayloadMetrics<<3|wireBytes, byte(len(metric)))
	return append(dst, metric...)
}

// SparkplugOnline returns a row that says whether an edge node is online, or with d.Device its device: the column sparkplug_online.
func (d *Decoder) SparkplugOnline(online bool, atMs int64) ([]Row, error) {
	d.reset()
	parent, f := d.parent()
	if f != ok {
		return d.result(0, f)
	}
	d.begin()
	key, f := d.keys.findPlain([]byte("sparkplug_online"), parent)
	if f != ok {
		return d.result(0, f)
	}
	v := tsdb.Value{Kind: tsdb.Bool}
	if online {
		v.Mantissa = 1
	}
	if _, f = d.add(0, 0, key, v); f == ok {
		f = d.finish(atMs)
	}
	return d.result(0, f)
}

// parent returns the key that stands in front of all names of a Sparkplug payload.
func (d *Decoder) parent() (keyID, fault) {
	if len(d.Device) == 0 {
		return rootKey, ok
	}
	if !utf8.Valid(d.Device) {
		return noKey, faultUTF8
	}
	return d.keys.findPlain(d.Device, rootKey)
}
