package index

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Point is a place on the earth in degrees: latitude -90 to 90 northward, longitude -180 to 180 eastward.
type Point struct{ Lat, Lon float64 }

// maxPointBytes bounds a text that may be a point.
const maxPointBytes = 128

// ParsePoint reads a place in one of the forms that AWS IoT takes for a location: "48.1,11.5" (latitude first), [48.1,11.5],
// POINT(11.5 48.1) (longitude first, as WKT has it), and {"lat": 48.1, "lon": 11.5}, where the names may also be latitude,
// long and longitude. false for anything else.
func ParsePoint(text string) (Point, bool) {
	if len(text) < 3 || len(text) > maxPointBytes {
		return Point{}, false
	}
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return Point{}, false
	case text[0] == '{':
		return parsePointObject(text)
	case text[0] == 'P' || text[0] == 'p':
		if len(text) < len("POINT()") || !strings.EqualFold(text[:len("POINT")], "POINT") {
			return Point{}, false
		}
		inner, ok := strings.CutPrefix(strings.TrimSpace(text[len("POINT"):]), "(")
		inner, closed := strings.CutSuffix(inner, ")")
		parts := strings.Fields(inner)
		if !ok || !closed || len(parts) != 2 {
			return Point{}, false
		}
		return pointOf(parts[1], parts[0])
	case text[0] == '[':
		inner, closed := strings.CutSuffix(text[1:], "]")
		if !closed {
			return Point{}, false
		}
		text = inner
	}
	lat, lon, ok := strings.Cut(text, ",")
	if !ok {
		return Point{}, false
	}
	return pointOf(strings.TrimSpace(lat), strings.TrimSpace(lon))
}

func parsePointObject(text string) (Point, bool) {
	var o map[string]json.Number
	if json.Unmarshal([]byte(text), &o) != nil || len(o) != 2 {
		return Point{}, false
	}
	lat, hasLat := o["lat"]
	if !hasLat {
		lat = o["latitude"]
	}
	lon := o["lon"]
	for _, name := range []string{"long", "longitude"} {
		if lon == "" {
			lon = o[name]
		}
	}
	return pointOf(string(lat), string(lon))
}

func pointOf(lat, lon string) (p Point, ok bool) {
	if p.Lat, ok = ParseNumber(lat); !ok || math.Abs(p.Lat) > 90 {
		return Point{}, false
	}
	if p.Lon, ok = ParseNumber(lon); !ok || math.Abs(p.Lon) > 180 {
		return Point{}, false
	}
	return p, true
}

// Shape is an area on the earth: a circle, a box or a polygon. It never changes.
type Shape struct {
	kind     shapeKind
	center   Point
	limit    float64 // circle: the haversine of the angle of its radius
	box      bounds  // what surely has the shape in it
	vertices []Point // polygon; longitudes go on past 180 rather than jump
}

type shapeKind uint8

const (
	circle shapeKind = iota
	box
	polygon
)

// bounds are south <= north and west <= east, where east may be past 180.
type bounds struct{ south, west, north, east float64 }

// earthMeters is the mean radius of the earth (IUGG).
const earthMeters = 6_371_008.8

// meters are the units of distances, as OpenSearch, on which AWS's index is built, spells them.
var meters = map[string]float64{
	"m": 1, "meters": 1, "km": 1000, "kilometers": 1000, "cm": 0.01, "centimeters": 0.01, "mm": 0.001, "millimeters": 0.001,
	"mi": 1609.344, "miles": 1609.344, "yd": 0.9144, "yards": 0.9144, "ft": 0.3048, "feet": 0.3048, "in": 0.0254, "inch": 0.0254,
	"nmi": 1852, "NM": 1852, "nauticalmiles": 1852,
}

// MaxVertices bounds a polygon.
const MaxVertices = 256

