package query_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/index"
	"muster/registry/query"
)

var ctx = context.Background()

const nowMs = 1_700_000_000_000

// doc is a thing as plain values by field. All but groups have one value.
type doc map[string][]string

// fleet is the plain model: what is true, and how it is found the slow way.
type fleet struct {
	docs map[uint32]doc
	temp map[uint32][]sample // telemetry.temp, ascending in time
}

type sample struct {
	ms    int64
	value float64
}

// Compare implements query.Telemetry.
func (f *fleet) Compare(_ context.Context, column query.Column, atMs int64, op query.Op, operand float64, dst *bitset.BitSet) error {
	for id := range f.temp {
		if value, ok := f.number(id, column, atMs); ok && op.Holds(value, operand) {
			dst.Set(uint(id))
		}
	}
	return nil
}

// number returns the value of a column, straight from the description of windows.
func (f *fleet) number(id uint32, c query.Column, atMs int64) (float64, bool) {
	all := f.temp[id]
	if c.Metric != "temp" || len(all) == 0 {
		return 0, false
	}
	if c.Func == query.LastValue {
		return all[len(all)-1].value, true
	}
	var in []sample
	for _, s := range all {
		if s.ms > atMs-c.Over.Milliseconds() && s.ms <= atMs {
			in = append(in, s)
		}
	}
	if c.Func == query.Count {
		return float64(len(in)), true
	}
	if len(in) == 0 || c.Func == query.Rate && len(in) == 1 {
		return 0, false
	}
	sum, rise := 0.0, 0.0
	low, high := in[0].value, in[0].value
	for i, s := range in {
		sum += s.value
		low, high = min(low, s.value), max(high, s.value)
		if i > 0 {
			rise += s.value
			if s.value >= in[i-1].value {
				rise -= in[i-1].value
			}
		}
	}
	switch c.Func {
	case query.Avg:
		return sum / float64(len(in)), true
	case query.Min:
		return low, true
	case query.Max:
		return high, true
	case query.Sum:
		return sum, true
	case query.Rate:
		return rise * 1000 / float64(in[len(in)-1].ms-in[0].ms), true
	}
	return in[len(in)-1].value, true
}

// document shows a thing of the model to a matcher.
type document struct {
	*trial
	id uint32
}

func (d document) Values(field string) (values []index.Value) {
	for _, v := range d.docs[d.id][field] {
		if d.columns[field] {
			n, _ := strconv.ParseInt(v, 10, 64)
			values = append(values, index.NewNumber(n))
		} else {
			values = append(values, index.NewValue(v))
		}
	}
	return values
}

func (d document) EachBare(f func(string, []index.Value) bool) bool {
	for field := range d.docs[d.id] {
		if (strings.HasPrefix(field, "attributes.") || strings.HasPrefix(field, "thing")) && f(field, d.Values(field)) {
			return true
		}
	}
	return false
}

// Number asks the telemetry that the plan asks, not the model.
func (d document) Number(c query.Column) (float64, bool) {
	var times []int64
	var values []float64
	all := d.temp[d.id]
	for _, s := range all {
		if c.Func == query.LastValue || s.ms > nowMs-c.Over.Milliseconds() && s.ms <= nowMs {
			times, values = append(times, s.ms), append(values, s.value)
		}
	}
	if c.Metric != "temp" {
		return 0, false
	}
	return c.Func.Of(times, values, len(all) > 0)
}

