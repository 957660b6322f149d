//go:build !linux

package conn

import (
	"errors"
	"net"
)

func listenConfig() net.ListenConfig {
	return net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepAlive, Interval: keepAliveAgain}}
}

// There are no parked connections on this system: StartLoops says so and every connection keeps its goroutines.

var errNoLoops = errors.New("connections cannot be parked on this system: set the loop to goroutine")

const (
	eventIn     = 1
	eventOut    = 2
	eventHangup = 4
	wakeSlot    = -1
)

type poller struct{}

func openPoller() (*poller, error)               { return nil, errNoLoops }
func (*poller) close() error                     { return nil }
func (*poller) add(int, int32) error             { return errNoLoops }
func (*poller) wake()                            {}
func (*poller) wait(int) int                     { return 0 }
func (*poller) event(int) (int32, uint32)        { return wakeSlot, 0 }
func detach(*net.TCPConn) (int, error)           { return -1, errNoLoops }
func readSocket(int, []byte) (int, bool, error)  { return 0, false, errNoLoops }
func writeSocket(int, []byte) (int, bool, error) { return 0, false, errNoLoops }
func shutdownSocket(int) error                   { return errNoLoops }
func closeSocket(int)                            {}
