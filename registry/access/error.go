package access

import "fmt"

// Kind says which rule a call broke. The edge turns it into AWS's exceptions.
type Kind uint8

const (
	Invalid   Kind = iota + 1 // AWS: InvalidRequestException
	NotFound                  // ResourceNotFoundException
	Exists                    // ResourceAlreadyExistsException
	Malformed                 // MalformedPolicyException
	Conflict                  // DeleteConflictException
	Versions                  // VersionsLimitExceededException
	Limit                     // LimitExceededException
	Busy                      // ServiceUnavailableException
)

// String returns the kind as the JSON API spells it.
func (k Kind) String() string {
	return [...]string{"internal", "invalid", "notFound", "conflict", "malformed", "conflict", "limit", "limit", "busy"}[k]
}

// Error is a refusal. Message is a sentence for the user; the cause, if there is one, is for the log.
type Error struct {
	Kind    Kind
	Message string
	cause   error
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause, or nil.
func (e *Error) Unwrap() error { return e.cause }

func refuse(kind Kind, format string, args ...any) error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}
