package broker

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"muster/tsdb/vfs"
)

var update = flag.Bool("update", false, "rewrite the kept samples")

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func mustOpen(t testing.TB, fs vfs.FS, log *slog.Logger) *journal {
	t.Helper()
	j, err := openJournal(fs, "sessions", log)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func contents(j *journal) map[string]string {
	m := make(map[string]string)
	j.each(func(key string, value []byte) { m[key] = string(value) })
	return m
}

func TestJournalKeepsWhatWasSynced(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		disk := vfs.NewMem()
		want := make(map[string]string) // what the journal must have
		maybe := make(map[string][]string)
		for range 5 { // lives, each ended by a power cut
			j := mustOpen(t, disk, quiet())
			got := contents(j)
			for key, value := range want {
				if got[key] != value && !contains(maybe[key], got[key]) {
					t.Fatalf("seed %d: %q is %q, want %q", seed, key, got[key], value)
				}
			}
			for key, value := range got {
				if want[key] != value && !contains(maybe[key], value) {
					t.Fatalf("seed %d: %q has the value %q, which was never its last", seed, key, value)
				}
			}
			want, maybe = got, make(map[string][]string)
			for range rnd.IntN(400) {
				key := fmt.Sprint("key", rnd.IntN(30))
				switch rnd.IntN(10) {
				case 0:
					if err := j.syncTo(j.changed()); err != nil {
						t.Fatal(err)
					}
					want, maybe = contents(j), make(map[string][]string)
				case 1, 2, 3:
					j.delete(key)
					maybe[key] = append(maybe[key], "")
				default:
					value := strings.Repeat(fmt.Sprint(rnd.Uint64()), rnd.IntN(1000))
					j.put(key, []byte(value))
					maybe[key] = append(maybe[key], value)
				}
			}
			disk = disk.PowerCut(seed)
		}
	}
}

func contains(list []string, s string) bool {
	for _, have := range list {
		if have == s {
			return true
		}
	}
	return false
}

