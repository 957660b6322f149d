package lane

// Filter is one of a SUBSCRIBE, or of an UNSUBSCRIBE, which has no options.
type Filter struct {
	Name    string
	Options byte // v5 section 3.8.3.1; 3.1.1 has the QoS alone
}

// ReadFilters reads the body of a screened SUBSCRIBE, or UNSUBSCRIBE without options. subscriptionID is 0 where there is none.
func ReadFilters(body []byte, version byte, options bool) (id uint16, subscriptionID int, filters []Filter) {
	r := reader{b: body}
	id = r.u16()
	if version == 5 {
		size, _ := r.varInt()
		props := reader{b: r.take(size)}
		for props.left() > 0 {
			kind, _ := props.varInt()
			if kind == propSubscriptionID {
				subscriptionID, _ = props.varInt()
			} else {
				skipProperty(&props, kind)
			}
		}
	}
	for r.left() > 0 && !r.short {
		f := Filter{Name: string(r.bytes())}
		if options {
			f.Options = r.u8()
		}
		filters = append(filters, f)
	}
	return id, subscriptionID, filters
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
