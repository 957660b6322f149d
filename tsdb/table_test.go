package tsdb

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// Rows that come late, or twice, settle into ascending ones: of two cells of one column and time the later one stays.
func TestTableSettles(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 11))
	var tab table
	for round := range 200 {
		tab.reset()
		want := map[columnKey]map[int64]int64{}
		times := map[int64]bool{}
		rows := 1 + rng.IntN(300)
		for i := range rows {
			ms := int64(i) * 10
			if round%3 > 0 && rng.IntN(10) == 0 {
				ms = rng.Int64N(int64(rows) * 10)
			}
			tab.rowAt(ms)
			times[ms] = true
			for m, share := range []int{1, 1, 3, 100} { // the last column has few cells
				if rng.IntN(share) > 0 {
					continue
				}
				kind := Decimal
				if m == 1 {
					kind = String
				}
				key := columnKey{MetricID(m / 2), kind == String}
				if want[key] == nil {
					want[key] = map[int64]int64{}
				}
				value := rng.Int64N(1000)
				want[key][ms] = value
				tab.cell(key.metric, kind, 0, value)
			}
		}
		tab.settle()
		if !slices.Equal(tab.times, slices.Sorted(maps.Keys(times))) || len(tab.cols) != len(want) {
			t.Fatalf("%d rows, %d columns; want %d and %d", len(tab.times), len(tab.cols), len(times), len(want))
		}
		for i := range tab.cols {
			c := &tab.cols[i]
			got := map[int64]int64{}
			for j, x := range c.cells {
				if j > 0 && c.cells[j-1].row >= x.row {
					t.Fatalf("row %d after %d", x.row, c.cells[j-1].row)
				}
				got[tab.times[x.row]] = x.mantissa
			}
			if !maps.Equal(got, want[c.columnKey]) {
				t.Fatalf("column %+v has %v, want %v", c.columnKey, got, want[c.columnKey])
			}
		}
	}
}
