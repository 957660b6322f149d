package decode

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"muster/tsdb"
)

// TestFloatText holds the conversion of long texts against the plain one, through the door.
func TestFloatText(t *testing.T) {
	d := New(tsdb.NewDict())
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		text := strconv.FormatUint(1+rng.Uint64N(9), 10)
		for range 18 + rng.IntN(60) {
			text += strconv.Itoa(rng.IntN(10))
		}
		text += "7"
		if at := rng.IntN(len(text)); at > 0 {
			text = text[:at] + "." + text[at:]
		}
		text += "e" + strconv.Itoa(rng.IntN(400)-200)
		want, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := d.JSON([]byte(`{"a":`+text+`}`), arrival)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if v := rows[0].Values[0]; v.Kind != tsdb.Float || math.Float64frombits(uint64(v.Mantissa)) != want {
			t.Fatalf("%s: got %+v, want %v", text, v, want)
		}
	}
}

// TestParseTime holds RFC 3339 against package time over all years, months and offsets.
func TestParseTime(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 50_000 {
		sec := rng.Int64N(253402300799 + 62135596800)
		at := time.Unix(sec-62135596800, rng.Int64N(1e9)).In(time.FixedZone("", (rng.IntN(2*1439)-1439)*60))
		if at.Year() < 0 || at.Year() > 9999 {
			continue
		}
		text := at.Format(time.RFC3339Nano)
		got, f := parseTime([]byte(text))
		if at.UnixMilli() < 0 {
			if f != faultTimeRange {
				t.Fatalf("%s: %q, want a time before 1970", text, reasons[f])
			}
			continue
		}
		if f != ok || got != at.UnixMilli() {
			t.Fatalf("%s: got %d %q, want %d", text, got, reasons[f], at.UnixMilli())
		}
		// A byte changed, cut or doubled: whatever package time refuses is refused, but for the leap second.
		i := rng.IntN(len(text))
		broken := text[:i] + string("0123456789-+:.TtZz x"[rng.IntN(20)]) + text[i+rng.IntN(2):]
		if _, f := parseTime([]byte(broken)); f == ok {
			plain := strings.Replace(strings.ToUpper(broken), " ", "T", 1)
			if plain[17:19] == "60" {
				plain = plain[:17] + "59" + plain[19:]
			}
			if _, err := time.Parse(time.RFC3339Nano, plain); err != nil {
				t.Fatalf("%q was accepted: %v", broken, err)
			}
		}
	}
}
