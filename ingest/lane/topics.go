package lane

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Topics are patterns of further topics whose messages are telemetry, beside dt/<thing>/.... A pattern is a topic in which a level may be
// {thing}, the name of the thing that publishes, or {stream}, anything; a last level # is any levels, or none. A pattern without {thing} is
// telemetry of whoever publishes. nil is none. Safe for concurrent use.
type Topics struct {
	patterns []pattern
}

type pattern []string // levels

const (
	levelThing  = "{thing}"
	levelStream = "{stream}"
	levelRest   = "#"

	sparkplugRoot = "spBv1.0" // Sparkplug 3.0.0 section 4.1: the namespace

	maxPatterns      = 32
	maxPatternLevels = 12
)

// ParseTopics reads patterns. The first level of each must be literal, and neither dt nor begin with $: then no thing can write to what is
// another's by rule.
func ParseTopics(texts []string) (*Topics, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	if len(texts) > maxPatterns {
		return nil, fmt.Errorf("there are %d topic patterns: at most %d are allowed", len(texts), maxPatterns)
	}
	t := &Topics{}
	for _, text := range texts {
		p := pattern(strings.Split(text, "/"))
		if err := p.check(); err != nil {
			return nil, fmt.Errorf("topic pattern %q: %w", text, err)
		}
		t.patterns = append(t.patterns, p)
	}
	return t, nil
}

func (p pattern) check() error {
	if len(p) > maxPatternLevels {
		return fmt.Errorf("it has %d levels: at most %d are allowed", len(p), maxPatternLevels)
	}
	things := 0
	for i, level := range p {
		switch {
		case level == levelThing:
			things++
		case level == levelStream, level == levelRest && i == len(p)-1:
		case strings.ContainsAny(level, "{}+#\x00"):
			return fmt.Errorf("level %q: a level is %s, %s, text, or # as the last one", level, levelThing, levelStream)
		}
	}
	switch first := p[0]; {
	case things > 1:
		return fmt.Errorf("%s may be in it once", levelThing)
	case first == "" || first == levelThing || first == levelStream || first == levelRest:
		return errors.New("its first level must be text")
	case first == "dt" || first[0] == '$' || first == sparkplugRoot:
		return fmt.Errorf("%q has rules of its own", first)
	}
	return nil
}

// Match says whether a message of thing on topic is telemetry. It does not allocate.
func (t *Topics) Match(topic, thing string) bool {
	if t == nil {
		return false
	}
	for _, p := range t.patterns {
		if name, ok := p.match(topic); ok && (name == "" || name == thing) {
			return true
		}
	}
	return false
}

// Thing returns the thing that topic names.
func (t *Topics) Thing(topic string) (name string, ok bool) {
	if t == nil {
		return "", false
	}
	for _, p := range t.patterns {
		if name, ok := p.match(topic); ok && name != "" {
			return name, true
		}
	}
	return "", false
}

// match says whether topic is of the pattern, and which thing it names; "" where the pattern names none.
func (p pattern) match(topic string) (thing string, ok bool) {
	more := true
	for _, want := range p {
		if want == levelRest {
			return thing, true
		}
		if !more {
			return "", false
		}
		var level string
		level, topic, more = strings.Cut(topic, "/")
		switch want {
		case levelThing:
			if level == "" {
				return "", false
			}
			thing = level
		case levelStream:
		default:
			if level != want {
				return "", false
			}
		}
	}
	return thing, !more
}

// MayMatch says whether a topic filter may match a topic of a pattern.
func (t *Topics) MayMatch(filter string) bool {
	if t == nil {
		return false
	}
	first, _, _ := strings.Cut(filter, "/")
	return first == "+" || first == "#" || slices.ContainsFunc(t.patterns, func(p pattern) bool { return p[0] == first })
}
