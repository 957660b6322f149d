package lane

// Filter is one of a SUBSCRIBE, or of an UNSUBSCRIBE, which has no options.
type Filter struct {
	Name    string
	Options byte // v5 section 3.8.3.1; 3.1.1 has the QoS alone
}

// Subscribe is a SUBSCRIBE or UNSUBSCRIBE.
type Subscribe struct {
	ID             uint16
	SubscriptionID int // 0: none
	Filters        []Filter
	More           int // filters that were not read
}

// ReadSubscribe reads the body of a screened SUBSCRIBE, of which it reads no more than most filters.
func ReadSubscribe(body []byte, version byte, most int) Subscribe {
	return readFilters(body, version, true, most)
}

// ReadUnsubscribe reads the body of a screened UNSUBSCRIBE.
func ReadUnsubscribe(body []byte, version byte) Subscribe {
	return readFilters(body, version, false, len(body))
}

func readFilters(body []byte, version byte, options bool, most int) (p Subscribe) {
	r := reader{b: body}
	p.ID = r.u16()
	if version == 5 {
		size, _ := r.varInt()
		props := reader{b: r.take(size)}
		for props.left() > 0 {
			kind, _ := props.varInt()
			if kind == propSubscriptionID {
				p.SubscriptionID, _ = props.varInt()
			} else {
				skipProperty(&props, kind)
			}
		}
	}
	for r.left() > 0 && !r.short {
		name := r.bytes()
		var option byte
		if options {
			option = r.u8()
		}
		if len(p.Filters) < most {
			p.Filters = append(p.Filters, Filter{string(name), option})
		} else {
			p.More++
		}
	}
	return p
}

// ReadDisconnect reads the session expiry interval from the body of a screened DISCONNECT, if it has one.
func ReadDisconnect(body []byte, version byte) (expirySec uint32, ok bool) {
	r := reader{b: body}
	if version < 5 || r.left() < 2 {
		return 0, false
	}
	r.u8()
	_, _ = r.varInt() // the length of the properties, which are all that follows
	for r.left() > 0 && !r.short {
		kind, _ := r.varInt()
		if kind == propSessionExpiry {
			return r.u32(), true
		}
		skipProperty(&r, kind)
	}
	return 0, false
}
