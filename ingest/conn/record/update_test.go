package record

import (
	"crypto/tls"
	"testing"
	"testing/synctest"
	"time"
)

// take opens all the records in stream and returns "d" for data, "u" and "r" for KeyUpdates that do not and do ask for one.
func take(t *testing.T, s *State, stream []byte) (kinds string) {
	t.Helper()
	for len(stream) > 0 {
		size, err := Size(stream)
		if err != nil {
			t.Fatal(err)
		}
		content, typ, err := s.Open(nil, stream[:size])
		if err != nil {
			t.Fatalf("after %q: %v", kinds, err)
		}
		stream = stream[size:]
		switch {
		case typ == TypeApplicationData:
			kinds += "d"
		case typ == TypeHandshake && content[0] == typeKeyUpdate:
			kinds += string("ur"[content[4]])
			s.update(&s.in)
		default:
			t.Fatalf("record %d %x", typ, content)
		}
	}
	return kinds
}

// receive gives the records that the client sealed to the server, as it goes.
func receive(t *testing.T, s *State, record []byte, at time.Time) {
	t.Helper()
	if _, err := s.Receive(record, at); err != nil {
		t.Fatal(err)
	}
}

// TestRequestsAreAnsweredOnce: before the next data, and once for all that came while the server was silent.
func TestRequestsAreAnsweredOnce(t *testing.T) {
	for _, id := range allSuites {
		client, server := newPair(t, id)
		request := func(request byte) {
			t.Helper()
			receive(t, server, client.seal(nil, TypeHandshake, []byte{typeKeyUpdate, 0, 0, 1, request}, 0), now)
			client.update(&client.out)
		}
		answer := func(want string) {
			t.Helper()
			if got := take(t, client, server.Seal(nil, TypeApplicationData, []byte("x"))); got != want {
				t.Fatalf("the server sent %q, want %q", got, want)
			}
		}
		answer("d")
		request(updateNotRequested)
		answer("d")
		request(updateRequested)
		if got := server.Seal(nil, TypeApplicationData, nil); got != nil {
			t.Fatalf("no data became %x", got)
		}
		answer("ud")
		answer("d")
		for range 5 {
			request(updateRequested)
		}
		request(updateNotRequested)
		answer("ud")
		answer("d")
		// a last alert is sent under the key that is there
		request(updateRequested)
		if content, typ, err := client.Open(nil, server.Seal(nil, TypeAlert, []byte{levelWarning, 0})); err != nil || typ != TypeAlert {
			t.Fatalf("%x %d %v", content, typ, err)
		}
	}
}

// TestUpdatesPerMinute: the limit counts minutes, not the life of a connection.
func TestUpdatesPerMinute(t *testing.T) {
	client, server := newPair(t, tls.TLS_AES_128_GCM_SHA256)
	for i := range 5 * maxUpdates {
		at := now.Add(time.Duration(i/maxUpdates) * time.Minute)
		receive(t, server, client.seal(nil, TypeHandshake, []byte{typeKeyUpdate, 0, 0, 1, 0}, 0), at)
		client.update(&client.out)
		receive(t, server, client.Seal(nil, TypeApplicationData, []byte("x")), at)
	}
}

// TestKeysAreChangedInTime: no AES-GCM key protects 2^24.5 records (section 5.5), in either direction.
func TestKeysAreChangedInTime(t *testing.T) {
	for _, id := range []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384} {
		client, server := newPair(t, id)
		limit := server.suite.maxRecords()
		if limit > 23_726_566 {
			t.Fatalf("limit %d", limit)
		}
		skip := func(to uint64, halves ...*half) {
			for _, h := range halves {
				h.seq = to
			}
		}
		skip(limit-limitMargin-1, &server.out, &client.in)
		stream := server.Seal(nil, TypeApplicationData, text(3*MaxPlain))
		if got := take(t, client, stream); got != "dudd" {
			t.Fatalf("the server sent %q at its limit", got)
		}
		// the peer is asked for a new key at half of the limit, once
		skip(limit/2-1, &client.out, &server.in)
		for range 3 {
			receive(t, server, client.Seal(nil, TypeApplicationData, []byte("x")), now)
		}
		if got := take(t, client, server.Seal(nil, TypeApplicationData, text(2*MaxPlain))); got != "rdd" {
			t.Fatalf("the server sent %q at half of the client's limit", got)
		}
		// a peer that does not listen is cut off
		skip(limit-1, &client.out, &server.in)
		record := client.seal(nil, TypeApplicationData, []byte("x"), 0)
		receive(t, server, record, now)
		_, err := server.Receive(record, now)
		wantFault(t, err, alertInternalError)
	}
	// with ChaCha20-Poly1305 the limit is beyond what anyone can send
	_, server := newPair(t, tls.TLS_CHACHA20_POLY1305_SHA256)
	if server.suite.maxRecords() < 1<<60 {
		t.Fatal("ChaCha20-Poly1305 has the limit of AES-GCM")
	}
}

