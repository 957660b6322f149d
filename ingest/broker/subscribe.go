package broker

import "muster/ingest/lane"

// subscribe grants what the rights allow, answers, and sends the retained messages (v5 section 3.8.4).
func (l *link) subscribe(body []byte) error {
	p := lane.ReadSubscribe(body, l.c.Version(), l.b.env.Limits.Filters)
	codes := make([]byte, len(p.Filters)+p.More)
	if l.tooLarge(codes) {
		return l.b.refuse(errSubscribedLarge)
	}
	existed := make([]bool, len(p.Filters))
	subs := make([]subscription, len(p.Filters))
	listened := l.b.index.listened()
	for i, f := range p.Filters { // the options are those of v5 section 3.8.3.1; 3.1.1 has the QoS alone
		subs[i] = subscription{filter: f.Name, id: p.SubscriptionID, qos: f.Options & 3, noLocal: f.Options&4 != 0, retainAsPublished: f.Options&8 != 0, retainHandling: f.Options >> 4 & 3}
		codes[i], existed[i] = l.grantSubscription(subs[i])
	}
	if p.More > 0 { // AWS IoT would end the connection
		code := l.refuseSubscription("too many filters", codeQuota)
		for i := len(subs); i < len(codes); i++ {
			codes[i] = code
		}
	}
	if !listened && l.b.index.listened() {
		l.b.saveAllOpen()
	}
	if l.session.isKept() && l.b.journal.syncTo(l.b.journal.changed()) != nil { // logged there
		return l.b.refuse(errSessionsLog)
	}
	l.sendSubscribed(9<<4, p.ID, codes)
	var granted []string
	for i, sub := range subs {
		if codes[i] < 0x80 {
			granted = append(granted, sub.filter)
		}
	}
	l.tellTopics("subscribed", granted)
	for i, sub := range subs {
		if codes[i] < 0x80 {
			l.sendRetained(sub, existed[i])
		}
	}
	return nil
}

func (l *link) grantSubscription(sub subscription) (code byte, existed bool) {
	s, plain := l.session, plainFilter(sub.filter)
	switch {
	case l.b.env.Limits.TooDeep(plain):
		return l.refuseSubscription("filter with too many levels", codeFilterInvalid), false
	case !l.grant.Rights.Subscribe(plain):
		return l.refuseSubscription("subscribe not allowed", codeNotAuthorized), false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.link != l {
		return codeUnspecified, false
	}
	_, existed = s.subs[sub.filter]
	if !existed && len(s.subs) >= l.b.limits.Subscriptions {
		return l.refuseSubscription("too many subscriptions", codeQuota), false
	}
	s.subs[sub.filter] = sub
	l.b.index.add(s.client, sub, !existed)
	if s.kept() {
		l.b.journal.put(subscriptionKey(s.client, sub.filter), encodeSubscription(sub))
	}
	return sub.qos, existed
}

// refuseSubscription counts a filter that is refused and returns its code: 3.1.1 knows one failure only.
func (l *link) refuseSubscription(reason string, code byte) byte {
	l.b.env.Refuse(reason)
	if l.c.Version() < 5 {
		return codeUnspecified
	}
	return code
}

// subscribedHead is what a SUBACK or UNSUBACK has before its codes: packet id, and no properties.
func (l *link) subscribedHead() int {
	if l.c.Version() == 5 {
		return 3
	}
	return 2
}

// tooLarge says whether the client does not take a SUBACK or UNSUBACK with these codes [MQTT-3.1.2-24].
func (l *link) tooLarge(codes []byte) bool {
	size := l.subscribedHead() + len(codes)
	return l.maxPacket > 0 && 1+varLen(size)+size > int(l.maxPacket)
}

// sendSubscribed sends a SUBACK or UNSUBACK.
func (l *link) sendSubscribed(first byte, id uint16, codes []byte) {
	packet := appendVar([]byte{first}, l.subscribedHead()+len(codes))
	packet = append(packet, byte(id>>8), byte(id))
	if l.c.Version() == 5 {
		packet = append(packet, 0)
	}
	_, _ = l.c.Write(append(packet, codes...)) // it only fails when the connection ends
}

// sendRetained sends the retained messages of a new subscription (v5 section 3.3.1.3); shared ones get none (4.8.2).
func (l *link) sendRetained(sub subscription, existed bool) {
	if sub.retainHandling == 2 || sub.retainHandling == 1 && existed || plainFilter(sub.filter) != sub.filter {
		return
	}
	l.session.deliverRetained(l.b.retained.matching(sub.filter), sub)
}

func (l *link) unsubscribe(body []byte) error {
	p := lane.ReadUnsubscribe(body, l.c.Version())
	codes := make([]byte, len(p.Filters))
	if l.tooLarge(codes) {
		return l.b.refuse(errSubscribedLarge)
	}
	var dropped []string
	for i, f := range p.Filters {
		if codes[i] = l.dropSubscription(f.Name); codes[i] == 0 {
			dropped = append(dropped, f.Name)
		}
	}
	if l.session.isKept() && l.b.journal.syncTo(l.b.journal.changed()) != nil { // logged there
		return l.b.refuse(errSessionsLog)
	}
	if l.c.Version() < 5 {
		codes = nil // v3.1.1 section 3.11.3: no payload
	}
	l.sendSubscribed(11<<4, p.ID, codes)
	l.tellTopics("unsubscribed", dropped)
	return nil
}

func (l *link) dropSubscription(filter string) (code byte) {
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.subs[filter]; !ok || s.link != l {
		return 0x11 // no subscription existed
	}
	delete(s.subs, filter)
	l.b.index.remove(s.client, filter)
	l.b.journal.delete(subscriptionKey(s.client, filter))
	return 0
}
