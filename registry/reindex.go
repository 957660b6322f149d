package registry

import (
	"maps"
	"runtime"
	"slices"
	"sync"

	"muster/registry/index"
)

// loadIndex builds the index of all things, which come by id; Open has nobody else yet.
func (r *Registry) loadIndex(records []*record) {
	x := index.New(fieldName, func(id uint32) string { return r.byID[id].name })
	r.index = x
	top := uint32(max(len(r.byID), 1) - 1)
	for _, name := range []string{fieldVersion, fieldCreated, fieldUpdated, fieldTimestamp} {
		x.Column(name).Grow(top)
	}
	x.SelectField(fieldInGroup, r.selectGroups)
	x.AggregateElsewhere(elsewhere{r})
	x.ReadColumn(fieldLastSeen, func(id uint32) (int64, bool) {
		page, i := r.presence.at(id)
		if page == nil {
			return 0, false
		}
		ms := page.seenMs[i].Load()
		return ms, ms != 0
	})
	fields := make(chan func()) // that are loaded at the same time
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for load := range fields {
				load()
			}
		})
	}
	defer workers.Wait()
	defer close(fields)
	all := func(field string, add func(dst []byte, rec *record) []byte) {
		fields <- func() {
			x.Load(field, len(records), func(dst []byte, i int) ([]byte, uint32) { return add(dst, records[i]), records[i].id })
		}
	}
	all(fieldID, func(dst []byte, rec *record) []byte { return appendUUID(dst, rec.uuid) })
	all(fieldName, func(dst []byte, rec *record) []byte { return append(dst, rec.name...) })
	for key, list := range having(records) {
		fields <- func() {
			x.Load(fieldAttribute+key, len(*list), func(dst []byte, i int) ([]byte, uint32) {
				rec := records[(*list)[i]]
				value, _ := rec.attribute(key)
				return append(dst, value...), rec.id
			})
		}
	}
	all(fieldType, func(dst []byte, rec *record) []byte { return append(dst, rec.typeName()...) })
	all(fieldBilling, func(dst []byte, rec *record) []byte { return append(dst, rec.billingGroup()...) })
	fields <- func() { r.loadTimes(records) }
	fields <- func() { r.loadLinks() }
	fields <- func() {
		groups := r.groups.order
		var things []uint32
		x.LoadSets(fieldGroups, len(groups), func(i int) (string, []uint32) {
			things = groups[i].members.Append(nil)
			return groups[i].name, things
		})
	}
}

// grouped are things, or their places in a list, by a value that they have.
type grouped struct {
	lists map[string]*[]uint32
	value string    // the last one
	list  *[]uint32 // of value; nil: there was none yet
}

func (g *grouped) add(value string, id uint32) {
	if g.list == nil || g.value != value {
		list := g.lists[value]
		if list == nil {
			list = new([]uint32)
			g.lists[value] = list
		}
		g.value, g.list = value, list
	}
	*g.list = append(*g.list, id)
}

// having returns the places of the records that have an attribute, by its key.
func having(records []*record) map[string]*[]uint32 {
	lists := make(map[string]*[]uint32)
	var at []grouped // by place in a record: most records have the keys of the one before
	for i, rec := range records {
		for j, a := range rec.attributes {
			if j == len(at) {
				at = append(at, grouped{lists: lists})
			}
			at[j].add(a.key, uint32(i))
		}
	}
	return lists
}

// loadTimes fills the columns of what every record has.
func (r *Registry) loadTimes(records []*record) {
	version, created, updated := r.index.Column(fieldVersion), r.index.Column(fieldCreated), r.index.Column(fieldUpdated)
	for _, rec := range records {
		r.index.AddThing(rec.id)
		version.Set(rec.id, rec.version)
		created.Set(rec.id, rec.createdMs)
		updated.Set(rec.id, rec.updatedMs)
	}
}

// loadLinks fills the fields of what is known of connections.
func (r *Registry) loadLinks() {
	since := r.index.Column(fieldTimestamp)
	connected, reasons := grouped{lists: map[string]*[]uint32{}}, grouped{lists: map[string]*[]uint32{}}
	r.presence.mu.Lock()
	r.presence.each(func(id uint32, s *slot, seenMs int64) {
		l := s.link(seenMs)
		if l.known {
			since.Set(id, l.sinceMs)
			connected.add(l.connectedText(), id)
		}
		if l.reason != "" {
			reasons.add(l.reason, id)
		}
	})
	r.presence.mu.Unlock()
	load := func(field string, g grouped, text func(value string) string) {
		values := slices.Collect(maps.Keys(g.lists))
		r.index.LoadSets(field, len(values), func(i int) (string, []uint32) { return text(values[i]), *g.lists[values[i]] })
	}
	same := func(value string) string { return value }
	load(fieldConnected, connected, same)
	load(fieldReason, reasons, same)
	load(fieldDisconnect, reasons, DisconnectReason)
}

func (r *Registry) indexTimes(rec *record) {
	r.index.Column(fieldVersion).Set(rec.id, rec.version)
	r.index.Column(fieldCreated).Set(rec.id, rec.createdMs)
	r.index.Column(fieldUpdated).Set(rec.id, rec.updatedMs)
}

