package prom

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// A time.Time of these bounds fits the nanoseconds that the engine counts in.
var (
	firstTime = time.Unix(-1<<33, 0).UTC() // 1697
	finalTime = time.Unix(1<<33, 0).UTC()  // 2242
)

// parseTime reads Unix seconds with decimals, or RFC 3339. Times beyond the bounds above are moved to them: clients
// send such for "everything", Prometheus' own client among them.
func parseTime(text string) (time.Time, error) {
	t := time.Time{}
	if s, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(s) {
		s = min(max(s, float64(firstTime.Unix())), float64(finalTime.Unix()))
		whole, frac := math.Modf(s)
		t = time.Unix(int64(whole), int64(math.Round(frac*1000))*int64(time.Millisecond)).UTC()
	} else if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		t = at
	} else if strings.HasPrefix(text, "-292273086-") {
		t = firstTime // client_golang's boundary times have years that time.Parse cannot read
	} else if strings.HasPrefix(text, "292277025-") {
		t = finalTime
	} else {
		return t, fmt.Errorf("cannot parse %q to a valid timestamp", text)
	}
	if t.Before(firstTime) {
		t = firstTime
	} else if t.After(finalTime) {
		t = finalTime
	}
	return t, nil
}

// parseDuration reads seconds with decimals, or a duration such as 1h30m.
func parseDuration(text string) (time.Duration, error) {
	if s, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(s) {
		// float64(math.MaxInt64) is 1<<63, which does not fit either.
		if ns := s * float64(time.Second); math.Abs(ns) < math.MaxInt64 {
			return time.Duration(ns), nil
		}
		return 0, fmt.Errorf("cannot parse %q to a valid duration. It overflows int64", text)
	}
	if d, err := model.ParseDuration(text); err == nil {
		return time.Duration(d), nil
	}
	return 0, fmt.Errorf("cannot parse %q to a valid duration", text)
}

// timeParam returns the time called name, or otherwise where it is missing.
func timeParam(form url.Values, name string, otherwise time.Time) (time.Time, error) {
	text := form.Get(name)
	if text == "" {
		return otherwise, nil
	}
	t, err := parseTime(text)
	if err != nil {
		return t, badParam(name, fmt.Errorf("invalid time value for '%s': %w", name, err))
	}
	return t, nil
}

// rangeParams returns start and end in milliseconds, both included and both optional.
func rangeParams(form url.Values) (startMs, endMs int64, err error) {
	start, err := timeParam(form, "start", firstTime)
	if err != nil {
		return 0, 0, err
	}
	end, err := timeParam(form, "end", finalTime)
	return start.UnixMilli(), end.UnixMilli(), err
}

// limitParam returns the limit; 0 is none.
func limitParam(form url.Values) (int, error) {
	text := form.Get("limit")
	if text == "" {
		return 0, nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil {
		return 0, badParam("limit", err)
	}
	if limit < 0 {
		return 0, badParam("limit", errors.New("limit must be non-negative"))
	}
	return limit, nil
}

// selectorParams parses match[]; every selector must exclude something, and may be missing altogether.
func selectorParams(form url.Values, p parser.Parser) ([][]*labels.Matcher, error) {
	texts := form["match[]"]
	if len(texts) > maxSelectors {
		return nil, badParam("match[]", fmt.Errorf("more than %d selectors; ask in several requests", maxSelectors))
	}
	sets := make([][]*labels.Matcher, 0, len(texts))
	for _, text := range texts {
		set, err := p.ParseMetricSelector(text)
		if err != nil {
			return nil, badParam("match[]", err)
		}
		excludes := false
		for _, m := range set {
			excludes = excludes || !m.Matches("")
		}
		if !excludes {
			return nil, badParam("match[]", errors.New("match[] must contain at least one non-empty matcher"))
		}
		sets = append(sets, set)
	}
	return sets, nil
}