var decimal = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$`)

func number(text string) (float64, bool) {
	if !decimal.MatchString(text) {
		return 0, false
	}
	n, err := strconv.ParseFloat(text, 64)
	return n, err == nil
}

// match evaluates a query over one document, straight from the description of the language.
func (f *fleet) match(id uint32, n query.Node, typed bool) bool {
	switch n := n.(type) {
	case query.And:
		for _, part := range n {
			if !f.match(id, part, typed) {
				return false
			}
		}
		return true
	case query.Or:
		for _, part := range n {
			if f.match(id, part, typed) {
				return true
			}
		}
		return false
	case query.Not:
		return !f.match(id, n.Node, typed)
	}
	t := n.(*query.Term)
	if name, ok := strings.CutPrefix(t.Field, "telemetry."); ok {
		value, ok := f.number(id, windows[name], nowMs)
		return ok && inRange(value, t)
	}
	if t.Field != "" {
		return slices.ContainsFunc(f.docs[id][t.Field], func(v string) bool { return matchValue(v, t) })
	}
	if t.Kind == query.Exists {
		return true
	}
	for field, values := range f.docs[id] {
		if strings.HasPrefix(field, "registry.") || strings.HasPrefix(field, "connectivity.") || field == "group" {
			continue
		}
		for _, v := range values {
			if typed && t.Kind == query.Word && !strings.ContainsAny(t.Text, "\x00\x01") {
				v, text := strings.ToLower(v), strings.ToLower(t.Text)
				switch field {
				case "thingName":
					if strings.Contains(v, text) {
						return true
					}
				case "thingId":
					if v == text {
						return true
					}
				default:
					for _, w := range strings.Fields(v) {
						if strings.HasPrefix(w, text) {
							return true
						}
					}
				}
			} else if matchValue(v, t) {
				return true
			}
		}
	}
	return false
}

// compiled keeps the expressions, which are slow to compile.
func compiled(expr string) *regexp.Regexp {
	if re, ok := expressions.Load(expr); ok {
		return re.(*regexp.Regexp)
	}
	re := regexp.MustCompile(expr)
	expressions.Store(expr, re)
	return re
}

var (
	expressions sync.Map
	wildcards   = strings.NewReplacer("\x00", ".*", "\x01", ".")
)

func matchValue(value string, t *query.Term) bool {
	value = strings.ToLower(value)
	text := strings.ToLower(t.Text)
	switch t.Kind {
	case query.Exists:
		return true
	case query.Word:
		form := wildcards.Replace(regexp.QuoteMeta(text))
		re := compiled("(?s)^" + form + "$")
		return slices.ContainsFunc(strings.Fields(value), re.MatchString)
	case query.Phrase:
		return strings.Contains(" "+strings.Join(strings.Fields(value), " ")+" ", " "+strings.Join(strings.Fields(text), " ")+" ")
	case query.Regex:
		return compiled("(?i)" + t.Text).MatchString(value)
	case query.Area:
		p, ok := index.ParsePoint(value)
		parts := strings.Split(t.Text, ",")
		if !ok {
			return false
		}
		var n [4]float64
		for i, part := range parts[1:] {
			n[i], _ = number(strings.TrimSuffix(part, "km"))
		}
		if parts[0] == "geo_distance" {
			return index.Distance(p, index.Point{Lat: n[0], Lon: n[1]}) <= n[2]*1000
		}
		return p.Lat >= n[0] && p.Lon >= n[1] && p.Lat <= n[2] && p.Lon <= n[3]
	}
	if t.Lo.Quoted || t.Hi.Quoted {
		lo, hi := strings.ToLower(t.Lo.Text), strings.ToLower(t.Hi.Text)
		return (!t.Lo.Quoted || value > lo || value == lo && !t.Lo.Open) && (!t.Hi.Quoted || value < hi || value == hi && !t.Hi.Open)
	}
	n, ok := number(value)
	return ok && inRange(n, t)
}

func inRange(n float64, t *query.Term) bool {
	switch t.Kind {
	case query.Exists:
		return true
	case query.Word:
		want, _ := number(t.Text)
		return n == want
	}
	bound := func(b query.Bound) float64 {
		if after, ok := strings.CutPrefix(b.Text, "now-"); ok {
			hours, _ := strconv.Atoi(strings.TrimSuffix(after, "h"))
			return nowMs - float64(hours)*3600_000
		}
		n, _ := number(b.Text)
		return n
	}
	lo, hi := math.Inf(-1), math.Inf(1)
	if t.Lo.Text != "" {
		lo = bound(t.Lo)
	}
	if t.Hi.Text != "" {
		hi = bound(t.Hi)
	}
	return (n > lo || n == lo && !t.Lo.Open) && (n < hi || n == hi && !t.Hi.Open)
}

// trial makes random fleets and queries.
type trial struct {
	*rand.Rand
	fleet
	x       *index.Index
	ids     []uint32
	next    uint32
	columns map[string]bool
	answers *query.Cache
}

var (
	kinds  = []string{"lamp", "Lamp2", "car", "tv"}
	cities = []string{"Oslo", "Osaka", "bergen", "ULM", "o", "os"}
	nums   = []string{"1", "1.0", "01", "-5", "2e3", "75", "80", "7", "0", "-0", "99999999999999999999", ".5", "5."}
	odds   = []string{"abc", "ABC", "abd", "1", "2", "[x]", "a:b", "a@b", "-x", "/dev/tty", "AND", "to", "x=y", "0x10", "inf", "1_0"}
	spaced = []string{"gateway restarted", "keep alive timeout", "lost", "Gateway  lost", "restarted gateway restarted", "a\u2003b"}
	places = []string{"48.1,11.5", "48.137,11.575", "[48.2,11.4]", "point(11.5 48.1)", "52.5,13.4", "-33.9,151.2", "91,0", "1,2,3", "48.1"}
	groups = []string{"north", "south", "old firmware", "7", "North-2"}
	// parents of groups; a thing is in these as well
	parents = map[string]string{"north": "Earth", "south": "Earth", "Earth": "9", "North-2": "north"}
)

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func newTrial(seed uint64, n int, bulk bool) *trial {
	t := &trial{Rand: rand.New(rand.NewPCG(seed, 1)), fleet: fleet{docs: map[uint32]doc{}, temp: map[uint32][]sample{}}, answers: query.NewCache()}
	t.x = index.New("thingName", func(id uint32) string { return t.docs[id]["thingName"][0] })
	t.columns = map[string]bool{"registry.version": true, "connectivity.timestamp": true}
	// Members of groups are kept beside the index, as the registry does.
	t.x.SelectField("group", func(dst *bitset.BitSet, m *index.Match) int {
		for id, d := range t.docs {
			for _, name := range d["group"] {
				if m.MatchesWord(index.Fold(name)) {
					dst.Set(uint(id))
				}
			}
		}
		return len(t.docs)
	})
	if !bulk {
		for range n {
			t.create()
		}
		return t
	}
	fields := map[string]bool{}
	for range n {
		id := t.id()
		t.docs[id] = t.random(id)
		t.docs[id]["thingGroupNames"], t.docs[id]["group"] = nil, nil // Load takes one value per thing
		t.x.AddThing(id)
		for field := range t.docs[id] {
			fields[field] = true
		}
	}
	t.x.Column("registry.version").Grow(t.next)
	for field := range fields {
		if t.columns[field] {
			for _, id := range t.ids {
				t.setColumn(id, field, t.docs[id])
			}
			continue
		}
		t.x.Load(field, len(t.ids), func(dst []byte, i int) ([]byte, uint32) {
			if values := t.docs[t.ids[i]][field]; len(values) > 0 {
				dst = append(dst, values[0]...)
			}
			return dst, t.ids[i]
		})
	}
	return t
}

func (t *trial) id() uint32 {
	t.next += 1 + uint32(t.IntN(3)*t.IntN(2)*t.IntN(30))
	t.ids = append(t.ids, t.next)
	return t.next
}

func (t *trial) random(id uint32) doc {
	d := doc{"thingName": {fmt.Sprintf("%s-%d", pick(t.Rand, []string{"lamp", "Lamp", "tv", "7"}), id)}}
	if t.IntN(10) == 0 {
		d["thingName"] = []string{strconv.Itoa(int(id))}
	}
	d["thingId"] = []string{fmt.Sprintf("%08x", id*2654435761)}
	maybe := func(field string, list []string) {
		if t.IntN(4) > 0 {
			d[field] = []string{pick(t.Rand, list)}
		}
	}
	maybe("thingTypeName", kinds)
	maybe("attributes.city", cities)
	maybe("attributes.num", nums)
	maybe("attributes.odd", odds)
	maybe("connectivity.reason", spaced)
	if t.IntN(3) == 0 {
		d["attributes.serial"] = []string{fmt.Sprintf("SN-%05d", id*7919%100_000)}
	}
	if t.IntN(3) == 0 {
		d["attributes.flag"] = []string{pick(t.Rand, []string{"true", "False"})}
	}
	for _, i := range t.Perm(len(groups))[:t.IntN(4)] {
		d["thingGroupNames"] = append(d["thingGroupNames"], groups[i])
	}
	for _, name := range d["thingGroupNames"] {
		for ; name != ""; name = parents[name] {
			if !strings.Contains(name, " ") && !slices.Contains(d["group"], name) {
				d["group"] = append(d["group"], name)
			}
		}
	}
	d["registry.version"] = []string{strconv.Itoa(t.IntN(5) + 1)}
	if t.IntN(2) == 0 {
		d["connectivity.timestamp"] = []string{strconv.Itoa(nowMs - t.IntN(5)*3600_000)}
	}
	delete(t.temp, id)
	if t.IntN(2) == 0 {
		ms := int64(nowMs - 120_000)
		for range 1 + t.IntN(5) {
			ms += 1 + t.Int64N(40)*1000
			t.temp[id] = append(t.temp[id], sample{ms, float64(t.IntN(100))})
		}
	}
	maybe("attributes.pos", places)
	return d
}

func (t *trial) setColumn(id uint32, field string, d doc) {
	if values := d[field]; len(values) > 0 {
		n, _ := strconv.ParseInt(values[0], 10, 64)
		t.x.Column(field).Set(id, n)
	} else {
		t.x.Column(field).Clear(id)
	}
}

func (t *trial) put(id uint32, d doc) {
	old := t.docs[id]
	if old == nil {
		t.x.AddThing(id)
	}
	for field, values := range old {
		if !t.columns[field] && field != "group" {
			for _, v := range values {
				t.x.Remove(id, field, v)
			}
		}
	}
	for field, values := range d {
		if !t.columns[field] && field != "group" {
			for _, v := range values {
				t.x.Add(id, field, v)
			}
		}
	}
	for field := range t.columns {
		t.setColumn(id, field, d)
	}
	t.docs[id] = d
	if d == nil {
		t.x.RemoveThing(id)
		delete(t.docs, id)
		delete(t.temp, id)
	}
}

func (t *trial) create() {
	id := t.id()
	t.put(id, t.random(id))
}

// write changes, deletes or makes some things.
func (t *trial) write() {
	for range t.IntN(4) {
		switch i := t.IntN(len(t.ids) + 1); {
		case i == len(t.ids) || t.docs[t.ids[i]] == nil:
			t.create()
		case t.IntN(3) == 0:
			t.put(t.ids[i], nil)
		default:
			t.put(t.ids[i], t.random(t.ids[i]))
		}
	}
}

// windows are the columns of terms over telemetry, by what stands behind "telemetry.".
var windows = map[string]query.Column{
	"temp": {Metric: "temp"}, "none": {Metric: "none"},
	"temp.avg(1m)": {Metric: "temp", Func: query.Avg, Over: time.Minute}, "temp.min(30s)": {Metric: "temp", Func: query.Min, Over: 30 * time.Second},
	"temp.max(1h)": {Metric: "temp", Func: query.Max, Over: time.Hour}, "temp.sum(100s)": {Metric: "temp", Func: query.Sum, Over: 100 * time.Second},
	"temp.count(1m)": {Metric: "temp", Func: query.Count, Over: time.Minute}, "temp.rate(5m)": {Metric: "temp", Func: query.Rate, Over: 5 * time.Minute},
	"temp.last(40s)": {Metric: "temp", Func: query.Last, Over: 40 * time.Second},
}

var fields = []string{"attributes.pos", "thingName", "thingId", "thingTypeName", "thingGroupNames", "attributes.city", "attributes.num", "attributes.odd",
	"attributes.serial", "attributes.flag", "attributes.none", "registry.version", "connectivity.reason", "connectivity.timestamp"}

var regexes = []string{"^sn-[0-9]+$", "o", "[^a-m]s", "1|abc", "L.MP", `\D7`, "(ga|re).*t", `^\d+$`, "k", "a{2}", "[A-F]1", "x?y", `\/dev`, "^$", "(?:os)+"}

// node makes a random query.
func (t *trial) node(depth int) query.Node {
	if depth > 0 && t.IntN(3) > 0 {
		list := make([]query.Node, 2+t.IntN(3))
		for i := range list {
			list[i] = t.node(depth - 1)
		}
		switch t.IntN(5) {
		case 0:
			return query.Not{Node: list[0]}
		case 1, 2:
			return query.Or(list)
		}
		return query.And(list)
	}
	return t.term()
}

func (t *trial) term() query.Node {
	n := &query.Term{Field: pick(t.Rand, fields)}
	if t.IntN(12) == 0 {
		n.Field = "group" // can be searched only: no order, no aggregates
	}
	if t.IntN(12) == 0 {
		n.Field = "telemetry." + pick(t.Rand, slices.Sorted(maps.Keys(windows)))
		switch t.IntN(4) {
		case 0:
		case 1:
			n.Kind, n.Text = query.Word, strconv.Itoa(t.IntN(100))
		default:
			n.Kind, n.Lo, n.Hi = query.Range, t.bound(), t.bound()
		}
		return n
	}
	if n.Field == "attributes.pos" && t.IntN(2) == 0 {
		n.Kind = query.Area
		n.Text = fmt.Sprintf("geo_box,%d,%d,%d,%d", 40+t.IntN(10), 9+t.IntN(5), 50+t.IntN(5), 14+t.IntN(200)%160)
		if t.IntN(2) == 0 {
			n.Text = fmt.Sprintf("geo_distance,%v,%v,%dkm", 47+t.IntN(5), 10+t.IntN(5), 1+t.IntN(3)*t.IntN(1000))
		}
		return n
	}
	if t.IntN(6) == 0 {
		n.Field = ""
	}
	value := t.value(n.Field)
	switch t.IntN(8) {
	case 0:
		n.Kind = query.Exists
	case 1:
		n.Kind, n.Text = query.Phrase, value
		if words := strings.Fields(value); t.IntN(3) == 0 {
			n.Text = strings.Join(words[t.IntN(len(words)):], " ")
		}
	case 2, 3:
		n.Kind = query.Word
		runes := []rune(value)
		for range 1 + t.IntN(3) {
			switch i := t.IntN(len(runes)); t.IntN(4) {
			case 0:
				runes[i] = index.AnyOne
			case 1:
				runes = append(runes[:i], index.AnyRun)
			case 2:
				runes = append([]rune{index.AnyRun}, runes[i:]...)
			default:
				runes[i] = index.AnyRun
			}
		}
		if n.Text = string(runes); strings.Trim(n.Text, "\x00") == "" {
			n.Kind, n.Text = query.Exists, ""
		}
	case 4:
		if n.Field != "" {
			n.Kind, n.Text = query.Regex, strings.ReplaceAll(pick(t.Rand, regexes), `\/`, "/")
			return n
		}
		fallthrough
	case 5, 6:
		if n.Field != "" {
			n.Kind = query.Range
			if t.IntN(2) == 0 {
				n.Lo, n.Hi = t.bound(), t.bound()
			} else {
				n.Lo = query.Bound{Text: value, Quoted: true, Open: t.IntN(2) == 0}
				if t.IntN(3) > 0 {
					n.Hi = query.Bound{Text: t.value(n.Field), Quoted: true, Open: t.IntN(2) == 0}
				}
			}
			return n
		}
		fallthrough
	default:
		n.Kind, n.Text = query.Word, strings.Fields(value)[0]
	}
	return n
}

func (t *trial) bound() query.Bound {
	switch t.IntN(4) {
	case 0:
		return query.Bound{}
	case 1:
		return query.Bound{Text: fmt.Sprintf("now-%dh", t.IntN(6)), Open: t.IntN(2) == 0}
	}
	return query.Bound{Text: pick(t.Rand, nums), Open: t.IntN(2) == 0}
}

// value returns one that a thing has in the field, or another.
func (t *trial) value(field string) string {
	if len(t.ids) > 0 && t.IntN(4) > 0 {
		d := t.docs[pick(t.Rand, t.ids)]
		if field == "" {
			field = pick(t.Rand, fields)
		}
		if values := d[field]; len(values) > 0 {
			v := pick(t.Rand, values)
			if t.IntN(3) == 0 {
				v = strings.ToUpper(v)
			}
			return v
		}
	}
	return pick(t.Rand, slices.Concat(kinds, cities, nums, odds, spaced, groups))
}

// check compares one query with the slow way.
func (t *trial) check(tb testing.TB, n query.Node, typed bool) *bitset.BitSet {
	tb.Helper()
	text := query.String(n)
	q, err := query.Parse(text, query.Options{Typed: typed})
	if err != nil {
		tb.Fatalf("parse %s: %v", text, err)
	}
	if again := q.String(); again != text {
		tb.Fatalf("printed %s, then %s", text, again)
	}
	p, err := q.Plan(ctx, nowMs, &t.fleet)
	if err != nil {
		tb.Fatalf("plan %s: %v", text, err)
	}
	set, err := p.Run(ctx, t.x, nil)
	if err != nil {
		tb.Fatal(err)
	}
	for range 3 { // asked for the first time, kept, and answered from what is kept
		again, err := p.Run(ctx, t.x, t.answers)
		if err != nil {
			tb.Fatal(err)
		}
		if again.SymmetricDifferenceCardinality(set) > 0 {
			tb.Fatalf("%s (typed %v): %v with kept answers, %v without", text, typed, again, set)
		}
		t.answers.Release(again)
	}
	got, want := 0, 0
	alone := q.Matcher()
	for id := range t.docs {
		is, should := set.Test(uint(id)), t.match(id, n, typed)
		if is != should {
			tb.Fatalf("%s (typed %v): thing %d is found: %v, should be: %v\n%v temp %v", text, typed, id, is, should, t.docs[id], t.temp[id])
		}
		if matches, _ := alone.Matches(document{t, id}, nowMs); matches != should {
			tb.Fatalf("%s (typed %v): thing %d alone matches: %v, should be: %v\n%v temp %v", text, typed, id, matches, should, t.docs[id], t.temp[id])
		}
		got += bit(is)
		want += bit(should)
	}
	if int(set.Count()) != want {
		tb.Fatalf("%s: %d things, want %d: some are gone or were never there", text, set.Count(), want)
	}
	return set
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// sortKey is a document's place by a field.
type sortKey struct {
	class int
	num   float64
	text  string
}

func keyOf(value string) sortKey {
	value = strings.ToLower(value)
	if n, ok := number(value); ok {
		return sortKey{0, n, value}
	}
	return sortKey{1, 0, value}
}

func compareKeys(a, b sortKey) int {
	return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(a.num, b.num), cmp.Compare(a.text, b.text))
}

// checkPages compares all pages of a set, sorted by a field, with a plain sort.
func (t *trial) checkPages(tb testing.TB, set *bitset.BitSet, field string, descending bool, limit int) {
	tb.Helper()
	var want []uint32
	for id := range set.EachSet() {
		want = append(want, uint32(id))
	}
	key := func(id uint32) (k sortKey) {
		k.class = 2
		for i, v := range t.docs[id][field] {
			n := compareKeys(keyOf(v), k)
			if i == 0 || n < 0 && !descending || n > 0 && descending {
				k = keyOf(v)
			}
		}
		if t.columns[field] {
			k.text = ""
		}
		return k
	}
	slices.SortFunc(want, func(a, b uint32) int {
		ka, kb := key(a), key(b)
		n := compareKeys(ka, kb)
		if descending && ka.class < 2 && kb.class < 2 {
			n = -n
		}
		return cmp.Or(n, compareKeys(keyOf(t.docs[a]["thingName"][0]), keyOf(t.docs[b]["thingName"][0])), cmp.Compare(a, b))
	})
	var got []uint32
	var after *index.Key
	for {
		ids, last, more := t.x.Page(set, field, descending, after, limit)
		got = append(got, ids...)
		if len(ids) > limit || more && len(ids) != limit {
			tb.Fatalf("page of %d, limit %d, more %v", len(ids), limit, more)
		}
		if !more {
			break
		}
		after = &last
	}
	if !slices.Equal(got, want) {
		tb.Fatalf("by %s, descending %v, limit %d\n got %v\nwant %v", field, descending, limit, got, want)
	}
}

// checkAggregates compares statistics, buckets and so on of a set with plain sums.
func (t *trial) checkAggregates(tb testing.TB, set *bitset.BitSet, field string) {
	tb.Helper()
	counts := map[string]int{}
	var list []float64
	texts, bools := 0, 0
	for id := range set.EachSet() {
		for _, v := range t.docs[uint32(id)][field] {
			v = strings.ToLower(v)
			counts[v]++
			if n, ok := number(v); ok {
				list = append(list, n)
			} else {
				texts++
				bools += bit(v == "true" || v == "false")
			}
		}
	}
	typ := index.NumberType
	switch {
	case len(list) > 0:
	case texts == 0:
		typ = index.NoType
	case bools == texts:
		typ = index.BoolType
		for range counts["true"] {
			list = append(list, 1)
		}
		for range counts["false"] {
			list = append(list, 0)
		}
	default:
		typ = index.TextType
	}
	slices.Sort(list)
	got := t.x.Stats(set, field)
	want := index.Stats{Type: typ, Count: len(list)}
	if typ == index.TextType {
		want.Count = texts
	}
	for _, n := range list {
		want.Sum += n
		want.SumSquares += n * n
	}
	if len(list) > 0 {
		want.Min, want.Max, want.Average = list[0], list[len(list)-1], want.Sum/float64(len(list))
	}
	for _, n := range list {
		want.Variance += (n - want.Average) * (n - want.Average) / float64(len(list))
	}
	near := func(a, b float64) bool { return a == b || math.Abs(a-b) <= 1e-9*max(1, math.Abs(a), math.Abs(b)) }
	if got.Type != want.Type || got.Count != want.Count || got.Min != want.Min || got.Max != want.Max || !near(got.Sum, want.Sum) ||
		!near(got.Average, want.Average) || !near(got.SumSquares, want.SumSquares) || !near(got.Variance, want.Variance) {
		tb.Fatalf("statistics of %s\n got %+v\nwant %+v", field, got, want)
	}
	percents := []float64{0, 1, 33, 50, 99.5, 100}
	values, _ := t.x.Percentiles(set, field, percents)
	for i, p := range percents[:len(values)] {
		rank := p / 100 * float64(len(list)-1)
		lo, hi := list[int(math.Floor(rank))], list[int(math.Ceil(rank))]
		if want := lo + (hi-lo)*(rank-math.Floor(rank)); !near(values[i], want) {
			tb.Fatalf("percentile %v of %s: %v, want %v", p, field, values[i], want)
		}
	}
	if (len(values) > 0) != (len(list) > 0) {
		tb.Fatalf("%d percentiles of %d numbers", len(values), len(list))
	}
	if n := t.x.Cardinality(set, field); n != len(counts) {
		tb.Fatalf("cardinality of %s: %d, want %d", field, n, len(counts))
	}
	buckets := t.x.Buckets(set, field, 3)
	keys := make([]string, 0, len(counts))
	for v := range counts {
		keys = append(keys, v)
	}
	slices.SortFunc(keys, func(a, b string) int { return cmp.Or(counts[b]-counts[a], cmp.Compare(a, b)) })
	for i, b := range buckets {
		if b.Value != keys[i] || b.Things != counts[keys[i]] {
			tb.Fatalf("bucket %d of %s: %+v, want %s %d", i, field, b, keys[i], counts[keys[i]])
		}
		if !t.columns[field] && !slices.ContainsFunc(t.docs[b.First][field], func(v string) bool { return strings.EqualFold(v, b.Value) }) {
			tb.Fatalf("bucket %+v: thing %v does not have it", b, t.docs[b.First])
		}
	}
	if len(buckets) != min(3, len(keys)) {
		tb.Fatalf("%d buckets of %d values", len(buckets), len(keys))
	}
}

// TestAgainstBruteForce: random queries over random fleets that change in between, the index against plain documents.
// MUSTER_QUERY_PAIRS sets the number of pairs.
func TestAgainstBruteForce(t *testing.T) {
	pairs := 20_000
	if text := os.Getenv("MUSTER_QUERY_PAIRS"); text != "" {
		var err error
		if pairs, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d, %d pairs", seed, pairs)
	for round := 0; pairs > 0; round++ {
		n := []int{0, 3, 30, 60, 300}[round%5]
		if round%200 == 50 {
			n = 1200 // values in several chunks
		}
		f := newTrial(seed+uint64(round), n, round%2 == 1)
		for range min(pairs, 100) {
			pairs--
			f.write()
			set := f.check(t, f.node(f.IntN(3)), f.IntN(3) == 0)
			if pairs%8 == 0 {
				f.checkPages(t, set, pick(f.Rand, fields), f.IntN(2) == 0, 1+f.IntN(40))
			}
			if pairs%8 == 4 {
				f.checkAggregates(t, set, pick(f.Rand, fields))
			}
		}
	}
}

// TestLargeGroups: what changes with size: bitsets for sets, many chunks, groups that are too large to sort.
func TestLargeGroups(t *testing.T) {
	f := newTrial(7, 6000, true)
	for range 3000 {
		f.write()
	}
	for range 30 {
		set := f.check(t, f.node(2), f.IntN(2) == 0)
		f.checkPages(t, set, pick(f.Rand, fields), f.IntN(2) == 0, 700+f.IntN(700))
		f.checkAggregates(t, set, pick(f.Rand, fields))

		few := new(bitset.BitSet)
		for range f.IntN(12) {
			if id := pick(f.Rand, f.ids); f.docs[id] != nil {
				few.Set(uint(id))
			}
		}
		f.checkPages(t, few, "thingName", f.IntN(2) == 0, 1+f.IntN(6))
	}
	for _, id := range f.ids {
		if f.docs[id] != nil {
			f.put(id, nil)
		}
	}
	if left := f.x.Fields(); len(left) > 0 || f.x.Live().Any() {
		t.Fatalf("an empty fleet has the fields %v", left)
	}
}