// reindex brings the index from old to rec; nil is no thing. The caller is in a change.
func (r *Registry) reindex(old, rec *record) {
	r.delta.things = append(r.delta.things, thingDelta{old, rec})
	x := r.index
	if rec == nil {
		x.Remove(old.id, fieldName, old.name)
		x.Remove(old.id, fieldID, formatUUID(old.uuid))
		x.Remove(old.id, fieldType, old.typeName())
		for _, a := range old.attributes {
			x.Remove(old.id, fieldAttribute+a.key, a.value)
		}
		x.Remove(old.id, fieldBilling, old.billingGroup())
		r.forgetCertificates(old.id)
		r.indexLink(old.id, linkOf(r.Connectivity(old.id)), link{})
		x.RemoveThing(old.id)
		return
	}
	r.indexTimes(rec)
	if old == nil {
		x.AddThing(rec.id)
		x.Add(rec.id, fieldName, rec.name)
		x.Add(rec.id, fieldID, formatUUID(rec.uuid))
		x.Add(rec.id, fieldType, rec.typeName())
		x.Add(rec.id, fieldBilling, rec.billingGroup())
		for _, a := range rec.attributes {
			x.Add(rec.id, fieldAttribute+a.key, a.value)
		}
		return
	}
	if old.typeName() != rec.typeName() {
		x.Remove(rec.id, fieldType, old.typeName())
		x.Add(rec.id, fieldType, rec.typeName())
	}
	if old.billing != rec.billing {
		x.Remove(rec.id, fieldBilling, old.billingGroup())
		x.Add(rec.id, fieldBilling, rec.billingGroup())
	}
	for _, a := range old.attributes {
		if value, _ := rec.attribute(a.key); value != a.value {
			x.Remove(rec.id, fieldAttribute+a.key, a.value)
		}
	}
	for _, a := range rec.attributes {
		if value, _ := old.attribute(a.key); value != a.value {
			x.Add(rec.id, fieldAttribute+a.key, a.value)
		}
	}
}

// link is what the index has of a thing's connection.
type link struct {
	known     bool
	connected bool
	sinceMs   int64
	reason    string
}

func linkOf(c Connectivity) link {
	return link{known: c.SinceMs != 0 || c.LastSeenMs != 0, connected: c.Connected, sinceMs: c.SinceMs, reason: c.Reason}
}

func (l link) connectedText() string {
	switch {
	case !l.known:
		return ""
	case l.connected:
		return "true"
	}
	return "false"
}

// indexLink brings the index from one link of a thing to another. The caller is in a change.
func (r *Registry) indexLink(id uint32, old, now link) {
	if old != now {
		r.delta.links = append(r.delta.links, linkDelta{id, old, now})
	}
	change := func(field, from, to string) {
		if from != to {
			r.index.Remove(id, field, from)
			r.index.Add(id, field, to)
		}
	}
	change(fieldConnected, old.connectedText(), now.connectedText())
	change(fieldReason, old.reason, now.reason)
	change(fieldDisconnect, DisconnectReason(old.reason), DisconnectReason(now.reason))
	if now.known {
		r.index.Column(fieldTimestamp).Set(id, now.sinceMs)
	}
}

// DisconnectReason returns the reason of a Connectivity as AWS IoT spells it, UNKNOWN for one that it has no word for,
// "" for none.
func DisconnectReason(reason string) string {
	if reason == "" {
		return ""
	}
	if name, ok := disconnectReasons[reason]; ok {
		return name
	}
	return "UNKNOWN"
}

// disconnectReasons are the reasons that a gateway gives.
var disconnectReasons = map[string]string{
	"disconnected by the client":                    "CLIENT_INITIATED_DISCONNECT",
	"disconnected by the client with a reason code": "CLIENT_INITIATED_DISCONNECT",
	"connection closed by the client":               "CONNECTION_LOST",
	"connection lost":                               "CONNECTION_LOST",
	"keep alive timeout":                            "MQTT_KEEP_ALIVE_TIMEOUT",
	"session taken over":                            "DUPLICATE_CLIENTID",
	"not authorized":                                "FORBIDDEN_ACCESS",
	"server shutting down":                          "SERVER_INITIATED_DISCONNECT",
	"the thing was deleted":                         "SERVER_INITIATED_DISCONNECT",
	reasonRestart:                                   "SERVER_INITIATED_DISCONNECT",
	"internal error":                                "SERVER_ERROR",
	"disk full":                                     "SERVER_ERROR",
	"the store takes no more rows":                  "SERVER_ERROR",
	"sessions cannot be written to disk":            "SERVER_ERROR",
	"client reads too slowly":                       "THROTTLED",
	"receive maximum exceeded":                      "CLIENT_ERROR",
	"packet too large":                              "CLIENT_ERROR",
	"properties too large":                          "CLIENT_ERROR",
	"filter syntax":                                 "CLIENT_ERROR",
	"topic empty":                                   "CLIENT_ERROR",
	"topic with a wildcard":                         "CLIENT_ERROR",
	"topic with too many levels":                    "CLIENT_ERROR",
}
