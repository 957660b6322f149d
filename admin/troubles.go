package admin

import (
	"context"
	"encoding/base64"
	"unicode/utf8"
)

// Troubles are what the devices' side has noticed and a person should know of.
type Troubles interface {
	// Alarms are the newest first.
	Alarms() []Alarm
	// Malformed returns the last payloads that were refused, newest first.
	Malformed() []MalformedPayload
}

// Alarm is of one client. Count is how often its session was taken over by another connection between the two times.
type Alarm struct {
	Kind      string   `json:"kind"` // sharedCertificate
	ThingName string   `json:"thingName"`
	ClientID  string   `json:"clientId"`
	Count     uint64   `json:"count"`
	FirstMs   int64    `json:"firstMs"`
	LastMs    int64    `json:"lastMs"`
	Addresses []string `json:"addresses"` // of the last connections, newest first
	Message   string   `json:"message"`
}

// MalformedPayload is a telemetry payload that could not be taken.
type MalformedPayload struct {
	TimeMs    int64
	ThingName string
	Topic     string
	Reason    string
	Payload   []byte // its beginning
}

// troubleRoutes show them.
var troubleRoutes = []route{
	{method: "GET", pattern: "/api/alarms", op: "listAlarms", scope: read,
		about: "Clients that take each other's session, newest first", handle: plain(listAlarms)},
	{method: "GET", pattern: "/api/malformed", op: "listMalformed", scope: read,
		about: "The last payloads that were refused, newest first", query: "thingName", handle: plain(listMalformed)},
}

type alarmList struct {
	Alarms []Alarm `json:"alarms"`
}

func listAlarms(_ context.Context, s *Server, _ *call) (*alarmList, error) {
	return &alarmList{s.alarms("")}, nil
}

// alarms returns those of a thing, or all where its name is empty.
func (s *Server) alarms(thing string) []Alarm {
	list := []Alarm{}
	if s.opts.Troubles == nil {
		return list
	}
	for _, a := range s.opts.Troubles.Alarms() {
		if thing == "" || a.ThingName == thing {
			list = append(list, a)
		}
	}
	return list
}

type malformedOutput struct {
	TimeMs    int64  `json:"timeMs"`
	ThingName string `json:"thingName"`
	Topic     string `json:"topic"`
	Reason    string `json:"reason"`
	Text      string `json:"text,omitempty"`   // the beginning of the payload, where it is text
	Base64    string `json:"base64,omitempty"` // the same, where it is not
}

type malformedList struct {
	Payloads []malformedOutput `json:"payloads"`
}

// listMalformed takes thingName to show those of one thing.
func listMalformed(_ context.Context, s *Server, c *call) (*malformedList, error) {
	out := &malformedList{Payloads: []malformedOutput{}}
	if s.opts.Troubles == nil {
		return out, nil
	}
	thing := c.arg("thingName")
	for _, p := range s.opts.Troubles.Malformed() {
		if thing != "" && p.ThingName != thing {
			continue
		}
		row := malformedOutput{TimeMs: p.TimeMs, ThingName: p.ThingName, Topic: p.Topic, Reason: p.Reason}
		if utf8.Valid(p.Payload) {
			row.Text = string(p.Payload)
		} else {
			row.Base64 = base64.StdEncoding.EncodeToString(p.Payload)
		}
		out.Payloads = append(out.Payloads, row)
	}
	return out, nil
}
