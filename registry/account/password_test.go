package account

import (
	"encoding/base64"
	"fmt"
	"testing"
)

// What parsePHC takes is written again as the same text, and is within the bounds of memory and time.
func FuzzParsePHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g")
	f.Add("$argon2id$v=19$m=4294967295,t=2,p=1$c29tZXNhbHQ$aGFzaGhhc2hoYXNoaGFzaA")
	f.Add("$argon2i$v=19$m=1,t=1,p=1$$")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePHC(text)
		if err != nil {
			return
		}
		if p.memoryKiB == 0 || p.memoryKiB > 256<<10 || p.passes == 0 || p.passes > 16 || p.lanes == 0 || p.lanes > 16 {
			t.Fatalf("%q has parameters out of bounds: %+v", text, p)
		}
		enc := base64.RawStdEncoding
		again, err := parsePHC(fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", p.memoryKiB, p.passes, p.lanes, enc.EncodeToString(p.salt), enc.EncodeToString(p.hash)))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(p) {
			t.Fatalf("%q is %+v, written again %+v, %v", text, p, again, err)
		}
	})
}
