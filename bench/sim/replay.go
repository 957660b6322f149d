package sim

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// Series is a recorded series: the values of a CSV file with the columns timestamp and value, in its order.
type Series struct {
	Name   string // the file's name without .csv
	Values []float64
}

// maxSeriesRows bounds what is kept of one file.
const maxSeriesRows = 100_000

// ReadSeries reads every *.csv of dir, a folder of the Numenta Anomaly Benchmark's layout. A missing folder gives no series.
func ReadSeries(dir fs.FS) ([]Series, error) {
	names, err := fs.Glob(dir, "*.csv")
	if err != nil {
		return nil, err
	}
	var all []Series
	for _, name := range names {
		s, err := readSeries(dir, name)
		if err != nil {
			return nil, fmt.Errorf("recorded series %q: %w", name, err)
		}
		all = append(all, s)
	}
	return all, nil
}

func readSeries(dir fs.FS, name string) (Series, error) {
	s := Series{Name: strings.TrimSuffix(name, ".csv")}
	file, err := dir.Open(name)
	if err != nil {
		return s, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for row := 0; lines.Scan() && row <= maxSeriesRows; row++ {
		if row == 0 {
			continue // the heading
		}
		_, text, _ := strings.Cut(lines.Text(), ",")
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return s, fmt.Errorf("line %d: %q is no number", row+1, text)
		}
		s.Values = append(s.Values, value)
	}
	if len(s.Values) == 0 {
		return s, errors.Join(lines.Err(), errors.New("has no values"))
	}
	return s, lines.Err()
}

// pick gives the device the recorded series that suits its kind: speeds drive vehicles, temperatures warm lights.
// A device with none keeps its generated course. Each starts at a row of its own.
func (d *Device) pick(series []Series) {
	want := "temperature"
	if d.Type == Vehicle {
		want = "speed"
	}
	var suited []*Series
	for i := range series {
		if strings.Contains(series[i].Name, want) {
			suited = append(suited, &series[i])
		}
	}
	if len(suited) > 0 {
		d.replay = suited[d.rand.IntN(len(suited))]
		d.row = d.rand.IntN(len(d.replay.Values))
	}
}
