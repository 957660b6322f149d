package record

import (
	"crypto/tls"
	"testing"
)

// BenchmarkMessage opens a record of 256 bytes and seals one of 4: a telemetry message and its acknowledgement. "rebuilt" is a
// connection whose ciphers have left the cache since its last message, as with more than 512 devices that speak in turn.
func BenchmarkMessage(b *testing.B) {
	for _, id := range allSuites {
		for _, cached := range []bool{true, false} {
			name := tls.CipherSuiteName(id) + "/cached"
			if !cached {
				name = tls.CipherSuiteName(id) + "/rebuilt"
			}
			b.Run(name, func(b *testing.B) {
				client, server := newPair(b, id)
				plain, in, out := text(256), make([]byte, 0, 400), make([]byte, 0, 400)
				b.ReportAllocs()
				for b.Loop() {
					in = client.Seal(in[:0], TypeApplicationData, plain)
					if !cached {
						server.cache.drop(&server.in)
						server.cache.drop(&server.out)
					}
					if _, err := server.Receive(in, now); err != nil {
						b.Fatal(err)
					}
					out = server.Seal(out[:0], TypeApplicationData, plain[:4])
				}
				if len(out) != HeaderSize+4+1+tagSize {
					b.Fatal("nothing was sealed")
				}
			})
		}
	}
}
