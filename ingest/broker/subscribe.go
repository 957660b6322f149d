package broker

import "muster/ingest/lane"

// subscribe grants what the rights allow, answers, and sends the retained messages (v5 section 3.8.4).
func (l *link) subscribe(body []byte) error {
	id, subID, filters := lane.ReadFilters(body, l.c.Version(), true)
	codes := make([]byte, len(filters))
	existed := make([]bool, len(filters))
	subs := make([]subscription, len(filters))
	listened := l.b.index.listened()
	for i, f := range filters { // the options are those of v5 section 3.8.3.1; 3.1.1 has the QoS alone
		subs[i] = subscription{filter: f.Name, id: subID, qos: f.Options & 3, noLocal: f.Options&4 != 0, retainAsPublished: f.Options&8 != 0, retainHandling: f.Options >> 4 & 3}
		codes[i], existed[i] = l.grantSubscription(subs[i])
	}
	if !listened && l.b.index.listened() {
		l.b.saveAllOpen()
	}
	if l.session.isKept() && l.b.journal.syncTo(l.b.journal.changed()) != nil { // logged there
		return l.b.refuse(errSessionsLog)
	}
	l.sendSubscribed(9<<4, id, codes)
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
	s := l.session
	refused := byte(0x80) // 3.1.1 knows no other failure
	if !l.grant.Rights.Subscribe(plainFilter(sub.filter)) {
		l.b.env.Refuse("subscribe not allowed")
		if l.c.Version() == 5 {
			refused = codeNotAuthorized
		}
		return refused, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.link != l {
		return refused, false
	}
	_, existed = s.subs[sub.filter]
	if !existed && len(s.subs) >= l.b.limits.Subscriptions {
		l.b.env.Refuse("too many subscriptions")
		if l.c.Version() == 5 {
			refused = codeQuota
		}
		return refused, false
	}
	s.subs[sub.filter] = sub
	l.b.index.add(s.client, sub, !existed)
	if s.kept() {
		l.b.journal.put(subscriptionKey(s.client, sub.filter), encodeSubscription(sub))
	}
	return sub.qos, existed
}

// sendSubscribed sends a SUBACK or UNSUBACK.
func (l *link) sendSubscribed(first byte, id uint16, codes []byte) {
	head := 2
	if l.c.Version() == 5 {
		head = 3 // no properties
	}
	packet := appendVar([]byte{first}, head+len(codes))
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
	id, _, filters := lane.ReadFilters(body, l.c.Version(), false)
	codes := make([]byte, len(filters))
	var dropped []string
	for i, f := range filters {
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
	l.sendSubscribed(11<<4, id, codes)
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
