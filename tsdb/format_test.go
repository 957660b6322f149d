package tsdb

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/tsdb/vfs"
)

var update = flag.Bool("update", false, "write the kept samples of the formats again")

// sampleRows is what the kept stores in testdata hold: all kinds, sparse columns, a late row and one that was replaced.
func sampleRows(t *testing.T, s *Store) {
	t.Helper()
	col := func(name string) MetricID {
		m, err := s.dict.Metric([]byte(name))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	power, on, label, ratio := col("power_w"), col("on"), col("label"), col("ratio")
	word, err := s.dict.String([]byte("north"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(20) {
		values := []Value{{Metric: power, Mantissa: 400 + i%3, Exp: -1}, {Metric: on, Mantissa: i % 2, Kind: Bool}}
		if i%4 == 0 {
			values = append(values, Value{Metric: label, Mantissa: int64(word), Kind: String},
				Value{Metric: ratio, Mantissa: int64(math.Float64bits(1 / float64(i+3))), Kind: Float})
		}
		if _, err := s.Append(7, 1_700_000_000_000+i*10_000, values, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, ms := range []int64{1_699_999_990_000, 1_700_000_010_000} {
		if _, err := s.Append(7, ms, []Value{{Metric: power, Mantissa: 5}}, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// sampleText is what a store with sampleRows answers.
func sampleText(t *testing.T, s *Store) string {
	t.Helper()
	var b strings.Builder
	var nums Samples
	var texts StringSamples
	for _, m := range s.Metrics() {
		if err := s.Read(&nums, 7, m.ID, 0, math.MaxInt64); err != nil {
			t.Fatal(err)
		}
		if err := s.ReadStrings(&texts, 7, m.ID, 0, math.MaxInt64); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, m.Name, m.Kinds, nums.TimesMs, nums.Values, texts.TimesMs, texts.Values)
		for _, step := range []int64{Tier5m, Tier1h} {
			list, err := s.ReadTier(nil, 7, m.ID, step, 0, math.MaxInt64)
			if err != nil {
				t.Fatal(err)
			}
			if len(list) > 0 {
				fmt.Fprintln(&b, step, list)
			}
		}
	}
	fmt.Fprintln(&b, s.Twin(nil, 7))
	for id := FirstSource; id < FirstSource+ThingID(s.Sources()); id++ {
		list, ok := s.SourceLabels(nil, id)
		fmt.Fprintln(&b, id, list, ok, s.Twin(nil, id))
	}
	for id := range ThingID(sampleWidth) {
		if fields := s.Twin(nil, sampleFrom+id); len(fields) > 0 {
			fmt.Fprintln(&b, id, fields)
		}
	}
	return b.String()
}

// sampleFleet adds a row of each of many things: numbers of different things are kept in other ways than those of one. Some have another one.
func sampleFleet(t *testing.T, s *Store) {
	t.Helper()
	var cols []MetricID
	for _, name := range []string{"energy_wh", "lat", "on"} {
		m, err := s.dict.Metric([]byte(name))
		if err != nil {
			t.Fatal(err)
		}
		cols = append(cols, m)
	}
	rng := rand.New(rand.NewPCG(5, 5))
	for i := range int64(sampleWidth * 5 / 4) {
		values := []Value{{Metric: cols[0], Mantissa: rng.Int64N(1e7)}, {Metric: cols[1], Mantissa: 48_137_154 + rng.Int64N(1e5), Exp: -6}, {Metric: cols[2], Mantissa: i % 2, Kind: Bool}}
		if _, err := s.Append(sampleFrom+ThingID(i%sampleWidth), 1_700_000_000_000+i*37, values, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// sampleWidth things from sampleFrom on have rows by sampleFleet.
const sampleWidth, sampleFrom = 400, 1000

// sampleSources adds label sets, and rows of them.
func sampleSources(t *testing.T, s *Store) {
	t.Helper()
	up, err := s.dict.Metric([]byte("up"))
	if err != nil {
		t.Fatal(err)
	}
	for i, labels := range [][]Label{{}, {{"job", "node"}, {"instance", "a:9100"}}, {{"stadt", "Köln"}}} {
		var set LabelSet
		for _, l := range labels {
			set.Add([]byte(l.Name), []byte(l.Value))
		}
		id, err := s.Source(&set)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Append(id, 1_700_000_000_000, []Value{{Metric: up, Mantissa: int64(i)}}, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// Stores that were written by each version of the formats, one with rows in the log and one with rows in a segment, are read as what they
// were.
func TestKeptFormats(t *testing.T) {
	for _, name := range []string{"log-v1", "segment-v1", "log-v2", "source-v1", "tier-v1", "log-v3", "log-v4", "log-v5"} {
		dir := filepath.Join("testdata", name)
		sealed, sources := name == "segment-v1" || name == "source-v1" || name == "tier-v1", name == "log-v2" || name == "log-v3" || name == "log-v4" || name == "log-v5" || name == "source-v1"
		if _, err := os.Stat(dir); *update && err != nil { // those that are kept are of older versions
			s, err := Open(Options{Dir: dir, Clock: vfs.NewManual(time.UnixMilli(1_700_000_300_000)), LogFileBytes: 4 << 10, RetentionTier5m: time.Hour, RetentionTier1h: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			sampleRows(t, s)
			if sources {
				sampleSources(t, s)
			}
			if name == "log-v5" {
				sampleFleet(t, s)
			}
			if sealed {
				if err := s.Seal(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			if name == "tier-v1" {
				if err := s.order(context.Background(), func() error { return s.summarizeDay(19675, 1_700_000_300_000) }); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(dir+".txt", []byte(sampleText(t, s)), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		fsys := vfs.NewMem()
		if err := fsys.MkdirAll("data", 0o700); err != nil {
			t.Fatal(err)
		}
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			data, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if err := fsys.WriteFile("data/"+f.Name(), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		report, err := Fsck("data", fsys)
		if err != nil || len(report.Damage)+len(report.TornTails) > 0 || report.Files == 0 {
			t.Fatalf("%s: %+v %v", name, report, err)
		}
		s, err := Open(Options{Dir: "data", FS: fsys})
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(dir + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		if got := sampleText(t, s); got != string(want) {
			t.Errorf("%s\n got %s\nwant %s", name, got, want)
		}
		if st := s.Stats(); sealed != (st.SegmentBytes > 0) || (name == "tier-v1") != (st.TierBytes > 0) {
			t.Errorf("%s: %+v", name, s.Stats())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Rows of a run come back as they went in, but for the exponent of decimals, which may be another one of the same number.
func FuzzRun(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"))
	f.Add(bytes.Repeat([]byte{3, 1, 200, 7, 0, 9, 9}, 40))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var l live
		l.start()
		sh := l.shard(1)
		th := l.thing(sh, 1)
		type row struct {
			ms     int64
			values []Value
		}
		var rows []row
		for r := (reader{src: raw}); r.err == nil && len(rows) < runRows-1; {
			one := row{ms: int64(r.uvarint() % MaxTimeMs)}
			for n := r.byte() % 6; n > 0 && r.err == nil; n-- {
				tag := r.byte()
				v := Value{Metric: MetricID(tag >> 4), Kind: Kind(tag & 3), Mantissa: r.varint()}
				switch v.Kind {
				case Decimal:
					v.Exp = int8(tag>>2&3) - 2
				case Bool:
					v.Mantissa &= 1
				}
				one.values = append(one.values, v)
			}
			if len(one.values) > 0 {
				l.insert(sh, th, one.ms, one.values)
				rows = append(rows, one)
			}
		}
		l.closeRun(sh, th)
		if len(rows) == 0 {
			return
		}
		r := th.closed[0]
		var rd runReader
		rd.reset(r.data, r.rows, len(r.metrics))
		for i, want := range rows {
			if !rd.next() || rd.row.timeMs != want.ms || len(rd.row.layout) != len(want.values) {
				t.Fatalf("row %d of %d is %+v, want %+v", i, len(rows), rd.row, want)
			}
			for j, s := range rd.row.layout {
				got := Value{Metric: r.metrics[s.col], Kind: s.kind, Exp: s.exp, Mantissa: rd.row.mantissas[j]}
				v := want.values[j]
				same := got == v
				if v.Kind == Decimal && got.Kind == Decimal && got.Exp < v.Exp {
					m, ok := rescale(v.Mantissa, v.Exp, got.Exp)
					same = ok && m == got.Mantissa
				}
				if got.Metric != v.Metric || !same && !(v.Mantissa == 0 && got.Mantissa == 0) {
					t.Fatalf("row %d value %d is %+v, want %+v", i, j, got, v)
				}
			}
		}
		if rd.next() {
			t.Fatal("more rows than there were")
		}
		sealBlock(t, r)
	})
}

// sealBlock makes blocks of a run and checks that they decode to the rows of the settled table.
func sealBlock(t *testing.T, r *run) {
	t.Helper()
	var tab, back table
	var rd runReader
	tab.addRun(r, &rd)
	tab.settle()
	var e blockEncoder
	var b block
	var d blockDecoder
	if err := b.parse(e.appendBlock(nil, 7, &tab, 0, len(tab.times))); err != nil {
		t.Fatal(err)
	}
	if err := d.addTo(&back, &b); err != nil {
		t.Fatal(err)
	}
	back.settle()
	if fmt.Sprint(back.times) != fmt.Sprint(tab.times) || len(back.cols) != len(tab.cols) {
		t.Fatalf("%d columns, times %v, want %d and %v", len(back.cols), back.times, len(tab.cols), tab.times)
	}
	for i := range tab.cols {
		want, got := &tab.cols[i], &back.cols[i]
		if got.columnKey != want.columnKey || len(got.cells) != len(want.cells) {
			t.Fatalf("column %+v, want %+v", got, want)
		}
		for j, w := range want.cells {
			g := got.cells[j]
			a, b := Value{Mantissa: g.mantissa, Exp: g.exp, Kind: g.kind}, Value{Mantissa: w.mantissa, Exp: w.exp, Kind: w.kind}
			same := math.Float64bits(a.Float()) == math.Float64bits(b.Float())
			if want.text {
				same = g.mantissa == w.mantissa
			}
			if g.row != w.row || !same {
				t.Fatalf("cell %+v, want %+v", g, w)
			}
		}
		if c := &b.cols[i]; c.kind != String {
			if err := d.decodeColumn(&b, c); err != nil || c.summary != nil && !c.agrees(&d) {
				t.Fatalf("summary %x, %v", c.summary, err)
			}
		}
	}
}

// Any bytes where a file should be give an error or something sound: no panic, no endless loop.
func FuzzFiles(f *testing.F) {
	for _, pattern := range []string{"testdata/*/*.seg", "testdata/*/*.t5m", "testdata/*/*.log", "testdata/*/*.0"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			f.Fatalf("%s: %q, %v", pattern, names, err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(bytes.TrimRight(data, "\x00"))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var b block
		var d blockDecoder
		check := func(body []byte) {
			if b.parseBody(body) == nil {
				var tab table
				if d.addTo(&tab, &b) == nil {
					tab.settle()
				}
			}
		}
		check(data)
		for at := bytes.Index(data, []byte(blockMagic)); at >= 0 && at+blockHeadBytes <= len(data); at = -1 {
			check(data[at+blockHeadBytes:])
		}
		var rec record
		rec.each(data, func() bool { return true })
		rec.each(append([]byte{recordPack}, data...), func() bool { return true })
		var l live
		l.start()
		l.loadTwin(data, 100)
		NewDict().load(data)
		parseSegmentIndex(data)
		scanLog(data, 1, 0, func(groupHead, []byte) error { return nil })
		// the same with good checksums in front
		for t := range tierCount {
			parseSegmentIndex(append(segmentHead{id: 1, tier: t}.append(nil), data...))
		}
		log := make([]byte, logHeaderBytes+groupHeadBytes, logHeaderBytes+groupHeadBytes+len(data))
		h := logHeader{number: 1, firstGroup: 1}
		h.append(log[:0])
		h.append(log[logSector:logSector])
		log = append(log, data...)
		groupHead{seq: 1, size: uint32(len(data)), wordBytes: uint32(len(data) / 2), rows: 1}.put(log[logHeaderBytes:], 0)
		groups := 0
		if _, err := scanLog(log, 1, 0, func(groupHead, []byte) error { groups++; return nil }); err != nil || groups != 1 {
			t.Fatalf("%d groups, %v", groups, err)
		}
		blk := append(append([]byte(blockMagic), make([]byte, 8)...), data...)
		binary.LittleEndian.PutUint32(blk[4:], uint32(len(data)))
		binary.LittleEndian.PutUint32(blk[8:], crc32.Checksum(data, castagnoli))
		_ = b.parse(blk)
	})
}

// sameNumber says whether got is want, but for another exponent of the same decimal.
func sameNumber(got, want Value) bool {
	if want.Kind == Decimal && got.Exp != want.Exp {
		m, ok := rescale(want.Mantissa, want.Exp, got.Exp)
		return ok && m == got.Mantissa && got.Metric == want.Metric && got.Kind == Decimal
	}
	return got == want
}

// Rows of a group come back from the log as they went in, whatever rows were before them.
func FuzzGroup(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"))
	f.Add(bytes.Repeat([]byte{3, 1, 200, 7, 0, 9, 9}, 40))
	f.Fuzz(func(t *testing.T, raw []byte) {
		type row struct {
			thing  ThingID
			ms     int64
			values []Value
		}
		var rows []row
		for r := (reader{src: raw}); r.err == nil; {
			one := row{thing: ThingID(r.uvarint()), ms: int64(r.uvarint() % MaxTimeMs)}
			for n := r.byte() % 6; n > 0 && r.err == nil; n-- {
				tag := r.byte()
				one.values = append(one.values, Value{Metric: MetricID(tag >> 4), Kind: Kind(tag & 3), Exp: int8(tag>>2&3) - 100, Mantissa: r.varint()})
			}
			if len(one.values) > 0 {
				rows = append(rows, one)
			}
		}
		var before rowsBefore
		var p packer
		var rec record
		check := func(buf []byte) {
			i := 0
			_, err := rec.each(buf, func() bool {
				if want := rows[i]; rec.kind != recordRow || rec.thing != want.thing || rec.timeMs != want.ms || !slices.EqualFunc(rec.values, want.values, sameNumber) {
					t.Fatalf("row %d is of thing %d at %d: %+v, want %+v", i, rec.thing, rec.timeMs, rec.values, want)
				}
				i++
				return true
			})
			if err != nil || i != len(rows) {
				t.Fatalf("%d rows of %d, %v", i, len(rows), err)
			}
		}
		for range 2 { // the second group knows nothing of the first
			var buf []byte
			for _, r := range rows {
				buf = before.appendRow(buf, r.thing, r.ms, r.values)
			}
			before.reset()
			check(buf)
		}
		var pending []pendingRow
		var values []Value
		for _, r := range rows {
			pending = append(pending, pendingRow{r.ms, r.thing, uint32(len(r.values)), uint32(len(values))})
			values = append(values, r.values...)
		}
		slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.thing, b.thing) })
		for range 2 {
			if buf, ok := p.append(nil, pending, values); ok {
				check(buf)
			}
		}
	})
}

// Rows that go from a pack into open runs as visits make the runs and last values that they make one by one.
func FuzzVisits(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"))
	for columns := range 4 {
		many := []byte{byte(2 * columns)}
		for i, rng := 0, rand.New(rand.NewPCG(3, 3)); i < 40_000; i++ {
			if many = append(many, byte(rng.Uint32())); i < 2*columns {
				many[i] &= 15
			}
		}
		f.Add(many)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var pending []pendingRow
		var values []Value
		timeMs := [4]int64{1_700_000_000_000, 1_700_000_000_000, 5, 1 << 40}
		r := reader{src: raw}
		var layouts [3][]Value
		for i := range layouts {
			for j := range MetricID(r.byte()%9 + 1) {
				tag := r.byte()
				layouts[i] = append(layouts[i], Value{Metric: max(j, MetricID(tag>>4)), Kind: Kind(tag & 3), Exp: int8(tag>>2&3) - 2, Mantissa: r.varint() >> 1})
			}
		}
		for r.err == nil && len(pending) < 6000 { // some rows of one thing with one layout
			thing, ms := [...]ThingID{0, 0, 0, 0, 0, 1, 2, 3}[r.byte()%8], r.varint()%10_000
			layout := layouts[[...]int{0, 0, 0, 0, 0, 0, 1, 2}[r.byte()%8]]
			for range r.byte()%16 + 1 {
				step := ms
				if r.byte() > 200 {
					step = -3 * ms
				}
				timeMs[thing] = min(max(0, timeMs[thing]+step), MaxTimeMs-1)
				pending = append(pending, pendingRow{timeMs[thing], thing, uint32(len(layout)), uint32(len(values))})
				for j := range layout {
					layout[j].Mantissa += int64(int8(r.byte())) * int64(1+j*j*j)
					v := layout[j]
					if v.Kind == String {
						v.Mantissa &= 1<<20 - 1
					}
					values = append(values, v)
				}
			}
		}
		var want, got live
		want.start()
		got.start()
		var p packer
		var rec record
		var x replayGroup
		var w visitor
		for from := 0; from < len(pending); from += 500 { // groups
			group := pending[from:min(from+500, len(pending))]
			buf, ok := p.append(nil, group, values)
			if !ok {
				continue
			}
			text := uint32(0)
			if _, err := rec.each(buf, func() bool {
				sh := want.shard(rec.thing)
				want.insert(sh, want.thing(sh, rec.thing), rec.timeMs, rec.values)
				for _, v := range rec.values {
					if v.Kind == String {
						text = max(text, uint32(v.Mantissa))
					}
				}
				return true
			}); err != nil {
				t.Fatal(err)
			}
			x.payload = buf
			if x.decode(); x.err != nil || x.text != text {
				t.Fatalf("%v, text %d, want %d", x.err, x.text, text)
			}
			for i := range x.visits.list {
				v := &x.visits.list[i]
				sh := got.shard(v.thing)
				th := got.thing(sh, v.thing)
				w.add(&got, sh, th, &x.visits, v, x.rec.pack.layouts[v.layout].before, len(raw)%16 == 0, func(timeMs int64, values []Value) {
					got.insert(sh, th, timeMs, values)
				})
			}
		}
		for id := range ThingID(4) {
			a, b := got.shard(id).things.get(id), want.shard(id).things.get(id)
			if a == nil || b == nil {
				if a != b {
					t.Fatalf("thing %d is %v, want %v", id, a, b)
				}
				continue
			}
			if !reflect.DeepEqual(a, b) {
				t.Fatalf("thing %d\n got %+v\nwant %+v", id, a, b)
			}
		}
		if got.samples.Load() != want.samples.Load() || got.minMs.Load() != want.minMs.Load() || got.maxMs.Load() != want.maxMs.Load() || got.bytes.Load() != want.bytes.Load() {
			t.Fatal("other counts")
		}
	})
}
