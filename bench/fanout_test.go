package bench

import "testing"

func TestFanoutOnMuster(t *testing.T) {
	var results []fanoutResult
	code, said := runAgainstMuster(t, &results, "fanout", "--subscribers", "30", "--slow", "3", "--messages", "40", "--rate", "200")
	if code != 0 || len(results) != 1 {
		t.Fatalf("exit %d, %+v\n%s", code, results, said)
	}
	if r := results[0]; r.Delivered != 30*40 || r.Expected != r.Delivered || r.P50 <= 0 || r.P50 > r.P99 {
		t.Errorf("%+v", r)
	}
}
