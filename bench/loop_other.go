//go:build !linux

package bench

import (
	"context"
	"errors"
)

// run of the fleet needs epoll.
func (f *fleet) run(context.Context) (fleetResult, error) {
	return fleetResult{}, errors.New("`muster bench fleet` runs on Linux only")
}
