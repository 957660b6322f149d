package registry

import (
	"errors"
	"fmt"
)

// Kind says which rule a call broke. Each edge has one table that turns kinds into HTTP or AWS codes.
type Kind uint8

const (
	Internal Kind = iota // not the caller's fault and not expected; also the kind of every error that has none
	NotFound             // AWS: ResourceNotFoundException
	Conflict             // it exists with other contents; AWS: ResourceAlreadyExistsException
	Stale                // expectedVersion is not the version; AWS: VersionConflictException
	Invalid              // AWS: InvalidRequestException
	Limit                // AWS: LimitExceededException
	Denied               // AWS: UnauthorizedException
	Busy                 // not now: storage refuses, or the registry is closing; AWS: ServiceUnavailableException
)

var kindNames = [...]string{"internal", "notFound", "conflict", "stale", "invalid", "limit", "denied", "busy"}

// String returns the kind as the JSON API spells it, e.g. "notFound".
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Error is a refusal. Message is one sentence for the user that names the field and the rule.
// The cause, if there is one, is for the log only: it is not part of Error().
type Error struct {
	Kind    Kind
	Message string
	cause   error
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause for the log, or nil.
func (e *Error) Unwrap() error { return e.cause }

// KindOf returns the kind of the first *Error in err's tree, Internal if there is none.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

func refuse(kind Kind, format string, args ...any) error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}
