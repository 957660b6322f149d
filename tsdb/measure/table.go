package measure

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
)

// figure is one line of the table.
type figure struct {
	Name   string   `json:"name"`
	Unit   string   `json:"unit"`
	Value  float64  `json:"value"`
	Goal   float64  `json:"goal,omitempty"` // 0: none
	AtMost bool     `json:"atMost"`         // the goal is an upper bound
	Met    *bool    `json:"met,omitempty"`
	Peer   *float64 `json:"peer,omitempty"`
	Ratio  *float64 `json:"ratio,omitempty"` // value / peer
	// GoalRatio is goal / peer on the machine on which the goal was set.
	GoalRatio float64 `json:"goalRatio,omitempty"`
	RatioMet  *bool   `json:"ratioMet,omitempty"`
}

// table collects the figures of a run.
type table struct {
	Load    string   `json:"load"`
	Peer    string   `json:"peer,omitempty"`
	Figures []figure `json:"figures"`
}

// least and most add a figure with a goal, none if that is 0; note adds one without.
func (t *table) least(name, unit string, value, goal float64) { t.add(name, unit, value, goal, false) }

func (t *table) most(name, unit string, value, goal float64) { t.add(name, unit, value, goal, true) }

func (t *table) note(name, unit string, value float64) { t.add(name, unit, value, 0, true) }

func (t *table) add(name, unit string, value, goal float64, atMost bool) {
	f := figure{Name: name, Unit: unit, Value: value, Goal: goal, AtMost: atMost}
	if goal != 0 {
		met := value >= goal
		if atMost {
			met = value <= goal
		}
		f.Met = &met
	}
	t.Figures = append(t.Figures, f)
}

// last is the figure that was added last.
func (t *table) last() *figure { return &t.Figures[len(t.Figures)-1] }

// beside notes what the peer reached.
func (f *figure) beside(peer float64) {
	f.Peer = &peer
	if peer > 0 {
		ratio := f.Value / peer
		f.Ratio = &ratio
	}
}

// asThere says what the peer, which f is beside, took on the machine on which f's goal was set.
func (f *figure) asThere(peer float64) {
	f.GoalRatio = f.Goal / peer
	met := f.Ratio != nil && *f.Ratio <= f.GoalRatio
	f.RatioMet = &met
}

func (t *table) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(t)
}

func (t *table) write(w io.Writer) error {
	fmt.Fprintln(w, t.Load)
	ratioGoals := slices.ContainsFunc(t.Figures, func(f figure) bool { return f.RatioMet != nil })
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(tab, "\tmuster\tgoal\t\t")
	if t.Peer != "" {
		fmt.Fprintf(tab, "%s\tratio\t", t.Peer)
	}
	if ratioGoals {
		fmt.Fprint(tab, "its goal\t\t")
	}
	fmt.Fprintln(tab)
	for _, f := range t.Figures {
		goal, met := "", ""
		if f.Met != nil {
			goal = ">= " + digits(f.Goal)
			if f.AtMost {
				goal = "<= " + digits(f.Goal)
			}
			met = verdict(*f.Met)
		}
		fmt.Fprintf(tab, "%s\t%s\t%s\t%s\t", name(f), digits(f.Value), goal, met)
		switch {
		case f.Peer != nil && f.Ratio != nil:
			fmt.Fprintf(tab, "%s\t%.2f\t", digits(*f.Peer), *f.Ratio)
		case t.Peer != "":
			fmt.Fprint(tab, "\t\t")
		}
		switch {
		case f.RatioMet != nil:
			fmt.Fprintf(tab, "<= %.2f\t%s\t", f.GoalRatio, verdict(*f.RatioMet))
		case ratioGoals:
			fmt.Fprint(tab, "\t\t")
		}
		fmt.Fprintln(tab)
	}
	if err := tab.Flush(); err != nil || !ratioGoals {
		return err
	}
	_, err := fmt.Fprintf(w, "The goals of queries are in milliseconds of one machine. On a slower one the ratio to %s, in the same run, judges: "+
		"its goal is the goal divided by what %[1]s took there.\n", t.Peer)
	return err
}

func verdict(met bool) string {
	if met {
		return "ok"
	}
	return "missed"
}

// nameWidth makes the names flush left in a table that is flush right.
const nameWidth = 62

func name(f figure) string { return fmt.Sprintf("%-*s", nameWidth, f.Name+", "+f.Unit) }

// digits writes three significant digits.
func digits(v float64) string {
	if v == 0 {
		return "0"
	}
	decimals := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	return fmt.Sprintf("%.*f", decimals, v)
}
