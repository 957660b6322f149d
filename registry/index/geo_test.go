package index_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/index"
)

// TestParsePoint: AWS's forms of a place, and what is none.
func TestParsePoint(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		got := "none"
		if p, ok := index.ParsePoint(text); ok {
			got = p.String()
		}
		if got != want {
			t.Fatalf("%s\n got %s\nwant %s", text, got, want)
		}
	}
	f(`48.1,11.5`, "48.1,11.5")
	f(`48.1, -11.5`, "48.1,-11.5")
	f(`[48.1,11.5]`, "48.1,11.5")
	f(`POINT(11.5 48.1)`, "48.1,11.5")
	f(`point (11.5  48.1)`, "48.1,11.5")
	f(`{"lat":48.1,"lon":11.5}`, "48.1,11.5")
	f(`{"latitude":48.1,"longitude":11.5}`, "48.1,11.5")
	f(`{"lat":"48.1","long":"11.5"}`, "48.1,11.5")
	f(`90,-180`, "90,-180")
	f(`90.1,0`, "none")
	f(`0,181`, "none")
	f(`1,2,3`, "none")
	f(`12`, "none")
	f(`a,b`, "none")
	f(`POINT(1,2)`, "none")
	f(`PRINTER(1 2)`, "none")
	f(`{"lat":1}`, "none")
	f(`{"lat":1,"lon":2,"x":3}`, "none")
	f(`[1,2`, "none")
	f(`nan,1`, "none")
	f(strings.Repeat(" ", 200)+`1,2`, "none")
}

// TestParseShape: mistakes say what to write.
func TestParseShape(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		_, err := index.ParseShape(text)
		if got := fmt.Sprint(err); got != want && !strings.HasPrefix(got, want+";") {
			t.Fatalf("%s\n got %s\nwant %s", text, got, want)
		}
	}
	for _, good := range []string{"geo_distance,1,2,3", "geo_distance,1,2,3km", "geo_distance,1,2,0.5mi", "geo_box,1,2,3,4", "geo_box,1,170,3,-170",
		"geo_polygon,0,0,1,1,0,1", "geo_polygon,0,179,1,-179,0,-179"} {
		f(good, "<nil>")
	}
	f("geo_distance,1,2", "a distance has a place and a length")
	f("geo_distance,91,2,3km", "91,2 is no place (latitude -90 to 90, longitude -180 to 180)")
	f("geo_distance,1,2,3parsecs", `"3parsecs" is no distance (units m, km, mi, ft, yd, nmi)`)
	f("geo_distance,1,2,-3km", `"-3km" is no distance (units m, km, mi, ft, yd, nmi)`)
	f("geo_box,1,2,3", "a box has two corners")
	f("geo_box,3,2,1,4", "the south of the box, 3, is north of its north, 1")
	f("geo_polygon,1,2,3,4", "a polygon has 3 to 256 places")
	f("geo_polygon,60,0,60,120,60,-120", "the polygon goes around a pole")
	f("geo_circle,1,2,3", `"geo_circle" is no area`)
}

// TestDistance: known ways between places.
func TestDistance(t *testing.T) {
	f := func(a, b string, want float64) {
		t.Helper()
		p, _ := index.ParsePoint(a)
		q, _ := index.ParsePoint(b)
		if got := index.Distance(p, q); math.Abs(got-want) > 1e-6*want+1e-9 {
			t.Fatalf("%s to %s: %v m, want %v", a, b, got, want)
		}
	}
	const degree = 6_371_008.8 * math.Pi / 180
	f("0,0", "0,1", degree)
	f("0,179.5", "0,-179.5", degree)
	f("0,0", "90,77", 90*degree)
	f("0,0", "0,180", 180*degree)
	f("48,11", "48.00001,11", degree/100_000)
	f("60,0", "60,180", 60*degree)
}

