package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// queryCommand asks the gateway of a data folder in PromQL, or for the twin of one thing, and prints a table.
func queryCommand(ctx context.Context, args []string, out, _ io.Writer) error {
	flags := flag.NewFlagSet("query", flag.ContinueOnError)
	flags.SetOutput(out)
	dataDir := flags.String("data-dir", "./data", "`folder` of a gateway that runs on this machine")
	twin := flags.String("twin", "", "print the last value of every column of this `thing`")
	asJSON := flags.Bool("json", false, "print the API's answer as it is")
	flags.Usage = func() {
		fmt.Fprint(out, `muster query: asks a running gateway of this machine.

  muster query 'avg by (city) (power_w)'
  muster query 'topk(5, rate(odometer_m[5m]))'
  muster query --twin lamp-00000

`)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	var path string
	var table func(out io.Writer, answer []byte) error
	switch {
	case *twin != "" && flags.NArg() == 0:
		path, table = "/api/things/"+url.PathEscape(*twin)+"/twin", printTwin
	case *twin == "" && flags.NArg() == 1:
		path = "/prometheus/api/v1/query?query=" + url.QueryEscape(flags.Arg(0))
		table = func(out io.Writer, answer []byte) error { return printVector(out, answer, isOrdered(flags.Arg(0))) }
	default:
		return fmt.Errorf("want one PromQL expression in quotes, or --twin THING")
	}
	answer, err := newLocalClient(*dataDir).call(ctx, "GET", path, "", nil)
	if err != nil {
		return err
	}
	if *asJSON {
		_, err := fmt.Fprintf(out, "%s\n", strings.TrimSpace(string(answer)))
		return err
	}
	return table(out, answer)
}

// isOrdered says whether the order of the result is the answer: that of topk and its kin. Any other vector is a set.
func isOrdered(query string) bool {
	return slices.ContainsFunc([]string{"sort", "topk", "bottomk"}, func(f string) bool { return strings.HasPrefix(query, f) })
}

// printVector prints an instant vector, a line per series, by name ascending unless ordered; other results as JSON.
func printVector(out io.Writer, answer []byte, ordered bool) error {
	var response struct {
		Data struct {
			ResultType string          `json:"resultType"`
			Result     json.RawMessage `json:"result"`
		} `json:"data"`
		Warnings []string `json:"warnings"`
	}
	if err := json.Unmarshal(answer, &response); err != nil {
		return fmt.Errorf("answer of the gateway: %w", err)
	}
	for _, warning := range response.Warnings {
		fmt.Fprintln(out, "warning:", warning)
	}
	if response.Data.ResultType != "vector" {
		_, err := fmt.Fprintf(out, "%s\n", response.Data.Result)
		return err
	}
	var vector []struct {
		Metric map[string]string `json:"metric"`
		Value  [2]any            `json:"value"` // seconds, text
	}
	if err := json.Unmarshal(response.Data.Result, &vector); err != nil {
		return fmt.Errorf("answer of the gateway: %w", err)
	}
	if len(vector) == 0 {
		_, err := fmt.Fprintln(out, "no series")
		return err
	}
	lines := make([]string, len(vector))
	for i, sample := range vector {
		lines[i] = fmt.Sprintf("%s\t%v", seriesName(sample.Metric), sample.Value[1])
	}
	if !ordered {
		slices.Sort(lines)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, line := range lines {
		fmt.Fprintln(w, line)
	}
	return w.Flush()
}

// seriesName writes labels as PromQL does, by name ascending.
func seriesName(labels map[string]string) string {
	var pairs []string
	for name, value := range labels {
		if name != "__name__" {
			pairs = append(pairs, name+"="+strconv.Quote(value))
		}
	}
	slices.Sort(pairs)
	return labels["__name__"] + "{" + strings.Join(pairs, ", ") + "}"
}

func printTwin(out io.Writer, answer []byte) error {
	var response struct {
		Fields []struct {
			Name   string          `json:"name"`
			Value  json.RawMessage `json:"value"`
			TimeMs int64           `json:"timeMs"`
		} `json:"fields"`
	}
	if err := json.Unmarshal(answer, &response); err != nil {
		return fmt.Errorf("answer of the gateway: %w", err)
	}
	if len(response.Fields) == 0 {
		_, err := fmt.Fprintln(out, "no telemetry yet")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, field := range response.Fields {
		fmt.Fprintf(w, "%s\t%s\t%s\n", field.Name, field.Value, time.UnixMilli(field.TimeMs).Format(time.RFC3339))
	}
	return w.Flush()
}
