package record

import "fmt"

// Alert is an alert description (section 6).
type Alert uint8

const (
	alertCloseNotify       Alert = 0
	alertUnexpectedMessage Alert = 10
	alertBadRecordMAC      Alert = 20
	alertRecordOverflow    Alert = 22
	alertIllegalParameter  Alert = 47
	alertDecodeError       Alert = 50
	alertInternalError     Alert = 80
	alertUserCanceled      Alert = 90

	levelWarning = 1
	levelFatal   = 2
)

// String returns the name of section 6.
func (a Alert) String() string {
	switch a {
	case alertCloseNotify:
		return "close_notify"
	case alertUnexpectedMessage:
		return "unexpected_message"
	case alertBadRecordMAC:
		return "bad_record_mac"
	case alertRecordOverflow:
		return "record_overflow"
	case 40:
		return "handshake_failure"
	case 42:
		return "bad_certificate"
	case 43:
		return "unsupported_certificate"
	case 44:
		return "certificate_revoked"
	case 45:
		return "certificate_expired"
	case 46:
		return "certificate_unknown"
	case alertIllegalParameter:
		return "illegal_parameter"
	case 48:
		return "unknown_ca"
	case 49:
		return "access_denied"
	case alertDecodeError:
		return "decode_error"
	case 51:
		return "decrypt_error"
	case 70:
		return "protocol_version"
	case 71:
		return "insufficient_security"
	case alertInternalError:
		return "internal_error"
	case 86:
		return "inappropriate_fallback"
	case alertUserCanceled:
		return "user_canceled"
	case 109:
		return "missing_extension"
	case 110:
		return "unsupported_extension"
	case 112:
		return "unrecognized_name"
	case 113:
		return "bad_certificate_status_response"
	case 115:
		return "unknown_psk_identity"
	case 116:
		return "certificate_required"
	case 120:
		return "no_application_protocol"
	}
	return fmt.Sprintf("alert %d", uint8(a))
}

// Error is a fault that ends the connection.
type Error struct {
	Alert  Alert
	Remote bool   // the peer sent the alert; else it is to be sent to the peer
	Reason string // of a fault of the peer's that was found here
}

func (e *Error) Error() string {
	if e.Remote {
		return "tls: the peer sent alert " + e.Alert.String()
	}
	return "tls: " + e.Alert.String() + ": " + e.Reason
}

func fault(alert Alert, reason string) error { return &Error{Alert: alert, Reason: reason} }
