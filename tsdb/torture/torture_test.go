package torture

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"muster/tsdb/vfs"
)

// liar is a disk that says that it has synced, as cheap flash does.
type liar struct{ *vfs.Mem }

type liarFile struct{ vfs.File }

func (l liar) Create(name string) (vfs.File, error) {
	f, err := l.Mem.Create(name)
	return liarFile{f}, err
}

func (l liar) Open(name string) (vfs.File, error) {
	f, err := l.Mem.Open(name)
	return liarFile{f}, err
}

func (liarFile) Sync() error { return nil }

// What goes wrong on a disk that lies about its syncs is found: the torture can fail.
func TestFindsLies(t *testing.T) {
	found := 0
	for seed := range uint64(20) {
		h := newHistory(rand.New(rand.NewPCG(seed, 1)))
		h.wrap = func(m *vfs.Mem) vfs.FS { return liar{m} }
		if err := h.cut(historyCuts); err != nil {
			found++
		}
	}
	if found < 19 {
		t.Fatalf("something was found in %d of 20 histories", found)
	}
}

// A run that fails says how to repeat it.
func TestSaysSeed(t *testing.T) {
	var out strings.Builder
	r := runner{out: &out}
	r.each(t.Context(), 1, func(int) (tally, error) { return tally{}, errors.New("seed 7: gone") })
	if len(r.failures) != 1 || out.String() != "seed 7: gone\n" {
		t.Fatalf("%v, %q", r.failures, out.String())
	}
}
