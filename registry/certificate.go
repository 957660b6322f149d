package registry

import (
	"slices"
	"strconv"
	"strings"

	"muster/registry/index"
	"muster/registry/standing"
)

// CertificateFacts are what queries know of a certificate of a thing, as the fields cert.id, cert.status and so on. What is empty or zero is
// not there.
type CertificateFacts struct {
	ID          string // hex SHA-256 of its DER
	Status      string // as AWS spells it, such as ACTIVE
	Serial      string // hex
	Issuer      string // distinguished name
	Subject     string
	NotBeforeMs int64 // Unix
	NotAfterMs  int64
}

// maxFactBytes bounds a text of a certificate; what is longer is cut.
const maxFactBytes = 1024

// visit calls f with all fields that have a value.
func (c CertificateFacts) visit(f func(field, value string)) {
	text := func(name, value string) {
		if len(value) > maxFactBytes {
			value = strings.ToValidUTF8(value[:maxFactBytes], "")
		}
		if value != "" {
			f("cert."+name, value)
		}
	}
	ms := func(name string, n int64) {
		if n != 0 {
			f("cert."+name, strconv.FormatInt(n, 10))
		}
	}
	text("id", c.ID)
	text("status", c.Status)
	text("serial", c.Serial)
	text("issuer", c.Issuer)
	text("subject", c.Subject)
	ms("notBefore", c.NotBeforeMs)
	ms("notAfter", c.NotAfterMs)
}

// SetCertificates says which certificates a thing has, for queries and dynamic groups. The owner of the certificates calls it with every
// change and, for all things, after a start: they are not persisted here, and are gone with the thing.
func (r *Registry) SetCertificates(id uint32, list []CertificateFacts) {
	r.change(func() {
		if int(id) >= len(r.byID) || r.byID[id] == nil || slices.Equal(r.certificates[id], list) {
			return
		}
		fields := map[string]bool{}
		r.eachCertValue(id, func(field, value string) {
			r.index.Remove(id, field, value)
			fields[field] = true
		})
		if len(list) == 0 {
			delete(r.certificates, id)
		} else {
			r.certificates[id] = slices.Clone(list)
		}
		r.eachCertValue(id, func(field, value string) {
			r.index.Add(id, field, value)
			fields[field] = true
		})
		t := touch{id: id, Change: standing.Change{Cause: "its certificates changed"}}
		for field := range fields {
			t.Fields = append(t.Fields, field)
		}
		r.delta.touched = append(r.delta.touched, t)
	})
	if r.news.some() {
		r.wakeWriter()
	}
}

// eachCertValue calls f once for each value of a field that the certificates of a thing have. The caller is in a change.
func (r *Registry) eachCertValue(id uint32, f func(field, value string)) {
	seen := map[[2]string]bool{}
	for _, c := range r.certificates[id] {
		c.visit(func(field, value string) {
			if key := [2]string{field, index.Fold(value)}; !seen[key] {
				seen[key] = true
				f(field, value)
			}
		})
	}
}

// forgetCertificates takes out what a thing that is being deleted has. The caller is in a change.
func (r *Registry) forgetCertificates(id uint32) {
	r.eachCertValue(id, func(field, value string) { r.index.Remove(id, field, value) })
	delete(r.certificates, id)
}