// ParseShape reads geo_distance,<lat>,<lon>,<distance> (AWS's), geo_box,<south>,<west>,<north>,<east> and
// geo_polygon,<lat>,<lon>,<lat>,<lon>,... (ours). The error is a sentence that says what to write.
//
// A box with a west greater than its east goes over the meridian of 180 degrees; so does an edge of a polygon that is
// longer than 180 degrees otherwise. The edges of a polygon are straight in degrees.
func ParseShape(text string) (*Shape, error) {
	parts := strings.Split(text, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	switch parts[0] {
	case "geo_distance":
		return parseCircle(parts[1:])
	case "geo_box":
		return parseBox(parts[1:])
	case "geo_polygon":
		return parsePolygon(parts[1:])
	}
	return nil, fmt.Errorf("%q is no area; use geo_distance, geo_box or geo_polygon", parts[0])
}

func parseCircle(parts []string) (*Shape, error) {
	const form = "write geo_distance,<lat>,<lon>,<distance>, such as geo_distance,48.1,11.5,10km"
	if len(parts) != 3 {
		return nil, fmt.Errorf("a distance has a place and a length; %s", form)
	}
	center, ok := pointOf(parts[0], parts[1])
	if !ok {
		return nil, fmt.Errorf("%s,%s is no place (latitude -90 to 90, longitude -180 to 180); %s", parts[0], parts[1], form)
	}
	digits := strings.TrimRight(parts[2], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	unit := parts[2][len(digits):]
	length, ok := ParseNumber(strings.TrimSpace(digits))
	if unit == "" {
		unit = "m"
	}
	if !ok || length < 0 || meters[unit] == 0 {
		return nil, fmt.Errorf("%q is no distance (units m, km, mi, ft, yd, nmi); %s", parts[2], form)
	}
	angle := length * meters[unit] / earthMeters // radians
	if angle > math.Pi {
		angle = math.Pi
	}
	s := &Shape{kind: circle, center: center, limit: math.Pow(math.Sin(angle/2), 2)}
	if angle == math.Pi {
		s.limit = math.Inf(1) // all of the earth, whatever the rounding
	}
	// A millimeter more, so that rounding leaves nothing out that the exact test lets in.
	wide := (angle + 0.001/earthMeters) * 180 / math.Pi
	s.box = bounds{center.Lat - wide, -180, center.Lat + wide, 180}
	if s.box.south > -90 && s.box.north < 90 {
		reach := math.Sin(wide*math.Pi/180) / math.Cos(center.Lat*math.Pi/180)
		if wide < 90 && reach < 1 {
			sideways := math.Asin(reach)*180/math.Pi + 1e-9
			s.box.west, s.box.east = center.Lon-sideways, center.Lon+sideways
		}
	}
	return s, nil
}

func parseBox(parts []string) (*Shape, error) {
	const form = "write geo_box,<south>,<west>,<north>,<east>, such as geo_box,48,11,49,12"
	if len(parts) != 4 {
		return nil, fmt.Errorf("a box has two corners; %s", form)
	}
	low, ok1 := pointOf(parts[0], parts[1])
	high, ok2 := pointOf(parts[2], parts[3])
	if !ok1 || !ok2 {
		return nil, fmt.Errorf("a corner of the box is no place (latitude -90 to 90, longitude -180 to 180); %s", form)
	}
	if low.Lat > high.Lat {
		return nil, fmt.Errorf("the south of the box, %s, is north of its north, %s; %s", parts[0], parts[2], form)
	}
	s := &Shape{kind: box, box: bounds{low.Lat, low.Lon, high.Lat, high.Lon}}
	if s.box.west > s.box.east {
		s.box.east += 360
	}
	return s, nil
}

func parsePolygon(parts []string) (*Shape, error) {
	const form = "write geo_polygon,<lat>,<lon>,<lat>,<lon>,<lat>,<lon>"
	if len(parts) < 6 || len(parts)%2 != 0 || len(parts) > 2*MaxVertices {
		return nil, fmt.Errorf("a polygon has 3 to %d places; %s", MaxVertices, form)
	}
	s := &Shape{kind: polygon}
	for i := 0; i < len(parts); i += 2 {
		p, ok := pointOf(parts[i], parts[i+1])
		if !ok {
			return nil, fmt.Errorf("%s,%s is no place (latitude -90 to 90, longitude -180 to 180); %s", parts[i], parts[i+1], form)
		}
		if n := len(s.vertices); n > 0 {
			last := s.vertices[n-1]
			for p.Lon-last.Lon > 180 {
				p.Lon -= 360
			}
			for p.Lon-last.Lon < -180 {
				p.Lon += 360
			}
		}
		s.vertices = append(s.vertices, p)
	}
	if first, last := s.vertices[0], s.vertices[len(s.vertices)-1]; math.Abs(first.Lon-last.Lon) > 180 {
		return nil, fmt.Errorf("the polygon goes around a pole; use geo_box or geo_distance there")
	}
	s.box = bounds{90, math.Inf(1), -90, math.Inf(-1)}
	for _, v := range s.vertices {
		s.box.south, s.box.north = min(s.box.south, v.Lat), max(s.box.north, v.Lat)
		s.box.west, s.box.east = min(s.box.west, v.Lon), max(s.box.east, v.Lon)
	}
	if s.box.east-s.box.west >= 360 {
		return nil, fmt.Errorf("the polygon goes around the earth; use geo_box there")
	}
	return s, nil
}

// Contains says whether a place is in the shape; its border is in it, but for that of a polygon, which may be either.
func (s *Shape) Contains(p Point) bool {
	switch s.kind {
	case box:
		return s.box.contains(p)
	case polygon:
		return s.inPolygon(p)
	}
	return haversine(s.center, p) <= s.limit
}

// haversine returns that of the angle between two places: exact for short distances, where the cosine is not.
func haversine(a, b Point) float64 {
	const degree = math.Pi / 180
	lat, lon := math.Sin((a.Lat-b.Lat)*degree/2), math.Sin((a.Lon-b.Lon)*degree/2)
	return lat*lat + math.Cos(a.Lat*degree)*math.Cos(b.Lat*degree)*lon*lon
}

func (b bounds) contains(p Point) bool {
	if p.Lat < b.south || p.Lat > b.north {
		return false
	}
	return p.Lon >= b.west && p.Lon <= b.east || p.Lon+360 <= b.east && p.Lon+360 >= b.west || p.Lon-360 >= b.west && p.Lon-360 <= b.east
}

// inPolygon counts how often a line to the north crosses an edge.
func (s *Shape) inPolygon(p Point) bool {
	if !s.box.contains(p) {
		return false
	}
	for p.Lon > s.box.east {
		p.Lon -= 360
	}
	for p.Lon < s.box.west {
		p.Lon += 360
	}
	if p.Lon > s.box.east {
		return false
	}
	in := false
	for i, b := range s.vertices {
		a := s.vertices[(i+len(s.vertices)-1)%len(s.vertices)]
		if (a.Lon > p.Lon) != (b.Lon > p.Lon) && p.Lat < a.Lat+(p.Lon-a.Lon)/(b.Lon-a.Lon)*(b.Lat-a.Lat) {
			in = !in
		}
	}
	return in
}

// cells are the places of a field's things by squares of the earth, so that a search near a place looks at few of them.
type cells struct {
	at     map[cell][]placed
	places int
}

// cellDegrees is the side of a cell: about a kilometer northward, and so that a search over a town looks at few hundred.
const cellDegrees = 0.01

// cell is a square: row from the south pole, column from the west.
type cell struct{ row, column uint16 }

type placed struct {
	Point
	id uint32
}

const (
	cellRows    = 180 / cellDegrees
	cellColumns = 360 / cellDegrees
)

func cellOf(p Point) cell {
	return cell{
		uint16(min(int((p.Lat+90)/cellDegrees), cellRows-1)),
		uint16(min(int((p.Lon+180)/cellDegrees), cellColumns-1)),
	}
}

// addPlace notes a value that may be a place.
func (f *field) addPlace(id uint32, value string) {
	if p, ok := ParsePoint(value); ok {
		f.cells.add(p, id)
	}
}

func (c *cells) add(p Point, id uint32) {
	if c.at == nil {
		c.at = map[cell][]placed{}
	}
	at := cellOf(p)
	c.at[at] = append(c.at[at], placed{p, id})
	c.places++
}

func (f *field) removePlace(id uint32, value string) {
	p, ok := ParsePoint(value)
	if !ok {
		return
	}
	c := cellOf(p)
	list := f.cells.at[c]
	for i, have := range list {
		if have.id != id || have.Point != p {
			continue
		}
		list[i] = list[len(list)-1]
		f.cells.places--
		if list = list[:len(list)-1]; len(list) == 0 {
			delete(f.cells.at, c)
		} else {
			f.cells.at[c] = list
		}
		return
	}
}

// eachIn calls add for each thing in the shape and returns how many places it looked at.
func (c *cells) eachIn(s *Shape, add func(id uint32)) (looked int) {
	look := func(list []placed) {
		looked += len(list)
		for _, p := range list {
			if s.Contains(p.Point) {
				add(p.id)
			}
		}
	}
	b := s.box
	south, north := max(b.south, -90), min(b.north, 90)
	// A range of columns that goes past an edge of the map goes on at the other.
	west := int(math.Floor((b.west + 180) / cellDegrees))
	east := int(math.Floor((b.east+180)/cellDegrees)) + 1 // what lies at 180 itself is in the last column
	low, high := cellOf(Point{south, 0}).row, cellOf(Point{north, 0}).row
	rows, columns := int(high)-int(low)+1, min(east-west+2, cellColumns)
	if rows*columns > len(c.at) {
		for at, list := range c.at {
			if at.row >= low && at.row <= high {
				look(list)
			}
		}
		return looked
	}
	for row := int(low); row <= int(high); row++ {
		for i := range columns {
			column := ((west-1+i)%cellColumns + cellColumns) % cellColumns
			look(c.at[cell{uint16(row), uint16(column)}])
		}
	}
	return looked
}

// Distance returns the length of the shortest way over the earth between two places in meters.
func Distance(a, b Point) float64 {
	return 2 * earthMeters * math.Asin(min(1, math.Sqrt(haversine(a, b))))
}

// String returns a place as ParsePoint reads it.
func (p Point) String() string {
	return strconv.FormatFloat(p.Lat, 'f', -1, 64) + "," + strconv.FormatFloat(p.Lon, 'f', -1, 64)
}
