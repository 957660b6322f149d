package main

import (
	"context"
	"errors"

	"muster/agent/wire"
	"muster/pki"
	"muster/registry"
	"muster/registry/access"
	"muster/registry/policy"
)

// certificateChanged follows what the identity service does to a certificate: who may no longer connect is cut off, and
// the registry knows. It is pki.Options.Changed.
func (g *gateway) certificateChanged(ctx context.Context, cert pki.Certificate) error {
	id, err := access.ParseCertID(cert.ID)
	if err != nil {
		return err
	}
	if cert.Status == pki.Active {
		return g.access.Reload(ctx, id) // which calls indexCertificates
	}
	reason := "its certificate is not active"
	if cert.Status == pki.Revoked {
		reason = "its certificate was revoked"
	}
	for _, thing := range g.access.ThingsOf(id) {
		g.devices.Kick(thing.Name, reason)
		g.indexCertificates(thing.ID)
	}
	return nil
}

// facts reads what policies can ask of a registered certificate. It is access.Options.Certificate.
func (g *gateway) facts(ctx context.Context, id access.CertID) *policy.Certificate {
	cert, ok, err := g.identities.CertificateByID(ctx, id.String())
	if err != nil || !ok {
		return nil // what is not known grants nothing
	}
	parsed, err := wire.ParseCertificates([]byte(cert.PEM))
	if err != nil || len(parsed) != 1 {
		return nil
	}
	return policy.ReadCertificate(parsed[0])
}

// indexCertificates tells fleet queries which certificates a thing has. It is access.Options.Linked.
func (g *gateway) indexCertificates(thing uint32) {
	var list []registry.CertificateFacts
	for _, c := range g.access.CertsOf(thing) {
		cert, ok, err := g.identities.CertificateByID(context.Background(), c.ID.String())
		if err != nil {
			g.log.Error("certificates of a thing are not current in queries", "thing", thing, "err", err)
			return
		}
		if ok {
			list = append(list, g.certificateFacts(cert))
		}
	}
	g.things.SetCertificates(thing, list)
}

func (g *gateway) certificateFacts(cert pki.Certificate) registry.CertificateFacts {
	issuer, subject := g.identities.Names(cert)
	return registry.CertificateFacts{ID: cert.ID, Status: string(cert.Status), Serial: cert.Serial, Issuer: issuer, Subject: subject,
		NotBeforeMs: cert.NotBeforeMs, NotAfterMs: cert.NotAfterMs}
}

// certificatePage is how many certificates are read at once at a start.
const certificatePage = 1000

// indexAllCertificates does it for all things, at a start.
func (g *gateway) indexAllCertificates(ctx context.Context) error {
	facts := map[uint32][]registry.CertificateFacts{}
	var after pki.Place
	for {
		certs, err := g.identities.ListCertificates(ctx, after, true, certificatePage)
		if err != nil {
			return err
		}
		for _, cert := range certs {
			id, err := access.ParseCertID(cert.ID)
			if err != nil {
				return err
			}
			things := g.access.ThingsOf(id)
			if len(things) > 0 && (cert.Origin == pki.FromCA || cert.Origin == pki.Pinned) { // their names are in the PEM only
				if cert, _, err = g.identities.CertificateByID(ctx, cert.ID); err != nil {
					return err
				}
			}
			for _, thing := range things {
				facts[thing.ID] = append(facts[thing.ID], g.certificateFacts(cert))
			}
			after = pki.Place{IssuedMs: cert.IssuedMs, ID: cert.ID}
		}
		if len(certs) < certificatePage {
			break
		}
	}
	for thing, list := range facts {
		g.things.SetCertificates(thing, list)
	}
	return nil
}

// forgetIdentity ends the certificates that were enrolled for a deleted thing. Nobody is let in by them even before: they
// are attached to an id that is not given again.
func (g *gateway) forgetIdentity(ctx context.Context, thing uint32) error {
	var ids []string
	for _, cert := range g.access.CertsOf(thing) {
		if len(g.access.ThingsOf(cert.ID)) == 0 { // else it stands for another thing as well
			ids = append(ids, cert.ID.String())
		}
	}
	ended, err := g.identities.Forget(ctx, ids)
	errs := []error{err, g.access.ForgetThing(ctx, thing)}
	for _, id := range ended {
		parsed, err := access.ParseCertID(id)
		if err == nil {
			err = g.access.ForgetCert(ctx, parsed)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
