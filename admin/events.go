package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"muster/tsdb/vfs"
)

// eventsFile is where it is kept which events are announced, in the data folder. See docs/formats/events.md.
const eventsFile = "events.json"

// eventTypes are the kinds of registry events, by AWS's names. Those that this gateway has no resource for are kept as well, for
// Terraform, which compares what it wrote with what it reads.
var eventTypes = []string{"THING", "THING_GROUP", "THING_TYPE", "THING_GROUP_MEMBERSHIP", "THING_GROUP_HIERARCHY", "THING_TYPE_ASSOCIATION",
	"JOB", "JOB_EXECUTION", "POLICY", "CERTIFICATE", "CA_CERTIFICATE"}

// Events keeps which kinds of registry events are announced over MQTT. As with AWS, none are until UpdateEventConfigurations says so;
// presence events always are. Safe for concurrent use.
type Events struct {
	fs   vfs.FS
	path string

	mu    sync.RWMutex // guards state
	state storedEvents
}

// storedEvents is the file.
type storedEvents struct {
	Version    int             `json:"version"`
	On         map[string]bool `json:"on"` // by type
	CreatedMs  int64           `json:"createdMs"`
	ModifiedMs int64           `json:"modifiedMs"`
}

// OpenEvents reads the file in folder; without one, all events are off.
func OpenEvents(fsys vfs.FS, folder string) (*Events, error) {
	e := &Events{fs: fsys, path: filepath.Join(folder, eventsFile), state: storedEvents{Version: 1, On: map[string]bool{}}}
	text, err := fsys.ReadFile(e.path)
	if errors.Is(err, fs.ErrNotExist) {
		return e, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read which events are on: %w", err)
	}
	var stored storedEvents
	if err := json.Unmarshal(text, &stored); err != nil || stored.Version != 1 || stored.On == nil {
		return nil, fmt.Errorf("%s is damaged or of a newer version; remove it to have no registry events, or use the newer version", e.path)
	}
	e.state = stored
	return e, nil
}

// On says whether events of a type, such as THING, are announced.
func (e *Events) On(eventType string) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.state.On[eventType]
}

func (e *Events) current() storedEvents {
	e.mu.RLock()
	defer e.mu.RUnlock()
	state := e.state
	state.On = maps.Clone(state.On)
	return state
}

// update switches the types that changes has.
func (e *Events) update(changes map[string]bool, nowMs int64) error {
	for eventType := range changes {
		if !slices.Contains(eventTypes, eventType) {
			return invalid("event type %q is unknown; there are %s", short(eventType), strings.Join(eventTypes, ", "))
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	next := e.state
	next.On = maps.Clone(next.On)
	maps.Copy(next.On, changes)
	next.ModifiedMs = nowMs
	if next.CreatedMs == 0 {
		next.CreatedMs = nowMs
	}
	text, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("encode which events are on: %w", err)
	}
	if err := e.fs.WriteFile(e.path, text, 0o600); err != nil {
		return fmt.Errorf("keep which events are on: %w", err)
	}
	e.state = next
	return nil
}

// eventSwitch is AWS's Configuration.
type eventSwitch struct {
	Enabled bool `json:"Enabled"`
}

type eventConfigurations struct {
	Configurations map[string]eventSwitch `json:"eventConfigurations"`
	CreationDate   epochSeconds           `json:"creationDate,omitempty"`
	LastModified   epochSeconds           `json:"lastModifiedDate,omitempty"`
}

func describeEventConfigurations(_ context.Context, s *Server, _ *call) (*eventConfigurations, error) {
	state := s.events.current()
	answer := &eventConfigurations{map[string]eventSwitch{}, epochSeconds(state.CreatedMs), epochSeconds(state.ModifiedMs)}
	for _, eventType := range eventTypes {
		answer.Configurations[eventType] = eventSwitch{state.On[eventType]}
	}
	return answer, nil
}

func updateEventConfigurations(_ context.Context, s *Server, _ *call, in eventConfigurations) (*empty, error) {
	changes := map[string]bool{}
	for eventType, c := range in.Configurations {
		changes[eventType] = c.Enabled
	}
	return &empty{}, s.events.update(changes, s.opts.Clock.Now().UnixMilli())
}
