package lane

import (
	"testing"
	"unsafe"
)

// TestSizeOfConn: what every idle connection costs fits its size class of Go's allocator; the next one takes 32 bytes more.
func TestSizeOfConn(t *testing.T) {
	if size := unsafe.Sizeof(Conn{}); unsafe.Sizeof(uintptr(0)) == 8 && size > 480 {
		t.Errorf("a Conn takes %d bytes, want 480 at most", size)
	}
}
