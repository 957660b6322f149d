package index_test

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/index"
)

// TestWildcardsWhileWriting: what Select finds by pairs of bytes is what each value says by itself, over thousands of values that come and
// go between the questions.
func TestWildcardsWhileWriting(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	letters := []rune("abck019.-_ é\u2003ſ")
	text := func(most int) string {
		runes := make([]rune, 1+rng.IntN(most))
		for i := range runes {
			runes[i] = letters[rng.IntN(len(letters))]
		}
		return string(runes)
	}
	matches := func() []*index.Match {
		form := []rune(text(4))
		for range 1 + rng.IntN(2) {
			form[rng.IntN(len(form))] = []rune{index.AnyRun, index.AnyOne}[rng.IntN(2)]
		}
		list := []*index.Match{index.Contains(text(4)), index.Glob(string(form)), index.Prefix(text(3)), index.Word(text(2))}
		for _, expr := range []string{"^a.?b", "^ab", "b$", "(ab|ck)+", "(ab|ac|-)1", "a{2}", "(?:ab)*c", "^(a|b)c", "0.1", "b c", "^$|_", "É", `\bab`, "(?m)^a$", "(a|)b"} {
			m, err := index.Regex(expr)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, m)
		}
		return list
	}
	x := index.New("n", func(uint32) string { return "" })
	values := map[uint32]string{}
	for round := range 12 {
		for range 600 {
			id := 1 + rng.Uint32N(3000)
			x.AddThing(id)
			x.Remove(id, "v", values[id])
			values[id] = ""
			if rng.IntN(3+round%3*5) > 0 {
				values[id] = text(9)
				x.Add(id, "v", values[id])
			}
		}
		among := bitset.MustNew(3001)
		for range 1000 {
			among.Set(uint(rng.IntN(3001)))
		}
		for _, m := range matches() {
			all, some := new(bitset.BitSet), new(bitset.BitSet)
			for dst, among := range map[*bitset.BitSet]*bitset.BitSet{all: nil, some: among} {
				if _, err := x.Select(context.Background(), dst, "v", m, among); err != nil {
					t.Fatal(err)
				}
			}
			for id, text := range values {
				v := index.NewValue(text)
				want := text != "" && m.Matches(&v)
				if all.Test(uint(id)) != want || among.Test(uint(id)) && some.Test(uint(id)) != want {
					t.Fatalf("round %d: %q is found: %v, among others: %v, it should: %v by %+v", round, text, all.Test(uint(id)), some.Test(uint(id)), want, m)
				}
			}
		}
	}
}
