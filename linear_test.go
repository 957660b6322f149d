package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// The registry must behave as if each call happened at one moment between its request and its answer (Herlihy and Wing,
// "Linearizability", 1990): writes, reads by name and queries over the index, from clients that know nothing of each other.

// linearThings is the number of things that the clients change and look at.
const linearThings = 3

// linearState is the value of an attribute of each thing.
type linearState [linearThings]int

// linearCall is what a client asks: write value to a thing, read a thing, or find the things that have value.
type linearCall struct {
	op    string // "write", "read", "find"
	thing int
	value int
}

// linearAnswer is the value that was read, or the things that were found, one bit each.
type linearAnswer struct {
	value int
	found uint
}

var linearModel = porcupine.Model{
	Init: func() any { return linearState{} },
	Step: func(state, input, output any) (bool, any) {
		s, call, answer := state.(linearState), input.(linearCall), output.(linearAnswer)
		switch call.op {
		case "write":
			s[call.thing] = call.value
			return true, s
		case "read":
			return answer.value == s[call.thing], s
		}
		found := uint(0)
		for i, value := range s {
			if value == call.value {
				found |= 1 << i
			}
		}
		return answer.found == found, s
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

// do makes one call over HTTP.
func (call linearCall) do(g *testGateway, client *http.Client) (answer linearAnswer, err error) {
	var thing struct {
		Attributes map[string]string `json:"attributes"`
	}
	var page struct {
		Things []struct {
			ThingName string `json:"thingName"`
		} `json:"things"`
	}
	ask := func(method, path, text string, out any) error {
		status, body, err := g.ask(client, method, path, text)
		if err == nil && status != 200 {
			err = fmt.Errorf("%s %s: %d %s", method, path, status, body)
		}
		if err == nil {
			err = json.Unmarshal([]byte(body), out)
		}
		return err
	}
	path := fmt.Sprintf("/iot/things/linear-%d", call.thing)
	switch call.op {
	case "write":
		return answer, ask("PATCH", path, fmt.Sprintf(`{"attributePayload":{"attributes":{"value":"%d"}}}`, call.value), &struct{}{})
	case "read":
		if err := ask("GET", path, "", &thing); err != nil {
			return answer, err
		}
		_, err := fmt.Sscan(thing.Attributes["value"], &answer.value)
		return answer, err
	}
	if err := ask("POST", "/iot/indices/search", fmt.Sprintf(`{"queryString":"attributes.value:%d"}`, call.value), &page); err != nil {
		return answer, err
	}
	for _, found := range page.Things {
		var i int
		if _, err := fmt.Sscanf(found.ThingName, "linear-%d", &i); err != nil {
			return answer, err
		}
		answer.found |= 1 << i
	}
	return answer, nil
}

func TestRegistryIsLinearizable(t *testing.T) {
	g := startGateway(t, t.TempDir())
	for i := range linearThings {
		if status, body := g.call("POST", fmt.Sprintf("/iot/things/linear-%d", i), `{"attributePayload":{"attributes":{"value":"0"}}}`); status != 200 {
			t.Fatal(status, body)
		}
	}
	const clients, calls, values = 6, 80, 4
	var mu sync.Mutex // guards history
	var history []porcupine.Operation
	var running sync.WaitGroup
	client := g.client()
	began := time.Now()
	for id := range clients {
		rng := rand.New(rand.NewPCG(uint64(id), 7))
		running.Go(func() {
			for range calls {
				call := linearCall{op: []string{"write", "read", "find"}[rng.IntN(3)], thing: rng.IntN(linearThings), value: rng.IntN(values)}
				sent := time.Since(began)
				answer, err := call.do(g, client)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: id, Input: call, Call: int64(sent), Output: answer, Return: int64(time.Since(began))})
				mu.Unlock()
			}
		})
	}
	running.Wait()
	if result := porcupine.CheckOperationsTimeout(linearModel, history, 20*time.Second); result != porcupine.Ok {
		t.Fatalf("%d calls of %d clients are not as if one came after the other: %s\n%s", len(history), clients, result, printHistory(history))
	}
}

// TestLinearCheckCanFail shows that the check finds a query that misses a write that was answered before.
func TestLinearCheckCanFail(t *testing.T) {
	history := []porcupine.Operation{
		{ClientId: 0, Input: linearCall{"write", 1, 5}, Call: 0, Output: linearAnswer{}, Return: 10},
		{ClientId: 1, Input: linearCall{"find", 0, 5}, Call: 11, Output: linearAnswer{found: 0}, Return: 20},
	}
	if porcupine.CheckOperations(linearModel, history) {
		t.Fatal("a stale query is taken for a right one")
	}
	history[1].Output = linearAnswer{found: 1 << 1}
	if !porcupine.CheckOperations(linearModel, history) {
		t.Fatal("a right query is taken for a stale one")
	}
}

func printHistory(history []porcupine.Operation) string {
	slices.SortFunc(history, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var text strings.Builder
	for _, o := range history {
		fmt.Fprintf(&text, "client %d, %d to %d us: %+v -> %+v\n", o.ClientId, o.Call/1000, o.Return/1000, o.Input, o.Output)
	}
	return text.String()
}