// TestSmallCache: what a cache forgets is built again, whoever shares it.
func TestSmallCache(t *testing.T) {
	const pairs = 5
	cache := NewCache(3)
	var clients, servers [pairs]State
	for i := range clients {
		one, two := text(32), text(32)
		one[0], two[0] = byte(i), byte(100+i)
		for s, secrets := range map[*State][2][]byte{&clients[i]: {one, two}, &servers[i]: {two, one}} {
			if err := s.Init(cache, allSuites[2*(i%2)], secrets[0], secrets[1], 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	held := func() (n int) {
		for i := range clients {
			for _, h := range []*half{&clients[i].in, &clients[i].out, &servers[i].in, &servers[i].out} {
				if h.built.Load() != nil {
					n++
				}
			}
		}
		return n
	}
	for round := range 40 {
		i := (round * round) % pairs
		receive(t, &servers[i], clients[i].Seal(nil, TypeApplicationData, []byte("x")), now)
		if n := held(); n > 3 {
			t.Fatalf("%d ciphers are held, the cache has room for 3", n)
		}
		if round%7 == 6 {
			receive(t, &servers[i], clients[i].seal(nil, TypeHandshake, []byte{typeKeyUpdate, 0, 0, 1, 0}, 0), now)
			clients[i].update(&clients[i].out)
		}
	}
	for i := range clients {
		for _, s := range []*State{&clients[i], &servers[i]} {
			s.CloseIn()
			s.CloseOut()
		}
	}
	if n := held(); n != 0 {
		t.Fatalf("%d ciphers are held after the end", n)
	}
	for _, h := range cache.slots {
		if h != nil {
			t.Fatal("the cache keeps a connection that has ended")
		}
	}
}

// TestCacheOfTurns: of more connections than there is room for, which send in turn, many find their cipher.
func TestCacheOfTurns(t *testing.T) {
	const size, halves, turns = 64, 96, 50
	suite, err := suiteOf(tls.TLS_AES_128_GCM_SHA256)
	if err != nil {
		t.Fatal(err)
	}
	cache := NewCache(size)
	connections := make([]half, halves)
	built := 0
	for range turns {
		for i := range connections {
			if connections[i].built.Load() == nil {
				built++
			}
			cache.cipher(&connections[i], suite)
		}
	}
	if share := float64(built) / (halves * turns); share > 0.8 { // 0.58 are to be expected
		t.Errorf("%.2f of the ciphers were built again", share)
	}
}

// TestUnusedCiphers: what is used stays, what is not is gone after twice the time at most, and then nothing is left.
func TestUnusedCiphers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := NewCache(8)
		suite, err := suiteOf(tls.TLS_AES_256_GCM_SHA384)
		if err != nil {
			t.Fatal(err)
		}
		var busy, idle half
		first := cache.cipher(&busy, suite)
		cache.cipher(&idle, suite)
		for at := time.Second; at <= 3*keepUnused; at += time.Second {
			time.Sleep(time.Second)
			if cache.cipher(&busy, suite) != first {
				t.Fatalf("after %v the cipher in use was built again", at)
			}
			if held := idle.built.Load() != nil; at != 2*keepUnused && held != (at < 2*keepUnused) {
				t.Fatalf("after %v unused: held is %v", at, held)
			}
		}
		time.Sleep(2*keepUnused + time.Second)
		cache.mu.Lock()
		defer cache.mu.Unlock()
		if busy.built.Load() != nil || cache.slots != nil || cache.sweeping {
			t.Fatal("something is left")
		}
	})
}

// TestCloseWipes: nothing of the keys is left, and nothing opens.
func TestCloseWipes(t *testing.T) {
	client, server := newPair(t, tls.TLS_AES_256_GCM_SHA384)
	record := client.Seal(nil, TypeApplicationData, []byte("x"))
	server.CloseIn()
	if server.in.secret != [maxSecret]byte{} || server.in.key != [maxKey]byte{} || server.in.iv != [ivSize]byte{} || server.in.built.Load() != nil {
		t.Fatal("the incoming keys are still there")
	}
	if _, err := server.Receive(record, now); err != errNoKeys {
		t.Fatalf("a record after the end: %v", err)
	}
	if got := take(t, client, server.Seal(nil, TypeApplicationData, []byte("x"))); got != "d" {
		t.Fatalf("after CloseIn the server sent %q", got)
	}
	server.CloseOut()
	if server.out.secret != [maxSecret]byte{} || server.out.key != [maxKey]byte{} || server.out.iv != [ivSize]byte{} || server.out.built.Load() != nil {
		t.Fatal("the outgoing keys are still there")
	}
	var zero State
	zero.CloseIn()
	if _, err := zero.Receive(record, now); err != errNoKeys {
		t.Fatalf("a State without keys: %v", err)
	}
	if err := zero.Init(NewCache(1), tls.TLS_AES_128_GCM_SHA256, make([]byte, 32), make([]byte, 48), 0); err == nil {
		t.Fatal("a secret of a wrong size is taken")
	}
	if err := zero.Init(NewCache(1), tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, make([]byte, 32), make([]byte, 32), 0); err == nil {
		t.Fatal("a suite of TLS 1.2 is taken")
	}
}
