package lane

import "testing"

// TestRefusalCodes: a CONNACK has only codes of its own (v5 table 3-1), also where the reason is one of a DISCONNECT.
func TestRefusalCodes(t *testing.T) {
	f := func(code, want byte) {
		t.Helper()
		if got := appendRefusal(nil, 5, code, 0, ""); got[3] != want {
			t.Errorf("code %x becomes %x, want %x", code, got[3], want)
		}
	}
	f(0x8b, 0x88) // server shutting down
	f(0x8e, 0x88) // session taken over
	f(0x98, 0x87) // administrative action
	f(0x97, 0x97)
}
