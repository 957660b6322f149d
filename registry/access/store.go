package access

import "context"

// Store keeps policies, attachments and principals. registry/store implements it; safe for concurrent use.
type Store interface {
	LoadAccess(ctx context.Context) (State, error)
	// LoadPrincipal reads what one certificate has: the things it stands for, and its attachments.
	LoadPrincipal(ctx context.Context, id CertID) ([]Principal, []Attachment, error)
	// ApplyAccess makes all changes of b durable, or none.
	ApplyAccess(ctx context.Context, b Batch) error
}

// State is all that a store has.
type State struct {
	Policies    []PolicyRow
	Versions    []VersionRow
	Attachments []Attachment
	Principals  []Principal
}

// PolicyRow is a policy without its versions. Times are Unix ms.
type PolicyRow struct {
	Name      string
	Default   int // the version in force
	Next      int // the version that is made next
	CreatedMs int64
	ChangedMs int64
}

// VersionRow is a version of a policy.
type VersionRow struct {
	Policy    string
	ID        int
	Document  string
	CreatedMs int64
}

// Target is what a policy is attached to: a group, or else a certificate.
type Target struct {
	Group uint32 // 0: a certificate
	Cert  CertID
}

// Attachment is a policy on a target.
type Attachment struct {
	Policy string
	Target Target
}

// Principal is a certificate that stands for a thing.
type Principal struct {
	Cert      CertID
	Thing     uint32
	Exclusive bool // it stands for no other
}

// Batch is one transaction, in this order.
type Batch struct {
	PutPolicies    []PolicyRow
	PutVersions    []VersionRow
	DeleteVersions []VersionRow // by policy and id
	Attach         []Attachment
	Detach         []Attachment
	Link           []Principal // a known pair gets the new Exclusive
	Unlink         []Principal // by certificate and thing
	DeletePolicies []string    // with their versions
	ForgetCerts    []CertID    // their attachments and principals
	ForgetGroups   []uint32    // their attachments
	ForgetThings   []uint32    // their principals
}