func TestJournalShrinks(t *testing.T) {
	disk := vfs.NewMem()
	j := mustOpen(t, disk, quiet())
	for i := range 3000 {
		j.put("same", bytes.Repeat([]byte{byte(i)}, 2000))
		if err := j.syncTo(j.changed()); err != nil {
			t.Fatal(err)
		}
	}
	if data, err := disk.ReadFile("sessions/sessions.log"); err != nil || len(data) > 2<<20 {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	if got := contents(mustOpen(t, disk, quiet())); len(got) != 1 || got["same"] != strings.Repeat(string([]byte{2999 % 256}), 2000) {
		t.Fatalf("%d keys", len(got))
	}
}

// TestJournalDamage flips every bit of a log: it opens, says so, and has no value that was never written.
func TestJournalDamage(t *testing.T) {
	base := vfs.NewMem()
	j := mustOpen(t, base, quiet())
	want := make(map[string]string)
	for i := range 6 {
		key, value := fmt.Sprint("k", i), fmt.Sprint("value ", i)
		j.put(key, []byte(value))
		want[key] = value
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	data, err := base.ReadFile("sessions/sessions.log")
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(data) * 8 {
		disk := vfs.NewMem()
		_ = disk.MkdirAll("sessions", 0o700)
		bad := bytes.Clone(data)
		bad[bit/8] ^= 1 << (bit % 8)
		if err := disk.WriteFile("sessions/sessions.log", bad, 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		j, err := openJournal(disk, "sessions", slog.New(slog.NewTextHandler(&log, nil)))
		if at := bit / 8; at == 8 || at == 9 { // an unknown version is left alone
			if err == nil || !strings.Contains(err.Error(), "another version of muster") {
				t.Fatalf("bit %d: %v", bit, err)
			}
			if left, _ := disk.ReadFile("sessions/sessions.log"); !bytes.Equal(left, bad) {
				t.Fatal("the file of another version was changed")
			}
			continue
		}
		if err != nil {
			t.Fatalf("bit %d: %v", bit, err)
		}
		got := contents(j)
		for key, value := range got {
			if want[key] != value {
				t.Fatalf("bit %d: %q = %q", bit, key, value)
			}
		}
		if at := bit / 8; at < 10 || at >= 16 { // the rest of the header is not used
			if kept, _ := disk.ReadFile("sessions/sessions.log.damaged"); len(got) == len(want) || log.Len() > 0 && !bytes.Equal(kept, bad) {
				t.Fatalf("bit %d: %d of %d keys, log %q, %d bytes kept", bit, len(got), len(want), log.String(), len(kept))
			}
		}
		// it goes on
		j.put("new", []byte("x"))
		if err := j.close(); err != nil {
			t.Fatal(err)
		}
		if again := contents(mustOpen(t, disk, quiet())); len(again) != len(got)+1 {
			t.Fatalf("bit %d: %d keys after another start, want %d", bit, len(again), len(got)+1)
		}
	}
	// every truncation
	for size := range data {
		disk := vfs.NewMem()
		_ = disk.MkdirAll("sessions", 0o700)
		_ = disk.WriteFile("sessions/sessions.log", data[:size], 0o600)
		for key, value := range contents(mustOpen(t, disk, quiet())) {
			if want[key] != value {
				t.Fatalf("cut at %d: %q = %q", size, key, value)
			}
		}
	}
}

func TestJournalFailingDisk(t *testing.T) {
	cause := errors.New("i/o error")
	for n := 1; n < 12; n++ {
		disk := vfs.NewMem()
		j := mustOpen(t, disk, quiet())
		j.put("a", []byte("1"))
		if err := j.syncTo(j.changed()); err != nil {
			t.Fatal(err)
		}
		disk.FailAt(n, cause)
		failed := false
		for i := range 20 {
			value := fmt.Sprint(i)
			j.put("a", []byte(value))
			if err := j.syncTo(j.changed()); err != nil {
				if !errors.Is(err, cause) {
					t.Fatal(err)
				}
				failed = true
				continue
			}
			// a successful sync is true, also after a failed one
			if got := contents(mustOpen(t, disk.PowerCut(uint64(i)), quiet())); got["a"] != value {
				t.Fatalf("operation %d failed: a = %q after a sync of %q", n, got["a"], value)
			}
		}
		if n <= 2 && !failed {
			t.Fatalf("operation %d did not fail", n)
		}
	}
}

func TestJournalSharesSyncs(t *testing.T) {
	dir := t.TempDir()
	j, err := openJournal(vfs.OS{}, dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 50 {
				j.put(fmt.Sprint(g, " ", i), []byte("x"))
				if err := j.syncTo(j.changed()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	want := contents(j)
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	if err := j.syncTo(j.changed() + 1); err != errJournalClosed {
		t.Fatalf("sync of a closed journal: %v", err)
	}
	j, err = openJournal(vfs.OS{}, dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	if got := contents(j); len(got) != 400 || !maps.Equal(got, want) {
		t.Fatalf("%d keys, want 400", len(got))
	}
}

// TestJournalTogether cuts the power while groups of changes are made: each is there whole or not at all.
func TestJournalTogether(t *testing.T) {
	for seed := range uint64(10) {
		disk := vfs.NewMem()
		j := mustOpen(t, disk, quiet())
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for i := range 60 {
					value := []byte(fmt.Sprint(i))
					a, b := fmt.Sprint("a", g), fmt.Sprint("b", g)
					switch {
					case i%10 == 9:
						j.delete(a, b)
					case i%2 == 0:
						j.together(func() {
							j.put(a, value)
							runtime.Gosched()
							j.put(b, value)
						})
					default:
						j.putAll([]string{a, b}, [][]byte{value, value})
					}
					if err := j.syncTo(j.changed()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			wg.Wait()
		}()
		for cut := seed * 1000; ; cut++ {
			got := contents(mustOpen(t, disk.PowerCut(cut), quiet()))
			for g := range 4 {
				if a, b := got[fmt.Sprint("a", g)], got[fmt.Sprint("b", g)]; a != b {
					t.Fatalf("cut %d: one half of a group is %q, the other %q", cut, a, b)
				}
			}
			select {
			case <-done:
			default:
				continue
			}
			break
		}
	}
}

// TestJournalReadsKeptSamples reads a file of every version of the format that was ever written.
func TestJournalReadsKeptSamples(t *testing.T) {
	m := &message{topic: "home/lamp", origin: "lamp-1", payload: []byte("on"), props: []byte{3, 0, 1, 'x'}, expiresAt: 4_000_000_000, qos: 1, retain: true}
	s := &session{client: "lamp-1", thing: 7, thingName: "lamp-1", expirySec: 3600, offSince: 1_700_000_000}
	d := &delivery{m: m, seq: 3, qos: 1, subIDs: []int{5, 300}, id: 9, released: true}
	sub := subscription{filter: "home/#", id: 5, qos: 1, retainHandling: 2, noLocal: true, retainAsPublished: true}
	want := map[string]string{
		sessionKey("lamp-1"):                string(encodeSession(s)),
		subscriptionKey("lamp-1", "home/#"): string(encodeSubscription(sub)),
		queueKey("lamp-1", 3):               string(encodeDelivery(d)),
		stateKey("lamp-1", 3):               string(encodeState(d)),
		receivedKey("lamp-1", 77):           "",
		retainedKey("home/lamp"):            string(appendMessage(nil, m)),
	}
	if *update {
		disk := vfs.NewMem()
		j := mustOpen(t, disk, quiet())
		for key, value := range want {
			j.put(key, []byte(value))
		}
		j.put("gone", nil)
		j.delete("gone")
		if err := j.close(); err != nil {
			t.Fatal(err)
		}
		data, err := disk.ReadFile("sessions/sessions.log")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(fmt.Sprintf("testdata/sessions-v%d.log", journalVersion), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for version := 1; version <= journalVersion; version++ {
		data, err := os.ReadFile(fmt.Sprintf("testdata/sessions-v%d.log", version))
		if err != nil {
			t.Fatal(err)
		}
		disk := vfs.NewMem()
		_ = disk.MkdirAll("sessions", 0o700)
		_ = disk.WriteFile("sessions/sessions.log", data, 0o600)
		if got := contents(mustOpen(t, disk, quiet())); !maps.Equal(got, want) {
			t.Fatalf("version %d: got %q\nwant %q", version, got, want)
		}
		if now, _ := disk.ReadFile("sessions/sessions.log"); now[8] != journalVersion {
			t.Fatalf("a file of version %d was left as it is", version)
		}
	}
	// and the records mean what they did
	back, ok := decodeDelivery(3, []byte(want[queueKey("lamp-1", 3)]))
	if !ok || back.m.topic != m.topic || string(back.m.payload) != "on" || back.m.expiresAt != m.expiresAt || !back.m.retain || fmt.Sprint(back.subIDs) != "[5 300]" {
		t.Fatalf("delivery: %+v %+v", back, back.m)
	}
	if back, ok := decodeSubscription("home/#", []byte(want[subscriptionKey("lamp-1", "home/#")])); !ok || back != sub {
		t.Fatalf("subscription: %+v", back)
	}
	var restored session
	if !restored.decode([]byte(want[sessionKey("lamp-1")])) || restored.thing != 7 || restored.expirySec != 3600 || restored.offSince != s.offSince {
		t.Fatalf("session: %+v", &restored)
	}
}

// TestJournalOldFormatOnAFailingDisk opens a file of format 1 that cannot be replaced: nothing is written behind its frames.
func TestJournalOldFormatOnAFailingDisk(t *testing.T) {
	data, err := os.ReadFile("testdata/sessions-v1.log")
	if err != nil {
		t.Fatal(err)
	}
	disk := vfs.NewMem()
	_ = disk.MkdirAll("sessions", 0o700)
	_ = disk.WriteFile("sessions/sessions.log", data, 0o600)
	disk.FailAt(3, errors.New("i/o error")) // MkdirAll and ReadFile come before the write
	j := mustOpen(t, disk, quiet())
	if now, _ := disk.ReadFile("sessions/sessions.log"); !bytes.Equal(now, data) {
		t.Fatal("the fault came elsewhere")
	}
	before := len(contents(j))
	j.put("new", []byte("x"))
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	if got := contents(mustOpen(t, disk, quiet())); len(got) != before+1 || before == 0 {
		t.Fatalf("%d keys, then %d", before, len(got))
	}
}

// FuzzJournal opens arbitrary files: no panic, and what was read is what the next start reads.
func FuzzJournal(f *testing.F) {
	for _, name := range []string{"testdata/sessions-v1.log", "testdata/sessions-v2.log"} {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)-3])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		disk := vfs.NewMem()
		_ = disk.MkdirAll("sessions", 0o700)
		_ = disk.WriteFile("sessions/sessions.log", data, 0o600)
		j, err := openJournal(disk, "sessions", quiet())
		if err != nil {
			return
		}
		first := contents(j)
		if err := j.close(); err != nil {
			t.Fatal(err)
		}
		if again := contents(mustOpen(t, disk, quiet())); !maps.Equal(first, again) {
			t.Fatalf("first %q, then %q", first, again)
		}
		j.each(func(key string, value []byte) {
			if d, ok := decodeDelivery(1, value); ok {
				if back, ok := decodeDelivery(1, encodeDelivery(d)); !ok || back.m.topic != d.m.topic {
					t.Fatalf("delivery %x does not survive", value)
				}
			}
			decodeSubscription("x", value)
			new(session).decode(value)
		})
	})
}