// TestGeoSearch: what the cells find is what looking at each thing finds, by other formulas: over towns, continents, poles
// and the meridian of 180 degrees, while things come, move and go.
func TestGeoSearch(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for round := range 40 {
		x := index.New("name", func(uint32) string { return "" })
		at := map[uint32]index.Point{}
		spread := []float64{180, 5, 0.05}[round%3]
		around := index.Point{Lat: rng.Float64()*180 - 90, Lon: rng.Float64()*360 - 180}
		switch round % 4 {
		case 0:
			around = index.Point{Lat: 89.99, Lon: 0}
		case 1:
			around.Lon = 180
		}
		place := func() index.Point {
			lon := around.Lon + (rng.Float64()-0.5)*2*spread
			lon = math.Mod(lon+540, 360) - 180
			lat := max(-90, min(90, around.Lat+(rng.Float64()-0.5)*spread))
			return index.Point{Lat: math.Round(lat*1e5) / 1e5, Lon: math.Round(lon*1e5) / 1e5}
		}
		text := func(p index.Point) string {
			if rng.IntN(2) == 0 {
				return fmt.Sprintf("POINT(%v %v)", p.Lon, p.Lat)
			}
			return p.String()
		}
		texts := map[uint32]string{}
		if round%2 == 0 {
			for id := range uint32(300) {
				at[id+1] = place()
				texts[id+1] = text(at[id+1])
				x.AddThing(id + 1)
			}
			x.Load("pos", 300, func(dst []byte, i int) ([]byte, uint32) { return append(dst, texts[uint32(i+1)]...), uint32(i + 1) })
		}
		for range 50 {
			id := uint32(rng.IntN(400) + 1)
			if old, ok := texts[id]; ok {
				x.Remove(id, "pos", old)
				delete(texts, id)
				delete(at, id)
			}
			if rng.IntN(3) > 0 {
				at[id] = place()
				texts[id] = text(at[id])
				x.AddThing(id)
				x.Add(id, "pos", texts[id])
			}
		}
		for range 30 {
			c, d := place(), place()
			var shape string
			var in func(index.Point) (is, sure bool)
			switch rng.IntN(3) {
			case 0:
				meters := index.Distance(c, d)
				shape = fmt.Sprintf("geo_distance,%v,%v,%vkm", c.Lat, c.Lon, meters/1000)
				in = func(p index.Point) (bool, bool) {
					// By the angle between vectors.
					vector := func(p index.Point) [3]float64 {
						lat, lon := p.Lat*math.Pi/180, p.Lon*math.Pi/180
						return [3]float64{math.Cos(lat) * math.Cos(lon), math.Cos(lat) * math.Sin(lon), math.Sin(lat)}
					}
					a, b := vector(c), vector(p)
					chord := math.Sqrt((a[0]-b[0])*(a[0]-b[0]) + (a[1]-b[1])*(a[1]-b[1]) + (a[2]-b[2])*(a[2]-b[2]))
					way := 2 * 6_371_008.8 * math.Asin(min(1, chord/2))
					return way <= meters, math.Abs(way-meters) > 0.01
				}
			case 1:
				south, north := min(c.Lat, d.Lat), max(c.Lat, d.Lat)
				shape = fmt.Sprintf("geo_box,%v,%v,%v,%v", south, c.Lon, north, d.Lon)
				in = func(p index.Point) (bool, bool) {
					between := p.Lon >= c.Lon && p.Lon <= d.Lon
					if c.Lon > d.Lon {
						between = p.Lon >= c.Lon || p.Lon <= d.Lon
					}
					return p.Lat >= south && p.Lat <= north && between, math.Abs(p.Lon) < 180
				}
			default:
				// A triangle: a place is in it when it is on the same side of all edges.
				e := place()
				shape = fmt.Sprintf("geo_polygon,%v,%v,%v,%v,%v,%v", c.Lat, c.Lon, d.Lat, d.Lon, e.Lat, e.Lon)
				near := func(q, p index.Point) index.Point {
					for q.Lon-p.Lon > 180 {
						q.Lon -= 360
					}
					for q.Lon-p.Lon < -180 {
						q.Lon += 360
					}
					return q
				}
				b, a2 := near(d, c), near(e, near(d, c))
				if math.Abs(a2.Lon-c.Lon) > 180 {
					continue
				}
				in = func(p index.Point) (is, sure bool) {
					sure = true
					for _, turn := range []float64{-360, 0, 360} {
						q := index.Point{Lat: p.Lat, Lon: p.Lon + turn}
						side := func(a, b index.Point) float64 {
							return (b.Lon-a.Lon)*(q.Lat-a.Lat) - (b.Lat-a.Lat)*(q.Lon-a.Lon)
						}
						s1, s2, s3 := side(c, b), side(b, a2), side(a2, c)
						is = is || s1 > 0 && s2 > 0 && s3 > 0 || s1 < 0 && s2 < 0 && s3 < 0
						sure = sure && math.Abs(s1) > 1e-9 && math.Abs(s2) > 1e-9 && math.Abs(s3) > 1e-9
					}
					return is, sure
				}
			}
			s, err := index.ParseShape(shape)
			if err != nil {
				t.Fatal(shape, err)
			}
			m := index.Geo(s)
			set := bitset.New(0)
			if _, err := x.Select(context.Background(), set, "pos", m, nil); err != nil {
				t.Fatal(err)
			}
			for id, p := range at {
				want, sure := in(p)
				if got := set.Test(uint(id)); sure && got != want {
					t.Fatalf("%s: thing at %s is found: %v, want %v", shape, p, got, want)
				}
				v := index.NewValue(texts[id])
				if got := set.Test(uint(id)); got != m.Matches(&v) {
					t.Fatalf("%s: thing at %s is found: %v, alone it is not", shape, p, got)
				}
			}
			for id := range set.EachSet() {
				if _, ok := at[uint32(id)]; !ok {
					t.Fatalf("%s finds thing %d, which has no place", shape, id)
				}
			}
		}
	}
}
